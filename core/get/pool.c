#include "core/get/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

/* Up to so many items are found one by one, more by looking for the last that fits. */
#define WALK_ITEMS 64

struct chunk *chunk_new(void)
{
    struct chunk *chunk = calloc(1, sizeof(*chunk));

    if (chunk)
        atomic_init(&chunk->refs, 1);
    return chunk;
}

void chunk_ref(struct chunk *chunk)
{
    atomic_fetch_add_explicit(&chunk->refs, 1, memory_order_relaxed);
}

void chunk_unref(struct chunk *chunk)
{
    if (!chunk || atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) != 1)
        return;
    chunk_pay_no_more(chunk);
    request_release(&chunk->request);
    free(chunk);
}

/* ---- what it costs ---- */

bool chunk_pay(struct chunk *chunk, struct budget_user *user, size_t bytes)
{
    assert(!chunk->payer);
    if (!budget_take_all(user, BUDGET_FETCHED, bytes))
        return false;
    chunk->payer = budget_user_ref(user);
    chunk->paid_bytes = bytes;
    return true;
}

void chunk_pay_answer(struct chunk *chunk)
{
    size_t bytes = chunk_bytes(chunk);

    if (!chunk->payer)
        return;
    if (bytes > chunk->paid_bytes)
        budget_force(chunk->payer, BUDGET_FETCHED, bytes - chunk->paid_bytes);
    else
        budget_give_back(chunk->payer, BUDGET_FETCHED, chunk->paid_bytes - bytes);
    chunk->paid_bytes = bytes;
}

void chunk_pay_no_more(struct chunk *chunk)
{
    if (!chunk->payer)
        return;
    budget_give_back(chunk->payer, BUDGET_FETCHED, chunk->paid_bytes);
    budget_user_unref(chunk->payer);
    chunk->payer = NULL;
    chunk->paid_bytes = 0;
}

size_t chunk_bytes(const struct chunk *chunk)
{
    return chunk->request.out.get.len;
}

/* ---- places in a chunk ---- */

static const struct grant *grant_at(const struct request *get, size_t i)
{
    return &get->out.get.grants[i];
}

static size_t n_grants(const struct request *get)
{
    return get->out.get.n_grants;
}

/* Where the bytes of a grant's items begin and end: a length table goes before them. */
static size_t grant_begin(const struct grant *g)
{
    return g->offset + (g->framing == FRAMING_FILE ? (size_t)4 * (g->to - g->from) : 0);
}

static size_t grant_end(const struct grant *g)
{
    return g->offset + g->len;
}

static void cursor_enter(const struct request *get, struct cursor *at, size_t grant)
{
    at->grant = grant;
    if (grant == n_grants(get))
        return;
    at->index = grant_at(get, grant)->from;
    at->offset = grant_begin(grant_at(get, grant));
}

/* Where the item at the cursor ends. The last one ends with its grant, whatever its bytes. */
static size_t item_end(const struct request *get, const struct cursor *at)
{
    const struct grant *g = grant_at(get, at->grant);
    const uint8_t *data = get->out.get.data;
    const uint8_t *separator;

    if (at->index + 1 == g->to)
        return grant_end(g);
    if (g->framing == FRAMING_FILE)
        return at->offset + get_le32(data + g->offset + (size_t)4 * (at->index - g->from));
    separator = memchr(data + at->offset, framing_separator(g->framing), grant_end(g) - at->offset);
    return separator ? (size_t)(separator - data) + 1 : grant_end(g);
}

static void cursor_step(const struct request *get, struct cursor *at)
{
    size_t end = item_end(get, at);

    if (++at->index == grant_at(get, at->grant)->to) {
        cursor_enter(get, at, at->grant + 1);
        return;
    }
    at->offset = end;
}

void grants_begin(const struct request *get, struct cursor *at)
{
    cursor_enter(get, at, 0);
}

bool grants_next(const struct request *get, struct cursor *at, struct got_item *item)
{
    const struct grant *g;

    if (at->grant == n_grants(get))
        return false;
    g = grant_at(get, at->grant);
    item->grant = g;
    item->index = at->index;
    item->data = get->out.get.data + at->offset;
    item->len = item_end(get, at) - at->offset;
    if (g->framing != FRAMING_FILE && item->len > 0)
        item->len--;
    cursor_step(get, at);
    return true;
}

/* ---- what comes from outside ---- */

static bool table_adds_up(const struct grant *g, const uint8_t *data)
{
    size_t left, table = (size_t)4 * (g->to - g->from), i;

    if (table > g->len)
        return false;
    left = g->len - table;
    for (i = 0; i < table; i += 4) {
        size_t len = get_le32(data + g->offset + i);

        if (len > left)
            return false;
        left -= len;
    }
    return left == 0;
}

/* That there are as many separators as items would cost a pass over all bytes; a count that is
 * wrong is contained by item_end() and grant_fit(). */
