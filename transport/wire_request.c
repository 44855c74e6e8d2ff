/*
 * Requests as frames. A body by kind:
 *
 *   SYNC    since 8
 *   WATCH   seen 8, wait_us 8
 *   ARM     kinds 4
 *   PUT     epoch 8, base 8, framing 1, zero 3, n_items 4, crc 4, zero 4, len 8, then the bytes
 *   GET     kind 1, arm 1, zero 2, max_items 4, max_bytes 8, item 8
 *   SETTLE  count 4, then each: batch 8, token 8, from 4, to 4, verb 1
 *   MAKE    may_exist 1, name (length 1, bytes), settings 80
 *   SET     settings 80
 *   LIST    states 4, max_items 4, from 8, to 8, bytes 1, zero 3
 */
#include "transport/wire.h"

#include <errno.h>
#include <stdlib.h>

#include "transport/wire_cursor.h"

#define HEADER     48
#define PUT_FIELDS 40
#define SETTLEMENT 25

size_t wire_request_size(const struct request *request)
{
    switch (request->kind) {
    case REQUEST_SYNC:
        return HEADER + 8;
    case REQUEST_WATCH:
        return HEADER + 16;
    case REQUEST_ARM:
        return HEADER + 4;
    case REQUEST_PUT:
        return HEADER + PUT_FIELDS + request->in.put.batch.len;
    case REQUEST_GET:
        return HEADER + 24;
    case REQUEST_SETTLE:
        return HEADER + 4 + request->in.settle.n_items * SETTLEMENT;
    case REQUEST_MAKE:
        return HEADER + 2 + strlen(request->in.make.name) + WIRE_SETTINGS;
    case REQUEST_SET:
        return HEADER + WIRE_SETTINGS;
    case REQUEST_LIST:
        return HEADER + 28;
    case REQUEST_REMOVE:
    case REQUEST_PURGE:
    case REQUEST_KINDS:
        break;
    }
    return HEADER;
}

static void put_batch(struct wire_out *out, const struct request *request)
{
    const struct batch_view *batch = &request->in.put.batch;

    assert(batch->len <= BATCH_BYTES_MAX);
    put_u64(out, request->in.put.epoch);
    put_u64(out, request->in.put.base);
    put_u8(out, (uint8_t)batch->framing);
    put_zeros(out, 3);
    put_u32(out, batch->n_items);
    put_u32(out, batch->crc);
    put_zeros(out, 4);
    put_u64(out, batch->len);
    put_bytes(out, batch->data, batch->len);
}

static void put_get(struct wire_out *out, const struct request *request)
{
    size_t max_bytes = request->in.get.max_bytes;

    put_u8(out, (uint8_t)request->in.get.kind);
    put_u8(out, request->in.get.arm);
    put_zeros(out, 2);
    put_u32(out, request->in.get.max_items);
    put_u64(out, max_bytes < BATCH_BYTES_MAX ? max_bytes : BATCH_BYTES_MAX);
    put_u64(out, request->in.get.item);
}

