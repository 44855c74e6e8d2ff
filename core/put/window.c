/*
 * The window: batches are cut, sent as PUTs, sent again, and leave when they are acknowledged.
 *
 * What an answer can be:
 *   stored          done, once all before it are
 *   short, full     the queue is at maxsize: hold until there may be room
 *   short           the items before it did not come in time: again, in order
 *   short of acked  the service has forgotten this producer: a new epoch
 *   not these bytes somebody else puts under this id, as the answer says or its chain shows:
 *                   nothing more until there is another id, which begins a new epoch too
 *   store full      told to whoever wrote, kept, tried again; so is a fault of the service
 *   not allowed     the same, at once: `access` of the service does not let this mount put
 *   refused         never as it is: the items at fault are dropped, told and counted, and the rest
 *                   goes on in a new epoch, which begins at its first put's number: a gap is none
 */
#include <errno.h>
#include <stdlib.h>

#include "core/chain.h"
#include "core/put/producer_state.h"

#define TRY_AGAIN_US INT64_C(1000000) /* at the latest */
#define FULL_HOLD_US INT64_C(1000000)
#define TRIM_US      INT64_C(1000000)

/* A put that the service calls damaged is sent so often before it is given up. */
#define REFUSED_TRIES_MAX 5

/* ---- puts ---- */

static void put_free(struct producer *p, struct put *put)
{
    if (put->slice.batch) {
        shares_give_back(p, put->slice.view.len);
        batcher_done(&p->batcher, &put->slice);
    }
    TAILQ_REMOVE(&p->puts, put, link);
    p->counters.pending_batches--;
    free(put);
}

void producer_drop_puts(struct producer *p)
{
    struct put *put, *next;

    TAILQ_FOREACH_SAFE (put, &p->puts, link, next) {
        if (put->state != PUT_SENT)
            put_free(p, put);
    }
}

/* Cut the next batch if one is due. NULL: none, or no memory. */
static struct put *cut(struct producer *p, int64_t now_us)
{
    const struct mount_settings *settings = &p->options.settings->mount;
    uint64_t send_up_to = p->awaited ? UINT64_MAX : p->send_up_to;
    struct put *put;

    if (batcher_due_us(&p->batcher, settings, send_up_to) > now_us || batcher_empty(&p->batcher))
        return NULL;
    put = calloc(1, sizeof(*put));
    if (!put) {
        p->hold_us = time_after(now_us, BACKOFF_FIRST_US);
        return NULL;
    }
    put->request.kind = REQUEST_PUT;
    put->request.session = p->options.id;
    put->request.done = p->options.put_done;
    put->request.owner = p->options.put_owner;
    batcher_cut(&p->batcher, settings->batch_size == 1, &put->slice);
    put->end = put->slice.base + put->slice.view.n_items - 1;
    put->chain = p->chain;
    p->chain = chain_append(p->chain, &put->slice.view);
    TAILQ_INSERT_TAIL(&p->puts, put, link);
    p->counters.pending_batches++;
    return put;
}

static void send(struct producer *p, struct put *put, struct effects *effects)
{
    put->request.repeat = put->n_tries > 0;
    put->request.in.put.epoch = p->epoch;
    put->request.in.put.begins = p->epoch_fresh;
    put->request.in.put.chain = put->chain;
    put->request.in.put.base = put->slice.base;
    put->request.in.put.batch = put->slice.view;
    if (put->n_tries++ > 0)
        p->counters.retries++;
    put->state = PUT_SENT;
    p->n_sent++;
    effects_send(effects, &put->request);
}

/* ---- trouble ---- */

/* One put at a time until this one is through. */
static void probe_until(struct producer *p, const struct put *put)
{
    if (p->acked >= p->probe_until || put->end < p->probe_until)
        p->probe_until = put->end;
}

static void hold(struct producer *p, int64_t until_us, int64_t now_us)
{
    p->failed_us = now_us;
    if (p->hold_us < until_us)
        p->hold_us = until_us;
}

static void back_off(struct producer *p, int64_t now_us)
{
    int64_t us = p->hold_us > now_us ? p->backoff.next_us : backoff_next(&p->backoff);

    hold(p, time_after(now_us, time_min(us, TRY_AGAIN_US)), now_us);
}

/* What is not stored of a put failed after its write had returned: once in put_errors. */
static void count_failed(struct producer *p, struct put *put)
{
    uint64_t stored = put->stored >= put->slice.base ? put->stored : put->slice.base - 1;

    if (!put->counted)
        p->counters.put_errors += put->end - stored;
    put->counted = true;
}

/* ---- acknowledged ---- */

static void acknowledge(struct producer *p, struct put *put, int64_t now_us)
{
    p->acked = put->end;
    p->counters.batch_puts++;
    p->counters.batch_items += put->slice.view.n_items;
    histogram_add(&p->counters.latency, now_us - put->slice.batch->oldest_us,
                  put->slice.view.n_items);
    p->epoch_fresh = false;
    p->trim_us = time_after(now_us, TRIM_US);
    put_free(p, put);
}

