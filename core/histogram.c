/*
 * Bucket layout: values below 8 have a bucket each; above, each power of two is cut into eight, so
 * that a bucket is at most an eighth of its values wide (the scheme of HdrHistogram with three
 * significant bits).
 */
#include "core/histogram.h"

#define SUB_BITS  3
#define SUB_COUNT (1 << SUB_BITS)

static int bucket_of(int64_t us)
{
    int exponent, bucket;

    if (us < SUB_COUNT)
        return us < 0 ? 0 : (int)us;
    exponent = 63 - __builtin_clzll((uint64_t)us);
    bucket = (exponent - SUB_BITS + 1) * SUB_COUNT + (int)(us >> (exponent - SUB_BITS)) - SUB_COUNT;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into the bucket. */
static int64_t bucket_top(int bucket)
{
    int shift;

    if (bucket < SUB_COUNT)
        return bucket;
    shift = bucket / SUB_COUNT - 1;
    return (((int64_t)(bucket % SUB_COUNT) + SUB_COUNT + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, int64_t us, uint64_t times)
{
    uint32_t *bucket = &h->buckets[bucket_of(us)];

    h->n += times;
    if (us > h->max_us)
        h->max_us = us;
    *bucket = times > UINT32_MAX - *bucket ? UINT32_MAX : *bucket + (uint32_t)times;
}

int64_t histogram_percentile(const struct histogram *h, double percent)
{
    uint64_t total = 0, seen = 0;
    int i;

    for (i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h->buckets[i];
    if (total == 0)
        return 0;
    for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if ((double)seen >= (double)total * percent / 100.0 && seen > 0)
            break;
    }
    return i == HISTOGRAM_BUCKETS || bucket_top(i) > h->max_us ? h->max_us : bucket_top(i);
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
    int i;

    h->n += from->n;
    if (from->max_us > h->max_us)
        h->max_us = from->max_us;
    for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint32_t room = UINT32_MAX - h->buckets[i];

        h->buckets[i] += from->buckets[i] < room ? from->buckets[i] : room;
    }
}
