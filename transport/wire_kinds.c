/*
 * The bodies of requests and answers, kind by kind: how large, into a frame and out of one. Whoever
 * adds a kind adds its functions and a row of the table at the end.
 *
 *   SYNC    since 8
 *           service 8, store 16, life 8, reached 8, until 8, space used 8, limit 8, damaged rows 8,
 *           full 1, more 1, zero 2, n_mounts 4, refused 8, count 4, then the entries
 *   WATCH   seen 8, wait_us 8
 *           service 8, sequence 8, count 4, then each: queue 8, kinds 4
 *   ARM     kinds 4
 *           kinds 4
 *   PUT     epoch 8, base 8, chain 8, framing 1, begins 1, zero 2, n_items 4, crc 4, zero 4, len 8,
 *           then the bytes
 *           last 8, chain 8, n_repeats 4, full 1, zero 3
 *   GET     kind 1, arm 1, zero 2, max_items 4, max_bytes 8, item 8
 *           len 8, count 4, zero 4, then the bytes, then each grant: batch 8, token 8, from 4, to
 * 4, framing 1, zero 3, deliveries 4, offset 8, len 8, put_time_us 8, lease_us 8 SETTLE  count 4,
 * then each: batch 8, token 8, from 4, to 4, verb 1 n_late 8 MAKE    may_exist 1, name (length 1,
 * bytes), settings an entry SET     settings an entry PURGE   - n_items 8 LIST    states 4,
 * max_items 4, from 8, to 8, bytes 1, zero 3 len 8, next 8, then the bytes, count 4, zero 4, then
 * each item: id 8, size 8, state 1, zero 3, deliveries 4, put_time_us 8, until_us 8
 *
 *   an entry   number 8, gone 1, name (length 1, bytes); unless gone: made_us 8, settings, state
 *   settings   the numbers of struct queue_settings, 8 each
 */
#include "transport/wire_cursor.h"

#include <errno.h>
#include <stdlib.h>

#define EVENT      12
#define SETTLEMENT 25
#define ENTRY_MIN  11 /* number, gone, a name of one byte */

/* ---- SYNC ---- */

static void put_since(struct wire_out *out, const struct request *request)
{
    put_u64(out, request->in.sync.since);
}

static int get_since(struct wire_in *in, struct wire_request *decoded)
{
    decoded->request.in.sync.since = get_u64(in);
    return 0;
}

static size_t entries_size(const struct request *request)
{
    size_t size = 0;

    for (size_t i = 0; i < request->out.sync.n_entries; i++)
        size += wire_entry_size(&request->out.sync.entries[i]);
    return size;
}

static void put_sync(struct wire_out *out, const struct request *request)
{
    size_t n = request->out.sync.n_entries;

    assert(n <= REQUEST_ENTRIES_MAX);
    put_u64(out, request->out.sync.service);
    put_bytes(out, request->out.sync.store.bytes, sizeof(request->out.sync.store.bytes));
    put_u64(out, request->out.sync.life);
    put_u64(out, request->out.sync.reached);
    put_u64(out, request->out.sync.until);
    put_u64(out, request->out.sync.space.used_bytes);
    put_u64(out, request->out.sync.space.limit_bytes);
    put_u64(out, request->out.sync.space.damaged_rows);
    put_u8(out, request->out.sync.space.full);
    put_u8(out, request->out.sync.more);
    put_zeros(out, 2);
    put_u32(out, request->out.sync.n_mounts);
    put_u64(out, request->out.sync.n_refused);
    put_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        wire_put_entry(out, &request->out.sync.entries[i]);
}

