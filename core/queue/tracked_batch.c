/*
 * Tracked batches: made when the first item of a batch is leased or dropped, freed when the store
 * has lost the batch, or when all of it is plainly ready again and the store has no mark of it;
 * then it is an untracked one as before and, where need be, `head` goes back to it.
 */
#include "core/queue/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"

static int tracked_compare(const struct tracked_batch *a, const struct tracked_batch *b)
{
    return (a->batch > b->batch) - (a->batch < b->batch);
}

static int tracked_timer_compare(const struct tracked_batch *a, const struct tracked_batch *b)
{
    if (a->timer_us != b->timer_us)
        return a->timer_us < b->timer_us ? -1 : 1;
    if (a->queue->record.number != b->queue->record.number)
        return a->queue->record.number < b->queue->record.number ? -1 : 1;
    return tracked_compare(a, b);
}

RB_GENERATE(tracked_by_batch, tracked_batch, by_batch, tracked_compare)
RB_GENERATE(tracked_by_ready, tracked_batch, by_ready, tracked_compare)
RB_GENERATE(tracked_by_timer, tracked_batch, by_timer, tracked_timer_compare)

struct tracked_batch *tracked_find(struct queue *q, uint64_t batch)
{
    struct tracked_batch wanted = {.batch = batch};

    return RB_FIND(tracked_by_batch, &q->tracked, &wanted);
}

/* ---- what the queue is to be told of ---- */

uint64_t queue_n_untracked(const struct queue *q)
{
    uint64_t elsewhere = q->n_unreachable;

    for (int state = ITEM_READY; state < ITEM_DONE; state++)
        elsewhere += q->items[state];
    return sub_floor(q->record.n_items, elsewhere);
}

void queue_changed(struct queue *q)
{
    if (!q->changed)
        TAILQ_INSERT_TAIL(&q->shared->changed, q, changed_link);
    q->changed = true;
}

void queue_unsaved(struct queue *q)
{
    queue_changed(q);
    if (!q->unsaved)
        TAILQ_INSERT_TAIL(&q->shared->unsaved, q, unsaved_link);
    q->unsaved = true;
}

/* ---- the lowest untracked batch ---- */

/* The store has no further batch: what the record still counts cannot be read. */
static void all_seen(struct queue *q)
{
    uint64_t bytes = q->unreachable_bytes;

    for (int state = ITEM_READY; state < ITEM_DONE; state++)
        bytes += q->bytes[state];
    q->n_unreachable += queue_n_untracked(q);
    if (q->record.n_bytes > bytes)
        q->unreachable_bytes += q->record.n_bytes - bytes;
    q->head = q->record.next_batch;
}

static void view_front(struct queue_front *front, uint64_t batch, const struct batch_view *view)
{
    size_t frame = view->framing == FRAMING_FILE ? 4 : 1;

    *front = (struct queue_front){
        .batch = batch,
        .n_items = view->n_items,
        .n_bytes = view->len - frame * view->n_items,
        .framing = view->framing,
        .put_time_us = view->put_time_us,
    };
}

/* Batches from next_batch on are none of the queue's: rows whose keys are damaged. */
int queue_next_stored(struct queue *q, uint64_t from, uint64_t *batch, struct batch_view *view)
{
    struct store *store = q->shared->store;
    int rc = -EBADMSG;

    for (*batch = from; rc == -EBADMSG; from = *batch + 1) {
        rc = store->ops->batch_next(store, q->record.number, from, batch, view);
        if ((rc == 0 || rc == -EBADMSG) && *batch >= q->record.next_batch)
            return -ENOENT;
        if (rc == -EBADMSG && !tracked_find(q, *batch) &&
            queue_set_aside(q, *batch, view, "its checksum is wrong") < 0)
            return -ENOMEM;
    }
    return rc;
}

