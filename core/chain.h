/*
 * The chain of a producer's items: one number that says which bytes all of its items up to one
 * were, however they were cut into batches. Mount and service keep it both: where they differ,
 * somebody else has put under the same numbers.
 *
 * It is two checksums, of the items laid end to end (with their separators) and, above it, of the
 * lengths of those that have none (framing file). A batch's own checksum makes the next from the
 * one before, so nobody looks at the bytes again. No items: 0. Pure functions, any thread.
 */
#ifndef QUEUEFS_CORE_CHAIN_H
#define QUEUEFS_CORE_CHAIN_H

#include "core/batch.h"

/* With all items of the batch, whose checksum is good. */
uint64_t chain_append(uint64_t chain, const struct batch_view *batch);

/* With its first n_items, whose bytes are looked at. */
uint64_t chain_append_some(uint64_t chain, const struct batch_view *batch, uint32_t n_items);

#endif
