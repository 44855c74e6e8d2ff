/* What answers do: order, repeats, a full queue, a full store, faults, refusals, epochs. */
#include "tests/core/put/producer_rig.h"

TestSuite(producer_put, .timeout = 60);

/* Each write is a batch of its own. */
static void init_small(struct rig *rig, struct writer *w)
{
    rig_init(rig);
    rig->settings.mount.linger_us = 0;
    rig->settings.mount.batch_size = 2;
    rig_open(rig, w);
}

static void expect(struct rig *rig, const char *letters)
{
    for (; *letters; letters++)
        rig_take(rig, letters, 1);
    rig_nothing_more(rig);
}

Test(producer_put, answers_out_of_order_are_acknowledged_in_order)
{
    struct rig rig;
    struct writer w;
    struct call call;
    struct request *first, *second, *third;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig_puts(&rig, &w, "c\nd\n");
    rig_puts(&rig, &w, "e\nf\n");
    rig_sync(&rig, &w, &call);
    first = rig_pick(&rig, 0);
    second = rig_pick(&rig, 0);
    third = rig_pick(&rig, 0);
    cr_assert_eq(third->in.put.base, 5);
    rig_apply(&rig, first);
    rig_apply(&rig, second);
    rig_apply(&rig, third);
    rig_done(&rig, third);
    rig_done(&rig, second);
    cr_assert_eq(producer_acked(rig.p), 0);
    cr_assert_eq(call.n_done, 0);
    cr_assert_eq(producer_counters(rig.p)->pending_batches, 3);
    rig_done(&rig, first);
    cr_assert_eq(producer_acked(rig.p), 6);
    cr_assert_eq(call.result, 0);
    cr_assert_eq(producer_counters(rig.p)->batch_puts, 3);
    cr_assert_eq(producer_counters(rig.p)->batch_items, 6);
    expect(&rig, "abcdef");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_lost_answer_is_met_by_the_same_put_again)
{
    struct rig rig;
    struct writer w;
    struct request *request;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    request = rig_pick(&rig, 0);
    rig_apply(&rig, request);
    request->status = -ETIMEDOUT;
    rig_done(&rig, request);
    cr_assert_eq(rig.n_sent, 0);
    rig_sleep(&rig, 50000);
    cr_assert_eq(rig.sent[0]->in.put.base, 1);
    cr_assert_eq(rig.sent[0]->in.put.epoch, 1);
    rig_store(&rig, 0);
    cr_assert_eq(producer_counters(rig.p)->duplicates, 2);
    cr_assert_eq(producer_counters(rig.p)->retries, 1);
    cr_assert_eq(producer_counters(rig.p)->put_errors, 0);
    expect(&rig, "ab");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_put_that_came_too_early_is_sent_again_in_order)
{
    struct rig rig;
    struct writer w;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig_puts(&rig, &w, "c\nd\n");
    rig_puts(&rig, &w, "e\nf\n");
    rig_store(&rig, 1); /* the gap before it never filled in time */
    cr_assert_eq(rig.n_sent, 2);
    rig_store(&rig, 0);
    rig_store_all(&rig);
    rig_sleep(&rig, 1000000);
    rig_drain(&rig);
    expect(&rig, "abcdef");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, the_first_put_goes_again_while_later_ones_are_held_for_it)
{
    struct rig rig;
    struct writer w;
    struct request *second;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig_puts(&rig, &w, "c\nd\n");
    second = rig_pick(&rig, 1); /* the service keeps it */
    rig_fail(&rig, 0, -ETIMEDOUT);
    rig_sleep(&rig, 50000);
    rig_store(&rig, 0);
    rig_apply(&rig, second);
    rig_done(&rig, second);
    expect(&rig, "abcd");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_full_queue_holds_and_goes_on_where_it_stopped)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig_puts(&rig, &w, "c\nd\n");
    rig.settings.own.maxsize = 1;
    rig_sync(&rig, &w, &call);
    rig_store(&rig, 0);
    rig_store(&rig, 0);
    cr_assert_eq(rig.n_sent, 0);
    cr_assert_eq(producer_acked(rig.p), 1);
    cr_assert_eq(producer_counters(rig.p)->buffered_items, 3);
    rig_sleep(&rig, 100000);
    cr_assert_eq(rig.n_sent, 0);
    rig_take_text(&rig, "a");
    rig_changed(&rig);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig.sent[0]->in.put.base, 1);
    rig.settings.own.maxsize = 0;
    rig_store_all(&rig);
    cr_assert_eq(call.result, 0);
    expect(&rig, "bcd");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_full_queue_is_tried_again_each_second)
{
    struct rig rig;
    struct writer w;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig.settings.own.maxsize = 1;
    rig_store(&rig, 0);
    rig.settings.own.maxsize = 2;
    rig_sleep(&rig, 999999);
    cr_assert_eq(rig.n_sent, 0);
    rig_sleep(&rig, 1);
    rig_store(&rig, 0);
    cr_assert_eq(producer_acked(rig.p), 2);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_full_queue_fails_who_waits_where_on_full_is_fail)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_small(&rig, &w);
    rig.settings.mount.on_full = ON_FULL_FAIL;
    rig_puts(&rig, &w, "a\nb\n");
    rig.settings.own.maxsize = 1;
    rig_sync(&rig, &w, &call);
    rig_store(&rig, 0);
    cr_assert_eq(call.result, -ENOSPC);
    rig.settings.own.maxsize = 0;
    rig_drain(&rig); /* kept */
    expect(&rig, "ab");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_full_store_is_told_once_and_tried_again)
{
    struct rig rig;
    struct writer w, other;
    struct call waiting, again;

    init_small(&rig, &w);
    rig_open(&rig, &other);
    rig.full = true;
    rig_puts(&rig, &other, "x\ny\n");
    rig_puts(&rig, &w, "a\nb\n");
    rig_sync(&rig, &w, &waiting);
    rig_store(&rig, 0);
    rig_store(&rig, 0);
    cr_assert_eq(waiting.result, -ENOSPC);
    cr_assert_eq(w.error, 0); /* told by the fsync */
    cr_assert_eq(other.error, -ENOSPC);
    rig_close(&rig, &other, &again);
    cr_assert_eq(again.result, -ENOSPC);
    rig_close(&rig, &other, &again);
    cr_assert_eq(again.result, 0);
    cr_assert_eq(producer_counters(rig.p)->put_errors, 4);
    cr_assert_eq(rig_puts(&rig, &w, "c\n"), -ENOSPC); /* while it is so */

    rig_sleep(&rig, 50000);
    cr_assert_eq(rig.n_sent, 1); /* one to try */
    rig_store(&rig, 0);
    rig_sleep(&rig, 99999);
    cr_assert_eq(rig.n_sent, 0);
    rig_sleep(&rig, 1);
    cr_assert_eq(rig.n_sent, 1);
    rig.full = false;
    rig_store_all(&rig);
    cr_assert_eq(producer_acked(rig.p), 4);
    cr_assert_eq(rig_puts(&rig, &w, "c\n"), 2);
    cr_assert_eq(producer_counters(rig.p)->put_errors, 4);
    rig_drain(&rig);
    expect(&rig, "xyabc");
    rig_release(&rig, &w);
    rig_release(&rig, &other);
    rig_fini(&rig);
}

