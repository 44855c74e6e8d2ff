/*
 * A call that may have to wait: one write, read, fsync, flush, mkdir or poll of a user's process.
 * Nothing in core blocks a thread for it. Whoever calls core owns the op, and its done() is called
 * exactly once with the result, on any thread, perhaps before the call returns; after that core
 * does not touch it. done() must not block, and may free the op.
 *
 * A parked op stands in a list guarded by a mutex (its queue's, or its mount's) that op->lock
 * names. op_cancel() takes it out and finishes it; so do deadlines and whoever it waits for.
 * Whoever has taken it out of the list finishes it, after letting go of the lock: that is
 * what makes it exactly once.
 *
 * How the FUSE side interrupts: register the interrupt function before the call; in the function,
 * op_cancel(). It may come before, during or after the call. In done(), unless op->in_cancel,
 * unregister (which waits for a running interrupt function to end), then answer, then free.
 */
#ifndef QUEUEFS_CORE_OP_H
#define QUEUEFS_CORE_OP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <bsd/sys/queue.h>

struct item_answer;
struct op_list;

#define OP_GO_ON INT64_MIN

struct op {
    void (*done)(struct op *op, ssize_t result); /* bytes or 0, or a negative errno */
    void *owner;                                 /* the caller's */

    /* Arguments, set by the caller. Bytes to write are borrowed until the call returns: an op that
     * parks has copied what it still needs. */
    const uint8_t *data; /* write */
    size_t len;          /* write, read: bytes at most */
    int64_t offset;      /* read; OP_GO_ON: where the one before has ended */
    bool nonblock;       /* the call's own O_NONBLOCK */
    bool sync;           /* write: O_SYNC or O_DSYNC */
    bool sharer;         /* close: by one of those who share the open, and another goes on */

    /* Results besides `result`: of a read, where the bytes are, valid during done(). */
    struct iovec iov[16];
    int n_iov;
    const struct item_answer
        *answer; /* of mount_queue_list(), mount_queue_look(): valid during done() */
    /* What lends those bytes, or of a parked write has the copy of its own: op_finish() calls
     * unhold(hold), where set, after done(). */
    void (*unhold)(void *hold);
    void *hold;

    /* True during a done() that op_cancel() called on its caller's stack. */
    bool in_cancel;

    /* Core's from here on. */
    atomic_bool cancelled;
    _Atomic(pthread_mutex_t *) lock; /* of the list it may park in; set before it can park */
    struct op_list *list;            /* NULL: not parked */
    TAILQ_ENTRY(op) link;
    int64_t deadline_us;
    int on_deadline;  /* the result then; a partial `progress` goes before */
    int64_t since_us; /* when the call came */
    bool verdict;     /* producer: waits to learn whether queue or store are really full */
    uint64_t target;  /* item number, or settlements, that it waits for */
    uint64_t confirm; /* consumer: the GET that has to come back empty before the end of file */
    uint64_t renewals, peers; /* consumer: as target, of a flush: the others that it waits for */
    size_t progress;          /* bytes already taken */
    void *subject;            /* the struct writer or reader it belongs to */
    void *context;            /* core's, of whoever parked it */
    ssize_t result;           /* while it stands in effects.finished */
};

/* Ops in order of arrival. Guarded by the lock of whoever owns the list. */
struct op_list {
    TAILQ_HEAD(, op) ops;
    size_t n;
};

void op_list_init(struct op_list *list);

/* Zero core's part. Called by the owner before each use of the op. */
void op_init(struct op *op, void (*done)(struct op *op, ssize_t result), void *owner);

/* Core only, with op->lock held. park: false where the op was cancelled already: the caller
 * finishes it with op_interrupted(). take: out of its list, if in one; true where it was. */
bool op_park_locked(struct op *op, struct op_list *list);
bool op_take_locked(struct op *op);

/* The result of an op that was interrupted: what it had done, -ETIMEDOUT where that should have
 * been acknowledged (`sync`), else -EINTR. */
ssize_t op_interrupted(const struct op *op);

/* Core only, no lock held, op in no list: calls done(), then lets go of what `hold` lends (both
 * fields are read before done(), which may free the op). */
void op_finish(struct op *op, ssize_t result);

/* Interrupt: if the op is parked it ends now, with op_interrupted(); if its call has not parked it
 * yet, it will not. The op must be alive: see above. Takes op->lock; no other held. */
void op_cancel(struct op *op);

/*
 * What a piece of locked logic wants done once the lock is let go, in this order: send requests,
 * finish ops, ask for a tick. Logic modules (producer.c, consumer.c) fill it in; mount_queue.c runs
 * it.
 */
struct request;
struct effects {
    struct request *requests, **requests_end; /* by request.next, in order */
    struct op_list finished;                  /* with op->result */
};

void effects_init(struct effects *effects);
void effects_send(struct effects *effects, struct request *request);
/* Takes the op out of its list if in one; it will be finished with `result`. */
void effects_finish_locked(struct effects *effects, struct op *op, ssize_t result);
/* The same for every op of a list. */
void effects_finish_all_locked(struct effects *effects, struct op_list *list, ssize_t result);

#endif
