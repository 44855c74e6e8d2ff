/*
 * One queue of a service, in memory: its record, the marks of tracked batches, and a cursor over
 * the untracked ones, which cost nothing here. All of it runs on the service's thread; time comes
 * in through struct queue_shared. Nothing here writes to the store: what must be written is noted
 * (shared->dirty, shared->unsaved) and commit.c commits it.
 *
 * Which batch is next: tracked batches with something ready stand in a tree; every batch from
 * `head` on that is not tracked is wholly ready, and none below `head` is. queue_peek() finds the
 * lowest untracked one and keeps what it saw in `front`.
 *
 * Counting: the sums over all tracked batches, by state, and record.n_items; what is ready is the
 * rest. tracked_open() takes a batch's sums out, tracked_close() puts the changed ones back.
 */
#ifndef QUEUEFS_CORE_QUEUE_QUEUE_H
#define QUEUEFS_CORE_QUEUE_QUEUE_H

#include <stdbool.h>

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "core/request.h"
#include "core/queue/item_states.h"
#include "core/store/store.h"

struct interest;
struct queue;
struct sequence;

/* A batch some item of which is, or was, not plainly ready. */
struct tracked_batch {
    struct queue *queue;
    uint64_t batch;
    enum framing framing;
    int64_t put_time_us;
    struct mark mark;
    struct batch_index index; /* built when first needed */
    size_t index_len;         /* of the bytes it is of: the store lets go of what is done */
    uint32_t index_crc;
    uint64_t done_items, done_bytes; /* that the record has been told of */
    int64_t timer_us;                /* when to look at it again, or earlier; TIME_FOREVER: never */
    bool damaged;                    /* set aside: kept in the store, and not given */
    bool is_open;                    /* its sums are taken out of the queue's */
    bool stored;                     /* the store has a mark */
    bool dirty;                      /* the store's mark is not this one: in shared->dirty */
    bool is_ready;                   /* stands in queue->ready */
    RB_ENTRY(tracked_batch) by_batch, by_ready, by_timer;
    TAILQ_ENTRY(tracked_batch) dirty_link;
};

RB_HEAD(tracked_by_batch, tracked_batch);
RB_HEAD(tracked_by_ready, tracked_batch);
RB_HEAD(tracked_by_timer, tracked_batch);
RB_HEAD(sequence_tree, sequence);

/* Items of one batch that have died together and are not in the log yet; queue NULL: none. */
struct deaths {
    struct queue *queue;
    uint64_t batch;
    uint32_t from, to;
    uint32_t deliveries;
    bool buried;
};

/* Damage that was found since the start, and what the log has said of it. */
struct damage {
    uint64_t n_rows;
    uint32_t n_lines, n_unsaid; /* since `since_us` */
    int64_t since_us;
};

/* What the queues of one service share. */
struct queue_shared {
    struct store *store;
    int64_t now_us, wall_us; /* of the round; set by the service */
    int64_t ran_us;          /* the same: how long services have run on this store */
    struct tracked_by_timer timers;
    TAILQ_HEAD(, tracked_batch) dirty;
    TAILQ_HEAD(, queue) unsaved;    /* whose record must be written */
    TAILQ_HEAD(, queue) changed;    /* since their last revision */
    TAILQ_HEAD(, sequence) staged;  /* that the open group moves */
    TAILQ_HEAD(, sequence) holding; /* that hold requests back */
    TAILQ_HEAD(, queue) calling;    /* whose items may not be come for, by call_us */
    struct deaths deaths;
    struct damage damage;
};

/* Where a queue, or what is left of one, stands in the order of last changes. */
struct listed {
    TAILQ_ENTRY(listed) link;
    uint64_t revision;
    struct queue *queue; /* NULL: gone, then the rest counts */
    uint64_t number;
    char name[QUEUE_NAME_MAX + 1];
    int64_t gone_us;
};

/* The lowest untracked batch, as peeked; batch 0: not looked for yet, or none. */
struct queue_front {
    uint64_t batch;
    uint32_t n_items;
    uint64_t n_bytes; /* payload */
    enum framing framing;
    int64_t put_time_us;
};

/* The untracked batch that was looked at last; batch 0: none. */
struct queue_looked {
    uint64_t batch;
    struct batch_index index; /* owned */
};

struct queue {
    struct queue_shared *shared;
    struct queue_record record; /* with all that is in memory, without what is staged */
    struct {
        uint64_t n_batches, n_items, n_bytes;
    } staged; /* puts of the open group */

