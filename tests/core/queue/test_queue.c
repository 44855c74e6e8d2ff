/* Items of one queue on their way: leased, acknowledged, back, late, delayed, dead, purged. */
#include "tests/core/service/service_rig.h"

static struct rig rig;
static uint64_t queue;

static void setup(void)
{
    rig_init(&rig);
    queue = rig_make(&rig, "q", NULL);
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(queue, .init = setup, .fini = teardown, .timeout = 10);

static void set(void (*change)(struct queue_settings *settings))
{
    struct queue_settings settings = rig_settings();

    change(&settings);
    cr_assert_eq(
        service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN),
        0);
}

static void settle_expect(struct settlement settlement, int64_t n_late)
{
    cr_assert_eq(rig_settle_one(&rig, queue, settlement), n_late);
}

/* ---- gets ---- */

Test(queue, get_takes_batches_in_order_up_to_max_items)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\nc\n");
    rig_put(&rig, queue, 1, 4, "d\ne\n");
    stream_expect(&rig, &get, queue, 4, "a\nb\nc\nd\n");
    cr_assert_eq(get.request.out.get.n_grants, 2);
    cr_assert_eq(get.request.out.get.grants[1].offset, 6);
    cr_assert_eq(get.request.state.depth, 1);
    cr_assert_eq(get.request.state.leased, 4);
    rig_settle(&rig, &get, SETTLE_ACK);
    stream_expect(&rig, &get, queue, 4, "e\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    stream_expect(&rig, &get, queue, 4, "");
    cr_assert_eq(get.request.out.get.n_grants, 0);
    cr_assert_eq(rig_state(&rig, queue).depth, 0);
    cr_assert_eq(rig_state(&rig, queue).total_gets, 5);
    cr_assert_eq(rig_state(&rig, queue).batch_gets, 2);
}

Test(queue, get_keeps_to_max_bytes_but_gives_one_item_at_least)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "aaaa\nbbbb\ncccc\n");
    call_get(&get, GET_STREAM, queue, 1, 10);
    get.request.in.get.max_bytes = 10;
    get_expect(&rig, &get, "aaaa\nbbbb\n");
    rig_settle(&rig, &get, SETTLE_RETURN);
    call_get(&get, GET_STREAM, queue, 1, 10);
    get.request.in.get.max_bytes = 9;
    get_expect(&rig, &get, "aaaa\n");
    rig_settle(&rig, &get, SETTLE_RETURN);
    call_get(&get, GET_STREAM, queue, 1, 10);
    get.request.in.get.max_bytes = 0;
    get_expect(&rig, &get, "aaaa\n");
    rig_settle(&rig, &get, SETTLE_RETURN);
    cr_assert_eq(rig_state(&rig, queue).depth, 3);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 12);
}

Test(queue, get_does_not_start_a_batch_whose_first_item_does_not_fit)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "aa\n");
    rig_put(&rig, queue, 1, 2, "bbbbbb\n");
    call_get(&get, GET_STREAM, queue, 1, 10);
    get.request.in.get.max_bytes = 6;
    get_expect(&rig, &get, "aa\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    stream_expect(&rig, &get, queue, 10, "bbbbbb\n");
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(queue, get_gives_a_part_of_a_length_table_with_its_items)
{
    static const uint8_t blob[] = "\x02\0\0\0\x01\0\0\0\x03\0\0\0aabccc";
    struct call put, get;
    struct batch_view *batch = &put.request.in.put.batch;

    call_put(&put, queue, 1, 1, "x\n");
    *batch = (struct batch_view){FRAMING_FILE, 3, blob, 18, crc32c(blob, 18), 0};
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.state.depth_bytes, 6);

    call_get(&get, GET_STREAM, queue, 1, 1);
    cr_assert_eq(call_run(&rig, &get), 0);
    cr_assert_eq(get.request.out.get.len, 6);
    cr_assert_eq(memcmp(get.request.out.get.data, "\x02\0\0\0aa", 6), 0);
    cr_assert_eq(get.request.out.get.grants[0].framing, FRAMING_FILE);
    rig_settle(&rig, &get, SETTLE_ACK);
    call_get(&get, GET_STREAM, queue, 1, 5);
    get.request.in.get.max_bytes = 11; /* one byte short of both */
    cr_assert_eq(call_run(&rig, &get), 0);
    cr_assert_eq(memcmp(get.request.out.get.data, "\x01\0\0\0b", 5), 0);
    cr_assert_eq(get.request.out.get.len, 5);
    rig_settle(&rig, &get, SETTLE_ACK);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 3);
}

