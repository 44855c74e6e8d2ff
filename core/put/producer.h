/*
 * The put side of one queue in one mount: what open files of `in` write is split into items, the
 * items are gathered into batches (batcher.h), batches travel as PUT requests, up to max_in_flight
 * at a time, and stay here until they are acknowledged.
 *
 * Items are numbered from 1 in the order in which they became whole; the number is the sequence
 * number of exactly-once puts, and what fsync and flush wait for. Pure logic: no lock, no clock,
 * no I/O. The caller (mount_queue.c) holds the queue's lock and afterwards runs what `effects`
 * collected.
 *
 * Every op that is passed in ends by effects_finish_locked(), at once or later; `now_us` is
 * monotonic.
 */
#ifndef QUEUEFS_CORE_PUT_PRODUCER_H
#define QUEUEFS_CORE_PUT_PRODUCER_H

#include <bsd/sys/queue.h>

#include "core/budget.h"
#include "core/request.h"
#include "core/put/batcher.h"
#include "core/histogram.h"
#include "core/op.h"

struct share; /* what one user has of a producer's buffer */

/* One open of `in`. Initialised by writer_init, ended by producer_release. */
struct writer {
    TAILQ_ENTRY(writer) link;
    struct share *share;
    uint8_t *partial; /* the item that is not whole yet; owned */
    size_t partial_len, partial_cap;
    bool skipping;        /* the rest of an item that was too large, up to its separator */
    uint64_t last;        /* number of its last whole item; 0: none */
    int error;            /* of a put that failed after write(2) returned; told once */
    enum framing framing; /* of the unfinished item: what it began with */
};

struct producer_counters {
    uint64_t total_puts;  /* items that became whole and were taken */
    uint64_t batch_puts;  /* batches acknowledged */
    uint64_t batch_items; /* items in them */
    uint64_t put_errors;  /* items */
    uint64_t retries;     /* PUTs sent again by this module (queue or store full, fault) */
    uint64_t room_waits;  /* writes that had to wait for room */
    uint64_t duplicates;  /* items that the service had already */
    uint64_t buffered_items, buffered_bytes; /* whole items not acknowledged; bytes: also partial */
    uint64_t pending_batches;                /* in flight, or waiting for room */
    struct histogram latency;                /* write to acknowledgement, an item each */
};

struct producer; /* its fields are in producer_state.h, for producer.c and its tests */

struct producer_options {
    struct producer_id id; /* of every request, which the caller addresses when it leaves */
    const struct all_settings *settings;       /* live: the caller changes them under the lock */
    const struct queue_state *state;           /* live, as last heard of the service */
    void (*put_done)(struct request *request); /* `done` of every PUT and ARM */
    void *put_owner;                           /* and as `owner` */
    int64_t timeout_us; /* how long an O_SYNC write and a syncing close wait; 0: 30 s */
};

int producer_new(const struct producer_options *options, struct producer **producer);
void producer_free(struct producer *p); /* nothing parked, nothing in flight; takes NULL */

/* An open by `user`, of whom the producer keeps a reference as long as it needs one. 0, -ENOMEM. */
int writer_init(struct producer *p, struct writer *w, struct budget_user *user);

/*
 * write(2): takes op->data[0, len). Result: bytes taken, or a negative errno: -EMSGSIZE,
 * -EAGAIN, -ETIMEDOUT, -ENOSPC, -ENOENT (queue removed), an earlier put's error. Parks while the
 * buffer or the queue is full, with a copy of its bytes, or where those of all who wait are many,
 * of the first few: then fewer are taken than there are. -ENOBUFS: there is not even room for
 * those. op->sync: ends when what this open wrote is acknowledged.
 */
void producer_write(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                    struct effects *effects);

/* close(2) of one descriptor (FUSE FLUSH), which need not be the last: tells a kept error, waits
 * where sync_on_close is set. After producer_end it fails only where this open has lost something
 * or would wait. */
void producer_close(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                    struct effects *effects);

/* The last close (FUSE RELEASE), which alone ends an unfinished item: it becomes one (framing file:
 * the open's item). w is the caller's again. */
void producer_release(struct producer *p, struct writer *w, int64_t now_us,
                      struct effects *effects);

/* fsync(2): 0 when every whole item written to the queue before is acknowledged. w: whose error to
 * tell. -ETIMEDOUT after timeout_us, -ENOSPC while the store is full, other errors of puts. */
void producer_sync(struct producer *p, struct writer *w, struct op *op, int64_t timeout_us,
                   int64_t now_us, struct effects *effects);

/* touch flush: as producer_sync; errors of opens that are gone are told here. */
void producer_flush(struct producer *p, struct op *op, int64_t timeout_us, int64_t now_us,
                    struct effects *effects);

/* Send what is buffered now, for a reader who found nothing.
 * Returns the number that producer_acked() must reach; less or equal: nothing to wait for. */
uint64_t producer_push(struct producer *p, int64_t now_us, struct effects *effects);
uint64_t producer_acked(const struct producer *p);

/* Send what is buffered now, for somebody who looks at the queue. The op ends, always with 0, when
 * it is acknowledged, when it cannot go on now (queue or store full, the end), or after wait_us. */
void producer_show(struct producer *p, struct op *op, int64_t wait_us, int64_t now_us,
                   struct effects *effects);

/* While set, every batch is sent as soon as it has an item: someone waits for the queue. */
void producer_set_awaited(struct producer *p, bool awaited, int64_t now_us,
                          struct effects *effects);

/* poll(2): whether a write would not wait. A poller (op) parks until so; result 0. */
bool producer_writable(const struct producer *p, const struct writer *w);
void producer_poll(struct producer *p, struct writer *w, struct op *op, struct effects *effects);

/* A PUT, or an ARM of this module (EVENT_ROOM), was answered. Releases and frees the request.
 * Whether the service was away meanwhile is the backend's affair: it answers when it can. */
void producer_put_done(struct producer *p, struct request *request, int64_t now_us,
                       struct effects *effects);

/* Somebody else puts under the session's id, as an answer has shown: nothing is sent any more until
 * producer_begin_anew() says that there is another. */
bool producer_is_doubled(const struct producer *p);

/* Session and store may be others from now on: once nothing is in flight, what is not acknowledged
 * goes out as from a producer that has just begun. */
void producer_begin_anew(struct producer *p, int64_t now_us, struct effects *effects);

/* What was refused may go again now. */
void producer_retry(struct producer *p, int64_t now_us, struct effects *effects);

/* Settings or state changed, or EVENT_ROOM came: parked writers may go on, puts be sent again. */
void producer_changed(struct producer *p, int64_t now_us, struct effects *effects);

/* Deadlines: linger, parked ops, retries. producer_deadline: when to call tick next. */
void producer_tick(struct producer *p, int64_t now_us, struct effects *effects);
int64_t producer_deadline(const struct producer *p);

/* The queue is gone (-ENOENT) or the mount is ending (-ESHUTDOWN): every op ends with `error` (a
 * write with what it has done), so does each later one but close; with -ENOENT what is buffered is
 * dropped and counted. With -ESHUTDOWN what is buffered is still sent. */
void producer_end(struct producer *p, int error, int64_t now_us, struct effects *effects);

/* An unfinished item is still there (an open without its last close). */
uint64_t producer_unfinished(const struct producer *p);

const struct producer_counters *producer_counters(const struct producer *p);

/* Why the store takes nothing of this queue now: -ENOSPC, -EIO; 0: it does, as far as is known. */
int producer_failing(const struct producer *p);

#endif
