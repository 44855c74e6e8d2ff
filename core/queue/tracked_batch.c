/*
 * Touched batches: made when the first item of a batch is leased or dropped, freed when the store
 * has lost the batch, or when all of it is plainly ready again and the store has no mark of it;
 * then it is an untouched one as before and, where need be, `head` goes back to it.
 */
#include "core/queue/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/log.h"

static int touched_compare(const struct touched *a, const struct touched *b)
{
    return (a->batch > b->batch) - (a->batch < b->batch);
}

static int touched_timer_compare(const struct touched *a, const struct touched *b)
{
    if (a->timer_us != b->timer_us)
        return a->timer_us < b->timer_us ? -1 : 1;
    if (a->queue->record.number != b->queue->record.number)
        return a->queue->record.number < b->queue->record.number ? -1 : 1;
    return touched_compare(a, b);
}

RB_GENERATE(touched_by_batch, touched, by_batch, touched_compare)
RB_GENERATE(touched_by_ready, touched, by_ready, touched_compare)
RB_GENERATE(touched_by_timer, touched, by_timer, touched_timer_compare)

struct touched *touched_find(struct queue *q, uint64_t batch)
{
    struct touched wanted = {.batch = batch};

    return RB_FIND(touched_by_batch, &q->touched, &wanted);
}

/* ---- what the queue is to be told of ---- */

uint64_t queue_n_untouched(const struct queue *q)
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

/* ---- the lowest untouched batch ---- */

/* An unreadable batch, already logged by the store. Kept in mind so that a purge removes it. */
static int note_damaged(struct queue *q, uint64_t batch)
{
    uint64_t *damaged;

    for (size_t i = 0; i < q->n_damaged; i++) {
        if (q->damaged[i] == batch)
            return 0;
    }
    damaged = reallocarray(q->damaged, q->n_damaged + 1, sizeof(*damaged));
    if (!damaged)
        return -ENOMEM;
    q->damaged = damaged;
    q->damaged[q->n_damaged++] = batch;
    return 0;
}

/* The store has no further batch: what the record still counts cannot be read. */
static void all_seen(struct queue *q)
{
    uint64_t bytes = q->unreachable_bytes;

    for (int state = ITEM_READY; state < ITEM_DONE; state++)
        bytes += q->bytes[state];
    q->n_unreachable += queue_n_untouched(q);
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
        .verified = true,
    };
}

int queue_peek(struct queue *q)
{
    struct store *store = q->shared->store;
    struct batch_view view;

    while (q->front.batch == 0 && queue_n_untouched(q) > 0) {
        uint64_t batch = 0;
        int rc;

        while (touched_find(q, q->head))
            q->head++;
        rc = store->ops->batch_next(store, q->record.number, q->head, &batch, &view);
        if (rc == 0 && !touched_find(q, batch)) {
            q->head = batch;
            view_front(&q->front, batch, &view);
        } else if (rc == -ENOENT) {
            all_seen(q);
        } else if (rc == 0 || rc == -EBADMSG) {
            if (rc == -EBADMSG && note_damaged(q, batch < q->head ? q->head : batch) < 0)
                return -ENOMEM;
            q->head = batch < q->head ? q->head + 1 : batch + 1;
        } else {
            return rc;
        }
    }
    return 0;
}

/* The untouched batch in front becomes a touched one. */
static int take_front(struct queue *q, struct touched **touched)
{
    struct queue_front front = q->front;
    int rc = touched_new(q, &front, touched);

    if (rc == 0)
        q->head = front.batch + 1;
    return rc;
}

int queue_lowest(struct queue *q, uint64_t below, struct touched **touched)
{
    struct touched *t = RB_MIN(touched_by_ready, &q->ready);
    int rc;

    *touched = NULL;
    if (!t || t->batch >= q->head) {
        rc = queue_peek(q);
        if (rc < 0)
            return rc;
        if (q->front.batch > 0 && (!t || q->front.batch < t->batch))
            return q->front.batch < below ? take_front(q, touched) : 0;
    }
    if (!t || t->batch >= below)
        return 0;
    touched_open(t);
    *touched = t;
    return 0;
}

/* An untouched batch, wherever it stands, becomes a touched one. */
static int touch_stored(struct queue *q, uint64_t batch, struct touched **touched)
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
        return touched_new(q, &front, touched);
    }
    rc = store->ops->batch_next(store, q->record.number, batch, &found, &view);
    if ((rc == 0 || rc == -EBADMSG) && found != batch)
        return -ENOENT;
    if (rc < 0)
        return rc;
    view_front(&front, batch, &view);
    return touched_new(q, &front, touched);
}

int queue_touch(struct queue *q, uint64_t batch, struct touched **touched)
{
    *touched = touched_find(q, batch);
    if (!*touched)
        return touch_stored(q, batch, touched);
    touched_open(*touched);
    return 0;
}

/* ---- life ---- */

int touched_new(struct queue *q, const struct queue_front *front, struct touched **touched)
{
    struct touched *t = calloc(1, sizeof(*t));

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
    t->verified = front->verified;
    t->timer_us = TIME_FOREVER;
    RB_INSERT(touched_by_batch, &q->touched, t);
    if (q->front.batch == t->batch)
        q->front.batch = 0;
    *touched = t;
    return 0;
}

