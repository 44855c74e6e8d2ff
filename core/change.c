/*
 * Ops on the mount itself: those that ask the service to change something (mkdir, rmdir, chmod,
 * config, purge), for one second at most because the kernel holds a directory's lock meanwhile,
 * and flushes, which wait for several smaller ops.
 *
 * The user's op parks in mount.ops with what it waits for as its `context`; an answer looks it up
 * there, so that an op that was interrupted or timed out is simply not found any more.
 */
#include "core/mount_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

#define ASK_TIMEOUT_US INT64_C(1000000)

/* ---- ops parked on the mount ---- */

/* False: the op has been finished already, the mount is ending or the op was interrupted. */
static bool park(struct mount *m, struct op *op, void *context, int64_t deadline_us)
{
    ssize_t result = 0;

    atomic_store(&op->lock, &m->lock);
    pthread_mutex_lock(&m->lock);
    op->context = context;
    op->deadline_us = deadline_us;
    if (m->stopping)
        result = -ESHUTDOWN;
    else if (!op_park_locked(op, &m->ops))
        result = op_interrupted(op);
    pthread_mutex_unlock(&m->lock);
    if (result == 0 && deadline_us != TIME_FOREVER)
        ticker_arm(m->ticker, &m->change_tick, deadline_us);
    if (result != 0)
        op_finish(op, result);
    return result == 0;
}

/* Finish the op that waits for `context`, if it still does. */
static void finish(struct mount *m, const void *context, ssize_t result)
{
    struct op *op;

    pthread_mutex_lock(&m->lock);
    TAILQ_FOREACH (op, &m->ops.ops, link)
        if (op->context == context)
            break;
    if (op)
        op_take_locked(op);
    pthread_mutex_unlock(&m->lock);
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

static void change_due(struct ticker_entry *entry, int64_t now_us)
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
        ticker_arm(m->ticker, &m->change_tick, next_us);
    finish_collected(&effects);
}

void mount_change_init(struct mount *m)
{
    ticker_entry_init(&m->change_tick, change_due, m);
}

void mount_change_end(struct mount *m)
{
    struct effects effects;

    effects_init(&effects);
    pthread_mutex_lock(&m->lock);
    assert(m->stopping);
    effects_finish_all_locked(&effects, &m->ops, -ESHUTDOWN);
    pthread_mutex_unlock(&m->lock);
    finish_collected(&effects);
}

/* ---- requests that change something ---- */

struct change {
    struct request request;
    struct mount *mount;
    struct mqueue *mq;            /* a reference, or NULL for MAKE */
    struct all_settings settings; /* of MAKE and SET */
    char name[QUEUE_NAME_MAX + 1];
    struct op push; /* PURGE: first what was written before is sent */
    bool wanted;    /* MAKE of a queue of the settings file */
};

static void change_free(struct change *change)
{
    request_release(&change->request);
    mqueue_unref(change->mq);
    free(change);
}

static void warn_differences(const struct mount *m, const struct queue_entry *entry)
{
    const struct mount_queue *configured = mount_configured(m, entry->name);
    struct all_settings theirs = {.own = entry->settings}, ours;
    int i;

    if (!configured)
        return;
    ours = configured->settings;
    for (i = 0; settings_table[i].key; i++) {
        const struct setting *row = &settings_table[i];
        int64_t here = *setting_value(row, &ours), there = *setting_value(row, &theirs);

        if (row->whose == SETTING_OWN && configured->given >> i & 1 && here != there)
            log_warning("queue %s: %s is %lld at the service, %lld in the settings file; the "
                        "service's holds",
                        entry->name, row->key, (long long)there, (long long)here);
    }
}

