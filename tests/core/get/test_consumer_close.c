/* What is acknowledged and what goes back, and when; how much is fetched. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

TestSuite(consumer_close, .init = setup, .fini = teardown, .timeout = 20);

/* A large read that fetches two items, each as large as itself, and is given the first. */
static void fetch_two(struct reader *r, struct call *read)
{
    rig_put_many(&rig, 1, 2, BULK);
    rig_read(&rig, r, read, BULK, 0);
    rig_answer(&rig, 0, 0, true);
    cr_assert_eq(read->result, (ssize_t)BULK);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 2);
}

static void expect_large(struct reader *r, const char *begin)
{
    struct call read;

    call_init(&read, &rig);
    rig_read(&rig, r, &read, BULK, r->pos);
    rig_settle_down(&rig);
    cr_assert_eq(read.result, (ssize_t)BULK);
    cr_assert_eq(strncmp(read.bytes, begin, strlen(begin)), 0);
    call_fini(&read);
}

/* ---- close ---- */

/* A service that has failed answers no settlement, and the mount does not wait for it. */
Test(consumer_close, no_close_waits_when_the_mount_has_ended)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1),
                  *late = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call read, close, flush;

    call_init(&read, &rig);
    call_init(&close, &rig);
    call_init(&flush, &rig);
    fetch_two(r, &read);
    rig_end(&rig, -ESHUTDOWN);
    r->active = late->active = true; /* as if the read had just come */
    rig_close(&rig, r, &call);
    cr_assert_not(call.done);
    rig_shut(&rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
    rig_close(&rig, late, &close);
    cr_assert(close.done);
    cr_assert_eq(close.result, 0);
    rig_flush(&rig, &flush, SECOND);
    cr_assert(flush.done);
    cr_assert_eq(flush.result, -ETIMEDOUT);
    call_fini(&flush);
    call_fini(&close);
    call_fini(&read);
    rig_release(&rig, r);
    rig_release(&rig, late);
}

Test(consumer_close, close_waits_until_what_was_not_given_is_back)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call read;

    call_init(&read, &rig);
    fetch_two(r, &read);
    rig_close(&rig, r, &call);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig.sent[0]->in.settle.n_items, 2);
    rig_answer(&rig, 0, 0, true);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    call_fini(&read);
    rig_release(&rig, r);
    cr_assert_eq(rig.n_sent, 0);
}

Test(consumer_close, close_without_a_read_waits_for_nothing)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_close(&rig, r, &call);
    cr_assert(call.done);
    rig_release(&rig, r);
}

Test(consumer_close, close_waits_a_second_at_most)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call read;

    call_init(&read, &rig);
    fetch_two(r, &read);
    rig_close(&rig, r, &call);
    rig_pass(&rig, SECOND - 1);
    cr_assert_not(call.done);
    rig_pass(&rig, 1001);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
    call_fini(&read);
    rig_release(&rig, r);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0);
}

Test(consumer_close, close_can_be_interrupted)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call read;

    call_init(&read, &rig);
    fetch_two(r, &read);
    rig_close(&rig, r, &call);
    op_cancel(&call.op);
    cr_assert_eq(call.result, -EINTR);
    call_fini(&read);
    rig_release(&rig, r);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0);
}

Test(consumer_close, close_waits_for_a_get_in_flight_and_returns_its_items)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call read;

    call_init(&read, &rig);
    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    rig_read(&rig, r, &read, BULK, 0);
    op_cancel(&read.op);
    rig_close(&rig, r, &call);
    cr_assert_not(call.done);
    rig_answer(&rig, 0, 0, true);
    cr_assert_not(call.done);
    rig_answer(&rig, 0, 0, true);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 2);
    call_fini(&read);
    rig_release(&rig, r);
}

Test(consumer_close, get_in_flight_serves_others_before_the_rest_goes_back)
{
    struct reader *a = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct reader *b = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call gone, waits;

    call_init(&gone, &rig);
    call_init(&waits, &rig);
    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    rig_read(&rig, a, &gone, BULK, 0);
    rig_read(&rig, b, &waits, 4096, 0);
    op_cancel(&gone.op);
    rig_close(&rig, a, &call);
    rig_answer(&rig, 0, 0, true);
    cr_assert_eq(waits.result, 2);
    cr_assert_not(call.done);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    call_fini(&gone);
    call_fini(&waits);
    rig_leave(&rig, b);
    rig_release(&rig, a);
}

