#include "transport/queued/shown.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/clock.h"

#define SHOW_US INT64_C(500000) /* between two lines */

struct shown shown_begin(void)
{
    return (struct shown){.due_us = isatty(STDERR_FILENO)
                                        ? clock_system.mono_us(&clock_system) + SHOW_US
                                        : TIME_FOREVER};
}

void show(void *arg, uint64_t done, uint64_t all)
{
    struct shown *shown = arg;
    int64_t now_us;

    if (shown->due_us == TIME_FOREVER)
        return;
    now_us = clock_system.mono_us(&clock_system);
    if (now_us < shown->due_us)
        return;
    if (all > 0)
        fprintf(stderr, "\r%3u %% of %" PRIu64 " MiB", (unsigned)(done * 100 / all), all >> 20);
    else
        fprintf(stderr, "\r%" PRIu64 " MiB", done >> 20);
    shown->due_us = now_us + SHOW_US;
    shown->any = true;
}

void shown_end(const struct shown *shown)
{
    if (shown->any)
        fputs("\r                              \r", stderr);
}