Test(producer_put, an_fsync_asks_a_full_store_again)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_small(&rig, &w);
    rig.full = true;
    rig_puts(&rig, &w, "a\nb\n");
    rig_store(&rig, 0);
    rig_sync(&rig, &w, &call);
    cr_assert_eq(call.result, -ENOSPC); /* told once */
    rig_sync(&rig, &w, &call);
    cr_assert_eq(call.n_done, 0);
    rig_sleep(&rig, 20000);
    rig_store(&rig, 0);
    cr_assert_eq(call.result, -ENOSPC);
    rig_sync(&rig, &w, &call);
    rig.full = false;
    rig_sleep(&rig, 20000);
    rig_store(&rig, 0);
    cr_assert_eq(call.result, 0);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_write_to_a_full_store_waits_for_the_verdict_and_takes_nothing)
{
    struct rig rig;
    struct writer w;
    struct call refused, taken, unanswered;

    init_small(&rig, &w);
    rig.full = true;
    rig_puts(&rig, &w, "a\nb\n");
    rig_store(&rig, 0);
    w.error = 0;
    call_init(&rig, &refused);
    rig_start_write(&rig, &w, &refused, "c\nd\n", 4);
    cr_assert_eq(refused.n_done, 0);
    rig_sleep(&rig, 20000);
    rig_store(&rig, 0);
    cr_assert_eq(refused.result, -ENOSPC);
    cr_assert_eq(rig_puts(&rig, &w, "e\n"), -ENOSPC);

    call_init(&rig, &unanswered);
    rig_start_write(&rig, &w, &unanswered, "u\n", 2);
    rig_sleep(&rig, 1000000);
    cr_assert_eq(unanswered.result, -ENOSPC);

    call_init(&rig, &taken);
    rig_start_write(&rig, &w, &taken, "f\n", 2);
    rig.full = false;
    rig_store(&rig, 0);
    cr_assert_eq(taken.result, 2);
    rig_drain(&rig);
    expect(&rig, "abf");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, an_error_of_an_open_that_is_gone_is_told_by_flush)
{
    struct rig rig;
    struct writer w;
    struct call call;

    for (int late = 0; late < 2; late++) {
        init_small(&rig, &w);
        rig_puts(&rig, &w, "a\nb\n");
        if (late)
            rig_release(&rig, &w);
        rig_fail(&rig, 0, -EIO);
        if (!late)
            rig_release(&rig, &w);
        rig_flush(&rig, &call);
        cr_assert_eq(call.result, -EIO);
        rig_sleep(&rig, 50000);
        rig_drain(&rig);
        expect(&rig, "ab");
        rig_fini(&rig);
    }
}

