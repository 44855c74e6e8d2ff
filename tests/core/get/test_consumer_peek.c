/* The size of an item, told before a byte of it is given, and what follows from that. */
#include <criterion/criterion.h>
#include <errno.h>
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

TestSuite(consumer_peek, .init = setup, .fini = teardown, .timeout = 20);

/* A peek with its answers. */
static ssize_t peek(struct reader *r)
{
    struct call peek;

    call_init(&peek, &rig);
    rig_peek(&rig, r, &peek);
    rig_settle_down(&rig);
    cr_assert(peek.done);
    call_fini(&peek);
    return peek.result;
}

static void expect_at(struct reader *r, int64_t offset, size_t len, const char *text)
{
    struct call read;

    call_init(&read, &rig);
    rig_read(&rig, r, &read, len, offset);
    cr_assert(read.done, "what it has it need not wait for");
    cr_assert_eq(read.result, (ssize_t)strlen(text), "got %zd", read.result);
    cr_assert_str_eq(read.bytes, text);
    call_fini(&read);
}

/* ---- what is told ---- */

Test(consumer_peek, tells_what_the_reads_will_give)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\nde\n");
    cr_assert_eq(peek(r), 4);
    cr_assert_eq(rig.n_gets, 1);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 0);
    cr_assert_eq(peek(r), 4, "again the same");
    expect_at(r, 0, 4096, "abc\n");
    cr_assert_eq(peek(r), 4, "and when it was given");
    expect_at(r, 4, 4096, "");
    cr_assert_eq(peek(r), 4);
    rig_leave(&rig, r);
    cr_assert_eq(rig.n_gets, 1);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 1);
}

Test(consumer_peek, tells_the_whole_in_the_middle)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abcdef\n");
    rig_expect(&rig, r, 3, "abc");
    cr_assert_eq(peek(r), 7);
    rig_expect(&rig, r, 4096, "def\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_peek, of_an_empty_line)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "\n");
    cr_assert_eq(peek(r), 1);
    rig_expect(&rig, r, 4096, "\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_peek, of_nul_framing)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_NUL, "ab\nc\n");
    cr_assert_eq(peek(r), 3);
    rig_leave(&rig, r);
}

Test(consumer_peek, of_file_framing)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_FILE, "one\nitem");
    rig_put(&rig, 1, FRAMING_FILE, "two");
    cr_assert_eq(peek(r), 8);
    rig_expect(&rig, r, 4, "one\n");
    rig_expect(&rig, r, BULK, "item");
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

/* A size of 0 would say that there is nothing to read, and who does not read takes nothing. */
Test(consumer_peek, of_an_empty_file_tells_nothing)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_FILE, "");
    cr_assert_eq(peek(r), 0);
    cr_assert_eq(peek(r), 0);
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_peek, of_an_item_larger_than_one_answer)
{
    struct reader *r = rig_reader(&rig, 1, -1);
    size_t size = 3 * FETCH_BYTES + 10, given = 0;

    rig_put_many(&rig, 1, 2, size);
    cr_assert_eq(peek(r), (ssize_t)size);
    while (given < size) {
        struct call read;

        call_init(&read, &rig);
        rig_read(&rig, r, &read, BULK, (int64_t)given);
        cr_assert(read.done && read.result > 0);
        given += (size_t)read.result;
        call_fini(&read);
    }
    cr_assert_eq(given, size);
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_peek, takes_nothing_where_more_than_one_may_come)
{
    struct reader *two = rig_reader(&rig, 2, -1), *all = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\n");
    cr_assert_eq(peek(two), 0);
    cr_assert_eq(peek(all), 0);
    cr_assert_eq(rig.n_gets, 0);
    rig_leave(&rig, two);
    rig_leave(&rig, all);
}

Test(consumer_peek, takes_from_what_is_at_hand)
{
    struct reader *all = rig_reader(&rig, READER_UNLIMITED, -1), *r = rig_reader(&rig, 1, -1);

    rig_put_many(&rig, 1, 10, 20);
    rig_expect(&rig, all, 4096, "1:0................\n");
    rig.c->growth = 5;
    rig_expect(&rig, all, 4096, "1:1................\n");
    cr_assert_eq(rig.n_gets, 2);
    cr_assert_eq(peek(r), 20);
    cr_assert_eq(rig.n_gets, 2);
    expect_at(r, 0, 4096, "1:2................\n");
    rig_leave(&rig, r);
    rig_leave(&rig, all);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 3);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 7);
}

/* ---- what was not read goes back ---- */

static void expect_return(void)
{
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig.sent[0]->kind, REQUEST_SETTLE);
    cr_assert_eq(rig.sent[0]->in.settle.n_items, 1);
    cr_assert_eq(rig.sent[0]->in.settle.items[0].verb, SETTLE_RETURN, "no delivery");
}

