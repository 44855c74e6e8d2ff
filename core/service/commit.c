/*
 * The group commit: all puts, marks, records and producers that a round has changed go to the
 * store in one transaction. Memory is changed at once by everything but puts; these are taken
 * into memory after the commit only, so that one that failed leaves no trace.
 */
#include "core/service/service_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/service/ack_early.h"
#include "core/clock.h"
#include "core/log.h"

/* ---- the store ---- */

const struct store_space *service_space(struct service *s)
{
    struct store *store = s->options.store;

    if (!s->space_known && store->ops->space(store, &s->space) < 0)
        s->space = (struct store_space){0};
    s->space_known = true;
    return &s->space;
}

/* ---- writing ---- */

static int scratch_reserve(struct service *s, size_t size)
{
    uint8_t *scratch;

    if (size <= s->scratch_size)
        return 0;
    scratch = realloc(s->scratch, size);
    if (!scratch)
        return -ENOMEM;
    s->scratch = scratch;
    s->scratch_size = size;
    return 0;
}

static int write_mark(struct service *s, struct tracked_batch *t)
{
    const struct queue_record *record = &t->queue->record;
    struct mark_head head = {t->framing, t->mark.n_items, t->put_time_us};
    struct mark_times times = {s->shared.now_us, s->shared.wall_us};
    struct store *store = s->options.store;
    size_t size;
    int rc;

    if (t->mark.items[ITEM_DONE] == t->mark.n_items) {
        rc = store->ops->batch_remove(store, record->number, t->batch);
        return rc == -ENOENT ? 0 : rc;
    }
    if (mark_is_plain(&t->mark))
        return store->ops->mark_remove(store, record->number, t->batch);
    mark_tidy(&t->mark);
    size = mark_encoded_size(&t->mark);
    rc = scratch_reserve(s, size);
    if (rc < 0)
        return rc;
    mark_encode(&t->mark, &head, &times, s->scratch);
    return store->ops->mark_put(store, record->number, t->batch, s->scratch, size);
}

static int write_record(struct service *s, const struct queue *q)
{
    struct queue_record record = q->record;

    record.next_batch += q->staged.n_batches;
    record.n_items += q->staged.n_items;
    record.n_bytes += q->staged.n_bytes;
    record.total_puts += q->staged.n_items;
    record.batch_puts += q->staged.n_batches;
    return s->options.store->ops->queue_put(s->options.store, &record);
}

static int write_sequence(struct service *s, const struct sequence *seq)
{
    struct sequence_record record = seq->record;

    record.epoch = seq->epoch;
    record.last = seq->last;
    record.chain = seq->chain;
    record.last_used_us = s->shared.ran_us;
    return s->options.store->ops->sequence_put(s->options.store, seq->queue->record.number,
                                               &record);
}

static int write_all(struct service *s)
{
    struct store *store = s->options.store;
    const struct staged_put *put;
    const struct sequence *seq;
    const struct queue *q;
    struct tracked_batch *t;
    int rc = 0;

    for (put = s->staged; put && rc == 0; put = put->next)
        rc = store->ops->batch_put(store, put->queue->record.number, put->batch.batch, &put->view);
    TAILQ_FOREACH (t, &s->shared.dirty, dirty_link)
        rc = rc == 0 ? write_mark(s, t) : rc;
    TAILQ_FOREACH (q, &s->shared.unsaved, unsaved_link)
        rc = rc == 0 ? write_record(s, q) : rc;
    TAILQ_FOREACH (seq, &s->shared.staged, staged_link)
        rc = rc == 0 ? write_sequence(s, seq) : rc;
    return rc;
}

void service_store_failed(struct service *s, int rc)
{
    s->failed = rc;
    log_error("the store failed: %s; nothing is acknowledged any more", strerror(-rc));
}

/* 0, -ENOSPC or -ENOMEM: nothing was changed, it may be tried again. Else s->failed is set. */
static int write_group(struct service *s)
{
    struct store *store = s->options.store;
    int rc = store->ops->begin(store);

    if (rc == 0) {
        rc = write_all(s);
        if (rc < 0)
            store->ops->abort(store);
        else
            rc = store->ops->commit(store);
    }
    if (rc < 0 && rc != -ENOSPC && rc != -ENOMEM)
        service_store_failed(s, rc);
    return rc;
}

/* ---- afterwards ---- */

static void free_staged(struct service *s)
{
    struct staged_put *put;

    while ((put = s->staged) != NULL) {
        s->staged = put->next;
        put->queue->staged.n_batches = 0;
        put->queue->staged.n_items = 0;
        put->queue->staged.n_bytes = 0;
        free(put->owned);
        free(put);
    }
    s->staged_end = &s->staged;
    s->staged_bytes = 0;
}