static uint8_t reply_bytes[64];

static uint8_t *reply_buffer(struct request *request, size_t size)
{
    cr_assert_eq(size, 4);
    return reply_bytes;
}

static uint8_t *no_reply_buffer(struct request *request, size_t size)
{
    return NULL;
}

Test(queue, get_lays_its_bytes_where_the_caller_says)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    call_get(&get, GET_STREAM, queue, 1, 10);
    get.request.reply_buffer = reply_buffer;
    get_expect(&rig, &get, "a\nb\n");
    cr_assert_eq(get.request.out.get.data, reply_bytes);
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(queue, get_without_memory_for_the_answer_leases_nothing)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    for (int kind = GET_STREAM; kind <= GET_CLAIM; kind++) {
        call_get(&get, (enum get_kind)kind, queue, 1, 1);
        get.request.reply_buffer = no_reply_buffer;
        cr_assert_eq(call_run(&rig, &get), -ENOMEM);
        cr_assert_eq(get.request.state.leased, 0);
        cr_assert_eq(get.request.state.depth, 2);
        cr_assert_eq(get.request.state.total_gets, 0);
        service_round(rig.service);
    }
    stream_expect(&rig, &get, queue, 10, "a\nb\n");
    cr_assert_eq(get.request.out.get.grants[0].deliveries, 0);
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(queue, nonsense_gets_are_refused)
{
    struct call get;

    call_get(&get, GET_STREAM, queue, 1, 0);
    cr_assert_eq(call_run(&rig, &get), -EPROTO);
    call_get(&get, (enum get_kind)7, queue, 1, 1);
    cr_assert_eq(call_run(&rig, &get), -EPROTO);
    call_get(&get, GET_STREAM, queue + 1, 1, 1);
    cr_assert_eq(call_run(&rig, &get), -ENOENT);
    call_get(&get, GET_CLAIM, queue + 1, 1, 1);
    cr_assert_eq(call_run(&rig, &get), -ENOENT);
}

Test(queue, oldest_is_the_put_time_of_the_lowest_ready_batch)
{
    int64_t first_us = rig.wall_us;
    struct call get;

    cr_assert_eq(rig_state(&rig, queue).oldest_put_us, 0);
    rig_put(&rig, queue, 1, 1, "a\n");
    rig_advance(&rig, SECOND);
    rig_put(&rig, queue, 1, 2, "b\n");
    cr_assert_eq(rig_state(&rig, queue).oldest_put_us, first_us);
    stream_expect(&rig, &get, queue, 1, "a\n");
    cr_assert_eq(get.request.out.get.grants[0].put_time_us, first_us);
    cr_assert_eq(rig_state(&rig, queue).oldest_put_us, first_us + SECOND);
    rig_settle(&rig, &get, SETTLE_RETURN);
    cr_assert_eq(rig_state(&rig, queue).oldest_put_us, first_us);
}

/* ---- settling ---- */

