#include "fs/limit.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

/* The kernel looks every so often, and takes shorter bounds for as long as this. */
#define KERNEL_PERIOD_S 15

static _Thread_local bool within_end;

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

void limit_init(struct limit *limit, const struct clock *clock)
{
    pthread_condattr_t attr;

    *limit = (struct limit){.clock = clock};
    TAILQ_INIT(&limit->waiting);
    pthread_mutex_init(&limit->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&limit->changed, &attr);
    pthread_condattr_destroy(&attr);
}

/* The one to be ended now, or NULL after a wait or when it is time to stop. */
static struct limited *next_locked(struct limit *limit)
{
    struct limited *first = TAILQ_FIRST(&limit->waiting);
    struct timespec until;

    if (!first) {
        pthread_cond_wait(&limit->changed, &limit->lock);
        return NULL;
    }
    if (first->deadline_us <= limit->clock->mono_us(limit->clock))
        return first;
    until = (struct timespec){.tv_sec = first->deadline_us / 1000000,
                              .tv_nsec = first->deadline_us % 1000000 * 1000};
    pthread_cond_timedwait(&limit->changed, &limit->lock, &until);
    return NULL;
}

static void *limit_run(void *arg)
{
    struct limit *limit = arg;
    struct limited *limited;

    within_end = true;
    pthread_mutex_lock(&limit->lock);
    while (!limit->stopping) {
        limited = next_locked(limit);
        if (!limited)
            continue;
        TAILQ_REMOVE(&limit->waiting, limited, link);
        limited->listed = false;
        limited->over = true;
        limit->ending = limited;
        pthread_mutex_unlock(&limit->lock);
        limited->end(limited);
        pthread_mutex_lock(&limit->lock);
        limit->ending = NULL;
        pthread_cond_broadcast(&limit->changed);
    }
    pthread_mutex_unlock(&limit->lock);
    return NULL;
}

int limit_start(struct limit *limit, int64_t limit_us)
{
    int result;

    if (limit_us == 0)
        return 0;
    result = pthread_create(&limit->thread, NULL, limit_run, limit);
    if (result == 0)
        limit->limit_us = limit_us;
    return -result;
}

void limit_fini(struct limit *limit)
{
    assert(TAILQ_EMPTY(&limit->waiting));
    if (limit->limit_us > 0) {
        pthread_mutex_lock(&limit->lock);
        limit->stopping = true;
        pthread_cond_broadcast(&limit->changed);
        pthread_mutex_unlock(&limit->lock);
        pthread_join(limit->thread, NULL);
    }
    pthread_cond_destroy(&limit->changed);
    pthread_mutex_destroy(&limit->lock);
}

void limit_add(struct limit *limit, struct limited *limited, void (*end)(struct limited *limited))
{
    *limited = (struct limited){.end = end};
    if (limit->limit_us == 0)
        return;
    limited->deadline_us = limit->clock->mono_us(limit->clock) + limit->limit_us;
    pthread_mutex_lock(&limit->lock);
    TAILQ_INSERT_TAIL(&limit->waiting, limited, link);
    limited->listed = true;
    if (TAILQ_FIRST(&limit->waiting) == limited)
        pthread_cond_broadcast(&limit->changed);
    pthread_mutex_unlock(&limit->lock);
}

bool limit_remove(struct limit *limit, struct limited *limited)
{
    bool over;

    if (limit->limit_us == 0)
        return false;
    pthread_mutex_lock(&limit->lock);
    if (limited->listed)
        TAILQ_REMOVE(&limit->waiting, limited, link);
    limited->listed = false;
    while (!within_end && limit->ending == limited)
        pthread_cond_wait(&limit->changed, &limit->lock);
    over = limited->over;
    pthread_mutex_unlock(&limit->lock);
    return over;
}

bool limit_is_ending(void)
{
    return within_end;
}
