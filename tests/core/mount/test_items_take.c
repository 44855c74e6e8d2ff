/* Items that are taken, dropped, revived or forgotten: what is asked and what becomes of it. */
#include "tests/core/mount/mount_rig.h"

#include <errno.h>
#include <unistd.h>

TestSuite(items_take, .timeout = 120);

#define ID item_id(5, 3)

static void open_keeping(struct mount_rig *rig, uint32_t keep)
{
    rig_open(rig);
    rig_keep(rig, keep);
}

/* ---- take ---- */

static struct request *start_take(struct mount_rig *rig, struct rig_call *call)
{
    struct request *get;

    call_init(call);
    mount_queue_take(rig->mq, ID, &call->op);
    get = rig_take(rig, REQUEST_GET);
    cr_assert_eq(get->queue, RIG_QUEUE);
    cr_assert_eq(get->in.get.kind, GET_CLAIM);
    cr_assert_eq(get->in.get.item, ID);
    cr_assert_eq(get->in.get.max_items, 1);
    return get;
}

Test(items_take, what_is_taken_is_held)
{
    struct item_info info;
    struct mount_rig rig;
    struct rig_call call;

    open_keeping(&rig, KEEP(REQUEST_GET));
    rig_answer_grant(start_take(&rig, &call), ID, 9, "abc\n");
    cr_assert_eq(call_end(&call), 0);
    cr_assert(mount_queue_claim(rig.mq, ID, &info));
    cr_assert_eq(info.state, ITEM_LEASED);
    cr_assert_eq(info.size, 3);
    cr_assert_eq(rig_seen(&rig, REQUEST_SETTLE), 0);
    rig_close(&rig);
}

Test(items_take, what_somebody_else_was_faster_to_take_is_enoent)
{
    struct mount_rig rig;
    struct rig_call call;

    open_keeping(&rig, KEEP(REQUEST_GET));
    rig_answer_empty(start_take(&rig, &call));
    cr_assert_eq(call_end(&call), -ENOENT);
    rig_answer(start_take(&rig, &call), -EIO);
    cr_assert_eq(call_end(&call), -EIO);
    rig_close(&rig);
}

/* The answer has come: what it lends goes back. */
static void expect_given_back(struct mount_rig *rig, struct request *get)
{
    struct item_info info;
    struct request *settle;

    rig_answer_grant(get, ID, 9, "abc\n");
    settle = rig_take(rig, REQUEST_SETTLE);
    cr_assert_eq(settle->queue, RIG_QUEUE);
    cr_assert_eq(settle->in.settle.n_items, 1);
    cr_assert_eq(settle->in.settle.items[0].verb, SETTLE_RETURN);
    cr_assert_eq(settle->in.settle.items[0].batch, 5);
    cr_assert_eq(settle->in.settle.items[0].from, 3);
    cr_assert_eq(settle->in.settle.items[0].to, 4);
    cr_assert_eq(settle->in.settle.items[0].token, 9);
    cr_assert_gt(settle->give_up_us, rig_now());
    cr_assert_lt(settle->give_up_us, rig_now() + 31 * SECOND);
    cr_assert_not(mount_queue_claim(rig->mq, ID, &info));
    rig_answer_empty(settle);
}

Test(items_take, a_take_that_was_interrupted_is_given_back)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *get;

    open_keeping(&rig, KEEP(REQUEST_GET) | KEEP(REQUEST_SETTLE));
    get = start_take(&rig, &call);
    op_cancel(&call.op);
    cr_assert_eq(call_end(&call), -EINTR);
    expect_given_back(&rig, get);
    rig_close(&rig);
}

Test(items_take, a_take_that_came_too_late_is_given_back)
{
    struct mount_rig rig;
    struct rig_call call;

    rig_open_brief(&rig);
    rig_keep(&rig, KEEP(REQUEST_GET) | KEEP(REQUEST_SETTLE));
    do { /* again, where the second was over before anything was sent */
        call_init(&call);
        mount_queue_take(rig.mq, ID, &call.op);
        cr_assert_eq(call_end(&call), -ETIMEDOUT);
    } while (rig_seen(&rig, REQUEST_GET) == 0 && usleep(10000) == 0);
    expect_given_back(&rig, rig_take(&rig, REQUEST_GET));
    rig_close(&rig);
}

static int64_t stopped_us;

static void *stop(void *arg)
{
    struct mount_rig *rig = arg;
    struct mount_rest rest;

    mount_stop(rig->mount, 20 * SECOND, &rest);
    stopped_us = rig_now();
    return NULL;
}

/* So that nobody has to wait for the end of the lease. A service that is away is waited for only a
 * second: a slow machine may take longer to answer. */
Test(items_take, the_end_of_the_mount_waits_for_what_was_taken_to_go_back)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *get, *settle;
    int64_t begun_us, answered_us;
    pthread_t thread;

    open_keeping(&rig, KEEP(REQUEST_GET) | KEEP(REQUEST_SETTLE));
    get = start_take(&rig, &call);
    begun_us = rig_now();
    cr_assert_eq(pthread_create(&thread, NULL, stop, &rig), 0);
    cr_assert_eq(call_end(&call), -ESHUTDOWN);
    usleep(100000); /* in which an end that waits for nothing is over */
    rig_answer_grant(get, ID, 9, "abc\n");
    settle = rig_take(&rig, REQUEST_SETTLE);
    cr_assert_eq(settle->in.settle.items[0].verb, SETTLE_RETURN);
    answered_us = rig_now();
    rig_answer_empty(settle);
    pthread_join(thread, NULL);
    cr_assert(stopped_us >= answered_us || answered_us - begun_us >= SECOND);
    rig_close(&rig);
}

