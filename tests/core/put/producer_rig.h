/*
 * A producer between a test and a service that the test plays: requests gather in rig->sent, and
 * the test answers each when and as it likes. rig_store() answers as the real service would, with
 * exactly-once by item numbers, and keeps the items. Time stands still but for the test.
 */
#ifndef QUEUEFS_TESTS_CORE_PUT_PRODUCER_RIG_H
#define QUEUEFS_TESTS_CORE_PUT_PRODUCER_RIG_H

#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/batch.h"
#include "core/put/producer_state.h"

#define RIG_SENT_MAX 4096
#define PENDING      (-100000)

struct rig {
    struct all_settings settings;
    struct queue_state state;
    struct budget budget;
    pthread_mutex_t lock;
    struct producer *p;
    int64_t now_us;
    struct request *sent[RIG_SENT_MAX]; /* not answered yet, in order */
    size_t n_sent;
    uint64_t epoch, last; /* the service's memory of the producer */
    uint8_t *stored;      /* u32 length and bytes, an item after the other */
    size_t stored_len, stored_cap;
    size_t n_stored, n_taken; /* taken: by rig_take() */
    size_t take_at;
    bool full; /* the store is */
};

struct call {
    struct op op;
    ssize_t result;
    int n_done;
};

static inline void call_done(struct op *op, ssize_t result)
{
    struct call *call = op->owner;

    call->result = result;
    call->n_done++;
}

static inline void call_init(struct rig *rig, struct call *call)
{
    op_init(&call->op, call_done, call);
    atomic_store(&call->op.lock, &rig->lock);
    call->result = PENDING;
    call->n_done = 0;
}

static inline void rig_init(struct rig *rig)
{
    struct producer_options options = {.id = {{1, 2, 3}}};

    *rig = (struct rig){.now_us = 1000000, .epoch = 1};
    settings_default(&rig->settings);
    rig->state.revision = 1;
    budget_init(&rig->budget, INT64_C(256) << 20, false, 0);
    pthread_mutex_init(&rig->lock, NULL);
    options.settings = &rig->settings;
    options.state = &rig->state;
    cr_assert_eq(producer_new(&options, &rig->p), 0);
}

static inline void rig_open_as(struct rig *rig, struct writer *w, uid_t uid)
{
    struct budget_user *user = budget_user_get(&rig->budget, uid);

    cr_assert_eq(writer_init(rig->p, w, user), 0);
    budget_user_unref(user);
}

static inline void rig_open(struct rig *rig, struct writer *w)
{
    rig_open_as(rig, w, 0);
}

/* Nothing may be left anywhere. */
static inline void rig_fini(struct rig *rig)
{
    cr_assert_eq(rig->n_sent, 0, "%zu requests not answered", rig->n_sent);
    producer_free(rig->p);
    for (int kind = 0; kind < BUDGET_KINDS; kind++)
        cr_assert_eq(rig->budget.used_bytes[kind], 0, "%ld bytes of kind %d not given back",
                     (long)rig->budget.used_bytes[kind], kind);
    budget_fini(&rig->budget);
    pthread_mutex_destroy(&rig->lock);
    free(rig->stored);
}

static inline void rig_run(struct rig *rig, struct effects *effects)
{
    struct request *request;
    struct op *op;

    for (request = effects->requests; request; request = request->next) {
        cr_assert_lt(rig->n_sent, RIG_SENT_MAX);
        rig->sent[rig->n_sent++] = request;
    }
    while ((op = TAILQ_FIRST(&effects->finished.ops))) {
        TAILQ_REMOVE(&effects->finished.ops, op, link);
        op_finish(op, op->result);
    }
}

/* ---- calls ---- */

static inline void rig_start_write(struct rig *rig, struct writer *w, struct call *call,
                                   const void *data, size_t len)
{
    struct effects effects;
    uint8_t *copy = malloc(len + 1); /* gone when the call returns */

    memcpy(copy, data, len);
    call->op.data = copy;
    call->op.len = len;
    effects_init(&effects);
    producer_write(rig->p, w, &call->op, rig->now_us, &effects);
    free(copy);
    rig_run(rig, &effects);
}

