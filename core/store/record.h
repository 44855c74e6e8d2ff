/*
 * Rows as bytes on disk: little-endian, a version first, and behind each row its seal: a checksum
 * of its table, its key and its bytes, so that a row that came to lie at another's place is damaged
 * too (of a batch the header alone, which has the checksum of the data). Pure functions, any
 * thread.
 *
 * Decoding is of what stands before the seal: 0, or -EBADMSG for a version not known or for what
 * no program of this version writes.
 */
#ifndef QUEUEFS_CORE_STORE_RECORD_H
#define QUEUEFS_CORE_STORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "core/store/store.h"

#define RECORD_VERSION 1

#define RECORD_SEAL_BYTES 4

/* version, name's length, name (64 bytes), how many settings and how many counters (one byte
 * each), settings, next batch, items, bytes, time of making and counters as 64-bit numbers */
#define RECORD_QUEUE_BYTES (2 + QUEUE_NAME_MAX + 2 + 8 * (QUEUE_N_SETTINGS + 4 + QUEUE_N_COUNTERS))

/* version, epoch, last, last use, chain; the producer is in the key */
#define RECORD_SEQUENCE_BYTES (1 + 8 * 4)

/* version, framing, 2 bytes 0, n_items, length, crc of the data, time of put, 4 bytes 0, seal; the
 * data follows, on a multiple of 8 */
#define RECORD_BATCH_BYTES 32

/* The seal of a row of so many bytes (its own not among them). Keys are at most RECORD_KEY_MAX. */
#define RECORD_KEY_MAX 32
uint32_t record_seal(uint8_t table, const void *key, size_t key_len, const void *row, size_t len);

void record_queue_encode(const struct queue_record *record, uint8_t row[RECORD_QUEUE_BYTES]);
/* The number is the caller's to fill in: it is in the key. */
int record_queue_decode(struct queue_record *record, const void *row, size_t len);

void record_sequence_encode(const struct sequence_record *record,
                            uint8_t row[RECORD_SEQUENCE_BYTES]);
/* The producer is the caller's to fill in: it is in the key. */
int record_sequence_decode(struct sequence_record *record, const void *row, size_t len);

/* The header alone, not its seal. */
void record_batch_encode(const struct batch_view *view, uint8_t row[RECORD_BATCH_BYTES]);
/* The view borrows from the row, whose header and length are checked, not its seal and data. */
int record_batch_decode(struct batch_view *view, const void *row, size_t len);

#endif
