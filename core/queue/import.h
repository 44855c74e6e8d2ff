/*
 * Items are put into a queue of a store that no service has open: all of them or none. They are
 * stored in batches, many a commit, which count only once the last commit says so (store.h,
 * import_begin); until then whatever opens the store takes them back. One thread.
 */
#ifndef QUEUEFS_CORE_QUEUE_IMPORT_H
#define QUEUEFS_CORE_QUEUE_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/store/store.h"

struct import_options {
    struct store *store; /* borrowed */
    const char *name;
    const struct queue_settings *settings; /* of a queue that is made */
    uint64_t fields; /* of these, that one which is there gets too (setting_bit()) */
    bool grows;      /* max_item_size of a queue that is made, with the largest item */
    int64_t wall_us; /* the items' time of put */
};

/* Positive outcomes. */
enum import_outcome {
    IMPORT_TOO_LARGE = 1, /* the item is over max_item_size */
    IMPORT_FULL,          /* the queue is at maxsize */
};

struct import;

/* 0, -ENOMEM, -EINVAL (settings), or of the store. */
int import_new(const struct import_options *options, struct import **import);
/* What holds for the queue. */
const struct queue_settings *import_settings(const struct import *import);
/* What no item may be larger than. */
size_t import_max_item_size(const struct import *import);
/* 0, an outcome, -ENOSPC, -ENOMEM, or of the store. After anything but 0 it can only be freed. The
 * bytes hold no separator of the queue's framing. */
int import_item(struct import *import, const void *bytes, size_t len);
/* All of them are in the queue when it returns 0, durable; else none, and it can only be freed. */
int import_end(struct import *import);
/* One that has not ended is taken back; where that fails, the next open does it. NULL too. */
void import_free(struct import *import);

#endif
