/*
 * Latencies in logarithmic buckets, 8 to each power of two (error at most 1/8), constant size.
 * Not thread-safe: guarded by its owner's lock.
 */
#ifndef QUEUEFS_CORE_HISTOGRAM_H
#define QUEUEFS_CORE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 320

struct histogram {
    uint64_t n;
    int64_t max_us;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

/* Count `times` values of us each. Negative counts as 0. */
void histogram_add(struct histogram *h, int64_t us, uint64_t times);

/* The value below or at which `percent` of them are; 0 where there are none. */
int64_t histogram_percentile(const struct histogram *h, double percent);

/* Add all of `from`. */
void histogram_merge(struct histogram *h, const struct histogram *from);

#endif