int queue_peek(struct queue *q)
{
    struct batch_view view;

    while (q->front.batch == 0 && queue_n_untracked(q) > 0) {
        uint64_t batch;
        int rc;

        while (tracked_find(q, q->head))
            q->head++;
        rc = queue_next_stored(q, q->head, &batch, &view);
        if (rc == 0 && !tracked_find(q, batch)) {
            q->head = batch;
            view_front(&q->front, batch, &view);
        } else if (rc == -ENOENT) {
            all_seen(q);
        } else if (rc == 0) {
            q->head = batch + 1;
        } else {
            return rc;
        }
    }
    return 0;
}

/* The untracked batch in front is tracked from now on. */
static int take_front(struct queue *q, struct tracked_batch **tracked)
{
    struct queue_front front = q->front;
    int rc = tracked_new(q, &front, tracked);

    if (rc == 0)
        q->head = front.batch + 1;
    return rc;
}

int queue_lowest(struct queue *q, uint64_t below, struct tracked_batch **tracked)
{
    struct tracked_batch *t = RB_MIN(tracked_by_ready, &q->ready);
    int rc;

    *tracked = NULL;
    if (!t || t->batch >= q->head) {
        rc = queue_peek(q);
        if (rc < 0)
            return rc;
        if (q->front.batch > 0 && (!t || q->front.batch < t->batch))
            return q->front.batch < below ? take_front(q, tracked) : 0;
    }
    if (!t || t->batch >= below)
        return 0;
    tracked_open(t);
    *tracked = t;
    return 0;
}

/* An untracked batch, wherever it stands, is tracked from now on. */
static int touch_stored(struct queue *q, uint64_t batch, struct tracked_batch **tracked)
{
    struct store *store = q->shared->store;
    struct queue_front front;
    struct batch_view view;
    uint64_t found = 0;
    int rc;

    if (batch < q->head || batch >= q->record.next_batch)
        return -ENOENT;
    if (batch == q->front.batch) {
        front = q->front;
        return tracked_new(q, &front, tracked);
    }
    rc = store->ops->batch_next(store, q->record.number, batch, &found, &view);
    if ((rc == 0 || rc == -EBADMSG) && found != batch)
        return -ENOENT;
    if (rc == -EBADMSG && queue_set_aside(q, batch, &view, "its checksum is wrong") < 0)
        return -ENOMEM;
    if (rc < 0)
        return rc;
    view_front(&front, batch, &view);
    return tracked_new(q, &front, tracked);
}

int queue_track(struct queue *q, uint64_t batch, struct tracked_batch **tracked)
{
    *tracked = tracked_find(q, batch);
    if (!*tracked)
        return touch_stored(q, batch, tracked);
    tracked_open(*tracked);
    return 0;
}

/* ---- life ---- */

int tracked_new(struct queue *q, const struct queue_front *front, struct tracked_batch **tracked)
{
    struct tracked_batch *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    if (mark_init(&t->mark, front->n_items, front->n_bytes) < 0) {
        free(t);
        return -ENOMEM;
    }
    t->queue = q;
    t->batch = front->batch;
    t->framing = front->framing;
    t->put_time_us = front->put_time_us;
    t->timer_us = TIME_FOREVER;
    t->is_open = true;
    RB_INSERT(tracked_by_batch, &q->tracked, t);
    if (q->front.batch == t->batch)
        q->front.batch = 0;
    *tracked = t;
    return 0;
}

static void set_ready(struct tracked_batch *t, bool ready)
{
    if (ready && !t->is_ready)
        RB_INSERT(tracked_by_ready, &t->queue->ready, t);
    if (!ready && t->is_ready)
        RB_REMOVE(tracked_by_ready, &t->queue->ready, t);
    t->is_ready = ready;
}

void tracked_timer(struct tracked_batch *t, int64_t when_us)
{
    if (when_us != TIME_FOREVER && when_us >= t->timer_us)
        return;
    if (t->timer_us != TIME_FOREVER)
        RB_REMOVE(tracked_by_timer, &t->queue->shared->timers, t);
    t->timer_us = when_us;
    if (when_us != TIME_FOREVER)
        RB_INSERT(tracked_by_timer, &t->queue->shared->timers, t);
}

