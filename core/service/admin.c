/* Queues are made, removed and set: each such request commits what has gathered and itself. */
#include "core/service/service_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

int service_make_queue(struct service *s, const char *name, const struct queue_settings *settings,
                       struct queue **queue)
{
    struct queue_record record = {.number = s->last_number + 1,
                                  .settings = *settings,
                                  .next_batch = 1,
                                  .made_us = s->shared.wall_us};
    struct queue *q;
    int rc;

    if (!queue_name_valid(name) || queue_settings_check(settings, NULL) < 0)
        return -EINVAL;
    if (service_space(s)->gone)
        return -EIO;
    strcpy(record.name, name);
    rc = queue_new(&s->shared, &record, &q);
    if (rc < 0)
        return rc;
    queue_unsaved(q);
    rc = service_commit(s);
    if (rc < 0) {
        queue_free(q);
        return rc;
    }
    service_list_queue(s, q);
    sessions_signal_queues(&s->sessions);
    *queue = q;
    return 0;
}

static int make(struct service *s, struct reply *reply, struct queue **queue)
{
    const struct request *request = reply->request;

    *queue = service_find_name(s, request->in.make.name);
    if (*queue)
        return request->in.make.may_exist ? 0 : -EEXIST;
    return service_make_queue(s, request->in.make.name, request->in.make.settings, queue);
}

void service_make(struct service *s, struct reply *reply)
{
    struct queue *q;

    reply->status = make(s, reply, &q);
    if (reply->status == 0)
        reply->result.made = q->record.number;
    TAILQ_INSERT_TAIL(&s->finished, reply, link);
}

int service_set_queue(struct service *s, struct queue *q, const struct queue_settings *settings,
                      uint64_t fields)
{
    const struct all_settings from = {.own = *settings};
    struct queue_settings before = q->record.settings;
    struct all_settings to = {.own = before};
    int rc;

    if (fields & ~SETTINGS_OWN)
        return -EINVAL;
    settings_merge(&to, &from, fields);
    if (queue_settings_check(&to.own, NULL) < 0)
        return -EINVAL;
    if (service_space(s)->gone)
        return -EIO;
    if (memcmp(&to.own, &before, sizeof(before)) == 0)
        return 0;
    q->record.settings = to.own;
    queue_unsaved(q);
    rc = service_commit(s);
    if (rc < 0)
        q->record.settings = before;
    else
        sessions_signal_queues(&s->sessions);
    return rc;
}

void service_set(struct service *s, struct reply *reply)
{
    const struct request *request = reply->request;
    struct queue *q = service_find(s, reply->queue);

    reply->status =
        q ? service_set_queue(s, q, request->in.set.settings, request->in.set.fields) : -ENOENT;
    if (reply->status == 0)
        reply->result.made = q->record.number;
    TAILQ_INSERT_TAIL(&s->finished, reply, link);
}

/* ---- remove ---- */

/* Whoever waits in or for the queue finds that it is gone. */
static void let_go(struct service *s, struct queue *q)
{
    struct sequence *seq;
    struct request *put;

    RB_FOREACH (seq, sequence_tree, &q->sequences) {
        while ((put = sequence_release(seq, true)) != NULL)
            answers_add(&s->answers, put, -ENOENT);
    }
    queue_disarm(q);
}

static int remove_stored(struct service *s, uint64_t number)
{
    struct store *store = s->options.store;
    int rc = store->ops->begin(store);

    if (rc < 0)
        return rc;
    rc = store->ops->queue_remove(store, number);
    if (rc < 0) {
        store->ops->abort(store);
        return rc;
    }
    rc = store->ops->commit(store);
    if (rc < 0 && rc != -ENOSPC)
        service_store_failed(s, rc);
    return rc;
}

static int remove_queue(struct service *s, struct queue *q)
{
    struct listed *tomb;
    int rc = service_commit(s); /* nothing of it is staged any more */

    if (rc < 0)
        return rc;
    if (q->record.n_items > 0)
        return -ENOTEMPTY;
    tomb = calloc(1, sizeof(*tomb));
    if (!tomb)
        return -ENOMEM;
    rc = remove_stored(s, q->record.number);
    if (rc < 0) {
        free(tomb);
        return rc;
    }
    let_go(s, q);
    RB_REMOVE(queue_by_number, &s->by_number, q);
    RB_REMOVE(queue_by_name, &s->by_name, q);
    service_unlist(s, q, tomb);
    queue_free(q);
    sessions_signal_queues(&s->sessions);
    return 0;
}

void service_remove(struct service *s, struct reply *reply)
{
    struct queue *q = service_find(s, reply->queue);

    reply->status = q ? remove_queue(s, q) : -ENOENT;
    TAILQ_INSERT_TAIL(&s->finished, reply, link);
}
