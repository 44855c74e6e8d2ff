#include "tests/transport/samples.h"

#include <pthread.h>
#include <string.h>

#include "core/clock.h"

static const uint8_t bytes[] = "one\ntwo\n\nfour\n";
#define N_BYTES (sizeof(bytes) - 1)

static const struct settlement settlements[] = {
    {SETTLE_ACK, 1, 0, 1, 11},
    {SETTLE_RETURN, 2, 3, 9, UINT64_MAX},
    {SETTLE_NACK, BATCH_NUMBER_MAX, 0, BATCH_ITEMS_MAX, 0},
    {SETTLE_RENEW, 4, 5, 6, 7},
    {SETTLE_BURY, 8, BATCH_ITEMS_MAX - 1, BATCH_ITEMS_MAX, 9},
    {SETTLE_DROP, 10, 0, 1, 0},
    {SETTLE_REVIVE, 11, 2, 3, 0},
    {SETTLE_FORGET, BATCH_NUMBER_MAX, BATCH_ITEMS_MAX - 1, BATCH_ITEMS_MAX, 0},
};

static const struct grant grants[] = {
    {1, 0, 2, 21, FRAMING_LINE, 0, 0, 8, 1700000000000000, TIME_FOREVER},
    {BATCH_NUMBER_MAX, 7, 9, UINT64_MAX, FRAMING_NUL, 4, 8, 6, -1, 30000000},
    {3, 0, 1, 22, FRAMING_FILE, 5, N_BYTES, 0, 0, 0},
};

/* The first one's bytes are `bytes`. */
#define FIRST_LISTED ((UINT64_C(1) << ITEM_INDEX_BITS) + 3)
static const struct item_info listed[] = {
    {FIRST_LISTED, N_BYTES, ITEM_READY, 0, 1700000000000000, 0},
    {FIRST_LISTED + 1, 0, ITEM_DELAYED, 2, -1, 1700000000000001},
    {INT64_MAX, BATCH_BYTES_MAX, ITEM_DEAD, UINT32_MAX, 0, 0},
};

static const struct event events[] = {{5, EVENT_READY}, {6, EVENT_ROOM}, {0, EVENT_QUEUES}};

static struct queue_settings settings;
static struct queue_entry entries[2];

static void fill_state(struct queue_state *state)
{
    *state = (struct queue_state){.revision = 101,
                                  .depth = 102,
                                  .depth_bytes = 103,
                                  .leased = 104,
                                  .delayed = 105,
                                  .dead = 106,
                                  .damaged_batches = 108,
                                  .damaged_items = 109,
                                  .oldest_put_us = -107,
                                  .total_puts = 108,
                                  .total_gets = 109,
                                  .batch_puts = 110,
                                  .batch_gets = 111,
                                  .redelivered = 112,
                                  .expired = UINT64_MAX};
}

static void fill_once(void)
{
    struct all_settings all;

    settings_default(&all);
    settings = all.own;
    settings.maxsize = 12345;
    settings.framing = FRAMING_FILE;
    settings.owner = 1000;
    settings.group = 1001;
    memset(entries, 0, sizeof(entries));
    entries[0].number = 7;
    strcpy(entries[0].name, "jobs");
    entries[0].made_us = 77;
    entries[0].settings = settings;
    fill_state(&entries[0].state);
    entries[1].number = 8;
    memset(entries[1].name, 'z', QUEUE_NAME_MAX);
    entries[1].gone = true;
}

static void fill_statics(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fill_once);
}