/* Whatever has come to the front leaves. */
static void advance(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct put *front;

    while ((front = TAILQ_FIRST(&p->puts)) && front->state == PUT_STORED)
        acknowledge(p, front, now_us);
    if (front && front->stored > p->acked)
        p->acked = front->stored;
    if (p->acked >= p->probe_until) {
        p->failing = 0;
        backoff_reset(&p->backoff);
    }
    producer_wake(p, effects);
}

/* What an answer to a later put has called stored is, whatever became of its own. */
static void take_stored(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct put *put;

    TAILQ_FOREACH (put, &p->puts, link) {
        if (put->end <= p->known_last)
            put->state = PUT_STORED;
    }
    advance(p, now_us, effects);
}

/* ---- before sending ---- */

/* Take items out of a put that is not in flight: the stored ones and those longer than max. */
static int filter(struct producer *p, struct put *put, size_t max, uint32_t *n_dropped)
{
    size_t len = put->slice.view.len;
    uint32_t n_stored = 0;
    int error;

    if (p->acked >= put->slice.base)
        n_stored = (uint32_t)(p->acked - put->slice.base + 1);
    error = batcher_filter(&p->batcher, &put->slice, n_stored, max, n_dropped);
    if (error)
        return error;
    shares_give_back(p, len - put->slice.view.len);
    *n_dropped -= n_stored;
    return 0;
}

/* The chain is the epoch's, and of what is left of the puts. */
static void chain_anew(struct producer *p)
{
    struct put *put;

    p->chain = 0;
    TAILQ_FOREACH (put, &p->puts, link) {
        put->chain = p->chain;
        p->chain = chain_append(p->chain, &put->slice.view);
    }
}

/* Nothing is in flight. What is stored already must not be part of the new epoch. */
static int begin_epoch(struct producer *p)
{
    struct put *front = TAILQ_FIRST(&p->puts);
    uint32_t n_dropped;
    int error;

    if (front && p->acked >= front->slice.base) {
        error = filter(p, front, SIZE_MAX, &n_dropped);
        if (error)
            return error;
    }
    chain_anew(p);
    p->epoch++;
    p->epoch_fresh = true;
    p->epoch_wanted = false;
    return 0;
}

/* An open whose last item was among those that moved up waits for the end of them. */
static void move_last(struct producer *p, const struct put *put, uint64_t base)
{
    struct writer *w;

    TAILQ_FOREACH (w, &p->writers, link) {
        if (w->last >= base && w->last < put->end)
            w->last = put->end;
    }
}

/* The front was refused and nothing is in flight: drop what is at fault. */
static int drop_refused(struct producer *p, struct put *put, int64_t now_us,
                        struct effects *effects)
{
    size_t max = put->refused == -EMSGSIZE ? (size_t)p->options.settings->own.max_item_size : 0;
    uint64_t base = p->acked + 1;
    uint32_t n_dropped = (uint32_t)(put->end - p->acked);
    int status = put->refused;

    if (max > 0 && filter(p, put, max, &n_dropped) < 0)
        return -ENOMEM;
    put->refused = 0;
    if (n_dropped == 0) { /* the lower limit is not known here yet */
        back_off(p, now_us);
        return -EAGAIN;
    }
    if (!put->counted)
        p->counters.put_errors += n_dropped;
    p->acked += n_dropped;
    p->epoch_wanted = true;
    producer_report(p, base, status, effects);
    if (p->acked == put->end)
        put_free(p, put);
    else
        move_last(p, put, base);
    return 0;
}

/* What is to be done before the front may go. False: nothing may go now. */
static bool settle_front(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct put *front;
    int error = 0;

    while ((front = TAILQ_FIRST(&p->puts)) && front->refused && !error) {
        if (p->n_sent > 0)
            return false;
        error = drop_refused(p, front, now_us, effects);
    }
    if (!error && p->epoch_wanted) {
        if (p->n_sent > 0)
            return false;
        take_stored(p, now_us, effects);
        error = begin_epoch(p);
    }
    if (error == -ENOMEM)
        p->hold_us = time_after(now_us, BACKOFF_FIRST_US);
    return !error;
}

/* A batch that was full because of the number of its items is a small one: more of them make as
 * many bytes in flight. */
static uint32_t window(const struct producer *p)
{
    if (p->epoch_fresh || p->acked < p->probe_until)
        return 1;
    return (uint32_t)p->options.settings->mount.max_in_flight;
}

/* The front may always go: what else is in flight may be held by the service until it comes. */
static bool window_open(const struct producer *p)
{
    const struct put *front = TAILQ_FIRST(&p->puts);

    return p->n_sent < window(p) || (front && front->state == PUT_WAITING);
}

static struct put *next_put(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct put *put;

    if (p->shut || p->ended == -ENOENT || p->doubled || p->hold_us > now_us)
        return NULL;
    p->hold_us = 0;
    if (!window_open(p) || !settle_front(p, now_us, effects))
        return NULL;
    TAILQ_FOREACH (put, &p->puts, link) {
        if (put->state == PUT_WAITING)
            return put;
    }
    return cut(p, now_us);
}

