/*
 * The queues of the settings file. Where the service answers at the start they are made if they
 * are missing, and that is all. Where it does not, or cannot make one, they are listed all the
 * same, without a number (mount_queue.c holds their requests), until the service tells it: because
 * it has the queue, or because it has made it. Their place in the listing, which the kernel knows
 * them by, stays.
 *
 * A queue that cannot be made is asked for again with each SYNC.
 */
#include "core/mount/mount_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

/* Above every number that a service will ever give. */
#define PROVIDED_PLACE (UINT64_C(1) << 47)

int mount_wanted_init(struct mount *m, const struct mount_queue *queues, size_t n_queues)
{
    size_t i;

    if (n_queues == 0)
        return 0;
    m->queues = calloc(n_queues, sizeof(*m->queues));
    if (!m->queues)
        return -ENOMEM;
    for (i = 0; i < n_queues; i++)
        m->queues[i].queue = queues[i];
    m->n_queues = n_queues;
    return 0;
}

static struct wanted_queue *wanted_find(const struct mount *m, const char *name)
{
    size_t i;

    for (i = 0; i < m->n_queues; i++)
        if (strcmp(m->queues[i].queue.name, name) == 0)
            return &m->queues[i];
    return NULL;
}

const struct mount_queue *mount_configured(const struct mount *m, const char *name)
{
    struct wanted_queue *wanted = wanted_find(m, name);

    return wanted ? &wanted->queue : NULL;
}

bool mount_all_tried_locked(const struct mount *m)
{
    size_t i;

    for (i = 0; i < m->n_queues; i++)
        if (!m->queues[i].made && !m->queues[i].warned)
            return false;
    return true;
}

/* ---- without the service ---- */

static void provide(struct mount *m, const struct mount_queue *queue, uint64_t place)
{
    struct queue_entry entry = {.made_us = m->clock->wall_us(m->clock),
                                .settings = queue->settings.own};
    struct mqueue *mq;
    bool there;

    strcpy(entry.name, queue->name);
    mq = mqueue_new(m, &entry, place);
    if (!mq) {
        log_error("queue %s: out of memory", queue->name);
        return;
    }
    pthread_mutex_lock(&m->lock);
    there = m->stopping || RB_INSERT(mqueue_by_name, &m->by_name, mq);
    if (!there) {
        RB_INSERT(mqueue_by_place, &m->by_place, mq);
        mq->listed = true;
        m->n_mqueues++;
    }
    pthread_mutex_unlock(&m->lock);
    if (there)
        mqueue_unref(mq);
}

void mount_provide(struct mount *m)
{
    size_t i;

    for (i = 0; i < m->n_queues; i++)
        provide(m, &m->queues[i].queue, PROVIDED_PLACE + i);
}

struct mqueue *mount_adopt(struct mount *m, const struct queue_entry *entry)
{
    struct mqueue key, *mq;

    strcpy(key.name, entry->name);
    pthread_mutex_lock(&m->lock);
    mq = RB_FIND(mqueue_by_name, &m->by_name, &key);
    if (mq && mq->number == 0) {
        mqueue_settle_locked(mq, entry);
        RB_INSERT(mqueue_by_number, &m->by_number, mq);
        mq->generation = m->generation;
        mqueue_ref(mq);
    } else {
        mq = NULL;
    }
    pthread_mutex_unlock(&m->lock);
    return mq;
}

/* ---- with it ---- */

void mount_make_missing(struct mount *m)
{
    size_t i;
    bool ask;

    for (i = 0; i < m->n_queues; i++) {
        pthread_mutex_lock(&m->lock);
        ask = !m->queues[i].made && !m->queues[i].asked;
        m->queues[i].asked |= ask;
        pthread_mutex_unlock(&m->lock);
        if (ask)
            mount_make_wanted(m, &m->queues[i].queue);
    }
}

void mount_made(struct mount *m, const char *name, int status)
{
    struct wanted_queue *wanted = wanted_find(m, name);
    bool warn;

    pthread_mutex_lock(&m->lock);
    wanted->asked = false;
    wanted->made |= status == 0;
    warn = status != 0 && status != -ESHUTDOWN && !wanted->warned;
    wanted->warned |= warn;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    if (warn)
        log_warning("queue %s cannot be made: %s; it is tried again", name, strerror(-status));
}
