/*
 * Parked ops. A read waits until it is served, in order of arrival. Its timeout passed (at once
 * where it is 0 or under O_NONBLOCK) it is due: what the mount has buffered is then pushed, and
 * when that is acknowledged a GET sent after that has to come back empty before the read ends as
 * end of file. Where nothing is answered, the service is away, the read ends with an error instead.
 *
 * review_us is when the next deadline of all may pass, so that ten thousand waiting reads cost
 * nothing until then.
 */
#include <errno.h>

#include "core/get/consumer_state.h"

/* Deadlines are rounded up to this, so that many reads end in one review. */
#define GRAIN_US INT64_C(1000)

static void review_at(struct consumer *c, int64_t due_us)
{
    if (due_us < TIME_FOREVER - GRAIN_US)
        due_us += (GRAIN_US - due_us % GRAIN_US) % GRAIN_US;
    c->review_us = time_min(c->review_us, due_us);
}

static bool park(struct op *op, struct op_list *list, int64_t deadline_us, struct effects *effects)
{
    op->deadline_us = deadline_us;
    if (op_park_locked(op, list))
        return true;
    effects_finish_locked(effects, op, op_interrupted(op));
    return false;
}

void wait_park(struct consumer *c, struct op *op, struct op_list *list, int64_t deadline_us,
               struct effects *effects)
{
    if (c->shut)
        effects_finish_locked(effects, op, op->on_deadline);
    else if (park(op, list, deadline_us, effects))
        review_at(c, deadline_us);
}

/* ---- reads that are due ---- */

static void begin_due(struct consumer *c, struct op *op, int64_t now_us, struct effects *effects)
{
    op->confirm = CONFIRM_LATER;
    op->target = producer_push(c->options.producer, now_us, effects);
}

/* When the service counts as away for a read that is due. */
static int64_t away_us(const struct consumer *c, const struct op *op, int64_t now_us)
{
    int64_t asked_us = c->want_us;

    if (asked_us == TIME_FOREVER)
        asked_us = op->confirm == CONFIRM_LATER ? op->deadline_us : now_us;
    if (asked_us < op->since_us)
        asked_us = op->since_us;
    asked_us += AWAY_US;
    return asked_us > op->deadline_us ? asked_us : op->deadline_us;
}

static ssize_t away_result(const struct consumer *c, const struct op *op)
{
    if (op->on_deadline)
        return op->on_deadline;
    if (c->fault != -ENOBUFS)
        return c->fault == -EIO ? -EIO : -ETIMEDOUT;
    budget_refused(((const struct reader *)op->subject)->user);
    return -ENOBUFS;
}

static void review_due(struct consumer *c, struct op *op, int64_t now_us, struct effects *effects)
{
    int64_t give_up_us;

    if (op->confirm == CONFIRM_LATER && producer_acked(c->options.producer) >= op->target) {
        op->confirm = c->serial + 1;
        c->confirm = op->confirm;
    }
    if (op->confirm != CONFIRM_LATER && op->confirm <= c->emptied) {
        effects_finish_locked(effects, op, op->on_deadline);
        return;
    }
    give_up_us = away_us(c, op, now_us);
    if (now_us >= give_up_us) {
        effects_finish_locked(effects, op, away_result(c, op));
        return;
    }
    c->any_due = true;
    review_at(c, give_up_us);
}

static void review_read(struct consumer *c, struct op *op, int64_t now_us, struct effects *effects)
{
    if (op->confirm == 0 && now_us < op->deadline_us) {
        review_at(c, op->deadline_us);
        return;
    }
    if (op->confirm == 0)
        begin_due(c, op, now_us, effects);
    review_due(c, op, now_us, effects);
}

/* What was given back has to be back before the queue counts as empty. Acknowledged claims need not
 * hurry for that. */
static void hurry_back(struct consumer *c, int64_t now_us)
{
    if (!consumer_is_claims(c) || !ack_queue_reached(&c->acks, c->given_back))
        ack_queue_hurry(&c->acks);
    if (!c->peer)
        return;
    consumer_yield(c->peer, now_us);
    c->peers_mark = c->peer->given_back;
    if (ack_queue_reached(&c->peer->acks, c->peers_mark))
        return;
    ack_queue_hurry(&c->peer->acks);
    c->peer_needs_step = true;
}

void wait_read(struct reader *r, struct op *op, int64_t now_us, struct effects *effects)
{
    struct consumer *c = r->consumer;
    int64_t timeout_us = reader_timeout(r);

    op->since_us = now_us;
    op->confirm = 0;
    op->on_deadline = op->nonblock && timeout_us > 0 ? -EAGAIN : 0;
    hurry_back(c, now_us);
    if (!op->nonblock && timeout_us > 0)
        producer_push(c->options.producer, now_us, effects);
    if (op->nonblock)
        timeout_us = 0;
    r->has_parked = true;
    if (park(op, &c->waiting, time_after(now_us, timeout_us), effects))
        review_read(c, op, now_us, effects);
}

static void review_closing(struct consumer *c, int64_t now_us, struct effects *effects)
{
    struct op *op, *after;

    for (op = TAILQ_FIRST(&c->closing.ops); op; op = after) {
        after = TAILQ_NEXT(op, link);
        if (now_us >= op->deadline_us)
            effects_finish_locked(effects, op, op->on_deadline);
        else
            review_at(c, op->deadline_us);
    }
}

void wait_review(struct consumer *c, int64_t now_us, struct effects *effects)
{
    struct op *op, *after;

    if (now_us < c->review_us && !(c->look && c->any_due))
        return;
    c->any_due = false;
    c->review_us = TIME_FOREVER;
    for (op = TAILQ_FIRST(&c->waiting.ops); op; op = after) {
        after = TAILQ_NEXT(op, link);
        review_read(c, op, now_us, effects);
    }
    review_closing(c, now_us, effects);
}

/* ---- what came true ---- */

void wait_serve(struct consumer *c, int64_t now_us, struct effects *effects)
{
    while (c->waiting.n > 0 && !pool_empty(&c->pool)) {
        struct op *op = TAILQ_FIRST(&c->waiting.ops);

        if (!reader_read(op->subject, op, now_us, effects))
            return;
    }
}

void wait_pollers(struct consumer *c, struct effects *effects)
{
    struct op *op, *after;

    for (op = TAILQ_FIRST(&c->polling.ops); op; op = after) {
        after = TAILQ_NEXT(op, link);
        if (consumer_readable(c, op->subject))
            effects_finish_locked(effects, op, 0);
    }
}

bool wait_any_closer(const struct consumer *c)
{
    const struct op *op;

    TAILQ_FOREACH (op, &c->closing.ops, link)
        if (op->target == 0)
            return true;
    return false;
}

static bool settled(const struct consumer *c, const struct op *op)
{
    return ack_queue_reached(&c->acks, op->target - 1) &&
           (op->renewals == 0 || claims_reached(c->claims, op->renewals - 1)) &&
           (op->peers == 0 || ack_queue_reached(&c->peer->acks, op->peers - 1));
}

/* A close knows what it waits for once nothing more can come back for it: no GET is in flight and
 * the pool has gone back. target is the position plus 1, 0: not known yet. */
void wait_closers(struct consumer *c, struct effects *effects)
{
    bool known = !c->get && !c->returning;
    struct op *op, *after;

    for (op = TAILQ_FIRST(&c->closing.ops); op; op = after) {
        after = TAILQ_NEXT(op, link);
        if (op->target == 0 && known)
            op->target = ack_queue_mark(&c->acks) + 1;
        if (op->target > 0 && settled(c, op))
            effects_finish_locked(effects, op, 0);
    }
}
