/* Who waits: back-pressure of bytes and items, timeouts, interrupts, fsync, O_SYNC, poll. */
#include "tests/core/put/producer_rig.h"

TestSuite(producer_wait, .timeout = 60);

#define LIMIT 4096

/* A buffer of 4 KiB; nothing is sent before it is asked for. */
static void init_tight(struct rig *rig, struct writer *w)
{
    rig_init(rig);
    rig->settings.mount.buffer_bytes = LIMIT;
    rig->settings.mount.batch_size = 1 << 20;
    rig_open(rig, w);
}

static void start(struct rig *rig, struct writer *w, struct call *call, char byte, size_t n_lines)
{
    char *data = malloc(n_lines * 2);

    for (size_t i = 0; i < n_lines; i++) {
        data[2 * i] = byte;
        data[2 * i + 1] = '\n';
    }
    call_init(rig, call);
    rig_start_write(rig, w, call, data, n_lines * 2);
    free(data);
}

static void poll_start(struct rig *rig, struct writer *w, struct call *call)
{
    struct effects effects;

    call_init(rig, call);
    effects_init(&effects);
    producer_poll(rig->p, w, &call->op, &effects);
    rig_run(rig, &effects);
}

/* ---- bytes ---- */

Test(producer_wait, a_write_up_to_the_limit_is_taken_and_one_more_byte_waits)
{
    struct rig rig;
    struct writer w;
    struct call fits, waits;

    init_tight(&rig, &w);
    start(&rig, &w, &fits, 'a', LIMIT / 2);
    cr_assert_eq(fits.result, LIMIT);
    cr_assert_not(producer_writable(rig.p, &w));
    start(&rig, &w, &waits, 'b', 1);
    cr_assert_eq(waits.n_done, 0);
    rig_sleep(&rig, 5000);
    rig_store(&rig, 0);
    cr_assert_eq(waits.result, 2);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, a_write_larger_than_the_buffer_goes_in_piece_by_piece)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_tight(&rig, &w);
    start(&rig, &w, &call, 'a', 3 * LIMIT / 2 + 10);
    for (int rounds = 0; call.n_done == 0; rounds++) {
        cr_assert_lt(rounds, 10);
        cr_assert_leq(rig.budget.used_bytes[BUDGET_BUFFERED], LIMIT);
        rig_sleep(&rig, 5000);
        rig_store_all(&rig);
    }
    cr_assert_eq(call.result, 3 * LIMIT + 20);
    rig_drain(&rig);
    cr_assert_eq(rig.n_stored, 3 * LIMIT / 2 + 10);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, an_item_larger_than_the_buffer_is_no_dead_end)
{
    static char item[10 * LIMIT];
    struct rig rig;
    struct writer w;
    struct call call;

    init_tight(&rig, &w);
    memset(item, 'x', sizeof(item));
    call_init(&rig, &call);
    rig_start_write(&rig, &w, &call, item, sizeof(item));
    cr_assert_eq(call.result, sizeof(item));
    cr_assert_eq(rig_puts(&rig, &w, "\n"), 1);
    rig_drain(&rig);
    rig_take(&rig, item, sizeof(item));
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, nonblocking_writes_are_cut_or_get_eagain)
{
    static char data[2 * LIMIT];
    struct rig rig;
    struct writer w;

    init_tight(&rig, &w);
    memset(data, '\n', sizeof(data));
    cr_assert_eq(rig_write(&rig, &w, data, sizeof(data)), LIMIT);
    cr_assert_eq(rig_write(&rig, &w, data, sizeof(data)), -EAGAIN);
    rig_drain(&rig);
    cr_assert_eq(rig_write(&rig, &w, data, LIMIT - 1), LIMIT - 1);
    cr_assert_eq(rig_write(&rig, &w, "a\n", 2), -EAGAIN); /* small ones are never cut */
    cr_assert_eq(rig_write(&rig, &w, "\n", 1), 1);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, waiting_writes_are_served_in_order)
{
    struct rig rig;
    struct writer a, b;
    struct call full, first, second, nonblock;

    init_tight(&rig, &a);
    rig_open(&rig, &b);
    start(&rig, &a, &full, 'x', LIMIT / 2);
    start(&rig, &a, &first, 'a', LIMIT / 2 + 5);
    start(&rig, &b, &second, 'b', 1);
    cr_assert_eq(rig_puts(&rig, &b, "c\n"), -EAGAIN);
    call_init(&rig, &nonblock);
    rig_sleep(&rig, 5000);
    rig_store_all(&rig);
    cr_assert_eq(first.n_done, 0);
    cr_assert_eq(second.n_done, 0);
    rig_sleep(&rig, 5000);
    rig_store_all(&rig);
    cr_assert_eq(first.result, LIMIT + 10);
    cr_assert_eq(second.result, 2);
    rig_drain(&rig);
    rig_release(&rig, &a);
    rig_release(&rig, &b);
    rig_fini(&rig);
}

