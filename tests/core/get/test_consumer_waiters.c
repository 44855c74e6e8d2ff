/* Reads that find nothing: how long they wait and what ends them. */
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

TestSuite(consumer_waits, .init = setup, .fini = teardown, .timeout = 20);

static void expect(struct call *of, ssize_t result)
{
    cr_assert(of->done);
    cr_assert_eq(of->result, result, "got %zd", of->result);
}

/* ---- end of file ---- */

Test(consumer_waits, one_empty_answer_is_the_end_where_nothing_is_buffered)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_read(&rig, r, &call, BULK, 0);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_not(rig.sent[0]->in.get.arm, "it will not wait");
    rig_answer(&rig, 0, 0, true);
    expect(&call, 0);
    cr_assert_eq(rig.n_sent, 0);
    rig_leave(&rig, r);
}

Test(consumer_waits, end_waits_for_what_is_buffered)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig.producer.last = 1;
    rig_read(&rig, r, &call, BULK, 0);
    cr_assert_eq(rig.producer.n_pushes, 1);
    rig_answer(&rig, 0, 0, true);
    cr_assert_not(call.done, "the GET was sent before the acknowledgement");
    cr_assert_eq(rig.n_sent, 0, "no GET is repeated meanwhile");
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig.producer.acked = 1;
    rig_changed(&rig, false);
    cr_assert_eq(rig.n_sent, 1);
    rig_answer(&rig, 0, 0, true);
    expect(&call, 2);
    rig_leave(&rig, r);
}

Test(consumer_waits, end_needs_a_get_sent_after_the_acknowledgement)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig.producer.last = 1;
    rig_read(&rig, r, &call, BULK, 0);
    rig.producer.acked = 1;
    rig_changed(&rig, false);
    cr_assert_eq(rig.n_sent, 1, "one in flight");
    rig_answer(&rig, 0, 0, true);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 1);
    rig_answer(&rig, 0, 0, true);
    expect(&call, 0);
    rig_leave(&rig, r);
}

Test(consumer_waits, a_get_in_flight_before_the_read_is_not_the_end_of_it)
{
    struct reader *a = rig_reader(&rig, READER_UNLIMITED, -1);
    struct reader *b = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call later;

    call_init(&later, &rig);
    rig_read(&rig, a, &call, BULK, 0);
    rig_read(&rig, b, &later, BULK, 0);
    cr_assert_eq(rig.n_sent, 1);
    rig_answer(&rig, 0, 0, true);
    expect(&call, 0);
    cr_assert_not(later.done);
    rig_answer(&rig, 0, 0, true);
    expect(&later, 0);
    call_fini(&later);
    rig_leave(&rig, a);
    rig_leave(&rig, b);
}

Test(consumer_waits, a_get_in_flight_that_brings_items_serves_a_later_read)
{
    struct reader *a = rig_reader(&rig, READER_UNLIMITED, -1);
    struct reader *b = rig_reader(&rig, READER_UNLIMITED, -1);
    struct call later;

    call_init(&later, &rig);
    rig_put_many(&rig, 1, 2, 100000);
    rig_read(&rig, a, &call, BULK, 0);
    rig_read(&rig, b, &later, BULK, 0);
    rig_answer(&rig, 0, 0, true);
    expect(&call, 100000);
    expect(&later, 100000);
    cr_assert_eq(rig.n_gets, 1);
    call_fini(&later);
    rig_leave(&rig, a);
    rig_leave(&rig, b);
}

Test(consumer_waits, buffered_that_is_never_acknowledged_is_no_end)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig.producer.last = 1;
    rig_read(&rig, r, &call, BULK, 0);
    rig_answer(&rig, 0, 0, true);
    rig_pass(&rig, SECOND - 1);
    cr_assert_not(call.done);
    rig_pass(&rig, 2000);
    expect(&call, -ETIMEDOUT);
    rig_leave(&rig, r);
}

/* ---- timeouts ---- */

