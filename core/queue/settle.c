/*
 * How leases end: acknowledged, given back, failed, buried; or go on. And what becomes of items
 * that nobody has leased: dropped, revived, forgotten, purged. A settlement touches only what is
 * leased under its token, or is in the state its verb is for; everything else in its range is late
 * and only counted.
 */
#include "core/queue/queue.h"

#include <assert.h>
#include <errno.h>

#include "core/clock.h"
#include "core/retry.h"

/* A purge looks at so many batches in one round. */
#define PURGE_BATCHES 64

static uint32_t span_items(const struct span *span)
{
    return span->to - span->from;
}

/* The deliveries of a leased span, with and without the one that is under way. */
static uint32_t counted(const struct span *span)
{
    return span->kind == GET_CLAIM ? span->deliveries : span->deliveries + 1;
}

static uint32_t uncounted(const struct span *span)
{
    return span->kind == GET_CLAIM ? span->deliveries - 1 : span->deliveries;
}

/* The lease of the span ends and it becomes `to`. */
static void end_lease(struct tracked_batch *t, uint32_t pos, const struct span *to)
{
    const struct span *span = &t->mark.spans[pos];

    if (span->loan)
        loan_end(span->loan, span_items(span));
    /* Given back uncounted, a stream's items are in the store what they were before. */
    if (span->kind == GET_CLAIM || to->state != ITEM_READY || to->deliveries != span->deliveries)
        tracked_dirty(t);
    if (to->when_us != TIME_FOREVER)
        tracked_timer(t, to->when_us);
    queue_changed(t->queue);
    mark_change(&t->mark, pos, to);
}

/* What nobody has leased becomes `to`. */
static void change_free(struct tracked_batch *t, uint32_t pos, const struct span *to)
{
    tracked_dirty(t);
    queue_changed(t->queue);
    mark_change(&t->mark, pos, to);
}

void tracked_fail(struct tracked_batch *t, uint32_t pos)
{
    const struct queue_settings *settings = &t->queue->record.settings;
    struct span to = {.deliveries = counted(&t->mark.spans[pos]), .when_us = TIME_FOREVER};
    int64_t delay_us = retry_delay_us(settings, to.deliveries);

    if (retry_is_over(settings, to.deliveries)) {
        to.state = ITEM_DEAD;
        tracked_dies(t, pos, to.deliveries, false);
    } else if (delay_us > 0) {
        to.state = ITEM_DELAYED;
        to.when_us = time_after(t->queue->shared->now_us, delay_us);
    }
    end_lease(t, pos, &to);
}

static void span_return(struct tracked_batch *t, uint32_t pos)
{
    const struct span *span = &t->mark.spans[pos];
    struct span to = {.deliveries = uncounted(span), .when_us = TIME_FOREVER};
    struct queue_record *record = &t->queue->record;

    t->queue->counters_dirty = true;
    record->total_gets -= span_items(span);
    record->redelivered -= to.deliveries > 0 ? span_items(span) : 0;
    end_lease(t, pos, &to);
}

static void span_renew(struct tracked_batch *t, uint32_t pos)
{
    const struct queue_settings *settings = &t->queue->record.settings;
    struct span to = t->mark.spans[pos];

    if (to.kind != GET_CLAIM)
        return;
    if (to.lease_us != settings->lease_us)
        tracked_dirty(t);
    to.lease_us = settings->lease_us;
    to.when_us = time_min(time_after(t->queue->shared->now_us, settings->lease_us),
                          time_after(to.first_us, settings->lease_max_us));
    tracked_timer(t, to.when_us);
    mark_change(&t->mark, pos, &to);
}

static void settle_span(struct tracked_batch *t, uint32_t pos, enum settle_verb verb)
{
    struct span to = {.state = ITEM_DONE, .when_us = TIME_FOREVER};

    switch (verb) {
    case SETTLE_ACK:
        end_lease(t, pos, &to);
        break;
    case SETTLE_RETURN:
        span_return(t, pos);
        break;
    case SETTLE_NACK:
        tracked_fail(t, pos);
        break;
    case SETTLE_RENEW:
        span_renew(t, pos);
        break;
    case SETTLE_BURY:
        to.state = ITEM_DEAD;
        to.deliveries = counted(&t->mark.spans[pos]);
        tracked_dies(t, pos, to.deliveries, true);
        end_lease(t, pos, &to);
        break;
    case SETTLE_DROP:
    case SETTLE_FORGET:
        change_free(t, pos, &to);
        break;
    case SETTLE_REVIVE:
        to.state = ITEM_READY;
        change_free(t, pos, &to);
        break;
    }
}

/* Whether the settlement is for items that are like these. */
static bool concerns(const struct settlement *s, const struct span *span)
{
    switch (s->verb) {
    case SETTLE_DROP:
        return span->state == ITEM_READY || span->state == ITEM_DELAYED;
    case SETTLE_REVIVE:
    case SETTLE_FORGET:
        return span->state == ITEM_DEAD;
    default:
        return span->state == ITEM_LEASED && span->token == s->token;
    }
}

