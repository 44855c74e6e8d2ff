/*
 * The way of bytes from write(2) into the batcher. Each write first loses what belongs to an item
 * that was refused, then is taken piece by piece: as far as no item is too large, the queue has
 * room for the items and the buffer has room for the bytes. Whole items go to the batcher in one
 * piece, the tail to the writer's partial. What can't be taken now parks with a copy of its own, as
 * far as there is room for copies: a write may be answered short, and who wrote goes on with the
 * rest.
 *
 * An unfinished item keeps the framing that it began with, whatever the queue's becomes.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/put/producer_state.h"

#define PARTIAL_SMALLEST ((size_t)128)
#define PARTIAL_KEPT     ((size_t)4 << 10) /* a buffer up to this size waits for the next item */

/* How long a write waits to learn whether queue or store are really full. */
#define VERDICT_US INT64_C(1000000)

enum stop { STOP_NONE, STOP_SIZE, STOP_ITEMS, STOP_BUFFER, STOP_MEMORY };

/* What of a waiting write is kept where not all of it can be; as pipes, so much is not cut. */
#define PARKED_LEAST ((size_t)PIPE_BUF)

/* What a waiting write costs beside its bytes, about. */
#define PARKED_COST ((size_t)1024)

/* ---- the unfinished item ---- */

static int partial_add(struct writer *w, const uint8_t *data, size_t len)
{
    size_t need = w->partial_len + len;
    size_t cap = w->partial_cap < PARTIAL_SMALLEST ? PARTIAL_SMALLEST : w->partial_cap;
    uint8_t *partial;

    if (need > w->partial_cap) {
        while (cap < need)
            cap *= 2;
        partial = realloc(w->partial, cap);
        if (!partial)
            return -ENOMEM;
        w->partial = partial;
        w->partial_cap = cap;
    }
    memcpy(w->partial + w->partial_len, data, len);
    w->partial_len = need;
    w->share->unfinished_bytes += len;
    return 0;
}

/* Its bytes are whole now, or about to be given back. */
static void partial_clear(struct producer *p, struct writer *w)
{
    w->share->unfinished_bytes -= w->partial_len;
    w->partial_len = 0;
    if (p->floor_writer == w)
        p->floor_writer = NULL;
    if (w->partial_cap <= PARTIAL_KEPT)
        return;
    free(w->partial);
    w->partial = NULL;
    w->partial_cap = 0;
}

void producer_drop_partial(struct producer *p, struct writer *w)
{
    size_t len = w->partial_len;

    partial_clear(p, w);
    share_give_back(p, w->share, len);
}

/* The batcher has taken items of w since its last was `before`. */
static void note_items(struct producer *p, struct writer *w, uint64_t before)
{
    if (p->batcher.last == before)
        return;
    p->counters.total_puts += p->batcher.last - before;
    w->last = p->batcher.last;
}

/* The partial and these bytes are one item. */
static int finish_item(struct producer *p, struct writer *w, const uint8_t *rest, size_t len,
                       int64_t now_us)
{
    uint64_t before = p->batcher.last;
    int error = batcher_append_item(&p->batcher, w->framing, w->partial, w->partial_len, rest, len,
                                    (size_t)p->options.settings->mount.batch_bytes, now_us);

    if (error)
        return error;
    note_items(p, w, before);
    return 0;
}

void producer_finish_partial(struct producer *p, struct writer *w, int64_t now_us)
{
    if (w->partial_len == 0)
        return;
    if (finish_item(p, w, NULL, 0, now_us) < 0) {
        p->counters.put_errors++;
        w->error = -ENOMEM;
        producer_drop_partial(p, w);
        return;
    }
    producer_reserve_all(p, w, batcher_item_bytes(w->framing, w->partial_len) - w->partial_len);
    partial_clear(p, w);
}

/* ---- taking bytes ---- */

/* What is left of a refused item goes the way of its beginning. Returns how much of data. */
static size_t skip_refused(struct writer *w, const uint8_t *data, size_t len)
{
    const uint8_t *end;

    if (!w->skipping || len == 0)
        return 0;
    if (w->framing == FRAMING_FILE)
        return len;
    end = memchr(data, framing_separator(w->framing), len);
    if (!end)
        return len;
    w->skipping = false;
    return (size_t)(end - data) + 1;
}