Test(consumer_waits, timeout_is_confirmed_by_a_get)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, 5 * SECOND);

    rig_read(&rig, r, &call, BULK, 0);
    cr_assert(rig.sent[0]->in.get.arm);
    rig_answer(&rig, 0, 0, true);
    rig_pass(&rig, 5 * SECOND - 1);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 0);
    rig_pass(&rig, 1000);
    cr_assert_not(call.done);
    cr_assert_eq(rig.n_sent, 1);
    rig_answer(&rig, 0, 0, true);
    expect(&call, 0);
    cr_assert_eq(rig.n_gets, 2);
    rig_leave(&rig, r);
}

Test(consumer_waits, timeout_of_the_queue_is_looked_up_at_each_read)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_expect(&rig, r, BULK, "");
    rig.settings.mount.get_timeout_us = 2 * SECOND;
    rig_read(&rig, r, &call, BULK, 0);
    rig_settle_down(&rig);
    cr_assert_not(call.done);
    rig_pass(&rig, 2 * SECOND + 1000);
    rig_settle_down(&rig);
    expect(&call, 0);
    rig_leave(&rig, r);
}

Test(consumer_waits, own_timeout_goes_before_the_queues)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, 0);

    rig.settings.mount.get_timeout_us = TIME_FOREVER;
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
}

Test(consumer_waits, forever_waits_for_an_item)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_read(&rig, r, &call, 4096, 0);
    rig_settle_down(&rig);
    cr_assert(consumer_waited_for(rig.c));
    cr_assert_eq(consumer_counters(rig.c)->waiting, 1);
    rig_pass(&rig, (int64_t)3600 * SECOND);
    cr_assert_not(call.done);
    cr_assert_eq(consumer_deadline(rig.c), TIME_FOREVER);
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_tell(&rig);
    rig_settle_down(&rig);
    expect(&call, 2);
    cr_assert_not(consumer_waited_for(rig.c));
    rig_leave(&rig, r);
}

/* ---- O_NONBLOCK ---- */

Test(consumer_waits, nonblocking_read_is_the_end_where_a_read_would_not_wait)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    call.op.nonblock = true;
    rig_read(&rig, r, &call, 4096, 0);
    rig_settle_down(&rig);
    expect(&call, 0);
    rig_leave(&rig, r);
}

Test(consumer_waits, nonblocking_read_is_eagain_where_a_read_would_wait)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, 1);

    call.op.nonblock = true;
    rig_read(&rig, r, &call, 4096, 0);
    rig_settle_down(&rig);
    expect(&call, -EAGAIN);
    rig_leave(&rig, r);
}

Test(consumer_waits, nonblocking_read_gives_what_is_there)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    call.op.nonblock = true;
    rig_read(&rig, r, &call, 4096, 0);
    rig_settle_down(&rig);
    expect(&call, 2);
    rig_leave(&rig, r);
}

Test(consumer_waits, nonblocking_read_ends_after_a_second_of_silence)
{
    struct reader *a = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct reader *b = rig_reader(&rig, READER_UNLIMITED, 0);
    struct call other;

    call_init(&other, &rig);
    call.op.nonblock = other.op.nonblock = true;
    rig_read(&rig, a, &call, 4096, 0);
    rig_read(&rig, b, &other, 4096, 0);
    rig_pass(&rig, SECOND + 1000);
    expect(&call, -EAGAIN);
    expect(&other, -ETIMEDOUT);
    call_fini(&other);
    rig_settle_down(&rig);
    rig_leave(&rig, a);
    rig_leave(&rig, b);
}

/* ---- the service is away ---- */

Test(consumer_waits, away_is_never_the_end_of_file)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_read(&rig, r, &call, BULK, 0);
    rig_pass(&rig, SECOND - 1);
    cr_assert_not(call.done);
    rig_pass(&rig, 1001);
    expect(&call, -ETIMEDOUT);
    cr_assert_eq(rig.n_sent, 1, "the GET stays in flight");
    rig_answer(&rig, 0, 0, true);
    rig_expect(&rig, r, BULK, "x\n");
    rig_leave(&rig, r);
}

Test(consumer_waits, away_from_the_start_ends_with_the_timeout)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, 5 * SECOND);

    rig_read(&rig, r, &call, BULK, 0);
    rig_pass(&rig, 5 * SECOND - 1);
    cr_assert_not(call.done);
    rig_pass(&rig, 1001);
    expect(&call, -ETIMEDOUT);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
}