void producer_pump(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct put *put;

    while ((put = next_put(p, now_us, effects)))
        send(p, put, effects);
}

int64_t producer_pump_due(const struct producer *p)
{
    const struct mount_settings *settings = &p->options.settings->mount;

    if (p->shut || p->ended == -ENOENT || p->doubled)
        return TIME_FOREVER;
    if (p->hold_us > 0)
        return p->hold_us;
    if (p->n_sent >= window(p))
        return TIME_FOREVER;
    return batcher_due_us(&p->batcher, settings, p->awaited ? UINT64_MAX : p->send_up_to);
}

/* ---- answers ---- */

static void answered_short(struct producer *p, struct put *put, uint64_t last, bool full,
                           int64_t now_us, struct effects *effects)
{
    probe_until(p, put);
    if (last >= put->slice.base)
        put->stored = last;
    if (full) {
        hold(p, time_after(now_us, FULL_HOLD_US), now_us);
        if (p->options.settings->mount.on_full == ON_FULL_FAIL) {
            count_failed(p, put);
            producer_fail_waiters(p, last + 1, -ENOSPC, effects);
        }
        return;
    }
    if (last < p->acked)
        p->epoch_wanted = true;
    if (put->n_tries > 2)
        back_off(p, now_us);
}

/* Whether the items up to `last` that the service has under these numbers are this producer's, as
 * far as can be said: those that are acknowledged are gone. Chain 0: it does not say. */
static bool is_mine(const struct producer *p, const struct put *put, uint64_t last, uint64_t chain)
{
    const struct put *next;
    uint32_t n;

    while ((next = TAILQ_NEXT(put, link)) && last > put->end)
        put = next;
    while (last + 1 < put->slice.base && TAILQ_PREV(put, put_list, link))
        put = TAILQ_PREV(put, put_list, link);
    if (chain == 0 || last + 1 < put->slice.base)
        return true;
    if (last > put->end)
        return false; /* so much was never sent */
    n = (uint32_t)(last + 1 - put->slice.base);
    if (n < put->slice.view.n_items)
        return chain == chain_append_some(put->chain, &put->slice.view, n);
    next = TAILQ_NEXT(put, link);
    return chain == (next ? next->chain : p->chain);
}

static void doubled(struct producer *p, struct put *put, int64_t now_us)
{
    p->doubled = true;
    probe_until(p, put);
    back_off(p, now_us);
}

static void answered(struct producer *p, struct put *put, int64_t now_us, struct effects *effects)
{
    const struct request *request = &put->request;
    uint64_t last = request->out.put.last;

    if (!is_mine(p, put, last, request->out.put.chain)) {
        doubled(p, put, now_us);
        return;
    }
    if (last > p->known_last)
        p->known_last = last;
    p->counters.duplicates += request->out.put.n_repeats;
    if (last >= put->end)
        put->state = PUT_STORED;
    else
        answered_short(p, put, last, request->out.put.full, now_us, effects);
    advance(p, now_us, effects);
}

/* The store is full, or broken: once told to all opens concerned, always to those who wait. */
static void failed(struct producer *p, struct put *put, int error, int64_t now_us,
                   struct effects *effects)
{
    probe_until(p, put);
    back_off(p, now_us);
    count_failed(p, put);
    if (p->failing != error)
        producer_report(p, put->slice.base, error, effects);
    else
        producer_fail_waiters(p, put->slice.base, error, effects);
    p->failing = error;
    if (error == -ENOSPC)
        producer_end_parked(p, error, now_us, effects);
}

static void refused(struct producer *p, struct put *put, int error, int64_t now_us)
{
    bool final = error == -EMSGSIZE || error == -EACCES || put->n_tries >= REFUSED_TRIES_MAX;

    probe_until(p, put);
    if (final)
        put->refused = error;
    else
        back_off(p, now_us);
}

static void shut(struct producer *p, struct effects *effects)
{
    p->shut = true;
    producer_fail_waiters(p, 0, -ESHUTDOWN, effects);
}

void producer_put_answered(struct producer *p, struct put *put, int64_t now_us,
                           struct effects *effects)
{
    p->n_sent--;
    put->state = PUT_WAITING;
    request_release(&put->request);
    if (p->ended == -ENOENT) {
        put_free(p, put);
        return;
    }
    switch (put->request.status) {
    case 0:
        answered(p, put, now_us, effects);
        break;
    case -ENOSPC:
    case -EIO:
        failed(p, put, put->request.status, now_us, effects);
        break;
    case -EMSGSIZE:
    case -EACCES:
    case -EBADMSG:
    case -EPROTO:
    case -EINVAL:
        refused(p, put, put->request.status, now_us);
        break;
    case -ESHUTDOWN:
        shut(p, effects);
        break;
    case -ESTALE:
        p->epoch_wanted = true;
        probe_until(p, put);
        back_off(p, now_us);
        break;
    case -ENOTUNIQ:
        doubled(p, put, now_us);
        break;
    case -ENOENT: /* the end, which is the caller's */
        break;
    default: /* away, or out of memory: it may be better soon */
        probe_until(p, put);
        back_off(p, now_us);
    }
}