static int get_sync(struct wire_in *in, struct request *request, void **memory)
{
    struct queue_entry *entries;
    const uint8_t *store;
    size_t n;

    request->out.sync.service = get_u64(in);
    store = get_bytes(in, sizeof(request->out.sync.store.bytes));
    if (store)
        memcpy(request->out.sync.store.bytes, store, sizeof(request->out.sync.store.bytes));
    request->out.sync.life = get_u64(in);
    request->out.sync.reached = get_u64(in);
    request->out.sync.until = get_u64(in);
    request->out.sync.space.used_bytes = get_u64(in);
    request->out.sync.space.limit_bytes = get_u64(in);
    request->out.sync.space.damaged_rows = get_u64(in);
    request->out.sync.space.full = get_bool(in);
    request->out.sync.more = get_bool(in);
    get_zeros(in, 2);
    request->out.sync.n_mounts = get_u32(in);
    request->out.sync.n_refused = get_u64(in);
    n = get_count(in, REQUEST_ENTRIES_MAX, ENTRY_MIN);
    if (n == 0)
        return 0;
    *memory = entries = calloc(n, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        wire_get_entry(in, &entries[i]);
    request->out.sync.entries = entries;
    request->out.sync.n_entries = n;
    return 0;
}

/* ---- WATCH ---- */

static void put_seen(struct wire_out *out, const struct request *request)
{
    put_u64(out, request->in.watch.seen);
    put_i64(out, request->in.watch.wait_us);
}

static int get_seen(struct wire_in *in, struct wire_request *decoded)
{
    struct request *request = &decoded->request;

    request->in.watch.seen = get_u64(in);
    request->in.watch.wait_us = get_i64(in);
    if (request->in.watch.wait_us < 0)
        in->bad = true;
    return 0;
}

static size_t events_size(const struct request *request)
{
    return request->out.watch.n_events * EVENT;
}

static void put_events(struct wire_out *out, const struct request *request)
{
    size_t n = request->out.watch.n_events;

    assert(n <= REQUEST_EVENTS_MAX);
    put_u64(out, request->out.watch.service);
    put_u64(out, request->out.watch.sequence);
    put_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_u64(out, request->out.watch.events[i].queue);
        put_u32(out, request->out.watch.events[i].kinds);
    }
}

static int get_events(struct wire_in *in, struct request *request, void **memory)
{
    struct event *events;
    size_t n;

    request->out.watch.service = get_u64(in);
    request->out.watch.sequence = get_u64(in);
    n = get_count(in, REQUEST_EVENTS_MAX, EVENT);
    if (n == 0)
        return 0;
    *memory = events = calloc(n, sizeof(*events));
    if (!events)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        events[i].queue = get_u64(in);
        events[i].kinds = get_u32(in);
    }
    request->out.watch.events = events;
    request->out.watch.n_events = n;
    return 0;
}

/* ---- ARM ---- */

static void put_wanted(struct wire_out *out, const struct request *request)
{
    put_u32(out, request->in.arm.kinds);
}

static int get_wanted(struct wire_in *in, struct wire_request *decoded)
{
    uint32_t kinds = get_u32(in);

    if (!kinds || kinds & ~(uint32_t)(EVENT_READY | EVENT_ROOM))
        in->bad = true;
    decoded->request.in.arm.kinds = kinds;
    return 0;
}

static void put_armed(struct wire_out *out, const struct request *request)
{
    put_u32(out, request->out.arm.kinds);
}

static int get_armed(struct wire_in *in, struct request *request, void **memory)
{
    request->out.arm.kinds = get_u32(in);
    return 0;
}

/* ---- PUT ---- */

static size_t batch_size(const struct request *request)
{
    return request->in.put.batch.len;
}

static void put_batch(struct wire_out *out, const struct request *request)
{
    const struct batch_view *batch = &request->in.put.batch;

    assert(batch->len <= BATCH_BYTES_MAX);
    put_u64(out, request->in.put.epoch);
    put_u64(out, request->in.put.base);
    put_u64(out, request->in.put.chain);
    put_u8(out, (uint8_t)batch->framing);
    put_u8(out, request->in.put.begins);
    put_zeros(out, 2);
    put_u32(out, batch->n_items);
    put_u32(out, batch->crc);
    put_zeros(out, 4);
    put_u64(out, batch->len);
    put_bytes(out, batch->data, batch->len);
}

static int get_batch(struct wire_in *in, struct wire_request *decoded)
{
    struct request *request = &decoded->request;
    struct batch_view *batch = &request->in.put.batch;
    uint64_t base, len;

    request->in.put.epoch = get_u64(in);
    base = request->in.put.base = get_u64(in);
    request->in.put.chain = get_u64(in);
    batch->framing = get_choice(in, FRAMING_FILE);
    request->in.put.begins = get_bool(in);
    get_zeros(in, 2);
    batch->n_items = get_u32(in);
    batch->crc = get_u32(in);
    get_zeros(in, 4);
    len = get_u64(in);
    if (base == 0 || batch->n_items == 0 || batch->n_items > BATCH_ITEMS_MAX ||
        base > UINT64_MAX - batch->n_items || len == 0 || len > BATCH_BYTES_MAX)
        in->bad = true;
    batch->data = get_bytes(in, (size_t)len);
    batch->len = batch->data ? (size_t)len : 0;
    return 0;
}

static void put_stored(struct wire_out *out, const struct request *request)
{
    put_u64(out, request->out.put.last);
    put_u64(out, request->out.put.chain);
    put_u32(out, request->out.put.n_repeats);
    put_u8(out, request->out.put.full);
    put_zeros(out, 3);
}

