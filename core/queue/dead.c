/* The log of items that go to dead/: a line for each, or for a run of neighbours that die alike. */
#include "core/queue/queue.h"

#include "core/log.h"

void queue_log_deaths(struct queue_shared *shared)
{
    const struct deaths *d = &shared->deaths;
    char id[ITEM_ID_DIGITS + 1];
    uint32_t n = d->to - d->from;
    const char *why = d->buried ? "buried, delivered" : "failed";
    const char *times = d->deliveries == 1 ? "time" : "times";

    if (!d->queue)
        return;
    item_id_format(item_id(d->batch, d->from), id);
    if (n == 1)
        log_warning("queue %s: item %s went to dead/: %s %u %s", d->queue->record.name, id, why,
                    d->deliveries, times);
    else
        log_warning("queue %s: %u items from %s on went to dead/: %s %u %s", d->queue->record.name,
                    n, id, why, d->deliveries, times);
    shared->deaths = (struct deaths){0};
}

static bool joins(const struct deaths *d, const struct tracked_batch *t, const struct span *span)
{
    return d->queue == t->queue && d->batch == t->batch && d->to == span->from;
}

void tracked_dies(const struct tracked_batch *t, uint32_t pos, uint32_t deliveries, bool buried)
{
    struct deaths *d = &t->queue->shared->deaths;
    const struct span *span = &t->mark.spans[pos];

    if (joins(d, t, span) && d->deliveries == deliveries && d->buried == buried) {
        d->to = span->to;
        return;
    }
    queue_log_deaths(t->queue->shared);
    *d = (struct deaths){t->queue, t->batch, span->from, span->to, deliveries, buried};
}
