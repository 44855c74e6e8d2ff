/*
 * Time, passed in: core reads no clock itself. Microseconds everywhere.
 * mono_us never goes back and is what deadlines are made of; wall_us is the time of day and is
 * only ever shown. Both may be called from any thread.
 */
#ifndef QUEUEFS_CORE_CLOCK_H
#define QUEUEFS_CORE_CLOCK_H

#include <stdint.h>

/* "Never" as a deadline, "forever" as a duration. */
#define TIME_FOREVER INT64_MAX

struct clock {
    int64_t (*mono_us)(const struct clock *clock);
    int64_t (*wall_us)(const struct clock *clock);
};

/* The machine's clocks: CLOCK_MONOTONIC and CLOCK_REALTIME. */
extern const struct clock clock_system;

/* now + duration, TIME_FOREVER where either is or the sum would pass it. */
static inline int64_t time_after(int64_t now_us, int64_t duration_us)
{
    if (now_us == TIME_FOREVER || duration_us >= TIME_FOREVER - now_us)
        return TIME_FOREVER;
    return now_us + duration_us;
}

static inline int64_t time_min(int64_t a_us, int64_t b_us)
{
    return a_us < b_us ? a_us : b_us;
}

#endif
