/*
 * One queue of a mount: its lock around producer.c and two of consumer.c, and what holds them
 * together; mount_queue_put.c and mount_queue_get.c have the calls of users. Every entry goes the
 * same way: lock, call the logic, let it collect its effects, unlock, run the effects, arm the
 * ticker. A queue that is there before the service was heard of has no number yet: its requests are
 * held until it has. References: one of the mount's lists, one of each open file, one of each
 * request in flight, one while the ticker is armed.
 */
#include "core/mount/mount_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void put_done(struct request *request);
static void get_done(struct request *request);
static void claim_done(struct request *request);
static void tick(struct ticker_entry *entry, int64_t now_us);

struct mount_queue *mount_queue_new(struct mount *mount, const struct queue_entry *entry,
                                    uint64_t place, const struct mount_settings *settings)
{
    struct mount_queue *mq = calloc(1, sizeof(*mq));

    if (!mq)
        return NULL;
    mq->mount = mount;
    mq->place = place;
    mq->number = entry->number;
    memcpy(mq->name, entry->name, sizeof(mq->name));
    mq->made_us = entry->made_us;
    mq->standing = mount_standing(mount);
    atomic_init(&mq->refs, 1);
    mq->settings.mount = *settings;
    mq->settings.own = entry->settings;
    mq->state = entry->state;
    mq->may = entry->may;
    mq->unaddressed_end = &mq->unaddressed;
    pthread_mutex_init(&mq->lock, NULL);
    ticker_entry_init(&mq->tick, tick, mq);
    return mq;
}

struct mount_queue *mount_queue_ref(struct mount_queue *mq)
{
    atomic_fetch_add(&mq->refs, 1);
    return mq;
}

void mount_queue_unref(struct mount_queue *mq)
{
    if (!mq || atomic_fetch_sub(&mq->refs, 1) != 1)
        return;
    consumer_free(mq->consumer);
    consumer_free(mq->claimer);
    producer_free(mq->producer);
    pthread_mutex_destroy(&mq->lock);
    free(mq);
}

/* ---- in and out of the lock ---- */

void mount_queue_enter(struct mount_queue *mq, struct effects *effects)
{
    effects_init(effects);
    pthread_mutex_lock(&mq->lock);
}

int64_t mount_queue_enter_op(struct mount_queue *mq, struct op *op, struct effects *effects)
{
    atomic_store(&op->lock, &mq->lock);
    mount_queue_enter(mq, effects);
    return mount_now(mq->mount);
}

static int64_t deadline_locked(const struct mount_queue *mq)
{
    int64_t due_us;

    if (!mq->producer)
        return TIME_FOREVER;
    due_us = time_min(producer_deadline(mq->producer), consumer_deadline(mq->consumer));
    return mq->claimer ? time_min(due_us, consumer_deadline(mq->claimer)) : due_us;
}

static void address_locked(const struct mount_queue *mq, struct request *request)
{
    request->queue = mq->number;
    request->session = mq->standing.id;
    request->life = mq->standing.life;
    request->term = mq->standing.term;
}

static struct request *take_unaddressed_locked(struct mount_queue *mq)
{
    struct request *requests = mq->unaddressed;

    mq->unaddressed = NULL;
    mq->unaddressed_end = &mq->unaddressed;
    return requests;
}

/* Requests leave with the queue's number on them, in order: they are held until it is known. */
static void address_all_locked(struct mount_queue *mq, struct effects *effects)
{
    struct request *request;

    *mq->unaddressed_end = effects->requests;
    if (effects->requests)
        mq->unaddressed_end = effects->requests_end;
    effects->requests = NULL;
    if (mq->number == 0 && !mq->closed)
        return;
    effects->requests = take_unaddressed_locked(mq);
    for (request = effects->requests; request; request = request->next)
        address_locked(mq, request);
}

/* It was not sent, and will not be as it is. */
static void fail(struct request *request, int status)
{
    request->status = status;
    request->position = 0;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->done(request);
}

static void fail_all(struct mount_queue *mq, struct request *request, int status)
{
    struct request *next;

    for (; request; request = next) {
        next = request->next;
        mount_queue_ref(mq);
        fail(request, status);
    }
}

