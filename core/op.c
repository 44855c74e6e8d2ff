/*
 * Threads: op_cancel() comes from any thread at any time while the op is alive. It sets `cancelled`
 * before it reads `lock`; op_park_locked() is called after `lock` was set and reads `cancelled`.
 * Both are sequentially consistent, so at least one side sees the other: either the op never
 * parks, or the canceller finds the list's lock and takes it out.
 */
#include "core/op.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/request.h"

void op_list_init(struct op_list *list)
{
    TAILQ_INIT(&list->ops);
    list->n = 0;
}

void op_init(struct op *op, void (*done)(struct op *op, ssize_t result), void *owner)
{
    *op = (struct op){.done = done, .owner = owner, .deadline_us = INT64_MAX};
}

bool op_park_locked(struct op *op, struct op_list *list)
{
    assert(!op->list);
    if (atomic_load(&op->cancelled))
        return false;
    TAILQ_INSERT_TAIL(&list->ops, op, link);
    list->n++;
    op->list = list;
    return true;
}

bool op_take_locked(struct op *op)
{
    if (!op->list)
        return false;
    TAILQ_REMOVE(&op->list->ops, op, link);
    op->list->n--;
    op->list = NULL;
    return true;
}

ssize_t op_interrupted(const struct op *op)
{
    if (op->progress == 0)
        return -EINTR;
    return op->sync ? -ETIMEDOUT : (ssize_t)op->progress;
}

void op_finish(struct op *op, ssize_t result)
{
    void (*unhold)(void *hold) = op->unhold;
    void *hold = op->hold;

    op->done(op, result);
    if (unhold)
        unhold(hold);
}

void op_cancel(struct op *op)
{
    pthread_mutex_t *lock;
    bool taken;

    atomic_store(&op->cancelled, true);
    lock = atomic_load(&op->lock);
    if (!lock)
        return;
    pthread_mutex_lock(lock);
    taken = op_take_locked(op);
    pthread_mutex_unlock(lock);
    if (!taken)
        return;
    op->in_cancel = true;
    op_finish(op, op_interrupted(op));
}

void effects_init(struct effects *effects)
{
    effects->requests = NULL;
    effects->requests_end = &effects->requests;
    op_list_init(&effects->finished);
}

void effects_send(struct effects *effects, struct request *request)
{
    request->next = NULL;
    *effects->requests_end = request;
    effects->requests_end = &request->next;
}

void effects_finish_locked(struct effects *effects, struct op *op, ssize_t result)
{
    op_take_locked(op);
    op->result = result;
    TAILQ_INSERT_TAIL(&effects->finished.ops, op, link);
    effects->finished.n++;
}

void effects_finish_all_locked(struct effects *effects, struct op_list *list, ssize_t result)
{
    while (!TAILQ_EMPTY(&list->ops))
        effects_finish_locked(effects, TAILQ_FIRST(&list->ops), result);
}
