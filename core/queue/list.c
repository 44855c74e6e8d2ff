/*
 * Looking at items, by id. Tracked batches are gone through by their spans, in memory. Untracked
 * ones are wholly ready and stand from q->head on: the store is read for them only, and only where
 * ready items are wanted. Of each batch with such items the bytes are needed too, as they say how
 * large each item is; the index of the untracked batch that was looked at last is kept, so that
 * looking at its items one by one is cheap.
 *
 * One call does a bounded piece of work. A batch that cannot be read is left out.
 */
#include "core/queue/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

/* Work of one call: a batch that is read, one that is passed over, all bytes of the read ones. */
#define WORK_MAX  65536
#define WORK_READ 64
#define WORK_PASS 1
#define BYTES_MAX ((size_t)16 << 20)
#define ID_END    item_id(BATCH_NUMBER_MAX + 1, 0)

/* What stands in out.list.items until it is released, with the bytes if they are ours. */
struct list_memory {
    uint8_t *data;
    struct item_info items[];
};

/* One LIST at work. */
struct listing {
    struct queue *queue;
    struct request *request;
    struct list_memory *memory;
    uint32_t n, max;
    uint32_t states;
    uint64_t at, to; /* ids: looked at next, and the end */
    uint32_t work_left;
    size_t bytes_left;
};

/* A batch that is being looked at. */
struct source {
    uint64_t batch;
    int64_t put_time_us;
    const struct batch_view *view;
    const struct batch_index *index;
};

static void list_free(struct request *request)
{
    struct list_memory *memory = request->reply_memory;

    free(memory->data);
    free(memory);
}

static bool wants(const struct listing *l, enum item_state state)
{
    return l->states & UINT32_C(1) << state;
}

static void spend(struct listing *l, uint32_t work, size_t bytes)
{
    l->work_left -= work < l->work_left ? work : l->work_left;
    l->bytes_left -= bytes < l->bytes_left ? bytes : l->bytes_left;
}

static void go_to_batch(struct listing *l, uint64_t batch)
{
    l->at = item_id(batch, 0);
}

/* The first item's bytes into the answer. */
static int keep_bytes(struct listing *l, const uint8_t *bytes, size_t len)
{
    struct request *request = l->request;
    uint8_t *out;

    if (!request->in.list.bytes || len == 0)
        return 0;
    if (request->reply_buffer)
        out = request->reply_buffer(request, len);
    else
        out = l->memory->data = malloc(len);
    if (!out)
        return -ENOMEM;
    memcpy(out, bytes, len);
    request->out.list.data = out;
    request->out.list.len = len;
    return 0;
}

/* Items [from, to) of a batch, as many as there is room for; they are like `like` otherwise. */
static int list_items(struct listing *l, const struct source *s, uint32_t from, uint32_t to,
                      const struct item_info *like)
{
    size_t separator = s->view->framing == FRAMING_FILE ? 0 : 1;
    size_t start = batch_offset(s->index, s->view, from);

    for (uint32_t i = from; i < to && l->n < l->max; i++) {
        size_t end = batch_item_end(s->view, start, i);
        struct item_info *info = &l->memory->items[l->n];
        int rc = 0;

        *info = *like;
        info->id = item_id(s->batch, i);
        info->size = end - start - separator;
        info->put_time_us = s->put_time_us;
        if (l->n == 0)
            rc = keep_bytes(l, s->view->data + start, info->size);
        if (rc < 0)
            return rc;
        l->n++;
        l->at = info->id + 1;
        start = end;
    }
    return 0;
}

/* Where in the batch to begin, and to end: indexes. */
static uint32_t first_index(const struct listing *l, uint64_t batch)
{
    return item_batch(l->at) == batch ? item_index(l->at) : 0;
}

static uint32_t last_index(const struct listing *l, uint64_t batch, uint32_t n_items)
{
    return item_batch(l->to) == batch && item_index(l->to) < n_items ? item_index(l->to) : n_items;
}

/* ---- tracked batches ---- */

static bool has_wanted(const struct listing *l, const struct tracked_batch *t)
{
    for (int state = ITEM_READY; state < ITEM_DONE; state++) {
        if (wants(l, state) && t->mark.items[state] > 0)
            return !t->damaged;
    }
    return false;
}

static struct item_info info_of(const struct queue *q, const struct span *span)
{
    int64_t wall_us = q->shared->wall_us - q->shared->now_us;
    bool ends = span->when_us != TIME_FOREVER;

    return (struct item_info){.state = span->state,
                              .deliveries = span->deliveries,
                              .until_us = ends ? span->when_us + wall_us : 0};
}