static void set_ready(struct touched *t, bool ready)
{
    if (ready && !t->is_ready)
        RB_INSERT(touched_by_ready, &t->queue->ready, t);
    if (!ready && t->is_ready)
        RB_REMOVE(touched_by_ready, &t->queue->ready, t);
    t->is_ready = ready;
}

void touched_timer(struct touched *t, int64_t when_us)
{
    if (when_us != TIME_FOREVER && when_us >= t->timer_us)
        return;
    if (t->timer_us != TIME_FOREVER)
        RB_REMOVE(touched_by_timer, &t->queue->shared->timers, t);
    t->timer_us = when_us;
    if (when_us != TIME_FOREVER)
        RB_INSERT(touched_by_timer, &t->queue->shared->timers, t);
}

void touched_free(struct touched *t)
{
    set_ready(t, false);
    touched_timer(t, TIME_FOREVER);
    if (t->dirty)
        TAILQ_REMOVE(&t->queue->shared->dirty, t, dirty_link);
    RB_REMOVE(touched_by_batch, &t->queue->touched, t);
    batch_index_fini(&t->index);
    mark_fini(&t->mark);
    free(t);
}

void touched_open(struct touched *t)
{
    for (int state = ITEM_READY; state < ITEM_STATES; state++) {
        t->queue->items[state] -= t->mark.items[state];
        t->queue->bytes[state] -= t->mark.bytes[state];
    }
}

/* Nothing of it differs from a batch that was never touched. */
static bool is_untouched(const struct touched *t)
{
    return !t->stored && !t->dirty && !t->damaged && t->mark.n_items > 0 &&
           t->mark.items[ITEM_READY] == t->mark.n_items && mark_is_plain(&t->mark);
}

static void untouch(struct touched *t)
{
    struct queue *q = t->queue;

    if (t->batch < q->head || t->batch < q->front.batch) {
        q->head = t->batch < q->head ? t->batch : q->head;
        q->front = (struct queue_front){.batch = t->batch,
                                        .n_items = t->mark.n_items,
                                        .n_bytes = t->mark.bytes[ITEM_READY],
                                        .framing = t->framing,
                                        .put_time_us = t->put_time_us,
                                        .verified = t->verified};
    }
    touched_free(t);
}

void touched_close(struct touched *t)
{
    struct queue *q = t->queue;

    if (is_untouched(t)) {
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
    set_ready(t, t->mark.items[ITEM_READY] > 0 && !t->damaged);
}

void touched_dirty(struct touched *t)
{
    queue_unsaved(t->queue);
    if (!t->dirty)
        TAILQ_INSERT_TAIL(&t->queue->shared->dirty, t, dirty_link);
    t->dirty = true;
}

void touched_saved(struct touched *t, bool stored)
{
    if (t->dirty)
        TAILQ_REMOVE(&t->queue->shared->dirty, t, dirty_link);
    t->dirty = false;
    t->stored = stored;
    touched_open(t);
    if (t->mark.items[ITEM_DONE] == t->mark.n_items)
        touched_free(t);
    else
        touched_close(t);
}

/* ---- bytes ---- */

static bool is_same(const struct touched *t, const struct batch_view *view)
{
    return view->n_items == t->mark.n_items && view->framing == t->framing;
}

static int read_batch(struct touched *t, struct batch_view *view)
{
    struct store *store = t->queue->shared->store;
    uint64_t number = t->queue->record.number, batch = 0;
    int rc;

    if (t->verified)
        return store->ops->batch_get(store, number, t->batch, view);
    rc = store->ops->batch_next(store, number, t->batch, &batch, view);
    if (rc == 0 && (batch != t->batch || !is_same(t, view)))
        rc = -EBADMSG;
    t->verified = rc == 0;
    return rc;
}

int touched_view(struct touched *t, bool with_index, struct batch_view *view)
{
    int rc = t->damaged ? -EBADMSG : read_batch(t, view);

    if ((rc == -EBADMSG || rc == -ENOENT) && !t->damaged) {
        log_error("queue %s: batch %llu cannot be read, it is set aside", t->queue->record.name,
                  (unsigned long long)t->batch);
        t->damaged = true;
        set_ready(t, false);
        rc = -EBADMSG;
    }
    if (rc < 0)
        return rc;
    if (with_index && !t->index.offsets)
        rc = batch_index_init(&t->index, view);
    return rc;
}

int touched_cut(struct touched *t, uint32_t at)
{
    struct batch_view view;
    uint32_t from;
    int rc;

    if (!mark_needs_cut(&t->mark, at))
        return 0;
    rc = touched_view(t, true, &view);
    if (rc < 0)
        return rc;
    rc = mark_reserve(&t->mark, 1);
    if (rc < 0)
        return rc;
    from = t->mark.spans[mark_find(&t->mark, at)].from;
    mark_cut(&t->mark, at, batch_payload(&t->index, &view, from, at));
    return 0;
}
