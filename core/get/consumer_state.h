/*
 * The inside of a consumer, shared by the files that make it up:
 *
 *   pool.c         fetched items
 *   ack_queue.c    settlements on their way
 *   give_back.c    what nobody takes
 *   claim_lines.c  claims: ids that are given, items that are held
 *   reader.c       what one read is given, what is acknowledged
 *   waiters.c      ops that are parked: the end of a wait
 *   fetch.c        GET and ARM: when, how much, their answers
 *   consumer.c     its life, the calls of its users, the order in which things are looked at
 *
 * Each knows only those above it.
 *
 * step() of consumer.c is run at the end of every call and brings everything up to date: whatever a
 * call changes, it need only change the state.
 */
#ifndef QUEUEFS_CORE_GET_CONSUMER_STATE_H
#define QUEUEFS_CORE_GET_CONSUMER_STATE_H

#include "core/backoff.h"
#include "core/clock.h"
#include "core/get/ack_queue.h"
#include "core/get/consumer.h"
#include "core/get/pool.h"

#define POOL_IDLE_US         INT64_C(20000)   /* what nobody takes for so long goes back */
#define CLOSE_WAIT_US        INT64_C(1000000) /* a close waits no longer */
#define AWAY_US              INT64_C(1000000) /* no answer for so long: the service is away */
#define LEAVING_US           INT64_C(20000)   /* the release follows a last close within this */
#define FETCH_BYTES          ((size_t)1 << 20)
#define FETCH_AHEAD          ((size_t)2 << 20) /* a stream of large reads keeps so much in the pool */
#define FETCH_WAITERS        1024              /* looked at to know how much to fetch */
#define FETCH_GROWTH_MAX     65536             /* items */
#define CLAIM_GROWTH_MAX     256               /* items claimed ahead */
#define CLAIM_AHEAD_LEASE_US INT64_C(1000000) /* of a shorter lease nothing is claimed ahead */
#define CLAIM_LINE           ((size_t)ITEM_ID_DIGITS + 1)
#define CLAIM_LINES_MAX      8192 /* of one read */

/* The read is due (its timeout has passed) and waits for the producer first. */
#define CONFIRM_LATER UINT64_MAX

/* The offset of a read that is a consumer_peek(). */
#define OP_PEEK (INT64_MIN + 1)

/* What a read was given: bytes in chunks, or a copy of few; counted references. */
struct portion {
    atomic_uint refs;
    size_t len;
    size_t cost; /* bytes of memory that it holds, of all its chunks */
    struct iovec iov[CUT_PIECES_MAX];
    size_t n_iov;
    struct chunk *chunks[CUT_PIECES_MAX];
    size_t n_chunks;
    bool settled; /* acknowledged; the bytes may still be read again */
    size_t n_ranges;
    struct settlement ranges[];
};

struct reader {
    struct consumer *consumer;
    struct budget_user *user; /* a reference */
    size_t held_bytes;        /* of his budget: what `last` and `partial` cost */
    TAILQ_ENTRY(reader) link;
    uint64_t left; /* items until the end of file, or READER_UNLIMITED */
    int64_t timeout_us;
    int64_t pos;          /* where the next new bytes begin */
    struct portion *last; /* what ends at pos; NULL: nothing was given yet */
    bool ended;           /* the one item of framing file was given */
    bool active;          /* has read since its last close */
    bool reads_only;      /* a peek takes nothing for it */
    bool has_parked;      /* some op of it was parked, and may still be */
    bool leaving;         /* closed in the middle of an item, and not read since */
    unsigned n_again;     /* how often `last` was given again from its beginning */

    /* An item in the middle of which the reader is; chunk NULL: none. */
    struct {
        struct chunk *chunk;
        const uint8_t *data; /* the rest */
        size_t len;
        bool file;
        bool begun;   /* bytes of it were given */
        bool is_void; /* its lease is: the rest is given, and nothing acknowledged */
        struct settlement range;
    } partial;

    /* A claim: the end of the last line, which was larger than its read. */
    char line[CLAIM_LINE];
    size_t line_left;
};

struct consumer {
    struct consumer_options options;
    struct consumer_counters counters;
    int ended; /* 0, -ENOENT or -ESHUTDOWN */
    TAILQ_HEAD(, reader) readers;

    struct pool pool;
    bool returning;      /* what is in the pool has to go back */
    int64_t touched_us;  /* when the pool got or gave something */
    int64_t taken_us;    /* when the pool gave something */
    uint64_t given_back; /* position of the last give-back: no GET before it is answered */
    struct ack_queue acks;
    struct claims *claims; /* of kind GET_CLAIM, else NULL */
    struct consumer *peer; /* or NULL */
    uint64_t peers_mark;   /* position of the peer's ack queue: no GET before it is answered */
    bool peer_needs_step;  /* the peer has to step too */
    unsigned n_leaving;    /* readers */
    int64_t leaving_us;    /* until when nothing is taken because of them */