static int list_spans(struct listing *l, const struct tracked_batch *t, const struct source *s)
{
    uint32_t from = first_index(l, t->batch), to = last_index(l, t->batch, t->mark.n_items), pos;

    for (pos = mark_find(&t->mark, from); pos < t->mark.n_spans && l->n < l->max; pos++) {
        const struct span *span = &t->mark.spans[pos];
        struct item_info like = info_of(l->queue, span);
        int rc;

        if (span->from >= to)
            break;
        if (!wants(l, span->state))
            continue;
        rc = list_items(l, s, span->from > from ? span->from : from, span->to < to ? span->to : to,
                        &like);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int list_tracked(struct listing *l, struct tracked_batch *t)
{
    struct source source = {.batch = t->batch, .put_time_us = t->put_time_us};
    struct batch_view view;
    int rc = -EBADMSG;

    if (!has_wanted(l, t) || first_index(l, t->batch) >= t->mark.n_items) {
        spend(l, WORK_PASS, 0);
        go_to_batch(l, t->batch + 1);
        return 0;
    }
    rc = tracked_view(t, true, &view);
    spend(l, WORK_READ, rc == 0 ? view.len : 0);
    if (rc == 0) {
        source.view = &view;
        source.index = &t->index;
        rc = list_spans(l, t, &source);
    }
    if (l->n < l->max && (rc == 0 || rc == -EBADMSG))
        go_to_batch(l, t->batch + 1);
    return rc == -EBADMSG ? 0 : rc;
}

/* ---- untracked batches ---- */

/* The batch that was looked at last again, or the next one that is stored. One that is damaged is
 * set aside, and *batch says which. */
static int read_batch(struct queue *q, uint64_t from, uint64_t *batch, struct batch_view *view)
{
    struct store *store = q->shared->store;
    int rc;

    *batch = from;
    rc = q->looked.batch == from ? 0 : queue_next_stored(q, from, batch, view);
    if (rc == 0)
        rc = store->ops->batch_get(store, q->record.number, *batch, view);
    if (rc == -ENOENT && q->looked.batch == from) { /* it has gone since */
        q->looked.batch = 0;
        return read_batch(q, from, batch, view);
    }
    if (rc == -EBADMSG && !tracked_find(q, *batch) &&
        queue_set_aside(q, *batch, view, "its checksum is wrong") < 0)
        return -ENOMEM;
    return rc;
}

static int index_looked(struct queue *q, uint64_t batch, const struct batch_view *view)
{
    int rc;

    if (q->looked.batch == batch)
        return 0;
    batch_index_fini(&q->looked.index);
    rc = batch_index_init(&q->looked.index, view);
    q->looked.batch = rc == 0 ? batch : 0;
    return rc;
}

static int list_untracked(struct listing *l, uint64_t batch, const struct batch_view *view)
{
    struct source source = {batch, view->put_time_us, view, &l->queue->looked.index};
    const struct item_info like = {.state = ITEM_READY};
    uint32_t from = first_index(l, batch), to = last_index(l, batch, view->n_items);
    int rc;

    spend(l, WORK_READ, view->len);
    rc = index_looked(l->queue, batch, view);
    if (rc == 0 && from < to)
        rc = list_items(l, &source, from, to, &like);
    if (rc == 0 && l->n < l->max)
        go_to_batch(l, batch + 1);
    return rc;
}

/* The first stored batch from `from` on. */
static int list_stored(struct listing *l, uint64_t from)
{
    struct batch_view view;
    uint64_t batch = 0;
    int rc = read_batch(l->queue, from, &batch, &view);

    if (rc == -EBADMSG) {
        spend(l, WORK_READ, 0);
        go_to_batch(l, (batch < from ? from : batch) + 1);
        return 0;
    }
    if (rc == -ENOENT || (rc == 0 && item_id(batch, 0) >= l->to)) {
        l->at = l->to;
        return 0;
    }
    if (rc < 0)
        return rc;
    if (item_batch(l->at) != batch)
        go_to_batch(l, batch);
    return tracked_find(l->queue, batch) ? 0 : list_untracked(l, batch, &view);
}

/* ---- all ---- */

/* The next batch at or behind l->at. */
static int list_batch(struct listing *l)
{
    struct queue *q = l->queue;
    struct tracked_batch wanted = {.batch = item_batch(l->at)};
    struct tracked_batch *t = RB_NFIND(tracked_by_batch, &q->tracked, &wanted);
    uint64_t stored = wanted.batch > q->head ? wanted.batch : q->head;

    if (t && item_id(t->batch, 0) >= l->to)
        t = NULL;
    if (t && (!wants(l, ITEM_READY) || t->batch <= stored))
        return list_tracked(l, t);
    if (wants(l, ITEM_READY) && stored < q->record.next_batch)
        return list_stored(l, stored);
    l->at = l->to;
    return 0;
}

static int list_all(struct listing *l)
{
    int rc = 0;

    while (rc == 0 && l->n < l->max && l->at < l->to && l->work_left > 0 && l->bytes_left > 0)
        rc = list_batch(l);
    return rc;
}

int queue_list(struct queue *q, struct request *request)
{
    uint64_t to = request->in.list.to > 0 ? request->in.list.to : ID_END, room;
    struct listing l = {.queue = q,
                        .request = request,
                        .states = request->in.list.states,
                        .at = request->in.list.from,
                        .to = to,
                        .work_left = WORK_MAX,
                        .bytes_left = BYTES_MAX};
    int rc;

    room = to - request->in.list.from;
    l.max = room < request->in.list.max_items ? (uint32_t)room : request->in.list.max_items;
    l.memory = malloc(sizeof(*l.memory) + l.max * sizeof(l.memory->items[0]));
    if (!l.memory)
        return -ENOMEM;
    l.memory->data = NULL;
    rc = list_all(&l);
    if (rc < 0) {
        free(l.memory->data);
        free(l.memory);
        request->out.list.data = NULL;
        request->out.list.len = 0;
        return rc;
    }
    request->reply_memory = l.memory;
    request->reply_free = list_free;
    request->out.list.items = l.memory->items;
    request->out.list.n_items = l.n;
    request->out.list.next = l.at < l.to ? l.at : 0;
    return 0;
}