Test(consumer_peek, unread_goes_back_before_close_returns)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    peek(r);
    rig_close(&rig, r, &call);
    cr_assert_not(call.done);
    expect_return();
    rig_answer(&rig, 0, 0, true);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    rig_release(&rig, r);
    cr_assert_eq(rig.n_sent, 0);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 0);
}

Test(consumer_peek, unread_goes_back_with_the_release)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    peek(r);
    rig_release(&rig, r);
    expect_return();
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(consumer_peek, a_copy_that_is_read_after_a_close_gets_an_item)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    peek(r);
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    cr_assert_eq(reader_size(r), 0, "it has none any more");
    cr_assert_eq(peek(r), 4);
    rig_expect(&rig, r, 4096, "abc\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

/* The open is opened once more: what it has not begun to read is anybody's. */
Test(consumer_peek, can_be_undone_once_for_all)
{
    struct reader *r = rig_reader(&rig, 1, -1), *other = rig_reader(&rig, 1, -1);
    struct call read;

    rig_peek_no_more(&rig, other);
    cr_assert_eq(rig.n_sent, 0);
    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    cr_assert_eq(peek(other), 0);
    cr_assert_eq(peek(r), 4);
    rig_peek_no_more(&rig, r);
    cr_assert_eq(reader_size(r), 0);
    cr_assert_eq(peek(r), 0);
    call_init(&read, &rig);
    rig_read(&rig, other, &read, 2, 0);
    rig_settle_down(&rig);
    cr_assert_str_eq(read.bytes, "ab");
    cr_assert_eq(rig.items[0].n_leases, 2);
    call_fini(&read);
    rig_peek_no_more(&rig, other);
    cr_assert_eq(peek(other), 4, "what it reads it has");
    rig_expect(&rig, other, 4096, "c\n");
    rig_expect(&rig, r, 4096, "");
    rig_leave(&rig, r);
    rig_leave(&rig, other);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

/* A child of another thread, on its way to exec. */
Test(consumer_peek, stays_when_one_who_shares_it_closes)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    peek(r);
    call.op.sharer = true;
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    cr_assert_eq(reader_size(r), 4);
    expect_at(r, 0, 4096, "abc\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_peek, who_shares_it_was_the_last)
{
    struct reader *r = rig_reader(&rig, 1, -1), *next = rig_reader(&rig, 1, 0);
    struct call read;

    rig_put(&rig, 1, FRAMING_LINE, "abc\nde\n");
    peek(r);
    call.op.sharer = true;
    rig_close(&rig, r, &call);
    rig_settle_down(&rig);
    call_init(&read, &rig);
    rig_read(&rig, next, &read, 100, 0);
    rig_settle_down(&rig);
    cr_assert_not(read.done, "it waits for the release");
    rig_release(&rig, r);
    rig_settle_down(&rig);
    cr_assert_str_eq(read.bytes, "abc\n");
    call_fini(&read);
    rig_leave(&rig, next);
}

Test(consumer_peek, others_go_on_and_what_comes_back_is_the_first)
{
    struct reader *r = rig_reader(&rig, 1, -1), *other = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\nd\n");
    peek(r);
    rig_expect(&rig, other, 4096, "b\n");
    rig.c->growth = 2;
    rig_expect(&rig, other, 4096, "c\n");
    rig_leave(&rig, r);
    rig_expect(&rig, other, 4096, "a\n");
    rig_expect(&rig, other, 4096, "d\n");
    rig_leave(&rig, other);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 4);
}

Test(consumer_peek, is_not_given_back_for_want_of_reads)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    peek(r);
    rig_pass(&rig, 60 * (int64_t)SECOND);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    expect_at(r, 0, 4096, "abc\n");
    rig_leave(&rig, r);
}

/* ---- reads further on ---- */

Test(consumer_peek, reads_the_end_only)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abcdefgh\n");
    peek(r);
    expect_at(r, 5, 4096, "fgh\n");
    expect_at(r, 6, 2, "gh");
    expect_at(r, 9, 4096, "");
    cr_assert_eq(peek(r), 9);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_peek, goes_back_where_the_end_was_not_read)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abcdefgh\n");
    peek(r);
    expect_at(r, 2, 3, "cde");
    expect_at(r, 6, 2, "gh");
    cr_assert_eq(peek(r), 9);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(consumer_peek, behind_the_end_is_the_end)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    rig_expect_error(&rig, r, 4096, 1, -EINVAL);
    peek(r);
    expect_at(r, 4, 4096, "");
    expect_at(r, 1 << 20, 4096, "");
    expect_at(r, 3, 4096, "\n");
    rig_expect_error(&rig, r, 4096, 0, -EINVAL);
    expect_at(r, 1 << 20, 4096, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

/* ---- where nothing is there ---- */

Test(consumer_peek, waits_for_one_answer_only)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);

    rig_peek(&rig, r, &call);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 1);
    rig_answer(&rig, 0, 0, true);
    cr_assert(call.done);
    cr_assert_eq(call.result, -EAGAIN);
    rig_leave(&rig, r);
}

