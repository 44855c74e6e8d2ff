/*
 * A service that is driven by hand: a clock that stands until it is moved, a memory store behind
 * one that can be told to fail and that outlives the service, and requests that are answered when
 * a round has been run. Included by one test file each.
 */
#ifndef QUEUEFS_TESTS_CORE_SERVICE_SERVICE_RIG_H
#define QUEUEFS_TESTS_CORE_SERVICE_SERVICE_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "core/chain.h"
#include "core/crc32c.h"
#include "core/service/service_state.h"

#define SECOND INT64_C(1000000)

/* Of the store's log. A test that wants the store to clean up while it runs has smaller ones. */
#ifndef RIG_SEGMENT_BYTES
#define RIG_SEGMENT_BYTES 0
#endif

/* Everything goes to `real`, unless it is told to fail. */
struct faulty_store {
    struct store base;
    struct store *real;
    int commit_error; /* negative: of each commit */
    int put_error;    /* of each batch_put */
    int catch_up_error;
    int read_error;   /* of batches */
    uint64_t damaged; /* this batch cannot be read */
    bool full, gone;
    void (*in_commit)(void); /* called once, in the next commit */
    unsigned n_commits;
    unsigned n_reads; /* of batches */
};

#define SENT_MAX 4096

/* Up to the item of this number a session's puts had this chain. */
struct sent_item {
    uint64_t queue, number, chain;
    struct producer_id session;
};

struct rig {
    struct clock clock;
    int64_t now_us, wall_us;
    int64_t step_us; /* by which each reading moves the clock on */
    struct faulty_store faulty;
    struct service *service;
    int fatal; /* what the service said */
    uint64_t lives;
    struct sent_item sent[SENT_MAX]; /* the latest ones */
    size_t n_sent;
};

struct call {
    struct request request;
    unsigned n_done;
    bool speaks; /* what is sent again, and the chain, are the test's to say */
};

__attribute__((unused)) static struct faulty_store *faulty_of(struct store *store)
{
    return (struct faulty_store *)store;
}

#define REAL(store) (faulty_of(store)->real)

static int faulty_begin(struct store *store)
{
    return REAL(store)->ops->begin(REAL(store));
}

static int faulty_commit(struct store *store)
{
    struct faulty_store *faulty = faulty_of(store);
    void (*in_commit)(void) = faulty->in_commit;

    faulty->n_commits++;
    faulty->in_commit = NULL;
    if (in_commit)
        in_commit();
    if (faulty->commit_error) {
        faulty->real->ops->abort(faulty->real);
        return faulty->commit_error;
    }
    return faulty->real->ops->commit(faulty->real);
}

static int faulty_catch_up(struct store *store)
{
    if (faulty_of(store)->catch_up_error)
        return faulty_of(store)->catch_up_error;
    return REAL(store)->ops->catch_up(REAL(store));
}

static void faulty_abort(struct store *store)
{
    REAL(store)->ops->abort(REAL(store));
}

static int faulty_queue_put(struct store *store, const struct queue_record *record)
{
    return REAL(store)->ops->queue_put(REAL(store), record);
}

static int faulty_queue_remove(struct store *store, uint64_t queue)
{
    return REAL(store)->ops->queue_remove(REAL(store), queue);
}

static int faulty_queue_next(struct store *store, uint64_t from, struct queue_record *record)
{
    return REAL(store)->ops->queue_next(REAL(store), from, record);
}

static int faulty_last_number(struct store *store, uint64_t *number)
{
    return REAL(store)->ops->queue_last_number(REAL(store), number);
}

static int faulty_batch_put(struct store *store, uint64_t queue, uint64_t batch,
                            const struct batch_view *view)
{
    if (faulty_of(store)->put_error)
        return faulty_of(store)->put_error;
    return REAL(store)->ops->batch_put(REAL(store), queue, batch, view);
}

static int faulty_batch_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    return REAL(store)->ops->batch_remove(REAL(store), queue, batch);
}

static int fault_damaged(struct store *store, uint64_t batch, struct batch_view *view, int rc)
{
    if (rc < 0 || batch != faulty_of(store)->damaged)
        return rc;
    view->data = NULL;
    return -EBADMSG;
}

