#include "core/store/batch_cache.h"

#include <stdlib.h>

#define SMALL ((size_t)64 << 10)

static void empty(struct batch_cache *cache, struct batch_slot *slot)
{
    cache->bytes -= slot->cap;
    free(slot->bytes);
    *slot = (struct batch_slot){.position = 0};
}

void batch_cache_fini(struct batch_cache *cache)
{
    for (size_t i = 0; i < BATCH_CACHE_SLOTS; i++)
        empty(cache, &cache->slots[i]);
}

static struct batch_slot *slot_of(struct batch_cache *cache, uint64_t position)
{
    for (size_t i = 0; i < BATCH_CACHE_SLOTS; i++) {
        if (cache->slots[i].position == position)
            return &cache->slots[i];
    }
    return NULL;
}

const uint8_t *batch_cache_find(struct batch_cache *cache, uint64_t position)
{
    struct batch_slot *slot = slot_of(cache, position);

    if (!slot)
        return NULL;
    slot->used = ++cache->clock;
    return slot->bytes;
}

static struct batch_slot *oldest(struct batch_cache *cache)
{
    struct batch_slot *found = &cache->slots[0];

    for (size_t i = 1; i < BATCH_CACHE_SLOTS; i++) {
        if (cache->slots[i].used < found->used)
            found = &cache->slots[i];
    }
    return found;
}

/* The oldest that has memory. */
static struct batch_slot *largest_use(struct batch_cache *cache, const struct batch_slot *but)
{
    struct batch_slot *found = NULL;

    for (size_t i = 0; i < BATCH_CACHE_SLOTS; i++) {
        struct batch_slot *slot = &cache->slots[i];

        if (slot != but && slot->cap > 0 && (!found || slot->used < found->used))
            found = slot;
    }
    return found;
}

uint8_t *batch_cache_room(struct batch_cache *cache, uint64_t position, size_t len)
{
    struct batch_slot *slot = largest_use(cache, NULL), *other;
    size_t cap = len < SMALL ? len : (len + SMALL) & ~(SMALL - 1); /* for the next ones as well */

    if (!slot || cache->bytes + cap <= BATCH_CACHE_BYTES)
        slot = oldest(cache);
    if (slot->cap < len || slot->cap > 2 * cap + SMALL) {
        empty(cache, slot);
        slot->bytes = malloc(cap);
        if (!slot->bytes)
            return NULL;
        slot->cap = cap;
        cache->bytes += cap;
    }
    while (cache->bytes > BATCH_CACHE_BYTES && (other = largest_use(cache, slot)) != NULL)
        empty(cache, other);
    slot->position = position;
    slot->len = len;
    slot->used = ++cache->clock;
    return slot->bytes;
}

void batch_cache_drop(struct batch_cache *cache, uint64_t position)
{
    struct batch_slot *slot = slot_of(cache, position);

    if (slot)
        empty(cache, slot);
}
