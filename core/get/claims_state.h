/* The inside of a set of held items, shared by claims.c (the set) and claims_renew.c (renewals). */
#ifndef QUEUEFS_CORE_GET_CLAIMS_STATE_H
#define QUEUEFS_CORE_GET_CLAIMS_STATE_H

#include <bsd/sys/tree.h>

#include "core/clock.h"
#include "core/get/claims.h"

struct held {
    RB_ENTRY(held) by_id, by_due;
    uint64_t id, token;
    uint32_t deliveries;
    int64_t put_time_us;
    uint64_t size;
    int64_t first_us;   /* when it was lent, or earlier: lease_max counts from then */
    int64_t granted_us; /* when what the lease counts from was sent */
    int64_t expires_us;
    int64_t renew_us; /* TIME_FOREVER: not planned */
    int64_t due_us;   /* the earlier one of both; key of by_due */
    unsigned n_opens;
    unsigned n_again;
    bool renewed;
    bool ended; /* not in the set any more */
    bool kept;
    uint8_t data[];
};

RB_HEAD(held_by_id, held);
RB_HEAD(held_by_due, held);
RB_PROTOTYPE(held_by_id, held, by_id, held_compare_id)
RB_PROTOTYPE(held_by_due, held, by_due, held_compare_due)

struct held_set {
    struct held_options options;
    struct held_by_id by_id;
    struct held_by_due by_due;
    size_t n;
    struct settler renewals;
    int64_t lease_us, lease_max_us; /* as they were when last looked at */
};

int held_compare_id(const struct held *a, const struct held *b);
int held_compare_due(const struct held *a, const struct held *b);

/* ---- claims.c ---- */

/* In the set, or whose lease has not ended too; or NULL. */
struct held *held_get(const struct held_set *s, uint64_t id);
struct held *held_get_live(const struct held_set *s, uint64_t id, int64_t now_us);

/* Its times have changed. */
void held_plan(struct held_set *s, struct held *h);

struct settlement held_range(const struct held *h, enum settle_verb verb);

/* ---- claims_renew.c ---- */

void held_renew_at(struct held_set *s, struct held *h, int64_t at_us);

/* In a moment, but before it is too late. */
void held_renew_soon(struct held_set *s, struct held *h, int64_t now_us);

/* With the next step. */
void held_renew(struct held_set *s, struct held *h, int64_t now_us);

/* How long a lease that is kept up goes without a renewal. */
int64_t held_renew_period(const struct held_set *s);

/* The settings may have changed. */
void held_follow_settings(struct held_set *s, int64_t now_us);

#endif
