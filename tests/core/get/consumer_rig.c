#include "tests/core/get/consumer_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the producer ---- */

uint64_t producer_push(struct producer *p, int64_t now_us, struct effects *effects)
{
    (void)now_us;
    (void)effects;
    p->n_pushes++;
    return p->last;
}

uint64_t producer_acked(const struct producer *p)
{
    return p->acked;
}

/* ---- effects ---- */

static void request_done(struct request *request)
{
    (void)request; /* answers come by rig_answer() */
}

static void note(struct rig *rig, struct request *request)
{
    rig->n_gets += request->kind == REQUEST_GET;
    rig->n_settles += request->kind == REQUEST_SETTLE;
    rig->n_arms += request->kind == REQUEST_ARM;
    request->number = ++rig->number;
    cr_assert_lt(rig->n_sent, 64);
    rig->sent[rig->n_sent++] = request;
}

bool rig_in_core;

static void enter(struct rig *rig)
{
    effects_init(&rig->effects);
    pthread_mutex_lock(&rig->lock);
    rig_in_core = true;
}

static void leave(struct rig *rig)
{
    struct request *request = rig->effects.requests, *next;
    struct op *op;

    rig_in_core = false;
    pthread_mutex_unlock(&rig->lock);
    for (; request; request = next) {
        next = request->next;
        note(rig, request);
    }
    while ((op = TAILQ_FIRST(&rig->effects.finished.ops))) {
        TAILQ_REMOVE(&rig->effects.finished.ops, op, link);
        op_finish(op, op->result);
    }
}

/* ---- life ---- */

static void note_other(struct request *request)
{
    (void)request;
}

static struct consumer *make(struct rig *rig, enum get_kind kind,
                             void (*done)(struct request *request))
{
    struct consumer_options options = {
        .kind = kind,
        .producer = &rig->producer,
        .settings = &rig->settings,
        .state = &rig->state,
        .request_done = done,
        .request_owner = rig,
        .kept_bytes = &rig->kept_bytes,
    };
    struct consumer *c;

    cr_assert_eq(consumer_new(&options, &c), 0);
    return c;
}

static void rig_begin(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    pthread_mutex_init(&rig->lock, NULL);
    budget_init(&rig->budget, INT64_C(256) << 20, true, 0);
    rig->now_us = 1000000;
    rig->settings.own.lease_us = 30000000;
    rig->settings.own.lease_max_us = 300000000;
}

void rig_init(struct rig *rig)
{
    rig_begin(rig);
    rig->c = make(rig, GET_STREAM, request_done);
}

void rig_init_claims(struct rig *rig)
{
    rig_begin(rig);
    rig->c = make(rig, GET_CLAIM, request_done);
    rig->other = make(rig, GET_STREAM, note_other);
    consumer_set_peer(rig->c, rig->other);
}

static struct consumer *consumer_of(struct rig *rig, const struct request *request)
{
    return request->done == note_other ? rig->other : rig->c;
}

void rig_fini(struct rig *rig)
{
    size_t i;

    rig_end(rig, -ENOENT);
    rig_settle_down(rig);
    cr_assert(TAILQ_EMPTY(&rig->c->readers));
    cr_assert_eq(consumer_counters(rig->c)->in_flight_settlements, 0);
    if (rig->other)
        cr_assert_eq(consumer_counters(rig->other)->in_flight_settlements, 0);
    consumer_free(rig->c);
    consumer_free(rig->other);
    cr_assert_eq(rig->kept_bytes, 0);
    cr_assert_eq(rig->budget.used_bytes[BUDGET_FETCHED], 0);
    budget_fini(&rig->budget);
    for (i = 0; i < rig->n_items; i++)
        free(rig->items[i].data);
    free(rig->items);
    pthread_mutex_destroy(&rig->lock);
}

/* ---- answers ---- */

