/*
 * The queues of the settings file. Where the service answers at the start they are made if they
 * are missing, and that is all. Where it does not, or cannot make one, they are listed all the
 * same, without a number (mount_queue.c holds their requests), until the service tells it: because
 * it has the queue, or because it has made it. Their place in the listing, which the kernel knows
 * them by, stays.
 *
 * A queue that cannot be made is asked for again with each SYNC, but for one that the service does
 * not let this mount make.
 */
#include "core/mount/mount_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

/* Above every number that a service will ever give. */
#define PROVIDED_PLACE (UINT64_C(1) << 47)

int mount_wanted_init(struct mount *m, const struct preset *queues, size_t n_queues)
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

bool mount_all_tried_locked(const struct mount *m)
{
    size_t i;

    for (i = 0; i < m->n_queues; i++)
        if (!m->queues[i].made && !m->queues[i].warned)
            return false;
    return true;
}

/* ---- without the service ---- */

static void provide(struct mount *m, const struct preset *queue, uint64_t place)
{
    struct queue_entry entry = {
        .made_us = m->clock->wall_us(m->clock), .may = ACCESS_ALL, .settings = queue->settings.own};
    struct mount_queue *mq;

    strcpy(entry.name, queue->name);
    mq = mount_queue_new(m, &entry, place, &queue->settings.mount);
    if (!mq)
        log_error("queue %s: out of memory", queue->name);
    else if (!mount_list_provided(m, mq))
        mount_queue_unref(mq);
}

void mount_provide(struct mount *m)
{
    size_t i;

    for (i = 0; i < m->n_queues; i++)
        provide(m, &m->queues[i].queue, PROVIDED_PLACE + i);
}

void mount_want_again(struct mount *m)
{
    size_t i;

    pthread_mutex_lock(&m->lock);
    for (i = 0; i < m->n_queues; i++)
        m->queues[i].made = m->queues[i].warned = false;
    pthread_mutex_unlock(&m->lock);
}

/* ---- with it ---- */

/* A MAKE on its way. */
struct make {
    struct request request; /* first */
    struct mount *mount;
    struct wanted_queue *wanted;
};

static void made(struct mount *m, struct wanted_queue *wanted, int status)
{
    bool warn;

    pthread_mutex_lock(&m->lock);
    wanted->asked = false;
    wanted->made |= status == 0;
    wanted->denied = status == -EACCES ? m->service : 0;
    warn = status != 0 && status != -ESHUTDOWN && !is_refused(status) && !wanted->warned;
    wanted->warned |= warn;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    if (warn)
        log_warning("queue %s cannot be made: %s; %s", wanted->queue.name, strerror(-status),
                    status == -EACCES ? "`access` of the service does not allow it"
                                      : "it is tried again");
}

static void warn_differences(const struct preset *configured, const struct queue_entry *entry)
{
    struct all_settings theirs = {.own = entry->settings}, ours;
    int i;

    ours = configured->settings;
    for (i = 0; settings_table[i].key; i++) {
        const struct setting *row = &settings_table[i];
        int64_t here = *setting_value(row, &ours), there = *setting_value(row, &theirs);

        if (row->whose == SETTING_OWN && configured->given & setting_bit(row) && here != there)
            log_warning("queue %s: %s is %lld at the service, %lld in the settings file; the "
                        "service's holds",
                        entry->name, row->key, (long long)there, (long long)here);
    }
}

static void make_done(struct request *request)
{
    struct make *make = (struct make *)request;

    mount_heard(make->mount, request);
    if (request->term != mount_standing(make->mount).term)
        request->status = -EREMCHG; /* made in another store, if it was */
    else if (is_refused(request->status))
        mount_refused(make->mount, request);
    if (request->status == 0) {
        mount_apply_entry(make->mount, &request->out.make.entry, request->life);
        warn_differences(&make->wanted->queue, &request->out.make.entry);
    }
    made(make->mount, make->wanted, request->status);
    request_release(request);
    free(make);
}

static void make_wanted(struct mount *m, struct wanted_queue *wanted)
{
    struct make *make = calloc(1, sizeof(*make));

    if (!make) {
        made(m, wanted, -ENOMEM);
        return;
    }
    make->mount = m;
    make->wanted = wanted;
    make->request = (struct request){
        .kind = REQUEST_MAKE,
        .in.make = {.name = wanted->queue.name,
                    .settings = &wanted->queue.settings.own,
                    .may_exist = true},
        .done = make_done,
    };
    pthread_mutex_lock(&m->lock);
    mount_address_locked(m, &make->request);
    pthread_mutex_unlock(&m->lock);
    m->backend->submit(m->backend, &make->request);
}

void mount_make_missing(struct mount *m)
{
    size_t i;
    bool ask;

    for (i = 0; i < m->n_queues; i++) {
        pthread_mutex_lock(&m->lock);
        ask = !m->queues[i].made && !m->queues[i].asked &&
              (m->queues[i].denied == 0 || m->queues[i].denied != m->service);
        m->queues[i].asked |= ask;
        pthread_mutex_unlock(&m->lock);
        if (ask)
            make_wanted(m, &m->queues[i]);
    }
}