void sample_request(struct request *request, enum request_kind kind)
{
    fill_statics();
    memset(request, 0, sizeof(*request));
    request->kind = kind;
    request->queue = 0x1122334455667788;
    memcpy(request->session.bytes, "0123456789abcdef", 16);
    request->life = 0x2233445566778899;
    request->repeat = true;
    request->number = 42;
    request->answered_below = 40;
    switch (kind) {
    case REQUEST_SYNC:
        request->in.sync.since = 99;
        break;
    case REQUEST_WATCH:
        request->in.watch.seen = 98;
        request->in.watch.wait_us = 250000;
        break;
    case REQUEST_ARM:
        request->in.arm.kinds = EVENT_READY | EVENT_ROOM;
        break;
    case REQUEST_PUT:
        request->in.put.epoch = 3;
        request->in.put.base = 1;
        request->in.put.begins = true;
        request->in.put.chain = UINT64_C(0x0123456789abcdef);
        request->in.put.batch = (struct batch_view){FRAMING_NUL, 4, bytes, N_BYTES, 0xdeadbeef, 0};
        break;
    case REQUEST_GET:
        request->in.get.kind = GET_CLAIM;
        request->in.get.max_items = 1000;
        request->in.get.max_bytes = 1 << 20;
        request->in.get.arm = true;
        request->in.get.item = INT64_MAX;
        break;
    case REQUEST_SETTLE:
        request->in.settle.items = settlements;
        request->in.settle.n_items = sizeof(settlements) / sizeof(settlements[0]);
        break;
    case REQUEST_MAKE:
        request->in.make.name = "a-new_Queue9";
        request->in.make.settings = &settings;
        request->in.make.may_exist = true;
        break;
    case REQUEST_SET:
        request->in.set.settings = &settings;
        request->in.set.fields = SETTINGS_OWN - 1;
        break;
    case REQUEST_LIST:
        request->in.list.states = 1 << ITEM_READY | 1 << ITEM_DELAYED | 1 << ITEM_DEAD;
        request->in.list.from = FIRST_LISTED;
        request->in.list.to = (uint64_t)INT64_MAX + 1;
        request->in.list.max_items = REQUEST_ITEMS_MAX;
        request->in.list.bytes = true;
        break;
    case REQUEST_REMOVE:
    case REQUEST_PURGE:
    case REQUEST_KINDS:
        break;
    }
}

void sample_answer(struct request *request)
{
    fill_statics();
    request->status = 0;
    request->position = 212;
    fill_state(&request->state);
    memset(&request->out, 0, sizeof(request->out));
    switch (request->kind) {
    case REQUEST_SYNC:
        request->out.sync.service = 201;
        memset(&request->out.sync.store, 'S', sizeof(request->out.sync.store));
        request->out.sync.life = 209;
        request->out.sync.reached = 210;
        request->out.sync.until = 202;
        request->out.sync.more = true;
        request->out.sync.n_mounts = 203;
        request->out.sync.n_refused = 207;
        request->out.sync.space = (struct store_space){204, 205, 206, true, false};
        request->out.sync.entries = entries;
        request->out.sync.n_entries = 2;
        break;
    case REQUEST_WATCH:
        request->out.watch.service = 201;
        request->out.watch.sequence = 206;
        request->out.watch.events = events;
        request->out.watch.n_events = sizeof(events) / sizeof(events[0]);
        break;
    case REQUEST_ARM:
        request->out.arm.kinds = EVENT_ROOM;
        break;
    case REQUEST_PUT:
        request->out.put.last = 207;
        request->out.put.chain = 211;
        request->out.put.n_repeats = 208;
        request->out.put.full = true;
        break;
    case REQUEST_GET:
        request->out.get.grants = grants;
        request->out.get.n_grants = sizeof(grants) / sizeof(grants[0]);
        request->out.get.data = bytes;
        request->out.get.len = N_BYTES;
        break;
    case REQUEST_SETTLE:
        request->out.settle.n_late = 209;
        break;
    case REQUEST_MAKE:
    case REQUEST_SET:
        request->out.make.entry = entries[0];
        break;
    case REQUEST_PURGE:
        request->out.purge.n_items = 210;
        break;
    case REQUEST_LIST:
        request->out.list.items = listed;
        request->out.list.n_items = sizeof(listed) / sizeof(listed[0]);
        request->out.list.next = (uint64_t)INT64_MAX + 1;
        request->out.list.data = bytes;
        request->out.list.len = N_BYTES;
        break;
    case REQUEST_REMOVE:
    case REQUEST_KINDS:
        break;
    }
}

