/* Calls of writers: mount_queue.c says how each goes. */
#include "core/mount/mount_state.h"

#include <errno.h>
#include <stdlib.h>

int mount_queue_writer_open(struct mount_queue *mq, uid_t uid, struct writer **writer)
{
    struct budget_user *user = budget_user_get(&mq->mount->budget, uid);
    struct writer *w = calloc(1, sizeof(*w));
    int error = user && w ? 0 : -ENOMEM;

    pthread_mutex_lock(&mq->lock);
    if (!error)
        error = mount_queue_activate_locked(mq);
    if (!error)
        error = writer_init(mq->producer, w, user);
    pthread_mutex_unlock(&mq->lock);
    budget_user_unref(user);
    if (error) {
        free(w);
        return error;
    }
    *writer = w;
    return 0;
}

bool mount_queue_unfinished(struct mount_queue *mq)
{
    bool unfinished;

    pthread_mutex_lock(&mq->lock);
    unfinished = mq->producer && producer_unfinished(mq->producer) > 0;
    pthread_mutex_unlock(&mq->lock);
    return unfinished;
}

void mount_queue_writer_release(struct mount_queue *mq, struct writer *w)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_queue_enter(mq, &effects);
    producer_release(mq->producer, w, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
    free(w);
}

void mount_queue_write(struct mount_queue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    producer_write(mq->producer, w, op, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_writer_close(struct mount_queue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    producer_close(mq->producer, w, op, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_sync(struct mount_queue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    producer_sync(mq->producer, w, op, mq->mount->timeout_us, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_flush_puts(struct mount_queue *mq, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    if (mq->producer)
        producer_flush(mq->producer, op, mq->mount->timeout_us, now_us, &effects);
    else
        effects_finish_locked(&effects, op, mq->ended);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_show_puts(struct mount_queue *mq, struct op *op, int64_t wait_us)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    if (mq->producer)
        producer_show(mq->producer, op, wait_us, now_us, &effects);
    else
        effects_finish_locked(&effects, op, 0);
    mount_queue_leave(mq, &effects, now_us);
}

bool mount_queue_writer_poll(struct mount_queue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);
    bool ready = producer_writable(mq->producer, w);

    if (!ready)
        producer_poll(mq->producer, w, op, &effects);
    mount_queue_leave(mq, &effects, now_us);
    return ready;
}
