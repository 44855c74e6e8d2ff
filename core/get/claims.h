/*
 * The items of one queue that this mount has claimed: each with its lease as the mount knows it,
 * which never ends later than the service's, and with its bytes where they are few. An item leaves
 * the set when it is settled (acknowledged, given back, buried) or when its lease ends.
 *
 * A lease counts from when the request was sent that began or renewed it, not from the answer. A
 * renewal counts once it was answered, and only if nothing of its request was late: renewals travel
 * in requests of their own for that. A claim that is given up or touched is renewed after a
 * moment, so that `cat leased/x && rm leased/x` costs no renewal.
 *
 * Pure logic as consumer.h: the caller holds the queue's lock and runs the effects.
 */
#ifndef QUEUEFS_CORE_GET_CLAIMS_H
#define QUEUEFS_CORE_GET_CLAIMS_H

#include <stdatomic.h>

#include "core/get/ack_queue.h"

#define HELD_ITEMS_MAX ((size_t)1 << 20)  /* of one queue */
#define HELD_KEEP_MAX  ((size_t)64 << 10) /* bytes of an item that are kept */
#define HELD_KEEP_ALL  ((size_t)64 << 20) /* of all items of a mount */

struct held;     /* one item */
struct held_set; /* all of a queue */

struct held_options {
    const struct all_settings *settings; /* live */
    struct settler *settler;             /* takes what ends leases; outlives the set */
    struct request model;                /* session, done, owner of the renewals */
    atomic_size_t *kept_bytes;           /* of all sets of a mount together */
};

int held_set_new(const struct held_options *options, struct held_set **set);
void held_set_free(struct held_set *set); /* nothing open, no renewal in flight; takes NULL */

/* What an answered claim tells of an item. */
struct held_item {
    uint64_t id, token;
    uint32_t deliveries; /* this one among them */
    int64_t put_time_us; /* wall clock */
    int64_t sent_us;     /* of the GET: from then on its lease counts */
    int64_t lease_us;
    const uint8_t *data; /* without separator; copied where it is kept */
    size_t len;
};

/* Hold one more. 0; -ESTALE: its lease has ended; -EAGAIN: the settler must send first; -ENOMEM. */
int held_add(struct held_set *set, const struct held_item *item, int64_t now_us);

/* As mqueue_held() and mqueue_held_list() in mount.h. */
bool held_find(const struct held_set *set, uint64_t id, int64_t now_us, int64_t wall_us,
               struct item_info *info);
size_t held_list(const struct held_set *set, uint64_t from, int64_t now_us, int64_t wall_us,
                 struct item_info *infos, size_t max);

/* As mqueue_held_open() and mqueue_held_close(). */
int held_open(struct held_set *set, uint64_t id, int64_t now_us, struct held **held);
void held_close(struct held_set *set, struct held *held, int64_t now_us);
const uint8_t *held_data(const struct held *held, size_t *len); /* NULL: not kept */

/* As mqueue_held_settle(). */
int held_settle(struct held_set *set, uint64_t id, enum settle_verb verb, int64_t now_us);

/* Renewals that wait for their moment go now; the position that they reach when answered. */
uint64_t held_hurry(struct held_set *set, int64_t now_us);
bool held_reached(const struct held_set *set, uint64_t mark);

/* A renewal was answered. */
void held_renewal_done(struct held_set *set, struct request *request, int64_t now_us);

/* The end of the set: everything is given back (the delivery counts), or forgotten. */
void held_end(struct held_set *set, bool give_back, int64_t now_us);

/* Leases that have ended leave, renewals that are due are sent. */
void held_step(struct held_set *set, int64_t now_us, struct effects *effects);
int64_t held_deadline(const struct held_set *set);
size_t held_pending(const struct held_set *set); /* renewals on their way */

#endif
