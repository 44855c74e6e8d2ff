/*
 * What a queue of a store holds, in order, without a service: each item that is not done, or the
 * dead ones. It only reads, and what it reads may be a copy that stands as it was a while ago
 * (core/store/reader.h). One thread.
 */
#ifndef QUEUEFS_CORE_QUEUE_EXPORT_H
#define QUEUEFS_CORE_QUEUE_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/store/store.h"

struct export_item {
    uint64_t id;
    int64_t put_time_us; /* wall clock */
    const uint8_t *bytes;
    size_t len; /* without a separator */
};

struct export
{
    struct store *store;
    struct queue_record record; /* of the queue, as queue_by_name() finds it */
    bool dead;                  /* these, and no others */
    /* Negative errno ends the export with it. The bytes are lent until it returns. */
    int (*item)(void *owner, const struct export_item *item);
    void *owner;
    uint64_t from;   /* batch; 0 at first. All before it were given */
    uint64_t n_lost; /* batches that cannot be read; each was logged */
};

/* 0; -ENOENT: there is none; or of the store. Rows that are damaged are passed over. */
int queue_by_name(struct store *store, const char *name, struct queue_record *record);

/* 0, also where something was lost; of item() or the store. With -EAGAIN it can be called again
 * with the store opened anew, and goes on where it stopped. */
int export_items(struct export *export);

#endif