Test(queue, part_of_a_lease_is_acknowledged_and_the_rest_given_back)
{
    struct call get;
    struct grant grant;

    rig_put(&rig, queue, 1, 1, "a\nbb\nccc\n");
    stream_expect(&rig, &get, queue, 3, "a\nbb\nccc\n");
    grant = get.request.out.get.grants[0];
    call_fini(&get);
    settle_expect((struct settlement){SETTLE_ACK, grant.batch, 1, 2, grant.token}, 0);
    settle_expect((struct settlement){SETTLE_RETURN, grant.batch, 0, 1, grant.token}, 0);
    settle_expect((struct settlement){SETTLE_RETURN, grant.batch, 2, 3, grant.token}, 0);
    cr_assert_eq(rig_state(&rig, queue).depth, 2);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 4);
    cr_assert_eq(rig_state(&rig, queue).total_gets, 1);
    stream_expect(&rig, &get, queue, 3, "a\nccc\n");
    cr_assert_eq(get.request.out.get.n_grants, 2);
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(queue, what_came_back_is_given_first)
{
    struct call first, get;

    rig_put(&rig, queue, 1, 1, "a\n");
    rig_put(&rig, queue, 1, 2, "b\n");
    rig_put(&rig, queue, 1, 3, "c\n");
    stream_expect(&rig, &first, queue, 2, "a\nb\n");
    rig_settle(&rig, &first, SETTLE_RETURN);
    stream_expect(&rig, &get, queue, 2, "a\nb\n");
    cr_assert_eq(get.request.out.get.grants[0].deliveries, 0);
    rig_settle(&rig, &get, SETTLE_ACK);
    stream_expect(&rig, &get, queue, 2, "c\n");
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(queue, wrong_token_range_or_batch_is_late_and_changes_nothing)
{
    struct settlement s;
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    s = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    s.token++;
    settle_expect(s, 1);
    s.token--;
    s.batch++;
    settle_expect(s, 1);
    s.batch--;
    s.to = 3;
    settle_expect(s, 3);
    s.to = 2; /* the second item is not leased */
    settle_expect(s, 1);
    cr_assert_eq(rig_state(&rig, queue).depth, 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    s.to = 1;
    settle_expect(s, 1);
    call_fini(&get);
}

Test(queue, nonsense_settlements_are_refused_whole)
{
    struct settlement s[2];
    struct call get, settle;

    rig_put(&rig, queue, 1, 1, "a\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    s[0] = s[1] = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    s[1].from = s[1].to;
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = s;
    settle.request.in.settle.n_items = 2;
    cr_assert_eq(call_run(&rig, &settle), -EPROTO);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    s[1].from = 0;
    s[1].verb = (enum settle_verb)9;
    cr_assert_eq(rig_settle_one(&rig, queue, s[1]), -EPROTO);
    settle.n_done = 0;
    settle.request.in.settle.n_items = 0;
    cr_assert_eq(call_run(&rig, &settle), -EPROTO);
    rig_settle(&rig, &get, SETTLE_ACK);
}

static void three_deliveries(struct queue_settings *settings)
{
    settings->max_deliveries = 4;
    settings->retry_delay_us = SECOND;
}

Test(queue, failed_items_come_back_at_once_then_ever_later_then_die)
{
    struct call get;

    set(three_deliveries);
    rig_put(&rig, queue, 1, 1, "a\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_NACK);
    stream_expect(&rig, &get, queue, 1, "a\n");
    cr_assert_eq(get.request.out.get.grants[0].deliveries, 1);
    rig_settle(&rig, &get, SETTLE_NACK);

    cr_assert_eq(rig_state(&rig, queue).delayed, 1);
    cr_assert_eq(service_deadline(rig.service), rig.now_us + SECOND);
    rig_advance(&rig, SECOND - 1);
    stream_expect(&rig, &get, queue, 1, "");
    rig_advance(&rig, 1);
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_NACK);
    rig_advance(&rig, 2 * SECOND - 1);
    stream_expect(&rig, &get, queue, 1, "");
    rig_advance(&rig, 1);
    stream_expect(&rig, &get, queue, 1, "a\n");
    cr_assert_eq(get.request.out.get.grants[0].deliveries, 3);
    rig_settle(&rig, &get, SETTLE_NACK);
    cr_assert_eq(rig_state(&rig, queue).dead, 1);
    cr_assert_eq(rig_state(&rig, queue).depth, 0);
    cr_assert_eq(rig_state(&rig, queue).redelivered, 3);
}

static void no_delay(struct queue_settings *settings)
{
    settings->retry_delay_us = 0;
    settings->max_deliveries = 100;
}

Test(queue, no_retry_delay_is_ready_at_once)
{
    struct call get;

    set(no_delay);
    rig_put(&rig, queue, 1, 1, "a\n");
    for (uint32_t i = 0; i < 50; i++) {
        stream_expect(&rig, &get, queue, 1, "a\n");
        cr_assert_eq(get.request.out.get.grants[0].deliveries, i);
        rig_settle(&rig, &get, SETTLE_NACK);
    }
}

static void long_delay(struct queue_settings *settings)
{
    settings->retry_delay_us = 400 * SECOND;
    settings->max_deliveries = 100;
}

Test(queue, delays_are_ten_minutes_at_most)
{
    struct call get;

    set(long_delay);
    rig_put(&rig, queue, 1, 1, "a\n");
    for (int i = 0; i < 4; i++) {
        stream_expect(&rig, &get, queue, 1, "a\n");
        rig_settle(&rig, &get, SETTLE_NACK);
        rig_advance(&rig, i < 2 ? 400 * SECOND : 600 * SECOND);
    }
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(queue, buried_items_are_dead_and_keep_the_count)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_BURY);
    cr_assert_eq(rig_state(&rig, queue).dead, 1);
    cr_assert_eq(rig_state(&rig, queue).depth, 1);
    rig_restart(&rig, 0);
    cr_assert_eq(rig_state(&rig, queue).dead, 1);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 1);
    stream_expect(&rig, &get, queue, 5, "b\n");
    rig_settle(&rig, &get, SETTLE_ACK);
}

/* ---- claims ---- */

static void one_second_lease(struct queue_settings *settings)
{
    settings->lease_us = SECOND;
    settings->lease_max_us = 3 * SECOND;
}

static void claim(struct call *get, const char *expected)
{
    call_get(get, GET_CLAIM, queue, 1, 1);
    get_expect(&rig, get, expected);
}

Test(queue, claim_is_stored_before_the_answer_and_survives_a_restart)
{
    struct settlement s;
    struct call get;

    set(one_second_lease);
    rig_put(&rig, queue, 1, 1, "a\nb\n");
    claim(&get, "a\n");
    cr_assert_eq(get.request.out.get.grants[0].lease_us, SECOND);
    cr_assert_eq(get.request.out.get.grants[0].deliveries, 0);
    s = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);

    rig_restart(&rig, 3600 * SECOND);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, SECOND - 1);
    settle_expect(s, 0);
    cr_assert_eq(rig_state(&rig, queue).depth, 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
}

