/*
 * A batch's bytes: items laid end to end, one blob from the writer's buffer to the store and to
 * the reader. Framing line and nul: each item followed by its separator. Framing file: a table of
 * one little-endian u32 length an item, then the items bare. Per-item work is what costs, so
 * nothing here copies or allocates per item.
 *
 * A struct batch_view is a batch lying in somebody's memory (store, message, buffer); it borrows.
 * A struct batch_index makes finding the n-th item of a view cheap: it holds the offset of every
 * BATCH_INDEX_STRIDE-th item and walks from there.
 */
#ifndef QUEUEFS_CORE_BATCH_H
#define QUEUEFS_CORE_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "core/settings.h"

#define BATCH_INDEX_STRIDE 64

/* The largest blob that any put, batch or message may carry: an item of 64 MiB and its frame. */
#define BATCH_BYTES_MAX (((size_t)64 << 20) + 64)

struct batch_view {
    enum framing framing;
    uint32_t n_items;
    const uint8_t *data; /* with the length table, where framing is file */
    size_t len;
    uint32_t crc;        /* crc32c of data */
    int64_t put_time_us; /* wall clock; set by the service */
};

struct batch_index {
    uint32_t n_items;
    uint32_t *offsets; /* offset into data of item 0, STRIDE, 2*STRIDE, ...; owned */
};

/* '\n' or '\0'; asserts that framing is not file. */
uint8_t framing_separator(enum framing framing);

/* How often `byte` occurs. Vectorised by the compiler. */
size_t count_byte(const uint8_t *data, size_t len, uint8_t byte);

/*
 * Check what came from the wire or the disk, checksum apart: n_items 1 to BATCH_ITEMS_MAX, as many
 * separators as items and the last byte one of them, or a length table that adds up; at most
 * BATCH_BYTES_MAX. 0 or -EINVAL.
 */
int batch_check(const struct batch_view *batch);

/* 0, -EBADMSG where the checksum is wrong, or as batch_check(). */
int batch_verify(const struct batch_view *batch);

/* Longest item, separator not counted. For checking against max_item_size. */
size_t batch_longest(const struct batch_view *batch);

/* Build for a checked view. 0 or -ENOMEM. */
int batch_index_init(struct batch_index *index, const struct batch_view *batch);
void batch_index_fini(struct batch_index *index); /* takes a zeroed or finished one */

/* Offset into data where item i starts; i == n_items: where the last one ends. */
size_t batch_offset(const struct batch_index *index, const struct batch_view *batch, uint32_t i);

/* Where item i ends, separator included, that starts at `offset`. For going on from there. */
size_t batch_item_end(const struct batch_view *batch, size_t offset, uint32_t i);

/* Bytes of items [from, to) as users count them: separators not included. */
size_t batch_payload(const struct batch_index *index, const struct batch_view *batch, uint32_t from,
                     uint32_t to);

/*
 * How many of the items from `from` on fit into `room` bytes (separators included), at least 1 and
 * at most max_items. *bytes: what they take. Framing file: the table is not counted.
 */
uint32_t batch_fit(const struct batch_index *index, const struct batch_view *batch, uint32_t from,
                   uint32_t max_items, size_t room, size_t *bytes);

#endif
