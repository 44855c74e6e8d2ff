/*
 * Settlements (acknowledged, given back, renewed) of one queue on their way to the service:
 * gathered, ranges that touch joined, sent after a short linger, when many have gathered or when
 * somebody hurries; a few SETTLE requests travel at a time, and one that failed is sent again until
 * it is answered.
 *
 * Space is reserved before an item is promised to a reader, so that adding never fails. Positions
 * (ack_queue_mark) rise with each request; all settlements up to one are answered when
 * ack_queue_reached() says so. Pure logic under the queue's lock.
 */
#ifndef QUEUEFS_CORE_GET_ACK_QUEUE_H
#define QUEUEFS_CORE_GET_ACK_QUEUE_H

#include <bsd/sys/queue.h>

#include "core/request.h"
#include "core/backoff.h"
#include "core/op.h"

#define ACK_QUEUE_IN_FLIGHT 4
#define ACK_QUEUE_LINGER_US INT64_C(5000)
#define ACK_QUEUE_RANGES    1024 /* so many are sent without a linger */

struct settle {
    struct request request; /* first */
    TAILQ_ENTRY(settle) link;
    uint64_t serial;
    struct settlement *ranges; /* owned */
    size_t n, cap;
    bool counts;  /* what is late of it */
    bool is_void; /* what it ends is no lease any more: any answer ends it */
    struct ack_queue *acks;
    int64_t begun_us; /* when it was first sent */
    bool again;       /* and then once more, by the ack queue */
    int64_t retry_us; /* when to send it again; TIME_FOREVER: in flight */
    struct backoff backoff;
};

struct ack_queue {
    struct request model;      /* queue, session, done, owner of every request */
    TAILQ_HEAD(, settle) sent; /* in order of serial, also those that wait to be sent again */
    size_t n_sent;
    struct settle *gathering; /* NULL: none */
    uint64_t serial;          /* of the last one that was begun */
    size_t n_reserved;
    int64_t due_us; /* when what has gathered goes */
    bool dropping;  /* the queue is gone */
    bool ending;    /* -ESHUTDOWN as an answer is final */
};

void ack_queue_init(struct ack_queue *s, const struct request *model);
void ack_queue_fini(struct ack_queue *s); /* nothing in flight */

/* Room for n more ranges: 0, -ENOMEM, or -EAGAIN while too many wait to be sent. */
int ack_queue_reserve(struct ack_queue *s, size_t n);
void ack_queue_unreserve(struct ack_queue *s, size_t n);

/* Add one range, for which room was reserved. */
void ack_queue_add(struct ack_queue *s, const struct settlement *range, int64_t now_us);

/* What has gathered goes with the next step, without linger. */
void ack_queue_hurry(struct ack_queue *s);

/* Send what is due. */
void ack_queue_step(struct ack_queue *s, int64_t now_us, struct effects *effects);

/* A SETTLE was answered. Returns how many settlements came too late, those that give back what was
 * never given aside. */
uint64_t ack_queue_answered(struct ack_queue *s, struct request *request, int64_t now_us);

/* No later than when the service did what the answered request asked: what was sent twice may have
 * been done the first time. */
int64_t settle_sent_us(const struct settle *settle);

/* Everything added until now, as a position; 0 where there was never anything. */
uint64_t ack_queue_mark(const struct ack_queue *s);
bool ack_queue_reached(const struct ack_queue *s, uint64_t mark);

/* Requests in flight, waiting for another try, or gathering. */
size_t ack_queue_pending(const struct ack_queue *s);

/* When to call ack_queue_step() again. */
int64_t ack_queue_deadline(const struct ack_queue *s);

/* What waits to be sent again goes with the next step. */
void ack_queue_retry(struct ack_queue *s);

/* All leases are void: forget what is on its way. Returns how many items of it will not be
 * acknowledged or given back, those never given aside. */
uint64_t ack_queue_forget(struct ack_queue *s);

/* The queue is gone: forget everything, now and later. */
void ack_queue_drop(struct ack_queue *s);

#endif
