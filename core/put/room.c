/*
 * Room for more: bytes of the queue's buffer and of the mount's, items of the queue itself.
 *
 * How many items the queue takes is what the service last said less what is on its way there. That
 * may be out of date, so while somebody waits for room the service is asked (ARM), which also makes
 * it say when there is room.
 */
#include "core/put/producer_state.h"

/* Room that a queue without a whole item gets in any case. */
#define ROOM_FLOOR ((size_t)64 << 10)

/* Other queues give room of the mount's budget back without a word to this one. */
#define BUDGET_POLL_US INT64_C(10000)

#define ARM_TRUST_US INT64_C(1000000) /* how long the service's word that it is full holds */
#define ARM_AGAIN_US INT64_C(10000)   /* not asked more often */

/* ---- of the buffers ---- */

static size_t own_room(const struct producer *p)
{
    uint64_t limit = (uint64_t)p->options.settings->mount.buffer_bytes;

    return p->counters.buffered_bytes < limit ? limit - p->counters.buffered_bytes : 0;
}

static size_t budget_room(const struct producer *p)
{
    struct buffer_budget *budget = p->options.budget;
    int64_t room = budget->limit_bytes - atomic_load(&budget->used_bytes);

    return room > 0 ? (size_t)room : 0;
}

static bool holds_whole_items(const struct producer *p)
{
    return p->batcher.last > p->acked;
}

size_t producer_room(const struct producer *p)
{
    size_t own = own_room(p), shared = budget_room(p);
    size_t room = own < shared ? own : shared;

    return room == 0 && !holds_whole_items(p) ? ROOM_FLOOR : room;
}

/* As much of `want` as the mount has left; 0: nothing. */
static size_t take_of_budget(struct producer *p, size_t want)
{
    struct buffer_budget *budget = p->options.budget;
    int64_t used = atomic_load(&budget->used_bytes);
    size_t n;

    do {
        if (used >= budget->limit_bytes)
            return 0;
        n = (size_t)(budget->limit_bytes - used);
        if (n > want)
            n = want;
    } while (!atomic_compare_exchange_weak(&budget->used_bytes, &used, used + (int64_t)n));
    return n;
}

size_t producer_reserve(struct producer *p, size_t want)
{
    size_t own = own_room(p);
    size_t n = take_of_budget(p, want < own ? want : own);

    p->counters.buffered_bytes += n;
    if (n == 0 && !holds_whole_items(p)) {
        n = want < ROOM_FLOOR ? want : ROOM_FLOOR;
        producer_reserve_all(p, n);
    }
    return n;
}

void producer_reserve_all(struct producer *p, size_t bytes)
{
    atomic_fetch_add(&p->options.budget->used_bytes, (int64_t)bytes);
    p->counters.buffered_bytes += bytes;
}

void producer_unreserve(struct producer *p, size_t bytes)
{
    atomic_fetch_sub(&p->options.budget->used_bytes, (int64_t)bytes);
    p->counters.buffered_bytes -= bytes;
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
    return p->parked.n > 0 || p->pollers.n > 0;
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

int64_t producer_room_due(const struct producer *p)
{
    int64_t due_us = TIME_FOREVER;

    if (!somebody_waits(p))
        return due_us;
    if (producer_item_room(p) == 0 && !p->arm_sent && !p->shut)
        due_us = p->arm_next_us;
    if (budget_room(p) == 0)
        due_us = time_min(due_us, time_after(p->now_us, BUDGET_POLL_US));
    return due_us;
}

bool producer_surely_full(const struct producer *p, int64_t now_us)
{
    return p->armed && now_us < time_after(p->arm_answered_us, ARM_TRUST_US) && p->n_sent == 0 &&
           (batcher_empty(&p->batcher) || p->hold_us > now_us);
}