static bool grant_is_sound(const struct grant *g, const uint8_t *data, size_t len)
{
    if (g->framing > FRAMING_FILE || g->from >= g->to || g->offset > len ||
        g->len > len - g->offset)
        return false;
    if (g->framing == FRAMING_FILE)
        return table_adds_up(g, data);
    return g->len >= g->to - g->from && data[grant_end(g) - 1] == framing_separator(g->framing);
}

int grants_check(const struct request *get)
{
    size_t i;

    if (n_grants(get) > REQUEST_GRANTS_MAX)
        return -EPROTO;
    for (i = 0; i < n_grants(get); i++)
        if (!grant_is_sound(grant_at(get, i), get->out.get.data, get->out.get.len))
            return -EPROTO;
    return 0;
}

int chunk_open(struct chunk *chunk)
{
    int error = grants_check(&chunk->request);

    if (!error)
        cursor_enter(&chunk->request, &chunk->at, 0);
    return error;
}

uint64_t chunk_items(const struct chunk *chunk)
{
    uint64_t n = 0;
    size_t i;

    for (i = 0; i < n_grants(&chunk->request); i++)
        n += grant_at(&chunk->request, i)->to - grant_at(&chunk->request, i)->from;
    return n;
}

struct cut_piece chunk_rest(struct chunk *chunk)
{
    struct cut_piece rest = {.chunk = chunk, .begin = chunk->at};
    size_t i;

    cursor_enter(&chunk->request, &rest.end, n_grants(&chunk->request));
    if (chunk->at.grant == n_grants(&chunk->request))
        return rest;
    for (i = chunk->at.grant; i < n_grants(&chunk->request); i++)
        rest.len +=
            grant_end(grant_at(&chunk->request, i)) - grant_begin(grant_at(&chunk->request, i));
    rest.len -= chunk->at.offset - grant_begin(grant_at(&chunk->request, chunk->at.grant));
    return rest;
}

/* ---- the pool ---- */

void pool_init(struct pool *pool)
{
    TAILQ_INIT(&pool->chunks);
    pool->len = 0;
}

void pool_fini(struct pool *pool)
{
    while (!pool_empty(pool))
        pool_drop_chunk(pool);
}

void pool_add(struct pool *pool, struct chunk *chunk)
{
    assert(n_grants(&chunk->request) > 0);
    TAILQ_INSERT_TAIL(&pool->chunks, chunk, link);
    pool->len += chunk_rest(chunk).len;
}

void pool_drop_chunk(struct pool *pool)
{
    struct chunk *chunk = TAILQ_FIRST(&pool->chunks);

    pool->len -= chunk_rest(chunk).len;
    TAILQ_REMOVE(&pool->chunks, chunk, link);
    chunk_pay_no_more(chunk);
    chunk_unref(chunk);
}

void pool_take(struct pool *pool, const struct cut *cut)
{
    size_t i;

    for (i = 0; i < cut->n_pieces; i++) {
        const struct cut_piece *piece = &cut->pieces[i];

        chunk_ref(piece->chunk);
        piece->chunk->at = piece->end;
        pool->len -= piece->len;
        if (piece->end.grant < n_grants(&piece->chunk->request))
            continue;
        TAILQ_REMOVE(&pool->chunks, piece->chunk, link);
        chunk_pay_no_more(piece->chunk);
        chunk_unref(piece->chunk);
    }
}

bool pool_first(const struct pool *pool, struct got_item *item)
{
    struct chunk *chunk = TAILQ_FIRST(&pool->chunks);
    struct cursor at;

    if (!chunk)
        return false;
    at = chunk->at;
    return grants_next(&chunk->request, &at, item);
}

struct chunk *pool_take_first(struct pool *pool)
{
    struct cut_piece piece = {.chunk = TAILQ_FIRST(&pool->chunks)};
    struct cut cut = {.n_pieces = 1};

    piece.end = piece.chunk->at;
    piece.len = item_end(&piece.chunk->request, &piece.end) - piece.end.offset;
    cursor_step(&piece.chunk->request, &piece.end);
    cut.pieces[0] = piece;
    pool_take(pool, &cut);
    return piece.chunk;
}

/* ---- cutting ---- */

/* Go item by item, staying in the grant. Returns how many items fit. */
static uint64_t grant_walk(const struct chunk *chunk, struct cursor *at, size_t room, uint64_t max)
{
    size_t grant = at->grant, begin = at->offset;
    uint64_t n;

    for (n = 0; n < max && at->grant == grant; n++) {
        if (item_end(&chunk->request, at) - begin > room)
            break;
        cursor_step(&chunk->request, at);
    }
    return n;
}

