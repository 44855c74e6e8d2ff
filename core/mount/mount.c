/* The life of a mount: its start and its end. mount_state.h has the locks. */
#include "core/mount/mount_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cond.h"
#include "core/log.h"

/* As long as a caller in the kernel may be kept: see service_call.h. */
#define SILENCE_US INT64_C(1000000)

int mount_new(const struct mount_options *options, struct mount **mount)
{
    struct mount *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    m->backend = options->backend;
    m->clock = options->clock;
    m->standing = (struct standing){.id = options->id, .term = 1};
    m->timeout_us = options->timeout_us;
    m->silence_us = options->silence_us ? options->silence_us : SILENCE_US;
    m->started_us = mount_now(m);
    m->defaults = options->defaults;
    m->link_info = options->link_info;
    m->link_arg = options->link_arg;
    m->own_service = options->own_service;
    if (mount_wanted_init(m, options->queues, options->n_queues))
        goto free_mount;
    if (ticker_new(m->clock, &m->ticker))
        goto free_mount;
    budget_init(&m->budget, options->buffer_total, options->by_uid, options->owner);
    mount_history_init(m);
    mount_lists_init(m);
    op_list_init(&m->ops);
    pthread_mutex_init(&m->lock, NULL);
    cond_init(&m->changed);
    mount_follow_init(m);
    mount_calls_init(m);
    *mount = m;
    return 0;

free_mount:
    free(m->queues);
    free(m);
    return -ENOMEM;
}

void mount_free(struct mount *m)
{
    struct ticker_entry *entry;

    if (!m)
        return;
    ticker_stop(m->ticker);
    while ((entry = ticker_take(m->ticker)))
        if (entry->owner != m)
            mount_queue_unref(entry->owner);
    ticker_free(m->ticker);
    mount_lists_fini(m);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    budget_fini(&m->budget);
    mount_history_fini(m);
    free(m->queues);
    free(m);
}

struct budget *mount_budget(struct mount *m)
{
    return &m->budget;
}

struct ticker *mount_ticker(struct mount *m)
{
    return m->ticker;
}

int mount_start(struct mount *m, int64_t wait_us)
{
    int64_t until_us = time_after(mount_now(m), wait_us);
    int error = ticker_start(m->ticker);

    if (error)
        return error;
    mount_sync(m);
    pthread_mutex_lock(&m->lock);
    while (!(m->synced && mount_all_tried_locked(m)) &&
           cond_wait_until(&m->changed, &m->lock, until_us))
        ;
    error = m->synced ? 0 : -ETIMEDOUT;
    pthread_mutex_unlock(&m->lock);
    mount_provide(m);
    return error;
}

void mount_space(struct mount *m, struct store_space *space, uint64_t *n_queues)
{
    pthread_mutex_lock(&m->lock);
    *space = m->space;
    *n_queues = m->n_mount_queues;
    pthread_mutex_unlock(&m->lock);
}

/* ---- the end ---- */

/* What a GET in flight brings has to go back; a service that is away is not waited for so long. */
#define LAST_GETS_US INT64_C(1000000)

/* Who waits for the end is told what it waits for, of so many queues by name. */
#define TELL_FIRST_US INT64_C(1000000)
#define TELL_EVERY_US INT64_C(5000000)
#define TELL_QUEUES   4

/* Room that nobody will make is waited for no longer than this. */
#define REFUSED_US INT64_C(3000000)

static bool all_idle(struct mount_queue **all, size_t n, bool gets)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (!mount_queue_idle(all[i], gets))
            return false;
    return true;
}

static bool all_done(struct mount *m, struct mount_queue **all, size_t n, bool gets)
{
    return all_idle(all, n, gets) && !(gets && atomic_load(&m->n_takes) > 0);
}

