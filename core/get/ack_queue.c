#include "core/get/ack_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

/* A new range is joined to one of so many that were added last. */
#define JOIN_LOOK_BACK 8

void ack_queue_init(struct ack_queue *s, const struct request *model)
{
    memset(s, 0, sizeof(*s));
    s->model = *model;
    s->model.kind = REQUEST_SETTLE;
    TAILQ_INIT(&s->sent);
    s->due_us = TIME_FOREVER;
}

static void settle_free(struct settle *settle)
{
    if (!settle)
        return;
    free(settle->ranges);
    free(settle);
}

void ack_queue_fini(struct ack_queue *s)
{
    struct settle *settle;

    while ((settle = TAILQ_FIRST(&s->sent))) {
        TAILQ_REMOVE(&s->sent, settle, link);
        settle_free(settle);
    }
    settle_free(s->gathering);
    s->gathering = NULL;
}

/* ---- gathering ---- */

static int gather_begin(struct ack_queue *s)
{
    struct settle *settle = calloc(1, sizeof(*settle));

    if (!settle)
        return -ENOMEM;
    settle->request = s->model;
    settle->acks = s;
    settle->serial = ++s->serial;
    settle->retry_us = TIME_FOREVER;
    backoff_reset(&settle->backoff);
    s->gathering = settle;
    return 0;
}

static int gather_grow(struct settle *settle, size_t need)
{
    size_t cap = settle->cap ? settle->cap : 16;
    struct settlement *ranges;

    if (need <= settle->cap)
        return 0;
    while (cap < need)
        cap *= 2;
    ranges = realloc(settle->ranges, cap * sizeof(*ranges));
    if (!ranges)
        return -ENOMEM;
    settle->ranges = ranges;
    settle->cap = cap;
    return 0;
}

int ack_queue_reserve(struct ack_queue *s, size_t n)
{
    size_t gathered = s->gathering ? s->gathering->n : 0;
    int error;

    if (gathered + n > REQUEST_SETTLEMENTS_MAX)
        return -EAGAIN;
    if (!s->gathering) {
        error = gather_begin(s);
        if (error)
            return error;
    }
    error = gather_grow(s->gathering, gathered + s->n_reserved + n);
    if (error)
        return error;
    s->n_reserved += n;
    return 0;
}

void ack_queue_unreserve(struct ack_queue *s, size_t n)
{
    assert(n <= s->n_reserved);
    s->n_reserved -= n;
}

static bool join(struct settle *settle, const struct settlement *range)
{
    size_t i, first = settle->n > JOIN_LOOK_BACK ? settle->n - JOIN_LOOK_BACK : 0;

    for (i = settle->n; i-- > first;) {
        struct settlement *old = &settle->ranges[i];

        if (old->batch != range->batch || old->token != range->token || old->verb != range->verb)
            continue;
        if (old->to == range->from)
            old->to = range->to;
        else if (old->from == range->to)
            old->from = range->from;
        else
            continue;
        return true;
    }
    return false;
}

void ack_queue_add(struct ack_queue *s, const struct settlement *range, int64_t now_us)
{
    struct settle *settle = s->gathering;

    ack_queue_unreserve(s, 1);
    if (s->dropping)
        return;
    assert(settle && settle->n < settle->cap);
    settle->counts = settle->counts || range->verb != SETTLE_RETURN;
    if (settle->n > 0 && join(settle, range))
        return;
    settle->ranges[settle->n++] = *range;
    s->due_us = time_min(s->due_us, now_us + ACK_QUEUE_LINGER_US);
    if (settle->n >= ACK_QUEUE_RANGES)
        ack_queue_hurry(s);
}

void ack_queue_hurry(struct ack_queue *s)
{
    if (s->gathering && s->gathering->n > 0)
        s->due_us = 0;
}

/* ---- sending ---- */

static void settle_send(struct settle *settle, struct effects *effects)
{
    settle->retry_us = TIME_FOREVER;
    effects_send(effects, &settle->request);
}

/*
 * Begin the next one: with the room that is reserved, and with what is too much for this one, which
 * keeps the position it was promised.
 */
static int gather_next(struct ack_queue *s, struct settle *full)
{
    size_t rest = full->n > REQUEST_SETTLEMENTS_MAX ? full->n - REQUEST_SETTLEMENTS_MAX : 0;
    int error;

    s->gathering = NULL;
    if (rest + s->n_reserved == 0)
        return 0;
    error = gather_begin(s);
    if (!error)
        error = gather_grow(s->gathering, rest + s->n_reserved);
    if (error || rest == 0)
        return error;
    full->n -= rest;
    memcpy(s->gathering->ranges, full->ranges + full->n, rest * sizeof(*full->ranges));
    s->gathering->n = rest;
    s->gathering->counts = full->counts;
    s->gathering->serial = s->serial = full->serial;
    return 0;
}