static bool same_settlements(const struct request *a, const struct request *b)
{
    if (a->in.settle.n_items != b->in.settle.n_items)
        return false;
    for (size_t i = 0; i < a->in.settle.n_items; i++) {
        const struct settlement *x = &a->in.settle.items[i], *y = &b->in.settle.items[i];

        if (x->verb != y->verb || x->batch != y->batch || x->from != y->from || x->to != y->to ||
            x->token != y->token)
            return false;
    }
    return true;
}

static bool same_batch(const struct batch_view *a, const struct batch_view *b)
{
    return a->framing == b->framing && a->n_items == b->n_items && a->len == b->len &&
           memcmp(a->data, b->data, a->len) == 0 && a->crc == b->crc;
}

bool sample_same_request(const struct request *a, const struct request *b)
{
    if (a->kind != b->kind || a->queue != b->queue || a->number != b->number ||
        memcmp(&a->session, &b->session, sizeof(a->session)) != 0 ||
        a->answered_below != b->answered_below || a->life != b->life ||
        (a->repeat || a->n_retries > 0) != b->repeat)
        return false;
    switch (a->kind) {
    case REQUEST_SYNC:
        return a->in.sync.since == b->in.sync.since;
    case REQUEST_WATCH:
        return a->in.watch.seen == b->in.watch.seen && a->in.watch.wait_us == b->in.watch.wait_us;
    case REQUEST_ARM:
        return a->in.arm.kinds == b->in.arm.kinds;
    case REQUEST_PUT:
        return a->in.put.epoch == b->in.put.epoch && a->in.put.base == b->in.put.base &&
               a->in.put.begins == b->in.put.begins && a->in.put.chain == b->in.put.chain &&
               same_batch(&a->in.put.batch, &b->in.put.batch);
    case REQUEST_GET:
        return a->in.get.kind == b->in.get.kind && a->in.get.arm == b->in.get.arm &&
               a->in.get.max_items == b->in.get.max_items &&
               a->in.get.max_bytes == b->in.get.max_bytes && a->in.get.item == b->in.get.item;
    case REQUEST_SETTLE:
        return same_settlements(a, b);
    case REQUEST_MAKE:
        return strcmp(a->in.make.name, b->in.make.name) == 0 &&
               a->in.make.may_exist == b->in.make.may_exist &&
               memcmp(a->in.make.settings, b->in.make.settings, sizeof(settings)) == 0;
    case REQUEST_SET:
        return a->in.set.fields == b->in.set.fields &&
               memcmp(a->in.set.settings, b->in.set.settings, sizeof(settings)) == 0;
    case REQUEST_LIST:
        return a->in.list.states == b->in.list.states && a->in.list.from == b->in.list.from &&
               a->in.list.to == b->in.list.to && a->in.list.max_items == b->in.list.max_items &&
               a->in.list.bytes == b->in.list.bytes;
    case REQUEST_REMOVE:
    case REQUEST_PURGE:
    case REQUEST_KINDS:
        break;
    }
    return true;
}

static bool same_entry(const struct queue_entry *a, const struct queue_entry *b)
{
    if (a->number != b->number || strcmp(a->name, b->name) != 0 || a->gone != b->gone)
        return false;
    return a->gone || (a->made_us == b->made_us &&
                       memcmp(&a->settings, &b->settings, sizeof(a->settings)) == 0 &&
                       memcmp(&a->state, &b->state, sizeof(a->state)) == 0);
}