static void put_list(struct wire_out *out, const struct request *request)
{
    put_u32(out, request->in.list.states);
    put_u32(out, request->in.list.max_items);
    put_u64(out, request->in.list.from);
    put_u64(out, request->in.list.to);
    put_u8(out, request->in.list.bytes);
    put_zeros(out, 3);
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

static void put_body(struct wire_out *out, const struct request *request)
{
    switch (request->kind) {
    case REQUEST_SYNC:
        put_u64(out, request->in.sync.since);
        break;
    case REQUEST_WATCH:
        put_u64(out, request->in.watch.seen);
        put_i64(out, request->in.watch.wait_us);
        break;
    case REQUEST_ARM:
        put_u32(out, request->in.arm.kinds);
        break;
    case REQUEST_PUT:
        put_batch(out, request);
        break;
    case REQUEST_GET:
        put_get(out, request);
        break;
    case REQUEST_SETTLE:
        put_settlements(out, request);
        break;
    case REQUEST_MAKE:
        put_u8(out, request->in.make.may_exist);
        wire_put_name(out, request->in.make.name);
        wire_put_settings(out, request->in.make.settings);
        break;
    case REQUEST_SET:
        wire_put_settings(out, request->in.set.settings);
        break;
    case REQUEST_LIST:
        put_list(out, request);
        break;
    case REQUEST_REMOVE:
    case REQUEST_PURGE:
    case REQUEST_KINDS:
        break;
    }
}

void wire_request_encode(const struct request *request, uint8_t *frame)
{
    struct wire_out out = {frame, frame + wire_request_size(request)};

    assert(request->kind < REQUEST_KINDS);
    wire_put_head(&out);
    put_u8(&out, (uint8_t)request->kind);
    put_zeros(&out, 3);
    put_u64(&out, request->queue);
    put_bytes(&out, request->session.bytes, sizeof(request->session.bytes));
    put_u64(&out, request->number);
    put_u64(&out, request->answered_below);
    put_body(&out, request);
    assert(out.at == out.end);
}

static void get_watch(struct wire_in *in, struct request *request)
{
    request->in.watch.seen = get_u64(in);
    request->in.watch.wait_us = get_i64(in);
    if (request->in.watch.wait_us < 0)
        in->bad = true;
}

static void get_arm(struct wire_in *in, struct request *request)
{
    request->in.arm.kinds = get_u32(in);
    if (!request->in.arm.kinds || request->in.arm.kinds & ~(uint32_t)(EVENT_READY | EVENT_ROOM))
        in->bad = true;
}

static void get_batch(struct wire_in *in, struct request *request)
{
    struct batch_view *batch = &request->in.put.batch;
    uint64_t base, len;

    request->in.put.epoch = get_u64(in);
    base = request->in.put.base = get_u64(in);
    batch->framing = get_choice(in, FRAMING_FILE);
    get_zeros(in, 3);
    batch->n_items = get_u32(in);
    batch->crc = get_u32(in);
    get_zeros(in, 4);
    len = get_u64(in);
    if (base == 0 || batch->n_items == 0 || batch->n_items > BATCH_ITEMS_MAX ||
        base > UINT64_MAX - batch->n_items || len == 0 || len > BATCH_BYTES_MAX)
        in->bad = true;
    batch->data = get_bytes(in, (size_t)len);
    batch->len = batch->data ? (size_t)len : 0;
}

static void get_get(struct wire_in *in, struct request *request)
{
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
}

static void get_list(struct wire_in *in, struct request *request)
{
    request->in.list.states = get_u32(in);
    request->in.list.max_items = get_u32(in);
    request->in.list.from = get_u64(in);
    request->in.list.to = get_u64(in);
    request->in.list.bytes = get_bool(in);
    get_zeros(in, 3);
    if (!request_list_valid(request))
        in->bad = true;
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

static int get_set(struct wire_in *in, struct wire_request *decoded)
{
    decoded->request.in.set.settings = &decoded->settings;
    return wire_get_settings(in, &decoded->settings);
}

static int get_body(struct wire_in *in, struct wire_request *decoded)
{
    struct request *request = &decoded->request;

    switch (request->kind) {
    case REQUEST_SYNC:
        request->in.sync.since = get_u64(in);
        return 0;
    case REQUEST_WATCH:
        get_watch(in, request);
        return 0;
    case REQUEST_ARM:
        get_arm(in, request);
        return 0;
    case REQUEST_PUT:
        get_batch(in, request);
        return 0;
    case REQUEST_GET:
        get_get(in, request);
        return 0;
    case REQUEST_LIST:
        get_list(in, request);
        return 0;
    case REQUEST_SETTLE:
        return get_settlements(in, decoded);
    case REQUEST_MAKE:
        return get_make(in, decoded);
    case REQUEST_SET:
        return get_set(in, decoded);
    case REQUEST_REMOVE:
    case REQUEST_PURGE:
        return 0;
    case REQUEST_KINDS:
        break;
    }
    return -EPROTO;
}

int wire_request_decode(const uint8_t *frame, size_t len, struct wire_request *decoded)
{
    struct request *request = &decoded->request;
    struct wire_in in = {frame, len, false};
    const uint8_t *session;
    int rc;

    memset(decoded, 0, sizeof(*decoded));
    request->kind = REQUEST_KINDS;
    rc = wire_check_head(frame, len);
    if (rc)
        return rc;
    get_bytes(&in, WIRE_HEAD);
    request->kind = get_choice(&in, REQUEST_KINDS);
    get_zeros(&in, 3);
    request->queue = get_u64(&in);
    session = get_bytes(&in, sizeof(request->session.bytes));
    request->number = get_u64(&in);
    request->answered_below = get_u64(&in);
    if (in.bad)
        return -EPROTO;
    memcpy(request->session.bytes, session, sizeof(request->session.bytes));
    rc = get_body(&in, decoded);
    if (in.bad || in.left)
        return -EPROTO;
    return rc;
}

void wire_request_fini(struct wire_request *decoded)
{
    free(decoded->settlements);
    decoded->settlements = NULL;
}