static void submit(struct mount_queue *mq, struct request *request)
{
    struct request *next;

    for (; request; request = next) {
        next = request->next;
        mount_queue_ref(mq);
        if (request->queue)
            mq->mount->backend->submit(mq->mount->backend, request);
        else
            fail(request, -ESHUTDOWN); /* nobody will ever answer it */
    }
}

static void run(struct mount_queue *mq, struct effects *effects)
{
    struct op *op;

    submit(mq, effects->requests);
    while ((op = TAILQ_FIRST(&effects->finished.ops))) {
        TAILQ_REMOVE(&effects->finished.ops, op, link);
        op_finish(op, op->result);
    }
}

static void arm(struct mount_queue *mq, int64_t due_us)
{
    if (due_us == TIME_FOREVER || due_us >= mq->tick.due_us)
        return;
    mount_queue_ref(mq);
    if (!ticker_arm(mq->mount->ticker, &mq->tick, due_us))
        mount_queue_unref(mq);
}

static bool waited_for_locked(const struct mount_queue *mq)
{
    return consumer_waited_for(mq->consumer) || (mq->claimer && consumer_waited_for(mq->claimer));
}

/* Whoever waits here for the items of a PUT that leaves now asks right behind it. */
static void expect_locked(struct mount_queue *mq, struct effects *effects, int64_t now_us)
{
    const struct request *request = effects->requests;

    while (request && request->kind != REQUEST_PUT)
        request = request->next;
    if (!request)
        return;
    consumer_expect(mq->consumer, now_us, effects);
    if (mq->claimer)
        consumer_expect(mq->claimer, now_us, effects);
}

void mount_queue_leave(struct mount_queue *mq, struct effects *effects, int64_t now_us)
{
    int64_t due_us;

    if (mq->producer) {
        bool awaited = waited_for_locked(mq);

        producer_set_awaited(mq->producer, awaited, now_us, effects);
        if (awaited)
            expect_locked(mq, effects, now_us);
    }
    due_us = deadline_locked(mq);
    address_all_locked(mq, effects);
    pthread_mutex_unlock(&mq->lock);
    arm(mq, due_us);
    run(mq, effects);
}

static void tick(struct ticker_entry *entry, int64_t now_us)
{
    struct mount_queue *mq = entry->owner;
    struct effects effects;

    mount_queue_enter(mq, &effects);
    if (mq->producer) {
        producer_tick(mq->producer, now_us, &effects);
        consumer_tick(mq->consumer, now_us, &effects);
        if (mq->claimer)
            consumer_tick(mq->claimer, now_us, &effects);
    }
    mount_queue_leave(mq, &effects, now_us);
    mount_queue_unref(mq);
}

static int make_consumer_locked(struct mount_queue *mq, enum get_kind kind,
                                struct consumer **consumer)
{
    struct consumer_options options = {
        .kind = kind,
        .session = mq->standing.id,
        .producer = mq->producer,
        .settings = &mq->settings,
        .state = &mq->state,
        .request_done = kind == GET_CLAIM ? claim_done : get_done,
        .request_owner = mq,
        .kept_bytes = &mq->mount->kept_bytes,
    };

    return consumer_new(&options, consumer);
}

int mount_queue_activate_locked(struct mount_queue *mq)
{
    struct producer_options put = {
        .id = mq->standing.id,
        .settings = &mq->settings,
        .state = &mq->state,
        .put_done = put_done,
        .put_owner = mq,
        .timeout_us = mq->mount->timeout_us,
    };
    int error;

    if (mq->ended)
        return mq->ended;
    if (mq->producer)
        return 0;
    error = producer_new(&put, &mq->producer);
    if (error)
        return error;
    error = make_consumer_locked(mq, GET_STREAM, &mq->consumer);
    if (error) {
        producer_free(mq->producer);
        mq->producer = NULL;
    }
    return error;
}

int mount_queue_activate_claims_locked(struct mount_queue *mq)
{
    int error = mount_queue_activate_locked(mq);

    if (error || mq->claimer)
        return error;
    error = make_consumer_locked(mq, GET_CLAIM, &mq->claimer);
    if (!error)
        consumer_set_peer(mq->claimer, mq->consumer);
    return error;
}

/* ---- news ---- */

