/*
 * Batches of which part is done. The items that are not keep their numbers, so a batch shrinks by
 * leaving nothing of the done ones but their frames: empty items, that nobody is given as the mark
 * (core/stored_mark.h) says so. It is only ever written together with that mark, in one record.
 * Pure functions.
 */
#ifndef QUEUEFS_CORE_STORE_SHRINK_H
#define QUEUEFS_CORE_STORE_SHRINK_H

#include <stddef.h>
#include <stdint.h>

#include "core/batch.h"

/* Bytes of the batch that are left without what its mark says is done; all of them where that is
 * not worth it, or the mark is not one of this batch. The view may be without data. */
uint64_t shrink_left(const struct batch_view *batch, const uint8_t *mark, size_t len);

/* The batch without them, in the place of `data`, which is the view's: its length and its checksum
 * are the new ones. -EBADMSG: batch or mark are damaged, and nothing is changed. */
int shrink_batch(struct batch_view *batch, uint8_t *data, const uint8_t *mark, size_t len);

#endif
