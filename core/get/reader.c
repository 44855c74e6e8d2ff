/*
 * What one read is given. A reader's position is the offset behind the last byte it was given; a
 * read there gets new items and thereby acknowledges what was given before, one inside the
 * last portion gets those bytes again.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/get/consumer_state.h"

/* A portion of so few bytes is a copy, so that it does not keep a whole answer in memory; up to the
 * second where that would be much larger. */
#define COPY_BYTES      ((size_t)4 << 10)
#define COPY_BYTES_MOST ((size_t)64 << 10)
#define COPY_PART       8

/* How much one answer to a read may be. A read(2) that is longer than what arrives in one piece
 * goes on with the next piece where the first came out full: that would wait, with what the first
 * was given in hand. So a piece is never filled but where the next cannot wait. */
static size_t room_of(const struct op *op)
{
    return op->len > CONSUMER_PIECE_MIN ? op->len - 1 : op->len;
}

/*
 * To read at the current position by io_uring (libuv does, up to 1.48) never moves it on a file of
 * direct I/O: the kernel's fuse_direct_IO() counts in a copy. So such a program reads the beginning
 * over and over, and would for ever; whoever seeks back to it does so a few times. Then it gets an
 * error, and what it was given goes back.
 */
#define AGAIN_MAX 16

/* ---- portions ---- */

static struct portion *portion_new(size_t n_ranges, size_t n_copy)
{
    size_t head = sizeof(struct portion) + n_ranges * sizeof(struct settlement);
    struct portion *portion = malloc(head + n_copy);

    if (!portion)
        return NULL;
    atomic_init(&portion->refs, 1);
    portion->len = 0;
    portion->cost = head + n_copy;
    portion->n_iov = portion->n_chunks = 0;
    portion->settled = false;
    portion->n_ranges = n_ranges;
    return portion;
}

