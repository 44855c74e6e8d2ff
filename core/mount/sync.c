/*
 * How a mount follows its service: a SYNC each second tells what has changed of which queues, one
 * WATCH is parked at the service and comes back when a queue that somebody here waits for has an
 * item, or has room. Both are single requests used again and again. A SYNC goes out at once when a
 * request was refused because the service is not the one that was meant (history.c).
 */
#include "core/mount/mount_state.h"

#include <errno.h>

#define SYNC_PERIOD_US  INT64_C(1000000)
#define WATCH_WAIT_US   INT64_C(15000000)
#define RETRY_PERIOD_US INT64_C(200000)

static void sync_done(struct request *request);
static void watch_done(struct request *request);

/* What was refused goes out again, as what it is by now (service_call.c). */
static void resume_refused(struct mount *m)
{
    struct request *request, *next;

    pthread_mutex_lock(&m->lock);
    request = m->refused;
    m->refused = NULL;
    pthread_mutex_unlock(&m->lock);
    for (; request; request = next) {
        next = request->next;
        request->life = 0;
        request->done(request);
    }
}

static void sync_due(struct ticker_entry *entry, int64_t now_us)
{
    struct mount *m = entry->owner;
    uint32_t doubled = atomic_exchange(&m->doubled, 0);

    (void)now_us;
    mount_trim(m);
    if (doubled > 0) {
        mount_leave_id(m, doubled);
        resume_refused(m);
    }
    mount_sync(m);
}

static void watch_due(struct ticker_entry *entry, int64_t now_us)
{
    (void)now_us;
    mount_watch(entry->owner);
}

void mount_follow_init(struct mount *m)
{
    ticker_entry_init(&m->sync_tick, sync_due, m);
    ticker_entry_init(&m->watch_tick, watch_due, m);
    m->sync_request.kind = REQUEST_SYNC;
    m->sync_request.done = sync_done;
    m->watch_request.kind = REQUEST_WATCH;
    m->watch_request.done = watch_done;
    m->sync_request.owner = m->watch_request.owner = m;
}

void mount_sync(struct mount *m)
{
    bool send;

    pthread_mutex_lock(&m->lock);
    send = !m->sync_in_flight && (!m->stopping || atomic_load(&m->lost));
    if (!send)
        m->sync_again = true;
    if (send) {
        m->sync_in_flight = true;
        mount_address_locked(m, &m->sync_request);
        m->sync_request.in.sync.since = m->since;
        if (m->since == 0) {
            m->listing = true;
            m->generation++;
        }
    }
    pthread_mutex_unlock(&m->lock);
    if (send)
        m->backend->submit(m->backend, &m->sync_request);
}

void mount_watch(struct mount *m)
{
    bool send;

    pthread_mutex_lock(&m->lock);
    send = !m->watch_in_flight && !m->stopping && m->standing.life != 0;
    if (send) {
        m->watch_in_flight = true;
        mount_address_locked(m, &m->watch_request);
        m->watch_request.in.watch.seen = m->watch_seen;
        m->watch_request.in.watch.wait_us = WATCH_WAIT_US;
    }
    pthread_mutex_unlock(&m->lock);
    if (send)
        m->backend->submit(m->backend, &m->watch_request);
}

/* ---- answers ---- */

/* Another life of the service has no leases in memory, nothing armed, and counts anew. True where
 * it is another one. */
static bool meet_service(struct mount *m, uint64_t service)
{
    struct mount_queue **all;
    bool other, first;
    size_t n, i;

    pthread_mutex_lock(&m->lock);
    other = m->service != service;
    first = m->service == 0;
    m->service = service;
    if (other)
        m->watch_seen = 0;
    if (other && !first)
        m->since = 0;
    pthread_mutex_unlock(&m->lock);
    if (!other || first)
        return false;
    all = mount_all(m, &n);
    for (i = 0; i < n; i++) {
        mount_queue_forget_state(all[i]);
        mount_queue_event(all[i], EVENT_READY | EVENT_ROOM, true);
    }
    mount_all_free(all, n);
    return true;
}

/* True where the next SYNC must follow at once. */
static bool take_sync(struct mount *m, const struct request *request)
{
    bool met = mount_meet_store(m, request);
    bool other = meet_service(m, request->out.sync.service) || met;
    bool part = request->in.sync.since != 0;
    size_t i;

    if (part && (other || request->out.sync.full || m->since == 0)) {
        m->since = 0;
        return true;
    }
    for (i = 0; i < request->out.sync.n_entries; i++)
        mount_apply_entry(m, &request->out.sync.entries[i], request->out.sync.life);
    m->since = request->out.sync.until;
    if (m->listing && !request->out.sync.more) {
        m->listing = false;
        mount_remove_unnamed(m);
    }
    return request->out.sync.more;
}

static void sync_done(struct request *request)
{
    struct mount *m = request->owner;
    bool ok = request->status == 0, more, whole, again;
    struct store_space space = request->out.sync.space;
    uint32_t n_mounts = request->out.sync.n_mounts;
    uint64_t n_refused = request->out.sync.n_refused;

    mount_heard(m, request);
    if (ok)
        atomic_store(&m->lost, false);
    more = ok && take_sync(m, request);
    request_release(request);
    if (ok)
        resume_refused(m);
    pthread_mutex_lock(&m->lock);
    if (ok) {
        m->n_mounts = n_mounts;
        m->n_refused = n_refused;
        m->space = space;
    }
    whole = ok && !more;
    m->synced |= whole;
    m->sync_in_flight = false;
    again = more || (ok && m->sync_again);
    m->sync_again = false;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    if (whole)
        mount_make_missing(m);
    if (ok)
        mount_watch(m);
    if (again)
        mount_sync(m);
    else
        ticker_arm(m->ticker, &m->sync_tick,
                   mount_now(m) + (ok ? SYNC_PERIOD_US : RETRY_PERIOD_US));
}

static void take_event(struct mount *m, const struct event *event)
{
    struct mount_queue *mq;

    if (event->kinds & EVENT_QUEUES)
        mount_sync(m);
    mq = mount_find_number(m, event->queue);
    if (mq)
        mount_queue_event(mq, event->kinds, false);
    mount_queue_unref(mq);
}

static void watch_done(struct request *request)
{
    struct mount *m = request->owner;
    bool ok = request->status == 0;
    size_t i;

    mount_heard(m, request);
    if (is_refused(request->status))
        mount_refused(m, request);
    if (ok && request->life == mount_standing(m).life) {
        if (meet_service(m, request->out.watch.service))
            mount_sync(m);
        m->watch_seen = request->out.watch.sequence;
        for (i = 0; i < request->out.watch.n_events; i++)
            take_event(m, &request->out.watch.events[i]);
    }
    request_release(request);
    pthread_mutex_lock(&m->lock);
    m->watch_in_flight = false;
    pthread_mutex_unlock(&m->lock);
    if (ok)
        mount_watch(m);
    else
        ticker_arm(m->ticker, &m->watch_tick, mount_now(m) + RETRY_PERIOD_US);
}
