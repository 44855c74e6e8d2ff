/*
 * Who waits and who is told: fsync, flush, close, O_SYNC writes, poll, looks, deadlines, errors.
 *
 * A waiter waits for an item's number. An error that concerns it is told to it at once; all other
 * opens that wrote such items keep it until their next call, opens that are gone leave it to the
 * next flush.
 */
#include <errno.h>

#include "core/put/producer_state.h"

/* ---- waiters ---- */

void producer_wait(struct producer *p, struct op *op, uint64_t target, int64_t timeout_us,
                   int64_t now_us, struct effects *effects)
{
    if (target > p->hurry)
        p->hurry = target;
    if (target <= p->acked || p->shut) {
        effects_finish_locked(effects, op, target <= p->acked ? (ssize_t)op->progress : -ESHUTDOWN);
        return;
    }
    op->target = target;
    op->deadline_us = time_after(now_us, timeout_us);
    op->on_deadline = -ETIMEDOUT;
    producer_probe(p, now_us);
    if (!op_park_locked(op, &p->waiters))
        effects_finish_locked(effects, op, op_interrupted(op));
    else
        producer_note_deadline(p, op);
}

void producer_wake(struct producer *p, struct effects *effects)
{
    struct op *op, *next;

    TAILQ_FOREACH_SAFE (op, &p->waiters.ops, link, next) {
        if (op->target <= p->acked)
            effects_finish_locked(effects, op, (ssize_t)op->progress);
    }
}

/* Whoever is told through this op need not be told again. */
static void forget_error(struct producer *p, const struct op *op)
{
    struct writer *w = op->subject;

    if (w)
        w->error = 0;
    else
        p->error = 0;
}

void producer_fail_waiters(struct producer *p, uint64_t base, int error, struct effects *effects)
{
    struct op *op, *next;

    TAILQ_FOREACH_SAFE (op, &p->waiters.ops, link, next) {
        if (op->target < base)
            continue;
        forget_error(p, op);
        effects_finish_locked(effects, op, error);
    }
}

void producer_report(struct producer *p, uint64_t base, int error, struct effects *effects)
{
    struct writer *w;

    TAILQ_FOREACH (w, &p->writers, link) {
        if (w->last >= base)
            w->error = error;
    }
    if (p->released_last >= base)
        p->error = error;
    producer_fail_waiters(p, base, error, effects);
}

/* ---- fsync, flush, close ---- */

/* Wait for all that is written, unless there is an error to tell, which is then told. */
static void wait_for_all(struct producer *p, struct op *op, int *error, int64_t timeout_us,
                         int64_t now_us, struct effects *effects)
{
    int told = *error ? *error : p->ended;

    if (p->hurry < p->batcher.last)
        p->hurry = p->batcher.last;
    if (told) {
        *error = 0;
        effects_finish_locked(effects, op, told);
    } else {
        producer_wait(p, op, p->batcher.last, timeout_us, now_us, effects);
    }
    producer_go(p, now_us, effects);
}

void producer_sync(struct producer *p, struct writer *w, struct op *op, int64_t timeout_us,
                   int64_t now_us, struct effects *effects)
{
    op->subject = w;
    wait_for_all(p, op, &w->error, timeout_us, now_us, effects);
}

void producer_flush(struct producer *p, struct op *op, int64_t timeout_us, int64_t now_us,
                    struct effects *effects)
{
    op->subject = NULL;
    wait_for_all(p, op, &p->error, timeout_us, now_us, effects);
}

uint64_t producer_push(struct producer *p, int64_t now_us, struct effects *effects)
{
    if (p->hurry < p->batcher.last)
        p->hurry = p->batcher.last;
    producer_go(p, now_us, effects);
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
    producer_go(p, now_us, effects);
}

/* ---- poll ---- */

bool producer_writable(const struct producer *p)
{
    bool fails = p->options.settings->mount.on_full == ON_FULL_FAIL;

    if (p->ended || p->failing == -ENOSPC)
        return true;
    if (p->parked.n > 0 || producer_room(p) == 0)
        return false;
    return fails || producer_item_room(p) > 0;
}

void producer_poll(struct producer *p, struct op *op, struct effects *effects)
{
    if (producer_writable(p))
        effects_finish_locked(effects, op, 0);
    else if (!op_park_locked(op, &p->pollers))
        effects_finish_locked(effects, op, op_interrupted(op));
    producer_ask_room(p, p->now_us, effects);
}

void producer_wake_pollers(struct producer *p, struct effects *effects)
{
    if (p->pollers.n > 0 && producer_writable(p))
        effects_finish_all_locked(effects, &p->pollers, 0);
}

/* ---- looking at the queue ---- */

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

void producer_wake_lookers(struct producer *p, int64_t now_us, struct effects *effects)
{
    bool blocked = p->ended || p->shut || p->hold_us > now_us;
    struct op *op, *next;

    TAILQ_FOREACH_SAFE (op, &p->lookers.ops, link, next) {
        if (blocked || op->target <= p->acked)
            effects_finish_locked(effects, op, 0);
    }
}

/* ---- deadlines ---- */

static void expire(struct producer *p, struct op_list *list, int64_t now_us,
                   struct effects *effects)
{
    struct op *op, *next;

    TAILQ_FOREACH_SAFE (op, &list->ops, link, next) {
        if (op->deadline_us <= now_us)
            effects_finish_locked(effects, op, op->on_deadline);
        else
            producer_note_deadline(p, op);
    }
}

static void expire_parked(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct op *op, *next;

    TAILQ_FOREACH_SAFE (op, &p->parked.ops, link, next) {
        if (op->deadline_us <= now_us)
            producer_write_end(p, op, op->on_deadline, now_us, effects);
        else
            producer_note_deadline(p, op);
    }
}

void producer_expire(struct producer *p, int64_t now_us, struct effects *effects)
{
    p->ops_due_us = TIME_FOREVER;
    expire(p, &p->waiters, now_us, effects);
    expire(p, &p->lookers, now_us, effects);
    expire_parked(p, now_us, effects);
}
