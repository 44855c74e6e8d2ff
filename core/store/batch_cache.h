/*
 * Batches that were read from the log lately, each in memory of its own: a get takes a part of one,
 * the next get the next part. One thread.
 */
#ifndef QUEUEFS_CORE_STORE_BATCH_CACHE_H
#define QUEUEFS_CORE_STORE_BATCH_CACHE_H

#include <stddef.h>
#include <stdint.h>

#define BATCH_CACHE_SLOTS 16
#define BATCH_CACHE_BYTES ((size_t)16 << 20) /* together, but for the latest */

struct batch_slot {
    uint64_t position; /* 0: empty */
    uint64_t used;     /* when, of `clock` */
    uint8_t *bytes;    /* owned */
    size_t len, cap;
};

struct batch_cache {
    struct batch_slot slots[BATCH_CACHE_SLOTS];
    uint64_t clock;
    size_t bytes; /* of all caps */
};

void batch_cache_fini(struct batch_cache *cache);

/* Its bytes, until the next batch_cache_room(); NULL: it is not there. */
const uint8_t *batch_cache_find(struct batch_cache *cache, uint64_t position);
/* Where to read the batch at the position to; NULL: no memory. Where that fails it is dropped. */
uint8_t *batch_cache_room(struct batch_cache *cache, uint64_t position, size_t len);
void batch_cache_drop(struct batch_cache *cache, uint64_t position);

#endif