static void take_state_locked(struct mount_queue *mq, const struct queue_state *state)
{
    if (state->revision > mq->state.revision)
        mq->state = *state;
}

static void wake_locked(struct mount_queue *mq, uint32_t kinds, bool rearm, int64_t now_us,
                        struct effects *effects)
{
    if (!mq->producer)
        return;
    if (kinds & EVENT_ROOM)
        producer_changed(mq->producer, now_us, effects);
    if (kinds & EVENT_READY)
        consumer_changed(mq->consumer, rearm, now_us, effects);
    if (kinds & EVENT_READY && mq->claimer)
        consumer_changed(mq->claimer, rearm, now_us, effects);
}

/* Whether an ARM was the put side's: it waits for room. */
static bool is_put_side(const struct request *request)
{
    return request->kind == REQUEST_PUT ||
           (request->kind == REQUEST_ARM && request->in.arm.kinds & EVENT_ROOM);
}

/* What the answer was to whom it is told: of a full queue, `on_full: fail` makes an error. */
static int error_of(const struct mount_queue *mq, const struct request *request)
{
    if (request->status == 0 && request->kind == REQUEST_PUT && request->out.put.full &&
        mq->settings.mount.on_full == ON_FULL_FAIL)
        return -ENOSPC;
    return request->status;
}

static void take_answer_locked(struct mount_queue *mq, const struct request *request)
{
    int error = error_of(mq, request);

    if (is_refused(request->status))
        mount_refused(mq->mount, request);
    else
        take_state_locked(mq, &request->state);
    mq->retries += request->n_retries;
    if (error < 0 && !is_refused(error))
        mq->last_error = error;
}

/* What was sent before all began anew has failed, whatever the answer says: it is another store's,
 * or another session's. But what was stored there is stored. */
static void void_stale_locked(const struct mount_queue *mq, struct request *request)
{
    if (request->term == mq->standing.term ||
        (request->kind == REQUEST_PUT && request->status == 0))
        return;
    request_release(request);
    request->status = -EREMCHG;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
}

