/* Calls that change a queue at the service: make, remove, set, purge. */
#include "core/mount/service_call.h"

#include <errno.h>
#include <string.h>

/* ---- make ---- */

static void made(struct service_call *call)
{
    if (call->request.status == 0)
        mount_apply_entry(call->mount, &call->request.out.make.entry, call->request.life);
    service_call_end(call, call->request.status);
}

void mount_make_queue(struct mount *m, const char *name, int64_t mode, int64_t owner, int64_t group,
                      struct op *op)
{
    const struct preset *configured = mount_configured(m, name);
    struct service_call *call;

    if (!queue_name_may_be_made(name)) {
        op_finish(op, -EINVAL);
        return;
    }
    call = service_call_new(m, NULL, REQUEST_MAKE, made);
    if (call) {
        call->settings = configured ? configured->settings : m->defaults;
        call->settings.own.mode = mode;
        call->settings.own.owner = owner;
        call->settings.own.group = group;
        strcpy(call->name, name);
        call->request.in.make.name = call->name;
        call->request.in.make.settings = &call->settings.own;
    }
    service_call_begin(call, op);
}

/* ---- remove and purge: what was settled here would be in the way, or be missed ---- */

static bool has_buffered(struct mount_queue *mq)
{
    bool buffered;

    pthread_mutex_lock(&mq->lock);
    buffered = mq->producer && (producer_counters(mq->producer)->buffered_items > 0 ||
                                producer_unfinished(mq->producer) > 0);
    pthread_mutex_unlock(&mq->lock);
    return buffered;
}

static void removed(struct service_call *call)
{
    struct queue_entry gone = {.number = call->request.queue, .gone = true};

    if (call->request.status == 0)
        mount_apply_entry(call->mount, &gone, call->request.life);
    service_call_end(call, call->request.status);
}

void mount_remove_queue(struct mount *m, struct mount_queue *mq, struct op *op)
{
    struct service_call *call;

    if (has_buffered(mq)) {
        op_finish(op, -ENOTEMPTY);
        return;
    }
    call = service_call_new(m, mq, REQUEST_REMOVE, removed);
    if (call)
        call->after_settlements = true;
    service_call_begin(call, op);
}

static void purged(struct service_call *call)
{
    if (call->request.status == 0)
        mount_queue_update(call->mq, NULL, &call->request.state);
    service_call_end(call, call->request.status);
}

void mount_queue_purge(struct mount_queue *mq, struct op *op)
{
    struct mount *m = mq->mount;
    struct service_call *call = service_call_new(m, mq, REQUEST_PURGE, purged);

    if (call) {
        call->deadline_us = time_after(mount_now(m), m->timeout_us);
        call->after_settlements = true;
        call->after_puts_us = m->timeout_us;
    }
    service_call_begin(call, op);
}

/* ---- settings ---- */

static void set(struct service_call *call)
{
    if (call->request.status == 0) {
        mount_apply_entry(call->mount, &call->request.out.make.entry, call->request.life);
        mount_queue_apply(call->mq, &call->settings, call->fields);
    }
    service_call_end(call, call->request.status);
}

void mount_queue_set(struct mount_queue *mq, const struct all_settings *settings, uint64_t fields,
                     struct op *op)
{
    const struct setting *bad;
    struct mount_queue_info info;
    struct service_call *call;

    mount_queue_info(mq, &info);
    settings_merge(&info.settings, settings, fields);
    if (queue_settings_check(&info.settings.own, &bad)) {
        op_finish(op, -EINVAL);
        return;
    }
    if (info.gone) {
        op_finish(op, -ENOENT);
        return;
    }
    if (!(fields & SETTINGS_OWN)) {
        mount_queue_apply(mq, settings, fields);
        op_finish(op, 0);
        return;
    }
    call = service_call_new(mq->mount, mq, REQUEST_SET, set);
    if (call) {
        call->settings = *settings;
        call->fields = fields;
        call->request.in.set.settings = &call->settings.own;
        call->request.in.set.fields = fields & SETTINGS_OWN;
    }
    service_call_begin(call, op);
}
