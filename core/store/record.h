/*
 * Rows as bytes on disk: little-endian, a version first. What they lie in has checksums (a record
 * of the log, a row of the index); a batch has one of its own. Pure functions, any thread.
 *
 * Decoding: 0, or -EBADMSG for a version not known or for what no program of this version writes.
 */
#ifndef QUEUEFS_CORE_STORE_RECORD_H
#define QUEUEFS_CORE_STORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "core/store/store.h"

#define RECORD_VERSION 1

/* version, name's length, name (64 bytes), how many settings and how many counters (one byte
 * each), settings, next batch, items, bytes, time of making and counters as 64-bit numbers */
#define RECORD_QUEUE_BYTES (2 + QUEUE_NAME_MAX + 2 + 8 * (QUEUE_N_SETTINGS + 4 + QUEUE_N_COUNTERS))

/* version, epoch, last, last use, chain; the producer is in the key */
#define RECORD_SEQUENCE_BYTES (1 + 8 * 4)

/* version, framing, 2 bytes 0, n_items, length, crc of the data, time of put, 8 bytes 0; the data
 * follows, on a multiple of 8 */
#define RECORD_BATCH_BYTES 32

void record_queue_encode(const struct queue_record *record, uint8_t row[RECORD_QUEUE_BYTES]);
/* The number is the caller's to fill in: it is in the key. */
int record_queue_decode(struct queue_record *record, const void *row, size_t len);

void record_sequence_encode(const struct sequence_record *record,
                            uint8_t row[RECORD_SEQUENCE_BYTES]);
/* The producer is the caller's to fill in: it is in the key. */
int record_sequence_decode(struct sequence_record *record, const void *row, size_t len);

/* The header alone. */
void record_batch_encode(const struct batch_view *view, uint8_t row[RECORD_BATCH_BYTES]);
/* The view borrows from the row, whose header and length are checked, not its data. */
int record_batch_decode(struct batch_view *view, const void *row, size_t len);

#endif
