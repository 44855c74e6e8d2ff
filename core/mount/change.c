/*
 * Ops on the mount itself: those that ask the service to change something (mkdir, rmdir, chmod,
 * config, purge), see ask.h, and flushes, which wait for several smaller ops.
 */
#include "core/mount/service_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests that change something ---- */

struct change {
    struct ask ask;               /* first */
    struct all_settings settings; /* of MAKE and SET */
    char name[QUEUE_NAME_MAX + 1];
    struct op before; /* REMOVE, PURGE: first what was settled and written here is sent */
};

static void change_free(struct change *change)
{
    ask_fini(&change->ask);
    free(change);
}

static void change_done(struct request *request)
{
    struct change *change = request->owner;
    struct mount *m = change->ask.mount;

    mount_heard(m, request->status);
    if (request->status == 0 && request->kind == REQUEST_REMOVE) {
        struct queue_entry gone = {.number = request->queue, .gone = true};

        mount_apply_entry(m, &gone);
    } else if (request->status == 0 && request->kind != REQUEST_PURGE) {
        mount_apply_entry(m, &request->out.make.entry);
    } else if (request->status == 0) {
        mount_queue_update(change->ask.mq, NULL, &request->state);
    }
    if (request->status == 0 && request->kind == REQUEST_SET)
        mount_queue_apply(change->ask.mq, &change->settings);
    ask_finish(m, change, request->status);
    change_free(change);
}

static struct change *change_new(struct mount *m, enum request_kind kind, struct mount_queue *mq)
{
    struct change *change = calloc(1, sizeof(*change));

    if (!change)
        return NULL;
    ask_init(&change->ask, m, mq, kind, change_done);
    return change;
}

/* Park the op, send the change. Takes the change; NULL is out of memory. */
static void ask(struct mount *m, struct change *change, struct op *op)
{
    if (!change)
        op_finish(op, -ENOMEM);
    else if (ask_begin(&change->ask, op, ask_deadline(m)))
        ask_send(&change->ask);
    else
        change_free(change);
}

void mount_make_queue(struct mount *m, const char *name, int64_t mode, int64_t owner, int64_t group,
                      struct op *op)
{
    const struct preset *configured = mount_configured(m, name);
    struct change *change;

    if (!queue_name_may_be_made(name)) {
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
        change->ask.request.in.make.name = change->name;
        change->ask.request.in.make.settings = &change->settings.own;
    }
    ask(m, change, op);
}

static bool has_buffered(struct mount_queue *mq)
{
    bool buffered;

    pthread_mutex_lock(&mq->lock);
    buffered = mq->producer && (producer_counters(mq->producer)->buffered_items > 0 ||
                                producer_unfinished(mq->producer) > 0);
    pthread_mutex_unlock(&mq->lock);
    return buffered;
}

static void before_done(struct op *op, ssize_t result)
{
    struct change *change = op->owner;

    (void)result;
    if (ask_waits(&change->ask))
        ask_send(&change->ask);
    else
        change_free(change);
}

static void settled(struct op *op, ssize_t result)
{
    struct change *change = op->owner;

    if (change->ask.request.kind != REQUEST_PURGE) {
        before_done(op, result);
        return;
    }
    op_init(op, before_done, change);
    mount_queue_show_puts(change->ask.mq, op, change->ask.mount->timeout_us);
}

/* As ask(), when what this mount has settled is settled: it would be in the way, or be missed. */
static void ask_after_settlements(struct mount *m, struct change *change, int64_t deadline_us,
                                  struct op *op)
{
    if (!change) {
        op_finish(op, -ENOMEM);
        return;
    }
    if (!ask_begin(&change->ask, op, deadline_us)) {
        change_free(change);
        return;
    }
    op_init(&change->before, settled, change);
    mount_queue_flush_settlements(change->ask.mq, &change->before);
}

void mount_remove_queue(struct mount *m, struct mount_queue *mq, struct op *op)
{
    if (has_buffered(mq))
        op_finish(op, -ENOTEMPTY);
    else
        ask_after_settlements(m, change_new(m, REQUEST_REMOVE, mq), ask_deadline(m), op);
}

void mount_queue_set(struct mount_queue *mq, const struct all_settings *settings, struct op *op)
{
    const struct setting *bad;
    struct mount_queue_info info;
    struct change *change;

    mount_queue_info(mq, &info);
    if (queue_settings_check(&settings->own, &bad)) {
        op_finish(op, -EINVAL);
        return;
    }
    if (info.gone) {
        op_finish(op, -ENOENT);
        return;
    }
    if (memcmp(&info.settings.own, &settings->own, sizeof(settings->own)) == 0) {
        mount_queue_apply(mq, settings);
        op_finish(op, 0);
        return;
    }
    change = change_new(mq->mount, REQUEST_SET, mq);
    if (change) {
        change->settings = *settings;
        change->ask.request.in.set.settings = &change->settings.own;
    }
    ask(mq->mount, change, op);
}

void mount_queue_purge(struct mount_queue *mq, struct op *op)
{
    struct mount *m = mq->mount;

    ask_after_settlements(m, change_new(m, REQUEST_PURGE, mq),
                          time_after(mount_now(m), m->timeout_us), op);
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
    struct mount_queue *mq; /* a reference */
};

static void join_leave(struct join *join)
{
    if (atomic_fetch_sub(&join->n_left, 1) != 1)
        return;
    ask_finish(join->mount, join, join->error);
    free(join->parts);
    free(join);
}

static void part_done(struct op *op, ssize_t result)
{
    struct part *part = op->owner;
    int none = 0;

    if (result < 0)
        atomic_compare_exchange_strong(&part->join->error, &none, (int)result);
    mount_queue_unref(part->mq);
    join_leave(part->join);
}

/* A part that is interrupted ends by its own deadline, which each has. */
static void flush_all(struct mount *m, struct mount_queue **all, size_t n, struct op *op)
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
    if (!ask_park(m, op, join, TIME_FOREVER)) {
        free(parts);
        free(join);
        return;
    }
    for (i = 0; i < 2 * n; i++) {
        parts[i].join = join;
        parts[i].mq = mount_queue_ref(all[i / 2]);
        op_init(&parts[i].op, part_done, &parts[i]);
        if (i % 2 == 0)
            mount_queue_flush_puts(all[i / 2], &parts[i].op);
        else
            mount_queue_flush_settlements(all[i / 2], &parts[i].op);
    }
    join_leave(join);
}

void mount_queue_flush(struct mount_queue *mq, struct op *op)
{
    flush_all(mq->mount, &mq, 1, op);
}

void mount_flush(struct mount *m, struct op *op)
{
    struct mount_queue **all;
    size_t n;

    all = mount_all(m, &n);
    flush_all(m, all, n, op);
    mount_all_free(all, n);
}
