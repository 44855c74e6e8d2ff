/* Looking at items, and what goes before any question about them. */
#include "tests/core/mount/mount_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

TestSuite(items, .timeout = 120);

#define ID    item_id(5, 3)
#define READY (1U << ITEM_READY | 1U << ITEM_DELAYED)
#define DEAD  (1U << ITEM_DEAD)

static void open_keeping(struct mount_rig *rig, uint32_t keep)
{
    rig_open(rig);
    rig_keep(rig, keep);
}

/* ---- list and look ---- */

static void scrub(struct request *request)
{
    memset(request->reply_memory, 0xee, 3 * sizeof(struct item_info));
    free(request->reply_memory);
}

/* n items from `id` on, the first one's bytes. What points to them is of no use after release. */
static void answer_items(struct request *request, uint64_t id, size_t n, uint64_t next)
{
    struct item_info *items = calloc(3, sizeof(*items));
    size_t i;

    for (i = 0; i < n; i++)
        items[i] = (struct item_info){.id = id + i, .size = 3, .state = ITEM_READY};
    request->status = 0;
    memset(&request->state, 0, sizeof(request->state));
    request->out.list.items = items;
    request->out.list.n_items = n;
    request->out.list.next = next;
    request->out.list.data = request->in.list.bytes ? (const uint8_t *)"abc" : NULL;
    request->out.list.len = request->in.list.bytes ? 3 : 0;
    request->reply_memory = items;
    request->reply_free = scrub;
    request->done(request);
}

Test(items, a_listing_is_asked_for_in_pages)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *list;

    open_keeping(&rig, KEEP(REQUEST_LIST));
    call_init(&call);
    mount_queue_list(rig.mq, READY, ID, 100000, &call.op);
    list = rig_take(&rig, REQUEST_LIST);
    cr_assert_eq(list->queue, RIG_QUEUE);
    cr_assert_eq(list->in.list.states, READY);
    cr_assert_eq(list->in.list.from, ID);
    cr_assert_eq(list->in.list.to, 0);
    cr_assert_eq(list->in.list.max_items, REQUEST_ITEMS_MAX);
    cr_assert_not(list->in.list.bytes);
    cr_assert_gt(list->give_up_us, rig_now());
    answer_items(list, ID, 3, ID + 70);
    cr_assert_eq(call_end(&call), 0);
    cr_assert_eq(call.answer.n_items, 3);
    cr_assert_eq(call.items[0].id, ID);
    cr_assert_eq(call.items[2].id, ID + 2);
    cr_assert_eq(call.answer.next, ID + 70);
    rig_close(&rig);
}

Test(items, a_listing_may_be_empty)
{
    struct mount_rig rig;
    struct rig_call call;

    open_keeping(&rig, 0);
    call_init(&call);
    mount_queue_list(rig.mq, DEAD, 0, 1, &call.op);
    cr_assert_eq(call_end(&call), 0);
    cr_assert_not_null(call.op.answer);
    cr_assert_eq(call.answer.n_items, 0);
    rig_close(&rig);
}

Test(items, more_than_was_asked_for_is_nonsense)
{
    struct mount_rig rig;
    struct rig_call call;

    open_keeping(&rig, KEEP(REQUEST_LIST));
    call_init(&call);
    mount_queue_list(rig.mq, READY, 0, 2, &call.op);
    answer_items(rig_take(&rig, REQUEST_LIST), ID, 3, 0);
    cr_assert_eq(call_end(&call), -EPROTO);
    cr_assert_null(call.op.answer);
    rig_close(&rig);
}

Test(items, a_look_is_at_one_item_and_its_bytes)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *list;

    open_keeping(&rig, KEEP(REQUEST_LIST));
    call_init(&call);
    mount_queue_look(rig.mq, ID, READY, true, &call.op);
    list = rig_take(&rig, REQUEST_LIST);
    cr_assert_eq(list->in.list.states, READY);
    cr_assert_eq(list->in.list.from, ID);
    cr_assert_eq(list->in.list.to, ID + 1);
    cr_assert_eq(list->in.list.max_items, 1);
    cr_assert(list->in.list.bytes);
    answer_items(list, ID, 1, 0);
    cr_assert_eq(call_end(&call), 0);
    cr_assert_eq(call.answer.n_items, 1);
    cr_assert_eq(call.items[0].id, ID);
    cr_assert_eq(call.answer.len, 3);
    cr_assert_str_eq(call.data, "abc");
    rig_close(&rig);
}

