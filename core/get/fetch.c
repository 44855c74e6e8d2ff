/*
 * When items are asked for, and how many. One GET of a queue is in flight at a time: answers of two
 * could come in either order, and so would the items. It is sent early enough that a stream of
 * large reads does not run dry. Nothing is asked for while something that was given back is not yet
 * back: what is lower comes first.
 *
 * A GET that failed has lent nothing, and is made again. An empty answer to a GET with `arm` leaves
 * the queue armed: the next one is sent when consumer_changed() or consumer_expect() comes, however
 * many reads wait.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/get/consumer_state.h"

#define QUICK_US INT64_C(5000) /* items taken within so long: ask for more next time */

static struct request request_of(const struct consumer *c, enum request_kind kind)
{
    return (struct request){
        .kind = kind,
        .session = c->options.session,
        .done = c->options.request_done,
        .owner = c->options.request_owner,
    };
}

/* ---- how much ---- */

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Small reads that come quickly get more ahead, slow ones what they need. */
static void adapt_growth(struct consumer *c, int64_t now_us)
{
    int64_t took_us = now_us - c->arrived_us;

    if (now_us - c->touched_us > QUICK_US)
        c->growth = 1;
    else if (c->arrived_us != 0 && took_us <= QUICK_US && c->growth < FETCH_GROWTH_MAX)
        c->growth *= 2;
    else if (c->arrived_us != 0 && took_us > POOL_IDLE_US && c->growth > 1)
        c->growth /= 2;
    c->arrived_us = 0;
}

struct demand {
    uint64_t need; /* items that the waiting reads take at once */
    uint64_t most; /* items that they may take at all */
    size_t room;   /* of the largest */
    bool large;
    bool arm; /* some will go on waiting where there is nothing */
};

static void demand_add(struct demand *demand, const struct op *op, bool file)
{
    const struct reader *r = op->subject;
    bool large = op->len >= CONSUMER_BULK_READ;
    uint64_t left = file && r->left > 1 ? 1 : r->left;

    demand->need = add_saturated(demand->need, large ? left : 1);
    demand->most = add_saturated(demand->most, left);
    demand->room = op->len > demand->room ? op->len : demand->room;
    demand->large = demand->large || (large && left > 1);
    demand->arm = demand->arm || op->confirm == 0 || op->confirm == CONFIRM_LATER;
}

static struct demand demand_of(const struct consumer *c)
{
    struct demand demand = {.arm = c->polling.n > 0 || c->waiting.n > FETCH_WAITERS};
    bool file = !consumer_is_claims(c) && c->options.settings->own.framing == FRAMING_FILE;
    const struct op *op;
    size_t n = 0;

    TAILQ_FOREACH (op, &c->waiting.ops, link) {
        if (n++ == FETCH_WAITERS)
            break;
        demand_add(&demand, op, file);
    }
    return demand;
}

/* Of claims as many ahead as were taken quickly, for opens that are still to come. */
static uint64_t claims_ahead(const struct consumer *c, const struct demand *demand)
{
    uint64_t ahead = c->growth < CLAIM_GROWTH_MAX ? c->growth : CLAIM_GROWTH_MAX;

    if (c->options.settings->own.lease_us < CLAIM_AHEAD_LEASE_US)
        ahead = 1;
    return demand->need > ahead ? demand->need : ahead;
}

static void get_fill(struct consumer *c, struct request *get, int64_t now_us)
{
    struct demand demand = demand_of(c);
    uint64_t n = demand.need;

    if (c->waiting.n == 0) {
        n = demand.most = UINT64_MAX; /* ahead of a stream */
    } else if (!demand.large) {
        adapt_growth(c, now_us);
        n = n > c->growth ? n : c->growth;
    }
    if (consumer_is_claims(c))
        demand.most = claims_ahead(c, &demand);
    n = n < demand.most ? n : demand.most;
    get->in.get.kind = c->options.kind;
    get->in.get.max_items = n == 0 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    get->in.get.max_bytes = demand.room;
    if (get->in.get.max_bytes < FETCH_BYTES && !(c->slow && demand.large))
        get->in.get.max_bytes = FETCH_BYTES;
    get->in.get.arm = demand.arm;
}