static void count_rest(struct mount_queue **all, size_t n, struct mount_rest *rest)
{
    size_t i;

    *rest = (struct mount_rest){0};
    for (i = 0; i < n; i++) {
        pthread_mutex_lock(&all[i]->lock);
        if (all[i]->producer) {
            rest->n_items += producer_counters(all[i]->producer)->buffered_items;
            rest->n_unfinished += producer_unfinished(all[i]->producer);
        }
        pthread_mutex_unlock(&all[i]->lock);
    }
}

/* What is left of a queue, and what it waits for; 0 items: nothing. */
struct waiting {
    uint64_t n_items;
    int failing;
    bool full; /* maxsize */
};

static struct waiting waiting_of(struct mount_queue *mq)
{
    struct waiting waiting = {0};
    uint64_t maxsize;

    pthread_mutex_lock(&mq->lock);
    maxsize = (uint64_t)mq->settings.own.maxsize;
    if (mq->producer) {
        waiting.n_items = producer_counters(mq->producer)->buffered_items;
        waiting.failing = producer_failing(mq->producer);
        waiting.full = maxsize > 0 && mq->state.depth + mq->state.leased >= maxsize;
    }
    pthread_mutex_unlock(&mq->lock);
    return waiting;
}

static const char *why(struct mount *m, const struct waiting *waiting)
{
    struct link_info info = {.connected = true};

    if (m->link_info)
        m->link_info(m->link_arg, &info);
    if (!info.connected)
        return "the queue service is away";
    if (waiting->failing)
        return strerror(-waiting->failing);
    return waiting->full ? "the queue is full" : "not acknowledged yet";
}

static void tell_rest(struct mount *m, struct mount_queue **all, size_t n)
{
    uint64_t n_items = 0, n_queues = 0;

    for (size_t i = 0; i < n; i++) {
        struct waiting waiting = waiting_of(all[i]);

        if (waiting.n_items == 0)
            continue;
        if (++n_queues > TELL_QUEUES)
            n_items += waiting.n_items;
        else
            log_warning("ending: %llu items of %s wait to be sent: %s",
                        (unsigned long long)waiting.n_items, all[i]->name, why(m, &waiting));
    }
    if (n_queues > TELL_QUEUES)
        log_warning("ending: %llu items of %llu more queues wait to be sent",
                    (unsigned long long)n_items, (unsigned long long)(n_queues - TELL_QUEUES));
}

/* Whether what is left is only what nobody will ever make room for. */
static bool all_refused(struct mount *m, struct mount_queue **all, size_t n)
{
    bool alone, any = false;

    pthread_mutex_lock(&m->lock);
    alone = m->own_service && m->n_mounts <= 1;
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < n && alone; i++) {
        struct waiting waiting = waiting_of(all[i]);

        any |= waiting.n_items > 0;
        alone =
            waiting.n_items > 0 ? waiting.failing || waiting.full : mount_queue_idle(all[i], false);
    }
    return alone && any;
}

void mount_stop(struct mount *m, int64_t timeout_us, struct mount_rest *rest)
{
    int64_t begun_us = mount_now(m), until_us = time_after(begun_us, timeout_us), now_us;
    int64_t tell_us = time_after(begun_us, TELL_FIRST_US);
    struct mount_queue **all;
    size_t n, i;

    pthread_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_mutex_unlock(&m->lock);
    mount_calls_end(m);
    all = mount_all(m, &n);
    for (i = 0; i < n; i++)
        mount_queue_end(all[i], -ESHUTDOWN);
    while ((now_us = mount_now(m)) < until_us &&
           !all_done(m, all, n, now_us < begun_us + LAST_GETS_US)) {
        if (now_us >= tell_us) {
            tell_rest(m, all, n);
            tell_us = time_after(now_us, TELL_EVERY_US);
        }
        if (now_us >= begun_us + REFUSED_US && all_refused(m, all, n))
            break;
        pthread_mutex_lock(&m->lock);
        cond_wait_until(&m->changed, &m->lock, time_min(until_us, now_us + 2000));
        pthread_mutex_unlock(&m->lock);
    }
    count_rest(all, n, rest);
    for (i = 0; i < n; i++)
        mount_queue_close(all[i]);
    mount_all_free(all, n);
}