/* A GET that overlaps with a give-back may hold higher items than what comes back. */
Test(consumer_close, what_went_back_comes_before_what_was_in_flight)
{
    struct reader *a = rig_reader(&rig, READER_UNLIMITED, -1);
    struct reader *b = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call first, second;

    call_init(&first, &rig);
    call_init(&second, &rig);
    rig_put_many(&rig, 1, 12, BULK);
    expect_large(a, "1:0.");
    rig_read(&rig, a, &first, BULK, BULK);
    cr_assert_geq(rig_find(&rig, REQUEST_GET), 0, "fetches ahead");
    rig_close(&rig, a, &call);
    rig_read(&rig, b, &second, BULK, 0);
    rig_answer(&rig, (size_t)rig_find(&rig, REQUEST_GET), 0, true);
    cr_assert_not(second.done);
    rig_settle_down(&rig);
    cr_assert(call.done && second.done);
    cr_assert_eq(strncmp(second.bytes, "1:2.", 4), 0);
    call_fini(&first);
    call_fini(&second);
    rig_release(&rig, a);
    rig_leave(&rig, b);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 9);
}

Test(consumer_close, no_get_before_what_went_back_is_back)
{
    struct reader *a = rig_reader(&rig, READER_UNLIMITED, -1);
    struct reader *b = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call read;

    call_init(&read, &rig);
    fetch_two(a, &read);
    rig_close(&rig, a, &call);
    call_fini(&read);
    call_init(&read, &rig);
    rig_read(&rig, b, &read, BULK, 0);
    cr_assert_eq(rig_find(&rig, REQUEST_GET), -1);
    rig_answer(&rig, 0, 0, true);
    cr_assert_geq(rig_find(&rig, REQUEST_GET), 0);
    rig_settle_down(&rig);
    cr_assert_eq(strncmp(read.bytes, "1:1.", 4), 0);
    call_fini(&read);
    rig_release(&rig, a);
    rig_leave(&rig, b);
}

Test(consumer_close, close_of_a_copy_acknowledges_and_keeps_the_bytes)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call again;

    rig_put(&rig, 1, FRAMING_LINE, "ab\ncd\n");
    rig_expect(&rig, r, 4096, "ab\n");
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    call_init(&again, &rig);
    rig_read(&rig, r, &again, 4096, 1);
    cr_assert_str_eq(again.bytes, "b\n");
    call_fini(&again);
    rig_expect(&rig, r, 4096, "cd\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 2);
}

/* `{ head -c 3; cat; } < next` and, after its release, who comes next. */
Test(consumer_close, item_given_in_part_goes_back_at_release_and_first)
{
    struct reader *r = rig_reader(&rig, 1, -1), *next = rig_reader(&rig, 1, 0);
    struct call read;

    rig_put(&rig, 1, FRAMING_LINE, "abcdef\nghi\n");
    rig_expect(&rig, r, 4, "abcd");
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    call_init(&read, &rig);
    rig_read(&rig, next, &read, 100, 0);
    rig_settle_down(&rig);
    cr_assert_not(read.done, "it waits for the release");
    rig_release(&rig, r);
    rig_settle_down(&rig);
    cr_assert_str_eq(read.bytes, "abcdef\n");
    call_fini(&read);
    rig_leave(&rig, next);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 1);
}

Test(consumer_close, nobody_waits_long_for_a_release)
{
    struct reader *r = rig_reader(&rig, 1, -1), *next = rig_reader(&rig, 1, 0);
    struct call read;

    rig_put(&rig, 1, FRAMING_LINE, "abcdef\nghi\n");
    rig_expect(&rig, r, 4, "abcd");
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    call_init(&read, &rig);
    rig_read(&rig, next, &read, 100, 0);
    rig_pass(&rig, LEAVING_US - 1);
    rig_settle_down(&rig);
    cr_assert_not(read.done);
    rig_pass(&rig, 1);
    rig_settle_down(&rig);
    cr_assert_str_eq(read.bytes, "ghi\n");
    rig_expect(&rig, r, 4, "ef\n");
    call_fini(&read);
    rig_leave(&rig, next);
    rig_leave(&rig, r);
}

