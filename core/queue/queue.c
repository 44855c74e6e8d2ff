/* A queue's record, counters and timers. */
#include "core/queue/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/queue/producers.h"

/* A batch with more spans is looked at once in so many microseconds, as it has spans. */
#define TICK_SPANS 1024

void queue_shared_init(struct queue_shared *shared, struct store *store)
{
    *shared = (struct queue_shared){.store = store};
    RB_INIT(&shared->timers);
    TAILQ_INIT(&shared->dirty);
    TAILQ_INIT(&shared->unsaved);
    TAILQ_INIT(&shared->changed);
    TAILQ_INIT(&shared->staged);
    TAILQ_INIT(&shared->holding);
    TAILQ_INIT(&shared->calling);
}

int queue_new(struct queue_shared *shared, const struct queue_record *record, struct queue **queue)
{
    struct queue *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    q->shared = shared;
    q->record = *record;
    q->head = 1;
    RB_INIT(&q->tracked);
    RB_INIT(&q->ready);
    RB_INIT(&q->sequences);
    LIST_INIT(&q->armed);
    TAILQ_INIT(&q->line);
    q->listed.queue = q;
    q->listed.number = record->number;
    memcpy(q->listed.name, record->name, sizeof(q->listed.name));
    *queue = q;
    return 0;
}

void queue_free(struct queue *q)
{
    struct tracked_batch *t;
    struct sequence *seq;

    if (!q)
        return;
    assert(LIST_EMPTY(&q->armed) && TAILQ_EMPTY(&q->line));
    while ((t = RB_ROOT(&q->tracked)) != NULL) {
        tracked_open(t);
        tracked_free(t);
    }
    while ((seq = RB_ROOT(&q->sequences)) != NULL)
        sequence_free(seq);
    if (q->unsaved)
        TAILQ_REMOVE(&q->shared->unsaved, q, unsaved_link);
    if (q->changed)
        TAILQ_REMOVE(&q->shared->changed, q, changed_link);
    if (q->calling)
        TAILQ_REMOVE(&q->shared->calling, q, calling_link);
    if (q->shared->deaths.queue == q)
        queue_log_deaths(q->shared);
    batch_index_fini(&q->looked.index);
    free(q);
}

/* ---- loading ---- */

static int load_mark(struct queue *q, uint64_t batch, const void *data, size_t len)
{
    struct mark_times times = {q->shared->now_us, q->shared->wall_us};
    struct queue_front front = {.batch = batch};
    struct mark_head head;
    struct tracked_batch *t;
    struct mark mark;
    int rc = mark_decode(data, len, &times, &head, &mark);

    if (rc == 0) {
        front.framing = head.framing;
        front.put_time_us = head.put_time_us;
        rc = tracked_new(q, &front, &t);
    }
    if (rc < 0) {
        mark_fini(&mark);
        return rc;
    }
    mark_fini(&t->mark);
    t->mark = mark;
    t->stored = true;
    t->done_items = mark.items[ITEM_DONE];
    t->done_bytes = mark.bytes[ITEM_DONE];
    tracked_timer(t, mark_next_us(&mark));
    tracked_close(t);
    return 0;
}

/* Its number is not given out yet: it is the key that is damaged. */
static int say_misplaced(struct queue *q, const char *table, uint64_t batch)
{
    damage_found(q->shared,
                 "queue %s: there is a %s %llu, which it has not made yet: the number is damaged, "
                 "and nothing is done with it",
                 q->record.name, table, (unsigned long long)batch);
    return 0;
}

/* What a mark that cannot be read has said of its items is not known: that some are done, perhaps.
 */
