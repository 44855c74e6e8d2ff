/*
 * Closes under way. Only the last close of an open ends its unfinished item, and the kernel tells
 * of that one by RELEASE, which is queued when close(2) returns but not waited for. So whoever
 * looks at a queue waits until every RELEASE that was queued before is done: no longer than that,
 * and not at all for an open that others still have.
 *
 * The kernel numbers requests as it queues them and hands them out in that order, both under one
 * lock, however many threads are in read(2). So each RELEASE before the look is in the hands of
 * some session thread, and a read(2) brings a number above all that were seen before it began. A
 * number that is missing below one that was seen is with a thread whose read(2) began before that,
 * or was withdrawn because its caller was killed; once all those threads have come back it is known
 * which. (An INTERRUPT has no number. A FORGET gets its own when it is read, ahead of all that is
 * queued: that it was seen says nothing of the numbers below.)
 *
 * A thread that sleeps in read(2) cannot be told from one that has the request and no processor
 * until it comes back; the kernel wakes them in turn. So a wait ends after wait_us in any case,
 * and the missing numbers are given up.
 *
 * Any thread may call anything here; a thread serves one struct closes in its life.
 */
#ifndef QUEUEFS_FS_CLOSES_H
#define QUEUEFS_FS_CLOSES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longer than a runnable thread waits for its turn on a machine that is busy. */
#define CLOSES_WAIT_US INT64_C(500000)

/* How far back a number is known; a FORGET has a number ahead of all that waits to be read. */
#define CLOSES_KNOWN 4096

/* At most, over all the time: the place of a thread that has ended is not used again. */
#define CLOSES_THREADS 32

struct closes_thread {
    /* It is in read(2), and brings no number below this one; 0: it is not. Set by itself alone. */
    _Atomic uint64_t reads_from;
    uint64_t release; /* lock; the one that it has in hand, or 0 */
};

struct closes {
    int64_t wait_us;          /* how long closes_await() waits at most; fixed once started */
    _Atomic uint64_t ordered; /* above the highest number seen that is no FORGET's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* lock */
    uint64_t next;                       /* above the highest number seen; 0: none was */
    uint64_t missing[CLOSES_KNOWN / 64]; /* of the numbers below: not seen, nor given up */
    size_t n_missing;
    struct closes_thread threads[CLOSES_THREADS];
    size_t n_threads;
    size_t n_releases; /* in hand */
    size_t n_waiting;  /* threads in closes_await() */
};

/* With wait_us CLOSES_WAIT_US. */
void closes_init(struct closes *closes);
void closes_fini(struct closes *closes);

/* This thread goes to read from the kernel: before every read(2), also if the last one failed. */
void closes_reading(struct closes *closes);

/* A request as it was read from the kernel, on the thread that will handle it. */
void closes_read(struct closes *closes, const void *request, size_t len);

/* The RELEASE that this thread has read last is done. */
void closes_done(struct closes *closes);

/* Whether closes_await() would wait. */
bool closes_under_way(struct closes *closes);

/* Returns when every RELEASE that was queued before the request which this thread handles is done.
 * Blocks, for microseconds as a rule. */
void closes_await(struct closes *closes);

#endif
