/* The thread has a reference of its own to all of it, as it may outlive the tree. */
#include "fs/aside.h"

#include "core/clock.h"
#include "core/cond.h"

#include <errno.h>
#include <stdlib.h>

#define END_MS 1000

struct aside {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* lock */
    TAILQ_HEAD(, aside_work) works; /* not begun */
    size_t n_works;
    struct op_list ops; /* op->context: its work */
    bool runs;          /* the thread is there */
    bool ended;         /* and ends */
    bool left;          /* to the thread, which frees all of this */
};

struct aside *aside_new(void)
{
    struct aside *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    if (cond_init(&a->changed) < 0) {
        free(a);
        return NULL;
    }
    pthread_mutex_init(&a->lock, NULL);
    TAILQ_INIT(&a->works);
    op_list_init(&a->ops);
    return a;
}

static void aside_free(struct aside *a)
{
    struct aside_work *work;

    while ((work = TAILQ_FIRST(&a->works)) != NULL) {
        TAILQ_REMOVE(&a->works, work, link);
        work->free(work);
    }
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* NULL: it was cancelled. */
static struct op *op_of_locked(struct aside *a, const struct aside_work *work)
{
    struct op *op;

    TAILQ_FOREACH (op, &a->ops.ops, link) {
        if (op->context == work)
            return op;
    }
    return NULL;
}

/* Without the lock meanwhile, which is held before and after. */
static void run_locked(struct aside *a, struct aside_work *work)
{
    struct op *op = op_of_locked(a, work);
    ssize_t result = 0;

    pthread_mutex_unlock(&a->lock);
    if (op)
        result = work->run(work);
    pthread_mutex_lock(&a->lock);
    op = op_of_locked(a, work);
    if (op)
        op_take_locked(op);
    pthread_mutex_unlock(&a->lock);
    if (op)
        op_finish(op, result);
    work->free(work);
    pthread_mutex_lock(&a->lock);
}

static void *run_works(void *arg)
{
    struct aside *a = arg;
    struct aside_work *work;
    bool left;

    pthread_mutex_lock(&a->lock);
    while (!a->ended) {
        work = TAILQ_FIRST(&a->works);
        if (!work) {
            cond_wait_until(&a->changed, &a->lock, TIME_FOREVER);
            continue;
        }
        TAILQ_REMOVE(&a->works, work, link);
        a->n_works--;
        run_locked(a, work);
    }
    a->runs = false;
    left = a->left;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    if (left)
        aside_free(a);
    return NULL;
}

static void end_ops(struct aside *a)
{
    struct op *op;

    do {
        pthread_mutex_lock(&a->lock);
        op = TAILQ_FIRST(&a->ops.ops);
        if (op)
            op_take_locked(op);
        pthread_mutex_unlock(&a->lock);
        if (op)
            op_finish(op, -ESHUTDOWN);
    } while (op);
}

void aside_end(struct aside *a)
{
    int64_t until_us = cond_in_ms(END_MS);

    if (!a)
        return;
    end_ops(a);
    pthread_mutex_lock(&a->lock);
    a->ended = true;
    pthread_cond_broadcast(&a->changed);
    while (a->runs && cond_wait_until(&a->changed, &a->lock, until_us))
        ;
    a->left = a->runs;
    pthread_mutex_unlock(&a->lock);
    if (!a->left)
        aside_free(a);
}

/* 0 or -EAGAIN. */
static int start_locked(struct aside *a)
{
    pthread_t thread;

    if (a->runs)
        return 0;
    if (pthread_create(&thread, NULL, run_works, a) != 0)
        return -EAGAIN;
    pthread_detach(thread);
    a->runs = true;
    return 0;
}

/* 0, or what its op ends with. */
static ssize_t add_locked(struct aside *a, struct aside_work *work, struct op *op)
{
    int rc;

    if (a->n_works >= ASIDE_WORKS_MAX)
        return -ENOBUFS;
    rc = start_locked(a);
    if (rc < 0)
        return rc;
    if (!op_park_locked(op, &a->ops))
        return op_interrupted(op);
    op->context = work;
    TAILQ_INSERT_TAIL(&a->works, work, link);
    a->n_works++;
    pthread_cond_broadcast(&a->changed);
    return 0;
}

void aside_do(struct aside *a, struct aside_work *work, struct op *op)
{
    ssize_t result;

    atomic_store(&op->lock, &a->lock);
    pthread_mutex_lock(&a->lock);
    result = add_locked(a, work, op);
    pthread_mutex_unlock(&a->lock);
    if (result == 0)
        return;
    op_finish(op, result);
    work->free(work);
}
