/*
 * What the files of the LMDB engine share: lmdb_txn.c (errors, the transaction at work),
 * lmdb_space.c (how full it is), lmdb_rows.c (the four tables) and lmdb.c (open, begin, commit).
 * Each knows only those before it.
 *
 * One write transaction at a time, from begin to commit. Reads outside of it go through one read
 * transaction, which is renewed by the first read after a commit and reset before the next begin,
 * so that it never keeps a writer from using old pages again.
 */
#ifndef QUEUEFS_CORE_STORE_LMDB_PRIVATE_H
#define QUEUEFS_CORE_STORE_LMDB_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <lmdb.h>

#include "core/store/store.h"

/* Their numbers are in the seals of their rows. */
enum lmdb_table {
    LMDB_META,
    LMDB_QUEUES,
    LMDB_BATCHES,
    LMDB_MARKS,
    LMDB_SEQUENCES,
    LMDB_TABLES,
};

extern const char *const lmdb_table_names[LMDB_TABLES];

enum lmdb_transaction { LMDB_NONE, LMDB_OPEN, LMDB_FAILED };

#define LMDB_VERIFIED 256

#define LMDB_FORMAT 2 /* of the whole store; rows have their own versions too */

struct lmdb_store {
    struct store base;
    char *dir, *file; /* data.mdb in it */
    int dir_fd;
    dev_t file_dev;
    ino_t file_ino;
    uint64_t file_size; /* as last seen, and so are these two */
    bool gone, cut;
    uintptr_t map_at; /* where the file is mapped */
    size_t map_size;
    uint64_t max_bytes, min_free_bytes;
    uint64_t damaged_rows; /* lost before it was opened */

    MDB_env *env;
    MDB_dbi tables[LMDB_TABLES];
    MDB_txn *write, *read;
    bool reading; /* `read` holds a snapshot */
    enum lmdb_transaction transaction;
    int error;          /* why it failed */
    uint64_t put_bytes; /* of batches, in the open transaction */

    /* How full it is, see lmdb_space.c. */
    bool counted;
    uint64_t counted_at;  /* the transaction as of which the next two are */
    uint64_t used_bytes;  /* pages that are not free */
    uint64_t fresh_bytes; /* freed by that very transaction: the next one can't use them yet */
    uint64_t put_since;   /* at most this was put since */
    uint64_t count_every; /* count anew after as many transactions */

    /* Batches whose data was verified since the store was opened; a batch never changes. */
    struct {
        uint64_t queue, batch;
    } verified[LMDB_VERIFIED];
};

static inline struct lmdb_store *lmdb_of(struct store *store)
{
    return (struct lmdb_store *)store;
}

/* LMDB's codes as negative errno; the only such place. */
int lmdb_error(int code);

/* Whether the open file is no longer the one that the directory's path leads to; logged when that
 * changes. Sees too whether it was cut short: lmdb->cut. */
bool lmdb_gone(struct lmdb_store *lmdb);

/* The transaction to read through. */
int lmdb_reader(struct lmdb_store *lmdb, MDB_txn **txn);

/* 0 where changes may be made, or why the transaction has failed before. */
int lmdb_writer(struct lmdb_store *lmdb);

/* A change failed: the transaction is gone. Returns lmdb_error(code). */
int lmdb_fail(struct lmdb_store *lmdb, int code);

/* Put a row with its seal, or strip the seal of one that was read: 0, or -EBADMSG where it is not
 * the row's. put: a code of LMDB. */
int lmdb_sealed_put(struct lmdb_store *lmdb, MDB_txn *txn, enum lmdb_table table, MDB_val *key,
                    const void *data, size_t len);
int lmdb_unseal(enum lmdb_table table, const MDB_val *key, MDB_val *value);

/* The store's own rows, of LMDB_META. An absent number is 0. */
int lmdb_meta_get(struct lmdb_store *lmdb, MDB_txn *txn, const char *name, uint64_t *value);
int lmdb_meta_put(struct lmdb_store *lmdb, MDB_txn *txn, const char *name, uint64_t value);

/* store_ops of lmdb_txn.c */
int lmdb_identity_put(struct store *store, const void *data, size_t len);
int lmdb_identity_get(struct store *store, const void **data, size_t *len);
uint64_t lmdb_position(struct store *store);

/* store_ops of lmdb_rows.c */
int lmdb_queue_put(struct store *store, const struct queue_record *record);
int lmdb_queue_remove(struct store *store, uint64_t queue);
int lmdb_queue_next(struct store *store, uint64_t from, struct queue_record *record);
int lmdb_queue_last_number(struct store *store, uint64_t *number);
int lmdb_batch_put(struct store *store, uint64_t queue, uint64_t batch,
                   const struct batch_view *view);
int lmdb_batch_remove(struct store *store, uint64_t queue, uint64_t batch);
int lmdb_batch_get(struct store *store, uint64_t queue, uint64_t batch, struct batch_view *view);
int lmdb_batch_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                    struct batch_view *view);
int lmdb_mark_put(struct store *store, uint64_t queue, uint64_t batch, const void *data,
                  size_t len);
int lmdb_mark_remove(struct store *store, uint64_t queue, uint64_t batch);
int lmdb_mark_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                   const void **data, size_t *len);
int lmdb_sequence_put(struct store *store, uint64_t queue, const struct sequence_record *record);
int lmdb_sequence_remove(struct store *store, uint64_t queue, const struct producer_id *producer);
int lmdb_sequence_next(struct store *store, uint64_t queue, const struct producer_id *after,
                       struct sequence_record *record);

/* lmdb_fault.c: what cannot be read of the map ends the process with a line, while watched. */
void lmdb_fault_watch(struct lmdb_store *lmdb);
void lmdb_fault_unwatch(struct lmdb_store *lmdb);

/* lmdb_check.c: before the file is opened. 0, or a negative errno: it must not be; logged. */
int lmdb_check(struct lmdb_store *lmdb);

/* lmdb_space.c */
int lmdb_space(struct store *store, struct store_space *space);

/* Before a write transaction: near the limit, see to it that what was freed last can be used. */
int lmdb_space_prepare(struct lmdb_store *lmdb);

/* Reserve room for a batch; -ENOSPC where deletes would then have too little to commit. */
int lmdb_space_reserve(struct lmdb_store *lmdb, size_t len);

/* Whether the disk has not even `need` bytes left. */
bool lmdb_disk_short(const struct lmdb_store *lmdb, uint64_t need);

#endif
