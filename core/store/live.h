/*
 * How many bytes of each segment live: of rows whose last writing lies in it, their data of the log
 * included. Kept in memory, and stored with each checkpoint of the index. One thread.
 */
#ifndef QUEUEFS_CORE_STORE_LIVE_H
#define QUEUEFS_CORE_STORE_LIVE_H

#include <stddef.h>
#include <stdint.h>

#include "core/store/commit_log.h"

struct live_segment {
    uint64_t first, end, bytes;
};

struct live {
    struct live_segment *all; /* by position; owned */
    size_t n, cap;
    uint64_t bytes; /* of all */
    uint64_t died;  /* since the start, what was moved apart */
};

void live_fini(struct live *live);

/* The segments are those of the log; known ones keep their bytes. 0 or -ENOMEM. */
int live_follow(struct live *live, const struct commit_log *log);
/* Room for the next two segments. 0 or -ENOMEM. */
int live_reserve(struct live *live);
/* A row of so many bytes at the position lives, or does no more. Of a position whose segment is
 * gone, or is not known, nothing is counted. */
void live_add(struct live *live, uint64_t position, uint64_t bytes);
void live_sub(struct live *live, uint64_t position, uint64_t bytes);
/* The bytes that live in the segment of the position. */
uint64_t live_at(const struct live *live, uint64_t position);

/* As stored: what live_load() takes, of live_size() bytes. */
size_t live_size(const struct live *live);
void live_store(const struct live *live, uint8_t *to);
/* 0, -ENOMEM, -EBADMSG. */
int live_load(struct live *live, const uint8_t *from, size_t len);

#endif
