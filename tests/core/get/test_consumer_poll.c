/* poll(2), and the end of the queue or of the mount. */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/core/get/consumer_rig.h"

#define SECOND 1000000

static struct rig rig;
static struct call call;

static void setup(void)
{
    rig_init(&rig);
    call_init(&call, &rig);
}

static void teardown(void)
{
    call_fini(&call);
    rig_fini(&rig);
}

TestSuite(consumer_poll, .init = setup, .fini = teardown, .timeout = 20);

static void expect(struct call *of, ssize_t result)
{
    cr_assert(of->done);
    cr_assert_eq(of->result, result, "got %zd", of->result);
}

/* ---- poll ---- */

Test(consumer_poll, poll_of_what_would_not_wait_is_ready)
{
    struct reader *zero = rig_reader(&rig, READER_UNLIMITED, 0);
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);

    cr_assert(consumer_readable(rig.c, zero));
    cr_assert_not(consumer_readable(rig.c, r));
    rig_put(&rig, 1, FRAMING_LINE, "x\ny\n");
    cr_assert(consumer_readable(rig.c, r), "an item is there");
    rig_expect(&rig, r, 4096, "x\n");
    rig.state.depth = 0;
    cr_assert(consumer_readable(rig.c, r), "at its limit");
    rig_leave(&rig, r);
    rig_leave(&rig, zero);
}

Test(consumer_poll, poll_parks_and_leases_nothing)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call second;

    call_init(&second, &rig);
    rig_poll(&rig, r, &call);
    rig_poll(&rig, r, &second);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig.sent[0]->kind, REQUEST_ARM);
    cr_assert_eq(rig.sent[0]->in.arm.kinds, EVENT_READY);
    rig_settle_down(&rig);
    cr_assert_not(call.done);
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_tell(&rig);
    expect(&call, 0);
    expect(&second, 0);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    cr_assert_eq(rig.n_arms, 1);
    call_fini(&second);
    rig_leave(&rig, r);
}

Test(consumer_poll, poll_is_ready_where_arming_finds_an_item)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_poll(&rig, r, &call);
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_answer(&rig, 0, 0, true);
    expect(&call, 0);
    rig_leave(&rig, r);
}

Test(consumer_poll, failing_arm_is_sent_again)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_poll(&rig, r, &call);
    rig_answer(&rig, 0, -EIO, false);
    cr_assert_eq(rig.n_sent, 0);
    rig_pass(&rig, 50000);
    cr_assert_eq(rig.n_sent, 1);
    rig_settle_down(&rig);
    cr_assert_not(call.done);
    rig_release(&rig, r);
    expect(&call, 0);
}

Test(consumer_poll, setting_the_timeout_to_zero_wakes_pollers)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig.settings.mount.get_timeout_us = TIME_FOREVER;
    rig_poll(&rig, r, &call);
    rig_settle_down(&rig);
    rig.settings.mount.get_timeout_us = 0;
    rig_changed(&rig, false);
    expect(&call, 0);
    rig_leave(&rig, r);
}

/* ---- the end ---- */

Test(consumer_poll, removed_queue_ends_everything)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct reader *p = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call poll, flush;

    call_init(&poll, &rig);
    call_init(&flush, &rig);
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_expect(&rig, p, 4096, "x\n");
    rig_read(&rig, r, &call, 4096, 0);
    rig_settle_down(&rig);
    rig_poll(&rig, p, &poll);
    rig_end(&rig, -ENOENT);
    expect(&call, -ENOENT);
    expect(&poll, 0);
    rig_expect_error(&rig, r, 4096, 0, -ENOENT);
    rig_flush(&rig, &flush, SECOND);
    expect(&flush, 0);
    call_fini(&poll);
    call_fini(&flush);
    rig_leave(&rig, p);
    rig_leave(&rig, r);
    cr_assert_eq(rig.n_settles, 0);
}

Test(consumer_poll, ending_mount_settles_and_then_refuses)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct reader *w = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_put_many(&rig, 1, 3000, 100);
    rig_read(&rig, r, &call, BULK, 0);
    rig_answer(&rig, 0, 0, true);
    rig_end(&rig, -ESHUTDOWN);
    cr_assert_gt(consumer_counters(rig.c)->in_flight_settlements, 0);
    rig_settle_down(&rig);
    cr_assert_eq(consumer_counters(rig.c)->in_flight_settlements, 0);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1310, "what was given is the reader's");
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0);
    rig_expect_error(&rig, r, BULK, r->pos, -ESHUTDOWN);
    rig_leave(&rig, r);
    rig_leave(&rig, w);
}

Test(consumer_poll, get_in_flight_at_the_end_goes_back)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_read(&rig, r, &call, BULK, 0);
    rig_end(&rig, -ESHUTDOWN);
    expect(&call, -ESHUTDOWN);
    cr_assert_gt(consumer_counters(rig.c)->in_flight_settlements, 0);
    rig_settle_down(&rig);
    cr_assert_eq(consumer_counters(rig.c)->in_flight_settlements, 0);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    rig_leave(&rig, r);
}

Test(consumer_poll, end_forgets_requests_that_wait_to_be_sent_again)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct reader *p = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call poll;

    call_init(&poll, &rig);
    rig_poll(&rig, p, &poll);
    rig_read(&rig, r, &call, BULK, 0);
    rig_answer(&rig, 0, -EIO, false);
    rig_answer(&rig, 0, -EIO, false);
    cr_assert_eq(rig.n_sent, 0);
    rig_end(&rig, -ESHUTDOWN);
    expect(&call, -ESHUTDOWN);
    cr_assert_eq(consumer_deadline(rig.c), TIME_FOREVER);
    cr_assert_eq(consumer_counters(rig.c)->in_flight_settlements, 0);
    call_fini(&poll);
    rig_leave(&rig, r);
    rig_leave(&rig, p);
}

Test(consumer_poll, end_is_told_to_a_flush_and_not_to_a_close)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call flush;

    call_init(&flush, &rig);
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_expect(&rig, r, 4096, "x\n");
    rig_close(&rig, r, &call);
    rig_flush(&rig, &flush, SECOND);
    rig_end(&rig, -ESHUTDOWN);
    expect(&call, 0);
    expect(&flush, -ESHUTDOWN);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    call_fini(&flush);
    rig_release(&rig, r);
}

Test(consumer_poll, poll_that_need_not_park_ends_at_once)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, 0);

    rig_poll(&rig, r, &call);
    expect(&call, 0);
    cr_assert_eq(rig.n_sent, 0);
    rig_leave(&rig, r);
}