    struct tracked_by_batch tracked;
    struct tracked_by_ready ready;
    uint64_t head;
    struct queue_front front;
    struct queue_looked looked;
    uint64_t items[ITEM_STATES], bytes[ITEM_STATES]; /* sums over `tracked` */
    uint64_t n_unreachable, unreachable_bytes;       /* of batches that cannot be read */
    uint64_t n_damaged;                              /* batches set aside */
    struct {
        uint64_t n_items, n_ready, ready_bytes;
    } aside; /* sums over the tracked ones of these, which are in those of `items` too */

    struct sequence_tree sequences;
    LIST_HEAD(, interest) armed;
    TAILQ_HEAD(, interest) line; /* for items, see session.h */
    bool calling;                /* there are items and a line: in shared->calling */
    int64_t call_us;             /* then so many more are told */
    uint64_t n_calls;
    TAILQ_ENTRY(queue) calling_link;
    struct listed listed;

    bool unsaved, changed;
    bool counters_dirty; /* counters in the record moved that no commit waits for */
    TAILQ_ENTRY(queue) unsaved_link, changed_link;
    RB_ENTRY(queue) by_number, by_name;
};

void queue_shared_init(struct queue_shared *shared, struct store *store);

/* a - b, where a damaged store might have made b larger. */
static inline uint64_t sub_floor(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* ---- queue.c ---- */

/* The record is copied. 0 or -ENOMEM. free: without writing anything; takes NULL. */
int queue_new(struct queue_shared *shared, const struct queue_record *record, struct queue **queue);
void queue_free(struct queue *q);

/* Read the marks and sequences that the store has. 0, or of the store, -ENOMEM. */
int queue_load(struct queue *q);

/* Items ready, leased and delayed, staged ones too: what maxsize limits. */
uint64_t queue_count(const struct queue *q);
bool queue_has_room(const struct queue *q);
bool queue_has_ready(const struct queue *q);
uint64_t queue_n_ready(const struct queue *q);
uint64_t queue_n_untracked(const struct queue *q);
void queue_state(struct queue *q, struct queue_state *state);
void queue_entry(struct queue *q, struct queue_entry *entry);

void queue_changed(struct queue *q); /* it needs a new revision */
void queue_unsaved(struct queue *q); /* its record must be written; changed too */

/* A put was committed as `batch`: its items are there. */
void queue_take_batch(struct queue *q, const struct queue_front *batch);

/* Leases and delays that end by now. shared->now_us. */
void queue_tick(struct queue_shared *shared);
int64_t queue_deadline(const struct queue_shared *shared); /* TIME_FOREVER: none */

/* Some leases of the lessee, which has any, end: a delivery without acknowledgement each. The work
 * is that of one GET. */
void lessee_end_leases(struct lessee *lessee);

/* ---- loan.c ---- */

/* So many items of the loan are lent no more; the last ones free it. */
void loan_end(struct loan *loan, uint32_t n_items);
/* It has none any more, and nobody is told: of queues that are used no more. */
void lessee_forget(struct lessee *lessee);

/* ---- tracked_batch.c: tracked batches ---- */

/*
 * Damage costs the batch it hit, which is set aside: it stays in the store, nothing of it is given,
 * not even what its bytes still say, until a purge of the queue removes it. Of one that is not
 * tracked `view` says how many items it has, where that is known (else n_items is 0); from then on
 * it is tracked, without any. `what` ends the log's line. 0 or -ENOMEM.
 */
int queue_set_aside(struct queue *q, uint64_t batch, const struct batch_view *view,
                    const char *what);
void tracked_set_aside(struct tracked_batch *t, const char *what); /* open or not */
/* The first batch from `from` on, and what is known of it without reading it; those of which
 * nothing is known are set aside. 0, -ENOENT, of the store, -ENOMEM. */
int queue_next_stored(struct queue *q, uint64_t from, uint64_t *batch, struct batch_view *view);
/* Look for the lowest untracked batch, into q->front. 0 or an error of the store. */
int queue_peek(struct queue *q);
/* The batch with the lowest ready item, open; NULL: none below batch number `below`. */
int queue_lowest(struct queue *q, uint64_t below, struct tracked_batch **tracked);
struct tracked_batch *tracked_find(struct queue *q, uint64_t batch);
/* The batch of that number, open; tracked from now on if it was not. -ENOENT: it is no more, or
 * never was; -EBADMSG, or of the store, -ENOMEM. */
int queue_track(struct queue *q, uint64_t batch, struct tracked_batch **tracked);
/* Of the batch `front` tells of. *tracked is open. 0 or -ENOMEM. */
int tracked_new(struct queue *q, const struct queue_front *front, struct tracked_batch **tracked);
void tracked_open(struct tracked_batch *t);
void tracked_close(
    struct tracked_batch *t); /* may free a clean one that is wholly untracked again */
void tracked_free(struct tracked_batch *t); /* open, or with all sums taken out */
void tracked_dirty(struct tracked_batch *t);
/* What is in the store is now what is here (or, all done, is gone there): perhaps frees it. */
void tracked_saved(struct tracked_batch *t, bool stored);
void tracked_timer(struct tracked_batch *t, int64_t when_us); /* look at it then, at the latest */

/* The batch's bytes, until the next call on the store. 0, -EBADMSG (then it is set aside, open or
 * not), or of the store. with_index: t->index as well. */
int tracked_view(struct tracked_batch *t, bool with_index, struct batch_view *view);
/* All of them, `len` as they should be, to where they go. Errors as of tracked_view(). */
int tracked_copy(struct tracked_batch *t, uint8_t *to, size_t len);
/* Cut the mark at an item; reads the batch if it must. 0, or as tracked_view(), -ENOMEM. */
int tracked_cut(struct tracked_batch *t, uint32_t at);

/* ---- lease.c ---- */

struct lease_part {
    uint64_t batch;
    uint32_t from, to;
};

/* What one GET was lent; all under one token. */
struct lease {
    enum get_kind kind;
    uint64_t token;           /* as it is in the spans */
    uint64_t seal;            /* of the lessee */
    struct lease_part *parts; /* owned */
    size_t n_parts, cap;
};

void lease_fini(struct lease *lease);

/*
 * Lease the lowest ready items, or the one that the GET names if it is ready or delayed. 0, also
 * where there are none (lease->n_parts 0); an error only where nothing was leased.
 */
int queue_lease(struct queue *q, const struct request *get, struct lessee *lessee,
                struct lease *lease);
/* Lay what of the lease is still leased into request->out.get. 0, -ENOMEM, of the store, or
 * -EBADMSG: a batch of it is damaged and has been set aside; the rest can be leased anew. */
int queue_fill(struct queue *q, const struct lease *lease, struct request *request);
/* Whether anything of the lease is still leased under it. */
bool queue_lends(struct queue *q, const struct lease *lease);
/* All of the lease back, uncounted. */
void queue_unlease(struct queue *q, const struct lease *lease);

/* ---- settle.c ---- */

/* As the lessee asks; NULL: the service itself, with the token as it is in the spans. 0, or of the
 * store, -EBADMSG, -ENOMEM; then nothing of it was done. */
int queue_settle(struct queue *q, const struct settlement *settlement, const struct lessee *lessee,
                 uint64_t *n_late);
/* The delivery of the leased span at `pos` ends without acknowledgement. The batch is open. */
void tracked_fail(struct tracked_batch *t, uint32_t pos);

/* Make some ready items of batches below `below` done, a bounded piece of work: PURGE_MORE, or 0
 * when none is left. *n_items grows. Negative: of the store, -ENOMEM. */
enum { PURGE_MORE = 1 };
int queue_purge(struct queue *q, uint64_t below, uint64_t *n_items);

/* ---- damage.c ---- */

/* A row is damaged: counted, and said in a line, where there have not been too many of late. */
void damage_found(struct queue_shared *shared, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Say how many were found and not said: at once, or when it is time. */
void damage_tell_rest(struct queue_shared *shared, bool at_once);

/* ---- list.c ---- */

/* Fill request->out.list. 0, or of the store, -ENOMEM. Batches that cannot be read are left out. */
int queue_list(struct queue *q, struct request *list);

/* ---- dead.c: items that die are told to the log, together where they stand together ---- */

/* The span at `pos` dies after so many deliveries, because it was buried or has failed. */
void tracked_dies(const struct tracked_batch *t, uint32_t pos, uint32_t deliveries, bool buried);
void queue_log_deaths(struct queue_shared *shared);

RB_PROTOTYPE(tracked_by_batch, tracked_batch, by_batch, tracked_compare)
RB_PROTOTYPE(tracked_by_ready, tracked_batch, by_ready, tracked_compare)
RB_PROTOTYPE(tracked_by_timer, tracked_batch, by_timer, tracked_timer_compare)

#endif
