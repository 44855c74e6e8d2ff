#include "fs/limit.h"

#include <stdio.h>

/* The kernel looks every so often, and takes shorter bounds for as long as this. */
#define KERNEL_PERIOD_S 15

int64_t limit_of_kernel_us(unsigned long default_s, unsigned long max_s)
{
    unsigned long s = default_s;

    if (max_s > 0 && (s == 0 || s > max_s))
        s = max_s;
    if (s == 0)
        return 0;
    if (s < KERNEL_PERIOD_S)
        s = KERNEL_PERIOD_S;
    return (int64_t)s * 750000; /* three quarters of it */
}

static unsigned long read_number(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned long number = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%lu", &number) != 1)
        number = 0;
    fclose(file);
    return number;
}

int64_t limit_of_machine_us(void)
{
    return limit_of_kernel_us(read_number("/proc/sys/fs/fuse/default_request_timeout"),
                              read_number("/proc/sys/fs/fuse/max_request_timeout"));
}

void limit_init(struct limit *limit, struct ticker *ticker, const struct clock *clock)
{
    *limit = (struct limit){
        .ticker = ticker,
        .clock = clock,
        .after_us = {[LIMIT_SECOND] = LIMIT_SECOND_US, [LIMIT_MOMENT] = LIMIT_MOMENT_US},
    };
}

void limit_set_kernel(struct limit *limit, int64_t kernel_us)
{
    limit->after_us[LIMIT_KERNEL] = kernel_us;
}

static void limit_over(struct ticker_entry *entry, int64_t now_us)
{
    struct limited *limited = entry->owner;

    atomic_store(&limited->over, atomic_load(&limited->bound));
    limited->end(limited);
}

void limit_add(struct limit *limit, struct limited *limited, void (*end)(struct limited *limited))
{
    *limited = (struct limited){.end = end};
    ticker_entry_init(&limited->entry, limit_over, limited);
    if (limit->after_us[LIMIT_KERNEL] > 0)
        limit_hurry(limit, limited, LIMIT_KERNEL);
}

void limit_hurry(struct limit *limit, struct limited *limited, enum limit_bound bound)
{
    int64_t due_us = limit->clock->mono_us(limit->clock) + limit->after_us[bound];

    limited->bounded = true;
    if (atomic_load(&limited->over) != LIMIT_NONE || due_us >= limited->entry.due_us)
        return;
    atomic_store(&limited->bound, bound);
    ticker_arm(limit->ticker, &limited->entry, due_us);
}

enum limit_bound limit_remove(struct limit *limit, struct limited *limited)
{
    if (!limited->bounded)
        return LIMIT_NONE;
    ticker_cancel(limit->ticker, &limited->entry);
    return (enum limit_bound)atomic_load(&limited->over);
}
