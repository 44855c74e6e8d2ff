/*
 * Marks to and from their stored form (core/stored_mark.h). What comes from the disk is checked,
 * not trusted: the spans must add up to n_items, and hold no more bytes than a batch may have.
 * Another version is no mark.
 */
#include "core/queue/item_states.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/stored_mark.h"

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

size_t mark_encoded_size(const struct mark *mark)
{
    size_t size = STORED_MARK_HEAD;

    for (uint32_t i = 0; i < mark->n_spans; i++)
        size += stored_span_size(stored_state(&mark->spans[i]));
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
    *out++ = STORED_MARK_VERSION;
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

static bool span_decode(const struct stored_span *stored, const struct mark_times *times,
                        struct span *span)
{
    *span = (struct span){.state = stored->state,
                          .n_bytes = stored->n_bytes,
                          .deliveries = stored->deliveries,
                          .when_us = TIME_FOREVER};
    if (stored->state == ITEM_LEASED)
        lease_decode(stored->extra, times, span);
    else if (stored->state == ITEM_DELAYED)
        span->when_us = delay_end(stored->extra, times);
    return stored->state != ITEM_LEASED || stored->deliveries > 0;
}

static int spans_decode(struct mark *mark, uint32_t n_spans, const uint8_t *data, size_t len,
                        const struct mark_times *times)
{
    struct stored_span stored;
    uint64_t n_bytes = 0;
    uint32_t n_items = 0;
    size_t at = 0;

    for (uint32_t i = 0; i < n_spans; i++) {
        struct span *span = &mark->spans[i];

        if (!stored_mark_next(data, len, &at, &stored) || !span_decode(&stored, times, span) ||
            stored.n_items > mark->n_items - n_items)
            return -EBADMSG;
        span->from = n_items;
        span->to = n_items += stored.n_items;
        n_bytes += span->n_bytes;
        mark->items[span->state] += stored.n_items;
        mark->bytes[span->state] += span->n_bytes;
    }
    mark->n_spans = n_spans;
    return n_items == mark->n_items && at == len && n_bytes <= BATCH_BYTES_MAX ? 0 : -EBADMSG;
}

static int head_decode(const uint8_t *data, size_t len, struct mark_head *head)
{
    if (len < STORED_MARK_HEAD || data[0] != STORED_MARK_VERSION || data[1] > FRAMING_FILE)
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
    if (n_spans < 1 || n_spans > (len - STORED_MARK_HEAD) / STORED_SPAN_HEAD)
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
