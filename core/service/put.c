/*
 * Puts: checked, judged by their item numbers and by maxsize, and staged for the commit of the
 * round. What a put was answered is settled here; it is told only after the commit.
 */
#include "core/service/service_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"

static size_t frame_size(enum framing framing)
{
    return framing == FRAMING_FILE ? 4 : 1;
}

static int put_check(const struct queue *q, const struct request *put)
{
    const struct batch_view *batch = &put->in.put.batch;
    size_t max = (size_t)q->record.settings.max_item_size;
    int rc = batch_verify(batch);

    if (rc < 0)
        return rc == -EINVAL ? -EPROTO : rc;
    if (put->in.put.base < 1 || put->in.put.base > UINT64_MAX - batch->n_items)
        return -EPROTO;
    /* A batch that is no larger than an item may be needs no look at each. */
    if (batch->len - frame_size(batch->framing) > max && batch_longest(batch) > max)
        return -EMSGSIZE;
    return 0;
}

/* ---- a part of a batch ---- */

/* The items [from, to) of a batch with a table: tables and bytes do not lie together. */
static int cut_table(struct staged_put *staged, const struct batch_view *batch, uint32_t from,
                     size_t start, size_t end)
{
    size_t table = (size_t)staged->view.n_items * 4;

    staged->owned = malloc(table + (end - start));
    if (!staged->owned)
        return -ENOMEM;
    memcpy(staged->owned, batch->data + (size_t)from * 4, table);
    memcpy(staged->owned + table, batch->data + start, end - start);
    staged->view.data = staged->owned;
    staged->view.len = table + (end - start);
    return 0;
}

/* Set the view to the items [from, from + view.n_items) of `batch`. */
static int cut_view(struct staged_put *staged, const struct batch_view *batch, uint32_t from)
{
    struct batch_view *view = &staged->view;
    struct batch_index index;
    size_t start, end;
    int rc = batch_index_init(&index, batch);

    if (rc < 0)
        return rc;
    start = batch_offset(&index, batch, from);
    end = batch_offset(&index, batch, from + view->n_items);
    batch_index_fini(&index);

    view->data = batch->data + start;
    view->len = end - start;
    if (view->framing == FRAMING_FILE)
        rc = cut_table(staged, batch, from, start, end);
    if (rc == 0)
        view->crc = crc32c(view->data, view->len);
    return rc;
}

static int stage(struct service *s, struct sequence *seq, const struct batch_view *batch,
                 uint32_t from, uint32_t n)
{
    struct queue *q = seq->queue;
    struct staged_put *staged;
    int rc = 0;

    if (service_space(s)->full || q->record.next_batch + q->staged.n_batches > BATCH_NUMBER_MAX)
        return -ENOSPC;
    staged = calloc(1, sizeof(*staged));
    if (!staged)
        return -ENOMEM;
    staged->queue = q;
    staged->view = *batch;
    staged->view.n_items = n;
    staged->view.put_time_us = s->shared.wall_us;
    if (n < batch->n_items)
        rc = cut_view(staged, batch, from);
    if (rc < 0) {
        free(staged);
        return rc;
    }
    staged->batch = (struct queue_front){
        .batch = q->record.next_batch + q->staged.n_batches,
        .n_items = n,
        .n_bytes = staged->view.len - n * frame_size(batch->framing),
        .framing = batch->framing,
        .put_time_us = s->shared.wall_us,
    };
    q->staged.n_batches++;
    q->staged.n_items += n;
    q->staged.n_bytes += staged->batch.n_bytes;
    sequence_stage(seq, &staged->view);
    queue_unsaved(q);
    s->staged_bytes += staged->view.len;
    *s->staged_end = staged;
    s->staged_end = &staged->next;
    return 0;
}

/* ---- judging ---- */

static void put_answer(struct service *s, struct sequence *seq, struct request *put, int status)
{
    put->out.put.last = seq->last;
    put->out.put.chain = seq->chain;
    answers_add(&s->puts, put, status);
}

/* The queue is at maxsize: the mount is told of room, once. */
static void answer_full(struct service *s, struct sequence *seq, struct request *put)
{
    struct session *session = sessions_find(&s->sessions, &put->session);
    int rc = session ? session_arm(session, seq->queue, EVENT_ROOM) : 0;

    put->out.put.full = true;
    put_answer(s, seq, put, rc);
}

static void put_store(struct service *s, struct sequence *seq, struct request *put, uint32_t skip)
{
    struct queue *q = seq->queue;
    uint32_t wanted = put->in.put.batch.n_items - skip, n = wanted;
    uint64_t maxsize = (uint64_t)q->record.settings.maxsize, count = queue_count(q);
    int rc = 0;

    if (maxsize > 0 && count + n > maxsize)
        n = count < maxsize ? (uint32_t)(maxsize - count) : 0;
    if (n > 0)
        rc = stage(s, seq, &put->in.put.batch, skip, n);
    put->out.put.n_repeats = skip;
    if (rc < 0) {
        put_answer(s, seq, put, rc);
        return;
    }
    if (n < wanted)
        answer_full(s, seq, put);
    else
        put_answer(s, seq, put, 0);
}

static void put_judge(struct service *s, struct sequence *seq, struct request *put)
{
    uint32_t skip = 0;

    switch (sequence_check(seq, put, &skip)) {
    case SEQUENCE_STORE:
        put_store(s, seq, put, skip);
        break;
    case SEQUENCE_REPEAT:
        put->out.put.n_repeats = put->in.put.batch.n_items;
        put_answer(s, seq, put, 0);
        break;
    case SEQUENCE_GAP:
        if (!queue_has_room(seq->queue))
            answer_full(s, seq, put);
        else if (!sequence_hold(seq, put))
            put_answer(s, seq, put, 0);
        break;
    case SEQUENCE_STALE:
        put_answer(s, seq, put, -ESTALE);
        break;
    case SEQUENCE_DOUBLE:
        put_answer(s, seq, put, -ENOTUNIQ);
        break;
    }
}

void service_put(struct service *s, struct session *session, struct request *put)
{
    struct queue *q = service_find(s, put->queue);
    struct sequence *seq;
    int rc = q ? put_check(q, put) : -ENOENT;

    if (rc == 0 && service_space(s)->gone)
        rc = -EIO;
    if (rc < 0) {
        answers_add(&s->answers, put, rc);
        return;
    }
    seq = sequence_get(q, &session->id);
    if (!seq) {
        answers_add(&s->answers, put, -ENOMEM);
        return;
    }
    put_judge(s, seq, put);
    while ((put = sequence_release(seq, !queue_has_room(q))) != NULL)
        put_judge(s, seq, put);
    if (s->staged_bytes >= SERVICE_GROUP_BYTES)
        service_commit(s);
}

void service_end_holds(struct service *s, bool any, int status)
{
    struct sequence *seq, *next;

    for (seq = TAILQ_FIRST(&s->shared.holding); seq; seq = next) {
        struct request *put;

        next = TAILQ_NEXT(seq, holding_link);
        if (!any && seq->held_until_us > s->shared.now_us)
            continue;
        while ((put = sequence_release(seq, true)) != NULL)
            put_answer(s, seq, put, status);
    }
}
