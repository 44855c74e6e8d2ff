/*
 * The index over the log: what lives, and where in the log it was written last. It is a cache: a
 * checkpoint makes it durable together with the position of the log it stands for, and what is
 * behind that is applied again at the next start; without it all of it is made from the log.
 *
 * A row has a key of its table, the position of its last writing, and bytes: all of a mark, a queue
 * or a producer; of a batch its head (record.h), as its data stays in the log. Each row's checksum
 * covers key and value: a row that is damaged, or at a wrong place, is -EBADMSG.
 *
 * Errors: negative errno; -ENOENT no such row; after another of a change the index is of no use
 * until it is opened again. What a read lends lives until the next change. One thread.
 */
#ifndef QUEUEFS_CORE_STORE_INDEX_H
#define QUEUEFS_CORE_STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/producer_id.h"

enum index_table {
    INDEX_META, /* of the store; key: queue is which */
    INDEX_QUEUES,
    INDEX_BATCHES,
    INDEX_MARKS,
    INDEX_PRODUCERS,
    INDEX_TABLES,
};

/* In the order of the numbers. Of a queue's and of the store's rows only `queue` counts; of a
 * producer's `batch` and `low` are its id. */
struct index_key {
    enum index_table table;
    uint64_t queue, batch, low;
};

struct index_row {
    struct index_key key;
    uint64_t position;
    const uint8_t *data;
    size_t len;
};

struct store_index;

/* The directory is made where it is missing; NULL: in memory. -EINVAL: it is not of this version,
 * -EBADMSG: damaged. Of both index_discard() and another open make an empty one. */
int index_open(const char *dir, uint64_t max_bytes, struct store_index **index);
void index_close(struct store_index *index); /* NULL too; what was not checkpointed is gone */
int index_discard(const char *dir);

/* index_pages.c */
extern const char *const index_table_names[INDEX_TABLES];

/* index_check.c: whether LMDB can be trusted with the file: 0, also where there is none; -EBADMSG.
 */
int index_check(const char *file);

/* index_fault.c: while it is watched, what cannot be read of the map of this file (which the disk
 * has lost, or somebody has cut) ends the process with a line. One file a process. */
void index_fault_watch(int fd, const char *dir);
void index_fault_unwatch(int fd);

struct index_key index_key_of_producer(uint64_t queue, const struct producer_id *producer);
struct producer_id index_producer(const struct index_key *key);

int index_get(struct store_index *index, struct index_key key, struct index_row *row);
/* The first at or behind key (`after`: behind), of that table, and of its queue where `same_queue`.
 * Of a damaged row only the key is set. */
int index_next(struct store_index *index, struct index_key key, bool after, bool same_queue,
               struct index_row *row);

/* Room for a row of so many bytes: puts of such ones will not lack memory of ours. 0, -ENOMEM. */
int index_reserve(struct store_index *index, size_t len);
int index_put(struct store_index *index, struct index_key key, uint64_t position, const void *data,
              size_t len);
int index_remove(struct store_index *index, struct index_key key);

/* What has changed since the last one is on disk when it returns. */
int index_checkpoint(struct store_index *index);
/* How many rows were changed since then. */
uint64_t index_changes(const struct store_index *index);
uint64_t index_bytes(const struct store_index *index); /* of its file */

#endif
