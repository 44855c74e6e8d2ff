/*
 * Closes under way. Only the last close of an open ends its unfinished item, and the kernel tells
 * of that one by RELEASE, which is queued when close(2) returns but not waited for. Requests leave
 * the kernel's queue in order, each to whichever session thread reads next. So when somebody looks
 * at a queue, every RELEASE that was queued before is in the hands of some thread at least, and
 * whoever looks waits until it is done: no longer than that, and not at all for an open that others
 * still have.
 *
 * The kernel numbers requests as it queues them: a number that has not been seen below one that has
 * is a request in some thread's hands, or one that was withdrawn because its caller was killed. The
 * two look the same, so a wait ends after CLOSES_WAIT_US in any case, and then those numbers are
 * given up.
 *
 * Any thread may call anything here.
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

struct closes {
    pthread_mutex_t lock;
    pthread_cond_t handled;
    /* lock */
    uint64_t next;                       /* above the highest number seen; 0: none was */
    uint64_t missing[CLOSES_KNOWN / 64]; /* of the numbers below: not seen, or not done yet */
    size_t n_missing;
};

void closes_init(struct closes *closes);
void closes_fini(struct closes *closes);

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
