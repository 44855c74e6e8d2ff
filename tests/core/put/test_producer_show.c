/* Somebody looks at the queue: what is buffered is sent and waited for while it can go on. */
#include "tests/core/put/producer_rig.h"

TestSuite(producer_show, .timeout = 60);

#define WAIT_US 200000

static void show(struct rig *rig, struct call *call)
{
    struct effects effects;

    call_init(rig, call);
    effects_init(&effects);
    producer_show(rig->p, &call->op, WAIT_US, rig->now_us, &effects);
    rig_run(rig, &effects);
}

/* One item is buffered, its open is gone, nothing is sent yet. */
static void init(struct rig *rig)
{
    struct writer w;

    rig_init(rig);
    rig_open(rig, &w);
    cr_assert_eq(rig_puts(rig, &w, "x\n"), 2);
    rig_release(rig, &w);
    cr_assert_eq(rig->n_sent, 0);
}

Test(producer_show, nothing_to_show_ends_at_once)
{
    struct rig rig;
    struct call call;

    rig_init(&rig);
    show(&rig, &call);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, 0);
    rig_fini(&rig);
}

Test(producer_show, what_is_buffered_is_sent_and_waited_for)
{
    struct rig rig;
    struct call call;

    init(&rig);
    show(&rig, &call);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(call.n_done, 0);
    rig_store(&rig, 0);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, 0);
    rig_fini(&rig);
}

Test(producer_show, an_unfinished_item_is_neither_ended_nor_waited_for)
{
    struct rig rig;
    struct writer w;
    struct call call;

    rig_init(&rig);
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "x"), 1);
    rig_close(&rig, &w, &call);
    show(&rig, &call);
    cr_assert_eq(rig.n_sent, 0);
    cr_assert_eq(call.n_done, 1);
    rig_release(&rig, &w);
    show(&rig, &call);
    cr_assert_eq(rig.n_sent, 1);
    rig_store(&rig, 0);
    cr_assert_eq(call.n_done, 1);
    rig_fini(&rig);
}

Test(producer_show, an_answer_is_not_waited_for_longer)
{
    struct rig rig;
    struct call call;

    init(&rig);
    show(&rig, &call);
    rig_sleep(&rig, WAIT_US - 1);
    cr_assert_eq(call.n_done, 0);
    rig_sleep(&rig, 1);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, 0);
    rig_store(&rig, 0);
    rig_fini(&rig);
}

Test(producer_show, a_full_queue_is_not_waited_for)
{
    struct rig rig;
    struct call call;

    init(&rig);
    rig.settings.own.maxsize = 1;
    rig.state.depth = 1;
    show(&rig, &call);
    cr_assert_eq(call.n_done, 0);
    rig_store(&rig, 0);
    cr_assert_eq(rig.n_stored, 0);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, 0);
    show(&rig, &call);
    cr_assert_eq(call.n_done, 1, "the queue was full a moment ago");
    rig.settings.own.maxsize = 0;
    rig_changed(&rig);
    rig_drain(&rig);
    rig_fini(&rig);
}

/* The error is of those who wrote. */
Test(producer_show, a_full_store_is_not_waited_for_and_told_to_the_next_flush)
{
    struct rig rig;
    struct call call, flush;

    init(&rig);
    show(&rig, &call);
    rig.full = true;
    rig_store(&rig, 0);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, 0);
    show(&rig, &call);
    cr_assert_eq(call.result, 0);
    rig_flush(&rig, &flush);
    cr_assert_eq(flush.result, -ENOSPC);
    rig.full = false;
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(producer_show, the_end_of_the_queue_ends_it)
{
    struct rig rig;
    struct call call;

    init(&rig);
    show(&rig, &call);
    rig_end(&rig, -ESHUTDOWN);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, 0);
    show(&rig, &call);
    cr_assert_eq(call.n_done, 1);
    rig_store_all(&rig);
    rig_fini(&rig);
}

Test(producer_show, it_can_be_interrupted)
{
    struct rig rig;
    struct call call;

    init(&rig);
    show(&rig, &call);
    op_cancel(&call.op);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.result, -EINTR);
    rig_drain(&rig);
    cr_assert_eq(call.n_done, 1);
    rig_fini(&rig);
}