static void portion_unref(struct portion *portion)
{
    size_t i;

    if (!portion || atomic_fetch_sub_explicit(&portion->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (i = 0; i < portion->n_chunks; i++)
        chunk_unref(portion->chunks[i]);
    free(portion);
}

static void portion_unhold(void *portion)
{
    portion_unref(portion);
}

/* Takes the reference of `chunk`; `copy` is room behind the ranges, or NULL. */
static void portion_add(struct portion *portion, struct chunk *chunk, const uint8_t *data,
                        size_t len, uint8_t *copy)
{
    struct iovec *iov = &portion->iov[portion->n_iov++];

    iov->iov_len = len;
    portion->len += len;
    if (copy) {
        memcpy(copy, data, len);
        iov->iov_base = copy;
        chunk_unref(chunk);
        return;
    }
    iov->iov_base = (void *)(uintptr_t)data;
    if (portion->n_chunks == 0 || portion->chunks[portion->n_chunks - 1] != chunk)
        portion->cost += chunk_bytes(chunk);
    portion->chunks[portion->n_chunks++] = chunk;
}

/* Answer with the portion's bytes from `skip` on, as many as the read has room for. */
static void portion_answer(struct portion *portion, size_t skip, struct op *op,
                           struct effects *effects)
{
    size_t i, given = 0;

    op->n_iov = 0;
    for (i = 0; i < portion->n_iov && given < op->len; i++) {
        struct iovec part = portion->iov[i];

        if (skip >= part.iov_len) {
            skip -= part.iov_len;
            continue;
        }
        part.iov_base = (uint8_t *)part.iov_base + skip;
        part.iov_len -= skip;
        skip = 0;
        if (part.iov_len > op->len - given)
            part.iov_len = op->len - given;
        given += part.iov_len;
        op->iov[op->n_iov++] = part;
    }
    atomic_fetch_add_explicit(&portion->refs, 1, memory_order_relaxed);
    op->hold = portion;
    op->unhold = portion_unhold;
    effects_finish_locked(effects, op, (ssize_t)given);
}

/* ---- what it costs ---- */

/* The reader holds so much from now on. False: its user may not; nothing has changed. Less is
 * always possible. */
static bool reader_hold(struct reader *r, size_t bytes)
{
    if (bytes > r->held_bytes && !budget_take_all(r->user, BUDGET_FETCHED, bytes - r->held_bytes)) {
        budget_refused(r->user);
        return false;
    }
    if (bytes < r->held_bytes)
        budget_give_back(r->user, BUDGET_FETCHED, r->held_bytes - bytes);
    r->held_bytes = bytes;
    return true;
}

/* What it holds may be less than it was. */
static void reader_hold_less(struct reader *r)
{
    const struct portion *last = r->last;
    size_t bytes = last ? last->cost : 0;

    if (r->partial.chunk && !(last && last->n_chunks == 1 && last->chunks[0] == r->partial.chunk))
        bytes += chunk_bytes(r->partial.chunk);
    if (bytes < r->held_bytes)
        reader_hold(r, bytes);
}

static bool is_copied(const struct chunk *chunk, size_t len)
{
    return len <= COPY_BYTES || (len <= COPY_BYTES_MOST && len < chunk_bytes(chunk) / COPY_PART);
}

static bool cut_is_copied(const struct cut *cut)
{
    return cut->n_pieces == 1 && is_copied(cut->pieces[0].chunk, cut->len);
}

/* What a reader holds that was given the cut. */
static size_t cost_of(const struct cut *cut)
{
    size_t cost = sizeof(struct portion) + cut->n_ranges * sizeof(struct settlement);

    if (cut_is_copied(cut)) /* rounded: as a rule the next one costs the same */
        return (cost + cut->len + COPY_BYTES) & ~(COPY_BYTES - 1);
    for (size_t i = 0; i < cut->n_pieces; i++) {
        if (i == 0 || cut->pieces[i].chunk != cut->pieces[i - 1].chunk)
            cost += chunk_bytes(cut->pieces[i].chunk);
    }
    return cost;
}

static void note_taker(struct consumer *c, const struct reader *r)
{
    if (c->taker == r->user)
        return;
    budget_user_unref(c->taker);
    c->taker = budget_user_ref(r->user);
}

/* ---- settling ---- */

void reader_acknowledge(struct reader *r, int64_t now_us)
{
    struct portion *portion = r->last;
    size_t i;

    if (!portion || portion->settled)
        return;
    portion->settled = true;
    for (i = 0; i < portion->n_ranges; i++)
        ack_queue_add(&r->consumer->acks, &portion->ranges[i], now_us);
}

static void drop_partial(struct reader *r)
{
    chunk_unref(r->partial.chunk);
    r->partial.chunk = NULL;
    reader_hold_less(r);
    if (r->left != READER_UNLIMITED)
        r->left++;
}

void reader_return_partial(struct reader *r, int64_t now_us)
{
    struct consumer *c = r->consumer;

    if (!r->partial.chunk)
        return;
    if (!r->partial.is_void) {
        r->partial.range.verb = SETTLE_RETURN;
        ack_queue_add(&c->acks, &r->partial.range, now_us);
        c->given_back = ack_queue_mark(&c->acks);
        if (r->leaving && c->peer)
            c->peer->peers_mark = c->given_back;
        c->discard = true;
        c->armed = false;
    }
    drop_partial(r);
}

uint64_t reader_forget(struct reader *r)
{
    struct portion *portion = r->last;
    uint64_t n = 0;

    if (r->partial.chunk && !r->partial.is_void) {
        ack_queue_unreserve(&r->consumer->acks, 1);
        r->partial.is_void = true;
        if (!r->partial.begun)
            drop_partial(r);
    }
    if (!portion || portion->settled)
        return 0;
    portion->settled = true;
    ack_queue_unreserve(&r->consumer->acks, portion->n_ranges);
    for (size_t i = 0; i < portion->n_ranges; i++)
        n += portion->ranges[i].to - portion->ranges[i].from;
    return n;
}

/* What was given goes back instead, uncounted. */
static void return_last(struct reader *r, int64_t now_us)
{
    struct portion *portion = r->last;
    struct consumer *c = r->consumer;

    reader_return_partial(r, now_us);
    if (portion->settled)
        return;
    portion->settled = true;
    for (size_t i = 0; i < portion->n_ranges; i++) {
        portion->ranges[i].verb = SETTLE_RETURN;
        ack_queue_add(&c->acks, &portion->ranges[i], now_us);
    }
    c->given_back = ack_queue_mark(&c->acks);
    c->discard = true;
    c->armed = false;
}

void reader_leave(struct reader *r, int64_t now_us)
{
    struct consumer *c = r->consumer;

    c->n_leaving += !r->leaving;
    c->leaving_us = now_us + LEAVING_US;
    r->leaving = true;
}

void reader_stay(struct reader *r)
{
    struct consumer *c = r->consumer;

    if (!r->leaving)
        return;
    r->leaving = false;
    c->n_leaving--;
    c->peer_needs_step = true;
}

void reader_free(struct reader *r)
{
    portion_unref(r->last);
    chunk_unref(r->partial.chunk);
    reader_hold(r, 0);
    budget_user_unref(r->user);
    free(r);
}

/* ---- giving ---- */

int64_t reader_timeout(const struct reader *r)
{
    /* A time of its own is for the first item; forever never ends. */
    if (r->timeout_us >= 0 && r->timeout_us != TIME_FOREVER && r->last)
        return 0;
    /* The lease of what was claimed runs meanwhile. */
    if (consumer_is_claims(r->consumer) && r->last)
        return 0;
    if (r->timeout_us >= 0)
        return r->timeout_us;
    return r->consumer->options.settings->mount.get_timeout_us;
}

static bool reader_at_end(const struct reader *r)
{
    return !r->partial.chunk && r->line_left == 0 && (r->ended || r->left == 0);
}

int64_t reader_size(const struct reader *r)
{
    if (consumer_is_claims(r->consumer) || (r->left > 0 && !r->ended))
        return 0;
    return r->pos + (r->partial.chunk ? (int64_t)r->partial.len : 0);
}

bool consumer_readable(const struct consumer *c, const struct reader *r)
{
    return c->ended || r->partial.chunk || r->line_left > 0 || reader_at_end(r) ||
           reader_timeout(r) == 0 || !pool_empty(&c->pool) || c->options.state->depth > 0;
}

static void give(struct reader *r, struct portion *portion, struct op *op, struct effects *effects)
{
    portion_unref(r->last);
    r->last = portion;
    r->n_again = 0;
    r->pos += (int64_t)portion->len;
    portion_answer(portion, 0, op, effects);
}

/* The next bytes of an item that the reader has; its end carries the acknowledgement. */
static void give_partial(struct reader *r, struct op *op, struct effects *effects)
{
    bool last = r->partial.file || r->left == 0;
    size_t skip = op->offset > r->pos ? (size_t)(op->offset - r->pos) : 0;
    size_t rest = r->partial.len - skip;
    size_t room = rest == op->len && !last ? room_of(op) : op->len;
    size_t len = rest < room ? rest : room;
    bool whole = len == rest;
    bool copies = is_copied(r->partial.chunk, len);
    struct portion *portion = portion_new(whole, copies ? len : 0);

    if (!portion) {
        effects_finish_locked(effects, op, -ENOMEM);
        return;
    }
    chunk_ref(r->partial.chunk);
    portion_add(portion, r->partial.chunk, r->partial.data + skip, len,
                copies ? (uint8_t *)&portion->ranges[portion->n_ranges] : NULL);
    r->pos += (int64_t)skip;
    r->partial.data += skip + len;
    r->partial.len -= skip + len;
    r->partial.begun = true;
    if (whole) {
        portion->ranges[0] = r->partial.range;
        portion->settled = r->partial.is_void;
        chunk_unref(r->partial.chunk);
        r->partial.chunk = NULL;
        r->ended = r->ended || r->partial.file;
        r->consumer->counters.total_gets++;
    }
    give(r, portion, op, effects);
    reader_hold_less(r);
}

static void begin_partial(struct reader *r, const struct cut *cut)
{
    const struct cut_piece *piece = &cut->pieces[0];

    pool_take(&r->consumer->pool, cut);
    r->partial.chunk = piece->chunk;
    r->partial.data = piece->data;
    r->partial.len = piece->len;
    r->partial.file = cut->file;
    r->partial.begun = r->partial.is_void = false;
    r->partial.range = piece_range(piece, 0, SETTLE_ACK);
    if (r->left != READER_UNLIMITED)
        r->left--;
}

static void give_cut(struct reader *r, const struct cut *cut, struct portion *portion,
                     struct op *op, struct effects *effects)
{
    bool copies = cut_is_copied(cut);
    size_t i, j, n_ranges = 0;

    pool_take(&r->consumer->pool, cut);
    for (i = 0; i < cut->n_pieces; i++) {
        const struct cut_piece *piece = &cut->pieces[i];

        for (j = 0; j < piece_n_ranges(piece); j++)
            portion->ranges[n_ranges++] = piece_range(piece, j, SETTLE_ACK);
        portion_add(portion, piece->chunk, piece->data, piece->len,
                    copies ? (uint8_t *)&portion->ranges[portion->n_ranges] : NULL);
    }
    r->ended = r->ended || cut->file;
    r->consumer->counters.total_gets += cut->n_items;
    if (r->left != READER_UNLIMITED)
        r->left -= cut->n_items;
    give(r, portion, op, effects);
}

/* Carry out a cut that is not empty. */
static void give_from_pool(struct reader *r, const struct cut *cut, struct op *op, int64_t now_us,
                           struct effects *effects)
{
    struct consumer *c = r->consumer;
    bool large = op->len >= CONSUMER_BULK_READ;
    bool copies = cut_is_copied(cut);

    if (!reader_hold(r, cost_of(cut))) {
        ack_queue_unreserve(&c->acks, cut->n_ranges);
        effects_finish_locked(effects, op, -ENOBUFS);
        return;
    }
    note_taker(c, r);
    if (cut->len > room_of(op)) {
        begin_partial(r, cut);
        give_partial(r, op, effects);
    } else {
        struct portion *portion = portion_new(cut->n_ranges, copies ? cut->len : 0);

        if (!portion) {
            ack_queue_unreserve(&c->acks, cut->n_ranges);
            effects_finish_locked(effects, op, -ENOMEM);
            return;
        }
        give_cut(r, cut, portion, op, effects);
    }
    c->streaming =
        large && !cut->file && r->left == READER_UNLIMITED && now_us - c->taken_us <= POOL_IDLE_US;
    c->slow = c->slow && !c->streaming;
    if (!large && now_us - c->touched_us > ACK_QUEUE_LINGER_US)
        c->growth = 1;
    c->touched_us = c->taken_us = now_us;
}

/* ---- giving ids ---- */

static struct portion *text_new(size_t len)
{
    struct portion *portion = portion_new(0, len);

    if (!portion)
        return NULL;
    portion->n_iov = 1;
    portion->iov[0].iov_base = portion->ranges;
    return portion;
}

static void give_text(struct reader *r, struct portion *text, size_t len, struct op *op,
                      struct effects *effects)
{
    text->len = text->iov[0].iov_len = len;
    give(r, text, op, effects);
}

/* What a small read left of a line. */
static void give_rest(struct reader *r, struct op *op, struct effects *effects)
{
    size_t len = r->line_left < op->len ? r->line_left : op->len;
    struct portion *text = text_new(len);

    if (!text) {
        effects_finish_locked(effects, op, -ENOMEM);
        return;
    }
    memcpy(text->ranges, r->line + CLAIM_LINE - r->line_left, len);
    r->line_left -= len;
    give_text(r, text, len, op, effects);
}

static size_t lines_at_most(const struct reader *r, const struct op *op)
{
    uint64_t n = op->len < CONSUMER_BULK_READ ? 1 : op->len / CLAIM_LINE;

    n = n < r->left ? n : r->left;
    return n < CLAIM_LINES_MAX ? n : CLAIM_LINES_MAX;
}

static void give_ids(struct reader *r, struct portion *text, size_t n, struct op *op,
                     int64_t now_us, struct effects *effects)
{
    struct consumer *c = r->consumer;
    size_t len = n * CLAIM_LINE;

    c->touched_us = c->taken_us = now_us;
    c->counters.total_gets += n;
    if (r->left != READER_UNLIMITED)
        r->left -= n;
    if (len > op->len) {
        memcpy(r->line, text->ranges, CLAIM_LINE);
        r->line_left = len - op->len;
        len = op->len;
    }
    give_text(r, text, len, op, effects);
}

/* As read_on(). */
static bool claim_on(struct reader *r, struct op *op, int64_t now_us, struct effects *effects)
{
    struct consumer *c = r->consumer;
    struct portion *text;
    ssize_t n;

    if (r->line_left > 0) {
        give_rest(r, op, effects);
        return true;
    }
    if (c->returning || pool_empty(&c->pool) || consumer_held_up(c))
        return false;
    text = text_new(lines_at_most(r, op) * CLAIM_LINE);
    n = !text ? -ENOMEM : !reader_hold(r, text->cost) ? -ENOBUFS : 0;
    if (n == 0)
        n = claim_fill(c, (char *)text->ranges, lines_at_most(r, op), now_us);
    if (n > 0) {
        give_ids(r, text, (size_t)n, op, now_us, effects);
        return true;
    }
    portion_unref(text);
    if (n == -EAGAIN)
        ack_queue_hurry(&c->acks);
    if (n != -EAGAIN && n != -ENOENT)
        effects_finish_locked(effects, op, n);
    return n != -EAGAIN && n != -ENOENT;
}

/* Plan what is taken from the pool, with room for its settlements. 0; -ENOENT: nothing is there to
 * take now; -EAGAIN: settlements must be answered before more is lent; -ENOMEM. */
static int cut_next(struct consumer *c, size_t room, uint64_t max_items, struct cut *cut)
{
    int error;

    pool_cut(&c->pool, room, max_items, cut);
    if (cut->n_items == 0 || c->returning || consumer_held_up(c))
        return -ENOENT;
    error = ack_queue_reserve(&c->acks, cut->n_ranges);
    if (error == -EAGAIN)
        ack_queue_hurry(&c->acks);
    return error;
}

/* New bytes. False: they have to be waited for. */
static bool read_on(struct reader *r, struct op *op, int64_t now_us, struct effects *effects)
{
    struct consumer *c = r->consumer;
    uint64_t max_items = op->len >= CONSUMER_BULK_READ ? r->left : 1;
    struct cut cut;
    int error;

    if (r->partial.chunk) {
        give_partial(r, op, effects);
        return true;
    }
    error = cut_next(c, room_of(op), max_items, &cut);
    if (error == -ENOENT || error == -EAGAIN)
        return false;
    if (error)
        effects_finish_locked(effects, op, error);
    else
        give_from_pool(r, &cut, op, now_us, effects);
    return true;
}

/* Its other reads that wait, now that it has an item. */
static void serve_others(struct reader *r, int64_t now_us, struct effects *effects)
{
    struct op *op, *after;

    for (op = TAILQ_FIRST(&r->consumer->waiting.ops); op; op = after) {
        after = TAILQ_NEXT(op, link);
        if (op->subject == r)
            reader_read(r, op, now_us, effects);
    }
}

/* As read_on(): an item is the reader's now, and no byte of it is given. */
static bool peek(struct reader *r, struct op *op, int64_t now_us, struct effects *effects)
{
    struct consumer *c = r->consumer;
    struct cut cut;
    int error;

    if (r->left != 1 || r->ended || r->partial.chunk || r->reads_only || consumer_is_claims(c)) {
        effects_finish_locked(effects, op, (ssize_t)reader_size(r));
        return true;
    }
    error = cut_next(c, 0, 1, &cut);
    if (error == -ENOENT || error == -EAGAIN) {
        if (consumer_is_away(c, now_us))
            effects_finish_locked(effects, op, -ETIMEDOUT);
        return consumer_is_away(c, now_us);
    }
    if (error) {
        effects_finish_locked(effects, op, error);
        return true;
    }
    if (!reader_hold(r, cost_of(&cut) + (r->last ? r->last->cost : 0))) {
        ack_queue_unreserve(&c->acks, cut.n_ranges);
        effects_finish_locked(effects, op, -ENOBUFS);
        return true;
    }
    begin_partial(r, &cut);
    c->touched_us = c->taken_us = now_us;
    c->look = true; /* it is readable */
    effects_finish_locked(effects, op, (ssize_t)reader_size(r));
    serve_others(r, now_us, effects);
    return true;
}

/* Bytes that were given last. */
static bool read_again(struct reader *r, size_t skip, struct op *op, int64_t now_us,
                       struct effects *effects)
{
    r->n_again += skip == 0;
    if (r->n_again <= AGAIN_MAX) {
        portion_answer(r->last, skip, op, effects);
        return true;
    }
    return_last(r, now_us);
    effects_finish_locked(effects, op, -EINVAL);
    return true;
}

/* A read that does not go on where the last one ended: ahead only, and only where the size is known
 * and may have been shown. */
static bool read_elsewhere(struct reader *r, struct op *op, struct effects *effects)
{
    int64_t size = reader_size(r);

    if (op->offset > r->pos && op->offset < size)
        give_partial(r, op, effects);
    else
        effects_finish_locked(effects, op, op->offset > r->pos && size > 0 ? 0 : -EINVAL);
    return true;
}

bool reader_read(struct reader *r, struct op *op, int64_t now_us, struct effects *effects)
{
    int64_t last = r->pos - (r->last ? (int64_t)r->last->len : 0);

    if (op->offset == OP_PEEK)
        return peek(r, op, now_us, effects);
    if (op->len == 0) {
        effects_finish_locked(effects, op, 0);
        return true;
    }
    if (op->offset >= last && op->offset < r->pos)
        return read_again(r, (size_t)(op->offset - last), op, now_us, effects);
    if (op->offset != r->pos && op->offset != OP_GO_ON)
        return read_elsewhere(r, op, effects);
    reader_acknowledge(r, now_us);
    if (reader_at_end(r)) {
        effects_finish_locked(effects, op, 0);
        return true;
    }
    if (consumer_is_claims(r->consumer))
        return claim_on(r, op, now_us, effects);
    return read_on(r, op, now_us, effects);
}