Test(queue, claim_that_ends_by_time_comes_back_counted)
{
    struct settlement s;
    struct call get;

    set(one_second_lease);
    rig_put(&rig, queue, 1, 1, "a\n");
    claim(&get, "a\n");
    s = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);
    rig_advance(&rig, SECOND - 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    cr_assert_eq(rig_state(&rig, queue).expired, 1);
    settle_expect(s, 1);

    rig_restart(&rig, 0);
    claim(&get, "a\n");
    cr_assert_eq(get.request.out.get.grants[0].deliveries, 1);
    rig_settle(&rig, &get, SETTLE_RETURN);
    claim(&get, "a\n");
    cr_assert_eq(get.request.out.get.grants[0].deliveries, 1);
    rig_settle(&rig, &get, SETTLE_ACK);
    cr_assert_eq(rig_state(&rig, queue).depth, 0);
}

Test(queue, renewal_runs_the_lease_in_full_up_to_lease_max)
{
    struct settlement s;
    struct call get;

    set(one_second_lease);
    rig_put(&rig, queue, 1, 1, "a\n");
    claim(&get, "a\n");
    s = settlement_of(SETTLE_RENEW, &get.request.out.get.grants[0]);
    call_fini(&get);
    for (int i = 0; i < 5; i++) {
        rig_advance(&rig, SECOND / 2);
        settle_expect(s, 0);
    }
    rig_advance(&rig, SECOND / 2 - 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, 1); /* three seconds in all */
    settle_expect(s, 1);
}