static int get_stored(struct wire_in *in, struct request *request, void **memory)
{
    request->out.put.last = get_u64(in);
    request->out.put.chain = get_u64(in);
    request->out.put.n_repeats = get_u32(in);
    request->out.put.full = get_bool(in);
    get_zeros(in, 3);
    return 0;
}

/* ---- GET ---- */

static void put_demand(struct wire_out *out, const struct request *request)
{
    size_t max_bytes = request->in.get.max_bytes;

    put_u8(out, (uint8_t)request->in.get.kind);
    put_u8(out, request->in.get.arm);
    put_zeros(out, 2);
    put_u32(out, request->in.get.max_items);
    put_u64(out, max_bytes < BATCH_BYTES_MAX ? max_bytes : BATCH_BYTES_MAX);
    put_u64(out, request->in.get.item);
}

static int get_demand(struct wire_in *in, struct wire_request *decoded)
{
    struct request *request = &decoded->request;
    uint64_t max_bytes;

    request->in.get.kind = get_choice(in, GET_CLAIM);
    request->in.get.arm = get_bool(in);
    get_zeros(in, 2);
    request->in.get.max_items = get_u32(in);
    max_bytes = get_u64(in);
    request->in.get.item = get_u64(in);
    if (max_bytes > BATCH_BYTES_MAX || !request_get_valid(request))
        in->bad = true;
    request->in.get.max_bytes = in->bad ? 0 : (size_t)max_bytes;
    return 0;
}

static struct wire_blob items_of(const struct request *request)
{
    return (struct wire_blob){request->out.get.data, request->out.get.len};
}

static size_t grants_size(const struct request *request)
{
    return request->out.get.len + request->out.get.n_grants * WIRE_GRANT;
}

static void put_grant(struct wire_out *out, const struct grant *grant)
{
    put_u64(out, grant->batch);
    put_u64(out, grant->token);
    put_u32(out, grant->from);
    put_u32(out, grant->to);
    put_u8(out, (uint8_t)grant->framing);
    put_zeros(out, 3);
    put_u32(out, grant->deliveries);
    put_u64(out, grant->offset);
    put_u64(out, grant->len);
    put_i64(out, grant->put_time_us);
    put_i64(out, grant->lease_us);
}

static void put_grants(struct wire_out *out, const struct request *request)
{
    size_t n = request->out.get.n_grants, len = request->out.get.len;

    assert(n <= REQUEST_GRANTS_MAX && len <= BATCH_BYTES_MAX);
    put_u64(out, len);
    put_u32(out, (uint32_t)n);
    put_zeros(out, 4);
    put_blob(out, request->out.get.data, len);
    for (size_t i = 0; i < n; i++)
        put_grant(out, &request->out.get.grants[i]);
}

static void get_grant(struct wire_in *in, struct grant *grant, size_t data_len)
{
    uint64_t offset, len;

    grant->batch = get_u64(in);
    grant->token = get_u64(in);
    grant->from = get_u32(in);
    grant->to = get_u32(in);
    grant->framing = get_choice(in, FRAMING_FILE);
    get_zeros(in, 3);
    grant->deliveries = get_u32(in);
    offset = get_u64(in);
    len = get_u64(in);
    grant->put_time_us = get_i64(in);
    grant->lease_us = get_i64(in);
    check_range(in, grant->batch, grant->from, grant->to);
    if (offset > data_len || len > data_len - offset || grant->lease_us < 0) {
        in->bad = true;
        return;
    }
    grant->offset = (size_t)offset;
    grant->len = (size_t)len;
}

static int get_grants(struct wire_in *in, struct request *request, void **memory)
{
    struct grant *grants;
    uint64_t len = get_u64(in);
    size_t n = get_count(in, REQUEST_GRANTS_MAX, WIRE_GRANT);

    get_zeros(in, 4);
    if (len > BATCH_BYTES_MAX)
        in->bad = true;
    request->out.get.data = get_bytes(in, (size_t)len);
    if (in->bad || in->left != n * WIRE_GRANT) {
        in->bad = true;
        return 0;
    }
    request->out.get.len = (size_t)len;
    if (n == 0)
        return 0;
    *memory = grants = calloc(n, sizeof(*grants));
    if (!grants)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        get_grant(in, &grants[i], (size_t)len);
    request->out.get.grants = grants;
    request->out.get.n_grants = n;
    return 0;
}

/* ---- SETTLE ---- */

static size_t settlements_size(const struct request *request)
{
    return request->in.settle.n_items * SETTLEMENT;
}