Test(producer_put, a_put_refused_for_an_items_size_loses_that_item_only)
{
    struct rig rig;
    struct writer w, innocent;
    struct call call;

    for (int framing = FRAMING_LINE; framing <= FRAMING_FILE; framing++) {
        rig_init(&rig);
        rig.settings.own.framing = framing;
        rig_open(&rig, &innocent);
        for (int i = 0; i < 4; i++) {
            static const char *const items[] = {"a", "bbbbb", "c", "ddddd"};

            rig_open(&rig, &w);
            rig_write(&rig, &w, items[i], strlen(items[i]));
            rig_release(&rig, &w);
        }
        rig_flush(&rig, &call);
        rig.settings.own.max_item_size = 4;
        rig_open(&rig, &w);
        rig_puts(&rig, &w, "e");
        rig_release(&rig, &w);
        rig_sleep(&rig, 5000);
        cr_assert_eq(rig.n_sent, 2);
        rig_store(&rig, 0); /* refused; the other came too early */
        cr_assert_eq(rig.n_sent, 1);
        cr_assert_eq(call.n_done, 0); /* nothing is dropped while something is in flight */
        rig_store(&rig, 0);
        cr_assert_eq(call.result, -EMSGSIZE);
        cr_assert_eq(rig.n_sent, 1); /* alone, it begins the epoch */
        cr_assert_eq(rig.sent[0]->in.put.epoch, 2);
        cr_assert_eq(rig.sent[0]->in.put.base, 3);
        rig_store_all(&rig);
        rig_drain(&rig);
        cr_assert_eq(producer_counters(rig.p)->put_errors, 2);
        cr_assert_eq(producer_acked(rig.p), 5);
        cr_assert_eq(innocent.error, 0);
        expect(&rig, "ace");
        rig_release(&rig, &innocent);
        rig_fini(&rig);
    }
}