Test(queue, ten_thousand_claims_of_one_batch_are_acknowledged_one_by_one)
{
    static char text[20001];
    static struct settlement all[10000];
    struct call get, settle;

    for (int i = 0; i < 10000; i++)
        memcpy(text + 2 * i, "x\n", 2);
    rig_put(&rig, queue, 1, 1, text);
    for (int i = 0; i < 10000; i += 100) { /* each a token of its own would take a minute here */
        call_get(&get, GET_CLAIM, queue, 1, 100);
        cr_assert_eq(call_run(&rig, &get), 0);
        for (uint32_t k = 0; k < 100; k++)
            all[i + (int)k] =
                (struct settlement){SETTLE_ACK, 1, (uint32_t)i + k, (uint32_t)i + k + 1,
                                    get.request.out.get.grants[0].token};
        call_fini(&get);
    }
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = all;
    settle.request.in.settle.n_items = 10000;
    cr_assert_eq(call_run(&rig, &settle), 0);
    cr_assert_eq(settle.request.out.settle.n_late, 0);
    cr_assert_eq(settle.request.state.leased, 0);
    cr_assert_eq(settle.request.state.depth_bytes, 0);
}

/* ---- purge ---- */

static uint64_t purge(void)
{
    struct call call;

    call_init(&call, REQUEST_PURGE, queue, 1);
    call_submit(&rig, &call);
    for (int i = 0; i < 100 && !call.n_done; i++)
        service_round(rig.service);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.request.status, 0);
    return call.request.out.purge.n_items;
}

Test(queue, purge_removes_what_is_ready_and_nothing_else)
{
    struct call leased, get;

    rig_put(&rig, queue, 1, 1, "a\nb\nc\n");
    rig_put(&rig, queue, 1, 4, "d\n");
    stream_expect(&rig, &leased, queue, 1, "a\n");
    cr_assert_eq(purge(), 3);
    stream_expect(&rig, &get, queue, 9, "");
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_settle(&rig, &leased, SETTLE_RETURN);
    stream_expect(&rig, &get, queue, 9, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    cr_assert_eq(purge(), 0);
}

Test(queue, purge_of_many_batches_takes_several_commits)
{
    unsigned commits;

    for (uint64_t i = 1; i <= 200; i++)
        rig_put(&rig, queue, 1, i, "x\n");
    commits = rig.faulty.n_commits;
    cr_assert_eq(purge(), 200);
    cr_assert_geq(rig.faulty.n_commits - commits, 3);
    rig_restart(&rig, 0);
    cr_assert_eq(rig_state(&rig, queue).depth, 0);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 0);
}

/* ---- damage ---- */

Test(queue, damaged_batch_is_passed_over_kept_and_purged)
{
    struct call get, call;

    rig_put(&rig, queue, 1, 1, "a\n");
    rig_put(&rig, queue, 1, 2, "b\nbb\n");
    rig_put(&rig, queue, 1, 4, "c\n");
    rig.faulty.damaged = 2;
    rig_restart(&rig, 0);
    stream_expect(&rig, &get, queue, 9, "a\nc\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    cr_assert_eq(rig_state(&rig, queue).depth, 0);
    cr_assert_not(queue_has_ready(service_find(rig.service, queue)));

    rig_put(&rig, queue, 1, 5, "d\n");
    stream_expect(&rig, &get, queue, 9, "d\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), -ENOTEMPTY);
    purge();
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
}

Test(queue, batch_that_is_damaged_after_it_was_touched_is_set_aside_and_purged)
{
    struct call get, call;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    rig_put(&rig, queue, 1, 3, "c\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    rig.faulty.damaged = 1;
    rig_restart(&rig, 0);
    stream_expect(&rig, &get, queue, 9, "c\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    stream_expect(&rig, &get, queue, 9, "");
    purge();
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
}

Test(queue, failing_disk_is_eio_and_no_lease)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\n");
    rig.faulty.read_error = -EIO;
    call_get(&get, GET_STREAM, queue, 1, 1);
    cr_assert_eq(call_run(&rig, &get), -EIO);
    cr_assert_eq(get.request.out.get.n_grants, 0);
    rig.faulty.read_error = 0;
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
}