/* How many bytes there are before an item that is too large. Jumps from separator to separator at
 * the far end of what one item may take, so that nothing is done per item. */
static size_t before_too_large(const struct producer *p, const struct writer *w,
                               const uint8_t *data, size_t len)
{
    size_t max = (size_t)p->options.settings->own.max_item_size;
    size_t room = max > w->partial_len ? max - w->partial_len : 0;
    size_t start = 0;
    const uint8_t *end;

    if (w->framing == FRAMING_FILE)
        return len <= room ? len : 0;
    while (len - start > room) {
        end = memrchr(data + start, framing_separator(w->framing), room + 1);
        if (!end)
            return start;
        start = (size_t)(end - data) + 1;
        room = max;
    }
    return len;
}

/* How many bytes there are before an item that the queue has no room for. */
static size_t before_full(const struct producer *p, const struct writer *w, const uint8_t *data,
                          size_t len)
{
    uint64_t room = producer_item_room(p);
    const uint8_t *at = data;
    uint8_t separator;

    if (room == UINT64_MAX)
        return len;
    if (w->framing == FRAMING_FILE)
        return room > 0 || w->partial_len > 0 ? len : 0;
    separator = framing_separator(w->framing);
    if (count_byte(data, len, separator) <= room)
        return len;
    for (; room > 0; room--)
        at = (const uint8_t *)memchr(at, separator, len - (size_t)(at - data)) + 1;
    return (size_t)(at - data);
}

/* Up to and with the first separator, which is there. 0: out of memory. */
static size_t store_first(struct producer *p, struct writer *w, const uint8_t *data, size_t len,
                          int64_t now_us)
{
    const uint8_t *end = memchr(data, framing_separator(w->framing), len);
    size_t item_len = (size_t)(end - data);

    if (finish_item(p, w, data, item_len, now_us) < 0)
        return 0;
    partial_clear(p, w);
    return item_len + 1;
}

/* Store bytes that have their room. Returns how many: less than len where memory is out. */
static size_t store(struct producer *p, struct writer *w, const uint8_t *data, size_t len,
                    int64_t now_us)
{
    size_t batch_bytes = (size_t)p->options.settings->mount.batch_bytes;
    const uint8_t *last = NULL;
    uint64_t before = p->batcher.last;
    size_t whole, done = 0;

    if (w->framing != FRAMING_FILE)
        last = memrchr(data, framing_separator(w->framing), len);
    if (!last)
        return partial_add(w, data, len) < 0 ? 0 : len;
    whole = (size_t)(last - data) + 1;
    if (w->partial_len > 0) {
        done = store_first(p, w, data, len, now_us);
        if (done == 0)
            return 0;
        before = p->batcher.last;
    }
    done += batcher_append(&p->batcher, w->framing, data + done, whole - done, batch_bytes, now_us);
    note_items(p, w, before);
    if (done < whole || whole == len || partial_add(w, data + whole, len - whole) < 0)
        return done;
    return len;
}

/* One step of a write; *n: what was taken, 0 unless STOP_NONE. */
static enum stop take_step(struct producer *p, struct writer *w, const uint8_t *data, size_t len,
                           int64_t now_us, size_t *n)
{
    size_t room;

    *n = 0;
    len = before_too_large(p, w, data, len);
    if (len == 0)
        return STOP_SIZE;
    len = before_full(p, w, data, len);
    if (len == 0)
        return STOP_ITEMS;
    room = producer_reserve(p, w, len);
    if (room == 0)
        return STOP_BUFFER;
    *n = store(p, w, data, room, now_us);
    share_give_back(p, w->share, room - *n);
    return *n == 0 ? STOP_MEMORY : STOP_NONE;
}

static void op_advance(struct op *op, size_t n)
{
    op->data += n;
    op->len -= n;
    op->progress += n;
}

