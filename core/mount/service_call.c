#include "core/mount/service_call.h"

#include <assert.h>
#include <errno.h>

/* ---- silence of the service ---- */

/* Silent from now on, unless it is already. */
static void note_asked(struct mount *m)
{
    int64_t never = 0;

    atomic_compare_exchange_strong(&m->asked_us, &never, mount_now(m));
}

int64_t ask_deadline(struct mount *m)
{
    int64_t since_us = atomic_load(&m->asked_us);

    return time_after(since_us ? since_us : mount_now(m), ASK_TIMEOUT_US);
}

/* ---- ops parked on the mount ---- */

bool ask_park(struct mount *m, struct op *op, void *context, int64_t deadline_us)
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
        ticker_arm(m->ticker, &m->ask_tick, deadline_us);
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

struct op *ask_take_op(struct mount *m, const void *context)
{
    struct op *op;

    pthread_mutex_lock(&m->lock);
    op = find_locked(m, context);
    if (op)
        op_take_locked(op);
    pthread_mutex_unlock(&m->lock);
    return op;
}

void ask_finish(struct mount *m, const void *context, ssize_t result)
{
    struct op *op = ask_take_op(m, context);

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

static void asks_due(struct ticker_entry *entry, int64_t now_us)
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
        ticker_arm(m->ticker, &m->ask_tick, next_us);
    finish_collected(&effects);
}

void mount_asks_init(struct mount *m)
{
    ticker_entry_init(&m->ask_tick, asks_due, m);
}

void mount_asks_end(struct mount *m)
{
    struct effects effects;

    effects_init(&effects);
    pthread_mutex_lock(&m->lock);
    assert(m->stopping);
    effects_finish_all_locked(&effects, &m->ops, -ESHUTDOWN);
    pthread_mutex_unlock(&m->lock);
    finish_collected(&effects);
}

/* ---- questions ---- */

void ask_init(struct ask *ask, struct mount *m, struct mount_queue *mq, enum request_kind kind,
              void (*done)(struct request *request))
{
    *ask = (struct ask){
        .request = {.kind = kind, .session = m->id, .done = done, .owner = ask},
        .mount = m,
    };
    if (!mq)
        return;
    ask->mq = mount_queue_ref(mq);
    ask->request.queue = mount_queue_number(mq);
}

void ask_fini(struct ask *ask)
{
    request_release(&ask->request);
    mount_queue_unref(ask->mq);
}

bool ask_begin(struct ask *ask, struct op *op, int64_t deadline_us)
{
    bool unknown = ask->mq && ask->request.queue == 0;

    ask->request.give_up_us = deadline_us == TIME_FOREVER ? 0 : deadline_us;
    if (!ask_park(ask->mount, op, unknown ? NULL : ask, deadline_us))
        return false;
    note_asked(ask->mount);
    if (unknown)
        mount_sync(ask->mount); /* nothing else is asked that would end a silence */
    return !unknown;
}

bool ask_waits(struct ask *ask)
{
    struct mount *m = ask->mount;
    bool waits;

    pthread_mutex_lock(&m->lock);
    waits = find_locked(m, ask) != NULL;
    pthread_mutex_unlock(&m->lock);
    return waits;
}

void ask_send(struct ask *ask)
{
    struct backend *backend = ask->mount->backend;

    note_asked(ask->mount);
    ask->request.sent_us = mount_now(ask->mount); /* until the client knows better */
    backend->submit(backend, &ask->request);
}
