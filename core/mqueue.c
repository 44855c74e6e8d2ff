/*
 * One queue of a mount: its lock around producer.c and consumer.c, and what holds them together.
 * Every entry goes the same way: lock, call the logic, let it collect its effects, unlock, run the
 * effects, arm the ticker. A queue that is there before the service was heard of has no number yet:
 * its requests are held until it has. References: one of the mount's lists, one of each open file,
 * one of each request in flight, one while the ticker is armed.
 */
#include "core/mount_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void request_done(struct request *request);
static void tick(struct ticker_entry *entry, int64_t now_us);

struct mqueue *mqueue_new(struct mount *mount, const struct queue_entry *entry, uint64_t place)
{
    const struct mount_queue *configured = mount_configured(mount, entry->name);
    struct mqueue *mq = calloc(1, sizeof(*mq));

    if (!mq)
        return NULL;
    mq->mount = mount;
    mq->place = place;
    mq->number = entry->number;
    memcpy(mq->name, entry->name, sizeof(mq->name));
    mq->made_us = entry->made_us;
    atomic_init(&mq->refs, 1);
    mq->settings.mount = configured ? configured->settings.mount : mount->defaults.mount;
    mq->settings.own = entry->settings;
    mq->state = entry->state;
    mq->held_end = &mq->held;
    pthread_mutex_init(&mq->lock, NULL);
    ticker_entry_init(&mq->tick, tick, mq);
    return mq;
}

struct mqueue *mqueue_ref(struct mqueue *mq)
{
    atomic_fetch_add(&mq->refs, 1);
    return mq;
}

void mqueue_unref(struct mqueue *mq)
{
    if (!mq || atomic_fetch_sub(&mq->refs, 1) != 1)
        return;
    consumer_free(mq->consumer);
    producer_free(mq->producer);
    pthread_mutex_destroy(&mq->lock);
    free(mq);
}

/* ---- in and out of the lock ---- */

static void enter(struct mqueue *mq, struct effects *effects)
{
    effects_init(effects);
    pthread_mutex_lock(&mq->lock);
}

static int64_t deadline_locked(const struct mqueue *mq)
{
    if (!mq->producer)
        return TIME_FOREVER;
    return time_min(producer_deadline(mq->producer), consumer_deadline(mq->consumer));
}

/* Requests leave with the queue's number on them, in order: they are held until it is known. */
static void address_locked(struct mqueue *mq, struct effects *effects)
{
    struct request *request;

    *mq->held_end = effects->requests;
    if (effects->requests)
        mq->held_end = effects->requests_end;
    effects->requests = NULL;
    if (mq->number == 0 && !mq->closed)
        return;
    effects->requests = mq->held;
    mq->held = NULL;
    mq->held_end = &mq->held;
    for (request = effects->requests; request; request = request->next)
        request->queue = mq->number;
}

/* Nobody will ever answer it. */
static void fail(struct request *request)
{
    request->status = -ESHUTDOWN;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->done(request);
}

static void submit(struct mqueue *mq, struct request *request)
{
    struct request *next;

    for (; request; request = next) {
        next = request->next;
        mqueue_ref(mq);
        if (request->queue)
            mq->mount->backend->submit(mq->mount->backend, request);
        else
            fail(request);
    }
}

static void run(struct mqueue *mq, struct effects *effects)
{
    struct op *op;

    submit(mq, effects->requests);
    while ((op = TAILQ_FIRST(&effects->finished.ops))) {
        TAILQ_REMOVE(&effects->finished.ops, op, link);
        op_finish(op, op->result);
    }
}

static void arm(struct mqueue *mq, int64_t due_us)
{
    if (due_us == TIME_FOREVER || due_us >= mq->tick.due_us)
        return;
    mqueue_ref(mq);
    if (!ticker_arm(mq->mount->ticker, &mq->tick, due_us))
        mqueue_unref(mq);
}

/* The caller's own reference keeps mq alive until this returns. */
static void leave(struct mqueue *mq, struct effects *effects, int64_t now_us)
{
    int64_t due_us;

    if (mq->producer)
        producer_set_awaited(mq->producer, consumer_waited_for(mq->consumer), now_us, effects);
    due_us = deadline_locked(mq);
    address_locked(mq, effects);
    pthread_mutex_unlock(&mq->lock);
    arm(mq, due_us);
    run(mq, effects);
}

static void tick(struct ticker_entry *entry, int64_t now_us)
{
    struct mqueue *mq = entry->owner;
    struct effects effects;

    enter(mq, &effects);
    if (mq->producer) {
        producer_tick(mq->producer, now_us, &effects);
        consumer_tick(mq->consumer, now_us, &effects);
    }
    leave(mq, &effects, now_us);
    mqueue_unref(mq);
}