void tracked_free(struct tracked_batch *t)
{
    set_ready(t, false);
    tracked_timer(t, TIME_FOREVER);
    if (t->dirty)
        TAILQ_REMOVE(&t->queue->shared->dirty, t, dirty_link);
    RB_REMOVE(tracked_by_batch, &t->queue->tracked, t);
    t->queue->n_damaged -= t->damaged;
    batch_index_fini(&t->index);
    mark_fini(&t->mark);
    free(t);
}

static uint64_t kept_items(const struct mark *mark)
{
    return mark->n_items - mark->items[ITEM_DONE];
}

static void aside_add(struct tracked_batch *t)
{
    t->queue->aside.n_items += kept_items(&t->mark);
    t->queue->aside.n_ready += t->mark.items[ITEM_READY];
    t->queue->aside.ready_bytes += t->mark.bytes[ITEM_READY];
}

static void aside_take(struct tracked_batch *t)
{
    t->queue->aside.n_items -= kept_items(&t->mark);
    t->queue->aside.n_ready -= t->mark.items[ITEM_READY];
    t->queue->aside.ready_bytes -= t->mark.bytes[ITEM_READY];
}

void tracked_open(struct tracked_batch *t)
{
    for (int state = ITEM_READY; state < ITEM_STATES; state++) {
        t->queue->items[state] -= t->mark.items[state];
        t->queue->bytes[state] -= t->mark.bytes[state];
    }
    if (t->damaged)
        aside_take(t);
    t->is_open = true;
}

/* Nothing of it differs from a batch that was never tracked. */
static bool is_untracked(const struct tracked_batch *t)
{
    return !t->stored && !t->dirty && !t->damaged && t->mark.n_items > 0 &&
           t->mark.items[ITEM_READY] == t->mark.n_items && mark_is_plain(&t->mark);
}

static void untouch(struct tracked_batch *t)
{
    struct queue *q = t->queue;

    if (t->batch < q->head || t->batch < q->front.batch) {
        q->head = t->batch < q->head ? t->batch : q->head;
        q->front = (struct queue_front){.batch = t->batch,
                                        .n_items = t->mark.n_items,
                                        .n_bytes = t->mark.bytes[ITEM_READY],
                                        .framing = t->framing,
                                        .put_time_us = t->put_time_us};
    }
    tracked_free(t);
}

void tracked_close(struct tracked_batch *t)
{
    struct queue *q = t->queue;

    if (is_untracked(t)) {
        untouch(t);
        return;
    }
    for (int state = ITEM_READY; state < ITEM_STATES; state++) {
        q->items[state] += t->mark.items[state];
        q->bytes[state] += t->mark.bytes[state];
    }
    q->record.n_items -= t->mark.items[ITEM_DONE] - t->done_items;
    q->record.n_bytes -= t->mark.bytes[ITEM_DONE] - t->done_bytes;
    t->done_items = t->mark.items[ITEM_DONE];
    t->done_bytes = t->mark.bytes[ITEM_DONE];
    t->is_open = false;
    if (t->damaged)
        aside_add(t);
    set_ready(t, t->mark.items[ITEM_READY] > 0 && !t->damaged);
}

void tracked_dirty(struct tracked_batch *t)
{
    queue_unsaved(t->queue);
    if (!t->dirty)
        TAILQ_INSERT_TAIL(&t->queue->shared->dirty, t, dirty_link);
    t->dirty = true;
}

void tracked_saved(struct tracked_batch *t, bool stored)
{
    if (t->dirty)
        TAILQ_REMOVE(&t->queue->shared->dirty, t, dirty_link);
    t->dirty = false;
    t->stored = stored;
    tracked_open(t);
    if (t->mark.items[ITEM_DONE] == t->mark.n_items)
        tracked_free(t);
    else
        tracked_close(t);
}

/* ---- damage ---- */

