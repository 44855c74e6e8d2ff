/*
 * Two trees: by id, and by when something has to be done with an item, which is when its lease ends
 * or its renewal is due. Each item in the set has one reservation in the ack queue that ends
 * leases.
 *
 * The service does a request once, at the first try that reaches it, so that is when a renewal
 * counts from at the latest.
 */
#include "core/get/claims.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/sys/tree.h>

#include "core/clock.h"

/* A renewal that was asked for waits so long: often the item is settled first. */
#define RENEW_LINGER_US ACK_QUEUE_LINGER_US
/* After a renewal that did not count, so often, before it waits for its turn again. */
#define RENEW_AGAIN_US  INT64_C(50000)
#define RENEW_AGAIN_MAX 3
/* Settings of the service take no longer to be known here. */
#define NEWS_US INT64_C(5000000)

struct claim {
    RB_ENTRY(claim) by_id, by_due;
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

RB_HEAD(claims_by_id, claim);
RB_HEAD(claims_by_due, claim);

struct claims {
    struct claims_options options;
    struct claims_by_id by_id;
    struct claims_by_due by_due;
    size_t n;
    struct ack_queue renewals;
    int64_t lease_us, lease_max_us; /* as they were when last looked at */
};

static int claims_compare_id(const struct claim *a, const struct claim *b)
{
    return (a->id > b->id) - (a->id < b->id);
}

static int claims_compare_due(const struct claim *a, const struct claim *b)
{
    int order = (a->due_us > b->due_us) - (a->due_us < b->due_us);

    return order ? order : claims_compare_id(a, b);
}

RB_GENERATE_INTERNAL(claims_by_id, claim, by_id, claims_compare_id, __attribute__((unused)) static)
RB_GENERATE_INTERNAL(claims_by_due, claim, by_due, claims_compare_due,
                     __attribute__((unused)) static)

/* ---- life ---- */

int claims_new(const struct claims_options *options, struct claims **set)
{
    struct claims *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->options = *options;
    RB_INIT(&s->by_id);
    RB_INIT(&s->by_due);
    ack_queue_init(&s->renewals, &options->model);
    s->lease_us = options->settings->own.lease_us;
    s->lease_max_us = options->settings->own.lease_max_us;
    *set = s;
    return 0;
}

void claims_free(struct claims *s)
{
    if (!s)
        return;
    claims_end(s, false, 0);
    ack_queue_fini(&s->renewals);
    free(s);
}

/* The bytes are kept where they are few and all together not too many. */
static struct claim *new_item(struct claims *s, const struct claim_item *item)
{
    atomic_size_t *kept_bytes = s->options.kept_bytes;
    bool kept = item->len <= HELD_KEEP_MAX;
    struct claim *h;

    if (kept && atomic_fetch_add(kept_bytes, item->len) + item->len > HELD_KEEP_ALL) {
        atomic_fetch_sub(kept_bytes, item->len);
        kept = false;
    }
    h = malloc(sizeof(*h) + (kept ? item->len : 0));
    if (!h) {
        if (kept)
            atomic_fetch_sub(kept_bytes, item->len);
        return NULL;
    }
    memset(h, 0, sizeof(*h));
    h->kept = kept;
    if (kept && item->len > 0)
        memcpy(h->data, item->data, item->len);
    return h;
}

static void free_item(struct claims *s, struct claim *h)
{
    if (h->kept)
        atomic_fetch_sub(s->options.kept_bytes, h->size);
    free(h);
}

/* ---- in and out of the set ---- */

static struct claim *held_get(const struct claims *s, uint64_t id)
{
    struct claim key;

    key.id = id;
    return RB_FIND(claims_by_id, (struct claims_by_id *)(uintptr_t)&s->by_id, &key);
}

static struct claim *held_get_live(const struct claims *s, uint64_t id, int64_t now_us)
{
    struct claim *h = held_get(s, id);