/* ---- settle ---- */

static struct request *start_settle(struct mount_rig *rig, enum settle_verb verb,
                                    struct rig_call *call)
{
    struct request *settle;

    call_init(call);
    mount_queue_settle(rig->mq, ID, verb, &call->op);
    settle = rig_take(rig, REQUEST_SETTLE);
    cr_assert_eq(settle->queue, RIG_QUEUE);
    cr_assert_eq(settle->in.settle.n_items, 1);
    cr_assert_eq(settle->in.settle.items[0].verb, verb);
    cr_assert_eq(settle->in.settle.items[0].batch, 5);
    cr_assert_eq(settle->in.settle.items[0].from, 3);
    cr_assert_eq(settle->in.settle.items[0].to, 4);
    cr_assert_eq(settle->in.settle.items[0].token, 0);
    return settle;
}

Test(items_take, an_item_is_dropped_revived_or_forgotten_if_it_is_there)
{
    static const enum settle_verb verbs[] = {SETTLE_DROP, SETTLE_REVIVE, SETTLE_FORGET};
    struct mount_rig rig;
    struct rig_call call;
    struct request *settle;
    int i;

    open_keeping(&rig, KEEP(REQUEST_SETTLE));
    for (i = 0; i < 3; i++) {
        rig_answer_empty(start_settle(&rig, verbs[i], &call));
        cr_assert_eq(call_end(&call), 0);
        settle = start_settle(&rig, verbs[i], &call);
        settle->status = 0;
        settle->out.settle.n_late = 1;
        settle->done(settle);
        cr_assert_eq(call_end(&call), -ENOENT);
    }
    rig_answer(start_settle(&rig, SETTLE_DROP, &call), -ENOENT);
    cr_assert_eq(call_end(&call), -ENOENT);
    rig_close(&rig);
}

/* What the answer says of the queue is at once in its stats. */
Test(items_take, the_state_after_a_settlement_is_taken_over)
{
    struct mount_queue_info info;
    struct mount_rig rig;
    struct rig_call call;
    struct request *settle;

    open_keeping(&rig, KEEP(REQUEST_SETTLE));
    settle = start_settle(&rig, SETTLE_REVIVE, &call);
    settle->status = 0;
    settle->state = (struct queue_state){.revision = 12, .depth = 4};
    settle->done(settle);
    cr_assert_eq(call_end(&call), 0);
    mount_queue_info(rig.mq, &info);
    cr_assert_eq(info.state.depth, 4);
    rig_close(&rig);
}

/* The settlement was sent again, and came too late then: a look at the item follows. */
static ssize_t settle_twice(struct mount_rig *rig, enum settle_verb verb,
                            const struct item_info *there)
{
    struct rig_call call;
    struct request *request = start_settle(rig, verb, &call);

    request->status = 0;
    request->n_retries = 1;
    request->out.settle.n_late = 1;
    request->done(request);
    request = rig_take(rig, REQUEST_LIST);
    cr_assert_eq(request->queue, RIG_QUEUE);
    cr_assert_eq(request->in.list.from, ID);
    cr_assert_eq(request->in.list.to, ID + 1);
    cr_assert(request_list_valid(request));
    cr_assert_gt(request->give_up_us, rig_now());
    request->status = 0;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->out.list.items = there;
    request->out.list.n_items = there ? 1 : 0;
    request->done(request);
    return call_end(&call);
}

Test(items_take, what_was_done_before_its_service_ended_is_no_error)
{
    const struct item_info leased = {.id = ID, .state = ITEM_LEASED};
    const struct item_info ready = {.id = ID, .state = ITEM_READY};
    const struct item_info dead = {.id = ID, .state = ITEM_DEAD};
    struct mount_rig rig;

    open_keeping(&rig, KEEP(REQUEST_SETTLE) | KEEP(REQUEST_LIST));
    cr_assert_eq(settle_twice(&rig, SETTLE_DROP, NULL), 0);
    cr_assert_eq(settle_twice(&rig, SETTLE_DROP, &leased), -ENOENT);
    cr_assert_eq(settle_twice(&rig, SETTLE_FORGET, NULL), 0);
    cr_assert_eq(settle_twice(&rig, SETTLE_FORGET, &ready), -ENOENT);
    cr_assert_eq(settle_twice(&rig, SETTLE_REVIVE, &ready), 0);
    cr_assert_eq(settle_twice(&rig, SETTLE_REVIVE, &dead), -ENOENT);
    cr_assert_eq(settle_twice(&rig, SETTLE_REVIVE, NULL), -ENOENT);
    rig_close(&rig);
}

/* Else an answer that was lost leaves the item lent to nobody. */
Test(items_take, a_take_is_tried_as_long_as_its_lease_may_run)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *get;

    open_keeping(&rig, KEEP(REQUEST_GET));
    get = start_take(&rig, &call);
    cr_assert_eq(get->give_up_us, call.op.deadline_us + 30 * SECOND);
    rig_answer_empty(get);
    cr_assert_eq(call_end(&call), -ENOENT);
    rig_close(&rig);
}
