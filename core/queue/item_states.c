/* Spans in one array, found by bisection. The sums follow every change. */
#include "core/queue/item_states.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

#define SPANS_FIRST 4

/* Merging moves all spans behind. With more spans than these it waits until it is worth while. */
#define SPANS_MANY  1024
#define SPANS_RATIO 8

static void sums_add(struct mark *mark, const struct span *span)
{
    mark->items[span->state] += span->to - span->from;
    mark->bytes[span->state] += span->n_bytes;
}

static void sums_take(struct mark *mark, const struct span *span)
{
    mark->items[span->state] -= span->to - span->from;
    mark->bytes[span->state] -= span->n_bytes;
}

int mark_init(struct mark *mark, uint32_t n_items, uint64_t n_bytes)
{
    *mark = (struct mark){.n_items = n_items};
    mark->spans = malloc(SPANS_FIRST * sizeof(*mark->spans));
    if (!mark->spans)
        return -ENOMEM;
    mark->cap = SPANS_FIRST;
    if (n_items == 0)
        return 0;

    mark->spans[0] = (struct span){.to = n_items, .n_bytes = n_bytes, .when_us = TIME_FOREVER};
    mark->n_spans = 1;
    sums_add(mark, &mark->spans[0]);
    return 0;
}

void mark_fini(struct mark *mark)
{
    free(mark->spans);
    *mark = (struct mark){0};
}

int mark_reserve(struct mark *mark, uint32_t extra)
{
    uint32_t cap = mark->cap > 0 ? mark->cap : SPANS_FIRST;
    struct span *spans;

    if (mark->cap - mark->n_spans >= extra)
        return 0;
    while (cap - mark->n_spans < extra)
        cap *= 2;
    spans = reallocarray(mark->spans, cap, sizeof(*spans));
    if (!spans)
        return -ENOMEM;
    mark->spans = spans;
    mark->cap = cap;
    return 0;
}

uint32_t mark_find(const struct mark *mark, uint32_t index)
{
    uint32_t low = 0, high = mark->n_spans - 1;

    assert(index < mark->n_items);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (index < mark->spans[middle].to)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

bool mark_needs_cut(const struct mark *mark, uint32_t at)
{
    return at < mark->n_items && mark->spans[mark_find(mark, at)].from != at;
}

void mark_cut(struct mark *mark, uint32_t at, uint64_t left_bytes)
{
    struct span *span;
    uint32_t pos;

    if (!mark_needs_cut(mark, at))
        return;
    assert(mark->n_spans < mark->cap);
    pos = mark_find(mark, at);
    span = &mark->spans[pos];
    assert(left_bytes <= span->n_bytes);
    memmove(span + 1, span, (mark->n_spans - pos) * sizeof(*span));
    mark->n_spans++;

    span[0].to = at;
    span[0].n_bytes = left_bytes;
    span[1].from = at;
    span[1].n_bytes -= left_bytes;
}

/* The first ready item at or behind the span at `pos`. */
static uint32_t next_ready(const struct mark *mark, uint32_t pos)
{
    for (; pos < mark->n_spans; pos++) {
        if (mark->spans[pos].state == ITEM_READY)
            return mark->spans[pos].from;
    }
    return mark->n_items;
}

void mark_change(struct mark *mark, uint32_t pos, const struct span *to)
{
    struct span *span = &mark->spans[pos];
    struct span changed = *to;

    changed.from = span->from;
    changed.to = span->to;
    changed.n_bytes = span->n_bytes;
    sums_take(mark, span);
    *span = changed;
    sums_add(mark, span);

    if (span->state == ITEM_READY && span->from < mark->first_ready)
        mark->first_ready = span->from;
    else if (span->state != ITEM_READY && span->from == mark->first_ready)
        mark->first_ready = next_ready(mark, pos);
}

static bool span_equal(const struct span *a, const struct span *b)
{
    return a->state == b->state && a->deliveries == b->deliveries && a->kind == b->kind &&
           a->token == b->token && a->when_us == b->when_us && a->first_us == b->first_us &&
           a->lease_us == b->lease_us && a->loan == b->loan;
}

/* Merge equal neighbours among the spans at positions [first, last]. */
static void merge_range(struct mark *mark, uint32_t first, uint32_t last)
{
    uint32_t kept = first, next;

    for (next = kept + 1; next <= last; next++) {
        struct span *a = &mark->spans[kept], *b = &mark->spans[next];

        if (span_equal(a, b)) {
            a->to = b->to;
            a->n_bytes += b->n_bytes;
        } else if (++kept != next) {
            mark->spans[kept] = *b;
        }
    }
    if (++kept != next) {
        memmove(&mark->spans[kept], &mark->spans[next],
                (mark->n_spans - next) * sizeof(*mark->spans));
        mark->n_spans -= next - kept;
    }
}

static uint32_t count_equal(const struct mark *mark, uint32_t first, uint32_t last)
{
    uint32_t n = 0;

    for (uint32_t pos = first; pos < last; pos++)
        n += span_equal(&mark->spans[pos], &mark->spans[pos + 1]);
    return n;
}

void mark_merge(struct mark *mark, uint32_t first, uint32_t last)
{
    uint32_t n;

    if (mark->n_spans < 2)
        return;
    first = first > 0 ? first - 1 : 0;
    last = last + 1 < mark->n_spans ? last + 1 : mark->n_spans - 1;
    n = count_equal(mark, first, last);
    if (n == 0)
        return;
    if (mark->n_spans <= SPANS_MANY && mark->n_equal == 0) {
        merge_range(mark, first, last);
        return;
    }
    mark->n_equal += n;
    if (mark->n_spans <= SPANS_MANY || mark->n_equal > mark->n_spans / SPANS_RATIO)
        mark_tidy(mark);
}

void mark_tidy(struct mark *mark)
{
    if (mark->n_equal > 0)
        merge_range(mark, 0, mark->n_spans - 1);
    mark->n_equal = 0;
}

bool mark_is_plain(const struct mark *mark)
{
    if (mark->items[ITEM_READY] + mark->items[ITEM_LEASED] != mark->n_items)
        return false;
    for (uint32_t i = 0; i < mark->n_spans; i++) {
        const struct span *span = &mark->spans[i];

        if (span->deliveries > 0 || (span->state == ITEM_LEASED && span->kind == GET_CLAIM))
            return false;
    }
    return true;
}

int64_t mark_next_us(const struct mark *mark)
{
    int64_t next_us = TIME_FOREVER;

    for (uint32_t i = 0; i < mark->n_spans; i++)
        next_us = time_min(next_us, mark->spans[i].when_us);
    return next_us;
}