static inline ssize_t rig_write(struct rig *rig, struct writer *w, const void *data, size_t len)
{
    struct call call;

    call_init(rig, &call);
    call.op.nonblock = true;
    rig_start_write(rig, w, &call, data, len);
    cr_assert_eq(call.n_done, 1);
    return call.result;
}

#define rig_puts(rig, w, text) rig_write(rig, w, text, sizeof(text) - 1)

static inline void rig_release(struct rig *rig, struct writer *w)
{
    struct effects effects;

    effects_init(&effects);
    producer_release(rig->p, w, rig->now_us, &effects);
    rig_run(rig, &effects);
}

static inline void rig_close(struct rig *rig, struct writer *w, struct call *call)
{
    struct effects effects;

    call_init(rig, call);
    effects_init(&effects);
    producer_close(rig->p, w, &call->op, rig->now_us, &effects);
    rig_run(rig, &effects);
}

static inline void rig_sync(struct rig *rig, struct writer *w, struct call *call)
{
    struct effects effects;

    call_init(rig, call);
    effects_init(&effects);
    producer_sync(rig->p, w, &call->op, 30000000, rig->now_us, &effects);
    rig_run(rig, &effects);
}

static inline void rig_flush(struct rig *rig, struct call *call)
{
    struct effects effects;

    call_init(rig, call);
    effects_init(&effects);
    producer_flush(rig->p, &call->op, 30000000, rig->now_us, &effects);
    rig_run(rig, &effects);
}

static inline void rig_changed(struct rig *rig)
{
    struct effects effects;

    effects_init(&effects);
    producer_changed(rig->p, rig->now_us, &effects);
    rig_run(rig, &effects);
}

static inline void rig_end(struct rig *rig, int error)
{
    struct effects effects;

    effects_init(&effects);
    producer_end(rig->p, error, rig->now_us, &effects);
    rig_run(rig, &effects);
}

/* Let time pass; the producer is called when it asked to be. */
static inline void rig_sleep(struct rig *rig, int64_t us)
{
    int64_t until_us = rig->now_us + us, due_us;
    struct effects effects;
    int rounds = 0;

    while ((due_us = producer_deadline(rig->p)) <= until_us) {
        cr_assert_lt(rounds++, 100000, "the producer asks to be called all the time");
        if (due_us > rig->now_us)
            rig->now_us = due_us;
        effects_init(&effects);
        producer_tick(rig->p, rig->now_us, &effects);
        rig_run(rig, &effects);
    }
    rig->now_us = until_us;
}

/* ---- the service ---- */

/* Take the n-th request that is not answered. */
static inline struct request *rig_pick(struct rig *rig, size_t n)
{
    struct request *request;

    cr_assert_lt(n, rig->n_sent);
    request = rig->sent[n];
    rig->n_sent--;
    memmove(rig->sent + n, rig->sent + n + 1, (rig->n_sent - n) * sizeof(rig->sent[0]));
    return request;
}

static inline void rig_done(struct rig *rig, struct request *request)
{
    struct effects effects;

    effects_init(&effects);
    producer_put_done(rig->p, request, rig->now_us, &effects);
    rig_run(rig, &effects);
}

/* Answer with an error. */
static inline void rig_fail(struct rig *rig, size_t n, int error)
{
    struct request *request = rig_pick(rig, n);

    request->status = error;
    rig_done(rig, request);
}

static inline void rig_keep(struct rig *rig, const uint8_t *item, size_t len)
{
    uint32_t size = (uint32_t)len;

    if (rig->stored_len + len + 4 > rig->stored_cap) {
        rig->stored_cap = (rig->stored_len + len + 4) * 2;
        rig->stored = realloc(rig->stored, rig->stored_cap);
        cr_assert_not_null(rig->stored);
    }
    memcpy(rig->stored + rig->stored_len, &size, 4);
    if (len > 0)
        memcpy(rig->stored + rig->stored_len + 4, item, len);
    rig->stored_len += len + 4;
    rig->n_stored++;
    rig->state.depth++;
    rig->last++;
}

static inline bool rig_is_full(const struct rig *rig)
{
    return rig->settings.own.maxsize > 0 && rig->state.depth >= (uint64_t)rig->settings.own.maxsize;
}