Test(consumer_peek, of_an_empty_queue_is_nothing)
{
    struct reader *r = rig_reader(&rig, 1, 0);

    cr_assert_eq(peek(r), 0);
    rig_put(&rig, 1, FRAMING_LINE, "late\n");
    cr_assert_eq(peek(r), 5, "but it may come later");
    rig_leave(&rig, r);
}

Test(consumer_peek, finds_what_is_on_its_way_to_the_service)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);

    rig.producer.last = 7;
    rig_peek(&rig, r, &call);
    cr_assert_eq(rig.producer.n_pushes, 1);
    rig_settle_down(&rig);
    cr_assert_not(call.done);
    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    rig.producer.acked = 7;
    rig_changed(&rig, false);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, 4);
    rig_leave(&rig, r);
}

Test(consumer_peek, waits_a_second_for_a_service_that_is_away_and_then_no_more)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);
    struct call again;

    rig_peek(&rig, r, &call);
    rig_pass(&rig, SECOND - 1);
    cr_assert_not(call.done);
    rig_pass(&rig, 1001);
    cr_assert(call.done);
    cr_assert_eq(call.result, -EAGAIN);
    call_init(&again, &rig);
    rig_peek(&rig, r, &again);
    cr_assert(again.done);
    cr_assert_eq(again.result, -ETIMEDOUT);
    call_fini(&again);
    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    rig_settle_down(&rig);
    cr_assert_eq(peek(r), 4, "it is back");
    rig_leave(&rig, r);
}

Test(consumer_peek, can_be_interrupted)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    rig_peek(&rig, r, &call);
    op_cancel(&call.op);
    cr_assert_eq(call.result, -EINTR);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(consumer_peek, that_waits_gets_nothing_when_it_is_undone)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER), *other = rig_reader(&rig, 1, 0);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    rig_peek(&rig, r, &call);
    rig_peek_no_more(&rig, r);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
    rig_expect(&rig, other, 4096, "abc\n");
    rig_leave(&rig, other);
    rig_leave(&rig, r);
}

Test(consumer_peek, ends_with_the_release)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    rig_peek(&rig, r, &call);
    rig_release(&rig, r);
    cr_assert(call.done);
    cr_assert_eq(call.result, -EINTR);
    rig_settle_down(&rig);
    rig_pass(&rig, POOL_IDLE_US);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(consumer_peek, ends_with_the_mount)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER), *claim = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    cr_assert_eq(peek(claim), 4);
    rig_peek(&rig, r, &call);
    rig_end(&rig, -ESHUTDOWN);
    cr_assert(call.done);
    cr_assert_eq(call.result, -ESHUTDOWN);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    rig_release(&rig, claim);
    rig_release(&rig, r);
}

Test(consumer_peek, ends_with_the_queue)
{
    struct reader *r = rig_reader(&rig, 1, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    peek(r);
    rig_end(&rig, -ENOENT);
    cr_assert_eq(peek(r), -ENOENT);
    rig_expect_error(&rig, r, 4096, 0, -ENOENT);
    rig_release(&rig, r);
}

/* ---- beside reads ---- */

Test(consumer_peek, behind_a_read_that_waits_tells_what_that_was_given)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);
    struct call read;

    call_init(&read, &rig);
    rig_read(&rig, r, &read, 4096, 0);
    rig_peek(&rig, r, &call);
    rig_put(&rig, 1, FRAMING_LINE, "abc\nde\n");
    rig_tell(&rig);
    rig_settle_down(&rig);
    cr_assert_str_eq(read.bytes, "abc\n");
    cr_assert(call.done);
    cr_assert_eq(call.result, 4);
    call_fini(&read);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(consumer_peek, before_a_read_leaves_it_the_item)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);
    struct call read;

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    call_init(&read, &rig);
    rig_peek(&rig, r, &call);
    rig_read(&rig, r, &read, 4096, 0);
    rig_settle_down(&rig);
    cr_assert_eq(call.result, 4);
    cr_assert(read.done, "although nothing else is there");
    cr_assert_str_eq(read.bytes, "abc\n");
    call_fini(&read);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer_peek, makes_it_readable)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "abc\n");
    peek(r);
    cr_assert_eq(rig.state.depth, 0);
    cr_assert(consumer_readable(rig.c, r));
    rig_leave(&rig, r);
}

Test(consumer_peek, of_a_claim_takes_nothing)
{
    struct rig claims;
    struct reader *r;

    rig_init_claims(&claims);
    r = rig_reader(&claims, 1, -1);
    rig_put(&claims, 1, FRAMING_LINE, "abc\n");
    call_init(&call, &claims);
    rig_peek(&claims, r, &call);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
    cr_assert_eq(claims.n_gets, 0);
    rig_release(&claims, r);
    rig_fini(&claims);
}
