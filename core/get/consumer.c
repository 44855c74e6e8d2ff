/*
 * A consumer's life and the calls of its users. Each call changes what it must and then steps,
 * which serves reads, gives back what nobody takes, ends waits, and sends settlements before the
 * next GET.
 */
#include "core/get/consumer.h"

#include <errno.h>
#include <stdlib.h>

#include "core/get/consumer_state.h"

/* ---- life ---- */

int consumer_new(const struct consumer_options *options, struct consumer **consumer)
{
    struct request model = {
        .session = options->session,
        .done = options->request_done,
        .owner = options->request_owner,
    };
    struct claims_options claims = {
        .settings = options->settings,
        .model = model,
        .kept_bytes = options->kept_bytes,
    };
    struct consumer *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    claims.acks = &c->acks;
    if (options->kind == GET_CLAIM && claims_new(&claims, &c->claims)) {
        free(c);
        return -ENOMEM;
    }
    c->options = *options;
    TAILQ_INIT(&c->readers);
    pool_init(&c->pool);
    ack_queue_init(&c->acks, &model);
    op_list_init(&c->waiting);
    op_list_init(&c->polling);
    op_list_init(&c->closing);
    c->review_us = c->want_us = TIME_FOREVER;
    c->get_retry_us = c->arm_retry_us = TIME_FOREVER;
    c->growth = 1;
    backoff_reset(&c->backoff);
    *consumer = c;
    return 0;
}

void consumer_free(struct consumer *c)
{
    if (!c)
        return;
    fetch_drop(c);
    pool_fini(&c->pool);
    claims_free(c->claims);
    ack_queue_fini(&c->acks);
    budget_user_unref(c->taker);
    free(c);
}

void consumer_set_peer(struct consumer *c, struct consumer *peer)
{
    c->peer = peer;
    peer->peer = c;
}

int reader_new(struct consumer *c, struct budget_user *user, uint64_t limit, int64_t timeout_us,
               struct reader **reader)
{
    struct reader *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->consumer = c;
    r->user = budget_user_ref(user);
    r->left = limit;
    r->timeout_us = timeout_us;
    TAILQ_INSERT_TAIL(&c->readers, r, link);
    *reader = r;
    return 0;
}

struct consumer *reader_consumer(const struct reader *r)
{
    return r->consumer;
}

/* ---- bringing everything up to date ---- */

static int64_t pool_idle_us(const struct consumer *c)
{
    if (pool_empty(&c->pool) || c->waiting.n > 0)
        return TIME_FOREVER;
    return c->touched_us + POOL_IDLE_US;
}

static bool pool_must_go(const struct consumer *c, int64_t now_us)
{
    if (pool_empty(&c->pool))
        return false;
    return c->returning || c->ended || now_us >= pool_idle_us(c) || wait_any_closer(c);
}

/* Those who share the opens go on some time, with what they are in the middle of. */
static void all_stay(struct consumer *c)
{
    struct reader *r;

    TAILQ_FOREACH (r, &c->readers, link)
        reader_stay(r);
}

static void step_one(struct consumer *c, int64_t now_us, struct effects *effects)
{
    if (c->n_leaving > 0 && now_us >= c->leaving_us)
        all_stay(c);
    if (!c->returning)
        wait_serve(c, now_us, effects);
    c->slow = c->slow || now_us >= pool_idle_us(c);
    if (pool_must_go(c, now_us))
        consumer_return_pool(c, now_us);
    wait_review(c, now_us, effects);
    if (c->look)
        wait_pollers(c, effects);
    c->look = false;
    wait_closers(c, effects);
    if (c->claims)
        claims_step(c->claims, now_us, effects);
    ack_queue_step(&c->acks, now_us, effects);
    fetch_step(c, now_us, effects);
}

static void step(struct consumer *c, int64_t now_us, struct effects *effects)
{
    step_one(c, now_us, effects);
    if (c->peer_needs_step && c->peer)
        step_one(c->peer, now_us, effects);
    c->peer_needs_step = false;
}

/* ---- calls of users ---- */

/* A close waits for what has to go back, but not for a service that is away. */
static int64_t close_deadline_us(const struct consumer *c, int64_t now_us)
{
    return consumer_is_away(c, now_us) ? now_us : now_us + CLOSE_WAIT_US;
}

void consumer_read(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                   struct effects *effects)
{
    if (c->ended) {
        effects_finish_locked(effects, op, c->ended);
        return;
    }
    r->active = true;
    reader_stay(r);
    op->subject = r;
    if (!reader_read(r, op, now_us, effects))
        wait_read(r, op, now_us, effects);
    step(c, now_us, effects);
}

void consumer_peek(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                   struct effects *effects)
{
    op->offset = OP_PEEK;
    op->nonblock = true;
    consumer_read(c, r, op, now_us, effects);
}

