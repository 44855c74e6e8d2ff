/* Calls that ask the service end after a second at most, and together while it is silent. */
#include "tests/core/mount/mount_rig.h"

#include <errno.h>
#include <unistd.h>

TestSuite(ask, .timeout = 120);

static void make(struct mount_rig *rig, struct rig_call *call)
{
    call_init(call);
    mount_make_queue(rig->mount, "more", 0600, 0, 0, &call->op);
}

/* A SYNC that was answered before a removal comes behind that of the removal. */
Test(ask, an_older_answer_does_not_bring_a_removed_queue_back)
{
    struct rig_call remove;
    struct mount_queue *found;
    struct mount_rig rig;
    struct request *sync;

    rig_open(&rig);
    rig_keep(&rig, KEEP(REQUEST_SYNC) | KEEP(REQUEST_REMOVE));
    sync = rig_take(&rig, REQUEST_SYNC);
    call_init(&remove);
    mount_remove_queue(rig.mount, rig.mq, &remove.op);
    rig_answer(rig_take(&rig, REQUEST_REMOVE), 0);
    cr_assert_eq(call_end(&remove), 0);
    rig_answer_empty(sync); /* "jobs" is there */
    found = mount_find(rig.mount, "jobs");
    cr_assert_null(found);
    rig_keep(&rig, 0);
    rig_close(&rig);
}

/* Every call that asks, all at once. */
#define N_CALLS 8

static void ask_all(struct mount_rig *rig, struct rig_call calls[N_CALLS])
{
    struct mount_queue_info info;
    int i;

    mount_queue_info(rig->mq, &info);
    info.settings.own.maxsize = 7;
    for (i = 0; i < N_CALLS; i++)
        call_init(&calls[i]);
    mount_make_queue(rig->mount, "more", 0600, 0, 0, &calls[0].op);
    mount_remove_queue(rig->mount, rig->mq, &calls[1].op);
    mount_queue_set(rig->mq, &info.settings, UINT64_MAX, &calls[2].op);
    mount_queue_list(rig->mq, 1U << ITEM_READY, 0, 10, &calls[3].op);
    mount_queue_look(rig->mq, item_id(1, 0), 1U << ITEM_READY, false, &calls[4].op);
    mount_queue_take(rig->mq, item_id(1, 0), &calls[5].op);
    mount_queue_settle(rig->mq, item_id(1, 0), SETTLE_DROP, &calls[6].op);
    mount_queue_settle(rig->mq, item_id(1, 0), SETTLE_REVIVE, &calls[7].op);
}

Test(ask, every_call_ends_after_a_second_and_later_ones_at_once)
{
    struct rig_call calls[N_CALLS];
    struct mount_rig rig;
    int64_t asked_us;
    int i;

    rig_open_brief(&rig);
    rig_keep(&rig, KEEP_ALL);
    ask_all(&rig, calls);
    asked_us = rig_now();
    for (i = 0; i < N_CALLS; i++) {
        cr_assert_eq(call_end(&calls[i]), -ETIMEDOUT, "call %d: %zd", i, calls[i].result);
        cr_assert_geq(calls[i].ended_us - calls[0].begun_us, SECOND);
        cr_assert_leq(calls[i].op.deadline_us, asked_us + SECOND);
    }
    ask_all(&rig, calls);
    for (i = 0; i < N_CALLS; i++) {
        cr_assert(call_ended(&calls[i]), "call %d has waited for a service that is silent", i);
        cr_assert_eq(call_end(&calls[i]), -ETIMEDOUT);
    }
    rig_close(&rig);
}

/* With a question that was sent. Where its second was over before, on a slow machine, anew. */
static void open_asking(struct mount_rig *rig, struct rig_call *first)
{
    for (;;) {
        rig_open_brief(rig);
        rig_keep(rig, KEEP_ALL);
        make(rig, first);
        if (rig_seen(rig, REQUEST_MAKE) > 0)
            return;
        cr_assert_eq(call_end(first), -ETIMEDOUT);
        rig_close(rig);
    }
}

/* The second runs from the first question that nothing was answered after. */
Test(ask, a_second_question_ends_with_the_first)
{
    struct rig_call first, second;
    struct mount_rig rig;

    open_asking(&rig, &first);
    usleep(600000);
    make(&rig, &second);
    cr_assert_eq(call_end(&first), -ETIMEDOUT);
    cr_assert_eq(call_end(&second), -ETIMEDOUT);
    cr_assert_geq(second.ended_us - first.begun_us, SECOND);
    cr_assert_leq(second.op.deadline_us, second.begun_us + SECOND - 600000);
    rig_close(&rig);
}

/* The request that is answered while one question is open; another is asked after it. */
static void expect_heard(enum request_kind kind, int status, bool heard)
{
    struct rig_call first, second, read;
    struct mount_rig rig;
    struct reader *r;

    open_asking(&rig, &first);
    cr_assert_eq(mount_queue_reader_open(rig.mq, 0, GET_STREAM, 1, TIME_FOREVER, &r), 0);
    call_init(&read);
    read.op.len = 100;
    if (kind == REQUEST_GET)
        mount_queue_read(rig.mq, r, &read.op);
    if (kind == REQUEST_PUT)
        rig_put(&rig, "x\n");
    usleep(300000);
    if (status == 0)
        rig_answer_empty(rig_take(&rig, kind));
    else
        rig_answer(rig_take(&rig, kind), status);
    make(&rig, &second);
    cr_assert_eq(call_end(&second), -ETIMEDOUT);
    if (heard)
        cr_assert_geq(second.op.deadline_us, second.begun_us + SECOND, "kind %d", (int)kind);
    else
        cr_assert_leq(second.op.deadline_us, second.begun_us + SECOND - 300000);
    op_cancel(&read.op);
    mount_queue_reader_release(rig.mq, r);
    rig_close(&rig);
}

