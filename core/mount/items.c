/*
 * Questions about single items that nobody here holds: list, look, take, drop, revive, forget.
 *
 * A question goes out only when what this mount did before can be seen in its answer: settlements
 * are answered, and before a listing what is buffered is stored, unless that takes long. It lives
 * until it is answered, whether somebody still waits or not. A claim that nobody waits for any more
 * is given back: its question becomes that settlement. A settlement that was sent twice and came
 * too late may have been done the first time, by a service that has been started anew since: its
 * question becomes a look at the item.
 */
#include "core/mount/service_call.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* How long a listing waits for what is buffered here. */
#define SHOW_PUTS_US INT64_C(200000)

struct question {
    struct ask ask; /* first */
    struct item_answer answer;
    struct settlement settlement;
    bool take;
    struct op settlements, puts; /* what goes before */
    atomic_int n_left;           /* of these, and one until they have begun */
    _Atomic int error;           /* of the settlements: the answer would not show them */
};

static struct question *question_new(struct mount_queue *mq, enum request_kind kind,
                                     void (*done)(struct request *request))
{
    struct question *question = calloc(1, sizeof(*question));

    if (!question)
        return NULL;
    ask_init(&question->ask, mq->mount, mq, kind, done);
    question->take = kind == REQUEST_GET;
    if (question->take)
        atomic_fetch_add(&mq->mount->n_takes, 1);
    return question;
}

static void question_free(struct question *question)
{
    struct mount *m = question->ask.mount;
    bool take = question->take;

    ask_fini(&question->ask);
    free(question);
    if (take)
        atomic_fetch_sub(&m->n_takes, 1);
}

/* The answer may be lost, and what it lent has to go back: it is asked for anew as long as the
 * lease may run, though nobody waits for it any more. */
static void try_for_a_lease(struct question *question)
{
    struct mount_queue_info info;
    struct ask *ask = &question->ask;

    mount_queue_info(ask->mq, &info);
    ask->request.give_up_us = time_after(mount_now(ask->mount), info.settings.own.lease_us);
}

/* ---- what goes before ---- */

static void question_leave(struct question *question)
{
    struct ask *ask = &question->ask;

    if (atomic_fetch_sub(&question->n_left, 1) != 1)
        return;
    if (!question->error && ask_waits(ask)) {
        if (question->take)
            try_for_a_lease(question);
        ask_send(ask);
        return;
    }
    ask_finish(ask->mount, ask, question->error);
    question_free(question);
}

static void settlements_done(struct op *op, ssize_t result)
{
    struct question *question = op->owner;

    if (result < 0)
        atomic_store(&question->error, (int)result);
    question_leave(question);
}

static void puts_done(struct op *op, ssize_t result)
{
    (void)result;
    question_leave(op->owner);
}

/* Takes the question; NULL is out of memory. */
static void question_ask(struct question *question, bool after_puts, struct op *op)
{
    struct ask *ask = &question->ask;

    if (!question) {
        op_finish(op, -ENOMEM);
        return;
    }
    if (!ask_begin(ask, op, ask_deadline(ask->mount))) {
        question_free(question);
        return;
    }
    op_init(&question->settlements, settlements_done, question);
    op_init(&question->puts, puts_done, question);
    atomic_init(&question->n_left, after_puts ? 3 : 2);
    mount_queue_flush_settlements(ask->mq, &question->settlements);
    if (after_puts)
        mount_queue_show_puts(ask->mq, &question->puts, SHOW_PUTS_US);
    question_leave(question);
}

/* ---- list and look ---- */

static int check_answer(const struct request *request)
{
    if (request->status < 0)
        return request->status;
    return request->out.list.n_items <= request->in.list.max_items ? 0 : -EPROTO;
}

static void finish_with_answer(struct question *question, int result)
{
    const struct request *request = &question->ask.request;
    struct op *op = ask_take_op(question->ask.mount, question);

    if (op && result == 0) {
        question->answer.items = request->out.list.items;
        question->answer.n_items = request->out.list.n_items;
        question->answer.next = request->out.list.next;
        question->answer.data = request->out.list.data;
        question->answer.len = request->out.list.len;
        op->answer = &question->answer;
    }
    if (op)
        op_finish(op, result);
    question_free(question);
}

static void list_done(struct request *request)
{
    struct question *question = request->owner;

    mount_heard(question->ask.mount, request->status);
    finish_with_answer(question, check_answer(request));
}

static void look_done(struct request *request)
{
    struct question *question = request->owner;
    int result = check_answer(request);

    mount_heard(question->ask.mount, request->status);
    if (result == 0 && request->out.list.n_items == 0)
        result = -ENOENT;
    finish_with_answer(question, result);
}

void mount_queue_list(struct mount_queue *mq, uint32_t states, uint64_t from, uint32_t max,
                      struct op *op)
{
    struct question *question = question_new(mq, REQUEST_LIST, list_done);
    bool waiting = states & (1U << ITEM_READY | 1U << ITEM_DELAYED);

    assert(max > 0);
    if (question) {
        question->ask.request.in.list.states = states;
        question->ask.request.in.list.from = from;
        question->ask.request.in.list.max_items = max < REQUEST_ITEMS_MAX ? max : REQUEST_ITEMS_MAX;
    }
    /* The rest of a listing need not show what was written since its beginning. */
    question_ask(question, waiting && item_batch(from) == 0, op);
}