Test(consumer_waits, away_at_the_end_of_the_timeout_gets_a_second)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, 5 * SECOND);

    rig_read(&rig, r, &call, BULK, 0);
    rig_settle_down(&rig);
    rig_pass(&rig, 6 * SECOND - 1000);
    cr_assert_not(call.done);
    rig_pass(&rig, 3000);
    expect(&call, -ETIMEDOUT);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
}

Test(consumer_waits, failing_get_is_sent_again_with_back_off)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct request *get;

    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_read(&rig, r, &call, BULK, 0);
    get = rig.sent[0];
    rig_answer(&rig, 0, -EIO, false);
    cr_assert_eq(rig.n_sent, 0);
    rig_pass(&rig, 49999);
    cr_assert_eq(rig.n_sent, 0);
    rig_pass(&rig, 1);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig.sent[0], get);
    rig_answer(&rig, 0, -ETIMEDOUT, false);
    rig_pass(&rig, 99999);
    cr_assert_eq(rig.n_sent, 0);
    rig_pass(&rig, 1);
    rig_answer(&rig, 0, 0, true);
    expect(&call, 2);
    cr_assert_eq(rig.items[0].n_leases, 1);
    rig_leave(&rig, r);
}

Test(consumer_waits, failing_store_is_told)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);

    rig_read(&rig, r, &call, BULK, 0);
    rig_answer(&rig, 0, -EIO, false);
    rig_pass(&rig, SECOND + 1000);
    expect(&call, -EIO);
    rig_settle_down(&rig);
    rig_leave(&rig, r);
}

Test(consumer_waits, removed_queue_ends_all_reads)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_read(&rig, r, &call, BULK, 0);
    rig_answer(&rig, 0, -ENOENT, false);
    expect(&call, -ENOENT);
    cr_assert_eq(rig.n_sent, 0);
    rig_leave(&rig, r);
}

/* ---- many ---- */

#define MANY 10000

Test(consumer_waits, ten_thousand_waiting_reads_cost_one_armed_get)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call *calls = calloc(MANY, sizeof(*calls));
    size_t i;

    for (i = 0; i < MANY; i++) {
        call_init(&calls[i], &rig);
        rig_read(&rig, r, &calls[i], 4096, 0);
        if (i == 0)
            rig_settle_down(&rig);
    }
    rig_settle_down(&rig);
    rig_pass(&rig, 100 * SECOND);
    cr_assert_eq(rig.n_gets, 1);
    cr_assert_eq(consumer_counters(rig.c)->waiting, MANY);
    rig_end(&rig, -ESHUTDOWN);
    for (i = 0; i < MANY; i++) {
        expect(&calls[i], -ESHUTDOWN);
        call_fini(&calls[i]);
    }
    free(calls);
    rig_release(&rig, r);
}

Test(consumer_waits, first_who_waits_gets_the_first_item)
{
    struct reader *readers[5];
    struct call calls[5];
    size_t i;

    for (i = 0; i < 5; i++) {
        readers[i] = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
        call_init(&calls[i], &rig);
        rig_read(&rig, readers[i], &calls[i], 4096, 0);
        rig_settle_down(&rig);
    }
    cr_assert_eq(rig.n_gets, 1);
    rig_put(&rig, 1, FRAMING_LINE, "0\n1\n2\n");
    rig_tell(&rig);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig.sent[0]->in.get.max_items, 5);
    rig_settle_down(&rig);
    for (i = 0; i < 5; i++)
        cr_assert_eq(calls[i].done, i < 3);
    for (i = 0; i < 3; i++) {
        cr_assert_eq(calls[i].bytes[0], (char)('0' + i));
        cr_assert_eq(calls[i].serial, i + 1);
    }
    cr_assert(rig.armed, "the others go on waiting");
    cr_assert_eq(rig.n_gets, 3);
    rig_put(&rig, 2, FRAMING_LINE, "3\n4\n");
    rig_tell(&rig);
    rig_settle_down(&rig);
    for (i = 0; i < 5; i++) {
        cr_assert(calls[i].done);
        call_fini(&calls[i]);
        rig_leave(&rig, readers[i]);
    }
}