static void change_done(struct request *request)
{
    struct change *change = request->owner;
    struct mount *m = change->mount;

    if (request->status == 0 && request->kind == REQUEST_REMOVE) {
        struct queue_entry gone = {.number = request->queue, .gone = true};

        mount_apply_entry(m, &gone);
    } else if (request->status == 0 && request->kind != REQUEST_PURGE) {
        mount_apply_entry(m, &request->out.make.entry);
        if (change->wanted)
            warn_differences(m, &request->out.make.entry);
    } else if (request->status == 0) {
        mqueue_update(change->mq, NULL, &request->state);
    }
    if (request->status == 0 && request->kind == REQUEST_SET)
        mqueue_apply(change->mq, &change->settings);
    if (change->wanted)
        mount_made(m, change->name, request->status);
    finish(m, change, request->status);
    change_free(change);
}

static struct change *change_new(struct mount *m, enum request_kind kind, struct mqueue *mq)
{
    struct change *change = calloc(1, sizeof(*change));

    if (!change)
        return NULL;
    change->mount = m;
    change->mq = mq ? mqueue_ref(mq) : NULL;
    change->request.kind = kind;
    change->request.queue = mq ? mqueue_number(mq) : 0;
    change->request.session = m->id;
    change->request.done = change_done;
    change->request.owner = change;
    return change;
}

/* Of a queue that the service has not told the number of: nothing is sent, and nothing can come
 * to pass after the op has failed. */
static bool is_unknown(const struct change *change)
{
    return change->mq && change->request.queue == 0;
}

/* Park the op until the deadline, which is the request's too. False: there is nothing to send, and
 * the change has been freed. */
static bool begin(struct mount *m, struct change *change, struct op *op, int64_t deadline_us)
{
    bool unknown = is_unknown(change);

    change->request.give_up_us = deadline_us == TIME_FOREVER ? 0 : deadline_us;
    if (park(m, op, unknown ? NULL : change, deadline_us) && !unknown)
        return true;
    change_free(change);
    return false;
}

/* Park the op, send the change. Takes the change; NULL is out of memory. */
static void ask(struct mount *m, struct change *change, struct op *op)
{
    if (!change)
        op_finish(op, -ENOMEM);
    else if (begin(m, change, op, mount_now(m) + ASK_TIMEOUT_US))
        m->backend->submit(m->backend, &change->request);
}

void mount_make_queue(struct mount *m, const char *name, int64_t mode, int64_t owner, int64_t group,
                      struct op *op)
{
    const struct mount_queue *configured = mount_configured(m, name);
    struct change *change;

    if (!queue_name_valid(name)) {
        op_finish(op, -EINVAL);
        return;
    }
    change = change_new(m, REQUEST_MAKE, NULL);
    if (change) {
        change->settings = configured ? configured->settings : m->defaults;
        change->settings.own.mode = mode;
        change->settings.own.owner = owner;
        change->settings.own.group = group;
        strcpy(change->name, name);
        change->request.in.make.name = change->name;
        change->request.in.make.settings = &change->settings.own;
    }
    ask(m, change, op);
}

void mount_make_wanted(struct mount *m, const struct mount_queue *queue)
{
    struct change *change = change_new(m, REQUEST_MAKE, NULL);

    if (!change) {
        mount_made(m, queue->name, -ENOMEM);
        return;
    }
    change->settings = queue->settings;
    change->wanted = true;
    strcpy(change->name, queue->name);
    change->request.in.make.name = change->name;
    change->request.in.make.settings = &change->settings.own;
    change->request.in.make.may_exist = true;
    m->backend->submit(m->backend, &change->request);
}

static bool has_buffered(struct mqueue *mq)
{
    bool buffered;

    pthread_mutex_lock(&mq->lock);
    buffered = mq->producer && (producer_counters(mq->producer)->buffered_items > 0 ||
                                producer_unfinished(mq->producer) > 0);
    pthread_mutex_unlock(&mq->lock);
    return buffered;
}

void mount_remove_queue(struct mount *m, struct mqueue *mq, struct op *op)
{
    if (has_buffered(mq))
        op_finish(op, -ENOTEMPTY);
    else
        ask(m, change_new(m, REQUEST_REMOVE, mq), op);
}

