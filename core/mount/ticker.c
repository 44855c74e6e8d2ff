/* One mutex guards the tree; `due_us` is also read without it, to leave early where nothing
 * changes: most calls arm what is armed for an earlier time already. */
#include "core/mount/ticker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/cond.h"

RB_HEAD(ticker_tree, ticker_entry);

static _Thread_local bool is_here;

struct ticker {
    const struct clock *clock;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct ticker_tree entries;
    struct ticker_entry *running; /* whose function is being called */
    unsigned n_cancelling;        /* who wait for that to end */
    pthread_cond_t ran;
    bool stopping;
};

static int compare(const struct ticker_entry *a, const struct ticker_entry *b)
{
    if (a->due_us != b->due_us)
        return a->due_us < b->due_us ? -1 : 1;
    return (a > b) - (a < b);
}

RB_PROTOTYPE(ticker_tree, ticker_entry, link, compare)
RB_GENERATE(ticker_tree, ticker_entry, link, compare)

void ticker_entry_init(struct ticker_entry *entry,
                       void (*tick)(struct ticker_entry *entry, int64_t now_us), void *owner)
{
    entry->tick = tick;
    entry->owner = owner;
    atomic_init(&entry->due_us, TIME_FOREVER);
}

int ticker_new(const struct clock *clock, struct ticker **ticker)
{
    struct ticker *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->clock = clock;
    RB_INIT(&t->entries);
    pthread_mutex_init(&t->lock, NULL);
    cond_init(&t->wake);
    pthread_cond_init(&t->ran, NULL);
    *ticker = t;
    return 0;
}

static void *ticker_run(void *arg)
{
    struct ticker *t = arg;

    is_here = true;
    pthread_mutex_lock(&t->lock);
    while (!t->stopping) {
        struct ticker_entry *first = RB_MIN(ticker_tree, &t->entries);
        int64_t now_us = t->clock->mono_us(t->clock);

        if (!first || first->due_us > now_us) {
            cond_wait_until(&t->wake, &t->lock, first ? first->due_us : TIME_FOREVER);
            continue;
        }
        RB_REMOVE(ticker_tree, &t->entries, first);
        first->due_us = TIME_FOREVER;
        t->running = first;
        pthread_mutex_unlock(&t->lock);
        first->tick(first, now_us);
        pthread_mutex_lock(&t->lock);
        t->running = NULL;
        if (t->n_cancelling > 0)
            pthread_cond_broadcast(&t->ran);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int ticker_start(struct ticker *t)
{
    int error = pthread_create(&t->thread, NULL, ticker_run, t);

    t->started = error == 0;
    return -error;
}

void ticker_stop(struct ticker *t)
{
    if (!t->started)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    t->started = false;
}

void ticker_free(struct ticker *t)
{
    if (!t)
        return;
    ticker_stop(t);
    pthread_cond_destroy(&t->wake);
    pthread_cond_destroy(&t->ran);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

bool ticker_arm(struct ticker *t, struct ticker_entry *entry, int64_t due_us)
{
    bool fresh;

    if (due_us >= entry->due_us)
        return false;
    pthread_mutex_lock(&t->lock);
    fresh = entry->due_us == TIME_FOREVER;
    if (due_us < entry->due_us) {
        if (!fresh)
            RB_REMOVE(ticker_tree, &t->entries, entry);
        entry->due_us = due_us;
        RB_INSERT(ticker_tree, &t->entries, entry);
        if (RB_MIN(ticker_tree, &t->entries) == entry)
            pthread_cond_signal(&t->wake);
    } else {
        fresh = false;
    }
    pthread_mutex_unlock(&t->lock);
    return fresh;
}

static void disarm_locked(struct ticker *t, struct ticker_entry *entry)
{
    if (entry->due_us != TIME_FOREVER)
        RB_REMOVE(ticker_tree, &t->entries, entry);
    entry->due_us = TIME_FOREVER;
}

void ticker_cancel(struct ticker *t, struct ticker_entry *entry)
{
    pthread_mutex_lock(&t->lock);
    disarm_locked(t, entry);
    t->n_cancelling++;
    while (!is_here && t->running == entry)
        pthread_cond_wait(&t->ran, &t->lock);
    t->n_cancelling--;
    pthread_mutex_unlock(&t->lock);
}

bool ticker_is_here(void)
{
    return is_here;
}

struct ticker_entry *ticker_take(struct ticker *t)
{
    struct ticker_entry *first = RB_MIN(ticker_tree, &t->entries);

    if (first)
        ticker_cancel(t, first);
    return first;
}