static int faulty_batch_get(struct store *store, uint64_t queue, uint64_t batch,
                            struct batch_view *view)
{
    faulty_of(store)->n_reads++;
    if (faulty_of(store)->read_error)
        return faulty_of(store)->read_error;
    return fault_damaged(store, batch, view,
                         REAL(store)->ops->batch_get(REAL(store), queue, batch, view));
}

static int faulty_batch_read(struct store *store, uint64_t queue, uint64_t batch, void *to,
                             size_t len, struct batch_view *view)
{
    faulty_of(store)->n_reads++;
    if (faulty_of(store)->read_error)
        return faulty_of(store)->read_error;
    return fault_damaged(store, batch, view,
                         REAL(store)->ops->batch_read(REAL(store), queue, batch, to, len, view));
}

static int faulty_batch_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                             struct batch_view *view)
{
    int rc = REAL(store)->ops->batch_next(REAL(store), queue, from, batch, view);

    return faulty_of(store)->read_error ? faulty_of(store)->read_error : rc;
}

static int faulty_mark_put(struct store *store, uint64_t queue, uint64_t batch, const void *data,
                           size_t len)
{
    return REAL(store)->ops->mark_put(REAL(store), queue, batch, data, len);
}

static int faulty_mark_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    return REAL(store)->ops->mark_remove(REAL(store), queue, batch);
}

static int faulty_mark_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                            const void **data, size_t *len)
{
    return REAL(store)->ops->mark_next(REAL(store), queue, from, batch, data, len);
}

static int faulty_sequence_put(struct store *store, uint64_t queue,
                               const struct sequence_record *record)
{
    return REAL(store)->ops->sequence_put(REAL(store), queue, record);
}

static int faulty_sequence_remove(struct store *store, uint64_t queue,
                                  const struct producer_id *producer)
{
    return REAL(store)->ops->sequence_remove(REAL(store), queue, producer);
}

static int faulty_sequence_next(struct store *store, uint64_t queue,
                                const struct producer_id *after, struct sequence_record *record)
{
    return REAL(store)->ops->sequence_next(REAL(store), queue, after, record);
}

static int faulty_identity_put(struct store *store, const void *data, size_t len)
{
    return REAL(store)->ops->identity_put(REAL(store), data, len);
}

static int faulty_identity_get(struct store *store, const void **data, size_t *len)
{
    return REAL(store)->ops->identity_get(REAL(store), data, len);
}

static uint64_t faulty_position(struct store *store)
{
    return REAL(store)->ops->position(REAL(store));
}

static int faulty_space(struct store *store, struct store_space *space)
{
    int rc = REAL(store)->ops->space(REAL(store), space);

    space->full = faulty_of(store)->full;
    space->gone = faulty_of(store)->gone;
    return rc;
}

/* The real one stays: what it holds is the disk. */
static void faulty_close(struct store *store)
{
    (void)store;
}

static const struct store_ops faulty_ops = {
    .begin = faulty_begin,
    .commit = faulty_commit,
    .catch_up = faulty_catch_up,
    .abort = faulty_abort,
    .queue_put = faulty_queue_put,
    .queue_remove = faulty_queue_remove,
    .queue_next = faulty_queue_next,
    .queue_last_number = faulty_last_number,
    .batch_put = faulty_batch_put,
    .batch_remove = faulty_batch_remove,
    .batch_get = faulty_batch_get,
    .batch_read = faulty_batch_read,
    .batch_next = faulty_batch_next,
    .mark_put = faulty_mark_put,
    .mark_remove = faulty_mark_remove,
    .mark_next = faulty_mark_next,
    .sequence_put = faulty_sequence_put,
    .sequence_remove = faulty_sequence_remove,
    .sequence_next = faulty_sequence_next,
    .identity_put = faulty_identity_put,
    .identity_get = faulty_identity_get,
    .position = faulty_position,
    .space = faulty_space,
    .close = faulty_close,
};

static int64_t rig_mono(const struct clock *clock)
{
    struct rig *rig = (struct rig *)(uintptr_t)clock;

    rig->now_us += rig->step_us;
    return rig->now_us;
}

static int64_t rig_wall(const struct clock *clock)
{
    return ((const struct rig *)(const void *)clock)->wall_us;
}

static void rig_fatal(void *arg, int error)
{
    ((struct rig *)arg)->fatal = error;
}