void consumer_peek_no_more(struct consumer *c, struct reader *r, int64_t now_us,
                           struct effects *effects)
{
    r->reads_only = true;
    if (!r->partial.chunk || r->partial.begun)
        return;
    reader_return_partial(r, now_us);
    consumer_return_pool(c, now_us);
    step(c, now_us, effects);
}

/* Whether a reader that leaves need not care for what was fetched: it was claimed ahead, or a GET
 * is on its way for others. */
static bool leaves_all(const struct consumer *c)
{
    return consumer_is_claims(c) && (!c->get || c->waiting.n > 0);
}

void consumer_close(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                    struct effects *effects)
{
    bool nothing = !r->active && !r->partial.chunk;

    r->active = false;
    if (nothing || leaves_all(c)) {
        effects_finish_locked(effects, op, 0);
        return;
    }
    reader_acknowledge(r, now_us);
    if (r->partial.chunk && (r->partial.begun || op->sharer))
        reader_leave(r, now_us);
    else
        reader_return_partial(r, now_us);
    consumer_return_pool(c, now_us);
    op->on_deadline = 0;
    op->target = op->renewals = op->peers = 0;
    wait_park(c, op, &c->closing, close_deadline_us(c, now_us), effects);
    step(c, now_us, effects);
}

/* Its reads have been answered when a file is released; what is still there is not waited for. */
static void finish_parked(struct reader *r, struct op_list *list, ssize_t result,
                          struct effects *effects)
{
    struct op *op, *after;

    for (op = TAILQ_FIRST(&list->ops); op; op = after) {
        after = TAILQ_NEXT(op, link);
        if (op->subject == r)
            effects_finish_locked(effects, op, result);
    }
}

void consumer_release(struct consumer *c, struct reader *r, int64_t now_us, struct effects *effects)
{
    if (r->has_parked) {
        finish_parked(r, &c->waiting, -EINTR, effects);
        finish_parked(r, &c->polling, 0, effects);
    }
    reader_acknowledge(r, now_us);
    if ((r->active || r->partial.chunk) && !leaves_all(c))
        consumer_return_pool(c, now_us);
    reader_return_partial(r, now_us);
    reader_stay(r);
    if (!consumer_is_claims(c))
        ack_queue_hurry(&c->acks);
    TAILQ_REMOVE(&c->readers, r, link);
    reader_free(r);
    step(c, now_us, effects);
}

void consumer_poll(struct consumer *c, struct reader *r, struct op *op, int64_t now_us,
                   struct effects *effects)
{
    if (consumer_readable(c, r)) {
        effects_finish_locked(effects, op, 0);
        return;
    }
    op->subject = r;
    r->has_parked = true;
    wait_park(c, op, &c->polling, TIME_FOREVER, effects);
    step(c, now_us, effects);
}

void consumer_flush(struct consumer *c, struct op *op, int64_t timeout_us, int64_t now_us,
                    struct effects *effects)
{
    consumer_yield(c, now_us);
    ack_queue_hurry(&c->acks);
    op->on_deadline = -ETIMEDOUT;
    op->target = ack_queue_mark(&c->acks) + 1;
    op->renewals = c->claims ? claims_hurry(c->claims, now_us) + 1 : 0;
    op->peers = c->peer ? ack_queue_mark(&c->peer->acks) + 1 : 0;
    if (c->peer)
        ack_queue_hurry(&c->peer->acks);
    c->peer_needs_step = true;
    wait_park(c, op, &c->closing, time_after(now_us, timeout_us), effects);
    step(c, now_us, effects);
}

/* ---- claims ---- */

int consumer_hold(struct consumer *c, const struct request *get, int64_t now_us,
                  struct effects *effects)
{
    int error = claim_all(c, get, now_us);

    step(c, now_us, effects);
    return error;
}

int consumer_settle(struct consumer *c, uint64_t id, enum settle_verb verb, int64_t now_us,
                    struct effects *effects)
{
    int error = claims_settle(c->claims, id, verb, now_us);

    if (error)
        return error;
    if (verb == SETTLE_NACK) {
        /* It is lower than what was fetched, and goes first. */
        c->given_back = ack_queue_mark(&c->acks);
        c->discard = true;
        c->armed = false;
        consumer_yield(c, now_us);
    }
    step(c, now_us, effects);
    return 0;
}

int consumer_open_claim(struct consumer *c, uint64_t id, struct claim **claim, int64_t now_us,
                        struct effects *effects)
{
    int error = claims_open(c->claims, id, now_us, claim);

    step(c, now_us, effects);
    return error;
}

void consumer_close_claim(struct consumer *c, struct claim *claim, int64_t now_us,
                          struct effects *effects)
{
    claims_close(c->claims, claim, now_us);
    step(c, now_us, effects);
}

const struct claims *consumer_claims(const struct consumer *c)
{
    return c->claims;
}

/* ---- news ---- */

static void settle_done(struct consumer *c, struct request *request, int64_t now_us)
{
    if (((struct settle *)request)->acks != &c->acks) {
        claims_renewal_done(c->claims, request, now_us);
        return;
    }
    c->counters.acks_late += ack_queue_answered(&c->acks, request, now_us);
    c->peer_needs_step = true;
}