Test(ask, a_sync_that_is_answered_ends_the_silence)
{
    expect_heard(REQUEST_SYNC, 0, true);
}

Test(ask, a_watch_that_is_answered_ends_the_silence)
{
    expect_heard(REQUEST_WATCH, 0, true);
}

Test(ask, a_put_that_is_answered_ends_the_silence)
{
    expect_heard(REQUEST_PUT, 0, true);
}

Test(ask, a_get_that_is_answered_ends_the_silence)
{
    expect_heard(REQUEST_GET, 0, true);
}

Test(ask, a_question_that_is_answered_ends_the_silence)
{
    expect_heard(REQUEST_MAKE, -EEXIST, true);
}

/* The client says so, not the service. */
Test(ask, a_request_that_was_given_up_is_no_answer)
{
    expect_heard(REQUEST_SYNC, -ETIMEDOUT, false);
}

Test(ask, an_interrupted_question_ends_at_once_and_its_answer_does_no_harm)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *request;

    rig_open(&rig);
    rig_keep(&rig, KEEP(REQUEST_MAKE));
    make(&rig, &call);
    request = rig_take(&rig, REQUEST_MAKE);
    op_cancel(&call.op);
    cr_assert(call_ended(&call));
    cr_assert_eq(call_end(&call), -EINTR);
    rig_answer_empty(request);
    make(&rig, &call);
    op_cancel(&call.op);
    cr_assert_eq(call_end(&call), -EINTR);
    rig_close(&rig);
}

Test(ask, an_op_interrupted_before_asks_nothing)
{
    struct mount_rig rig;
    struct rig_call call;

    rig_open(&rig);
    call_init(&call);
    op_cancel(&call.op);
    mount_make_queue(rig.mount, "more", 0600, 0, 0, &call.op);
    cr_assert_eq(call_end(&call), -EINTR);
    cr_assert_eq(rig_seen(&rig, REQUEST_MAKE), 0);
    rig_close(&rig);
}

/* With a call that waits, made anew as by open_asking(). */
static void open_away_asking(struct mount_rig *rig, struct rig_call *first)
{
    for (;;) {
        rig_open_away(rig);
        call_init(first);
        mount_queue_settle(rig->mq, item_id(1, 0), SETTLE_DROP, &first->op);
        if (!call_ended(first))
            return;
        cr_assert_eq(call_end(first), -ETIMEDOUT);
        rig_close(rig);
    }
}

/* Nothing can be asked about it, and nothing comes to pass later. */
Test(ask, a_queue_without_a_number_is_waited_for_once)
{
    struct rig_call first, second;
    struct mount_rig rig;
    int64_t asked_us;

    open_away_asking(&rig, &first);
    asked_us = rig_now();
    cr_assert_eq(call_end(&first), -ETIMEDOUT);
    cr_assert_geq(call_took(&first), SECOND);
    call_init(&second);
    mount_queue_list(rig.mq, 1U << ITEM_READY, 0, 10, &second.op);
    cr_assert_eq(call_end(&second), -ETIMEDOUT);
    cr_assert_leq(second.op.deadline_us, asked_us + SECOND);
    cr_assert_eq(rig_seen(&rig, REQUEST_SETTLE) + rig_seen(&rig, REQUEST_LIST), 0);
    rig_close(&rig);
}

Test(ask, the_end_of_the_mount_ends_every_question)
{
    struct rig_call calls[N_CALLS], late;
    struct mount_rest rest;
    struct mount_rig rig;
    int i;

    rig_open(&rig);
    rig_keep(&rig, KEEP_ALL);
    ask_all(&rig, calls);
    mount_stop(rig.mount, SECOND / 10, &rest);
    for (i = 0; i < N_CALLS; i++)
        cr_assert_eq(call_end(&calls[i]), -ESHUTDOWN);
    make(&rig, &late);
    cr_assert(call_ended(&late));
    cr_assert_eq(call_end(&late), -ESHUTDOWN);
    rig_close(&rig);
}

/* ---- purge: what is buffered goes too, where it can be sent ---- */

static void purge(struct mount_rig *rig, struct rig_call *call)
{
    call_init(call);
    mount_queue_purge(rig->mq, &call->op);
}

Test(ask, a_purge_follows_what_was_written_before)
{
    struct request *put;
    struct mount_rig rig;
    struct rig_call call;

    rig_open(&rig);
    rig_keep(&rig, KEEP(REQUEST_PUT));
    rig_put(&rig, "x\n");
    purge(&rig, &call);
    put = rig_take(&rig, REQUEST_PUT);
    cr_assert_eq(rig_seen(&rig, REQUEST_PURGE), 0);
    rig_answer_empty(put);
    cr_assert_eq(call_end(&call), 0);
    cr_assert_eq(rig_seen(&rig, REQUEST_PURGE), 1);
    rig_close(&rig);
}

/* It is what makes room. */
Test(ask, a_purge_does_not_wait_for_room)
{
    struct request *put;
    struct mount_rig rig;
    struct rig_call call;

    rig_open(&rig);
    rig_keep(&rig, KEEP(REQUEST_PUT));
    rig_put(&rig, "x\n");
    purge(&rig, &call);
    put = rig_take(&rig, REQUEST_PUT);
    put->status = 0;
    put->out.put.last = 0;
    put->out.put.full = true;
    put->done(put);
    cr_assert_eq(call_end(&call), 0);
    rig_close(&rig);
}