static void rig_start(struct rig *rig)
{
    struct service_options options = {.store = &rig->faulty.base,
                                      .clock = &rig->clock,
                                      .id = ++rig->lives * 1000,
                                      .fatal = rig_fatal,
                                      .fatal_arg = rig};

    /* As the random one it stands for: no two lives make the same tokens. */
    cr_assert_eq(service_new(&options, &rig->service), 0);
}

static inline void rig_init(struct rig *rig)
{
    const struct local_options in_memory = {.max_bytes = UINT64_C(1) << 30,
                                            .segment_bytes = RIG_SEGMENT_BYTES};

    memset(rig, 0, sizeof(*rig));
    rig->clock = (struct clock){rig_mono, rig_wall};
    rig->now_us = 1000 * SECOND;
    rig->wall_us = 1700000000 * SECOND;
    rig->faulty.base.ops = &faulty_ops;
    cr_assert_eq(store_local_open(&in_memory, &rig->faulty.real), 0);
    rig_start(rig);
}

static inline void rig_fini(struct rig *rig)
{
    service_free(rig->service);
    rig->faulty.real->ops->close(rig->faulty.real);
}

static inline void rig_advance(struct rig *rig, int64_t us)
{
    rig->now_us += us;
    rig->wall_us += us;
    service_round(rig->service);
}

/* As after kill -9: what is in memory only is lost, and the other life's clock is another. */
__attribute__((unused)) static void rig_restart(struct rig *rig, int64_t down_us)
{
    rig->service->failed = -EIO; /* writes nothing more */
    service_free(rig->service);
    rig->fatal = 0;
    rig->now_us = 5 * SECOND;
    rig->wall_us += down_us;
    rig_start(rig);
}

/* ---- requests ---- */

static void call_done(struct request *request)
{
    ((struct call *)request->owner)->n_done++;
}

static struct producer_id session_of(uint8_t n)
{
    return (struct producer_id){.bytes = {n}};
}

static void call_init(struct call *call, enum request_kind kind, uint64_t queue, uint8_t session)
{
    memset(call, 0, sizeof(*call));
    call->request.kind = kind;
    call->request.queue = queue;
    call->request.session = session_of(session);
    call->request.done = call_done;
    call->request.owner = call;
}

static const struct sent_item *rig_sent(const struct rig *rig, const struct request *put,
                                        uint64_t number)
{
    size_t oldest = rig->n_sent > SENT_MAX ? rig->n_sent - SENT_MAX : 0;

    for (size_t i = rig->n_sent; i-- > oldest;) {
        const struct sent_item *sent = &rig->sent[i % SENT_MAX];

        if (sent->queue == put->queue && sent->number == number &&
            memcmp(&sent->session, &put->session, sizeof(put->session)) == 0)
            return sent;
    }
    return NULL;
}

/* As a producer says it that is alone under its id. */
static void rig_chain(struct rig *rig, struct request *put)
{
    const struct batch_view *batch = &put->in.put.batch;
    uint64_t base = put->in.put.base;
    const struct sent_item *before = rig_sent(rig, put, base - 1);

    put->repeat = rig_sent(rig, put, base) != NULL;
    put->in.put.chain = before ? before->chain : 0;
    if (batch_check(batch) < 0)
        return;
    for (uint32_t i = 0; i < batch->n_items; i++)
        rig->sent[rig->n_sent++ % SENT_MAX] = (struct sent_item){
            put->queue, base + i, chain_append_some(put->in.put.chain, batch, i + 1), put->session};
}

static void call_submit(struct rig *rig, struct call *call)
{
    struct backend *backend = service_backend(rig->service);

    if (call->request.life == 0)
        call->request.life = rig->service->options.id;
    if (!call->speaks && call->request.kind == REQUEST_PUT)
        rig_chain(rig, &call->request);
    else if (!call->speaks)
        call->request.repeat = true;
    backend->submit(backend, &call->request);
}

/* The call's status. */
static int call_run(struct rig *rig, struct call *call)
{
    call_submit(rig, call);
    service_round(rig->service);
    cr_assert_eq(call->n_done, 1);
    return call->request.status;
}

static void call_fini(struct call *call)
{
    request_release(&call->request);
}

static struct queue_settings rig_settings(void)
{
    struct all_settings all;

    settings_default(&all);
    return all.own;
}

