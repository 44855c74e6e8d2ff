/* Names and ids as users see them. Pure functions, any thread. */
#ifndef QUEUEFS_CORE_NAME_H
#define QUEUEFS_CORE_NAME_H

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_NAME_MAX 64

/*
 * Whether a queue may be called so: [A-Za-z0-9][A-Za-z0-9_-]{0,63}, and none of the reserved
 * stats, flush, config, metrics, help. The only such check: mkdir, lookup, settings, the wire.
 */
bool queue_name_valid(const char *name);

/* Whether one may be made so: valid, and not `new`, which is reserved too. Stores of earlier
 * versions may have a queue called that; it stays as reachable as it was. */
bool queue_name_may_be_made(const char *name);

/*
 * An item's id: batch number << 24 | index within its batch. 63 bits; rises in queue order.
 * Batch numbers start at 1, so 0 is no item.
 */
#define ITEM_INDEX_BITS  24
#define BATCH_NUMBER_MAX ((UINT64_C(1) << (63 - ITEM_INDEX_BITS)) - 1)

/*
 * A batch has no more items, far fewer than the id has room for: whatever happens to one of them
 * means going through what is known of the batch, and that must not take long.
 */
#define BATCH_ITEMS_MAX (UINT32_C(1) << 16)

static inline uint64_t item_id(uint64_t batch, uint32_t index)
{
    return batch << ITEM_INDEX_BITS | index;
}

static inline uint64_t item_batch(uint64_t id)
{
    return id >> ITEM_INDEX_BITS;
}

static inline uint32_t item_index(uint64_t id)
{
    return (uint32_t)(id & ((UINT32_C(1) << ITEM_INDEX_BITS) - 1));
}

static inline bool item_id_valid(uint64_t id)
{
    return item_batch(id) >= 1 && item_batch(id) <= BATCH_NUMBER_MAX;
}

/* As users see it: 16 lower-case hex digits, and a NUL. */
#define ITEM_ID_DIGITS 16
void item_id_format(uint64_t id, char text[ITEM_ID_DIGITS + 1]);

/* The whole of `text`. False where it is not what item_id_format() writes of an item's id. */
bool item_id_parse(const char *text, uint64_t *id);

#endif