static void put_settlements(struct wire_out *out, const struct request *request)
{
    size_t n = request->in.settle.n_items;

    assert(n >= 1 && n <= REQUEST_SETTLEMENTS_MAX);
    put_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        const struct settlement *item = &request->in.settle.items[i];

        put_u64(out, item->batch);
        put_u64(out, item->token);
        put_u32(out, item->from);
        put_u32(out, item->to);
        put_u8(out, (uint8_t)item->verb);
    }
}

static int get_settlements(struct wire_in *in, struct wire_request *decoded)
{
    size_t n = get_count(in, REQUEST_SETTLEMENTS_MAX, SETTLEMENT);

    if (n == 0) {
        in->bad = true;
        return 0;
    }
    decoded->settlements = calloc(n, sizeof(*decoded->settlements));
    if (!decoded->settlements)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct settlement *item = &decoded->settlements[i];

        item->batch = get_u64(in);
        item->token = get_u64(in);
        item->from = get_u32(in);
        item->to = get_u32(in);
        item->verb = get_choice(in, SETTLE_FORGET);
        if (!settlement_valid(item))
            in->bad = true;
    }
    decoded->request.in.settle.items = decoded->settlements;
    decoded->request.in.settle.n_items = n;
    return 0;
}

static void put_late(struct wire_out *out, const struct request *request)
{
    put_u64(out, request->out.settle.n_late);
}

static int get_late(struct wire_in *in, struct request *request, void **memory)
{
    request->out.settle.n_late = get_u64(in);
    return 0;
}

/* ---- MAKE, SET, PURGE ---- */

static size_t name_size(const struct request *request)
{
    return strlen(request->in.make.name);
}

static void put_make(struct wire_out *out, const struct request *request)
{
    put_u8(out, request->in.make.may_exist);
    wire_put_name(out, request->in.make.name);
    wire_put_settings(out, request->in.make.settings);
}

static int get_make(struct wire_in *in, struct wire_request *decoded)
{
    struct request *request = &decoded->request;
    int name, settings;

    request->in.make.may_exist = get_bool(in);
    name = wire_get_name(in, decoded->name);
    settings = wire_get_settings(in, &decoded->settings);
    request->in.make.name = decoded->name;
    request->in.make.settings = &decoded->settings;
    return name ? name : settings;
}

static void put_set(struct wire_out *out, const struct request *request)
{
    put_u64(out, request->in.set.fields);
    wire_put_settings(out, request->in.set.settings);
}

/* What is not to be set is not looked at, here or by the service, which judges the whole. */
static int get_set(struct wire_in *in, struct wire_request *decoded)
{
    struct request *request = &decoded->request;

    request->in.set.fields = get_u64(in);
    request->in.set.settings = &decoded->settings;
    wire_get_values(in, &decoded->settings);
    return in->bad || (request->in.set.fields & ~SETTINGS_OWN) == 0 ? 0 : -EINVAL;
}

static size_t made_size(const struct request *request)
{
    return wire_entry_size(&request->out.make.entry);
}

static void put_made(struct wire_out *out, const struct request *request)
{
    wire_put_entry(out, &request->out.make.entry);
}

static int get_made(struct wire_in *in, struct request *request, void **memory)
{
    wire_get_entry(in, &request->out.make.entry);
    return 0;
}

static void put_purged(struct wire_out *out, const struct request *request)
{
    put_u64(out, request->out.purge.n_items);
}

static int get_purged(struct wire_in *in, struct request *request, void **memory)
{
    request->out.purge.n_items = get_u64(in);
    return 0;
}

/* ---- LIST ---- */

static void put_query(struct wire_out *out, const struct request *request)
{
    put_u32(out, request->in.list.states);
    put_u32(out, request->in.list.max_items);
    put_u64(out, request->in.list.from);
    put_u64(out, request->in.list.to);
    put_u8(out, request->in.list.bytes);
    put_zeros(out, 3);
}

static int get_query(struct wire_in *in, struct wire_request *decoded)
{
    struct request *request = &decoded->request;

    request->in.list.states = get_u32(in);
    request->in.list.max_items = get_u32(in);
    request->in.list.from = get_u64(in);
    request->in.list.to = get_u64(in);
    request->in.list.bytes = get_bool(in);
    get_zeros(in, 3);
    if (!request_list_valid(request))
        in->bad = true;
    return 0;
}

static struct wire_blob bytes_of(const struct request *request)
{
    return (struct wire_blob){request->out.list.data, request->out.list.len};
}

static size_t list_size(const struct request *request)
{
    return request->out.list.len + request->out.list.n_items * WIRE_ITEM;
}

