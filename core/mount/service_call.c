#include "core/mount/service_call.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- silence of the service ---- */

/* Silent from now on, unless it is already. */
static void note_asked(struct mount *m)
{
    int64_t never = 0;

    atomic_compare_exchange_strong(&m->asked_us, &never, mount_now(m));
}

/* When a call that begins now has to end. */
static int64_t silence_deadline(struct mount *m)
{
    int64_t since_us = atomic_load(&m->asked_us);

    return time_after(since_us ? since_us : mount_now(m), m->silence_us);
}

/* ---- ops parked on the mount ---- */

bool mount_park(struct mount *m, struct op *op, void *context, int64_t deadline_us)
{
    ssize_t result = 0;

    atomic_store(&op->lock, &m->lock);
    pthread_mutex_lock(&m->lock);
    op->context = context;
    op->deadline_us = deadline_us;
    if (m->stopping)
        result = -ESHUTDOWN;
    else if (deadline_us <= mount_now(m))
        result = -ETIMEDOUT;
    else if (!op_park_locked(op, &m->ops))
        result = op_interrupted(op);
    pthread_mutex_unlock(&m->lock);
    if (result == 0 && deadline_us != TIME_FOREVER)
        ticker_arm(m->ticker, &m->call_tick, deadline_us);
    if (result != 0)
        op_finish(op, result);
    return result == 0;
}

static struct op *find_locked(struct mount *m, const void *context)
{
    struct op *op;

    TAILQ_FOREACH (op, &m->ops.ops, link)
        if (op->context == context)
            return op;
    return NULL;
}

static struct op *take_op(struct mount *m, const void *context)
{
    struct op *op;

    pthread_mutex_lock(&m->lock);
    op = find_locked(m, context);
    if (op)
        op_take_locked(op);
    pthread_mutex_unlock(&m->lock);
    return op;
}

void mount_finish(struct mount *m, const void *context, ssize_t result)
{
    struct op *op = take_op(m, context);

    if (op)
        op_finish(op, result);
}

static void finish_collected(struct effects *effects)
{
    struct op *op;

    while ((op = TAILQ_FIRST(&effects->finished.ops))) {
        TAILQ_REMOVE(&effects->finished.ops, op, link);
        op_finish(op, op->result);
    }
}

static void calls_due(struct ticker_entry *entry, int64_t now_us)
{
    struct mount *m = entry->owner;
    int64_t next_us = TIME_FOREVER;
    struct effects effects;
    struct op *op, *after;

    effects_init(&effects);
    pthread_mutex_lock(&m->lock);
    for (op = TAILQ_FIRST(&m->ops.ops); op; op = after) {
        after = TAILQ_NEXT(op, link);
        if (op->deadline_us <= now_us)
            effects_finish_locked(&effects, op, -ETIMEDOUT);
        else
            next_us = time_min(next_us, op->deadline_us);
    }
    pthread_mutex_unlock(&m->lock);
    if (next_us != TIME_FOREVER)
        ticker_arm(m->ticker, &m->call_tick, next_us);
    finish_collected(&effects);
}

void mount_calls_init(struct mount *m)
{
    ticker_entry_init(&m->call_tick, calls_due, m);
}

void mount_calls_end(struct mount *m)
{
    struct request *refused_calls, *next;
    struct effects effects;

    effects_init(&effects);
    pthread_mutex_lock(&m->lock);
    assert(m->stopping);
    effects_finish_all_locked(&effects, &m->ops, -ESHUTDOWN);
    refused_calls = m->refused;
    m->refused = NULL;
    pthread_mutex_unlock(&m->lock);
    finish_collected(&effects);
    for (; refused_calls; refused_calls = next) {
        next = refused_calls->next;
        refused_calls->done(refused_calls);
    }
}

/* ---- calls ---- */

static void submit(struct service_call *call)
{
    struct backend *backend = call->mount->backend;

    note_asked(call->mount);
    call->request.sent_us = mount_now(call->mount); /* until the client knows better */
    backend->submit(backend, &call->request);
}

/* What a refused call's numbers meant is gone: what it asked for was not done there. */
static void answer_void(struct service_call *call, int status)
{
    call->request.status = status;
    memset(&call->request.state, 0, sizeof(call->request.state));
    memset(&call->request.out, 0, sizeof(call->request.out));
    call->answered(call);
}

/* It was not done, as the service is not the one that was meant: it waits for the SYNC that tells
 * which one that is, or goes on where that was told since. */