/* Make producer and consumer with the first open. */
static int activate_locked(struct mqueue *mq)
{
    struct producer_options put = {
        .id = mq->mount->id,
        .budget = &mq->mount->budget,
        .settings = &mq->settings,
        .state = &mq->state,
        .put_done = request_done,
        .put_owner = mq,
        .timeout_us = mq->mount->timeout_us,
    };
    struct consumer_options get = {
        .session = mq->mount->id,
        .settings = &mq->settings,
        .state = &mq->state,
        .request_done = request_done,
        .request_owner = mq,
    };
    int error;

    if (mq->ended)
        return mq->ended;
    if (mq->producer)
        return 0;
    error = producer_new(&put, &mq->producer);
    if (error)
        return error;
    get.producer = mq->producer;
    error = consumer_new(&get, &mq->consumer);
    if (error) {
        producer_free(mq->producer);
        mq->producer = NULL;
    }
    return error;
}

/* ---- news ---- */

static void take_state_locked(struct mqueue *mq, const struct queue_state *state)
{
    if (state->revision > mq->state.revision)
        mq->state = *state;
}

static void wake_locked(struct mqueue *mq, uint32_t kinds, bool rearm, int64_t now_us,
                        struct effects *effects)
{
    if (!mq->producer)
        return;
    if (kinds & EVENT_ROOM)
        producer_changed(mq->producer, now_us, effects);
    if (kinds & EVENT_READY)
        consumer_changed(mq->consumer, rearm, now_us, effects);
}

/* Whether an ARM was the put side's: it waits for room. */
static bool is_put_side(const struct request *request)
{
    return request->kind == REQUEST_PUT ||
           (request->kind == REQUEST_ARM && request->in.arm.kinds & EVENT_ROOM);
}

static void request_done(struct request *request)
{
    struct mqueue *mq = request->owner;
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    enter(mq, &effects);
    take_state_locked(mq, &request->state);
    mq->retries += request->n_retries;
    if (request->status < 0)
        mq->last_error = request->status;
    if (is_put_side(request)) {
        producer_put_done(mq->producer, request, now_us, &effects);
        wake_locked(mq, EVENT_READY, false, now_us, &effects);
    } else {
        consumer_request_done(mq->consumer, request, now_us, &effects);
        wake_locked(mq, EVENT_ROOM, false, now_us, &effects);
    }
    leave(mq, &effects, now_us);
    mqueue_unref(mq);
}

void mqueue_update(struct mqueue *mq, const struct queue_settings *own,
                   const struct queue_state *state)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    enter(mq, &effects);
    if (own)
        mq->settings.own = *own;
    take_state_locked(mq, state);
    wake_locked(mq, EVENT_READY | EVENT_ROOM, false, now_us, &effects);
    leave(mq, &effects, now_us);
}

void mqueue_forget_state(struct mqueue *mq)
{
    pthread_mutex_lock(&mq->lock);
    mq->state.revision = 0;
    pthread_mutex_unlock(&mq->lock);
}

void mqueue_event(struct mqueue *mq, uint32_t kinds, bool rearm)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    enter(mq, &effects);
    wake_locked(mq, kinds, rearm, now_us, &effects);
    leave(mq, &effects, now_us);
}

/* Those of the get side that are held: there is no lease that could come back. */
static struct request *take_held_gets_locked(struct mqueue *mq)
{
    struct request **at = &mq->held, *taken = NULL, *request;

    while ((request = *at)) {
        if (is_put_side(request)) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        request->next = taken;
        taken = request;
    }
    mq->held_end = at;
    return taken;
}

void mqueue_end(struct mqueue *mq, int error)
{
    int64_t now_us = mount_now(mq->mount);
    struct request *gets;
    struct effects effects;

    enter(mq, &effects);
    if (mq->ended != -ENOENT)
        mq->ended = error;
    if (mq->producer) {
        producer_end(mq->producer, error, now_us, &effects);
        consumer_end(mq->consumer, error, now_us, &effects);
    }
    gets = take_held_gets_locked(mq);
    leave(mq, &effects, now_us);
    submit(mq, gets);
}

bool mqueue_idle(struct mqueue *mq, bool gets)
{
    const struct consumer_counters *get;
    bool idle = true;

    pthread_mutex_lock(&mq->lock);
    if (mq->producer) {
        get = consumer_counters(mq->consumer);
        idle = producer_counters(mq->producer)->buffered_items == 0 &&
               get->in_flight_settlements == (gets ? 0 : get->ending_gets);
    }
    pthread_mutex_unlock(&mq->lock);
    return idle;
}

void mqueue_close(struct mqueue *mq)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    enter(mq, &effects);
    mq->closed = true;
    leave(mq, &effects, now_us);
}

uint64_t mqueue_number(struct mqueue *mq)
{
    uint64_t number;

    pthread_mutex_lock(&mq->lock);
    number = mq->number;
    pthread_mutex_unlock(&mq->lock);
    return number;
}