/* ---- for whom ---- */

/* What the answer needs is known when it is there. */
static size_t bytes_at_most(const struct consumer *c, const struct request *get)
{
    size_t item = (size_t)c->options.settings->own.max_item_size;

    return get->in.get.max_bytes > item ? get->in.get.max_bytes : item;
}

/* One of those who wait pays, whoever may; ahead of a stream who reads it. False: none may. */
static bool pay(struct consumer *c, struct chunk *chunk)
{
    size_t bytes = bytes_at_most(c, &chunk->request), n = 0;
    struct budget_user *last = NULL;
    const struct op *op;

    if (c->waiting.n == 0)
        return c->taker && chunk_pay(chunk, c->taker, bytes);
    TAILQ_FOREACH (op, &c->waiting.ops, link) {
        struct budget_user *user = ((const struct reader *)op->subject)->user;

        if (user != last && chunk_pay(chunk, user, bytes))
            return true;
        last = user;
        if (n++ == FETCH_WAITERS)
            break;
    }
    return false;
}

/* Nobody may have more until something is given back. */
static void hold_off(struct consumer *c, int64_t now_us)
{
    c->streaming = false;
    c->fault = c->waiting.n > 0 ? -ENOBUFS : c->fault;
    c->get_retry_us = now_us + backoff_next(&c->backoff);
}

/* ---- when ---- */

static bool wanted(const struct consumer *c)
{
    if (c->waiting.n > 0)
        return !c->armed || c->confirm > c->serial || !pool_empty(&c->pool);
    return c->streaming && c->pool.len < FETCH_AHEAD && c->options.state->depth > 0;
}

/* With reads waiting and items in the pool it is the settlements that everything waits for. */
static bool allowed(const struct consumer *c)
{
    return c->get_retry_us == TIME_FOREVER && !c->returning && !consumer_held_up(c) &&
           (c->waiting.n == 0 || pool_empty(&c->pool)) &&
           ack_queue_reached(&c->acks, c->given_back) &&
           (!c->peer || ack_queue_reached(&c->peer->acks, c->peers_mark));
}

static void send_get(struct consumer *c, int64_t now_us, struct effects *effects)
{
    struct chunk *chunk = chunk_new();

    if (!chunk) {
        c->get_retry_us = now_us + backoff_next(&c->backoff);
        return;
    }
    chunk->request = request_of(c, REQUEST_GET);
    get_fill(c, &chunk->request, now_us);
    if (!pay(c, chunk)) {
        chunk_unref(chunk);
        hold_off(c, now_us);
        return;
    }
    if (c->fault == -ENOBUFS)
        c->fault = 0;
    chunk->serial = ++c->serial;
    chunk->changes = c->changes;
    chunk->sent_us = chunk->request.sent_us = now_us;
    c->get = chunk;
    c->discard = false;
    effects_send(effects, &chunk->request);
}

static void step_get(struct consumer *c, int64_t now_us, struct effects *effects)
{
    if (c->get_retry_us <= now_us) {
        c->get_retry_us = TIME_FOREVER;
        if (c->get)
            effects_send(effects, &c->get->request);
    }
    if (!c->get && wanted(c) && allowed(c))
        send_get(c, now_us, effects);
    if (!c->get && !wanted(c))
        c->want_us = TIME_FOREVER;
    else
        c->want_us = time_min(c->want_us, now_us);
}

static void step_arm(struct consumer *c, int64_t now_us, struct effects *effects)
{
    if (c->arm_retry_us <= now_us) {
        c->arm_retry_us = TIME_FOREVER;
        if (c->arm)
            effects_send(effects, c->arm);
    }
    if (c->arm || c->get || c->armed || c->polling.n == 0 || c->arm_retry_us != TIME_FOREVER)
        return;
    c->arm = malloc(sizeof(*c->arm));
    if (!c->arm) {
        c->arm_retry_us = now_us + backoff_next(&c->backoff);
        return;
    }
    *c->arm = request_of(c, REQUEST_ARM);
    c->arm->in.arm.kinds = EVENT_READY;
    c->arm_changes = c->changes;
    effects_send(effects, c->arm);
}