void service_drop_puts(struct service *s, int status)
{
    struct sequence *seq;
    struct request *put, *next;

    while ((seq = TAILQ_FIRST(&s->shared.staged)) != NULL)
        sequence_revert(seq);
    free_staged(s);
    put = s->puts.first;
    answers_init(&s->puts);
    for (; put; put = next) {
        int own = put->status;

        next = put->next;
        put->out.put.last = 0;
        put->out.put.chain = 0;
        put->out.put.full = false;
        answers_add(&s->answers, put, own < 0 ? own : status);
    }
}

static void take_staged(struct service *s)
{
    const struct staged_put *put;
    struct sequence *seq;

    for (put = s->staged; put; put = put->next)
        queue_take_batch(put->queue, &put->batch);
    free_staged(s);
    while ((seq = TAILQ_FIRST(&s->shared.staged)) != NULL)
        sequence_commit(seq, s->shared.ran_us);
}

static void take_saved(struct service *s)
{
    struct tracked_batch *t;
    struct queue *q;

    while ((t = TAILQ_FIRST(&s->shared.dirty)) != NULL)
        tracked_saved(t, !mark_is_plain(&t->mark));
    while ((q = TAILQ_FIRST(&s->shared.unsaved)) != NULL) {
        TAILQ_REMOVE(&s->shared.unsaved, q, unsaved_link);
        q->unsaved = q->counters_dirty = false;
    }
}

static void finish_waiting(struct service *s)
{
    struct request *put, *next;

    TAILQ_CONCAT(&s->finished, &s->waiting, link);
    put = s->puts.first;
    answers_init(&s->puts);
    for (; put; put = next) {
        next = put->next;
        answers_add(&s->answers, put, put->status);
    }
}

static bool nothing_to_write(const struct service *s)
{
    return !s->staged && TAILQ_EMPTY(&s->shared.dirty) && TAILQ_EMPTY(&s->shared.unsaved) &&
           TAILQ_EMPTY(&s->shared.staged);
}

int service_commit(struct service *s)
{
    int rc = 0;

    if (s->failed)
        return s->failed;
    if (!nothing_to_write(s)) {
        ack_early(s);
        rc = write_group(s);
        if (rc < 0 && !s->failed && s->staged) {
            service_drop_puts(s, rc);
            rc = write_group(s);
        }
    }
    if (rc < 0) {
        s->retry_us = time_after(s->shared.now_us, SERVICE_RETRY_US);
        return rc;
    }
    take_staged(s);
    take_saved(s);
    queue_log_deaths(&s->shared);
    finish_waiting(s);
    s->retry_us = TIME_FOREVER;
    return 0;
}

/* ---- old producers ---- */

static bool is_forgotten(struct service *s, const struct sequence *seq)
{
    return sequence_is_old(seq, s->shared.ran_us) &&
           !sessions_find(&s->sessions, &seq->record.producer);
}

/* Do `free_them`, or remove them from the store. */
static int sweep_queue(struct service *s, struct queue *q, bool free_them)
{
    struct store *store = s->options.store;
    struct sequence *seq, *next;
    int rc = 0;

    for (seq = RB_MIN(sequence_tree, &q->sequences); seq && rc >= 0; seq = next) {
        next = RB_NEXT(sequence_tree, &q->sequences, seq);
        if (!is_forgotten(s, seq))
            continue;
        if (free_them)
            sequence_free(seq);
        else
            rc = store->ops->sequence_remove(store, q->record.number, &seq->record.producer);
        rc = rc == -ENOENT ? 0 : rc;
    }
    return rc;
}

static int sweep_queues(struct service *s, bool free_them)
{
    struct queue *q;
    int rc = 0;

    RB_FOREACH (q, queue_by_number, &s->by_number) {
        rc = sweep_queue(s, q, free_them);
        if (rc < 0)
            break;
    }
    return rc;
}

static bool any_forgotten(struct service *s)
{
    struct sequence *seq;
    struct queue *q;

    RB_FOREACH (q, queue_by_number, &s->by_number) {
        RB_FOREACH (seq, sequence_tree, &q->sequences) {
            if (is_forgotten(s, seq))
                return true;
        }
    }
    return false;
}

void service_keep_time(struct service *s)
{
    int rc = lineage_keep(&s->lineage, s->options.store, s->shared.ran_us);

    if (rc < 0)
        log_warning("how long the store has been served was not kept: %s", strerror(-rc));
}

void service_sweep(struct service *s)
{
    struct store *store = s->options.store;
    int rc;

    s->sweep_us = time_after(s->shared.now_us, SERVICE_SWEEP_US);
    if (!s->failed)
        service_keep_time(s);
    if (s->failed || s->shared.now_us - s->started_us < SERVICE_AMNESTY_US || !any_forgotten(s) ||
        store->ops->begin(store) < 0)
        return;
    rc = sweep_queues(s, false);
    if (rc < 0)
        store->ops->abort(store);
    else
        rc = store->ops->commit(store);
    if (rc == 0)
        sweep_queues(s, true);
    else
        log_warning("old producers were not removed: %s", strerror(-rc));
}