Test(producer_put, a_smaller_limit_not_heard_of_yet_is_waited_for)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "aaaaa\nb\n");
    rig_sync(&rig, &w, &call);
    rig_fail(&rig, 0, -EMSGSIZE);
    cr_assert_eq(call.n_done, 0);
    rig_sleep(&rig, 50000);
    cr_assert_eq(rig.n_sent, 1);
    rig.settings.own.max_item_size = 4;
    rig_store(&rig, 0);
    cr_assert_eq(call.result, -EMSGSIZE);
    rig_drain(&rig);
    expect(&rig, "b");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_put_refused_for_good_is_dropped_and_told)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig_puts(&rig, &w, "c\nd\n");
    rig_puts(&rig, &w, "e\nf\n");
    rig_sync(&rig, &w, &call);
    rig_store(&rig, 2);
    rig_store(&rig, 1);
    for (int tries = 0; tries < 5; tries++) {
        cr_assert_eq(call.n_done, 0);
        rig_fail(&rig, 0, -EPROTO);
        rig_sleep(&rig, 1000000);
    }
    cr_assert_eq(call.result, -EPROTO);
    cr_assert_eq(producer_counters(rig.p)->put_errors, 2);
    cr_assert_eq(rig.n_sent, 1); /* a new epoch's first put travels alone */
    cr_assert_eq(rig.sent[0]->in.put.base, 3);
    rig_drain(&rig);
    expect(&rig, "cdef");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_service_that_forgot_the_producer_gets_a_new_epoch)
{
    struct rig rig;
    struct writer w;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig_store_all(&rig);
    rig.last = 0; /* a day later */
    rig_puts(&rig, &w, "c\nd\n");
    rig_puts(&rig, &w, "e\nf\n");
    rig_store(&rig, 0);
    cr_assert_eq(rig.n_sent, 1);
    rig_store(&rig, 0);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig.sent[0]->in.put.epoch, 2);
    cr_assert_eq(rig.sent[0]->in.put.base, 3);
    rig_store_all(&rig);
    cr_assert_eq(producer_acked(rig.p), 6);
    expect(&rig, "abcdef");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_new_epoch_leaves_out_what_is_stored)
{
    struct rig rig;
    struct writer w;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig.settings.own.maxsize = 1;
    rig_store(&rig, 0); /* a is stored */
    rig.settings.own.maxsize = 0;
    rig.last = 0;
    rig.epoch = 2; /* somehow */
    rig_sleep(&rig, 1000000);
    rig_store(&rig, 0); /* -ESTALE */
    rig_sleep(&rig, 1000000);
    cr_assert_eq(rig.sent[0]->in.put.base, 2);
    rig.epoch = 1;
    rig_store_all(&rig);
    expect(&rig, "ab");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, a_removed_queue_drops_and_counts)
{
    struct rig rig;
    struct writer w, gone;
    struct call call, flush;

    init_small(&rig, &w);
    rig_open(&rig, &gone);
    rig_puts(&rig, &gone, "g\n");
    rig_release(&rig, &gone);
    rig.settings.mount.max_in_flight = 2;
    rig_puts(&rig, &w, "a\nb\n");
    rig_puts(&rig, &w, "c\nd\n");
    rig_puts(&rig, &w, "e\nf");
    rig_sync(&rig, &w, &call);
    rig_fail(&rig, 0, -ENOENT);
    cr_assert_eq(call.result, -ENOENT);
    cr_assert_eq(producer_counters(rig.p)->put_errors, 7);
    cr_assert_eq(producer_counters(rig.p)->buffered_items, 0);
    cr_assert_eq(rig_puts(&rig, &w, "x\n"), -ENOENT);
    cr_assert_eq(rig_puts(&rig, &w, "x\n"), -ENOENT);
    rig_close(&rig, &w, &call);
    cr_assert_eq(call.result, 0); /* told */
    rig_flush(&rig, &flush);
    cr_assert_eq(flush.result, -ENOENT);
    rig_fail(&rig, 0, -ENOENT);
    rig_sleep(&rig, 31000000); /* past every deadline there was */
    cr_assert_eq(producer_deadline(rig.p), TIME_FOREVER);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_put, at_the_end_of_the_mount_what_is_buffered_is_still_sent)
{
    struct rig rig;
    struct writer w;
    struct call call, later;

    rig_init(&rig);
    rig.settings.mount.max_in_flight = 1;
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\n");
    rig_sync(&rig, &w, &call);
    rig_puts(&rig, &w, "b\nc");
    rig_end(&rig, -ESHUTDOWN);
    cr_assert_eq(call.result, -ESHUTDOWN);
    cr_assert_eq(rig_puts(&rig, &w, "x\n"), -ESHUTDOWN);
    rig_flush(&rig, &later);
    cr_assert_eq(later.result, -ESHUTDOWN);
    cr_assert_eq(producer_unfinished(rig.p), 1);
    rig_release(&rig, &w);
    rig_store_all(&rig);
    expect(&rig, "abc");
    rig_fini(&rig);
}

Test(producer_put, after_the_backends_end_nothing_is_sent)
{
    struct rig rig;
    struct writer w;
    struct call call;

    init_small(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    rig_sync(&rig, &w, &call);
    rig_fail(&rig, 0, -ESHUTDOWN);
    cr_assert_eq(call.result, -ESHUTDOWN);
    rig_sync(&rig, &w, &call);
    cr_assert_eq(call.result, -ESHUTDOWN);
    rig_sleep(&rig, 31000000); /* past every deadline there was */
    cr_assert_eq(producer_deadline(rig.p), TIME_FOREVER);
    cr_assert_eq(producer_counters(rig.p)->buffered_items, 2);
    rig_release(&rig, &w);
    rig_fini(&rig);
}
