/* Calls of readers, and of those who look after claimed items: mount_queue.c says how each goes. */
#include "core/mount/mount_state.h"

#include <errno.h>

int mount_queue_reader_open(struct mount_queue *mq, uid_t uid, enum get_kind kind, uint64_t limit,
                            int64_t timeout_us, struct reader **reader)
{
    struct budget_user *user = budget_user_get(&mq->mount->budget, uid);
    int error;

    if (!user)
        return -ENOMEM;
    pthread_mutex_lock(&mq->lock);
    error = kind == GET_CLAIM ? mount_queue_activate_claims_locked(mq)
                              : mount_queue_activate_locked(mq);
    if (!error)
        error = reader_new(kind == GET_CLAIM ? mq->claimer : mq->consumer, user, limit, timeout_us,
                           reader);
    pthread_mutex_unlock(&mq->lock);
    budget_user_unref(user);
    return error;
}

void mount_queue_reader_release(struct mount_queue *mq, struct reader *r)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_queue_enter(mq, &effects);
    consumer_release(reader_consumer(r), r, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_read(struct mount_queue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    consumer_read(reader_consumer(r), r, op, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_peek(struct mount_queue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    consumer_peek(reader_consumer(r), r, op, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_peek_no_more(struct mount_queue *mq, struct reader *r)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_queue_enter(mq, &effects);
    consumer_peek_no_more(reader_consumer(r), r, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

int64_t mount_queue_reader_size(struct mount_queue *mq, const struct reader *r)
{
    int64_t size;

    pthread_mutex_lock(&mq->lock);
    size = reader_size(r);
    pthread_mutex_unlock(&mq->lock);
    return size;
}

void mount_queue_reader_close(struct mount_queue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);

    consumer_close(reader_consumer(r), r, op, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

bool mount_queue_reader_poll(struct mount_queue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);
    bool ready = consumer_readable(reader_consumer(r), r);

    if (!ready)
        consumer_poll(reader_consumer(r), r, op, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
    return ready;
}

void mount_queue_flush_settlements(struct mount_queue *mq, struct op *op)
{
    struct effects effects;
    int64_t now_us = mount_queue_enter_op(mq, op, &effects);
    struct consumer *c = mq->claimer ? mq->claimer : mq->consumer; /* waits for its peer too */

    if (c)
        consumer_flush(c, op, mq->mount->timeout_us, now_us, &effects);
    else
        effects_finish_locked(&effects, op, mq->ended);
    mount_queue_leave(mq, &effects, now_us);
}

/* ---- items that are held ---- */

/* As mount_queue_enter(); the claimer, or NULL: nothing was ever claimed. */
static struct consumer *enter_claims(struct mount_queue *mq, struct effects *effects)
{
    mount_queue_enter(mq, effects);
    return mq->claimer;
}

int mount_queue_claim_add(struct mount_queue *mq, struct request *get)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;
    int error;

    mount_queue_enter(mq, &effects);
    error = mount_queue_activate_claims_locked(mq);
    if (mq->claimer)
        error = consumer_hold(mq->claimer, get, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
    return error;
}

bool mount_queue_claim(struct mount_queue *mq, uint64_t id, struct item_info *info)
{
    int64_t now_us = mount_now(mq->mount), wall_us = mq->mount->clock->wall_us(mq->mount->clock);
    bool claim;

    pthread_mutex_lock(&mq->lock);
    claim = mq->claimer && claims_find(consumer_claims(mq->claimer), id, now_us, wall_us, info);
    pthread_mutex_unlock(&mq->lock);
    return claim;
}

size_t mount_queue_claim_list(struct mount_queue *mq, uint64_t from, struct item_info *infos,
                              size_t max)
{
    int64_t now_us = mount_now(mq->mount), wall_us = mq->mount->clock->wall_us(mq->mount->clock);
    size_t n = 0;

    pthread_mutex_lock(&mq->lock);
    if (mq->claimer)
        n = claims_list(consumer_claims(mq->claimer), from, now_us, wall_us, infos, max);
    pthread_mutex_unlock(&mq->lock);
    return n;
}

int mount_queue_claim_open(struct mount_queue *mq, uint64_t id, struct claim **claim,
                           const uint8_t **data, size_t *len)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;
    struct consumer *c = enter_claims(mq, &effects);
    struct claim *found;
    int error = -ENOENT;

    if (c)
        error = consumer_open_claim(c, id, &found, now_us, &effects);
    if (!error) {
        *claim = found;
        *data = claim_data(found, len);
    }
    mount_queue_leave(mq, &effects, now_us);
    return error;
}

void mount_queue_claim_close(struct mount_queue *mq, struct claim *claim)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    consumer_close_claim(enter_claims(mq, &effects), claim, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

int mount_queue_claim_settle(struct mount_queue *mq, uint64_t id, enum settle_verb verb)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;
    struct consumer *c = enter_claims(mq, &effects);
    int error = verb == SETTLE_RENEW ? -ESTALE : -ENOENT;

    if (c)
        error = consumer_settle(c, id, verb, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
    return error;
}