void mqueue_set(struct mqueue *mq, const struct all_settings *settings, struct op *op)
{
    const struct setting *bad;
    struct mqueue_info info;
    struct change *change;

    mqueue_info(mq, &info);
    if (queue_settings_check(&settings->own, &bad)) {
        op_finish(op, -EINVAL);
        return;
    }
    if (info.gone) {
        op_finish(op, -ENOENT);
        return;
    }
    if (memcmp(&info.settings.own, &settings->own, sizeof(settings->own)) == 0) {
        mqueue_apply(mq, settings);
        op_finish(op, 0);
        return;
    }
    change = change_new(mq->mount, REQUEST_SET, mq);
    if (change) {
        change->settings = *settings;
        change->request.in.set.settings = &change->settings.own;
    }
    ask(mq->mount, change, op);
}

static void purge_pushed(struct op *op, ssize_t result)
{
    struct change *change = op->owner;
    struct mount *m = change->mount;

    if (result == -ENOENT || result == -ESHUTDOWN) {
        finish(m, change, result);
        change_free(change);
        return;
    }
    m->backend->submit(m->backend, &change->request);
}

void mqueue_purge(struct mqueue *mq, struct op *op)
{
    struct mount *m = mq->mount;
    struct change *change = change_new(m, REQUEST_PURGE, mq);

    if (!change) {
        op_finish(op, -ENOMEM);
        return;
    }
    if (!begin(m, change, op, time_after(mount_now(m), m->timeout_us)))
        return;
    op_init(&change->push, purge_pushed, change);
    mqueue_flush_puts(mq, &change->push);
}

/* ---- flushes: an op that waits for several ---- */

struct join {
    struct mount *mount;
    atomic_size_t n_left;
    _Atomic int error; /* the first one */
    struct part *parts;
};

struct part {
    struct op op;
    struct join *join;
    struct mqueue *mq; /* a reference */
};

static void join_leave(struct join *join)
{
    if (atomic_fetch_sub(&join->n_left, 1) != 1)
        return;
    finish(join->mount, join, join->error);
    free(join->parts);
    free(join);
}

static void part_done(struct op *op, ssize_t result)
{
    struct part *part = op->owner;
    int none = 0;

    if (result < 0)
        atomic_compare_exchange_strong(&part->join->error, &none, (int)result);
    mqueue_unref(part->mq);
    join_leave(part->join);
}

/* A part that is interrupted ends by its own deadline, which each has. */
static void flush_all(struct mount *m, struct mqueue **all, size_t n, struct op *op)
{
    struct join *join = calloc(1, sizeof(*join));
    struct part *parts = calloc(2 * n + 1, sizeof(*parts));
    size_t i;

    if (!join || !parts) {
        free(join);
        free(parts);
        op_finish(op, -ENOMEM);
        return;
    }
    join->mount = m;
    join->parts = parts;
    atomic_init(&join->n_left, 2 * n + 1);
    if (!park(m, op, join, TIME_FOREVER)) {
        free(parts);
        free(join);
        return;
    }
    for (i = 0; i < 2 * n; i++) {
        parts[i].join = join;
        parts[i].mq = mqueue_ref(all[i / 2]);
        op_init(&parts[i].op, part_done, &parts[i]);
        if (i % 2 == 0)
            mqueue_flush_puts(all[i / 2], &parts[i].op);
        else
            mqueue_flush_settlements(all[i / 2], &parts[i].op);
    }
    join_leave(join);
}

void mqueue_flush(struct mqueue *mq, struct op *op)
{
    flush_all(mq->mount, &mq, 1, op);
}

void mount_flush(struct mount *m, struct op *op)
{
    struct mqueue **all;
    size_t n;

    all = mount_all(m, &n);
    flush_all(m, all, n, op);
    mount_all_free(all, n);
}