void mount_queue_look(struct mount_queue *mq, uint64_t id, uint32_t states, bool bytes,
                      struct op *op)
{
    struct question *question = question_new(mq, REQUEST_LIST, look_done);

    if (question) {
        question->ask.request.in.list.states = states;
        question->ask.request.in.list.from = id;
        question->ask.request.in.list.to = id + 1;
        question->ask.request.in.list.max_items = 1;
        question->ask.request.in.list.bytes = bytes;
    }
    question_ask(question, false, op);
}

/* ---- take ---- */

static void returned(struct request *request)
{
    struct question *question = request->owner;

    mount_heard(question->ask.mount, request->status);
    question_free(question);
}

/* It is tried until the lease would have ended by itself. */
static void give_back(struct question *question)
{
    struct request *request = &question->ask.request;
    struct grant grant = request->out.get.grants[0];
    struct mount *m = question->ask.mount;

    question->settlement =
        (struct settlement){SETTLE_RETURN, grant.batch, grant.from, grant.to, grant.token};
    request_release(request);
    *request = (struct request){
        .kind = REQUEST_SETTLE,
        .queue = request->queue,
        .session = m->id,
        .give_up_us = time_after(mount_now(m), grant.lease_us),
        .in.settle = {.items = &question->settlement, .n_items = 1},
        .done = returned,
        .owner = question,
    };
    m->backend->submit(m->backend, request);
}

/* What mount_queue_take() says of an answer that came in time. */
static int hold_taken(struct mount_queue *mq, struct request *request, bool granted)
{
    int error;

    if (!granted)
        return request->status < 0 ? request->status : -ENOENT;
    error = mount_queue_claim_add(mq, request);
    return error == -ESTALE ? -ENOENT : error; /* the lease was over on arrival */
}

static void take_done(struct request *request)
{
    struct question *question = request->owner;
    struct mount_queue *mq = question->ask.mq;
    bool granted = request->status == 0 && request->out.get.n_grants > 0;
    struct op *op;

    mount_heard(mq->mount, request->status);
    if (request->status == 0)
        mount_queue_update(mq, NULL, &request->state);
    op = ask_take_op(mq->mount, question);
    if (!op && granted) {
        give_back(question);
        return;
    }
    if (op)
        op_finish(op, hold_taken(mq, request, granted));
    question_free(question);
}

void mount_queue_take(struct mount_queue *mq, uint64_t id, struct op *op)
{
    struct question *question = question_new(mq, REQUEST_GET, take_done);

    if (question) {
        question->ask.request.in.get.kind = GET_CLAIM;
        question->ask.request.in.get.item = id;
        question->ask.request.in.get.max_items = 1;
        question->ask.request.in.get.max_bytes = 1; /* one is given, however large */
    }
    question_ask(question, false, op);
}

/* ---- settle ---- */

/* It is as it should be, whoever has done it. */
static bool is_settled(const struct question *question)
{
    const struct request *list = &question->ask.request;

    if (question->settlement.verb == SETTLE_REVIVE)
        return list->out.list.n_items > 0 && list->out.list.items[0].state != ITEM_DEAD;
    return list->out.list.n_items == 0;
}

static void looked_again(struct request *request)
{
    struct question *question = request->owner;
    int result = check_answer(request);

    mount_heard(question->ask.mount, request->status);
    if (result == 0 && !is_settled(question))
        result = -ENOENT;
    ask_finish(question->ask.mount, question, result);
    question_free(question);
}

static void look_again(struct question *question)
{
    const struct settlement *s = &question->settlement;
    struct request *request = &question->ask.request;

    request_release(request);
    *request = (struct request){
        .kind = REQUEST_LIST,
        .queue = request->queue,
        .session = request->session,
        .give_up_us = request->give_up_us,
        .in.list = {.states = (1U << ITEM_DONE) - 1,
                    .from = item_id(s->batch, s->from),
                    .to = item_id(s->batch, s->to),
                    .max_items = 1},
        .done = looked_again,
        .owner = question,
    };
    ask_send(&question->ask);
}

static void settle_done(struct request *request)
{
    struct question *question = request->owner;
    struct mount_queue *mq = question->ask.mq;
    int result = request->status;

    mount_heard(mq->mount, result);
    if (result == 0)
        mount_queue_update(mq, NULL, &request->state);
    if (result == 0 && request->out.settle.n_late > 0 && request->n_retries > 0) {
        look_again(question);
        return;
    }
    if (result == 0 && request->out.settle.n_late > 0)
        result = -ENOENT;
    ask_finish(mq->mount, question, result);
    question_free(question);
}

void mount_queue_settle(struct mount_queue *mq, uint64_t id, enum settle_verb verb, struct op *op)
{
    struct question *question = question_new(mq, REQUEST_SETTLE, settle_done);
    uint32_t index = item_index(id);

    assert(verb >= SETTLE_DROP && verb <= SETTLE_FORGET);
    if (question) {
        question->settlement = (struct settlement){verb, item_batch(id), index, index + 1, 0};
        question->ask.request.in.settle.items = &question->settlement;
        question->ask.request.in.settle.n_items = 1;
    }
    question_ask(question, false, op);
}