static int load_marks(struct queue *q)
{
    static const struct batch_view unknown;
    struct store *store = q->shared->store;
    uint64_t from = 1, batch = 0;
    const void *data;
    size_t len;
    int rc;

    for (;;) {
        rc = store->ops->mark_next(store, q->record.number, from, &batch, &data, &len);
        if (rc == 0)
            rc = load_mark(q, batch, data, len);
        if (rc == -EBADMSG && batch < q->record.next_batch)
            rc = queue_set_aside(q, batch, &unknown, "its mark is wrong or of a later version");
        else if (rc == -EBADMSG)
            rc = say_misplaced(q, "mark", batch);
        if (rc < 0)
            return rc == -ENOENT ? 0 : rc;
        from = batch + 1;
    }
}

/* A batch that the queue has not made yet. */
static int find_misplaced(struct queue *q)
{
    struct store *store = q->shared->store;
    uint64_t batch = 0;
    struct batch_view view;
    int rc = store->ops->batch_next(store, q->record.number, q->record.next_batch, &batch, &view);

    if (rc == 0 || rc == -EBADMSG)
        return say_misplaced(q, "batch", batch);
    return rc == -ENOENT ? 0 : rc;
}

/* A producer that is not known begins anew, under a newer epoch. */
static int load_sequences(struct queue *q)
{
    struct store *store = q->shared->store;
    struct producer_id *after = NULL;
    struct sequence_record record;
    struct producer_id last;
    int rc;

    for (;;) {
        rc = store->ops->sequence_next(store, q->record.number, after, &record);
        if (rc == 0)
            rc = sequence_add(q, &record);
        else if (rc == -EBADMSG)
            damage_found(q->shared,
                         "queue %s: what is known of a producer is damaged: what it sends again, "
                         "after a lost answer, may be stored twice",
                         q->record.name);
        if (rc < 0 && rc != -EBADMSG)
            return rc == -ENOENT ? 0 : rc;
        last = record.producer;
        after = &last;
    }
}

int queue_load(struct queue *q)
{
    int rc = load_marks(q);

    if (rc == 0)
        rc = find_misplaced(q);
    return rc < 0 ? rc : load_sequences(q);
}

/* ---- counting ---- */

uint64_t queue_count(const struct queue *q)
{
    uint64_t others = q->n_unreachable + q->aside.n_ready + q->items[ITEM_DEAD];

    return sub_floor(q->record.n_items, others) + q->staged.n_items;
}

bool queue_has_room(const struct queue *q)
{
    return q->record.settings.maxsize == 0 || queue_count(q) < (uint64_t)q->record.settings.maxsize;
}

bool queue_has_ready(const struct queue *q)
{
    return !RB_EMPTY(&q->ready) || queue_n_untracked(q) > 0;
}

uint64_t queue_n_ready(const struct queue *q)
{
    return q->items[ITEM_READY] - q->aside.n_ready + queue_n_untracked(q);
}

/* Time of put of the lowest ready batch; 0 where there is none, or it cannot be read. */
static int64_t oldest_put_us(struct queue *q)
{
    struct tracked_batch *t = RB_MIN(tracked_by_ready, &q->ready);

    if (t && t->batch < q->head)
        return t->put_time_us;
    if (queue_peek(q) < 0 || q->front.batch == 0)
        return t ? t->put_time_us : 0;
    return t && t->batch < q->front.batch ? t->put_time_us : q->front.put_time_us;
}

#define COPY(name, shown) .name = record->name,

void queue_state(struct queue *q, struct queue_state *state)
{
    const struct queue_record *record = &q->record;
    uint64_t items = q->items[ITEM_LEASED] + q->items[ITEM_DELAYED] + q->items[ITEM_DEAD];
    uint64_t bytes = q->bytes[ITEM_LEASED] + q->bytes[ITEM_DELAYED] + q->bytes[ITEM_DEAD];

    *state = (struct queue_state){
        .oldest_put_us = oldest_put_us(q), /* may find batches that cannot be read: comes first */
        .revision = q->listed.revision,
        .depth = sub_floor(record->n_items, items + q->n_unreachable + q->aside.n_ready),
        .depth_bytes =
            sub_floor(record->n_bytes, bytes + q->unreachable_bytes + q->aside.ready_bytes),
        .leased = q->items[ITEM_LEASED],
        .delayed = q->items[ITEM_DELAYED],
        .dead = q->items[ITEM_DEAD],
        .damaged_batches = q->n_damaged,
        .damaged_items = q->n_unreachable + q->aside.n_items,
        QUEUE_COUNTERS(COPY)};
}

