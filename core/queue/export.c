/* The items of a queue, read from its store: see export.h. */
#include "core/queue/export.h"

#include <errno.h>
#include <string.h>

#include "core/log.h"
#include "core/queue/item_states.h"

#define NO_BATCH UINT64_MAX

int queue_by_name(struct store *store, const char *name, struct queue_record *record)
{
    uint64_t from = 1;
    int rc;

    for (;; from = record->number + 1) {
        rc = store->ops->queue_next(store, from, record);
        if (rc < 0 && rc != -EBADMSG)
            return rc;
        if (rc == 0 && strcmp(record->name, name) == 0)
            return 0;
    }
}

static int lose(struct export *e, uint64_t batch, const char *why)
{
    e->n_lost++;
    log_error("queue %s: the items of batch %llu are left out: %s", e->record.name,
              (unsigned long long)batch, why);
    return 0;
}

static bool wants(const struct export *e, enum item_state state)
{
    return e->dead ? state == ITEM_DEAD : state != ITEM_DONE;
}

/* Whether any item of the batch is one to be given; all are ready where there is no mark. */
static bool wants_any(const struct export *e, const struct mark *mark)
{
    if (!mark)
        return wants(e, ITEM_READY);
    for (int state = 0; state < ITEM_STATES; state++) {
        if (mark->items[state] > 0 && wants(e, (enum item_state)state))
            return true;
    }
    return false;
}

static int give_items(struct export *e, uint64_t batch, const struct batch_view *view,
                      const struct mark *mark)
{
    size_t separator = view->framing == FRAMING_FILE ? 0 : 1;
    size_t start = view->framing == FRAMING_FILE ? (size_t)view->n_items * 4 : 0;
    const struct span *span = mark ? mark->spans : NULL;

    for (uint32_t i = 0; i < view->n_items; i++) {
        size_t end = batch_item_end(view, start, i);
        const struct export_item item = {.id = item_id(batch, i),
                                         .put_time_us = view->put_time_us,
                                         .bytes = view->data + start,
                                         .len = end - start - separator};
        int rc = 0;

        while (span && i >= span->to)
            span++;
        if (wants(e, span ? span->state : ITEM_READY))
            rc = e->item(e->owner, &item);
        if (rc < 0)
            return rc;
        start = end;
    }
    return 0;
}

static int give_batch(struct export *e, uint64_t batch, const struct mark *mark)
{
    struct batch_view view;
    int rc;

    if (!wants_any(e, mark))
        return 0;
    rc = e->store->ops->batch_get(e->store, e->record.number, batch, &view);
    if (rc == 0 && (batch_check(&view) < 0 || (mark && mark->n_items != view.n_items)))
        rc = -EBADMSG;
    if (rc == -EBADMSG)
        return lose(e, batch, "it is damaged");
    if (rc == -ENOENT)
        return lose(e, batch,
                    "its bytes are missing, they were lost with a damaged part of the log");
    return rc < 0 ? rc : give_items(e, batch, &view, mark);
}

/* The first mark from e->from on. -EBADMSG: *batch alone is set. */
static int next_mark(struct export *e, uint64_t *batch, struct mark *mark)
{
    const struct mark_times times = {.mono_us = 0};
    struct mark_head head;
    const void *data;
    size_t len;
    int rc = e->store->ops->mark_next(e->store, e->record.number, e->from, batch, &data, &len);

    if (rc == -ENOENT)
        *batch = NO_BATCH;
    if (rc == 0)
        rc = mark_decode(data, len, &times, &head, mark);
    return rc == -ENOENT ? 0 : rc;
}

static int give_at(struct export *e, uint64_t batch, const struct mark *mark, int mark_rc)
{
    if (batch == NO_BATCH)
        return -ENOENT;
    if (batch >= e->record.next_batch) {
        lose(e, batch, "the queue has not made one of that number yet, which is damaged");
        return -ENOENT;
    }
    if (mark && mark_rc == -EBADMSG)
        return lose(e, batch, "its mark is wrong or of a later version");
    return give_batch(e, batch, mark);
}

/* The next batch, of which there is a row, or a mark, or both. -ENOENT: there is none. */
static int give_next(struct export *e)
{
    uint64_t batch = NO_BATCH, marked = NO_BATCH, at;
    struct mark mark = {0};
    struct batch_view view;
    int rc = e->store->ops->batch_next(e->store, e->record.number, e->from, &batch, &view);

    if (rc == -ENOENT)
        batch = NO_BATCH;
    else if (rc < 0 && rc != -EBADMSG)
        return rc;
    rc = next_mark(e, &marked, &mark);
    at = batch < marked ? batch : marked;
    if (rc == 0 || rc == -EBADMSG)
        rc = give_at(e, at, at == marked ? &mark : NULL, rc);
    mark_fini(&mark);
    if (rc == 0)
        e->from = at + 1;
    return rc;
}

int export_items(struct export *export)
{
    int rc = 0;

    while (rc == 0)
        rc = give_next(export);
    return rc == -ENOENT ? 0 : rc;
}