Test(items, a_look_at_nothing_is_enoent_and_errors_are_passed_up)
{
    struct mount_rig rig;
    struct rig_call call;

    open_keeping(&rig, 0);
    call_init(&call);
    mount_queue_look(rig.mq, ID, READY, false, &call.op);
    cr_assert_eq(call_end(&call), -ENOENT);
    cr_assert_null(call.op.answer);
    rig_keep(&rig, KEEP(REQUEST_LIST));
    call_init(&call);
    mount_queue_look(rig.mq, ID, READY, false, &call.op);
    rig_answer(rig_take(&rig, REQUEST_LIST), -EIO);
    cr_assert_eq(call_end(&call), -EIO);
    rig_close(&rig);
}

Test(items, an_answer_that_nobody_waits_for_is_let_go)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *list;

    open_keeping(&rig, KEEP(REQUEST_LIST));
    call_init(&call);
    mount_queue_look(rig.mq, ID, READY, true, &call.op);
    list = rig_take(&rig, REQUEST_LIST);
    op_cancel(&call.op);
    cr_assert_eq(call_end(&call), -EINTR);
    answer_items(list, ID, 1, 0);
    cr_assert_null(call.op.answer);
    rig_close(&rig);
}

/* ---- puts go before a listing ---- */

Test(items, a_listing_follows_what_was_written_before)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *put;
    int64_t begun_us;

    open_keeping(&rig, KEEP(REQUEST_PUT) | KEEP(REQUEST_LIST));
    rig_put(&rig, "x\n");
    begun_us = rig_now();
    call_init(&call);
    mount_queue_list(rig.mq, READY, 0, 10, &call.op);
    put = rig_take(&rig, REQUEST_PUT);
    if (rig_seen(&rig, REQUEST_LIST) > 0)
        cr_assert_geq(rig_now() - begun_us, SECOND / 5);
    rig_answer_empty(put);
    answer_items(rig_take(&rig, REQUEST_LIST), ID, 1, 0);
    cr_assert_eq(call_end(&call), 0);
    rig_close(&rig);
}

Test(items, puts_that_are_not_answered_hold_a_listing_up_for_a_moment_only)
{
    struct mount_rig rig;
    struct rig_call call;

    open_keeping(&rig, KEEP(REQUEST_PUT));
    rig_put(&rig, "x\n");
    call_init(&call);
    mount_queue_list(rig.mq, READY, 0, 10, &call.op);
    cr_assert_eq(call_end(&call), 0);
    cr_assert_geq(call_took(&call), SECOND / 5);
    rig_close(&rig);
}

/* Its id is known, so it is stored; the dead and the rest of a listing show no puts either. */
Test(items, other_questions_do_not_wait_for_puts)
{
    struct mount_rig rig;
    struct rig_call call;
    struct writer *w;

    open_keeping(&rig, KEEP(REQUEST_PUT));
    cr_assert_eq(mount_queue_writer_open(rig.mq, 0, &w), 0);
    call_init(&call);
    call.op.data = (const uint8_t *)"part";
    call.op.len = 4;
    mount_queue_write(rig.mq, w, &call.op);
    cr_assert_eq(call_end(&call), 4);
    call_init(&call);
    mount_queue_writer_close(rig.mq, w, &call.op);
    cr_assert_eq(call_end(&call), 0);

    call_init(&call);
    mount_queue_list(rig.mq, DEAD, 0, 10, &call.op);
    cr_assert_eq(call_end(&call), 0);
    call_init(&call);
    mount_queue_list(rig.mq, READY, ID, 10, &call.op);
    cr_assert_eq(call_end(&call), 0);
    call_init(&call);
    mount_queue_look(rig.mq, ID, READY, true, &call.op);
    cr_assert_eq(call_end(&call), -ENOENT);
    call_init(&call);
    mount_queue_list(rig.mq, READY, 0, 10, &call.op);
    cr_assert_eq(call_end(&call), 0);
    cr_assert_eq(rig_seen(&rig, REQUEST_PUT), 0, "the item is not finished by a look");
    mount_queue_writer_release(rig.mq, w);
    call_init(&call);
    mount_queue_list(rig.mq, READY, 0, 10, &call.op);
    cr_assert_eq(call_end(&call), 0);
    cr_assert_eq(rig_seen(&rig, REQUEST_PUT), 1);
    rig_close(&rig);
}

