/* What a read is given. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/get/consumer_rig.h"

static struct rig rig;

static void setup(void)
{
    rig_init(&rig);
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(consumer, .init = setup, .fini = teardown, .timeout = 20);

Test(consumer, large_read_gives_all_that_is_there)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "a\n\nb\n");
    rig_put(&rig, 2, FRAMING_LINE, "c\n");
    rig_expect(&rig, r, BULK, "a\n\nb\nc\n");
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 4);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 4);
    cr_assert_eq(consumer_counters(rig.c)->batch_gets, 1);
    cr_assert_eq(consumer_counters(rig.c)->batch_items, 4);
    cr_assert_eq(consumer_counters(rig.c)->latency.n, 1);
}

Test(consumer, large_read_gives_whole_items_that_fit)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put_many(&rig, 1, 2000, 100);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, BULK, 0);
    rig_answer(&rig, 0, 0, true);
    cr_assert(call.done);
    cr_assert_eq(call.result, BULK / 100 * 100);
    call_fini(&call);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, BULK, r->pos);
    cr_assert(call.done, "the rest is in the pool: no wait to fill the buffer");
    cr_assert_eq(call.result, 2000 * 100 - BULK / 100 * 100);
    cr_assert(strncmp(call.bytes, "1:1310.", 7) == 0);
    call_fini(&call);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 2000);
}

Test(consumer, one_byte_short_of_a_large_read_gives_one_item)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\n");
    rig_expect(&rig, r, BULK - 1, "a\n");
    rig_expect(&rig, r, 4096, "b\n");
    rig_expect(&rig, r, BULK, "c\n");
    rig_leave(&rig, r);
}

Test(consumer, small_read_gives_an_item_that_just_fits)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abc\nd\n");
    rig_expect(&rig, r, 4, "abc\n");
    rig_expect(&rig, r, 4, "d\n");
    rig_leave(&rig, r);
}

Test(consumer, item_larger_than_the_buffer_goes_on_in_the_next_reads)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "abcdefg\nh\n");
    rig_expect(&rig, r, 3, "abc");
    rig_expect(&rig, r, 3, "def");
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 0, "not given entirely yet");
    rig_expect(&rig, r, 3, "g\n");
    rig_expect(&rig, r, 3, "h\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 2);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 2);
}

Test(consumer, item_larger_than_a_large_read_goes_on)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    size_t total = 0;

    rig_put_many(&rig, 1, 2, 3 * BULK + 10);
    while (total < 2 * (3 * BULK + 10)) {
        struct call call;

        call_init(&call, &rig);
        rig_read(&rig, r, &call, BULK, r->pos);
        rig_settle_down(&rig);
        cr_assert(call.done && call.result > 0);
        total += (size_t)call.result;
        call_fini(&call);
    }
    cr_assert_eq(total, 2 * (3 * BULK + 10));
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 2);
}

Test(consumer, read_of_nothing_gives_nothing)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    rig_expect(&rig, r, 0, "");
    cr_assert_eq(rig.n_gets, 0);
    rig_leave(&rig, r);
}

Test(consumer, limit_ends_the_file_after_so_many_items)
{
    struct reader *r = rig_reader(&rig, 3, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\nd\n");
    rig_expect(&rig, r, BULK, "a\nb\nc\n");
    rig_expect(&rig, r, BULK, "");
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 3);
    cr_assert_eq(rig.items[3].n_leases, 0, "no more was fetched");
}

Test(consumer, limit_holds_for_small_reads)
{
    struct reader *r = rig_reader(&rig, 2, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\nd\n");
    rig_expect(&rig, r, 4096, "a\n");
    rig_expect(&rig, r, 4096, "b\n");
    rig_expect(&rig, r, 4096, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig.items[2].n_leases, 0);
}

Test(consumer, limit_cuts_a_pool_that_holds_more)
{
    struct reader *all = rig_reader(&rig, READER_UNLIMITED, -1);
    struct reader *r = rig_reader(&rig, 100, -1);
    struct call call;

    rig_put_many(&rig, 1, 1000, 10);
    rig_expect(&rig, all, 4096, "1:0......\n");
    rig.c->growth = 1000;
    rig_expect(&rig, all, 4096, "1:1......\n");
    call_init(&call, &rig);
    rig_read(&rig, r, &call, BULK, 0);
    cr_assert(call.done);
    cr_assert_eq(call.result, 1000);
    call_fini(&call);
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    rig_leave(&rig, all);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 102);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 898);
}

Test(consumer, nul_framing_keeps_its_separator)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put(&rig, 1, FRAMING_NUL, "ab\nc\n");
    call_init(&call, &rig);
    rig_read(&rig, r, &call, 100, 0);
    rig_settle_down(&rig);
    cr_assert_eq(call.result, 3);
    cr_assert_eq(memcmp(call.bytes, "ab\0", 3), 0);
    call_fini(&call);
    rig_leave(&rig, r);
}

Test(consumer, file_framing_gives_one_bare_item_an_open)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig.settings.own.framing = FRAMING_FILE;
    rig_put(&rig, 1, FRAMING_FILE, "one\nitem");
    rig_put(&rig, 1, FRAMING_FILE, "two");
    rig_expect(&rig, r, BULK, "one\nitem");
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    cr_assert_eq(rig.items[1].n_leases, 0);
}

Test(consumer, file_item_in_several_reads_ends_after_it)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_FILE, "abcdefg");
    rig_put(&rig, 1, FRAMING_FILE, "two");
    rig_expect(&rig, r, 4, "abcd");
    rig_expect(&rig, r, 4, "efg");
    rig_expect(&rig, r, 4, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(consumer, empty_file_item_is_taken)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_FILE, "");
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer, file_items_never_share_a_read_with_others)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    rig_put(&rig, 2, FRAMING_FILE, "file");
    rig_put(&rig, 3, FRAMING_LINE, "c\n");
    rig_expect(&rig, r, BULK, "a\nb\n");
    rig_expect(&rig, r, BULK, "file");
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 3);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(consumer, seek_within_the_last_read_gives_it_again)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put(&rig, 1, FRAMING_LINE, "x\nabcdef\ny\n");
    rig_expect(&rig, r, 4096, "x\n");
    rig_expect(&rig, r, 4096, "abcdef\n");
    call_init(&call, &rig);
    rig_read(&rig, r, &call, 4096, 4);
    cr_assert(call.done);
    cr_assert_str_eq(call.bytes, "cdef\n");
    call_fini(&call);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, 2, 2);
    cr_assert_str_eq(call.bytes, "ab");
    call_fini(&call);
    cr_assert_eq(r->pos, 9);
    rig_expect(&rig, r, 4096, "y\n");
    rig_leave(&rig, r);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 3);
}

/* As who reads by io_uring does, whose position never moves. */
Test(consumer, what_is_read_again_without_end_goes_back_with_an_error)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    for (int i = 0; i < 17; i++) {
        call_init(&call, &rig);
        rig_read(&rig, r, &call, BULK, 0);
        rig_settle_down(&rig);
        cr_assert(call.done);
        cr_assert_eq(call.result, 4);
        call_fini(&call);
    }
    for (int i = 0; i < 2; i++) {
        call_init(&call, &rig);
        rig_read(&rig, r, &call, BULK, 0);
        cr_assert(call.done);
        cr_assert_eq(call.result, -EINVAL);
        call_fini(&call);
    }
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 2);
}