Test(consumer_close, who_reads_on_ends_the_wait_for_a_release)
{
    struct reader *r = rig_reader(&rig, 1, -1), *next = rig_reader(&rig, 1, 0);
    struct call read;

    rig_put(&rig, 1, FRAMING_LINE, "abcdef\nghi\n");
    rig_expect(&rig, r, 4, "abcd");
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    call_init(&read, &rig);
    rig_read(&rig, next, &read, 100, 0);
    rig_expect(&rig, r, 4, "ef\n");
    rig_settle_down(&rig);
    cr_assert_str_eq(read.bytes, "ghi\n");
    call_fini(&read);
    rig_leave(&rig, next);
    rig_leave(&rig, r);
}

Test(consumer_close, item_given_in_part_stays_when_another_process_closes)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abcdef\n");
    rig_expect(&rig, r, 4, "abcd");
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    rig_expect(&rig, r, 4, "ef\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_close, release_settles_what_remains)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "ab\ncdef\n");
    rig_expect(&rig, r, 4, "ab\n");
    rig_expect(&rig, r, 4, "cdef");
    rig_release(&rig, r);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

/* ---- give-backs without a close ---- */

Test(consumer_close, pool_that_nobody_reads_goes_back)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call read;

    call_init(&read, &rig);
    fetch_two(r, &read);
    rig_pass(&rig, POOL_IDLE_US - 1);
    cr_assert_eq(rig.n_sent, 0);
    rig_pass(&rig, 1);
    cr_assert_eq(rig.n_sent, 1);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1, "what was given stays");
    call_fini(&read);
    rig_leave(&rig, r);
}

Test(consumer_close, another_service_has_forgotten_the_leases)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call read;
    size_t i;

    call_init(&read, &rig);
    fetch_two(r, &read);
    for (i = 0; i < 2; i++) {
        rig.items[i].state = ITEM_READY;
        rig.items[i].token = 0;
        rig.items[i].holder = 0;
    }
    rig_changed(&rig, true);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 2);
    call_fini(&read);
    rig_leave(&rig, r);
    cr_assert_eq(consumer_counters(rig.c)->acks_late, 1);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 2);
}

Test(consumer_close, get_in_flight_when_the_service_changes_goes_back)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    rig_read(&rig, r, &call, 4096, 0);
    rig_changed(&rig, true);
    rig_answer(&rig, 0, 0, true);
    cr_assert_not(call.done);
    rig_settle_down(&rig);
    cr_assert_eq(call.result, 2);
    cr_assert_eq(rig.items[0].n_leases, 2);
    rig_leave(&rig, r);
}

/* ---- acknowledgements ---- */

Test(consumer_close, acknowledgements_linger_and_join)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put_many(&rig, 1, 100, 10);
    rig.c->growth = 100;
    rig_expect(&rig, r, 4096, "1:0......\n");
    rig.c->growth = 100;
    rig_expect(&rig, r, 4096, "1:1......\n");
    rig.n_settles = 0;
    rig_expect(&rig, r, 4096, "1:2......\n");
    rig_expect(&rig, r, 4096, "1:3......\n");
    cr_assert_eq(rig.n_settles, 0);
    rig_pass(&rig, ACK_QUEUE_LINGER_US - 1);
    cr_assert_eq(rig.n_settles, 0);
    rig_pass(&rig, 1);
    cr_assert_eq(rig.n_settles, 1);
    cr_assert_eq(rig.sent[0]->in.settle.n_items, 1);
    cr_assert_eq(rig.sent[0]->in.settle.items[0].to - rig.sent[0]->in.settle.items[0].from, 2);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
}

Test(consumer_close, acknowledgements_go_before_a_wait)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    rig_expect(&rig, r, 4096, "a\n");
    rig_read(&rig, r, &call, 4096, r->pos);
    cr_assert_eq(rig_find(&rig, REQUEST_SETTLE), 0);
    cr_assert_eq(rig_find(&rig, REQUEST_GET), 1);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    op_cancel(&call.op);
    rig_leave(&rig, r);
}