void consumer_request_done(struct consumer *c, struct request *request, int64_t now_us,
                           struct effects *effects)
{
    c->look = true;
    switch (request->kind) {
    case REQUEST_GET:
        fetch_get_done(c, (struct chunk *)request, now_us, effects);
        break;
    case REQUEST_SETTLE:
        settle_done(c, request, now_us);
        break;
    default:
        fetch_arm_done(c, request, now_us, effects);
        break;
    }
    step(c, now_us, effects);
}

void consumer_changed(struct consumer *c, bool rearm, int64_t now_us, struct effects *effects)
{
    c->look = true;
    c->changes++;
    c->armed = false;
    if (rearm) {
        /* The leases were in the other service's memory: lent again, these could be given twice. */
        consumer_return_pool(c, now_us);
        c->discard = true;
    }
    step(c, now_us, effects);
}

void consumer_retry(struct consumer *c, int64_t now_us, struct effects *effects)
{
    fetch_retry(c);
    ack_queue_retry(&c->acks);
    if (c->claims)
        claims_retry(c->claims);
    step(c, now_us, effects);
}

void consumer_begin_anew(struct consumer *c, int64_t now_us, struct effects *effects)
{
    struct reader *r;

    if (c->ended == -ENOENT)
        return;
    TAILQ_FOREACH (r, &c->readers, link)
        c->counters.acks_late += reader_forget(r);
    pool_fini(&c->pool);
    pool_init(&c->pool);
    if (c->claims)
        claims_forget(c->claims);
    c->counters.acks_late += ack_queue_forget(&c->acks);
    c->returning = c->streaming = c->armed = false;
    c->look = true;
    c->changes++;
    step(c, now_us, effects);
}

void consumer_tick(struct consumer *c, int64_t now_us, struct effects *effects)
{
    step(c, now_us, effects);
}

int64_t consumer_deadline(const struct consumer *c)
{
    int64_t due_us = time_min(ack_queue_deadline(&c->acks), fetch_deadline(c));

    if (c->claims)
        due_us = time_min(due_us, claims_deadline(c->claims));
    if (c->n_leaving > 0)
        due_us = time_min(due_us, c->leaving_us);
    if (c->waiting.n + c->closing.n > 0)
        due_us = time_min(due_us, c->review_us);
    return time_min(due_us, pool_idle_us(c));
}

bool consumer_waited_for(const struct consumer *c)
{
    return c->waiting.n + c->polling.n > 0;
}

/* Still in line at the service, which only tells what is known here before. */
void consumer_expect(struct consumer *c, int64_t now_us, struct effects *effects)
{
    if (c->waiting.n == 0)
        return;
    c->armed = false;
    step(c, now_us, effects);
}

/* ---- the end ---- */

static void finish_closing(struct consumer *c, int error, struct effects *effects)
{
    struct op *op;

    while ((op = TAILQ_FIRST(&c->closing.ops)))
        effects_finish_locked(effects, op, op->on_deadline ? error : 0);
}

/* What readers were given is theirs, what they were not goes back, and so does what is held: nobody
 * else need wait for the end of its lease. */
static void settle_all(struct consumer *c, int64_t now_us)
{
    struct reader *r;

    TAILQ_FOREACH (r, &c->readers, link) {
        reader_acknowledge(r, now_us);
        reader_return_partial(r, now_us);
    }
    consumer_return_pool(c, now_us);
    if (c->claims)
        claims_end(c->claims, true, now_us);
    ack_queue_hurry(&c->acks);
}

void consumer_end(struct consumer *c, int error, int64_t now_us, struct effects *effects)
{
    if (c->ended == -ENOENT || c->ended == error)
        return;
    c->ended = error;
    effects_finish_all_locked(effects, &c->waiting, error);
    effects_finish_all_locked(effects, &c->polling, 0);
    finish_closing(c, error, effects);
    fetch_drop(c);
    if (error == -ENOENT) {
        pool_fini(&c->pool);
        c->returning = false;
        ack_queue_drop(&c->acks);
        if (c->claims)
            claims_end(c->claims, false, now_us);
    } else {
        c->acks.ending = true;
        settle_all(c, now_us);
    }
    step(c, now_us, effects);
}

void consumer_shut(struct consumer *c, struct effects *effects)
{
    c->shut = true;
    finish_closing(c, -ESHUTDOWN, effects);
}

/* The lists know best how many wait: an op that is cancelled leaves without telling. */
const struct consumer_counters *consumer_counters(const struct consumer *c)
{
    struct consumer_counters *counters = (struct consumer_counters *)&c->counters;

    counters->waiting = c->waiting.n;
    counters->ending_gets = c->ended && c->get;
    counters->in_flight_settlements =
        ack_queue_pending(&c->acks) + c->returning + counters->ending_gets;
    if (c->claims)
        counters->in_flight_settlements += claims_pending(c->claims);
    return counters;
}
