/* Calls of readers, and of those who look after claimed items: mount_queue.c says how each goes. */
#include "core/mount/mount_state.h"

#include <errno.h>

int mqueue_reader_open(struct mqueue *mq, enum get_kind kind, uint64_t limit, int64_t timeout_us,
                       struct reader **reader)
{
    int error;

    pthread_mutex_lock(&mq->lock);
    error = kind == GET_CLAIM ? mqueue_activate_claims_locked(mq) : mqueue_activate_locked(mq);
    if (!error)
        error =
            reader_new(kind == GET_CLAIM ? mq->claimer : mq->consumer, limit, timeout_us, reader);
    pthread_mutex_unlock(&mq->lock);
    return error;
}

void mqueue_reader_release(struct mqueue *mq, struct reader *r)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mqueue_enter(mq, &effects);
    consumer_release(reader_consumer(r), r, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
}

void mqueue_read(struct mqueue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mqueue_enter_op(mq, op, &effects);

    consumer_read(reader_consumer(r), r, op, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
}

void mqueue_peek(struct mqueue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mqueue_enter_op(mq, op, &effects);

    consumer_peek(reader_consumer(r), r, op, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
}

void mqueue_peek_no_more(struct mqueue *mq, struct reader *r)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mqueue_enter(mq, &effects);
    consumer_peek_no_more(reader_consumer(r), r, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
}

int64_t mqueue_reader_size(struct mqueue *mq, const struct reader *r)
{
    int64_t size;

    pthread_mutex_lock(&mq->lock);
    size = reader_size(r);
    pthread_mutex_unlock(&mq->lock);
    return size;
}

void mqueue_reader_close(struct mqueue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mqueue_enter_op(mq, op, &effects);

    consumer_close(reader_consumer(r), r, op, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
}

bool mqueue_reader_poll(struct mqueue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mqueue_enter_op(mq, op, &effects);
    bool ready = consumer_readable(reader_consumer(r), r);

    if (!ready)
        consumer_poll(reader_consumer(r), r, op, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
    return ready;
}

void mqueue_flush_settlements(struct mqueue *mq, struct op *op)
{
    struct effects effects;
    int64_t now_us = mqueue_enter_op(mq, op, &effects);
    struct consumer *c = mq->claimer ? mq->claimer : mq->consumer; /* waits for its peer too */

    if (c)
        consumer_flush(c, op, mq->mount->timeout_us, now_us, &effects);
    else
        effects_finish_locked(&effects, op, mq->ended);
    mqueue_leave(mq, &effects, now_us);
}

/* ---- items that are held ---- */

/* As mqueue_enter(); the claimer, or NULL: nothing was ever claimed. */
static struct consumer *enter_claims(struct mqueue *mq, struct effects *effects)
{
    mqueue_enter(mq, effects);
    return mq->claimer;
}

int mqueue_held_add(struct mqueue *mq, struct request *get)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;
    int error;

    mqueue_enter(mq, &effects);
    error = mqueue_activate_claims_locked(mq);
    if (mq->claimer)
        error = consumer_hold(mq->claimer, get, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
    return error;
}

bool mqueue_held(struct mqueue *mq, uint64_t id, struct item_info *info)
{
    int64_t now_us = mount_now(mq->mount), wall_us = mq->mount->clock->wall_us(mq->mount->clock);
    bool held;

    pthread_mutex_lock(&mq->lock);
    held = mq->claimer && held_find(consumer_held(mq->claimer), id, now_us, wall_us, info);
    pthread_mutex_unlock(&mq->lock);
    return held;
}

size_t mqueue_held_list(struct mqueue *mq, uint64_t from, struct item_info *infos, size_t max)
{
    int64_t now_us = mount_now(mq->mount), wall_us = mq->mount->clock->wall_us(mq->mount->clock);
    size_t n = 0;

    pthread_mutex_lock(&mq->lock);
    if (mq->claimer)
        n = held_list(consumer_held(mq->claimer), from, now_us, wall_us, infos, max);
    pthread_mutex_unlock(&mq->lock);
    return n;
}

int mqueue_held_open(struct mqueue *mq, uint64_t id, struct held **held, const uint8_t **data,
                     size_t *len)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;
    struct consumer *c = enter_claims(mq, &effects);
    struct held *found;
    int error = -ENOENT;

    if (c)
        error = consumer_open_held(c, id, &found, now_us, &effects);
    if (!error) {
        *held = found;
        *data = held_data(found, len);
    }
    mqueue_leave(mq, &effects, now_us);
    return error;
}

void mqueue_held_close(struct mqueue *mq, struct held *held)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    consumer_close_held(enter_claims(mq, &effects), held, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
}

int mqueue_held_settle(struct mqueue *mq, uint64_t id, enum settle_verb verb)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;
    struct consumer *c = enter_claims(mq, &effects);
    int error = verb == SETTLE_RENEW ? -ESTALE : -ENOENT;

    if (c)
        error = consumer_settle(c, id, verb, now_us, &effects);
    mqueue_leave(mq, &effects, now_us);
    return error;
}
