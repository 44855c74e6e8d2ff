#include "core/put/producer.h"

#include <errno.h>
#include <stdlib.h>

#include "core/put/producer_state.h"

#define DEFAULT_TIMEOUT_US INT64_C(30000000)

/* ---- life ---- */

int producer_new(const struct producer_options *options, struct producer **producer)
{
    struct producer *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->options = *options;
    if (p->options.timeout_us == 0)
        p->options.timeout_us = DEFAULT_TIMEOUT_US;
    p->epoch = 1;
    backoff_reset(&p->backoff);
    p->ops_due_us = TIME_FOREVER;
    batcher_init(&p->batcher);
    TAILQ_INIT(&p->writers);
    TAILQ_INIT(&p->shares);
    TAILQ_INIT(&p->waiting);
    TAILQ_INIT(&p->puts);
    op_list_init(&p->waiters);
    op_list_init(&p->pollers);
    op_list_init(&p->lookers);
    *producer = p;
    return 0;
}

void producer_free(struct producer *p)
{
    if (!p)
        return;
    producer_drop_puts(p);
    batcher_fini(&p->batcher);
    shares_free(p);
    free(p);
}

/* ---- what happens after each change ---- */

/* In order of arrival, as far as it goes. */
static void resume_share(struct producer *p, struct share *share, int64_t now_us,
                         struct effects *effects)
{
    struct op *op;
    bool ended = true;

    while (ended && (op = TAILQ_FIRST(&share->parked.ops))) {
        ended = producer_write_try(p, op, now_us, effects);
        if (!ended)
            producer_note_deadline(p, op);
        producer_pump(p, now_us, effects);
    }
}

/* Whoever comes first is last the next time: what becomes free goes round. */
static void resume_parked(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct share *share, *next, *first = TAILQ_FIRST(&p->waiting);

    TAILQ_FOREACH_SAFE (share, &p->waiting, waiting, next) {
        resume_share(p, share, now_us, effects);
        if (share->parked.n > 0 && share != first)
            continue;
        TAILQ_REMOVE(&p->waiting, share, waiting);
        share->waits = share->parked.n > 0;
        if (share->waits)
            TAILQ_INSERT_TAIL(&p->waiting, share, waiting);
    }
}

static void go(struct producer *p, int64_t now_us, struct effects *effects)
{
    p->now_us = now_us;
    producer_pump(p, now_us, effects);
    resume_parked(p, now_us, effects);
    producer_wake_pollers(p, effects);
    producer_wake_lookers(p, now_us, effects);
    producer_ask_room(p, now_us, effects);
    p->counters.buffered_items = p->batcher.last - p->acked;
}

/* ---- opens, and the end ---- */

int writer_init(struct producer *p, struct writer *w, struct budget_user *user)
{
    *w = (struct writer){.share = share_open(p, user)};
    if (!w->share)
        return -ENOMEM;
    TAILQ_INSERT_TAIL(&p->writers, w, link);
    return 0;
}

/* An open is gone: what it was not told yet, the next flush is. */
static void forget_writer(struct producer *p, struct writer *w, int64_t now_us,
                          struct effects *effects)
{
    struct op *op, *next;

    TAILQ_REMOVE(&p->writers, w, link);
    if (w->error)
        p->error = w->error;
    if (w->last > p->released_last)
        p->released_last = w->last;
    TAILQ_FOREACH_SAFE (op, &w->share->parked.ops, link, next) {
        if (op->subject == w)
            effects_finish_locked(effects, op, op_interrupted(op));
    }
    TAILQ_FOREACH_SAFE (op, &p->pollers.ops, link, next) {
        if (op->subject == w)
            effects_finish_locked(effects, op, 0);
    }
    TAILQ_FOREACH (op, &p->waiters.ops, link) {
        if (op->subject == w)
            op->subject = NULL;
    }
    free(w->partial);
    w->partial = NULL;
    share_close(p, w->share);
    go(p, now_us, effects);
}

void producer_release(struct producer *p, struct writer *w, int64_t now_us, struct effects *effects)
{
    producer_finish_partial(p, w, now_us);
    forget_writer(p, w, now_us, effects);
}

static void drop_everything(struct producer *p)
{
    struct writer *w;

    p->counters.put_errors += p->batcher.last - p->acked;
    TAILQ_FOREACH (w, &p->writers, link) {
        if (w->partial_len > 0)
            p->counters.put_errors++;
        if (w->partial_len > 0 || w->last > p->acked)
            w->error = -ENOENT;
        producer_drop_partial(p, w);
    }
    if (p->released_last > p->acked)
        p->error = -ENOENT;
    producer_drop_puts(p);
    shares_give_back(p, batcher_clear(&p->batcher));
    p->acked = p->batcher.last;
}

static void end(struct producer *p, int error, struct effects *effects)
{
    struct share *share;
    struct op *op;

    if (p->ended == -ENOENT || p->ended == error)
        return;
    p->ended = error;
    if (error == -ENOENT)
        drop_everything(p);
    p->send_up_to = UINT64_MAX;
    effects_finish_all_locked(effects, &p->waiters, error);
    effects_finish_all_locked(effects, &p->pollers, 0);
    TAILQ_FOREACH (share, &p->waiting, waiting) {
        while ((op = TAILQ_FIRST(&share->parked.ops)))
            effects_finish_locked(effects, op, op->progress > 0 ? (ssize_t)op->progress : error);
    }
}