/* ---- settlements go before everything ---- */

/* An item has been read and its reader has come back: it is acknowledged. */
static struct reader *acknowledge(struct mount_rig *rig)
{
    struct rig_call call;
    struct reader *r;

    cr_assert_eq(mount_queue_reader_open(rig->mq, 0, GET_STREAM, 1, 20 * SECOND, &r), 0);
    call_init(&call);
    call.op.len = 100;
    mount_queue_read(rig->mq, r, &call.op);
    rig_answer_grant(rig_take(rig, REQUEST_GET), ID, 77, "abc\n");
    cr_assert_eq(call_end(&call), 4);
    call_init(&call);
    call.op.len = 100;
    call.op.offset = 4;
    mount_queue_read(rig->mq, r, &call.op);
    cr_assert_eq(call_end(&call), 0);
    return r;
}

#define N_QUESTIONS 4

static void question(struct mount_rig *rig, int which, struct rig_call *call)
{
    call_init(call);
    if (which == 0)
        mount_queue_list(rig->mq, READY, 0, 10, &call->op);
    else if (which == 1)
        mount_queue_look(rig->mq, ID, READY, true, &call->op);
    else if (which == 2)
        mount_queue_take(rig->mq, ID, &call->op);
    else
        mount_queue_settle(rig->mq, ID, SETTLE_DROP, &call->op);
}

static const enum request_kind kind_of[N_QUESTIONS] = {
    REQUEST_LIST,
    REQUEST_LIST,
    REQUEST_GET,
    REQUEST_SETTLE,
};

Test(items, a_question_follows_what_was_settled_before)
{
    struct rig_call calls[N_QUESTIONS];
    struct mount_rig rig;
    struct request *settle;
    struct reader *r;
    unsigned seen[N_QUESTIONS];
    int i;

    open_keeping(&rig, KEEP(REQUEST_GET) | KEEP(REQUEST_SETTLE));
    r = acknowledge(&rig);
    settle = rig_take(&rig, REQUEST_SETTLE);
    cr_assert_eq(settle->in.settle.items[0].token, 77);
    rig_keep(&rig, 0);
    for (i = 0; i < N_QUESTIONS; i++) {
        seen[i] = rig_seen(&rig, kind_of[i]);
        question(&rig, i, &calls[i]);
    }
    for (i = 0; i < N_QUESTIONS; i++) {
        cr_assert_eq(rig_seen(&rig, kind_of[i]), seen[i], "question %d was asked too soon", i);
        cr_assert_not(call_ended(&calls[i]));
    }
    rig_answer_empty(settle);
    for (i = 0; i < N_QUESTIONS; i++) {
        cr_assert_eq(call_end(&calls[i]), kind_of[i] == REQUEST_SETTLE || i == 0 ? 0 : -ENOENT);
        cr_assert_gt(rig_seen(&rig, kind_of[i]), seen[i]);
    }
    mount_queue_reader_release(rig.mq, r);
    rig_close(&rig);
}

Test(items, a_question_that_was_interrupted_is_not_asked_later)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *settle;
    struct reader *r;

    open_keeping(&rig, KEEP(REQUEST_GET) | KEEP(REQUEST_SETTLE));
    r = acknowledge(&rig);
    settle = rig_take(&rig, REQUEST_SETTLE);
    question(&rig, 1, &call);
    op_cancel(&call.op);
    cr_assert_eq(call_end(&call), -EINTR);
    rig_answer_empty(settle);
    cr_assert_eq(rig_seen(&rig, REQUEST_LIST), 0);
    mount_queue_reader_release(rig.mq, r);
    rig_close(&rig);
}

Test(items, a_question_that_took_too_long_is_not_asked_later)
{
    struct mount_rig rig;
    struct rig_call call;
    struct request *settle;
    struct reader *r;

    rig_open_brief(&rig);
    rig_keep(&rig, KEEP(REQUEST_GET) | KEEP(REQUEST_SETTLE));
    r = acknowledge(&rig);
    settle = rig_take(&rig, REQUEST_SETTLE);
    question(&rig, 3, &call);
    cr_assert_eq(call_end(&call), -ETIMEDOUT);
    rig_answer_empty(settle);
    cr_assert_eq(rig_seen(&rig, REQUEST_SETTLE), 1);
    mount_queue_reader_release(rig.mq, r);
    rig_close(&rig);
}
