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

struct claim;  /* one item */
struct claims; /* all of a queue */

struct claims_options {
    const struct all_settings *settings; /* live */
    struct ack_queue *acks;              /* takes what ends leases; outlives the set */
    struct request model;                /* session, done, owner of the renewals */
    atomic_size_t *kept_bytes;           /* of all sets of a mount together */
};

int claims_new(const struct claims_options *options, struct claims **set);
void claims_free(struct claims *set); /* nothing open, no renewal in flight; takes NULL */

/* What an answered claim tells of an item. */
struct claim_item {
    uint64_t id, token;
    uint32_t deliveries; /* this one among them */
    int64_t put_time_us; /* wall clock */
    int64_t sent_us;     /* of the GET: from then on its lease counts */
    int64_t lease_us;
    const uint8_t *data; /* without separator; copied where it is kept */
    size_t len;
};

/* Hold one more. 0; -ESTALE: its lease has ended; -EAGAIN: acknowledgements must be sent first;
 * -ENOMEM. */
int claims_add(struct claims *set, const struct claim_item *item, int64_t now_us);

/* As mount_queue_claim() and mount_queue_claim_list() in mount.h. */
bool claims_find(const struct claims *set, uint64_t id, int64_t now_us, int64_t wall_us,
                 struct item_info *info);
size_t claims_list(const struct claims *set, uint64_t from, int64_t now_us, int64_t wall_us,
                   struct item_info *infos, size_t max);

/* As mount_queue_claim_open() and mount_queue_claim_close(). */
int claims_open(struct claims *set, uint64_t id, int64_t now_us, struct claim **claim);
void claims_close(struct claims *set, struct claim *claim, int64_t now_us);
const uint8_t *claim_data(const struct claim *claim, size_t *len); /* NULL: not kept */

/* As mount_queue_claim_settle(). */
int claims_settle(struct claims *set, uint64_t id, enum settle_verb verb, int64_t now_us);

/* Renewals that wait for their moment go now; the position that they reach when answered. */
uint64_t claims_hurry(struct claims *set, int64_t now_us);
bool claims_reached(const struct claims *set, uint64_t mark);

/* A renewal was answered. */
void claims_renewal_done(struct claims *set, struct request *request, int64_t now_us);

/* Renewals that wait to be sent again go with the next step. */
void claims_retry(struct claims *set);

/* All leases are void: nothing is held any more. */
void claims_forget(struct claims *set);

/* The end of the set: everything is given back (the delivery counts), or forgotten. */
void claims_end(struct claims *set, bool give_back, int64_t now_us);

/* Leases that have ended leave, renewals that are due are sent. */
void claims_step(struct claims *set, int64_t now_us, struct effects *effects);
int64_t claims_deadline(const struct claims *set);
size_t claims_pending(const struct claims *set); /* renewals on their way */

#endif