    return h && h->expires_us > now_us ? h : NULL;
}

static void held_plan(struct claims *s, struct claim *h)
{
    RB_REMOVE(claims_by_due, &s->by_due, h);
    h->due_us = time_min(h->expires_us, h->renew_us);
    RB_INSERT(claims_by_due, &s->by_due, h);
}

/* Its reservation has been used, or is given up by the caller. */
static void take_out(struct claims *s, struct claim *h)
{
    RB_REMOVE(claims_by_id, &s->by_id, h);
    RB_REMOVE(claims_by_due, &s->by_due, h);
    s->n--;
    h->ended = true;
    if (h->n_opens == 0)
        free_item(s, h);
}

static void forget(struct claims *s, struct claim *h)
{
    ack_queue_unreserve(s->options.acks, 1);
    take_out(s, h);
}

static struct settlement held_range(const struct claim *h, enum settle_verb verb)
{
    return (struct settlement){
        .verb = verb,
        .batch = item_batch(h->id),
        .from = item_index(h->id),
        .to = item_index(h->id) + 1,
        .token = h->token,
    };
}

static void settle(struct claims *s, struct claim *h, enum settle_verb verb, int64_t now_us)
{
    struct settlement range = held_range(h, verb);

    ack_queue_add(s->options.acks, &range, now_us);
    take_out(s, h);
}

/* When it was lent: a GET that was sent twice is answered with what is left of the lease. */
static int64_t first_us(const struct claims *s, const struct claim_item *item)
{
    int64_t gone_us = s->options.settings->own.lease_us - item->lease_us;

    return gone_us > 0 ? item->sent_us - gone_us : item->sent_us;
}

static void put_in(struct claims *s, struct claim *h, const struct claim_item *item)
{
    struct claim *old = held_get(s, item->id);

    if (old)
        forget(s, old); /* of a lease before, which has ended then */
    h->id = item->id;
    h->token = item->token;
    h->deliveries = item->deliveries;
    h->put_time_us = item->put_time_us;
    h->size = item->len;
    h->granted_us = item->sent_us;
    h->first_us = first_us(s, item);
    h->expires_us = h->due_us = time_after(item->sent_us, item->lease_us);
    h->renew_us = TIME_FOREVER;
    RB_INSERT(claims_by_id, &s->by_id, h);
    RB_INSERT(claims_by_due, &s->by_due, h);
    s->n++;
}

int claims_add(struct claims *s, const struct claim_item *item, int64_t now_us)
{
    struct claim *h;
    int error;

    if (time_after(item->sent_us, item->lease_us) <= now_us)
        return -ESTALE;
    if (s->n >= HELD_ITEMS_MAX)
        return -ENOMEM;
    error = ack_queue_reserve(s->options.acks, 1);
    if (error)
        return error;
    h = new_item(s, item);
    if (!h) {
        ack_queue_unreserve(s->options.acks, 1);
        return -ENOMEM;
    }
    put_in(s, h, item);
    return 0;
}

void claims_retry(struct claims *s)
{
    ack_queue_retry(&s->renewals);
}

void claims_forget(struct claims *s)
{
    struct claim *h;

    while ((h = RB_ROOT(&s->by_id)))
        forget(s, h);
    ack_queue_forget(&s->renewals);
}

void claims_end(struct claims *s, bool give_back, int64_t now_us)
{
    struct claim *h;

    while ((h = RB_ROOT(&s->by_id))) {
        if (give_back)
            settle(s, h, SETTLE_NACK, now_us);
        else
            forget(s, h);
    }
    ack_queue_drop(&s->renewals);
}

/* ---- renewing ---- */

static void held_renew_at(struct claims *s, struct claim *h, int64_t at_us)
{
    h->renew_us = time_min(h->renew_us, at_us);
    held_plan(s, h);
}

static void held_renew_soon(struct claims *s, struct claim *h, int64_t now_us)
{
    bool short_of_time = h->expires_us - now_us < 4 * RENEW_LINGER_US;

    held_renew_at(s, h, short_of_time ? now_us : now_us + RENEW_LINGER_US);
}

static int64_t held_renew_period(const struct claims *s)
{
    int64_t third_us = s->options.settings->own.lease_us / 3;

    return third_us > 1000 ? third_us : 1000;
}

static void held_renew(struct claims *s, struct claim *h, int64_t now_us)
{
    struct settlement range = held_range(h, SETTLE_RENEW);

    h->renew_us = h->n_opens > 0 ? time_after(now_us, held_renew_period(s)) : TIME_FOREVER;
    if (ack_queue_reserve(&s->renewals, 1))
        h->renew_us = now_us + RENEW_AGAIN_US;
    else
        ack_queue_add(&s->renewals, &range, now_us);
    ack_queue_hurry(&s->renewals);
    held_plan(s, h);
}

uint64_t claims_hurry(struct claims *s, int64_t now_us)
{
    struct claim *h, *after;

    for (h = RB_MIN(claims_by_due, &s->by_due); h; h = after) {
        after = RB_NEXT(claims_by_due, &s->by_due, h);
        if (h->due_us > now_us + RENEW_LINGER_US)
            break;
        if (h->renew_us <= now_us + RENEW_LINGER_US && h->expires_us > now_us)
            held_renew(s, h, now_us);
    }
    return ack_queue_mark(&s->renewals);
}

bool claims_reached(const struct claims *s, uint64_t mark)
{
    return ack_queue_reached(&s->renewals, mark);
}

/* ---- renewed ---- */

static int64_t renewed_until(const struct claims *s, const struct claim *h, int64_t sent_us)
{
    const struct queue_settings *own = &s->options.settings->own;

    return time_min(time_after(sent_us, own->lease_us), time_after(h->first_us, own->lease_max_us));
}

static void extend(struct claims *s, struct claim *h, int64_t sent_us)
{
    h->n_again = 0;
    if (sent_us <= h->granted_us)
        return;
    h->renewed = true;
    h->granted_us = sent_us;
    h->expires_us = renewed_until(s, h, sent_us);
    held_plan(s, h);
}

/* Something of its request was late, most likely settled meanwhile, and it is not known what. */
static void renew_again(struct claims *s, struct claim *h, int64_t now_us)
{
    if (h->n_again++ < RENEW_AGAIN_MAX)
        held_renew_at(s, h, now_us + RENEW_AGAIN_US);
}

void claims_renewal_done(struct claims *s, struct request *request, int64_t now_us)
{
    const struct settle *settle = (const struct settle *)request;
    bool answered = request->status == 0, good = answered && request->out.settle.n_late == 0;
    int64_t sent_us = settle_sent_us(settle);
    uint32_t index;
    size_t i;

    for (i = 0; answered && i < settle->n; i++)
        for (index = settle->ranges[i].from; index < settle->ranges[i].to; index++) {
            struct claim *h = held_get(s, item_id(settle->ranges[i].batch, index));

            if (!h || h->token != settle->ranges[i].token)
                continue;
            if (good)
                extend(s, h, sent_us);
            else
                renew_again(s, h, now_us);
        }
    ack_queue_answered(&s->renewals, request, now_us);
}

/*
 * The settings may have changed. A lease that was renewed shortly before may have been renewed by
 * the new ones already.
 */
static void held_follow_settings(struct claims *s, int64_t now_us)
{
    const struct queue_settings *own = &s->options.settings->own;
    struct claim *h;

    if (own->lease_us == s->lease_us && own->lease_max_us == s->lease_max_us)
        return;
    s->lease_us = own->lease_us;
    s->lease_max_us = own->lease_max_us;
    RB_FOREACH (h, claims_by_id, &s->by_id) {
        if (h->renewed && now_us - h->granted_us < NEWS_US)
            h->expires_us = time_min(h->expires_us, renewed_until(s, h, h->granted_us));
        if (h->n_opens > 0)
            h->renew_us = time_min(h->renew_us, time_after(now_us, held_renew_period(s)));
        held_plan(s, h);
    }
}

/* ---- looking ---- */

static void tell(const struct claim *h, int64_t now_us, int64_t wall_us, struct item_info *info)
{
    *info = (struct item_info){
        .id = h->id,
        .size = h->size,
        .state = ITEM_LEASED,
        .deliveries = h->deliveries,
        .put_time_us = h->put_time_us,
        .until_us = time_after(wall_us, h->expires_us - now_us),
    };
}

bool claims_find(const struct claims *s, uint64_t id, int64_t now_us, int64_t wall_us,
                 struct item_info *info)
{
    const struct claim *h = held_get_live(s, id, now_us);