static void say_aside(struct queue *q, uint64_t batch, const char *what)
{
    damage_found(q->shared,
                 "queue %s: batch %llu is damaged: %s; it is set aside, with all its items. Bring "
                 "the store back from a backup, or drop it: echo %s > %s/purge",
                 q->record.name, (unsigned long long)batch, what, q->record.name, q->record.name);
    queue_changed(q);
}

int queue_set_aside(struct queue *q, uint64_t batch, const struct batch_view *view,
                    const char *what)
{
    struct queue_front front = {.batch = batch}, lost = {0};
    struct tracked_batch *t;
    int rc = tracked_new(q, &front, &t);

    if (rc < 0)
        return rc;
    t->damaged = true;
    q->n_damaged++;
    tracked_close(t);
    if (view->n_items > 0 && view->n_items <= queue_n_untracked(q)) {
        view_front(&lost, batch, view);
        q->n_unreachable += lost.n_items;
        q->unreachable_bytes += lost.n_bytes;
    }
    say_aside(q, batch, what);
    return 0;
}

void tracked_set_aside(struct tracked_batch *t, const char *what)
{
    if (t->damaged)
        return;
    t->damaged = true;
    t->queue->n_damaged++;
    if (!t->is_open)
        aside_add(t);
    set_ready(t, false);
    say_aside(t->queue, t->batch, what);
}

/* ---- bytes ---- */

static bool is_same(const struct tracked_batch *t, const struct batch_view *view)
{
    return view->n_items == t->mark.n_items && view->framing == t->framing;
}

static int read_batch(struct tracked_batch *t, struct batch_view *view)
{
    struct store *store = t->queue->shared->store;
    int rc = t->damaged ? -EBADMSG
                        : store->ops->batch_get(store, t->queue->record.number, t->batch, view);

    return rc == 0 && !is_same(t, view) ? -EBADMSG : rc;
}

static int copy_batch(struct tracked_batch *t, uint8_t *to, size_t len)
{
    struct store *store = t->queue->shared->store;
    struct batch_view view;
    int rc = t->damaged
                 ? -EBADMSG
                 : store->ops->batch_read(store, t->queue->record.number, t->batch, to, len, &view);

    return rc == 0 && !is_same(t, &view) ? -EBADMSG : rc;
}

/* What came of reading it. */
static int after_read(struct tracked_batch *t, int rc)
{
    if (rc != -EBADMSG && rc != -ENOENT)
        return rc;
    tracked_set_aside(t, rc == -ENOENT ? "it is missing" : "its checksum is wrong");
    return -EBADMSG;
}

int tracked_copy(struct tracked_batch *t, uint8_t *to, size_t len)
{
    return after_read(t, copy_batch(t, to, len));
}

int tracked_view(struct tracked_batch *t, bool with_index, struct batch_view *view)
{
    int rc = after_read(t, read_batch(t, view));

    if (rc < 0)
        return rc;
    if (!with_index || (t->index.offsets && t->index_crc == view->crc && t->index_len == view->len))
        return 0;
    batch_index_fini(&t->index);
    t->index_crc = view->crc;
    t->index_len = view->len;
    return batch_index_init(&t->index, view);
}

int tracked_cut(struct tracked_batch *t, uint32_t at)
{
    struct batch_view view;
    const struct span *span;
    uint64_t left_bytes;
    int rc;

    if (!mark_needs_cut(&t->mark, at))
        return 0;
    rc = tracked_view(t, true, &view);
    if (rc < 0)
        return rc;
    rc = mark_reserve(&t->mark, 1);
    if (rc < 0)
        return rc;
    span = &t->mark.spans[mark_find(&t->mark, at)];
    left_bytes = batch_payload(&t->index, &view, span->from, at);
    if (left_bytes > span->n_bytes) {
        tracked_set_aside(t, "its mark is of other items");
        return -EBADMSG;
    }
    mark_cut(&t->mark, at, left_bytes);
    return 0;
}