Test(producer_wait, put_timeout_ends_a_write_with_what_it_has_done)
{
    struct rig rig;
    struct writer w;
    struct call half, none;

    init_tight(&rig, &w);
    rig.settings.mount.put_timeout_us = 100000;
    start(&rig, &w, &half, 'a', LIMIT);
    start(&rig, &w, &none, 'b', 1);
    rig_sleep(&rig, 99999);
    cr_assert_eq(half.n_done + none.n_done, 0);
    rig_sleep(&rig, 1);
    cr_assert_eq(half.result, LIMIT);
    cr_assert_eq(none.result, -ETIMEDOUT);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, interrupted_writes_end_with_what_they_have_done)
{
    struct rig rig;
    struct writer w;
    struct call half, none, never;

    init_tight(&rig, &w);
    start(&rig, &w, &half, 'a', LIMIT);
    start(&rig, &w, &none, 'b', 1);
    op_cancel(&none.op);
    op_cancel(&half.op);
    cr_assert_eq(half.result, LIMIT);
    cr_assert_eq(none.result, -EINTR);
    call_init(&rig, &never); /* interrupted before its call parks */
    op_cancel(&never.op);
    rig_start_write(&rig, &w, &never, "c\n", 2);
    cr_assert_eq(never.result, -EINTR);
    rig_drain(&rig);
    cr_assert_eq(rig.n_stored, LIMIT / 2);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, releasing_an_open_ends_its_write)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_tight(&rig, &w);
    start(&rig, &w, &call, 'a', LIMIT);
    rig_release(&rig, &w);
    cr_assert_eq(call.result, LIMIT);
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(producer_wait, the_mounts_budget_is_shared)
{
    struct rig rig;
    struct writer w;
    struct call first, second, third;

    init_tight(&rig, &w);
    rig.budget.limit_bytes[BUDGET_BUFFERED] = 1000;
    rig.budget.used_bytes[BUDGET_BUFFERED] = 1000; /* by other queues */
    start(&rig, &w, &first, 'a', 10);
    cr_assert_eq(first.result, 20); /* a queue that has nothing gets a little */
    start(&rig, &w, &second, 'b', 10);
    start(&rig, &w, &third, 'c', 600);
    cr_assert_eq(second.n_done, 0);
    rig.budget.used_bytes[BUDGET_BUFFERED] -= 100;
    rig_sleep(&rig, 10000); /* it looks again by itself */
    cr_assert_eq(second.result, 20);
    cr_assert_eq(third.n_done, 0);
    rig.budget.used_bytes[BUDGET_BUFFERED] -= 900;
    for (int i = 0; i < 10 && third.n_done == 0; i++) {
        rig_sleep(&rig, 10000);
        rig_store_all(&rig);
    }
    cr_assert_eq(third.result, 1200);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

/* ---- items ---- */

static void init_maxsize(struct rig *rig, struct writer *w, int64_t maxsize, int64_t on_full)
{
    rig_init(rig);
    rig->settings.own.maxsize = maxsize;
    rig->settings.mount.on_full = on_full;
    rig_open(rig, w);
}

Test(producer_wait, a_write_over_maxsize_waits_for_room)
{
    struct rig rig;
    struct writer w;
    struct call call, poll;

    init_maxsize(&rig, &w, 2, ON_FULL_BLOCK);
    start(&rig, &w, &call, 'a', 3);
    cr_assert_eq(call.n_done, 0);
    poll_start(&rig, &w, &poll);
    cr_assert_eq(poll.n_done, 0);
    rig_store_all(&rig);
    rig_sleep(&rig, 1000000);
    cr_assert_eq(rig.n_stored, 2);
    cr_assert_eq(rig.sent[0]->kind, REQUEST_ARM);
    rig_store_all(&rig);
    rig_take_text(&rig, "a");
    rig_changed(&rig);
    rig_sleep(&rig, 10000);
    rig_store_all(&rig);
    cr_assert_eq(call.result, 6);
    rig_take_text(&rig, "a");
    rig_changed(&rig);
    cr_assert_eq(poll.result, 0);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, bytes_that_complete_no_item_need_no_room)
{
    struct rig rig;
    struct writer w;

    init_maxsize(&rig, &w, 1, ON_FULL_BLOCK);
    cr_assert_eq(rig_puts(&rig, &w, "a\nbc\nd"), 2);
    cr_assert_eq(rig_puts(&rig, &w, "bc\nd"), -EAGAIN);
    cr_assert_eq(rig_puts(&rig, &w, "bc"), 2);
    rig_drain(&rig);
    rig_release(&rig, &w); /* an end is never refused */
    rig.settings.own.maxsize = 0;
    rig_drain(&rig);
    rig_take_text(&rig, "a");
    rig_take_text(&rig, "bc");
    rig_fini(&rig);
}

Test(producer_wait, on_full_fail_asks_and_then_fails)
{
    struct rig rig;
    struct writer w;
    struct call cut, refused, taken;

    init_maxsize(&rig, &w, 2, ON_FULL_FAIL);
    start(&rig, &w, &cut, 'a', 3); /* two fit */
    while (cut.n_done == 0) {
        rig_store_all(&rig);
        rig_sleep(&rig, 1000);
    }
    cr_assert_eq(cut.result, 4);
    cr_assert_eq(producer_acked(rig.p), 2);
    start(&rig, &w, &refused, 'b', 1);
    cr_assert_eq(refused.result, -ENOSPC); /* the service has just said so */
    rig_take_text(&rig, "a");
    rig.state.depth = 2; /* not heard of yet */
    rig_changed(&rig);
    start(&rig, &w, &taken, 'c', 1);
    cr_assert_eq(taken.n_done, 0);
    rig_sleep(&rig, 10000);
    rig.state.depth = 1;
    rig_store(&rig, 0);
    cr_assert_eq(taken.result, 2);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, on_full_fail_gives_up_after_a_second_without_an_answer)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_maxsize(&rig, &w, 2, ON_FULL_FAIL);
    rig.state.depth = 2;
    start(&rig, &w, &call, 'a', 1);
    rig_sleep(&rig, 999999);
    cr_assert_eq(call.n_done, 0);
    rig_sleep(&rig, 1);
    cr_assert_eq(call.result, -ENOSPC);
    rig_store_all(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

/* ---- fsync, flush, O_SYNC, close ---- */

Test(producer_wait, fsync_waits_for_whole_items_of_all_opens)
{
    struct rig rig;
    struct writer a, b;
    struct call call;

    rig_init(&rig);
    rig_open(&rig, &a);
    rig_open(&rig, &b);
    rig_sync(&rig, &a, &call);
    cr_assert_eq(call.result, 0);
    rig_puts(&rig, &b, "b\nunfinished");
    rig_sync(&rig, &a, &call);
    cr_assert_eq(call.n_done, 0);
    cr_assert_eq(rig.n_sent, 1); /* no linger */
    rig_puts(&rig, &b, "\nc\n");
    rig_store(&rig, 0);
    cr_assert_eq(call.result, 0);
    rig_release(&rig, &a);
    rig_release(&rig, &b);
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(producer_wait, fsync_times_out_and_the_data_stays)
{
    struct rig rig;
    struct writer w;
    struct call call;

    rig_init(&rig);
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\n");
    rig_sync(&rig, &w, &call);
    rig_sleep(&rig, 29999999);
    cr_assert_eq(call.n_done, 0);
    rig_sleep(&rig, 1);
    cr_assert_eq(call.result, -ETIMEDOUT);
    cr_assert_eq(producer_counters(rig.p)->buffered_items, 1);
    rig_drain(&rig);
    rig_take_text(&rig, "a");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, an_o_sync_write_waits_for_what_it_wrote)
{
    struct rig rig;
    struct writer w;
    struct call write, interrupted, failed;

    rig_init(&rig);
    rig_open(&rig, &w);
    call_init(&rig, &write);
    write.op.sync = true;
    rig_start_write(&rig, &w, &write, "a\nb", 3);
    cr_assert_eq(write.n_done, 0);
    rig_store_all(&rig);
    cr_assert_eq(write.result, 3);
    call_init(&rig, &interrupted);
    interrupted.op.sync = true;
    rig_start_write(&rig, &w, &interrupted, "\n", 1);
    op_cancel(&interrupted.op);
    cr_assert_eq(interrupted.result, -ETIMEDOUT); /* it is taken, and not there yet */
    call_init(&rig, &failed);
    failed.op.sync = true;
    rig_start_write(&rig, &w, &failed, "c\n", 2);
    rig_fail(&rig, 0, -EIO);
    cr_assert_eq(failed.result, -EIO);
    rig_store_all(&rig);
    rig_sleep(&rig, 100000);
    rig_store_all(&rig);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(producer_wait, an_o_sync_write_waits_for_room_and_then_for_the_service)
{
    struct rig rig;
    struct writer w;
    struct call full, sync;
    char data[] = "b\n";

    init_tight(&rig, &w);
    start(&rig, &w, &full, 'a', LIMIT / 2);
    call_init(&rig, &sync);
    sync.op.sync = true;
    rig_start_write(&rig, &w, &sync, data, 2);
    rig_sleep(&rig, 5000);
    rig_store(&rig, 0);
    cr_assert_eq(sync.n_done, 0);
    rig_store(&rig, 0);
    cr_assert_eq(sync.result, 2);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, close_waits_where_sync_on_close_is_set)
{
    struct rig rig;
    struct writer w;
    struct call call;

    rig_init(&rig);
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\n");
    rig_close(&rig, &w, &call);
    cr_assert_eq(call.result, 0);
    rig.settings.mount.sync_on_close = 1;
    rig_close(&rig, &w, &call);
    cr_assert_eq(call.n_done, 0);
    rig_store_all(&rig);
    cr_assert_eq(call.result, 0);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_wait, a_poller_waits_until_a_write_would_not)
{
    struct rig rig;
    struct writer w;
    struct call full, poll;

    init_tight(&rig, &w);
    poll_start(&rig, &w, &poll);
    cr_assert_eq(poll.result, 0);
    start(&rig, &w, &full, 'a', LIMIT / 2);
    poll_start(&rig, &w, &poll);
    cr_assert_eq(poll.n_done, 0);
    rig_sleep(&rig, 5000);
    rig_store_all(&rig);
    cr_assert_eq(poll.result, 0);
    start(&rig, &w, &full, 'a', LIMIT / 2);
    poll_start(&rig, &w, &poll);
    op_cancel(&poll.op);
    cr_assert_eq(poll.result, -EINTR);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}
