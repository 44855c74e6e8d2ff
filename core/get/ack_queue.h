/*
 * Settlements (acknowledged, given back, renewed) of one queue on their way to the service:
 * gathered, ranges that touch joined, sent after a short linger, when many have gathered or when
 * somebody hurries; a few SETTLE requests travel at a time, and one that failed is sent again until
 * it is answered.
 *
 * Space is reserved before an item is promised to a reader, so that adding never fails. Positions
 * (settler_mark) rise with each request; all settlements up to one are answered when
 * settler_reached() says so. Pure logic under the queue's lock.
 */
#ifndef QUEUEFS_CORE_GET_ACK_QUEUE_H
#define QUEUEFS_CORE_GET_ACK_QUEUE_H

#include <bsd/sys/queue.h>

#include "core/request.h"
#include "core/op.h"

#define SETTLER_IN_FLIGHT 4
#define SETTLER_LINGER_US INT64_C(5000)
#define SETTLER_RANGES    1024 /* so many are sent without a linger */

struct settle {
    struct request request; /* first */
    TAILQ_ENTRY(settle) link;
    uint64_t serial;
    struct settlement *ranges; /* owned */
    size_t n, cap;
    bool counts; /* what is late of it */
    struct settler *settler;
    int64_t begun_us; /* when it was first sent */
    bool again;       /* and then once more, by the settler */
    int64_t retry_us; /* when to send it again; TIME_FOREVER: in flight */
    int64_t backoff_us;
};

struct settler {
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

void settler_init(struct settler *s, const struct request *model);
void settler_fini(struct settler *s); /* nothing in flight */

/* Room for n more ranges: 0, -ENOMEM, or -EAGAIN while too many wait to be sent. */
int settler_reserve(struct settler *s, size_t n);
void settler_unreserve(struct settler *s, size_t n);

/* Add one range, for which room was reserved. */
void settler_add(struct settler *s, const struct settlement *range, int64_t now_us);

/* What has gathered goes with the next step, without linger. */
void settler_hurry(struct settler *s);

/* Send what is due. */
void settler_step(struct settler *s, int64_t now_us, struct effects *effects);

/* A SETTLE was answered. Returns how many settlements came too late, those that give back what was
 * never given aside. */
uint64_t settler_answered(struct settler *s, struct request *request, int64_t now_us);

/* No later than when the service did what the answered request asked: what was sent twice may have
 * been done the first time. */
int64_t settle_sent_us(const struct settle *settle);

/* Everything added until now, as a position; 0 where there was never anything. */
uint64_t settler_mark(const struct settler *s);
bool settler_reached(const struct settler *s, uint64_t mark);

/* Requests in flight, waiting for another try, or gathering. */
size_t settler_pending(const struct settler *s);

/* When to call settler_step() again. */
int64_t settler_deadline(const struct settler *s);

/* The queue is gone: forget everything, now and later. */
void settler_drop(struct settler *s);

#endif
