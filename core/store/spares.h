/*
 * The segments (segment.h) that a log does not hold yet or any more: they are made ahead of use by
 * a thread of their own, what is released is used again, and no more are made than the limits
 * allow. So an append finds a segment ready, and writes into blocks that are there.
 *
 * A log begins with small segments, as it is to take little where there is little in it, and they
 * double as it grows, while there is room for some of the larger ones.
 *
 * Errors: negative errno. One thread, the owner's.
 */
#ifndef QUEUEFS_CORE_STORE_SPARES_H
#define QUEUEFS_CORE_STORE_SPARES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/store/segment.h"

struct spares_options {
    int dir_fd;              /* where the files are; the owner's. -1: in memory */
    uint64_t segment_bytes;  /* of the largest ones */
    uint64_t max_bytes;      /* of all segments, the log's as well */
    uint64_t min_free_bytes; /* left on the disk when one is made */
    uint64_t log_bytes;      /* of the segments that the log has already */
};

struct spares;

/* Takes those that were found at a start, and removes of them what is not needed. */
int spares_open(const struct spares_options *options, struct segment_list *found,
                struct spares **spares);
void spares_close(struct spares *spares); /* NULL too; the files stay */

/* A segment for the log with room for so many bytes behind its first page. What is urgent may take
 * the last of the disk, too, below min_free. -ENOSPC: none can be made. */
int spares_take(struct spares *spares, uint64_t size, bool urgent, struct segment **segment);
/* It was taken, and is not used after all. */
void spares_put_back(struct spares *spares, struct segment *segment);
/* The log does not need it any more: it is used again, or its file goes. */
int spares_retire(struct spares *spares, struct segment *segment);

/* Whether spares_take() would find one for what is urgent. */
bool spares_can_take(struct spares *spares, uint64_t size);
/* Bytes of the log's segments, how many more can be had: made, or to be made, and of what size. */
void spares_space(struct spares *spares, uint64_t *log_bytes, uint64_t *n_free,
                  uint64_t *segment_bytes);

#endif
