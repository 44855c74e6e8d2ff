/*
 * Calls about single items that nobody here holds: list, look, take, drop, revive, forget.
 *
 * One goes out only when what this mount did before can be seen in its answer: settlements are
 * answered, and before a listing what is buffered is stored, unless that takes long. A claim that
 * nobody waits for any more is given back: its call sends that settlement. A settlement that was
 * sent twice and came too late may have been done the first time, by a service that has been
 * started anew since: its call looks at the item.
 */
#include "core/mount/service_call.h"

#include <assert.h>
#include <errno.h>

/* How long a listing waits for what is buffered here. */
#define SHOW_PUTS_US INT64_C(200000)

static struct service_call *item_call_new(struct mount_queue *mq, enum request_kind kind,
                                          void (*answered)(struct service_call *call))
{
    struct service_call *call = service_call_new(mq->mount, mq, kind, answered);

    if (call)
        call->after_settlements = true;
    return call;
}

/* ---- list and look ---- */

static int list_result(const struct request *request)
{
    if (request->status < 0)
        return request->status;
    return request->out.list.n_items <= request->in.list.max_items ? 0 : -EPROTO;
}

static void end_with_answer(struct service_call *call, int result)
{
    const struct request *request = &call->request;
    struct op *op = service_call_take_op(call);

    if (op && result == 0) {
        call->answer.items = request->out.list.items;
        call->answer.n_items = request->out.list.n_items;
        call->answer.next = request->out.list.next;
        call->answer.data = request->out.list.data;
        call->answer.len = request->out.list.len;
        op->answer = &call->answer;
    }
    if (op)
        op_finish(op, result);
    service_call_free(call);
}

static void listed(struct service_call *call)
{
    end_with_answer(call, list_result(&call->request));
}

static void looked(struct service_call *call)
{
    int result = list_result(&call->request);

    if (result == 0 && call->request.out.list.n_items == 0)
        result = -ENOENT;
    end_with_answer(call, result);
}

void mount_queue_list(struct mount_queue *mq, uint32_t states, uint64_t from, uint32_t max,
                      struct op *op)
{
    struct service_call *call = item_call_new(mq, REQUEST_LIST, listed);
    bool waiting = states & (1U << ITEM_READY | 1U << ITEM_DELAYED);

    assert(max > 0);
    if (call) {
        call->request.in.list.states = states;
        call->request.in.list.from = from;
        call->request.in.list.max_items = max < REQUEST_ITEMS_MAX ? max : REQUEST_ITEMS_MAX;
        /* The rest of a listing need not show what was written since its beginning. */
        if (waiting && item_batch(from) == 0)
            call->after_puts_us = SHOW_PUTS_US;
    }
    service_call_begin(call, op);
}

void mount_queue_look(struct mount_queue *mq, uint64_t id, uint32_t states, bool bytes,
                      struct op *op)
{
    struct service_call *call = item_call_new(mq, REQUEST_LIST, looked);

    if (call) {
        call->request.in.list.states = states;
        call->request.in.list.from = id;
        call->request.in.list.to = id + 1;
        call->request.in.list.max_items = 1;
        call->request.in.list.bytes = bytes;
    }
    service_call_begin(call, op);
}

/* ---- take ---- */

/* It is tried until the lease would have ended by itself. */
static void give_back(struct service_call *call)
{
    struct grant grant = call->request.out.get.grants[0];

    call->settlement =
        (struct settlement){SETTLE_RETURN, grant.batch, grant.from, grant.to, grant.token};
    call->answered = service_call_free;
    service_call_again(call, &(struct request){
                                 .kind = REQUEST_SETTLE,
                                 .give_up_us = time_after(mount_now(call->mount), grant.lease_us),
                                 .in.settle = {.items = &call->settlement, .n_items = 1},
                             });
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

static void taken(struct service_call *call)
{
    struct request *request = &call->request;
    bool granted = request->status == 0 && request->out.get.n_grants > 0;
    struct op *op = service_call_take_op(call);

    if (request->status == 0)
        mount_queue_update(call->mq, NULL, &request->state);
    if (!op && granted) {
        give_back(call);
        return;
    }
    if (op)
        op_finish(op, hold_taken(call->mq, request, granted));
    service_call_free(call);
}

void mount_queue_take(struct mount_queue *mq, uint64_t id, struct op *op)
{
    struct service_call *call = item_call_new(mq, REQUEST_GET, taken);
    struct mount_queue_info info;

    if (call) {
        call->takes = true;
        call->request.in.get.kind = GET_CLAIM;
        call->request.in.get.item = id;
        call->request.in.get.max_items = 1;
        call->request.in.get.max_bytes = 1; /* one is given, however large */
        /* The answer may be lost, and what it leases has to go back: it is asked for anew as long
         * as the lease may run, though nobody waits for it any more. */
        mount_queue_info(mq, &info);
        call->request.give_up_us = time_after(call->deadline_us, info.settings.own.lease_us);
    }
    service_call_begin(call, op);
}

/* ---- settle ---- */

/* It is as it should be, whoever has done it. */
static bool is_settled(const struct service_call *call)
{
    const struct request *list = &call->request;

    if (call->settlement.verb == SETTLE_REVIVE)
        return list->out.list.n_items > 0 && list->out.list.items[0].state != ITEM_DEAD;
    return list->out.list.n_items == 0;
}

static void looked_again(struct service_call *call)
{
    int result = list_result(&call->request);

    if (result == 0 && !is_settled(call))
        result = -ENOENT;
    service_call_end(call, result);
}

static void look_again(struct service_call *call)
{
    const struct settlement *s = &call->settlement;

    call->answered = looked_again;
    service_call_again(call, &(struct request){
                                 .kind = REQUEST_LIST,
                                 .in.list = {.states = (1U << ITEM_DONE) - 1,
                                             .from = item_id(s->batch, s->from),
                                             .to = item_id(s->batch, s->to),
                                             .max_items = 1},
                             });
}

static void settled(struct service_call *call)
{
    const struct request *request = &call->request;
    bool late = request->status == 0 && request->out.settle.n_late > 0;

    if (request->status == 0)
        mount_queue_update(call->mq, NULL, &request->state);
    if (late && (request->n_retries > 0 || request->repeat))
        look_again(call);
    else
        service_call_end(call, late ? -ENOENT : request->status);
}

void mount_queue_settle(struct mount_queue *mq, uint64_t id, enum settle_verb verb, struct op *op)
{
    struct service_call *call = item_call_new(mq, REQUEST_SETTLE, settled);
    uint32_t index = item_index(id);

    assert(verb >= SETTLE_DROP && verb <= SETTLE_FORGET);
    if (call) {
        call->settlement = (struct settlement){verb, item_batch(id), index, index + 1, 0};
        call->request.in.settle.items = &call->settlement;
        call->request.in.settle.n_items = 1;
    }
    service_call_begin(call, op);
}