static void drop_skipped(struct producer *p, struct writer *w, struct op *op)
{
    if (w->partial_len == 0 && !w->skipping)
        w->framing = (enum framing)p->options.settings->own.framing;
    op_advance(op, skip_refused(w, op->data, op->len));
}

static enum stop take(struct producer *p, struct writer *w, struct op *op, int64_t now_us)
{
    enum stop stop = STOP_NONE;
    size_t n;

    drop_skipped(p, w, op);
    while (op->len > 0 && stop == STOP_NONE) {
        stop = take_step(p, w, op->data, op->len, now_us, &n);
        op_advance(op, n);
    }
    return stop;
}

/* ---- the end of a write ---- */

void producer_write_end(struct producer *p, struct op *op, int error, int64_t now_us,
                        struct effects *effects)
{
    struct writer *w = op->subject;

    if (op->progress == 0 && error < 0) {
        if (w->error == error)
            w->error = 0;
        effects_finish_locked(effects, op, error);
        return;
    }
    if (op->sync && w->last > p->acked && !p->ended) {
        op_take_locked(op);
        producer_wait(p, op, w->last, p->options.timeout_us, now_us, effects);
        return;
    }
    effects_finish_locked(effects, op, (ssize_t)op->progress);
}

/* The write begins with an item that is too large: forget what there was of it. */
static void refuse(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                   struct effects *effects)
{
    if (op->progress == 0) {
        producer_drop_partial(p, w);
        w->skipping =
            w->framing == FRAMING_FILE || !memchr(op->data, framing_separator(w->framing), op->len);
    }
    producer_write_end(p, op, -EMSGSIZE, now_us, effects);
}

/*
 * Full, and that is an error and not to be waited out: wait only for the service to confirm it.
 * True where the op has ended.
 */
static bool fail_full(struct producer *p, struct op *op, bool sure, int64_t now_us,
                      struct effects *effects)
{
    if (sure || op->nonblock) {
        producer_write_end(p, op, -ENOSPC, now_us, effects);
        return true;
    }
    if (op->verdict)
        return false;
    op->verdict = true;
    op->deadline_us = time_min(op->deadline_us, time_after(now_us, VERDICT_US));
    op->on_deadline = -ENOSPC;
    return false;
}

static bool wait_room(struct producer *p, struct op *op, int64_t now_us, struct effects *effects)
{
    if (op->nonblock) {
        producer_write_end(p, op, -EAGAIN, now_us, effects);
        return true;
    }
    op->verdict = false;
    op->deadline_us = time_after(op->since_us, p->options.settings->mount.put_timeout_us);
    op->on_deadline = -ETIMEDOUT;
    return false;
}

bool producer_write_try(struct producer *p, struct op *op, int64_t now_us, struct effects *effects)
{
    struct writer *w = op->subject;
    bool ended = true;

    if (p->failing == -ENOSPC) {
        producer_probe(p, now_us);
        return fail_full(p, op, false, now_us, effects);
    }
    switch (take(p, w, op, now_us)) {
    case STOP_NONE:
        producer_write_end(p, op, 0, now_us, effects);
        break;
    case STOP_SIZE:
        refuse(p, w, op, now_us, effects);
        break;
    case STOP_MEMORY:
        producer_write_end(p, op, -ENOMEM, now_us, effects);
        break;
    case STOP_ITEMS:
        p->send_up_to = p->batcher.last;
        if (p->options.settings->mount.on_full == ON_FULL_FAIL)
            ended = fail_full(p, op, producer_surely_full(p, now_us), now_us, effects);
        else
            ended = wait_room(p, op, now_us, effects);
        break;
    case STOP_BUFFER:
        ended = wait_room(p, op, now_us, effects);
        break;
    }
    return ended;
}

/* ---- write(2) ---- */

/* The copy that a waiting write has of its bytes. */
struct kept {
    struct budget_user *user; /* a reference */
    size_t cost;
    uint8_t data[];
};

static void kept_free(void *hold)
{
    struct kept *kept = hold;

    budget_give_back(kept->user, BUDGET_PARKED, kept->cost);
    budget_user_unref(kept->user);
    free(kept);
}

