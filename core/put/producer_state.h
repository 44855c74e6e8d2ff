/*
 * What the files of the producer share. Each knows only those above it:
 *
 *   share.c     what each user has of the buffer
 *   room.c      room for bytes and items
 *   waiters.c   sync, flush, poll, looks, errors told
 *   split.c     write(2), from bytes to items
 *   window.c    batches in flight, answers, retries
 *   producer.c  life, deadlines, what happens after each change
 *
 * Nobody else includes this but their tests.
 *
 * An item is in one place: the writer's partial, the batcher, or a put. Puts stand in order of
 * their numbers and leave from the front, so that `acked` has no gaps. All bytes in these three
 * places are in counters.buffered_bytes, in some user's share and in the mount's budget.
 *
 * Trouble (store full, queue full, a fault) is met in one way: the put waits, nothing is sent
 * until hold_us, and then one put at a time until probe_until is acknowledged.
 */
#ifndef QUEUEFS_CORE_PUT_PRODUCER_STATE_H
#define QUEUEFS_CORE_PUT_PRODUCER_STATE_H

#include "core/backoff.h"
#include "core/clock.h"
#include "core/put/producer.h"

enum put_state {
    PUT_WAITING, /* to be sent, again or (front of a new epoch) anew */
    PUT_SENT,
    PUT_STORED, /* acknowledged, those before it not yet */
};

struct put {
    struct request request; /* first: an answer's request is its put */
    TAILQ_ENTRY(put) link;
    struct slice slice;
    enum put_state state;
    uint64_t chain;  /* of the epoch's items before it */
    uint64_t stored; /* of an answer that was short: up to here it is stored */
    uint64_t end;    /* number of the last item */
    uint32_t n_tries;
    int refused;  /* the service will never take it as it is */
    bool counted; /* in put_errors */
};

/*
 * What one user has of the buffer: there is one for each user that has an open or bytes here.
 * Whole items of several users travel together, so whose bytes were acknowledged is not known to
 * the item: those who have some give them back in turn. The sum is exact.
 */
struct share {
    struct budget_user *user; /* a reference */
    size_t bytes;
    size_t unfinished_bytes; /* of these: of items that are not whole yet */
    uint32_t n_writers;
    struct op_list parked; /* writes that wait for room, first come first served */
    bool waits;            /* stands in producer.waiting: some write is parked, or was */
    TAILQ_ENTRY(share) link, waiting;
};

TAILQ_HEAD(put_list, put);
TAILQ_HEAD(writer_list, writer);
TAILQ_HEAD(share_list, share);

struct producer {
    struct producer_options options;
    struct batcher batcher;
    struct writer_list writers;
    struct share_list shares, waiting;
    /* The unfinished item that goes on beyond the limits, of which a queue has one: else nothing
     * could ever make room. */
    struct writer *floor_writer; /* NULL: it is whole, or gone */
    struct share *floor_share;   /* that of the floor_bytes; 0: the floor is free */
    size_t floor_bytes;
    struct put_list puts;
    uint32_t n_sent;
    uint64_t acked;
    uint64_t send_up_to; /* items up to this number wait for no linger */
    bool awaited;
    int ended; /* 0, -ENOENT, -ESHUTDOWN */
    bool shut; /* the backend takes nothing more */

    uint64_t epoch;
    uint64_t chain;      /* of the epoch's items that were cut */
    uint64_t known_last; /* the highest number that an answer called stored */
    bool doubled;     /* somebody else puts under this id: nothing is sent until there is another */
    bool epoch_fresh; /* nothing of it is acknowledged: its first put travels alone */
    bool epoch_wanted; /* begin the next once nothing is in flight */

    int64_t hold_us; /* nothing is sent before; 0: no hold */
    int64_t failed_us;
    struct backoff backoff;
    uint64_t probe_until;
    int failing; /* -ENOSPC or -EIO while the store is full or broken */

    int error; /* of opens that are gone, for the next flush */
    uint64_t released_last;

    struct op_list waiters; /* for acked to reach op->target */
    struct op_list pollers;
    struct op_list lookers; /* as waiters, but they take what they can get, and no error */
    int64_t ops_due_us;     /* not after the first deadline of these and of parked writes */

    struct request arm;
    bool arm_sent;
    bool armed;          /* the queue is full and the service will say when it is not */
    int64_t arm_next_us; /* when to ask again */
    int64_t arm_answered_us;

    int64_t now_us;  /* of the last call */
    int64_t trim_us; /* when spare buffers are dropped if nothing has come */
    struct producer_counters counters;
};

#define PROBE_MIN_US INT64_C(20000) /* not more often, whoever asks for it */

/* Trouble may be over: try soon instead of at the end of the hold. */
static inline void producer_probe(struct producer *p, int64_t now_us)
{
    int64_t soonest_us = time_after(p->failed_us, PROBE_MIN_US);

    if (p->hold_us > soonest_us)
        p->hold_us = soonest_us > now_us ? soonest_us : now_us;
}