Test(consumer_close, flush_waits_for_settlements_made_before)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put_many(&rig, 1, 100, 10);
    rig_expect(&rig, r, 4096, "1:0......\n");
    rig.c->growth = 100;
    rig_expect(&rig, r, 4096, "1:1......\n");
    rig_expect(&rig, r, 4096, "1:2......\n");
    rig_flush(&rig, &call, SECOND);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 1);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 2);
    rig_leave(&rig, r);
}

Test(consumer_close, flush_with_nothing_to_settle_is_done)
{
    rig_flush(&rig, &call, SECOND);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
}

Test(consumer_close, flush_times_out)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    rig_expect(&rig, r, 4096, "a\n");
    rig_release(&rig, r);
    rig_flush(&rig, &call, SECOND);
    rig_pass(&rig, SECOND + 1000);
    cr_assert(call.done);
    cr_assert_eq(call.result, -ETIMEDOUT);
    rig_settle_down(&rig);
}

/* ---- how much is fetched ---- */

Test(consumer_close, first_small_read_fetches_one_item)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put_many(&rig, 1, 100, 10);
    rig_read(&rig, r, &call, 4096, 0);
    cr_assert_eq(rig.sent[0]->in.get.max_items, 1);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 99);
}

Test(consumer_close, quick_small_reads_fetch_twice_as_much_each_time)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    unsigned i;

    rig_put_many(&rig, 1, 1000, 10);
    for (i = 0; i < 255; i++) {
        struct call read;

        call_init(&read, &rig);
        rig_read(&rig, r, &read, 4096, r->pos);
        rig_settle_down(&rig);
        cr_assert_eq(read.result, 10);
        call_fini(&read);
    }
    cr_assert_eq(rig.n_gets, 8);
    rig_leave(&rig, r);
}

Test(consumer_close, slow_small_reads_fetch_what_they_need)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    unsigned i;

    rig_put_many(&rig, 1, 1000, 10);
    for (i = 0; i < 10; i++) {
        struct call read;

        call_init(&read, &rig);
        rig_read(&rig, r, &read, 4096, r->pos);
        rig_settle_down(&rig);
        call_fini(&read);
        cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
        rig_pass(&rig, 5001);
    }
    rig_settle_down(&rig);
    rig_leave(&rig, r);
}

Test(consumer_close, stream_of_large_reads_keeps_the_pool_filled_and_bounded)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    unsigned i;

    rig_put_many(&rig, 1, 12000, 1024);
    for (i = 0; i < 60; i++) {
        struct call read;

        call_init(&read, &rig);
        rig_read(&rig, r, &read, BULK, r->pos);
        cr_assert(i == 0 || read.done, "read %u had to wait", i);
        rig_settle_down(&rig);
        cr_assert_eq(read.result, (ssize_t)BULK);
        cr_assert_leq(rig.c->pool.len, FETCH_AHEAD + FETCH_BYTES);
        call_fini(&read);
    }
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 60 * 128);
}

Test(consumer_close, slow_large_reads_fetch_what_they_need)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put_many(&rig, 1, 12, BULK);
    expect_large(r, "1:0.");
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 8, "but not ahead");
    rig_pass(&rig, 50000);
    rig_settle_down(&rig);
    expect_large(r, "1:1.");
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    rig_pass(&rig, 10000);
    expect_large(r, "1:2.");
    rig_settle_down(&rig);
    cr_assert_gt(rig_count(&rig, ITEM_LEASED), 8, "quick again");
    rig_leave(&rig, r);
}

Test(consumer_close, limited_large_read_fetches_no_more_than_its_limit)
{
    struct reader *r = rig_reader(&rig, 7, -1);

    rig_put_many(&rig, 1, 100, 10);
    rig_read(&rig, r, &call, BULK, 0);
    cr_assert_eq(rig.sent[0]->in.get.max_items, 7);
    rig_settle_down(&rig);
    cr_assert_eq(call.result, 70);
    cr_assert_eq(rig.n_gets, 1);
    rig_leave(&rig, r);
}

Test(consumer_close, larger_read_fetches_as_much_as_it_holds)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_read(&rig, r, &call, 2 * FETCH_BYTES, 0);
    cr_assert_eq(rig.sent[0]->in.get.max_bytes, 2 * FETCH_BYTES);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
}