void mqueue_settle_locked(struct mqueue *mq, const struct queue_entry *entry)
{
    pthread_mutex_lock(&mq->lock);
    mq->number = entry->number;
    mq->made_us = entry->made_us;
    pthread_mutex_unlock(&mq->lock);
}

void mqueue_apply(struct mqueue *mq, const struct all_settings *settings)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    enter(mq, &effects);
    mq->settings.mount = settings->mount;
    wake_locked(mq, EVENT_READY | EVENT_ROOM, false, now_us, &effects);
    leave(mq, &effects, now_us);
}

void mqueue_info(struct mqueue *mq, struct mqueue_info *info)
{
    info->number = mq->place;
    memcpy(info->name, mq->name, sizeof(info->name));
    pthread_mutex_lock(&mq->lock);
    info->made_us = mq->made_us;
    info->settings = mq->settings;
    info->state = mq->state;
    info->gone = mq->ended == -ENOENT;
    pthread_mutex_unlock(&mq->lock);
}

/* ---- puts ---- */

int mqueue_writer_open(struct mqueue *mq, struct writer **writer)
{
    struct writer *w = calloc(1, sizeof(*w));
    int error;

    if (!w)
        return -ENOMEM;
    pthread_mutex_lock(&mq->lock);
    error = activate_locked(mq);
    if (!error)
        writer_init(mq->producer, w);
    pthread_mutex_unlock(&mq->lock);
    if (error) {
        free(w);
        return error;
    }
    *writer = w;
    return 0;
}

void mqueue_writer_release(struct mqueue *mq, struct writer *w)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    enter(mq, &effects);
    producer_release(mq->producer, w, now_us, &effects);
    leave(mq, &effects, now_us);
    free(w);
}

/* As enter(), for a call that may park `op`. */
static int64_t enter_op(struct mqueue *mq, struct op *op, struct effects *effects)
{
    atomic_store(&op->lock, &mq->lock);
    enter(mq, effects);
    return mount_now(mq->mount);
}

void mqueue_write(struct mqueue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);

    producer_write(mq->producer, w, op, now_us, &effects);
    leave(mq, &effects, now_us);
}

void mqueue_writer_close(struct mqueue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);

    producer_close(mq->producer, w, op, now_us, &effects);
    leave(mq, &effects, now_us);
}

void mqueue_sync(struct mqueue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);

    producer_sync(mq->producer, w, op, mq->mount->timeout_us, now_us, &effects);
    leave(mq, &effects, now_us);
}

void mqueue_flush_puts(struct mqueue *mq, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);

    if (mq->producer)
        producer_flush(mq->producer, op, mq->mount->timeout_us, now_us, &effects);
    else
        effects_finish_locked(&effects, op, mq->ended);
    leave(mq, &effects, now_us);
}

void mqueue_flush_settlements(struct mqueue *mq, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);

    if (mq->consumer)
        consumer_flush(mq->consumer, op, mq->mount->timeout_us, now_us, &effects);
    else
        effects_finish_locked(&effects, op, mq->ended);
    leave(mq, &effects, now_us);
}

bool mqueue_writer_poll(struct mqueue *mq, struct writer *w, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);
    bool ready = producer_writable(mq->producer);

    (void)w;
    if (!ready)
        producer_poll(mq->producer, op, &effects);
    leave(mq, &effects, now_us);
    return ready;
}

/* ---- gets ---- */

int mqueue_reader_open(struct mqueue *mq, uint64_t limit, int64_t timeout_us,
                       struct reader **reader)
{
    int error;

    pthread_mutex_lock(&mq->lock);
    error = activate_locked(mq);
    if (!error)
        error = reader_new(mq->consumer, limit, timeout_us, reader);
    pthread_mutex_unlock(&mq->lock);
    return error;
}

void mqueue_reader_release(struct mqueue *mq, struct reader *r)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    enter(mq, &effects);
    consumer_release(mq->consumer, r, now_us, &effects);
    leave(mq, &effects, now_us);
}

void mqueue_read(struct mqueue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);

    consumer_read(mq->consumer, r, op, now_us, &effects);
    leave(mq, &effects, now_us);
}

void mqueue_reader_close(struct mqueue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);

    consumer_close(mq->consumer, r, op, now_us, &effects);
    leave(mq, &effects, now_us);
}

bool mqueue_reader_poll(struct mqueue *mq, struct reader *r, struct op *op)
{
    struct effects effects;
    int64_t now_us = enter_op(mq, op, &effects);
    bool ready = consumer_readable(mq->consumer, r);

    if (!ready)
        consumer_poll(mq->consumer, r, op, now_us, &effects);
    leave(mq, &effects, now_us);
    return ready;
}