Test(consumer_waits, event_that_overtakes_the_empty_answer_is_not_lost)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct request *get;

    rig_read(&rig, r, &call, 4096, 0);
    get = rig.sent[0];
    get->status = 0;
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_changed(&rig, false);
    cr_assert_eq(rig.n_sent, 1);
    rig.items[0].state = ITEM_LEASED;
    rig_answer(&rig, 0, 0, true);
    rig.items[0].state = ITEM_READY;
    cr_assert_eq(rig.n_sent, 1, "looked again");
    rig_settle_down(&rig);
    expect(&call, 2);
    rig_leave(&rig, r);
}

Test(consumer_waits, cancelled_read_leaves_the_line)
{
    struct reader *a = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct reader *b = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct call other;

    call_init(&other, &rig);
    rig_read(&rig, a, &call, 4096, 0);
    rig_read(&rig, b, &other, 4096, 0);
    rig_settle_down(&rig);
    op_cancel(&call.op);
    expect(&call, -EINTR);
    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_tell(&rig);
    rig_settle_down(&rig);
    expect(&other, 2);
    call_fini(&other);
    rig_leave(&rig, a);
    rig_leave(&rig, b);
}

Test(consumer_waits, read_cancelled_before_it_parks_does_not_park)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    op_cancel(&call.op);
    rig_read(&rig, r, &call, 4096, 0);
    expect(&call, -EINTR);
    rig_leave(&rig, r);
}

Test(consumer_waits, items_that_find_nobody_go_back)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "x\n");
    rig_read(&rig, r, &call, 4096, 0);
    op_cancel(&call.op);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    rig_pass(&rig, POOL_IDLE_US - 1);
    cr_assert_eq(rig.n_sent, 0);
    rig_pass(&rig, 1);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    rig_leave(&rig, r);
}

Test(consumer_waits, more_reads_than_are_counted_are_served_by_several_gets)
{
    enum { N = FETCH_WAITERS + 100 };
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    struct reader **readers = calloc(N, sizeof(*readers));
    struct call *calls = calloc(N, sizeof(*calls));
    size_t i;

    for (i = 0; i < N; i++) {
        readers[i] = rig_reader(&rig, 1, TIME_FOREVER);
        call_init(&calls[i], &rig);
        rig_read(&rig, readers[i], &calls[i], 4096, 0);
    }
    rig_settle_down(&rig);
    rig_put_many(&rig, 1, N, 10);
    rig_tell(&rig);
    cr_assert_eq(rig.sent[0]->in.get.max_items, FETCH_WAITERS);
    rig_settle_down(&rig);
    for (i = 0; i < N; i++) {
        expect(&calls[i], 10);
        call_fini(&calls[i]);
        rig_release(&rig, readers[i]);
    }
    free(readers);
    free(calls);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), N);
    rig_leave(&rig, r);
}

/* The service answers GETs but no SETTLEs: at some point no more is lent. */
Test(consumer_waits, reads_wait_while_too_many_settlements_do)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, -1);
    struct ack_queue *s = &rig.c->acks;
    struct settlement range = {.to = 1};
    size_t n_sent = s->n_sent;

    cr_assert_eq(ack_queue_reserve(s, REQUEST_SETTLEMENTS_MAX), 0);
    for (range.batch = 0; range.batch < REQUEST_SETTLEMENTS_MAX; range.batch++)
        ack_queue_add(s, &range, rig.now_us);
    s->n_sent = ACK_QUEUE_IN_FLIGHT;
    rig_put(&rig, 9, FRAMING_LINE, "x\n");
    rig_read(&rig, r, &call, 4096, 0);
    rig_settle_down(&rig);
    cr_assert_not(call.done);
    s->gathering->n = 0;
    s->due_us = TIME_FOREVER;
    s->n_sent = n_sent;
    rig_changed(&rig, false);
    expect(&call, 2);
    rig_leave(&rig, r);
}