static void send_gathered(struct ack_queue *s, int64_t now_us, struct effects *effects)
{
    struct settle *settle = s->gathering;

    if (gather_next(s, settle)) {
        settle_free(s->gathering);
        s->gathering = settle;
        s->serial = settle->serial;
        s->due_us = now_us + BACKOFF_FIRST_US;
        return;
    }
    settle->request.in.settle.items = settle->ranges;
    settle->request.in.settle.n_items = settle->n;
    settle->begun_us = now_us;
    TAILQ_INSERT_TAIL(&s->sent, settle, link);
    s->n_sent++;
    s->due_us = s->gathering && s->gathering->n > 0 ? 0 : TIME_FOREVER;
    settle_send(settle, effects);
}

void ack_queue_step(struct ack_queue *s, int64_t now_us, struct effects *effects)
{
    struct settle *settle;

    TAILQ_FOREACH (settle, &s->sent, link)
        if (settle->retry_us <= now_us)
            settle_send(settle, effects);
    while (s->due_us <= now_us && s->n_sent < ACK_QUEUE_IN_FLIGHT)
        send_gathered(s, now_us, effects);
}

/* Whether no further try can change anything. */
static bool is_final(const struct ack_queue *s, int status)
{
    return status == 0 || status == -ENOENT || status == -EACCES || status == -EPROTO ||
           s->dropping || (s->ending && status == -ESHUTDOWN);
}

uint64_t ack_queue_answered(struct ack_queue *s, struct request *request, int64_t now_us)
{
    struct settle *settle = (struct settle *)request;
    uint64_t n_late = 0;

    if (request->status == 0 && settle->counts && !settle->is_void)
        n_late = request->out.settle.n_late;
    request_release(request);
    if (!settle->is_void && !is_final(s, request->status)) {
        settle->again = true;
        settle->retry_us = now_us + backoff_next(&settle->backoff);
        return 0;
    }
    TAILQ_REMOVE(&s->sent, settle, link);
    s->n_sent--;
    settle_free(settle);
    return n_late;
}

int64_t settle_sent_us(const struct settle *settle)
{
    const struct request *request = &settle->request;

    if (settle->again || request->n_retries > 0 || request->sent_us == 0)
        return settle->begun_us;
    return request->sent_us;
}

/* ---- asking ---- */

uint64_t ack_queue_mark(const struct ack_queue *s)
{
    return s->gathering && s->gathering->n == 0 ? s->serial - 1 : s->serial;
}

bool ack_queue_reached(const struct ack_queue *s, uint64_t mark)
{
    const struct settle *first = TAILQ_FIRST(&s->sent);

    if (!first)
        first = s->gathering;
    return !first || first->serial > mark;
}

size_t ack_queue_pending(const struct ack_queue *s)
{
    return s->n_sent + (s->gathering && s->gathering->n > 0);
}

int64_t ack_queue_deadline(const struct ack_queue *s)
{
    int64_t due_us = s->n_sent < ACK_QUEUE_IN_FLIGHT ? s->due_us : TIME_FOREVER;
    const struct settle *settle;

    TAILQ_FOREACH (settle, &s->sent, link)
        due_us = time_min(due_us, settle->retry_us);
    return due_us;
}

void ack_queue_retry(struct ack_queue *s)
{
    struct settle *settle;

    TAILQ_FOREACH (settle, &s->sent, link) {
        if (settle->retry_us == TIME_FOREVER)
            continue;
        settle->retry_us = 0;
        backoff_reset(&settle->backoff);
    }
}

/* Those that wait to be sent again, and what has gathered. */
static void drop_waiting(struct ack_queue *s)
{
    struct settle *settle, *after;

    for (settle = TAILQ_FIRST(&s->sent); settle; settle = after) {
        after = TAILQ_NEXT(settle, link);
        if (settle->retry_us == TIME_FOREVER)
            continue;
        TAILQ_REMOVE(&s->sent, settle, link);
        s->n_sent--;
        settle_free(settle);
    }
    if (s->gathering)
        s->gathering->n = 0;
    s->due_us = TIME_FOREVER;
}

static uint64_t count_lost(const struct settle *settle)
{
    uint64_t n = 0;

    for (size_t i = 0; settle && i < settle->n; i++) {
        const struct settlement *range = &settle->ranges[i];

        if (range->verb != SETTLE_RETURN && range->verb != SETTLE_RENEW)
            n += range->to - range->from;
    }
    return n;
}

uint64_t ack_queue_forget(struct ack_queue *s)
{
    uint64_t n = count_lost(s->gathering);
    struct settle *settle;

    TAILQ_FOREACH (settle, &s->sent, link) {
        n += settle->is_void ? 0 : count_lost(settle);
        settle->is_void = true;
    }
    drop_waiting(s);
    if (s->gathering) /* every position until now is reached */
        s->gathering->serial = ++s->serial;
    return n;
}

void ack_queue_drop(struct ack_queue *s)
{
    s->dropping = true;
    drop_waiting(s);
}
