/*
 * A get side of one queue in one mount: a pool of items that were fetched and not given yet, shared
 * by all opens of `out` and `next`, readers that wait, and the settlements (acknowledged, given
 * back) on their way to the service. `claim` has another one beside it, of kind GET_CLAIM: its
 * readers are given ids, and what they were given is held from then on (claims.h).
 *
 * A reader's read takes from the pool what it is given: many whole items for a read of 128 KiB or
 * more, one for a smaller one. What it was given is acknowledged by its next read or close; what
 * stays in the pool goes back, uncounted, when the last reader closes or when nobody has read for a
 * moment, so that other mounts are not kept waiting. How much is fetched at a time grows while
 * readers are quick to take it and falls back to what one read needs when they are not. What was
 * claimed ahead stays for a moment after the last close too: the next worker is about to come.
 *
 * Pure logic as producer.h: the caller holds the queue's lock and runs the effects.
 */
#ifndef QUEUEFS_CORE_GET_CONSUMER_H
#define QUEUEFS_CORE_GET_CONSUMER_H

#include "core/request.h"
#include "core/get/claims.h"
#include "core/histogram.h"
#include "core/op.h"
#include "core/put/producer.h"

/* A read of this many bytes or more gives as many items as fit. */
#define CONSUMER_BULK_READ ((size_t)128 << 10)

/* A longer read may be a piece of a read(2) of more than 1 MiB, which arrives in pieces of so much;
 * the buffer's first and last page may be cut. */
#define CONSUMER_PIECE_MIN (((size_t)1 << 20) - 4096)

#define READER_UNLIMITED UINT64_MAX

struct reader; /* one open of out, next or claim */

struct consumer_counters {
    uint64_t total_gets; /* items given */
    uint64_t batch_gets; /* GETs that brought items */
    uint64_t batch_items;
    uint64_t acks_late;
    uint64_t waiting;               /* reads parked */
    uint64_t in_flight_settlements; /* requests; after consumer_end() 0 means: nothing left to do */
    uint64_t ending_gets;           /* of these, GETs that may bring what must go back */
    struct histogram latency;       /* of GETs that brought items: request to answer */
};

struct consumer;

struct consumer_options {
    enum get_kind kind;
    struct producer_id session; /* of every request, which the caller addresses when it leaves */
    struct producer
        *producer; /* of the same queue: what it has buffered is sent before an end of file */
    const struct all_settings *settings;           /* live */
    const struct queue_state *state;               /* live */
    void (*request_done)(struct request *request); /* `done` and `owner` of every request */
    void *request_owner;
    atomic_size_t *kept_bytes; /* of claims, claims.h; else NULL */
};

int consumer_new(const struct consumer_options *options, struct consumer **consumer);
void consumer_free(struct consumer *c); /* no reader, nothing in flight; takes NULL */

/* The other one of the same queue: each sees what the other has given back before it says that the
 * queue is empty. Neither may be called after the other was freed. */
void consumer_set_peer(struct consumer *c, struct consumer *peer);

/* user: who pays for what is fetched and held. limit: items until the end of file
 * (READER_UNLIMITED). timeout_us: how long to wait for the
 * first item (and not at all for later ones), TIME_FOREVER: at each read, -1: the queue's
 * get_timeout as it is at each read. */
int reader_new(struct consumer *c, struct budget_user *user, uint64_t limit, int64_t timeout_us,
               struct reader **reader);
struct consumer *reader_consumer(const struct reader *r);

/* How many bytes all reads of this open give together, once it has the last item that it gets; 0:
 * not known. Once it is, reads may begin further on, too: what they skip counts as given. */
int64_t reader_size(const struct reader *r);

/*
 * read(2) at op->offset (OP_GO_ON: on from where the last one ended) of at most op->len bytes.
 * Result: bytes, which lie in op->iov during done(); 0 end of file; -EAGAIN, -EINVAL (an offset
 * that the last read did not give), -ETIMEDOUT (the service is away), -EIO (it answers, but its
 * store fails), -ENOENT, -ESHUTDOWN, -ENOMEM, -ENOBUFS (its user holds all that he may).
 * Parks while it waits. Of a claim: whole lines of an id each, or the rest of one; once an id was
 * given no read of this open waits for more.
 */
void consumer_read(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                   struct effects *effects);