static inline void rig_keep_batch(struct rig *rig, const struct request *request)
{
    const struct batch_view *batch = &request->in.put.batch;
    struct batch_index index;
    uint64_t number = request->in.put.base;

    cr_assert_eq(batch_verify(batch), 0);
    cr_assert_eq(batch_index_init(&index, batch), 0);
    for (uint32_t i = 0; i < batch->n_items; i++, number++) {
        size_t from = batch_offset(&index, batch, i), to = batch_offset(&index, batch, i + 1);

        if (number <= rig->last)
            continue;
        if (rig_is_full(rig))
            break;
        rig_keep(rig, batch->data + from, to - from - (batch->framing != FRAMING_FILE));
    }
    batch_index_fini(&index);
}

/* As the service answers a PUT, without the answer being sent. */
static inline void rig_apply(struct rig *rig, struct request *request)
{
    const struct batch_view *batch = &request->in.put.batch;
    uint64_t base = request->in.put.base, end = base + batch->n_items - 1;

    request->status = 0;
    memset(&request->out, 0, sizeof(request->out));
    if (request->in.put.epoch < rig->epoch) {
        request->status = -ESTALE;
        return;
    }
    if (rig->full || batch_longest(batch) > (size_t)rig->settings.own.max_item_size) {
        request->status = rig->full ? -ENOSPC : -EMSGSIZE;
        return;
    }
    if (request->in.put.epoch > rig->epoch) {
        rig->epoch = request->in.put.epoch;
        rig->last = base - 1;
    }
    if (base <= rig->last + 1) {
        if (rig->last >= base)
            request->out.put.n_repeats = (uint32_t)((rig->last < end ? rig->last : end) - base + 1);
        rig_keep_batch(rig, request);
        request->out.put.full = rig->last < end;
    }
    request->out.put.last = rig->last;
}

/* Answer the n-th as the real service would. */
static inline void rig_store(struct rig *rig, size_t n)
{
    struct request *request = rig_pick(rig, n);

    if (request->kind == REQUEST_PUT) {
        rig_apply(rig, request);
    } else {
        request->status = 0;
        request->out.arm.kinds = rig_is_full(rig) ? 0 : EVENT_ROOM;
    }
    rig_done(rig, request);
}

static inline void rig_store_all(struct rig *rig)
{
    while (rig->n_sent > 0)
        rig_store(rig, 0);
}

/* The next stored item is this one. */
static inline void rig_take(struct rig *rig, const void *item, size_t len)
{
    uint32_t size;

    cr_assert_lt(rig->n_taken, rig->n_stored, "item %zu is missing", rig->n_taken);
    memcpy(&size, rig->stored + rig->take_at, 4);
    cr_assert_eq(size, len, "item %zu has %u bytes instead of %zu", rig->n_taken, size, len);
    cr_assert(len == 0 || memcmp(rig->stored + rig->take_at + 4, item, len) == 0,
              "item %zu is another", rig->n_taken);
    rig->take_at += len + 4;
    rig->n_taken++;
    rig->state.depth--;
}

#define rig_take_text(rig, text) rig_take(rig, text, sizeof(text) - 1)

static inline void rig_nothing_more(const struct rig *rig)
{
    cr_assert_eq(rig->n_taken, rig->n_stored, "%zu items too many", rig->n_stored - rig->n_taken);
}

/* Flush everything, the service storing it at once: nothing is left here. */
static inline void rig_drain(struct rig *rig)
{
    const struct producer_counters *counters = producer_counters(rig->p);
    struct call call;

    rig_flush(rig, &call);
    rig_store_all(rig);
    for (int i = 0; i < 5 && call.n_done == 0; i++) {
        rig_sleep(rig, 1000000);
        rig_store_all(rig);
    }
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, 0, "flush: %zd", call.result);
    cr_assert_eq(counters->buffered_items, 0);
    cr_assert_eq(counters->pending_batches, 0);
}

static inline const struct batch_view *rig_batch(const struct rig *rig, size_t n)
{
    cr_assert_lt(n, rig->n_sent);
    cr_assert_eq(rig->sent[n]->kind, REQUEST_PUT);
    return &rig->sent[n]->in.put.batch;
}

#endif