    /* Parked. */
    struct op_list waiting; /* reads */
    struct op_list polling;
    struct op_list closing; /* closes, and flushes */
    bool shut;              /* nothing is parked any more */
    bool any_due;           /* some read in `waiting` may be due */
    bool look;              /* something changed that a parked op may wait for */
    int64_t review_us;      /* no deadline of a parked op is earlier */

    /* Fetching. */
    struct budget_user *taker; /* who was given something last; a reference, or NULL */
    struct chunk *get; /* the one GET that is in flight or waits to be sent again; or NULL */
    int64_t get_retry_us;
    struct backoff backoff;
    struct request *arm;  /* the same for ARM */
    uint64_t arm_changes; /* `changes` when it was sent */
    int64_t arm_retry_us;
    uint64_t serial;    /* of the last GET that was sent */
    uint64_t emptied;   /* of the last GET that found nothing */
    uint64_t confirm;   /* the highest serial that some read waits for */
    uint64_t changes;   /* calls of consumer_changed */
    bool armed;         /* the service will tell when an item is ready */
    bool discard;       /* what the GET in flight brings goes back: lower items did */
    bool streaming;     /* large reads follow one another */
    bool slow;          /* the last large read left more than was taken in time */
    uint32_t growth;    /* items to ask for ahead of small reads */
    int64_t arrived_us; /* the last GET with items */
    int64_t want_us;    /* since when an answer is wanted; TIME_FOREVER: none is */
    int fault;          /* of the last GET, 0 once it was answered */
};

/* ---- give_back.c ---- */

/* Everything in the pool goes back, or `returning` is set until it can. */
void consumer_return_pool(struct consumer *c, int64_t now_us);

/* Claimed ahead, and nobody waits for it: it goes back. Nothing of a stream. */
void consumer_yield(struct consumer *c, int64_t now_us);

static inline bool consumer_is_claims(const struct consumer *c)
{
    return c->options.kind == GET_CLAIM;
}

/* ---- claim_lines.c ---- */

/* Hold up to `max` items of the pool and write a line each: how many, at least 1. -ENOENT: the pool
 * is empty; -EAGAIN: settlements must be answered first; -ENOMEM. */
ssize_t claim_fill(struct consumer *c, char *lines, size_t max, int64_t now_us);

/* Hold all that the answered GET has brought; what cannot be held goes back. As consumer_hold(). */
int claim_all(struct consumer *c, const struct request *get, int64_t now_us);

/* ---- reader.c ---- */

/* Finish a read that need not wait: true. It needs items that are not there: false. */
bool reader_read(struct reader *r, struct op *op, int64_t now_us, struct effects *effects);
int64_t reader_timeout(const struct reader *r);
void reader_acknowledge(struct reader *r, int64_t now_us);
void reader_return_partial(struct reader *r, int64_t now_us);
/* What it was given is not to be acknowledged any more: so many items. What it is in the middle of
 * it has to the end. */
uint64_t reader_forget(struct reader *r);

/* Closed in the middle of an item: by the last of those who share the open, and its release is on
 * its way, or by one and the others read on. Until the one or the other, or for a moment, nothing
 * is taken from the queue: what goes back comes first. */
void reader_leave(struct reader *r, int64_t now_us);
void reader_stay(struct reader *r);
static inline bool consumer_held_up(const struct consumer *c)
{
    return c->n_leaving > 0 || (c->peer && c->peer->n_leaving > 0);
}
void reader_free(struct reader *r); /* settled before */

/* It has not answered for so long that nobody need wait for it. */
static inline bool consumer_is_away(const struct consumer *c, int64_t now_us)
{
    return c->want_us != TIME_FOREVER && now_us - c->want_us >= AWAY_US;
}

/* ---- waiters.c ---- */

/* Park a read that found nothing. */
void wait_read(struct reader *r, struct op *op, int64_t now_us, struct effects *effects);

/* Park in `list` until `deadline_us`; an op that was cancelled before is finished. */
void wait_park(struct consumer *c, struct op *op, struct op_list *list, int64_t deadline_us,
               struct effects *effects);

/* Finish what need not wait any longer. */
void wait_serve(struct consumer *c, int64_t now_us, struct effects *effects);
void wait_review(struct consumer *c, int64_t now_us, struct effects *effects);
void wait_pollers(struct consumer *c, struct effects *effects);
void wait_closers(struct consumer *c, struct effects *effects);
bool wait_any_closer(const struct consumer *c); /* one that waits for the pool to be given back */

/* ---- fetch.c ---- */

void fetch_step(struct consumer *c, int64_t now_us, struct effects *effects);
void fetch_get_done(struct consumer *c, struct chunk *chunk, int64_t now_us,
                    struct effects *effects);
void fetch_arm_done(struct consumer *c, struct request *request, int64_t now_us,
                    struct effects *effects);
int64_t fetch_deadline(const struct consumer *c);
/* What waits to be sent again goes with the next step. */
void fetch_retry(struct consumer *c);

/* Drop what waits to be sent again: nobody will answer it. */
void fetch_drop(struct consumer *c);

#endif
