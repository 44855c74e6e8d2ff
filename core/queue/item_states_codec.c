/*
 * The stored form of a mark, little-endian:
 *   u8 version, u8 framing, u16 0, u32 n_items, i64 put time, u32 n_spans, then the spans:
 *   u8 state, u32 items, u32 bytes, u32 deliveries; leased: u64 token, i64 length of the lease;
 *   delayed: i64 time of day, i64 how long that was away.
 * What comes from the disk is checked, not trusted: the spans must add up to n_items, and hold no
 * more bytes than a batch may have. Another version is no mark.
 */
#include "core/queue/item_states.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clock.h"

#define MARK_VERSION 3
#define HEAD_SIZE    20
#define SPAN_SIZE    13

/* No delay is longer. */
#define DELAY_MAX_US (INT64_C(600) * 1000000)
/* Nor a lease than this. */
#define LEASE_MAX_US (INT64_C(366) * 24 * 3600 * 1000000)

static enum item_state stored_state(const struct span *span)
{
    if (span->state == ITEM_LEASED && span->kind == GET_STREAM)
        return ITEM_READY;
    return span->state;
}

static size_t extra_size(enum item_state state)
{
    return state == ITEM_LEASED || state == ITEM_DELAYED ? 16 : 0;
}

size_t mark_encoded_size(const struct mark *mark)
{
    size_t size = HEAD_SIZE + (size_t)mark->n_spans * SPAN_SIZE;

    for (uint32_t i = 0; i < mark->n_spans; i++)
        size += extra_size(stored_state(&mark->spans[i]));
    return size;
}

static uint8_t *span_encode(const struct span *span, const struct mark_times *times, uint8_t *out)
{
    enum item_state state = stored_state(span);

    *out++ = (uint8_t)state;
    out = put_le32(out, span->to - span->from);
    out = put_le32(out, (uint32_t)span->n_bytes);
    out = put_le32(out, span->deliveries);
    if (state == ITEM_LEASED) {
        out = put_le64(out, span->token);
        out = put_le64(out, (uint64_t)span->lease_us);
    }
    if (state == ITEM_DELAYED) {
        int64_t left_us = span->when_us > times->mono_us ? span->when_us - times->mono_us : 0;

        out = put_le64(out, (uint64_t)(left_us + times->wall_us));
        out = put_le64(out, (uint64_t)left_us);
    }
    return out;
}

void mark_encode(const struct mark *mark, const struct mark_head *head,
                 const struct mark_times *times, uint8_t *out)
{
    *out++ = MARK_VERSION;
    *out++ = (uint8_t)head->framing;
    *out++ = 0;
    *out++ = 0;
    out = put_le32(out, mark->n_items);
    out = put_le64(out, (uint64_t)head->put_time_us);
    out = put_le32(out, mark->n_spans);
    for (uint32_t i = 0; i < mark->n_spans; i++)
        out = span_encode(&mark->spans[i], times, out);
}

/* When a delay that was stored as time of day ends, on the clock of this life. The time of day may
 * have been set back since; no more is left than there was. */
static int64_t delay_end(const uint8_t *extra, const struct mark_times *times)
{
    uint64_t stored = get_le64(extra), left_us = get_le64(extra + 8);

    if (stored > INT64_MAX || (int64_t)stored <= times->wall_us)
        return times->mono_us;
    if (left_us > stored - (uint64_t)times->wall_us)
        left_us = stored - (uint64_t)times->wall_us;
    return times->mono_us + (left_us < DELAY_MAX_US ? (int64_t)left_us : DELAY_MAX_US);
}

/* A lease that runs in full again. */
static void lease_decode(const uint8_t *extra, const struct mark_times *times, struct span *span)
{
    uint64_t lease_us = get_le64(extra + 8);

    span->kind = GET_CLAIM;
    span->token = get_le64(extra);
    span->lease_us = lease_us < LEASE_MAX_US ? (int64_t)lease_us : LEASE_MAX_US;
    span->first_us = times->mono_us;
    span->when_us = time_after(times->mono_us, span->lease_us);
}

static size_t span_decode(const uint8_t *in, size_t len, const struct mark_times *times,
                          struct span *span)
{
    const uint8_t *extra;
    size_t size;

    if (len < SPAN_SIZE || in[0] >= ITEM_STATES)
        return 0;
    *span = (struct span){.state = in[0],
                          .to = get_le32(in + 1), /* length, until it is placed */
                          .n_bytes = get_le32(in + 5),
                          .deliveries = get_le32(in + 9),
                          .when_us = TIME_FOREVER};
    size = SPAN_SIZE + extra_size(span->state);
    if (len < size || (span->state == ITEM_LEASED && span->deliveries == 0))
        return 0;
    extra = in + SPAN_SIZE;
    if (span->state == ITEM_LEASED)
        lease_decode(extra, times, span);
    else if (span->state == ITEM_DELAYED)
        span->when_us = delay_end(extra, times);
    return size;
}

static int spans_decode(struct mark *mark, uint32_t n_spans, const uint8_t *data, size_t len,
                        const struct mark_times *times)
{
    const uint8_t *in = data + HEAD_SIZE;
    uint64_t n_bytes = 0;
    uint32_t at = 0;

    len -= HEAD_SIZE;
    for (uint32_t i = 0; i < n_spans; i++) {
        struct span *span = &mark->spans[i];
        size_t taken = span_decode(in, len, times, span);

        if (taken == 0 || span->to == 0 || span->to > mark->n_items - at)
            return -EBADMSG;
        span->from = at;
        span->to += at;
        at = span->to;
        n_bytes += span->n_bytes;
        mark->items[span->state] += span->to - span->from;
        mark->bytes[span->state] += span->n_bytes;
        in += taken;
        len -= taken;
    }
    mark->n_spans = n_spans;
    return at == mark->n_items && len == 0 && n_bytes <= BATCH_BYTES_MAX ? 0 : -EBADMSG;
}

static int head_decode(const uint8_t *data, size_t len, struct mark_head *head)
{
    if (len < HEAD_SIZE || data[0] != MARK_VERSION || data[1] > FRAMING_FILE)
        return -EBADMSG;
    head->framing = data[1];
    head->n_items = get_le32(data + 4);
    head->put_time_us = (int64_t)get_le64(data + 8);
    if (head->n_items < 1 || head->n_items > BATCH_ITEMS_MAX)
        return -EBADMSG;
    return 0;
}

static uint32_t lowest_ready(const struct mark *mark)
{
    for (uint32_t i = 0; i < mark->n_spans; i++) {
        if (mark->spans[i].state == ITEM_READY)
            return mark->spans[i].from;
    }
    return mark->n_items;
}

int mark_decode(const uint8_t *data, size_t len, const struct mark_times *times,
                struct mark_head *head, struct mark *mark)
{
    uint32_t n_spans;
    int rc;

    *mark = (struct mark){0};
    rc = head_decode(data, len, head);
    if (rc < 0)
        return rc;
    n_spans = get_le32(data + 16);
    if (n_spans < 1 || n_spans > (len - HEAD_SIZE) / SPAN_SIZE)
        return -EBADMSG;
    mark->n_items = head->n_items;
    rc = mark_reserve(mark, n_spans);
    if (rc == 0)
        rc = spans_decode(mark, n_spans, data, len, times);
    if (rc < 0)
        return rc;

    mark->first_ready = lowest_ready(mark);
    mark_merge(mark, 0, mark->n_spans - 1);
    return 0;
}