void rig_answer(struct rig *rig, size_t i, int status, bool run)
{
    struct request *request = rig->sent[i];

    cr_assert_lt(i, rig->n_sent);
    memmove(&rig->sent[i], &rig->sent[i + 1], (--rig->n_sent - i) * sizeof(rig->sent[0]));
    if (run)
        rig_execute(rig, request);
    if (status) {
        request_release(request);
        memset(&request->out, 0, sizeof(request->out));
    }
    request->status = status;
    enter(rig);
    consumer_request_done(consumer_of(rig, request), request, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_settle_down(struct rig *rig)
{
    while (rig->n_sent > 0)
        rig_answer(rig, 0, 0, true);
}

void rig_tell(struct rig *rig)
{
    if (!rig->armed)
        return;
    rig->armed = false;
    rig_changed(rig, false);
}

static int64_t rig_deadline(const struct rig *rig)
{
    int64_t due_us = consumer_deadline(rig->c);

    return rig->other ? time_min(due_us, consumer_deadline(rig->other)) : due_us;
}

void rig_pass(struct rig *rig, int64_t us)
{
    int64_t until_us = rig->now_us + us, due_us;

    while ((due_us = rig_deadline(rig)) <= until_us) {
        rig->now_us = due_us > rig->now_us ? due_us : rig->now_us;
        enter(rig);
        consumer_tick(rig->c, rig->now_us, &rig->effects);
        if (rig->other)
            consumer_tick(rig->other, rig->now_us, &rig->effects);
        leave(rig);
        cr_assert_gt(rig_deadline(rig), rig->now_us, "a tick leaves something due");
    }
    rig->now_us = until_us;
}

int rig_find(const struct rig *rig, enum request_kind kind)
{
    size_t i;

    for (i = 0; i < rig->n_sent; i++)
        if (rig->sent[i]->kind == kind)
            return (int)i;
    return -1;
}

/* ---- calls ---- */

static void call_done(struct op *op, ssize_t result)
{
    struct call *call = op->owner;
    size_t len = 0;
    int i;

    cr_assert(!call->done, "finished twice");
    call->done = true;
    call->result = result;
    call->serial = ++call->rig->n_ended;
    call->bytes = malloc(result > 0 ? (size_t)result + 1 : 1);
    cr_assert_not_null(call->bytes);
    for (i = 0; i < op->n_iov; i++) {
        memcpy(call->bytes + len, op->iov[i].iov_base, op->iov[i].iov_len);
        len += op->iov[i].iov_len;
    }
    if (op->n_iov > 0)
        cr_assert_eq((ssize_t)len, result);
    call->bytes[len] = '\0';
}

void call_init(struct call *call, struct rig *rig)
{
    memset(call, 0, sizeof(*call));
    op_init(&call->op, call_done, call);
    call->rig = rig;
    atomic_store(&call->op.lock, &rig->lock);
}

void call_fini(struct call *call)
{
    free(call->bytes);
    call->bytes = NULL;
}

void rig_read(struct rig *rig, struct reader *r, struct call *call, size_t len, int64_t offset)
{
    call->op.len = len;
    call->op.offset = offset;
    enter(rig);
    consumer_read(reader_consumer(r), r, &call->op, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_peek(struct rig *rig, struct reader *r, struct call *call)
{
    enter(rig);
    consumer_peek(reader_consumer(r), r, &call->op, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_peek_no_more(struct rig *rig, struct reader *r)
{
    enter(rig);
    consumer_peek_no_more(reader_consumer(r), r, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_close(struct rig *rig, struct reader *r, struct call *call)
{
    enter(rig);
    consumer_close(reader_consumer(r), r, &call->op, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_poll(struct rig *rig, struct reader *r, struct call *call)
{
    enter(rig);
    consumer_poll(reader_consumer(r), r, &call->op, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_flush(struct rig *rig, struct call *call, int64_t timeout_us)
{
    enter(rig);
    consumer_flush(rig->c, &call->op, timeout_us, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_release(struct rig *rig, struct reader *r)
{
    enter(rig);
    consumer_release(reader_consumer(r), r, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_changed(struct rig *rig, bool rearm)
{
    enter(rig);
    consumer_changed(rig->c, rearm, rig->now_us, &rig->effects);
    if (rig->other)
        consumer_changed(rig->other, rearm, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_end(struct rig *rig, int error)
{
    enter(rig);
    consumer_end(rig->c, error, rig->now_us, &rig->effects);
    if (rig->other)
        consumer_end(rig->other, error, rig->now_us, &rig->effects);
    leave(rig);
}

void rig_shut(struct rig *rig)
{
    enter(rig);
    consumer_shut(rig->c, &rig->effects);
    leave(rig);
}

struct reader *rig_reader(struct rig *rig, uint64_t limit, int64_t timeout_us)
{
    struct reader *r = NULL;

    cr_assert_eq(reader_new(rig->c, &rig->budget.unlimited, limit, timeout_us, &r), 0);
    return r;
}

struct reader *rig_other_reader(struct rig *rig, uint64_t limit, int64_t timeout_us)
{
    struct reader *r = NULL;

    cr_assert_eq(reader_new(rig->other, &rig->budget.unlimited, limit, timeout_us, &r), 0);
    return r;
}

int rig_hold(struct rig *rig, uint64_t id, enum settle_verb verb)
{
    int error;

    enter(rig);
    error = consumer_settle(rig->c, id, verb, rig->now_us, &rig->effects);
    leave(rig);
    return error;
}

void rig_expect(struct rig *rig, struct reader *r, size_t len, const char *text)
{
    struct call call;

    call_init(&call, rig);
    rig_read(rig, r, &call, len, r->pos);
    rig_settle_down(rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, (ssize_t)strlen(text), "got %zd, expected \"%s\"", call.result, text);
    cr_assert_str_eq(call.bytes, text);
    call_fini(&call);
}

void rig_expect_error(struct rig *rig, struct reader *r, size_t len, int64_t offset, int error)
{
    struct call call;

    call_init(&call, rig);
    rig_read(rig, r, &call, len, offset);
    rig_settle_down(rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, error);
    call_fini(&call);
}

void rig_leave(struct rig *rig, struct reader *r)
{
    struct call call;

    call_init(&call, rig);
    rig_close(rig, r, &call);
    rig_settle_down(rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
    call_fini(&call);
    rig_release(rig, r);
    rig_settle_down(rig);
}
