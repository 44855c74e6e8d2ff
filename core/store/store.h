/*
 * Where a service keeps its queues: the seam that core/store/local.c (and later nats)
 * implements. It holds four tables (the data model of the service):
 *
 *   queues     number -> struct queue_record: name, own settings, next batch, counters
 *   batches    (queue, batch) -> a batch, whole, as written
 *   marks      (queue, batch) -> which of its items are not plainly ready (core/stored_mark.h); of
 *              those that are done the store may let go of the bytes: they are empty items then
 *   sequences  (queue, producer) -> the last item number stored, for exactly-once puts
 *
 * and rows of its own: opaque bytes that say which store this is, and what an import has under way.
 *
 * All calls come from one thread, the service's. Changes are made between begin and commit only;
 * commit returns 0 when they are on disk (fdatasync done), all of them, or changes nothing.
 * Reads may come at any time and see what is committed, not the changes of an open transaction.
 * What a read lends lives until the next call on the store; bytes to put are borrowed until the
 * transaction has ended, by commit or abort.
 *
 * Every function returns 0 or a negative errno: -ENOENT no such row, -ENOSPC full (the limit, or
 * min_free), -EIO disk, -EBADMSG a damaged row, or one that lies at another's place. That costs the
 * row: with -EBADMSG a `next` has said which one it is, so that one can name it and go past it.
 * After a failed change, or a failed commit, the transaction is gone as if aborted: every later
 * change of it and its commit fail the same way, abort is still allowed. -ENOENT never ends a
 * transaction, a failed read does not either. -ENOSPC and -ENOMEM leave the store usable, anything
 * else from commit means: stop and restart.
 */
#ifndef QUEUEFS_CORE_STORE_STORE_H
#define QUEUEFS_CORE_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/batch.h"
#include "core/counters.h"
#include "core/name.h"
#include "core/producer_id.h"
#include "core/settings.h"
#include "core/space.h"

struct queue_record {
    uint64_t number; /* never reused, from 1 */
    char name[QUEUE_NAME_MAX + 1];
    struct queue_settings settings;
    uint64_t next_batch; /* never reused, from 1 */
    uint64_t n_items;    /* stored and not done: ready, leased, delayed, dead */
    uint64_t n_bytes;    /* their payload */
    int64_t made_us;     /* wall clock */
    QUEUE_COUNTER_FIELDS
};

struct sequence_record {
    struct producer_id producer;
    uint64_t epoch;
    uint64_t last;        /* number of the last item stored */
    uint64_t chain;       /* of the items up to that one: core/chain.h */
    int64_t last_used_us; /* on the store's own clock, which stands while no service runs */
};

struct store;

struct store_ops {
    int (*begin)(struct store *store);
    int (*commit)(struct store *store);
    void (*abort)(struct store *store);
    /* What a commit has left for when nobody waits for it; else the next call does it. What is
     * committed stays so, whatever this says: -EIO means stop and restart, as of commit. */
    int (*catch_up)(struct store *store);

    /* Queues. put makes or replaces; remove takes the queue's other rows with it. next: the record
     * with the lowest number >= from; with -EBADMSG its number alone is set. last_number: the
     * highest number ever used, 0 for none; it survives the removal of that queue. */
    int (*queue_put)(struct store *store, const struct queue_record *record);
    int (*queue_remove)(struct store *store, uint64_t queue);
    int (*queue_next)(struct store *store, uint64_t from, struct queue_record *record);
    int (*queue_last_number)(struct store *store, uint64_t *number);

    /* Batches. put: the number must be above all of that queue. next: the lowest number >= from,
     * and what is known of it without reading it: the view is without data. get: with its data,
     * checksum verified. read: as get, to the caller's memory, which is `len` bytes as next has
     * said (-EBADMSG where it is not). With -EBADMSG of next *batch is set all the same, and with
     * that of any the view, without data: n_items is 0 where that much is not known either. */
    int (*batch_put)(struct store *store, uint64_t queue, uint64_t batch,
                     const struct batch_view *view);
    int (*batch_remove)(struct store *store, uint64_t queue,
                        uint64_t batch); /* its mark too, or alone */
    int (*batch_get)(struct store *store, uint64_t queue, uint64_t batch, struct batch_view *view);
    int (*batch_read)(struct store *store, uint64_t queue, uint64_t batch, void *to, size_t len,
                      struct batch_view *view);
    int (*batch_next)(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                      struct batch_view *view);

    /* Marks. remove of an absent one is 0. next: with -EBADMSG *batch alone is set. */
    int (*mark_put)(struct store *store, uint64_t queue, uint64_t batch, const void *data,
                    size_t len);
    int (*mark_remove)(struct store *store, uint64_t queue, uint64_t batch);
    int (*mark_next)(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                     const void **data, size_t *len);

    /* Sequences. next: the lowest producer id > *after, or the first where after is NULL;
     * with -EBADMSG the producer alone is set. */
    int (*sequence_put)(struct store *store, uint64_t queue, const struct sequence_record *record);
    int (*sequence_remove)(struct store *store, uint64_t queue, const struct producer_id *producer);
    int (*sequence_next)(struct store *store, uint64_t queue, const struct producer_id *after,
                         struct sequence_record *record);

    /* Which store this is. get: -ENOENT where nothing was ever put. */
    int (*identity_put)(struct store *store, const void *data, size_t len);
    int (*identity_get)(struct store *store, const void **data, size_t *len);

    /* An import: batches of the queue from that number on are taken back by the next open, until
     * the import has ended. begin and end are changes; undo takes them back now, in transactions of
     * its own, as many as it takes: 0 also where none is under way. */
    int (*import_begin)(struct store *store, uint64_t queue, uint64_t batch);
    int (*import_end)(struct store *store);
    int (*import_undo)(struct store *store);

    /* How far it has come: rises with each commit that changes something, survives the process, and
     * goes with the bytes: a copy has the position that it was made at. Opening changes nothing. */
    uint64_t (*position)(struct store *store);

    int (*space)(struct store *store, struct store_space *space);
    void (*close)(struct store *store); /* aborts an open transaction; frees the store */
};

/* An engine's struct begins with this. */
struct store {
    const struct store_ops *ops;
};

struct local_options {
    const char *dir; /* exists; made by the caller; NULL: in memory, and gone with the process */
    uint64_t max_bytes;
    uint64_t min_free_bytes;
    uint64_t segment_bytes; /* of the log, at most: few must fit into max_bytes; 0: 64 MiB */
};

/* -EBUSY where another process has it open (the caller's lock file is what tells which); -EINVAL: a
 * store of another kind is there, which was logged. */
int store_local_open(const struct local_options *options, struct store **store);
/* The same in memory. */
int store_memory_open(uint64_t max_bytes, struct store **store);

#endif
