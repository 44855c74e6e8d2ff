/*
 * A mark as it is stored: which items of a batch are in which state. core/queue/item_states_codec.c
 * writes and reads all of it; the store reads how many bytes of a batch are needed no more.
 * Little-endian:
 *   u8 version, u8 framing, u16 0, u32 n_items, i64 put time, u32 n_spans, then the spans:
 *   u8 state, u32 items, u32 bytes, u32 deliveries; leased: u64 token, i64 length of the lease;
 *   delayed: i64 time of day, i64 how long that was away.
 * The bytes of a span are its items' own, as they were written, without separators. Pure functions,
 * any thread.
 */
#ifndef QUEUEFS_CORE_STORED_MARK_H
#define QUEUEFS_CORE_STORED_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/item.h"

#define STORED_MARK_VERSION 3
#define STORED_MARK_HEAD    20
#define STORED_SPAN_HEAD    13 /* of a span before what leased and delayed ones have besides */
#define STORED_SPAN_EXTRA   16

struct stored_span {
    enum item_state state;
    uint32_t n_items, n_bytes;
    uint32_t deliveries;
    const uint8_t *extra; /* of leased and delayed ones: STORED_SPAN_EXTRA bytes */
};

/* Bytes of a span in such a state. */
size_t stored_span_size(enum item_state state);

/* How many items the batch has; 0: this is no mark of this version. */
uint32_t stored_mark_items(const uint8_t *mark, size_t len);
/* The span at *at, which goes behind it; 0 is the first. False: there is no further one, *at is len
 * then, or what is there is none. */
bool stored_mark_next(const uint8_t *mark, size_t len, size_t *at, struct stored_span *span);

#endif