Test(consumer, seek_within_a_large_read_gives_it_again)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put_many(&rig, 1, 1000, 100);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, BULK, 0);
    rig_settle_down(&rig);
    cr_assert_eq(call.result, 100000);
    call_fini(&call);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, BULK, 99700);
    cr_assert_eq(call.result, 300);
    cr_assert_eq(strncmp(call.bytes, "1:997.", 6), 0);
    call_fini(&call);
    rig_leave(&rig, r);
}

Test(consumer, seek_elsewhere_is_invalid)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "ab\ncd\nef\n");
    rig_expect_error(&rig, r, 4096, 1, -EINVAL);
    rig_expect(&rig, r, 4096, "ab\n");
    rig_expect(&rig, r, 4096, "cd\n");
    rig_expect_error(&rig, r, 4096, 2, -EINVAL);
    rig_expect_error(&rig, r, 4096, 7, -EINVAL);
    rig_expect_error(&rig, r, 4096, -1, -EINVAL);
    rig_expect(&rig, r, 4096, "ef\n");
    rig_leave(&rig, r);
}

Test(consumer, going_on_needs_no_offset)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put(&rig, 1, FRAMING_LINE, "ab\ncd\n");
    rig_expect(&rig, r, 4096, "ab\n");
    call_init(&call, &rig);
    rig_read(&rig, r, &call, 4096, OP_GO_ON);
    rig_settle_down(&rig);
    cr_assert_eq(call.result, 3);
    cr_assert_eq(strncmp(call.bytes, "cd\n", 3), 0);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    call_fini(&call);
    rig_leave(&rig, r);
}