static void put_done(struct request *request)
{
    struct mount_queue *mq = request->owner;
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_heard(mq->mount, request);
    mount_queue_enter(mq, &effects);
    void_stale_locked(mq, request);
    take_answer_locked(mq, request);
    producer_put_done(mq->producer, request, now_us, &effects);
    if (producer_is_doubled(mq->producer))
        mount_doubled(mq->mount, mq->standing.term);
    wake_locked(mq, EVENT_READY, false, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
    mount_queue_unref(mq);
}

static void answered(struct mount_queue *mq, bool claims, struct request *request)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_heard(mq->mount, request);
    mount_queue_enter(mq, &effects);
    void_stale_locked(mq, request);
    take_answer_locked(mq, request);
    consumer_request_done(claims ? mq->claimer : mq->consumer, request, now_us, &effects);
    wake_locked(mq, EVENT_ROOM, false, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
    mount_queue_unref(mq);
}

static void get_done(struct request *request)
{
    answered(request->owner, false, request);
}

static void claim_done(struct request *request)
{
    answered(request->owner, true, request);
}

void mount_queue_update(struct mount_queue *mq, const struct queue_settings *own,
                        const struct queue_state *state)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_queue_enter(mq, &effects);
    if (own)
        mq->settings.own = *own;
    take_state_locked(mq, state);
    wake_locked(mq, EVENT_READY | EVENT_ROOM, false, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_forget_state(struct mount_queue *mq)
{
    pthread_mutex_lock(&mq->lock);
    mq->state.revision = 0;
    pthread_mutex_unlock(&mq->lock);
}

void mount_queue_event(struct mount_queue *mq, uint32_t kinds, bool rearm)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_queue_enter(mq, &effects);
    wake_locked(mq, kinds, rearm, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

/* Those of the get side that are held: there is no lease that could come back. */
static struct request *take_unaddressed_gets_locked(struct mount_queue *mq)
{
    struct request **at = &mq->unaddressed, *taken = NULL, *request;

    while ((request = *at)) {
        if (is_put_side(request)) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        request->next = taken;
        taken = request;
    }
    mq->unaddressed_end = at;
    return taken;
}

void mount_queue_end(struct mount_queue *mq, int error)
{
    int64_t now_us = mount_now(mq->mount);
    struct request *held;
    struct effects effects;

    mount_queue_enter(mq, &effects);
    if (mq->ended != -ENOENT)
        mq->ended = error;
    if (mq->producer) {
        producer_end(mq->producer, error, now_us, &effects);
        consumer_end(mq->consumer, error, now_us, &effects);
        if (mq->claimer)
            consumer_end(mq->claimer, error, now_us, &effects);
    }
    held = error == -ENOENT ? take_unaddressed_locked(mq) : take_unaddressed_gets_locked(mq);
    mount_queue_leave(mq, &effects, now_us);
    fail_all(mq, held, error);
}

static bool is_idle(const struct consumer *c, bool gets)
{
    const struct consumer_counters *get = consumer_counters(c);

    return get->in_flight_settlements == (gets ? 0 : get->ending_gets);
}

bool mount_queue_idle(struct mount_queue *mq, bool gets)
{
    bool idle = true;

    pthread_mutex_lock(&mq->lock);
    if (mq->producer)
        idle = producer_counters(mq->producer)->buffered_items == 0 && is_idle(mq->consumer, gets);
    if (mq->claimer)
        idle = idle && is_idle(mq->claimer, gets);
    pthread_mutex_unlock(&mq->lock);
    return idle;
}

void mount_queue_close(struct mount_queue *mq)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_queue_enter(mq, &effects);
    mq->closed = true;
    if (mq->producer)
        consumer_shut(mq->consumer, &effects);
    if (mq->claimer)
        consumer_shut(mq->claimer, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_address(struct mount_queue *mq, struct request *request)
{
    pthread_mutex_lock(&mq->lock);
    address_locked(mq, request);
    pthread_mutex_unlock(&mq->lock);
}

void mount_queue_settle_locked(struct mount_queue *mq, uint64_t number, int64_t made_us)
{
    pthread_mutex_lock(&mq->lock);
    mq->number = number;
    mq->made_us = made_us;
    pthread_mutex_unlock(&mq->lock);
}

void mount_queue_allow(struct mount_queue *mq, uint32_t may)
{
    pthread_mutex_lock(&mq->lock);
    mq->may = may;
    pthread_mutex_unlock(&mq->lock);
}

int mount_queue_may(struct mount_queue *mq, uint32_t rights)
{
    uint32_t may;

    pthread_mutex_lock(&mq->lock);
    may = mq->may;
    pthread_mutex_unlock(&mq->lock);
    return (may & rights) == rights ? 0 : -EACCES;
}

/* Where all begins anew, what is held has not been sent and is made anew too. */
void mount_queue_stand(struct mount_queue *mq, const struct standing *standing, bool anew)
{
    int64_t now_us = mount_now(mq->mount);
    struct request *held = NULL;
    struct effects effects;

    mount_queue_enter(mq, &effects);
    mq->standing = *standing;
    if (anew) {
        held = take_unaddressed_locked(mq);
        mq->state = (struct queue_state){0};
    }
    if (anew && mq->producer) {
        producer_begin_anew(mq->producer, now_us, &effects);
        consumer_begin_anew(mq->consumer, now_us, &effects);
        if (mq->claimer)
            consumer_begin_anew(mq->claimer, now_us, &effects);
    }
    if (mq->producer) {
        producer_retry(mq->producer, now_us, &effects);
        consumer_retry(mq->consumer, now_us, &effects);
        if (mq->claimer)
            consumer_retry(mq->claimer, now_us, &effects);
    }
    mount_queue_leave(mq, &effects, now_us);
    fail_all(mq, held, -EREMCHG);
}

void mount_queue_apply(struct mount_queue *mq, const struct all_settings *settings, uint64_t fields)
{
    int64_t now_us = mount_now(mq->mount);
    struct effects effects;

    mount_queue_enter(mq, &effects);
    settings_merge(&mq->settings, settings, fields & ~SETTINGS_OWN);
    wake_locked(mq, EVENT_READY | EVENT_ROOM, false, now_us, &effects);
    mount_queue_leave(mq, &effects, now_us);
}

void mount_queue_info(struct mount_queue *mq, struct mount_queue_info *info)
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
