#include "core/store/live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

#define STORED 24 /* first, end, bytes */

void live_fini(struct live *live)
{
    free(live->all);
    *live = (struct live){0};
}

int live_reserve(struct live *live)
{
    size_t cap = live->cap ? live->cap * 2 : 16;
    struct live_segment *all;

    if (live->n + 2 <= live->cap)
        return 0;
    all = realloc(live->all, cap * sizeof(*all));
    if (!all)
        return -ENOMEM;
    live->all = all;
    live->cap = cap;
    return 0;
}

static int push(struct live *live, uint64_t first, uint64_t end, uint64_t bytes)
{
    int rc = live_reserve(live);

    if (rc < 0)
        return rc;
    live->all[live->n++] = (struct live_segment){first, end, bytes};
    live->bytes += bytes;
    return 0;
}

static struct live_segment *find(const struct live *live, uint64_t position)
{
    size_t low = 0, high = live->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (live->all[middle].end <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < live->n && live->all[low].first <= position ? &live->all[low] : NULL;
}

int live_follow(struct live *live, const struct commit_log *log)
{
    struct commit_log_segment segment = {.end = 0};
    size_t n = 0;
    int rc = 0;

    commit_log_next_segment(log, 0, &segment);
    while (n < live->n && live->all[n].end <= segment.first)
        live->bytes -= live->all[n++].bytes;
    if (n > 0)
        memmove(live->all, live->all + n, (live->n - n) * sizeof(*live->all));
    live->n -= n;
    segment.end = live->n > 0 ? live->all[live->n - 1].end : 0;
    while (rc == 0 && commit_log_next_segment(log, segment.end, &segment))
        rc = push(live, segment.first, segment.end, 0);
    return rc;
}

void live_add(struct live *live, uint64_t position, uint64_t bytes)
{
    struct live_segment *segment = find(live, position);

    if (!segment)
        return;
    segment->bytes += bytes;
    live->bytes += bytes;
}

void live_sub(struct live *live, uint64_t position, uint64_t bytes)
{
    struct live_segment *segment = find(live, position);

    if (!segment)
        return;
    bytes = bytes < segment->bytes ? bytes : segment->bytes;
    segment->bytes -= bytes;
    live->bytes -= bytes;
    live->died += bytes;
}

uint64_t live_at(const struct live *live, uint64_t position)
{
    const struct live_segment *segment = find(live, position);

    return segment ? segment->bytes : 0;
}

size_t live_size(const struct live *live)
{
    return live->n * STORED;
}

void live_store(const struct live *live, uint8_t *to)
{
    for (size_t i = 0; i < live->n; i++) {
        to = put_le64(to, live->all[i].first);
        to = put_le64(to, live->all[i].end);
        to = put_le64(to, live->all[i].bytes);
    }
}

int live_load(struct live *live, const uint8_t *from, size_t len)
{
    uint64_t end = 0;
    int rc = len % STORED == 0 ? 0 : -EBADMSG;

    live->n = 0;
    live->bytes = 0;
    for (size_t i = 0; rc == 0 && i < len; i += STORED) {
        if (get_le64(from + i) < end || get_le64(from + i + 8) <= get_le64(from + i))
            return -EBADMSG;
        end = get_le64(from + i + 8);
        rc = push(live, get_le64(from + i), end, get_le64(from + i + 16));
    }
    return rc;
}
