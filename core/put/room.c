/*
 * Room for more: bytes of the queue's buffer and of the mount's, items of the queue itself.
 *
 * How many items the queue takes is what the service last said less what is on its way there. That
 * may be out of date, so while somebody waits for room the service is asked (ARM), which also makes
 * it say when there is room.
 */
#include "core/put/producer_state.h"

/* What an unfinished item gets at a time beyond the limits. */
#define ROOM_FLOOR ((size_t)64 << 10)

/* Other queues give room of the mount's budget back without a word to this one. */
#define BUDGET_POLL_US INT64_C(10000)

#define ARM_TRUST_US INT64_C(1000000) /* how long the service's word that it is full holds */
#define ARM_AGAIN_US INT64_C(10000)   /* not asked more often */

/* ---- of the buffers ---- */

/* Of the queue's buffer a user has a share as he has of the mount's. */
static size_t own_room(const struct producer *p, const struct share *share)
{
    int64_t free = p->options.settings->mount.buffer_bytes - (int64_t)p->counters.buffered_bytes;

    return (size_t)budget_share(share->user, free, (int64_t)share->bytes);
}

static bool holds_whole_items(const struct producer *p)
{
    return p->batcher.last > p->acked;
}

static bool has_floor(const struct producer *p, const struct writer *w)
{
    return !holds_whole_items(p) && (p->floor_bytes == 0 || p->floor_writer == w);
}

static size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t producer_room(const struct producer *p, const struct writer *w)
{
    size_t room = size_min(own_room(p, w->share), budget_room(w->share->user, BUDGET_BUFFERED));

    if (room == 0 && has_floor(p, w))
        room = size_min(ROOM_FLOOR, budget_room(w->share->user, BUDGET_FLOOR));
    return room;
}

static size_t take_floor(struct producer *p, struct writer *w, size_t want)
{
    size_t n = budget_take(w->share->user, BUDGET_FLOOR, size_min(want, ROOM_FLOOR));

    if (n == 0)
        return 0;
    p->floor_writer = w;
    p->floor_share = w->share;
    p->floor_bytes += n;
    return n;
}

size_t producer_reserve(struct producer *p, struct writer *w, size_t want)
{
    size_t own = own_room(p, w->share), n = 0;

    if (own > 0)
        n = budget_take(w->share->user, BUDGET_BUFFERED, size_min(want, own));
    if (n == 0 && has_floor(p, w))
        n = take_floor(p, w, want);
    share_add(p, w->share, n);
    return n;
}

void producer_reserve_all(struct producer *p, struct writer *w, size_t bytes)
{
    budget_force(w->share->user, BUDGET_BUFFERED, bytes);
    share_add(p, w->share, bytes);
}

uint64_t producer_item_room(const struct producer *p)
{
    const struct queue_state *state = p->options.state;
    uint64_t maxsize = (uint64_t)p->options.settings->own.maxsize;
    uint64_t used = state->depth + state->leased + state->delayed;

    if (maxsize == 0)
        return UINT64_MAX;
    used += p->batcher.last - p->acked;
    return used < maxsize ? maxsize - used : 0;
}

/* ---- of the queue at the service ---- */

static bool somebody_waits(const struct producer *p)
{
    return p->pollers.n > 0 || shares_wait(p);
}

void producer_ask_room(struct producer *p, int64_t now_us, struct effects *effects)
{
    if (!somebody_waits(p) || p->arm_sent || now_us < p->arm_next_us || p->shut || p->ended ||
        producer_item_room(p) > 0)
        return;
    p->arm = (struct request){
        .kind = REQUEST_ARM,
        .session = p->options.id,
        .in.arm.kinds = EVENT_ROOM,
        .done = p->options.put_done,
        .owner = p->options.put_owner,
    };
    p->arm_sent = true;
    effects_send(effects, &p->arm);
}

void producer_room_answered(struct producer *p, struct request *request, int64_t now_us)
{
    bool known = request->status == 0;

    p->arm_sent = false;
    p->armed = known && !(request->out.arm.kinds & EVENT_ROOM);
    p->arm_answered_us = now_us;
    p->arm_next_us = time_after(now_us, p->armed ? ARM_TRUST_US : ARM_AGAIN_US);
    request_release(request);
    if (known && !p->armed)
        producer_probe(p, now_us);
}

void producer_room_changed(struct producer *p)
{
    p->armed = false;
    p->arm_next_us = time_min(p->arm_next_us, time_after(p->arm_answered_us, ARM_AGAIN_US));
}

/* What is acknowledged here makes room in this queue's buffer: that is heard of. */
static bool waits_for_others(const struct producer *p, const struct writer *w)
{
    return producer_room(p, w) == 0 && !(own_room(p, w->share) == 0 && holds_whole_items(p));
}

/* Whether somebody waits for what other queues may give back. */
static bool waits_for_budget(const struct producer *p)
{
    const struct share *share;
    const struct op *op;

    op = TAILQ_FIRST(&p->pollers.ops);
    if (op && waits_for_others(p, op->subject))
        return true;
    TAILQ_FOREACH (share, &p->waiting, waiting) {
        op = TAILQ_FIRST(&share->parked.ops);
        if (op && waits_for_others(p, op->subject))
            return true;
    }
    return false;
}

int64_t producer_room_due(const struct producer *p)
{
    int64_t due_us = TIME_FOREVER;

    if (!somebody_waits(p))
        return due_us;
    if (producer_item_room(p) == 0 && !p->arm_sent && !p->shut)
        due_us = p->arm_next_us;
    if (waits_for_budget(p))
        due_us = time_min(due_us, time_after(p->now_us, BUDGET_POLL_US));
    return due_us;
}

bool producer_surely_full(const struct producer *p, int64_t now_us)
{
    return p->armed && now_us < time_after(p->arm_answered_us, ARM_TRUST_US) && p->n_sent == 0 &&
           (batcher_empty(&p->batcher) || p->hold_us > now_us);
}