static void put_item(struct wire_out *out, const struct item_info *item)
{
    put_u64(out, item->id);
    put_u64(out, item->size);
    put_u8(out, (uint8_t)item->state);
    put_zeros(out, 3);
    put_u32(out, item->deliveries);
    put_i64(out, item->put_time_us);
    put_i64(out, item->until_us);
}

static void put_list(struct wire_out *out, const struct request *request)
{
    size_t n = request->out.list.n_items, len = request->out.list.len;

    assert(n <= REQUEST_ITEMS_MAX && len <= BATCH_BYTES_MAX);
    put_u64(out, len);
    put_u64(out, request->out.list.next);
    put_blob(out, request->out.list.data, len);
    put_u32(out, (uint32_t)n);
    put_zeros(out, 4);
    for (size_t i = 0; i < n; i++)
        put_item(out, &request->out.list.items[i]);
}

static void get_item(struct wire_in *in, struct item_info *item)
{
    item->id = get_u64(in);
    item->size = get_u64(in);
    item->state = get_choice(in, ITEM_DONE - 1);
    get_zeros(in, 3);
    item->deliveries = get_u32(in);
    item->put_time_us = get_i64(in);
    item->until_us = get_i64(in);
    if (!item_id_valid(item->id) || item->size > BATCH_BYTES_MAX)
        in->bad = true;
}

/* By id, as was asked for, and with bytes only of the first. */
static bool list_fits(const struct request *request, const struct item_info *items, size_t n)
{
    uint64_t from = request->in.list.from;

    if (n == 0 && request->out.list.next && request->out.list.next <= from)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (items[i].id < from || (request->in.list.to && items[i].id >= request->in.list.to) ||
            !(request->in.list.states & UINT32_C(1) << items[i].state))
            return false;
        from = items[i].id + 1;
    }
    if (request->out.list.next && request->out.list.next < from)
        return false;
    if (n > 0 && request->in.list.bytes)
        return request->out.list.len == items[0].size;
    return request->out.list.len == 0;
}

static int get_list(struct wire_in *in, struct request *request, void **memory)
{
    struct item_info *items = NULL;
    uint64_t len = get_u64(in);
    size_t n;

    request->out.list.next = get_u64(in);
    if (len > BATCH_BYTES_MAX)
        in->bad = true;
    request->out.list.data = get_bytes(in, (size_t)len);
    request->out.list.len = in->bad ? 0 : (size_t)len;
    n = get_count(in, request->in.list.max_items, WIRE_ITEM);
    get_zeros(in, 4);
    if (n > 0) {
        *memory = items = calloc(n, sizeof(*items));
        if (!items)
            return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        get_item(in, &items[i]);
    if (in->bad || !list_fits(request, items, n))
        in->bad = true;
    request->out.list.items = items;
    request->out.list.n_items = n;
    return 0;
}

/* ---- the table ---- */

static_assert(REQUEST_KINDS == 11, "each kind has a row here");

const struct wire_kind wire_kinds[REQUEST_KINDS + 1] = {
    [REQUEST_SYNC] = {{8, NULL, put_since, get_since}, {92, entries_size, put_sync, get_sync}},
    [REQUEST_WATCH] = {{16, NULL, put_seen, get_seen}, {20, events_size, put_events, get_events}},
    [REQUEST_ARM] = {{4, NULL, put_wanted, get_wanted},
                     {4, NULL, put_armed, get_armed},
                     .always = true},
    [REQUEST_PUT] = {{48, batch_size, put_batch, get_batch},
                     {24, NULL, put_stored, get_stored},
                     .always = true},
    [REQUEST_GET] = {{24, NULL, put_demand, get_demand},
                     {16, grants_size, put_grants, get_grants},
                     .blob = items_of},
    [REQUEST_SETTLE] = {{4, settlements_size, put_settlements, get_settlements},
                        {8, NULL, put_late, get_late},
                        .always = true},
    [REQUEST_MAKE] = {{2 + WIRE_SETTINGS, name_size, put_make, get_make},
                      {0, made_size, put_made, get_made}},
    [REQUEST_REMOVE] = {{0}, {0}},
    [REQUEST_SET] = {{8 + WIRE_SETTINGS, NULL, put_set, get_set},
                     {0, made_size, put_made, get_made}},
    [REQUEST_PURGE] = {{0}, {8, NULL, put_purged, get_purged}, .always = true},
    [REQUEST_LIST] = {{28, NULL, put_query, get_query},
                      {24, list_size, put_list, get_list},
                      .blob = bytes_of},
};