/* Cut before the item, if it is in the midst of a span that the settlement concerns. */
static int cut_at(struct tracked_batch *t, const struct settlement *s, uint32_t at)
{
    if (at >= t->mark.n_items || !concerns(s, &t->mark.spans[mark_find(&t->mark, at)]))
        return 0;
    return tracked_cut(t, at);
}

/* Items of [from, to) that the span covers. */
static uint32_t overlap(const struct span *span, uint32_t from, uint32_t to)
{
    uint32_t low = span->from > from ? span->from : from;
    uint32_t high = span->to < to ? span->to : to;

    return high - low;
}

static void settle_range(struct tracked_batch *t, const struct settlement *s, uint64_t *n_late)
{
    uint32_t first = mark_find(&t->mark, s->from), pos;

    for (pos = first; pos < t->mark.n_spans && t->mark.spans[pos].from < s->to; pos++) {
        const struct span *span = &t->mark.spans[pos];

        if (concerns(s, span))
            settle_span(t, pos, s->verb);
        else
            *n_late += overlap(span, s->from, s->to);
    }
    mark_merge(&t->mark, first, pos - 1);
}

/* The batch, open. Only a DROP has to do with batches that are not tracked. */
static int find_batch(struct queue *q, const struct settlement *s, struct tracked_batch **tracked)
{
    if (s->verb != SETTLE_DROP && !tracked_find(q, s->batch))
        return -ENOENT;
    return queue_track(q, s->batch, tracked);
}

static int settle(struct queue *q, const struct settlement *settlement, uint64_t *n_late)
{
    struct tracked_batch *t;
    int rc = find_batch(q, settlement, &t);

    assert(settlement->from < settlement->to);
    if (rc == -ENOENT) {
        *n_late += settlement->to - settlement->from;
        return 0;
    }
    if (rc < 0)
        return rc;
    if (settlement->to > t->mark.n_items) {
        *n_late += settlement->to - settlement->from;
        tracked_close(t);
        return 0;
    }
    rc = cut_at(t, settlement, settlement->from);
    if (rc == 0)
        rc = cut_at(t, settlement, settlement->to);
    if (rc == 0)
        settle_range(t, settlement, n_late);
    tracked_close(t);
    if (rc != -EBADMSG || settlement->verb > SETTLE_BURY)
        return rc;
    /* It is set aside: whoever holds items of it must not ask for ever. */
    *n_late += settlement->to - settlement->from;
    return 0;
}

int queue_settle(struct queue *q, const struct settlement *settlement, const struct lessee *lessee,
                 uint64_t *n_late)
{
    struct settlement opened = *settlement;

    opened.token ^= lessee ? lessee->seal : 0;
    return settle(q, &opened, n_late);
}

/* ---- purge ---- */

/* Nobody can see what is in a batch that was set aside: all of it that is not lent goes. */
static bool is_purged(const struct tracked_batch *t, const struct span *span)
{
    if (t->damaged)
        return span->state != ITEM_LEASED && span->state != ITEM_DONE;
    return span->state == ITEM_READY;
}

/* Takes the batch open and closes it. */
static void purge_tracked(struct tracked_batch *t, uint64_t *n_items)
{
    struct span done = {.state = ITEM_DONE, .when_us = TIME_FOREVER};

    for (uint32_t pos = 0; pos < t->mark.n_spans; pos++) {
        if (!is_purged(t, &t->mark.spans[pos]))
            continue;
        *n_items += span_items(&t->mark.spans[pos]);
        mark_change(&t->mark, pos, &done);
    }
    mark_merge(&t->mark, 0, t->mark.n_spans - 1);
    tracked_dirty(t);
    tracked_close(t);
}

/* They are removed whole. */
static void purge_set_aside(struct queue *q, uint64_t *n_items)
{
    struct tracked_batch *t;

    RB_FOREACH (t, tracked_by_batch, &q->tracked) {
        if (!t->damaged)
            continue;
        tracked_open(t);
        purge_tracked(t, n_items);
    }
    q->record.n_items -= q->n_unreachable;
    q->record.n_bytes -= q->unreachable_bytes;
    *n_items += q->n_unreachable;
    q->n_unreachable = q->unreachable_bytes = 0;
}

int queue_purge(struct queue *q, uint64_t below, uint64_t *n_items)
{
    for (int i = 0; i < PURGE_BATCHES; i++) {
        struct tracked_batch *t;
        int rc = queue_lowest(q, below, &t);

        if (rc < 0)
            return rc;
        if (!t) {
            purge_set_aside(q, n_items);
            return 0;
        }
        purge_tracked(t, n_items);
    }
    return PURGE_MORE;
}
