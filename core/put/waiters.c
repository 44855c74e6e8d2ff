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
    if (target > p->send_up_to)
        p->send_up_to = target;
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

void producer_wait_for_all(struct producer *p, struct op *op, int *error, int64_t timeout_us,
                           int64_t now_us, struct effects *effects)
{
    int told = *error ? *error : p->ended;

    if (p->send_up_to < p->batcher.last)
        p->send_up_to = p->batcher.last;
    if (told) {
        *error = 0;
        effects_finish_locked(effects, op, told);
    } else {
        producer_wait(p, op, p->batcher.last, timeout_us, now_us, effects);
    }
}

/* ---- poll ---- */

bool producer_writable(const struct producer *p, const struct writer *w)
{
    bool fails = p->options.settings->mount.on_full == ON_FULL_FAIL;

    if (p->ended || p->failing == -ENOSPC)
        return true;
    if (w->share->parked.n > 0 || producer_room(p, w) == 0)
        return false;
    return fails || producer_item_room(p) > 0;
}

void producer_poll(struct producer *p, struct writer *w, struct op *op, struct effects *effects)
{
    op->subject = w;
    if (producer_writable(p, w))
        effects_finish_locked(effects, op, 0);
    else if (!op_park_locked(op, &p->pollers))
        effects_finish_locked(effects, op, op_interrupted(op));
    producer_ask_room(p, p->now_us, effects);
}

void producer_wake_pollers(struct producer *p, struct effects *effects)
{
    const struct share *full = NULL;
    struct op *op, *next;

    TAILQ_FOREACH_SAFE (op, &p->pollers.ops, link, next) {
        const struct writer *w = op->subject;

        if (w->share == full && p->floor_writer != w)
            continue; /* as the one before */
        if (producer_writable(p, w))
            effects_finish_locked(effects, op, 0);
        else
            full = w->share;
    }
}

/* ---- looking at the queue ---- */

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

void producer_expire(struct producer *p, int64_t now_us, struct effects *effects)
{
    expire(p, &p->waiters, now_us, effects);
    expire(p, &p->lookers, now_us, effects);
}