    if (h)
        tell(h, now_us, wall_us, info);
    return h;
}

size_t claims_list(const struct claims *s, uint64_t from, int64_t now_us, int64_t wall_us,
                   struct item_info *infos, size_t max)
{
    struct claim key, *h;
    size_t n = 0;

    key.id = from;
    h = RB_NFIND(claims_by_id, (struct claims_by_id *)(uintptr_t)&s->by_id, &key);
    for (; h && n < max; h = RB_NEXT(claims_by_id, &s->by_id, h))
        if (h->expires_us > now_us)
            tell(h, now_us, wall_us, &infos[n++]);
    return n;
}

const uint8_t *claim_data(const struct claim *h, size_t *len)
{
    *len = h->size;
    return h->kept ? h->data : NULL;
}

/* ---- open, settled, due ---- */

int claims_open(struct claims *s, uint64_t id, int64_t now_us, struct claim **claim)
{
    struct claim *h = held_get_live(s, id, now_us);

    if (!h)
        return -ENOENT;
    if (h->n_opens++ == 0)
        held_renew_at(s, h, time_after(h->granted_us, held_renew_period(s)));
    *claim = h;
    return 0;
}

void claims_close(struct claims *s, struct claim *h, int64_t now_us)
{
    assert(h->n_opens > 0);
    if (--h->n_opens > 0)
        return;
    if (h->ended) {
        free_item(s, h);
        return;
    }
    h->renew_us = TIME_FOREVER;
    held_renew_soon(s, h, now_us);
}

int claims_settle(struct claims *s, uint64_t id, enum settle_verb verb, int64_t now_us)
{
    struct claim *h = held_get_live(s, id, now_us);

    if (!h)
        return verb == SETTLE_RENEW ? -ESTALE : -ENOENT;
    h->n_again = 0;
    if (verb == SETTLE_RENEW)
        held_renew_soon(s, h, now_us);
    else
        settle(s, h, verb, now_us);
    return 0;
}

void claims_step(struct claims *s, int64_t now_us, struct effects *effects)
{
    struct claim *h;

    held_follow_settings(s, now_us);
    while ((h = RB_MIN(claims_by_due, &s->by_due)) && h->due_us <= now_us) {
        if (h->expires_us <= now_us)
            forget(s, h);
        else
            held_renew(s, h, now_us);
    }
    ack_queue_step(&s->renewals, now_us, effects);
}

int64_t claims_deadline(const struct claims *s)
{
    const struct claim *h = RB_MIN(claims_by_due, (struct claims_by_due *)(uintptr_t)&s->by_due);

    return time_min(h ? h->due_us : TIME_FOREVER, ack_queue_deadline(&s->renewals));
}

size_t claims_pending(const struct claims *s)
{
    return ack_queue_pending(&s->renewals);
}