Test(consumer, next_read_acknowledges_and_a_repeated_one_does_not)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put(&rig, 1, FRAMING_LINE, "ab\n");
    rig_expect(&rig, r, 4096, "ab\n");
    call_init(&call, &rig);
    rig_read(&rig, r, &call, 4096, 0);
    rig_pass(&rig, 100000);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    call_fini(&call);
    rig_expect(&rig, r, 4096, "");
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
    rig_leave(&rig, r);
}

Test(consumer, read_after_the_end_tries_again)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_expect(&rig, r, 4096, "");
    rig_put(&rig, 1, FRAMING_LINE, "ab\n");
    rig_expect(&rig, r, 4096, "ab\n");
    rig_expect(&rig, r, 4096, "");
    rig_leave(&rig, r);
}

Test(consumer, several_answers_serve_one_read)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call call;

    rig_put_many(&rig, 1, 30, FETCH_BYTES / 8 + 4096);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, BULK + 8192, 0);
    rig_settle_down(&rig);
    cr_assert_eq(call.result, FETCH_BYTES / 8 + 4096);
    call_fini(&call);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, BULK + 8192, r->pos);
    rig_settle_down(&rig);
    cr_assert_gt(rig.n_gets, 1, "fetched ahead");
    call_fini(&call);
    call_init(&call, &rig);
    rig_read(&rig, r, &call, 2 * FETCH_BYTES, r->pos);
    cr_assert(call.done);
    cr_assert_gt(call.op.n_iov, 1);
    cr_assert_gt(call.result, (ssize_t)FETCH_BYTES);
    call_fini(&call);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0);
}

Test(consumer, bytes_outlive_a_close_during_the_answer)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct op op;

    rig_put(&rig, 1, FRAMING_LINE, "ab\n");
    rig_expect(&rig, r, BULK, "ab\n");
    op_init(&op, NULL, NULL);
    op.len = 10;
    op.subject = r;
    effects_init(&rig.effects);
    consumer_read(rig.c, r, &op, rig.now_us, &rig.effects);
    rig_leave(&rig, r);
    cr_assert_eq(memcmp(op.iov[0].iov_base, "ab\n", 3), 0);
    op.unhold(op.hold);
}

Test(consumer, nonsense_from_the_service_is_not_given)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct grant grant = {.batch = 1, .from = 0, .to = 2, .offset = 1, .len = 4};
    struct request *get;
    struct call call;

    call_init(&call, &rig);
    rig_read(&rig, r, &call, 4096, 0);
    get = rig.sent[--rig.n_sent];
    get->out.get.grants = &grant;
    get->out.get.n_grants = 1;
    get->out.get.data = (const uint8_t *)"a\nb\n";
    get->out.get.len = 4;
    effects_init(&rig.effects);
    consumer_request_done(rig.c, get, rig.now_us, &rig.effects);
    rig_pass(&rig, 2000000);
    cr_assert(call.done);
    cr_assert_eq(call.result, -ETIMEDOUT);
    call_fini(&call);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
}

/* ---- pieces of a longer read(2) ---- */

/* `dd bs=4M count=1 < out@forever` must not wait in the second piece with what the first gave. */
Test(consumer, piece_is_never_filled_where_the_next_would_wait)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call read;

    rig_put_many(&rig, 1, 65536, 16);
    rig_put_many(&rig, 2, 65536, 16);
    call_init(&read, &rig);
    rig_read(&rig, r, &read, (size_t)1 << 20, 0);
    rig_settle_down(&rig);
    cr_assert(read.done);
    cr_assert_eq(read.result, (1 << 20) - 16);
    call_fini(&read);
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 65535);
}

Test(consumer, piece_that_an_item_fills_exactly_leaves_its_last_byte)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call read;

    rig_put_many(&rig, 1, 1, (size_t)1 << 20);
    call_init(&read, &rig);
    rig_read(&rig, r, &read, (size_t)1 << 20, 0);
    rig_settle_down(&rig);
    cr_assert_eq(read.result, (1 << 20) - 1);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    call_fini(&read);
    rig_expect(&rig, r, BULK, "\n");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}

Test(consumer, piece_is_filled_by_the_last_item_of_its_open)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);
    struct call read;

    rig_put_many(&rig, 1, 2, (size_t)1 << 20);
    call_init(&read, &rig);
    rig_read(&rig, r, &read, (size_t)1 << 20, 0);
    rig_settle_down(&rig);
    cr_assert_eq(read.result, 1 << 20);
    call_fini(&read);
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 1);
}
