/*
 * The items of one queue that a mount has fetched and not given to a reader yet, in queue order.
 *
 * A chunk is one GET: the request, and once it was answered the answer's bytes, which stay where
 * the backend laid them for as long as somebody refers to the chunk: the pool while it has items
 * left, a slice that was cut from it, a reader in the middle of a large item. References are atomic
 * because the last one may be let go by whoever answers a read, outside the queue's lock. From the
 * GET until it leaves the pool its memory is taken from the budget of the user it was got for;
 * readers that hold it on pay for that themselves.
 *
 * A cut plans what one read is given: whole items from the front of the pool, as pieces that are
 * contiguous in memory. pool_cut() changes nothing, pool_take() carries the plan out.
 */
#ifndef QUEUEFS_CORE_GET_POOL_H
#define QUEUEFS_CORE_GET_POOL_H

#include <stdatomic.h>

#include <bsd/sys/queue.h>

#include "core/budget.h"
#include "core/request.h"

/* Of struct op's iov. */
#define CUT_PIECES_MAX 16

/* A place in a chunk: the next item. grant == n_grants: the end. */
struct cursor {
    size_t grant;
    uint32_t index; /* in the batch */
    size_t offset;  /* of the item's bytes in out.get.data */
};

struct chunk {
    struct request request; /* first, so that a GET finds its chunk */
    atomic_uint refs;
    uint64_t serial;  /* which GET of this consumer */
    uint64_t changes; /* of the consumer, when the GET was sent */
    int64_t sent_us;
    TAILQ_ENTRY(chunk) link;
    struct cursor at;          /* what is left begins here */
    struct budget_user *payer; /* a reference; NULL: nobody pays */
    size_t paid_bytes;
};

/* A zeroed chunk with one reference, or NULL. */
struct chunk *chunk_new(void);
void chunk_ref(struct chunk *chunk);
void chunk_unref(struct chunk *chunk); /* takes NULL; gives the answer's memory back */

/* Take from the user's budget, of which there was nothing yet, what an answer may need. False:
 * there is not so much. What it does need is known with the answer: never refused. */
bool chunk_pay(struct chunk *chunk, struct budget_user *user, size_t bytes);
void chunk_pay_answer(struct chunk *chunk);
void chunk_pay_no_more(struct chunk *chunk);

/* What holding it costs. */
size_t chunk_bytes(const struct chunk *chunk);

/* Check an answer that came from outside and go to its first item: 0 or -EPROTO. */
int chunk_open(struct chunk *chunk);

/* Items and their bytes (length tables not counted) of all grants. */
uint64_t chunk_items(const struct chunk *chunk);

/* One by one, of any answered GET: check it, begin, go on until false. */
struct got_item {
    const struct grant *grant;
    uint32_t index;
    const uint8_t *data; /* without the separator */
    size_t len;
};
int grants_check(const struct request *get);
void grants_begin(const struct request *get, struct cursor *at);
bool grants_next(const struct request *get, struct cursor *at, struct got_item *item);

struct cut_piece {
    struct chunk *chunk;
    struct cursor begin, end;
    const uint8_t *data;
    size_t len;
};

struct cut {
    struct cut_piece pieces[CUT_PIECES_MAX];
    size_t n_pieces;
    size_t len; /* bytes; more than the room only where one item alone is larger */
    uint64_t n_items;
    size_t n_ranges; /* of all pieces */
    bool file;       /* one bare item; else items with their separators */
};

struct pool {
    TAILQ_HEAD(, chunk) chunks;
    size_t len; /* bytes left */
};

void pool_init(struct pool *pool);
void pool_fini(struct pool *pool); /* drops what is left */

static inline bool pool_empty(const struct pool *pool)
{
    return TAILQ_EMPTY(&pool->chunks);
}

/* Takes the caller's reference of an opened chunk with items. */
void pool_add(struct pool *pool, struct chunk *chunk);

/*
 * Plan: as many whole items as fit into `room`, at most max_items (at least 1), but at least one
 * item, however large. n_items 0: the pool is empty.
 */
void pool_cut(const struct pool *pool, size_t room, uint64_t max_items, struct cut *cut);

/* Take the planned items out. The caller gets one reference of the chunk of each piece. */
void pool_take(struct pool *pool, const struct cut *cut);

/* The first item; false: the pool is empty. Take it out: the caller gets a reference of its chunk.
 */
bool pool_first(const struct pool *pool, struct got_item *item);
struct chunk *pool_take_first(struct pool *pool);

/* Drop the first chunk with all that is left of it. */
void pool_drop_chunk(struct pool *pool);

/* The batches' ranges that a piece covers: how many, and each. */
size_t piece_n_ranges(const struct cut_piece *piece);
struct settlement piece_range(const struct cut_piece *piece, size_t i, enum settle_verb verb);

/* All that is left of a chunk, as a piece without data and without a reference. */
struct cut_piece chunk_rest(struct chunk *chunk);

#endif
