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

    *limit = (struct limit){
        .clock = clock,
        .after_us = {[LIMIT_SECOND] = LIMIT_SECOND_US, [LIMIT_MOMENT] = LIMIT_MOMENT_US},
    };
    for (int bound = 0; bound < LIMIT_BOUNDS; bound++)
        TAILQ_INIT(&limit->waiting[bound]);
    pthread_mutex_init(&limit->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&limit->changed, &attr);
    pthread_condattr_destroy(&attr);
}

static struct limited *first_locked(const struct limit *limit)
{
    struct limited *first = NULL;

    for (int bound = 0; bound < LIMIT_BOUNDS; bound++) {
        struct limited *limited = TAILQ_FIRST(&limit->waiting[bound]);

        if (limited && (!first || limited->deadline_us < first->deadline_us))
            first = limited;
    }
    return first;
}

/* The one to be ended now, or NULL after a wait or when it is time to stop. */
static struct limited *next_locked(struct limit *limit)
{
    struct limited *first = first_locked(limit);
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

static void unlist_locked(struct limit *limit, struct limited *limited)
{
    if (limited->listed != LIMIT_NONE)
        TAILQ_REMOVE(&limit->waiting[limited->listed], limited, link);
    limited->listed = LIMIT_NONE;
}

static void list_locked(struct limit *limit, struct limited *limited, enum limit_bound bound,
                        int64_t deadline_us)
{
    unlist_locked(limit, limited);
    limited->deadline_us = deadline_us;
    limited->listed = bound;
    TAILQ_INSERT_TAIL(&limit->waiting[bound], limited, link);
    if (first_locked(limit) == limited)
        pthread_cond_broadcast(&limit->changed);
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
        limited->over = limited->listed;
        unlist_locked(limit, limited);
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

int limit_start(struct limit *limit, int64_t kernel_us)
{
    int result = pthread_create(&limit->thread, NULL, limit_run, limit);

    limit->started = result == 0;
    if (result == 0)
        limit->after_us[LIMIT_KERNEL] = kernel_us;
    return -result;
}

void limit_fini(struct limit *limit)
{
    assert(!first_locked(limit));
    if (limit->started) {
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
    if (limit->after_us[LIMIT_KERNEL] > 0)
        limit_hurry(limit, limited, LIMIT_KERNEL);
}

void limit_hurry(struct limit *limit, struct limited *limited, enum limit_bound bound)
{
    int64_t deadline_us = limit->clock->mono_us(limit->clock) + limit->after_us[bound];

    limited->bounded = true;
    pthread_mutex_lock(&limit->lock);
    if (limited->over == LIMIT_NONE &&
        (limited->listed == LIMIT_NONE || deadline_us < limited->deadline_us))
        list_locked(limit, limited, bound, deadline_us);
    pthread_mutex_unlock(&limit->lock);
}

enum limit_bound limit_remove(struct limit *limit, struct limited *limited)
{
    enum limit_bound over;

    if (!limited->bounded)
        return LIMIT_NONE;
    pthread_mutex_lock(&limit->lock);
    unlist_locked(limit, limited);
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