static bool same_sync(const struct request *a, const struct request *b)
{
    if (a->out.sync.service != b->out.sync.service || a->out.sync.life != b->out.sync.life ||
        memcmp(&a->out.sync.store, &b->out.sync.store, sizeof(a->out.sync.store)) != 0 ||
        a->out.sync.reached != b->out.sync.reached || a->out.sync.until != b->out.sync.until ||
        a->out.sync.more != b->out.sync.more || a->out.sync.n_mounts != b->out.sync.n_mounts ||
        a->out.sync.n_refused != b->out.sync.n_refused ||
        a->out.sync.space.used_bytes != b->out.sync.space.used_bytes ||
        a->out.sync.space.limit_bytes != b->out.sync.space.limit_bytes ||
        a->out.sync.space.full != b->out.sync.space.full ||
        a->out.sync.space.damaged_rows != b->out.sync.space.damaged_rows ||
        a->out.sync.n_entries != b->out.sync.n_entries)
        return false;
    for (size_t i = 0; i < a->out.sync.n_entries; i++)
        if (!same_entry(&a->out.sync.entries[i], &b->out.sync.entries[i]))
            return false;
    return true;
}

static bool same_watch(const struct request *a, const struct request *b)
{
    if (a->out.watch.service != b->out.watch.service ||
        a->out.watch.sequence != b->out.watch.sequence ||
        a->out.watch.n_events != b->out.watch.n_events)
        return false;
    for (size_t i = 0; i < a->out.watch.n_events; i++)
        if (a->out.watch.events[i].queue != b->out.watch.events[i].queue ||
            a->out.watch.events[i].kinds != b->out.watch.events[i].kinds)
            return false;
    return true;
}

static bool same_grant(const struct grant *a, const struct grant *b)
{
    return a->batch == b->batch && a->from == b->from && a->to == b->to && a->token == b->token &&
           a->framing == b->framing && a->deliveries == b->deliveries && a->offset == b->offset &&
           a->len == b->len && a->put_time_us == b->put_time_us && a->lease_us == b->lease_us;
}

static bool same_get(const struct request *a, const struct request *b)
{
    if (a->out.get.len != b->out.get.len || a->out.get.n_grants != b->out.get.n_grants ||
        (a->out.get.len && memcmp(a->out.get.data, b->out.get.data, a->out.get.len) != 0))
        return false;
    for (size_t i = 0; i < a->out.get.n_grants; i++)
        if (!same_grant(&a->out.get.grants[i], &b->out.get.grants[i]))
            return false;
    return true;
}

static bool same_item(const struct item_info *a, const struct item_info *b)
{
    return a->id == b->id && a->size == b->size && a->state == b->state &&
           a->deliveries == b->deliveries && a->put_time_us == b->put_time_us &&
           a->until_us == b->until_us;
}

static bool same_list(const struct request *a, const struct request *b)
{
    if (a->out.list.len != b->out.list.len || a->out.list.n_items != b->out.list.n_items ||
        a->out.list.next != b->out.list.next ||
        (a->out.list.len && memcmp(a->out.list.data, b->out.list.data, a->out.list.len) != 0))
        return false;
    for (size_t i = 0; i < a->out.list.n_items; i++)
        if (!same_item(&a->out.list.items[i], &b->out.list.items[i]))
            return false;
    return true;
}

bool sample_same_answer(const struct request *a, const struct request *b)
{
    if (a->status != b->status || a->position != b->position ||
        memcmp(&a->state, &b->state, sizeof(a->state)) != 0)
        return false;
    switch (a->kind) {
    case REQUEST_SYNC:
        return same_sync(a, b);
    case REQUEST_WATCH:
        return same_watch(a, b);
    case REQUEST_ARM:
        return a->out.arm.kinds == b->out.arm.kinds;
    case REQUEST_PUT:
        return a->out.put.last == b->out.put.last && a->out.put.chain == b->out.put.chain &&
               a->out.put.n_repeats == b->out.put.n_repeats && a->out.put.full == b->out.put.full;
    case REQUEST_GET:
        return same_get(a, b);
    case REQUEST_SETTLE:
        return a->out.settle.n_late == b->out.settle.n_late;
    case REQUEST_MAKE:
    case REQUEST_SET:
        return same_entry(&a->out.make.entry, &b->out.make.entry);
    case REQUEST_PURGE:
        return a->out.purge.n_items == b->out.purge.n_items;
    case REQUEST_LIST:
        return same_list(a, b);
    case REQUEST_REMOVE:
    case REQUEST_KINDS:
        break;
    }
    return true;
}