static void refused(struct service_call *call)
{
    struct request *request = &call->request;
    struct mount *m = call->mount;
    bool waits, gone, stopping;

    request_release(request);
    pthread_mutex_lock(&m->lock);
    stopping = m->stopping;
    gone = call->mq && call->n_stores != m->n_stores;
    waits = !stopping && !gone && request->life == m->standing.life &&
            request->term == m->standing.term;
    if (waits) {
        mount_refused(m, request);
        request->next = m->refused;
        m->refused = request;
    } else {
        mount_address_locked(m, request);
        call->n_stores = m->n_stores;
        request->repeat = true;
    }
    pthread_mutex_unlock(&m->lock);
    if (waits)
        return; /* it may be gone by now */
    if (stopping)
        answer_void(call, -ESHUTDOWN);
    else if (gone)
        answer_void(call, -ENOENT);
    else
        submit(call);
}

/* Whether another store has come since it was sent, so that what the answer says is of none of the
 * mount's queues. */
static bool is_stale(struct service_call *call)
{
    bool stale;

    pthread_mutex_lock(&call->mount->lock);
    stale = call->n_stores != call->mount->n_stores;
    pthread_mutex_unlock(&call->mount->lock);
    return stale;
}

static void request_done(struct request *request)
{
    struct service_call *call = request->owner;

    mount_heard(call->mount, request);
    if (is_refused(request->status) || is_stale(call))
        refused(call);
    else
        call->answered(call);
}

struct service_call *service_call_new(struct mount *m, struct mount_queue *mq,
                                      enum request_kind kind,
                                      void (*answered)(struct service_call *call))
{
    struct service_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->request = (struct request){
        .kind = kind,
        .done = request_done,
        .owner = call,
    };
    call->mount = m;
    call->answered = answered;
    call->deadline_us = silence_deadline(m);
    pthread_mutex_lock(&m->lock);
    call->n_stores = m->n_stores;
    mount_address_locked(m, &call->request);
    pthread_mutex_unlock(&m->lock);
    if (!mq)
        return call;
    call->mq = mount_queue_ref(mq);
    mount_queue_address(mq, &call->request);
    return call;
}

void service_call_free(struct service_call *call)
{
    struct mount *m = call->mount;
    bool takes = call->takes;

    request_release(&call->request);
    mount_queue_unref(call->mq);
    free(call);
    if (takes)
        atomic_fetch_sub(&m->n_takes, 1);
}

struct op *service_call_take_op(struct service_call *call)
{
    return take_op(call->mount, call);
}

void service_call_end(struct service_call *call, ssize_t result)
{
    mount_finish(call->mount, call, result);
    service_call_free(call);
}

void service_call_again(struct service_call *call, const struct request *next)
{
    struct request before = call->request;

    request_release(&call->request);
    call->request = *next;
    call->request.queue = before.queue;
    call->request.session = before.session;
    call->request.life = before.life;
    call->request.term = before.term;
    call->request.done = before.done;
    call->request.owner = call;
    if (next->give_up_us == 0)
        call->request.give_up_us = before.give_up_us;
    submit(call);
}

static bool is_waited_for(struct service_call *call)
{
    struct mount *m = call->mount;
    bool waits;

    pthread_mutex_lock(&m->lock);
    waits = find_locked(m, call) != NULL;
    pthread_mutex_unlock(&m->lock);
    return waits;
}

static void before_done(struct op_group *group, int error)
{
    struct service_call *call = group->owner;

    if (error || !is_waited_for(call))
        service_call_end(call, error);
    else
        submit(call);
}

void service_call_begin(struct service_call *call, struct op *op)
{
    bool unknown;

    if (!call) {
        op_finish(op, -ENOMEM);
        return;
    }
    unknown = call->mq && call->request.queue == 0;
    if (call->request.give_up_us == 0)
        call->request.give_up_us = call->deadline_us;
    if (call->takes)
        atomic_fetch_add(&call->mount->n_takes, 1);
    if (!mount_park(call->mount, op, unknown ? NULL : call, call->deadline_us)) {
        service_call_free(call);
        return;
    }
    note_asked(call->mount);
    if (unknown) {
        mount_sync(call->mount); /* nothing else is asked that would end a silence */
        service_call_free(call);
        return;
    }
    op_group_init(&call->before, before_done, call);
    if (call->after_settlements) {
        op_group_add(&call->before, &call->settlements);
        mount_queue_flush_settlements(call->mq, &call->settlements);
    }
    if (call->after_puts_us > 0) {
        op_group_add(&call->before, &call->puts);
        mount_queue_show_puts(call->mq, &call->puts, call->after_puts_us);
    }
    op_group_end(&call->before);
}