/* Room for a copy of `len` bytes, or of a few: those have half of the room to themselves, so that
 * many can wait beside some that write much. How many; 0: none. */
static size_t reserve_kept(struct budget_user *user, size_t len)
{
    size_t half = budget_room(user, BUDGET_PARKED) / 2;

    if (len > PARKED_LEAST && len + PARKED_COST > half)
        len = PARKED_LEAST;
    return budget_take_all(user, BUDGET_PARKED, len + PARKED_COST) ? len : 0;
}

/* The rest of op's bytes, or its first few, are its own from now on. 0, -ENOBUFS, -ENOMEM. */
static int keep(struct op *op, struct budget_user *user)
{
    size_t len = reserve_kept(user, op->len);
    struct kept *kept;

    if (len == 0) {
        budget_refused(user);
        return -ENOBUFS;
    }
    kept = malloc(sizeof(*kept) + len);
    if (!kept) {
        budget_give_back(user, BUDGET_PARKED, len + PARKED_COST);
        return -ENOMEM;
    }
    kept->user = budget_user_ref(user);
    kept->cost = len + PARKED_COST;
    memcpy(kept->data, op->data, len);
    op->data = kept->data;
    op->len = len;
    op->hold = kept;
    op->unhold = kept_free;
    return 0;
}

static void park(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                 struct effects *effects)
{
    int error = keep(op, w->share->user);

    if (error) {
        producer_write_end(p, op, error, now_us, effects);
        return;
    }
    p->counters.room_waits++;
    if (!share_park(p, w->share, op))
        effects_finish_locked(effects, op, op_interrupted(op));
    else
        producer_note_deadline(p, op);
}

/* An error is told now: the write is refused as a whole, whatever it holds. */
static void tell(struct producer *p, struct writer *w, struct op *op, int error, int64_t now_us,
                 struct effects *effects)
{
    if (w->skipping && w->framing != FRAMING_FILE && op->len > 0 &&
        memchr(op->data, framing_separator(w->framing), op->len))
        w->skipping = false;
    producer_write_end(p, op, error, now_us, effects);
}

/* As pipes do: a small write that may not wait is taken whole or not at all. */
static bool would_be_cut(const struct producer *p, const struct op *op)
{
    return op->nonblock && op->len <= PIPE_BUF && op->len > producer_room(p, op->subject);
}

void producer_write_begin(struct producer *p, struct writer *w, struct op *op, int64_t now_us,
                          struct effects *effects)
{
    bool behind;

    op->subject = w;
    op->since_us = now_us;
    op->deadline_us = time_after(now_us, p->options.settings->mount.put_timeout_us);
    op->on_deadline = -ETIMEDOUT;
    if (w->error || p->ended) {
        tell(p, w, op, w->error ? w->error : p->ended, now_us, effects);
        return;
    }
    drop_skipped(p, w, op);
    behind = w->share->parked.n > 0 && p->failing != -ENOSPC;
    if (op->len == 0)
        producer_write_end(p, op, 0, now_us, effects);
    else if (op->nonblock && (behind || would_be_cut(p, op)))
        producer_write_end(p, op, -EAGAIN, now_us, effects);
    else if (behind || !producer_write_try(p, op, now_us, effects))
        park(p, w, op, now_us, effects);
}

/* ---- writes that wait ---- */

void producer_end_parked(struct producer *p, int error, int64_t now_us, struct effects *effects)
{
    struct share *share;
    struct op *op, *next;

    TAILQ_FOREACH (share, &p->waiting, waiting) {
        TAILQ_FOREACH_SAFE (op, &share->parked.ops, link, next)
            producer_write_end(p, op, error, now_us, effects);
    }
}

void producer_expire_parked(struct producer *p, int64_t now_us, struct effects *effects)
{
    struct share *share;
    struct op *op, *next;

    TAILQ_FOREACH (share, &p->waiting, waiting) {
        TAILQ_FOREACH_SAFE (op, &share->parked.ops, link, next) {
            if (op->deadline_us <= now_us)
                producer_write_end(p, op, op->on_deadline, now_us, effects);
            else
                producer_note_deadline(p, op);
        }
    }
}