void producer_end(struct producer *p, int error, int64_t now_us, struct effects *effects)
{
    end(p, error, effects);
    go(p, now_us, effects);
}

/* ---- calls of users ---- */

void producer_write(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                    struct effects *effects)
{
    producer_write_begin(p, w, op, now_us, effects);
    go(p, now_us, effects);
}

void producer_sync(struct producer *p, struct writer *w, struct op *op, int64_t timeout_us,
                   int64_t now_us, struct effects *effects)
{
    op->subject = w;
    producer_wait_for_all(p, op, &w->error, timeout_us, now_us, effects);
    go(p, now_us, effects);
}

void producer_flush(struct producer *p, struct op *op, int64_t timeout_us, int64_t now_us,
                    struct effects *effects)
{
    op->subject = NULL;
    producer_wait_for_all(p, op, &p->error, timeout_us, now_us, effects);
    go(p, now_us, effects);
}

uint64_t producer_push(struct producer *p, int64_t now_us, struct effects *effects)
{
    if (p->send_up_to < p->batcher.last)
        p->send_up_to = p->batcher.last;
    go(p, now_us, effects);
    return p->batcher.last;
}

void producer_close(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                    struct effects *effects)
{
    bool wait = p->options.settings->mount.sync_on_close && w->last > p->acked;
    int error = w->error;

    op->subject = w;
    if (!error && wait)
        error = p->ended;
    if (error || !wait) {
        w->error = 0;
        effects_finish_locked(effects, op, error);
    } else {
        producer_wait(p, op, w->last, p->options.timeout_us, now_us, effects);
    }
    go(p, now_us, effects);
}

void producer_show(struct producer *p, struct op *op, int64_t wait_us, int64_t now_us,
                   struct effects *effects)
{
    op->subject = NULL;
    op->target = producer_push(p, now_us, effects);
    op->deadline_us = time_after(now_us, wait_us);
    op->on_deadline = 0;
    if (op_park_locked(op, &p->lookers))
        producer_note_deadline(p, op);
    else
        effects_finish_locked(effects, op, 0);
    producer_wake_lookers(p, now_us, effects);
}

/* ---- news ---- */

void producer_put_done(struct producer *p, struct request *request, int64_t now_us,
                       struct effects *effects)
{
    int status = request->status;

    if (request->kind == REQUEST_ARM)
        producer_room_answered(p, request, now_us);
    else
        producer_put_answered(p, (struct put *)request, now_us, effects);
    if (status == -ENOENT)
        end(p, -ENOENT, effects);
    go(p, now_us, effects);
}

bool producer_is_doubled(const struct producer *p)
{
    return p->doubled;
}

void producer_begin_anew(struct producer *p, int64_t now_us, struct effects *effects)
{
    p->doubled = false;
    p->epoch_wanted = true;
    producer_room_changed(p);
    producer_probe(p, now_us);
    go(p, now_us, effects);
}

void producer_retry(struct producer *p, int64_t now_us, struct effects *effects)
{
    if (p->hold_us > now_us && !p->failing)
        p->hold_us = now_us;
    backoff_reset(&p->backoff);
    go(p, now_us, effects);
}

void producer_changed(struct producer *p, int64_t now_us, struct effects *effects)
{
    producer_room_changed(p);
    producer_probe(p, now_us);
    go(p, now_us, effects);
}

void producer_set_awaited(struct producer *p, bool awaited, int64_t now_us, struct effects *effects)
{
    bool begun = awaited && !p->awaited;

    p->awaited = awaited;
    if (begun)
        go(p, now_us, effects);
}

/* ---- deadlines ---- */

static bool is_idle(const struct producer *p)
{
    return TAILQ_EMPTY(&p->puts) && batcher_empty(&p->batcher);
}

void producer_tick(struct producer *p, int64_t now_us, struct effects *effects)
{
    if (now_us >= p->ops_due_us) {
        p->ops_due_us = TIME_FOREVER;
        producer_expire(p, now_us, effects);
        producer_expire_parked(p, now_us, effects);
    }
    if (now_us >= p->trim_us && is_idle(p))
        batcher_trim(&p->batcher);
    go(p, now_us, effects);
}

int64_t producer_deadline(const struct producer *p)
{
    int64_t due_us = time_min(p->ops_due_us, producer_pump_due(p));

    due_us = time_min(due_us, producer_room_due(p));
    if (p->batcher.spares && is_idle(p))
        due_us = time_min(due_us, p->trim_us);
    return due_us;
}

/* ---- what others may know ---- */

uint64_t producer_acked(const struct producer *p)
{
    return p->acked;
}

uint64_t producer_unfinished(const struct producer *p)
{
    const struct writer *w;
    uint64_t n = 0;

    TAILQ_FOREACH (w, &p->writers, link) {
        if (w->partial_len > 0)
            n++;
    }
    return n;
}

int producer_failing(const struct producer *p)
{
    return p->failing;
}

const struct producer_counters *producer_counters(const struct producer *p)
{
    return &p->counters;
}