void queue_entry(struct queue *q, struct queue_entry *entry)
{
    *entry = (struct queue_entry){
        .number = q->record.number,
        .made_us = q->record.made_us,
        .may = ACCESS_ALL,
        .settings = q->record.settings,
    };
    memcpy(entry->name, q->record.name, sizeof(entry->name));
    queue_state(q, &entry->state);
}

void queue_take_batch(struct queue *q, const struct queue_front *batch)
{
    if (queue_n_untracked(q) == 0) {
        q->front = *batch;
        q->head = batch->batch;
    }
    q->record.next_batch = batch->batch + 1;
    q->record.n_items += batch->n_items;
    q->record.n_bytes += batch->n_bytes;
    q->record.total_puts += batch->n_items;
    q->record.batch_puts++;
    queue_changed(q);
}

/* ---- time ---- */

static void end_span(struct tracked_batch *t, uint32_t pos)
{
    struct span ready = {
        .state = ITEM_READY, .deliveries = t->mark.spans[pos].deliveries, .when_us = TIME_FOREVER};

    if (t->mark.spans[pos].state == ITEM_DELAYED) {
        mark_change(&t->mark, pos, &ready);
        return;
    }
    t->queue->record.expired += t->mark.spans[pos].to - t->mark.spans[pos].from;
    tracked_fail(t, pos);
}

/* Going through very many spans is not worth while for each that ends: these wait for others. */
static int64_t next_tick_us(const struct tracked_batch *t, int64_t now_us)
{
    int64_t next_us = mark_next_us(&t->mark), rest_us = time_after(now_us, t->mark.n_spans);

    return t->mark.n_spans > TICK_SPANS && next_us < rest_us ? rest_us : next_us;
}

static void tracked_tick(struct tracked_batch *t, int64_t now_us)
{
    tracked_open(t);
    for (uint32_t pos = 0; pos < t->mark.n_spans; pos++) {
        if (t->mark.spans[pos].when_us <= now_us)
            end_span(t, pos);
    }
    mark_merge(&t->mark, 0, t->mark.n_spans - 1);
    tracked_timer(t, TIME_FOREVER);
    tracked_timer(t, next_tick_us(t, now_us));
    queue_changed(t->queue);
    tracked_close(t);
}

void queue_tick(struct queue_shared *shared)
{
    struct tracked_batch *t;

    while ((t = RB_MIN(tracked_by_timer, &shared->timers)) != NULL && t->timer_us <= shared->now_us)
        tracked_tick(t, shared->now_us);
}

int64_t queue_deadline(const struct queue_shared *shared)
{
    struct tracked_by_timer *timers = (struct tracked_by_timer *)&shared->timers;
    const struct tracked_batch *t = RB_MIN(tracked_by_timer, timers);

    return t ? t->timer_us : TIME_FOREVER;
}

void lessee_end_leases(struct lessee *lessee)
{
    const struct loan *loan = LIST_FIRST(&lessee->loans); /* its last span frees it */
    struct tracked_batch *t = loan->batch;
    const uint32_t to = loan->to;
    uint32_t first = mark_find(&t->mark, loan->from), pos;

    tracked_open(t);
    for (pos = first; pos < t->mark.n_spans && t->mark.spans[pos].from < to; pos++) {
        const struct span *span = &t->mark.spans[pos];

        if (span->state != ITEM_LEASED || span->loan != loan)
            continue;
        t->queue->record.expired += span->to - span->from;
        tracked_fail(t, pos);
    }
    mark_merge(&t->mark, first, pos - 1);
    queue_unsaved(t->queue);
    tracked_close(t);
}