void fetch_step(struct consumer *c, int64_t now_us, struct effects *effects)
{
    if (c->ended)
        return;
    step_get(c, now_us, effects);
    step_arm(c, now_us, effects);
}

int64_t fetch_deadline(const struct consumer *c)
{
    return time_min(c->get_retry_us, c->arm_retry_us);
}

void fetch_retry(struct consumer *c)
{
    if (c->get_retry_us != TIME_FOREVER)
        c->get_retry_us = 0;
    if (c->arm_retry_us != TIME_FOREVER)
        c->arm_retry_us = 0;
    backoff_reset(&c->backoff);
}

void fetch_drop(struct consumer *c)
{
    if (c->get && c->get_retry_us != TIME_FOREVER) {
        chunk_unref(c->get);
        c->get = NULL;
    }
    if (c->arm && c->arm_retry_us != TIME_FOREVER) {
        free(c->arm);
        c->arm = NULL;
    }
    c->get_retry_us = c->arm_retry_us = TIME_FOREVER;
}

/* ---- answers ---- */

static void get_failed(struct consumer *c, struct chunk *chunk, int64_t now_us,
                       struct effects *effects)
{
    int status = chunk->request.status;

    if (status == -ENOENT || status == -EACCES || c->ended) {
        chunk_unref(chunk);
        if (!c->ended)
            effects_finish_all_locked(effects, &c->waiting, status);
        return;
    }
    request_release(&chunk->request);
    c->fault = status;
    c->get = chunk;
    c->get_retry_us = now_us + backoff_next(&c->backoff);
}

static void get_was_empty(struct consumer *c, struct chunk *chunk)
{
    c->emptied = chunk->serial;
    if (chunk->request.in.get.arm)
        c->armed = chunk->changes == c->changes;
    c->streaming = false;
    chunk_unref(chunk);
}

static void get_brought(struct consumer *c, struct chunk *chunk, int64_t now_us)
{
    c->counters.batch_gets++;
    c->counters.batch_items += chunk_items(chunk);
    histogram_add(&c->counters.latency, now_us - chunk->sent_us, 1);
    c->armed = false;
    c->arrived_us = c->touched_us = now_us;
    chunk_pay_answer(chunk);
    pool_add(&c->pool, chunk);
    if (c->discard || c->ended)
        consumer_return_pool(c, now_us);
}

void fetch_get_done(struct consumer *c, struct chunk *chunk, int64_t now_us,
                    struct effects *effects)
{
    c->get = NULL;
    if (chunk->request.status == 0)
        chunk->request.status = chunk_open(chunk);
    if (chunk->request.status != 0) {
        get_failed(c, chunk, now_us, effects);
        return;
    }
    c->fault = 0;
    c->want_us = TIME_FOREVER;
    backoff_reset(&c->backoff);
    if (c->ended == -ENOENT)
        chunk_unref(chunk);
    else if (chunk->request.out.get.n_grants == 0)
        get_was_empty(c, chunk);
    else
        get_brought(c, chunk, now_us);
}

void fetch_arm_done(struct consumer *c, struct request *request, int64_t now_us,
                    struct effects *effects)
{
    int status = request->status;
    bool over = status == -ENOENT || status == -EACCES; /* a read says so */
    bool ready = over || (status == 0 && request->out.arm.kinds & EVENT_READY);

    request_release(request);
    c->arm = NULL;
    if (status != 0 && !over && !c->ended) {
        c->arm = request;
        c->arm_retry_us = now_us + backoff_next(&c->backoff);
        return;
    }
    if (status == 0)
        backoff_reset(&c->backoff);
    if (ready)
        effects_finish_all_locked(effects, &c->polling, 0);
    else if (status == 0)
        c->armed = c->arm_changes == c->changes;
    free(request);
}