__attribute__((unused)) static uint64_t rig_make(struct rig *rig, const char *name,
                                                 const struct queue_settings *settings)
{
    struct queue_settings fallback = rig_settings();
    struct call call;

    call_init(&call, REQUEST_MAKE, 0, 1);
    call.request.in.make.name = name;
    call.request.in.make.settings = settings ? settings : &fallback;
    cr_assert_eq(call_run(rig, &call), 0);
    call_fini(&call);
    return call.request.out.make.entry.number;
}

static void call_put(struct call *call, uint64_t queue, uint8_t session, uint64_t base,
                     const char *text)
{
    struct batch_view *batch;

    call_init(call, REQUEST_PUT, queue, session);
    batch = &call->request.in.put.batch;
    call->request.in.put.epoch = 1;
    call->request.in.put.base = base;
    batch->data = (const uint8_t *)text;
    batch->len = strlen(text);
    batch->n_items = (uint32_t)count_byte(batch->data, batch->len, '\n');
    batch->crc = crc32c(batch->data, batch->len);
}

/* As of a producer whose items below `base` were `before`. */
__attribute__((unused)) static void call_put_after(struct call *call, uint64_t queue,
                                                   uint8_t session, uint64_t base,
                                                   const char *before, const char *text)
{
    struct batch_view items = {.data = (const uint8_t *)before, .len = strlen(before)};

    call_put(call, queue, session, base, text);
    items.crc = crc32c(items.data, items.len);
    call->request.in.put.chain = chain_append(0, &items);
    call->speaks = true;
}

__attribute__((unused)) static int rig_put(struct rig *rig, uint64_t queue, uint8_t session,
                                           uint64_t base, const char *text)
{
    struct call call;
    int rc;

    call_put(&call, queue, session, base, text);
    rc = call_run(rig, &call);
    call_fini(&call);
    return rc;
}

static void call_get(struct call *call, enum get_kind kind, uint64_t queue, uint8_t session,
                     uint32_t max_items)
{
    call_init(call, REQUEST_GET, queue, session);
    call->request.in.get.kind = kind;
    call->request.in.get.max_items = max_items;
    call->request.in.get.max_bytes = 1 << 20;
}

/* Run a GET and compare the bytes it brought. The call stays good for its grants. */
__attribute__((unused)) static void get_expect(struct rig *rig, struct call *call,
                                               const char *expected)
{
    cr_assert_eq(call_run(rig, call), 0);
    cr_assert_eq(call->request.out.get.len, strlen(expected), "%zu bytes, not '%s'",
                 call->request.out.get.len, expected);
    if (*expected)
        cr_assert_eq(memcmp(call->request.out.get.data, expected, strlen(expected)), 0);
}

__attribute__((unused)) static void stream_expect(struct rig *rig, struct call *call,
                                                  uint64_t queue, uint32_t max_items,
                                                  const char *expected)
{
    call_get(call, GET_STREAM, queue, 1, max_items);
    get_expect(rig, call, expected);
}

static struct settlement settlement_of(enum settle_verb verb, const struct grant *grant)
{
    return (struct settlement){verb, grant->batch, grant->from, grant->to, grant->token};
}

/* How many were late, or a negative status. */
static int64_t rig_settle_as(struct rig *rig, uint64_t queue, uint8_t session,
                             struct settlement settlement)
{
    struct call call;
    int rc;

    call_init(&call, REQUEST_SETTLE, queue, session);
    call.request.in.settle.items = &settlement;
    call.request.in.settle.n_items = 1;
    rc = call_run(rig, &call);
    call_fini(&call);
    return rc < 0 ? rc : (int64_t)call.request.out.settle.n_late;
}

static int64_t rig_settle_one(struct rig *rig, uint64_t queue, struct settlement settlement)
{
    return rig_settle_as(rig, queue, 1, settlement);
}

/* All that a GET brought; releases the GET. */
__attribute__((unused)) static void rig_settle(struct rig *rig, struct call *get,
                                               enum settle_verb verb)
{
    for (size_t i = 0; i < get->request.out.get.n_grants; i++) {
        struct settlement one = settlement_of(verb, &get->request.out.get.grants[i]);

        cr_assert_eq(rig_settle_one(rig, get->request.queue, one), 0);
    }
    call_fini(get);
}

__attribute__((unused)) static struct queue_state rig_state(struct rig *rig, uint64_t queue)
{
    struct queue_state state;

    queue_state(service_find(rig->service, queue), &state);
    return state;
}

#endif