/* Move over as many items of the cursor's grant as fit and return their number. */
static uint64_t grant_fit(const struct chunk *chunk, struct cursor *at, size_t room, uint64_t max)
{
    const struct grant *g = grant_at(&chunk->request, at->grant);
    const uint8_t *from = chunk->request.out.get.data + at->offset, *last;
    uint32_t n = g->to - at->index;
    uint8_t separator;
    size_t count;

    if (grant_end(g) - at->offset <= room && n <= max) {
        cursor_enter(&chunk->request, at, at->grant + 1);
        return n;
    }
    if (max <= WALK_ITEMS || grant_end(g) - at->offset <= room)
        return grant_walk(chunk, at, room, max);
    separator = framing_separator(g->framing);
    last = memrchr(from, separator, room);
    if (!last)
        return 0;
    count = count_byte(from, (size_t)(last - from) + 1, separator);
    if (count > max || count >= n)
        return grant_walk(chunk, at, room, max < n - 1 ? max : n - 1);
    at->index += (uint32_t)count;
    at->offset += (size_t)(last - from) + 1;
    return count;
}

static struct cut_piece *piece_begin(struct cut *cut, struct chunk *chunk, const struct cursor *at)
{
    struct cut_piece *piece = &cut->pieces[cut->n_pieces++];

    piece->chunk = chunk;
    piece->begin = piece->end = *at;
    piece->data = chunk->request.out.get.data + at->offset;
    piece->len = 0;
    return piece;
}

/* One whole item, however large: a file's, or one that is larger than the room. */
static void cut_one(struct cut *cut, struct cut_piece *piece)
{
    size_t begin = piece->end.offset;

    piece->len = item_end(&piece->chunk->request, &piece->end) - begin;
    cursor_step(&piece->chunk->request, &piece->end);
    cut->len = piece->len;
    cut->n_items = 1;
}

/* Add what fits of one grant. False: the cut is complete. */
static bool cut_grant(struct cut *cut, struct cut_piece *piece, size_t room, uint64_t max_items)
{
    size_t grant = piece->end.grant, begin = piece->end.offset, len;
    const struct grant *g = grant_at(&piece->chunk->request, grant);
    uint64_t n;

    n = grant_fit(piece->chunk, &piece->end, room - cut->len, max_items - cut->n_items);
    if (n == 0 && cut->n_items == 0)
        cut_one(cut, piece);
    if (n == 0)
        return false;
    len = (piece->end.grant == grant ? piece->end.offset : grant_end(g)) - begin;
    piece->len += len;
    cut->len += len;
    cut->n_items += n;
    return piece->end.grant != grant && cut->n_items < max_items && cut->len < room;
}

/* False: the cut is complete. True: the chunk is used up. */
static bool cut_chunk(struct cut *cut, struct chunk *chunk, size_t room, uint64_t max_items)
{
    struct cut_piece *piece = NULL;
    struct cursor at = chunk->at;

    while (at.grant < n_grants(&chunk->request)) {
        bool file = grant_at(&chunk->request, at.grant)->framing == FRAMING_FILE;
        bool more;

        if (cut->n_items > 0 && file)
            return false;
        if (!piece || piece->data + piece->len != chunk->request.out.get.data + at.offset) {
            if (cut->n_pieces == CUT_PIECES_MAX)
                return false;
            piece = piece_begin(cut, chunk, &at);
        }
        cut->file = file;
        if (file) {
            cut_one(cut, piece);
            return false;
        }
        more = cut_grant(cut, piece, room, max_items);
        if (!more)
            return false;
        at = piece->end;
    }
    return true;
}

void pool_cut(const struct pool *pool, size_t room, uint64_t max_items, struct cut *cut)
{
    struct chunk *chunk;
    size_t i;

    cut->n_pieces = cut->len = cut->n_items = cut->n_ranges = 0;
    cut->file = false;
    TAILQ_FOREACH (chunk, &pool->chunks, link)
        if (!cut_chunk(cut, chunk, room, max_items))
            break;
    if (cut->n_pieces > 0 && piece_n_ranges(&cut->pieces[cut->n_pieces - 1]) == 0)
        cut->n_pieces--; /* begun, but nothing of it fitted */
    for (i = 0; i < cut->n_pieces; i++)
        cut->n_ranges += piece_n_ranges(&cut->pieces[i]);
}

size_t piece_n_ranges(const struct cut_piece *piece)
{
    const struct cursor *begin = &piece->begin, *end = &piece->end;
    size_t n = end->grant - begin->grant;

    if (end->grant == n_grants(&piece->chunk->request))
        return n;
    if (n == 0)
        return end->index > begin->index;
    return n + (end->index > grant_at(&piece->chunk->request, end->grant)->from);
}

struct settlement piece_range(const struct cut_piece *piece, size_t i, enum settle_verb verb)
{
    size_t at = piece->begin.grant + i;
    const struct grant *g = grant_at(&piece->chunk->request, at);

    return (struct settlement){
        .verb = verb,
        .batch = g->batch,
        .from = i == 0 ? piece->begin.index : g->from,
        .to = at == piece->end.grant ? piece->end.index : g->to,
        .token = g->token,
    };
}
