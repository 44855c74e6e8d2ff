/*
 * Answers into frames. A body by kind:
 *
 *   SYNC       service 8, until 8, space used 8, limit 8, full 1, more 1, zero 2, n_mounts 4,
 *              count 4, then the entries
 *   WATCH      service 8, sequence 8, count 4, then each: queue 8, kinds 4
 *   ARM        kinds 4
 *   PUT        last 8, n_repeats 4, full 1, zero 3
 *   GET        len 8, count 4, zero 4, then the bytes, then each grant: batch 8, token 8, from 4,
 *              to 4, framing 1, zero 3, deliveries 4, offset 8, len 8, put_time_us 8, lease_us 8
 *   SETTLE     n_late 8
 *   MAKE, SET  an entry
 *   PURGE      n_items 8
 *   LIST       len 8, next 8, then the bytes, count 4, zero 4, then each item: id 8, size 8,
 *              state 1, zero 3, deliveries 4, put_time_us 8, until_us 8
 *   an entry   number 8, gone 1, name (length 1, bytes); unless gone: made_us 8, settings 80,
 *              queue_state 104
 */
#include "transport/wire.h"

#include "transport/wire_cursor.h"

#define REPLY_HEADER 128
#define STATE        104
#define ENTRY_REST   (8 + WIRE_SETTINGS + STATE)

static size_t entry_size(const struct queue_entry *entry)
{
    return 10 + strlen(entry->name) + (entry->gone ? 0 : ENTRY_REST);
}

static size_t entries_size(const struct request *request)
{
    size_t size = 44;

    for (size_t i = 0; i < request->out.sync.n_entries; i++)
        size += entry_size(&request->out.sync.entries[i]);
    return size;
}

static size_t body_size(const struct request *request)
{
    switch (request->kind) {
    case REQUEST_SYNC:
        return entries_size(request);
    case REQUEST_WATCH:
        return 20 + request->out.watch.n_events * WIRE_EVENT;
    case REQUEST_ARM:
        return 4;
    case REQUEST_PUT:
        return 16;
    case REQUEST_GET:
        return 16 + request->out.get.len + request->out.get.n_grants * WIRE_GRANT;
    case REQUEST_LIST:
        return 24 + request->out.list.len + request->out.list.n_items * WIRE_ITEM;
    case REQUEST_SETTLE:
    case REQUEST_PURGE:
        return 8;
    case REQUEST_MAKE:
    case REQUEST_SET:
        return entry_size(&request->out.make.entry);
    case REQUEST_REMOVE:
    case REQUEST_KINDS:
        break;
    }
    return 0;
}

size_t wire_reply_size(const struct request *request)
{
    return REPLY_HEADER + (wire_reply_has_body(request) ? body_size(request) : 0);
}

static void put_state(struct wire_out *out, const struct queue_state *state)
{
    put_u64(out, state->revision);
    put_u64(out, state->depth);
    put_u64(out, state->depth_bytes);
    put_u64(out, state->leased);
    put_u64(out, state->delayed);
    put_u64(out, state->dead);
    put_i64(out, state->oldest_put_us);
    put_u64(out, state->total_puts);
    put_u64(out, state->total_gets);
    put_u64(out, state->batch_puts);
    put_u64(out, state->batch_gets);
    put_u64(out, state->redelivered);
    put_u64(out, state->expired);
}

static void put_entry(struct wire_out *out, const struct queue_entry *entry)
{
    put_u64(out, entry->number);
    put_u8(out, entry->gone);
    wire_put_name(out, entry->name);
    if (entry->gone)
        return;
    put_i64(out, entry->made_us);
    wire_put_settings(out, &entry->settings);
    put_state(out, &entry->state);
}

static void put_sync(struct wire_out *out, const struct request *request)
{
    size_t n = request->out.sync.n_entries;

    assert(n <= REQUEST_ENTRIES_MAX);
    put_u64(out, request->out.sync.service);
    put_u64(out, request->out.sync.until);
    put_u64(out, request->out.sync.space.used_bytes);
    put_u64(out, request->out.sync.space.limit_bytes);
    put_u8(out, request->out.sync.space.full);
    put_u8(out, request->out.sync.more);
    put_zeros(out, 2);
    put_u32(out, request->out.sync.n_mounts);
    put_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_entry(out, &request->out.sync.entries[i]);
}

static void put_watch(struct wire_out *out, const struct request *request)
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

static void put_put(struct wire_out *out, const struct request *request)
{
    put_u64(out, request->out.put.last);
    put_u32(out, request->out.put.n_repeats);
    put_u8(out, request->out.put.full);
    put_zeros(out, 3);
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

static void put_get(struct wire_out *out, const struct request *request, bool data_there)
{
    size_t n = request->out.get.n_grants, len = request->out.get.len;

    assert(n <= REQUEST_GRANTS_MAX && len <= BATCH_BYTES_MAX);
    put_u64(out, len);
    put_u32(out, (uint32_t)n);
    put_zeros(out, 4);
    if (data_there)
        out->at += len;
    else
        put_bytes(out, request->out.get.data, len);
    for (size_t i = 0; i < n; i++)
        put_grant(out, &request->out.get.grants[i]);
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

static void put_list(struct wire_out *out, const struct request *request, bool data_there)
{
    size_t n = request->out.list.n_items, len = request->out.list.len;

    assert(n <= REQUEST_ITEMS_MAX && len <= BATCH_BYTES_MAX);
    put_u64(out, len);
    put_u64(out, request->out.list.next);
    if (data_there)
        out->at += len;
    else
        put_bytes(out, request->out.list.data, len);
    put_u32(out, (uint32_t)n);
    put_zeros(out, 4);
    for (size_t i = 0; i < n; i++)
        put_item(out, &request->out.list.items[i]);
}

static void put_body(struct wire_out *out, const struct request *request, bool data_there)
{
    switch (request->kind) {
    case REQUEST_SYNC:
        put_sync(out, request);
        break;
    case REQUEST_WATCH:
        put_watch(out, request);
        break;
    case REQUEST_ARM:
        put_u32(out, request->out.arm.kinds);
        break;
    case REQUEST_PUT:
        put_put(out, request);
        break;
    case REQUEST_GET:
        put_get(out, request, data_there);
        break;
    case REQUEST_LIST:
        put_list(out, request, data_there);
        break;
    case REQUEST_SETTLE:
        put_u64(out, request->out.settle.n_late);
        break;
    case REQUEST_MAKE:
    case REQUEST_SET:
        put_entry(out, &request->out.make.entry);
        break;
    case REQUEST_PURGE:
        put_u64(out, request->out.purge.n_items);
        break;
    case REQUEST_REMOVE:
    case REQUEST_KINDS:
        break;
    }
}

void wire_reply_encode(const struct request *request, uint8_t *frame, bool data_there)
{
    struct wire_out out = {frame, frame + wire_reply_size(request)};

    wire_put_head(&out);
    put_u8(&out, (uint8_t)request->kind);
    put_zeros(&out, 3);
    put_u64(&out, request->number);
    put_u32(&out, wire_status_code(request->status));
    put_zeros(&out, 4);
    put_state(&out, &request->state);
    if (wire_reply_has_body(request))
        put_body(&out, request, data_there);
    assert(out.at == out.end);
}
