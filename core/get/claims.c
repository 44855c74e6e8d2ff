/*
 * Two trees: by id, and by when something has to be done with an item, which is when its lease ends
 * or its renewal is due. Each item in the set has one reservation in the settler that ends leases.
 */
#include "core/get/claims_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

RB_GENERATE(held_by_id, held, by_id, held_compare_id)
RB_GENERATE(held_by_due, held, by_due, held_compare_due)

int held_compare_id(const struct held *a, const struct held *b)
{
    return (a->id > b->id) - (a->id < b->id);
}

int held_compare_due(const struct held *a, const struct held *b)
{
    int order = (a->due_us > b->due_us) - (a->due_us < b->due_us);

    return order ? order : held_compare_id(a, b);
}

/* ---- life ---- */

int held_set_new(const struct held_options *options, struct held_set **set)
{
    struct held_set *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->options = *options;
    RB_INIT(&s->by_id);
    RB_INIT(&s->by_due);
    settler_init(&s->renewals, &options->model);
    s->lease_us = options->settings->own.lease_us;
    s->lease_max_us = options->settings->own.lease_max_us;
    *set = s;
    return 0;
}

void held_set_free(struct held_set *s)
{
    if (!s)
        return;
    held_end(s, false, 0);
    settler_fini(&s->renewals);
    free(s);
}

/* The bytes are kept where they are few and all together not too many. */
static struct held *new_item(struct held_set *s, const struct held_item *item)
{
    atomic_size_t *kept_bytes = s->options.kept_bytes;
    bool kept = item->len <= HELD_KEEP_MAX;
    struct held *h;

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

static void free_item(struct held_set *s, struct held *h)
{
    if (h->kept)
        atomic_fetch_sub(s->options.kept_bytes, h->size);
    free(h);
}

/* ---- in and out of the set ---- */

struct held *held_get(const struct held_set *s, uint64_t id)
{
    struct held key;

    key.id = id;
    return RB_FIND(held_by_id, (struct held_by_id *)(uintptr_t)&s->by_id, &key);
}

struct held *held_get_live(const struct held_set *s, uint64_t id, int64_t now_us)
{
    struct held *h = held_get(s, id);

    return h && h->expires_us > now_us ? h : NULL;
}

void held_plan(struct held_set *s, struct held *h)
{
    RB_REMOVE(held_by_due, &s->by_due, h);
    h->due_us = time_min(h->expires_us, h->renew_us);
    RB_INSERT(held_by_due, &s->by_due, h);
}

/* Its reservation has been used, or is given up by the caller. */
static void take_out(struct held_set *s, struct held *h)
{
    RB_REMOVE(held_by_id, &s->by_id, h);
    RB_REMOVE(held_by_due, &s->by_due, h);
    s->n--;
    h->ended = true;
    if (h->n_opens == 0)
        free_item(s, h);
}

static void forget(struct held_set *s, struct held *h)
{
    settler_unreserve(s->options.settler, 1);
    take_out(s, h);
}

struct settlement held_range(const struct held *h, enum settle_verb verb)
{
    return (struct settlement){
        .verb = verb,
        .batch = item_batch(h->id),
        .from = item_index(h->id),
        .to = item_index(h->id) + 1,
        .token = h->token,
    };
}

static void settle(struct held_set *s, struct held *h, enum settle_verb verb, int64_t now_us)
{
    struct settlement range = held_range(h, verb);

    settler_add(s->options.settler, &range, now_us);
    take_out(s, h);
}

/* When it was lent: a GET that was sent twice is answered with what is left of the lease. */
static int64_t first_us(const struct held_set *s, const struct held_item *item)
{
    int64_t gone_us = s->options.settings->own.lease_us - item->lease_us;

    return gone_us > 0 ? item->sent_us - gone_us : item->sent_us;
}

static void put_in(struct held_set *s, struct held *h, const struct held_item *item)
{
    struct held *old = held_get(s, item->id);

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
    RB_INSERT(held_by_id, &s->by_id, h);
    RB_INSERT(held_by_due, &s->by_due, h);
    s->n++;
}

int held_add(struct held_set *s, const struct held_item *item, int64_t now_us)
{
    struct held *h;
    int error;

    if (time_after(item->sent_us, item->lease_us) <= now_us)
        return -ESTALE;
    if (s->n >= HELD_ITEMS_MAX)
        return -ENOMEM;
    error = settler_reserve(s->options.settler, 1);
    if (error)
        return error;
    h = new_item(s, item);
    if (!h) {
        settler_unreserve(s->options.settler, 1);
        return -ENOMEM;
    }
    put_in(s, h, item);
    return 0;
}

void held_end(struct held_set *s, bool give_back, int64_t now_us)
{
    struct held *h;

    while ((h = RB_ROOT(&s->by_id))) {
        if (give_back)
            settle(s, h, SETTLE_NACK, now_us);
        else
            forget(s, h);
    }
    settler_drop(&s->renewals);
}

/* ---- looking ---- */

static void tell(const struct held *h, int64_t now_us, int64_t wall_us, struct item_info *info)
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

bool held_find(const struct held_set *s, uint64_t id, int64_t now_us, int64_t wall_us,
               struct item_info *info)
{
    const struct held *h = held_get_live(s, id, now_us);