/*
 * For a size to show of an open that gets one item: it gets that item now, as by a read under
 * O_NONBLOCK, for the reads to come. Result: reader_size(), or an error of such a read. Waits as
 * long as one would, but not for a service that is away.
 */
void consumer_peek(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                   struct effects *effects);

/* What it got so and no read has begun goes back, and it gets no more so. */
void consumer_peek_no_more(struct consumer *c, struct reader *r, int64_t now_us,
                           struct effects *effects);

/* close(2) of one descriptor (FUSE FLUSH): what was given is acknowledged, what was not goes back,
 * and the op ends when the service has said so, after 1 s at most, or at once where it has not
 * answered for 1 s. An item that was given in part stays with the open, for whoever shares it, and
 * goes back with the release; whoever reads the queue meanwhile waits a moment for that. So does
 * one that was only peeked at, where op->sharer. */
void consumer_close(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                    struct effects *effects);

/* The last close (FUSE RELEASE): as close, waiting for nothing. Frees the reader. */
void consumer_release(struct consumer *c, struct reader *r, int64_t now_us,
                      struct effects *effects);

/* poll(2): whether a read would not wait. A poller parks until so; result 0. Leases nothing. */
bool consumer_readable(const struct consumer *c, const struct reader *r);
void consumer_poll(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                   struct effects *effects);

/* A request of this module (GET, SETTLE, ARM) was answered. Releases and frees or reuses it. */
void consumer_request_done(struct consumer *c, struct request *request, int64_t now_us,
                           struct effects *effects);

/* EVENT_READY came, or the state changed, or the producer's puts were acknowledged, or the service
 * is another one (`rearm`): waiting readers look again. */
void consumer_changed(struct consumer *c, bool rearm, int64_t now_us, struct effects *effects);

/* What was refused may go again now. */
void consumer_retry(struct consumer *c, int64_t now_us, struct effects *effects);

/* Session and store are others from now on: nothing is lent any more. What was given stays given
 * and is not acknowledged (counted in acks_late), what was not is dropped, nothing is held. */
void consumer_begin_anew(struct consumer *c, int64_t now_us, struct effects *effects);

/* Whether reads or polls are parked: the producer then sends at once (producer_set_awaited by
 * mount_queue.c). */
bool consumer_waited_for(const struct consumer *c);

/* A PUT of this mount leaves now: reads that wait ask right behind it, and the service answers as
 * soon as it has committed. Where the GET overtakes the PUT it finds nothing, and all is as if it
 * had not been sent. */
void consumer_expect(struct consumer *c, int64_t now_us, struct effects *effects);

/* touch flush: the op ends when every settlement and renewal made before is answered, those of the
 * peer too, and what was claimed ahead is back. 0 or an error. */
void consumer_flush(struct consumer *c, struct op *op, int64_t timeout_us, int64_t now_us,
                    struct effects *effects);

/* ---- of kind GET_CLAIM only ---- */

/* Hold what an answered GET_CLAIM, checked or not, has brought. 0, or why one could not be held: it
 * goes back then. -ESTALE its lease has ended, -EAGAIN settlements must be answered first, -ENOMEM,
 * -EPROTO, -ENOENT, -ESHUTDOWN. The request's sent_us is the client's or, where there is none, when
 * it was submitted. The answer stays the caller's. */
int consumer_hold(struct consumer *c, const struct request *get, int64_t now_us,
                  struct effects *effects);

/* claims_settle(), claims_open(), claims_close(), with what follows from them. */
int consumer_settle(struct consumer *c, uint64_t id, enum settle_verb verb, int64_t now_us,
                    struct effects *effects);
int consumer_open_claim(struct consumer *c, uint64_t id, struct claim **claim, int64_t now_us,
                        struct effects *effects);
void consumer_close_claim(struct consumer *c, struct claim *claim, int64_t now_us,
                          struct effects *effects);
const struct claims *consumer_claims(const struct consumer *c);

/* ---- */

void consumer_tick(struct consumer *c, int64_t now_us, struct effects *effects);
int64_t consumer_deadline(const struct consumer *c);

/* As producer_end. With -ESHUTDOWN the pool and what is held go back and settlements are still
 * sent. */
void consumer_end(struct consumer *c, int error, int64_t now_us, struct effects *effects);

/* After consumer_end(): nothing is waited for any longer. Closes and flushes that wait end, and
 * those that still come at once. */
void consumer_shut(struct consumer *c, struct effects *effects);

const struct consumer_counters *consumer_counters(const struct consumer *c);

#endif