/* The op's deadline counts from now on. */
static inline void producer_note_deadline(struct producer *p, const struct op *op)
{
    p->ops_due_us = time_min(p->ops_due_us, op->deadline_us);
}

/* ---- share.c ---- */

/* For one more writer; NULL: no memory. */
struct share *share_open(struct producer *p, struct budget_user *user);
/* One writer less. */
void share_close(struct producer *p, struct share *share);
/* All of them, with what is left in them. */
void shares_free(struct producer *p);

/* Bytes that were taken from the budget are the share's. */
void share_add(struct producer *p, struct share *share, size_t bytes);
/* They go back to the budget: of a share, or of items that were whole, of whomever. */
void share_give_back(struct producer *p, struct share *share, size_t bytes);
void shares_give_back(struct producer *p, size_t bytes);

/* A write parks in its share's list. False: it was cancelled before. */
bool share_park(struct producer *p, struct share *share, struct op *op);
bool shares_wait(const struct producer *p); /* any is parked */

/* ---- room.c ---- */

/* Take up to `want` bytes of room, of the queue's and of the mount's. Where no whole item is
 * buffered, one writer gets some beyond that. */
size_t producer_reserve(struct producer *p, struct writer *w, size_t want);
/* Of what must be kept whatever the limits. */
void producer_reserve_all(struct producer *p, struct writer *w, size_t bytes);

/* Bytes of room, those beyond the limits included; the mount's is a guess, others take of it. */
size_t producer_room(const struct producer *p, const struct writer *w);

/* Items that the queue takes until maxsize. */
uint64_t producer_item_room(const struct producer *p);

/* Ask the service how full the queue is, if somebody wants to know. */
void producer_ask_room(struct producer *p, int64_t now_us, struct effects *effects);

/* Whether the queue is full, the service having said so just now. */
bool producer_surely_full(const struct producer *p, int64_t now_us);

/* An ARM was answered: releases it. */
void producer_room_answered(struct producer *p, struct request *request, int64_t now_us);

/* What the service said may be no longer so. */
void producer_room_changed(struct producer *p);

/* When to ask or look again. */
int64_t producer_room_due(const struct producer *p);

/* ---- split.c ---- */

/* write(2), as producer_write(). */
void producer_write_begin(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                          struct effects *effects);

/* Go on with a write. False: it waits for room; park it, or leave it parked. */
bool producer_write_try(struct producer *p, struct op *op, int64_t now_us, struct effects *effects);

/* End a write: with what it has taken, waiting for that under O_SYNC, or else with `error`. */
void producer_write_end(struct producer *p, struct op *op, int error, int64_t now_us,
                        struct effects *effects);

/* All parked writes end, with what they have taken or with `error`. */
void producer_end_parked(struct producer *p, int error, int64_t now_us, struct effects *effects);

/* Deadlines of parked writes that have come. */
void producer_expire_parked(struct producer *p, int64_t now_us, struct effects *effects);

/* The writer's unfinished item becomes one. */
void producer_finish_partial(struct producer *p, struct writer *w, int64_t now_us);

/* Forget it. */
void producer_drop_partial(struct producer *p, struct writer *w);

/* ---- waiters.c ---- */

/* The op ends, with op->progress, when item `target` is acknowledged. */
void producer_wait(struct producer *p, struct op *op, uint64_t target, int64_t timeout_us,
                   int64_t now_us, struct effects *effects);

/* Wait for all that is written, unless there is an error to tell, which is then told. */
void producer_wait_for_all(struct producer *p, struct op *op, int *error, int64_t timeout_us,
                           int64_t now_us, struct effects *effects);

/* Waiters whose target was reached end. */
void producer_wake(struct producer *p, struct effects *effects);

/* Waiters for item `base` or later ones end with the error. */
void producer_fail_waiters(struct producer *p, uint64_t base, int error, struct effects *effects);

/* Opens that wrote item `base` or later ones are told; those that wait are told at once. */
void producer_report(struct producer *p, uint64_t base, int error, struct effects *effects);

/* Pollers end where a write would not wait. */
void producer_wake_pollers(struct producer *p, struct effects *effects);

/* Those who look at the queue end where there is nothing more to wait for. */
void producer_wake_lookers(struct producer *p, int64_t now_us, struct effects *effects);

/* Deadlines that have come, of waiters and of lookers. */
void producer_expire(struct producer *p, int64_t now_us, struct effects *effects);

/* ---- window.c ---- */

/* Send what may go. */
void producer_pump(struct producer *p, int64_t now_us, struct effects *effects);

/* When pump has something to do next. */
int64_t producer_pump_due(const struct producer *p);

/* A PUT was answered; -ENOENT is left to the caller. */
void producer_put_answered(struct producer *p, struct put *put, int64_t now_us,
                           struct effects *effects);

/* Drop what is not in flight. */
void producer_drop_puts(struct producer *p);

#endif
