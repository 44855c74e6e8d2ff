/*
 * The model of a queue that test_service_model.c holds against the service: every item by itself,
 * in the order of the puts. It does to them what the service should have done, at the rig's time.
 */
#ifndef QUEUEFS_TESTS_CORE_SERVICE_SERVICE_MODEL_H
#define QUEUEFS_TESTS_CORE_SERVICE_SERVICE_MODEL_H

#define RIG_SEGMENT_BYTES ((uint64_t)64 << 10)
#include "tests/core/service/service_rig.h"

#include "core/clock.h"

#define SESSIONS  4
#define ITEMS_MAX 60000

struct item {
    uint64_t batch;
    uint32_t index;
    unsigned serial;
    size_t len;
    enum item_state state;
    uint32_t deliveries; /* finished ones without acknowledgement */
    enum get_kind kind;
    uint64_t token;
    uint8_t session;
    int64_t when_us, first_us;
    int64_t put_us;
};

static struct rig rig;
static uint64_t queue;
static struct queue_settings settings;
static struct item items[ITEMS_MAX];
static unsigned n_items, first_live;
static int64_t heard_us[SESSIONS];

static void model_fail(struct item *item)
{
    int64_t delay_us = settings.retry_delay_us;

    item->deliveries++;
    item->state = ITEM_READY;
    if (item->deliveries >= settings.max_deliveries) {
        item->state = ITEM_DEAD;
    } else if (item->deliveries >= 2 && delay_us > 0) {
        for (uint32_t i = 2; i < item->deliveries && delay_us < 600 * SECOND; i++)
            delay_us *= 2;
        item->state = ITEM_DELAYED;
        item->when_us = rig.now_us + time_min(delay_us, 600 * SECOND);
    }
}

static void model_tick(void)
{
    for (unsigned i = first_live; i < n_items; i++) {
        struct item *item = &items[i];
        bool claimed = item->state == ITEM_LEASED && item->kind == GET_CLAIM;
        bool streamed = item->state == ITEM_LEASED && item->kind == GET_STREAM;

        if (item->state == ITEM_DELAYED && item->when_us <= rig.now_us)
            item->state = ITEM_READY;
        else if (claimed && item->when_us <= rig.now_us)
            model_fail(item);
        else if (streamed && rig.now_us - heard_us[item->session] >= SESSION_LIFE_US)
            model_fail(item);
    }
    while (first_live < n_items && items[first_live].state == ITEM_DONE)
        first_live++;
}

static void model_restart(int64_t before_us, int64_t down_us)
{
    for (unsigned i = first_live; i < n_items; i++) {
        struct item *item = &items[i];

        if (item->state == ITEM_DELAYED) {
            int64_t left_us = item->when_us - before_us - down_us;

            item->when_us = rig.now_us + (left_us > 0 ? left_us : 0);
        } else if (item->state == ITEM_LEASED && item->kind == GET_STREAM) {
            item->state = ITEM_READY;
        } else if (item->state == ITEM_LEASED) {
            item->when_us = rig.now_us + settings.lease_us;
            item->first_us = rig.now_us;
        }
    }
}

static void model_settle(struct item *item, enum settle_verb verb)
{
    switch (verb) {
    case SETTLE_ACK:
        item->state = ITEM_DONE;
        break;
    case SETTLE_RETURN:
        item->state = ITEM_READY;
        break;
    case SETTLE_NACK:
        model_fail(item);
        break;
    case SETTLE_RENEW:
        if (item->kind == GET_CLAIM)
            item->when_us =
                time_min(rig.now_us + settings.lease_us, item->first_us + settings.lease_max_us);
        break;
    case SETTLE_BURY:
        item->deliveries++;
        item->state = ITEM_DEAD;
        break;
    case SETTLE_DROP:
    case SETTLE_FORGET:
        item->state = ITEM_DONE;
        break;
    case SETTLE_REVIVE:
        item->state = ITEM_READY;
        item->deliveries = 0;
        break;
    }
}

static bool model_concerns(const struct settlement *s, const struct item *item)
{
    if (s->verb == SETTLE_DROP)
        return item->state == ITEM_READY || item->state == ITEM_DELAYED;
    if (s->verb == SETTLE_REVIVE || s->verb == SETTLE_FORGET)
        return item->state == ITEM_DEAD;
    return item->state == ITEM_LEASED && item->token == s->token;
}

static struct item *find_item(uint64_t batch, uint32_t index)
{
    for (unsigned i = first_live; i < n_items; i++) {
        if (items[i].batch == batch && items[i].index == index)
            return &items[i];
    }
    return NULL;
}

/* What the model would give next within these limits. */
static struct item *model_next(unsigned *at, unsigned given, uint32_t max_items, size_t *room)
{
    if (given == max_items)
        return NULL;
    for (; *at < n_items; ++*at) {
        struct item *item = &items[*at];

        if (item->state != ITEM_READY)
            continue;
        if (given > 0 && item->len + 1 > *room)
            return NULL;
        *room -= item->len + 1 < *room ? item->len + 1 : *room;
        return item;
    }
    return NULL;
}

static void model_lease(struct item *item, const struct grant *grant, enum get_kind kind,
                        uint8_t session)
{
    cr_assert_eq(grant->deliveries, item->deliveries);
    item->state = ITEM_LEASED;
    item->kind = kind;
    item->token = grant->token;
    item->session = session;
    item->when_us = rig.now_us + settings.lease_us;
    item->first_us = rig.now_us;
}

/* The next item that a list shows, and past it. */
static const struct item *model_listed(unsigned *at, const struct request *list)
{
    while (*at < n_items) {
        const struct item *item = &items[(*at)++];
        uint64_t id = item_id(item->batch, item->index);

        if (list->in.list.to && id >= list->in.list.to)
            return NULL;
        if (id >= list->in.list.from && list->in.list.states & 1u << item->state)
            return item;
    }
    return NULL;
}

#endif
