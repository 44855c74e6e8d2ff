/* Answers out of frames; wire_reply.c has the layout. */
#include "transport/wire.h"

#include <errno.h>
#include <stdlib.h>

#include "transport/wire_cursor.h"

#define ENTRY_MIN 11 /* number, gone, a name of one byte */

static void get_state(struct wire_in *in, struct queue_state *state)
{
    state->revision = get_u64(in);
    state->depth = get_u64(in);
    state->depth_bytes = get_u64(in);
    state->leased = get_u64(in);
    state->delayed = get_u64(in);
    state->dead = get_u64(in);
    state->oldest_put_us = get_i64(in);
    state->total_puts = get_u64(in);
    state->total_gets = get_u64(in);
    state->batch_puts = get_u64(in);
    state->batch_gets = get_u64(in);
    state->redelivered = get_u64(in);
    state->expired = get_u64(in);
}

static void get_entry(struct wire_in *in, struct queue_entry *entry)
{
    entry->number = get_u64(in);
    entry->gone = get_bool(in);
    if (wire_get_name(in, entry->name))
        in->bad = true;
    if (entry->gone)
        return;
    entry->made_us = get_i64(in);
    if (wire_get_settings(in, &entry->settings))
        in->bad = true;
    get_state(in, &entry->state);
}

static int get_sync(struct wire_in *in, struct request *request, void **memory)
{
    struct queue_entry *entries;
    size_t n;

    request->out.sync.service = get_u64(in);
    request->out.sync.until = get_u64(in);
    request->out.sync.space.used_bytes = get_u64(in);
    request->out.sync.space.limit_bytes = get_u64(in);
    request->out.sync.space.full = get_bool(in);
    request->out.sync.more = get_bool(in);
    get_zeros(in, 2);
    request->out.sync.n_mounts = get_u32(in);
    n = get_count(in, REQUEST_ENTRIES_MAX, ENTRY_MIN);
    if (n == 0)
        return 0;
    *memory = entries = calloc(n, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        get_entry(in, &entries[i]);
    request->out.sync.entries = entries;
    request->out.sync.n_entries = n;
    return 0;
}

static int get_watch(struct wire_in *in, struct request *request, void **memory)
{
    struct event *events;
    size_t n;

    request->out.watch.service = get_u64(in);
    request->out.watch.sequence = get_u64(in);
    n = get_count(in, REQUEST_EVENTS_MAX, WIRE_EVENT);
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

static void get_put(struct wire_in *in, struct request *request)
{
    request->out.put.last = get_u64(in);
    request->out.put.n_repeats = get_u32(in);
    request->out.put.full = get_bool(in);
    get_zeros(in, 3);
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

static int get_get(struct wire_in *in, struct request *request, void **memory)
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

static int get_body(struct wire_in *in, struct request *request, void **memory)
{
    switch (request->kind) {
    case REQUEST_SYNC:
        return get_sync(in, request, memory);
    case REQUEST_WATCH:
        return get_watch(in, request, memory);
    case REQUEST_ARM:
        request->out.arm.kinds = get_u32(in);
        break;
    case REQUEST_PUT:
        get_put(in, request);
        break;
    case REQUEST_GET:
        return get_get(in, request, memory);
    case REQUEST_LIST:
        return get_list(in, request, memory);
    case REQUEST_SETTLE:
        request->out.settle.n_late = get_u64(in);
        break;
    case REQUEST_MAKE:
    case REQUEST_SET:
        get_entry(in, &request->out.make.entry);
        break;
    case REQUEST_PURGE:
        request->out.purge.n_items = get_u64(in);
        break;
    case REQUEST_REMOVE:
    case REQUEST_KINDS:
        break;
    }
    return 0;
}

static int get_header(struct wire_in *in, struct request *request)
{
    uint32_t kind, status;
    uint64_t number;

    get_bytes(in, WIRE_HEAD);
    kind = get_choice(in, REQUEST_KINDS);
    get_zeros(in, 3);
    number = get_u64(in);
    status = get_u32(in);
    get_zeros(in, 4);
    get_state(in, &request->state);
    if (in->bad || kind != request->kind || number != request->number)
        return -EPROTO;
    return wire_status_errno(status, &request->status);
}

int wire_reply_decode(const uint8_t *frame, size_t len, struct request *request, void **memory)
{
    struct wire_in in = {frame, len, false};
    int rc = wire_check_head(frame, len);

    *memory = NULL;
    request->status = 0;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    if (rc == 0)
        rc = get_header(&in, request);
    if (rc == 0 && wire_reply_has_body(request))
        rc = get_body(&in, request, memory);
    if (rc == 0 && (in.bad || in.left))
        rc = -EPROTO;
    if (rc) {
        free(*memory);
        *memory = NULL;
        memset(&request->state, 0, sizeof(request->state));
        memset(&request->out, 0, sizeof(request->out));
    }
    return rc;
}