    if (h)
        tell(h, now_us, wall_us, info);
    return h;
}

size_t held_list(const struct held_set *s, uint64_t from, int64_t now_us, int64_t wall_us,
                 struct item_info *infos, size_t max)
{
    struct held key, *h;
    size_t n = 0;

    key.id = from;
    h = RB_NFIND(held_by_id, (struct held_by_id *)(uintptr_t)&s->by_id, &key);
    for (; h && n < max; h = RB_NEXT(held_by_id, &s->by_id, h))
        if (h->expires_us > now_us)
            tell(h, now_us, wall_us, &infos[n++]);
    return n;
}

const uint8_t *held_data(const struct held *h, size_t *len)
{
    *len = h->size;
    return h->kept ? h->data : NULL;
}

/* ---- open, settled, due ---- */

int held_open(struct held_set *s, uint64_t id, int64_t now_us, struct held **held)
{
    struct held *h = held_get_live(s, id, now_us);

    if (!h)
        return -ENOENT;
    if (h->n_opens++ == 0)
        held_renew_at(s, h, time_after(h->granted_us, held_renew_period(s)));
    *held = h;
    return 0;
}

void held_close(struct held_set *s, struct held *h, int64_t now_us)
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

int held_settle(struct held_set *s, uint64_t id, enum settle_verb verb, int64_t now_us)
{
    struct held *h = held_get_live(s, id, now_us);

    if (!h)
        return verb == SETTLE_RENEW ? -ESTALE : -ENOENT;
    h->n_again = 0;
    if (verb == SETTLE_RENEW)
        held_renew_soon(s, h, now_us);
    else
        settle(s, h, verb, now_us);
    return 0;
}

void held_step(struct held_set *s, int64_t now_us, struct effects *effects)
{
    struct held *h;

    held_follow_settings(s, now_us);
    while ((h = RB_MIN(held_by_due, &s->by_due)) && h->due_us <= now_us) {
        if (h->expires_us <= now_us)
            forget(s, h);
        else
            held_renew(s, h, now_us);
    }
    settler_step(&s->renewals, now_us, effects);
}

int64_t held_deadline(const struct held_set *s)
{
    const struct held *h = RB_MIN(held_by_due, (struct held_by_due *)(uintptr_t)&s->by_due);

    return time_min(h ? h->due_us : TIME_FOREVER, settler_deadline(&s->renewals));
}

size_t held_pending(const struct held_set *s)
{
    return settler_pending(&s->renewals);
}
