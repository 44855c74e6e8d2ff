/*
 * What mounts wait for, requests that come twice, and mounts that are not heard of any more. Calls
 * are static, as those that are still parked are answered at the very end.
 */
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

TestSuite(session, .init = setup, .fini = teardown, .timeout = 10);

static void watch_init(struct call *watch, uint8_t session, uint64_t seen)
{
    call_init(watch, REQUEST_WATCH, 0, session);
    watch->request.in.watch.seen = seen;
    watch->request.in.watch.wait_us = 10 * SECOND;
}

/* Send a WATCH and run a round. */
static void watch_start(struct call *watch, uint8_t session, uint64_t seen)
{
    watch_init(watch, session, seen);
    call_submit(&rig, watch);
    service_round(rig.service);
}

static void expect_event(const struct call *watch, uint64_t number, uint32_t kinds)
{
    cr_assert_eq(watch->n_done, 1);
    cr_assert_eq(watch->request.status, 0);
    cr_assert_eq(watch->request.out.watch.n_events, 1);
    cr_assert_eq(watch->request.out.watch.events[0].queue, number);
    cr_assert_eq(watch->request.out.watch.events[0].kinds, kinds);
}

static uint32_t arm(uint8_t session, uint32_t kinds)
{
    static struct call call;

    call_init(&call, REQUEST_ARM, queue, session);
    call.request.in.arm.kinds = kinds;
    cr_assert_eq(call_run(&rig, &call), 0);
    return call.request.out.arm.kinds;
}

/* ---- waiting ---- */

Test(session, watch_is_parked_until_its_time_is_over)
{
    static struct call watch;

    watch_start(&watch, 1, 0);
    cr_assert_eq(watch.n_done, 0);
    cr_assert_eq(service_deadline(rig.service), rig.now_us + 10 * SECOND);
    rig_advance(&rig, 10 * SECOND - 1);
    cr_assert_eq(watch.n_done, 0);
    rig_advance(&rig, 1);
    cr_assert_eq(watch.n_done, 1);
    cr_assert_eq(watch.request.status, 0);
    cr_assert_eq(watch.request.out.watch.n_events, 0);
    cr_assert_eq(watch.request.out.watch.service, 1000);
}

Test(session, newer_watch_ends_the_older_one_without_events)
{
    static struct call older, newer;

    watch_start(&older, 1, 0);
    watch_start(&newer, 1, 0);
    cr_assert_eq(older.n_done, 1);
    cr_assert_eq(older.request.out.watch.n_events, 0);
    cr_assert_eq(newer.n_done, 0);
}

Test(session, put_tells_who_is_armed_once)
{
    static struct call watch, again;

    cr_assert_eq(arm(1, EVENT_READY), 0);
    watch_start(&watch, 1, 0);
    rig_put(&rig, queue, 2, 1, "a\n");
    expect_event(&watch, queue, EVENT_READY);
    watch_start(&again, 1, watch.request.out.watch.sequence);
    rig_put(&rig, queue, 2, 2, "b\n");
    cr_assert_eq(again.n_done, 0);
    call_fini(&watch);
}

Test(session, event_of_a_lost_answer_comes_again)
{
    static struct call lost, again, after;

    arm(1, EVENT_READY);
    rig_put(&rig, queue, 2, 1, "a\n");
    watch_start(&lost, 1, 0);
    expect_event(&lost, queue, EVENT_READY);
    watch_start(&again, 1, 0);
    expect_event(&again, queue, EVENT_READY);
    cr_assert_gt(again.request.out.watch.sequence, lost.request.out.watch.sequence);
    watch_start(&after, 1, again.request.out.watch.sequence);
    cr_assert_eq(after.n_done, 0);
    call_fini(&lost);
    call_fini(&again);
}

Test(session, arm_tells_what_is_so_already)
{
    struct queue_settings settings = rig_settings();

    settings.maxsize = 1;
    cr_assert_eq(
        service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN),
        0);
    cr_assert_eq(arm(1, EVENT_READY | EVENT_ROOM), EVENT_ROOM);
    rig_put(&rig, queue, 2, 1, "a\n");
    cr_assert_eq(arm(2, EVENT_READY | EVENT_ROOM), EVENT_READY);
}

Test(session, empty_get_arms_and_one_with_items_does_not)
{
    static struct call get, watch;

    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.in.get.arm = true;
    get_expect(&rig, &get, "");
    rig_put(&rig, queue, 2, 1, "a\nb\n");
    watch_start(&watch, 1, 0);
    expect_event(&watch, queue, EVENT_READY);
    call_fini(&watch);

    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.in.get.arm = true;
    get_expect(&rig, &get, "a\n");
    rig_settle(&rig, &get, SETTLE_RETURN);
    watch_start(&watch, 1, 9);
    cr_assert_eq(watch.n_done, 0);
}

Test(session, delayed_item_tells_when_it_is_ready)
{
    static struct call get, watch;

    rig_put(&rig, queue, 2, 1, "a\n");
    for (int i = 0; i < 2; i++) {
        stream_expect(&rig, &get, queue, 1, "a\n");
        rig_settle(&rig, &get, SETTLE_NACK);
    }
    cr_assert_eq(arm(1, EVENT_READY), 0);
    watch_start(&watch, 1, 0);
    rig_advance(&rig, SECOND);
    expect_event(&watch, queue, EVENT_READY);
    call_fini(&watch);
}

Test(session, full_queue_arms_for_room)
{
    struct queue_settings settings = rig_settings();
    static struct call put, watch, get;

    settings.maxsize = 2;
    service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN);
    call_put(&put, queue, 1, 1, "a\nb\nc\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert(put.request.out.put.full);
    cr_assert_eq(put.request.out.put.last, 2);
    stream_expect(&rig, &get, queue, 1, "a\n");
    watch_start(&watch, 1, 0);
    cr_assert_eq(watch.n_done, 0); /* leased items count */
    rig_settle(&rig, &get, SETTLE_ACK);
    expect_event(&watch, queue, EVENT_ROOM);
    call_fini(&watch);
}

Test(session, making_setting_and_removing_tells_every_watch)
{
    struct queue_settings settings = rig_settings();
    static struct call a, b, call;

    watch_start(&a, 1, 0);
    watch_start(&b, 2, 0);
    rig_make(&rig, "other", NULL);
    expect_event(&a, 0, EVENT_QUEUES);
    expect_event(&b, 0, EVENT_QUEUES);
    call_fini(&b);
    watch_start(&b, 2, b.request.out.watch.sequence);
    settings.maxsize = 9;
    call_init(&call, REQUEST_SET, queue, 1);
    call.request.in.set.settings = &settings;
    call.request.in.set.fields = SETTINGS_OWN;
    cr_assert_eq(call_run(&rig, &call), 0);
    expect_event(&b, 0, EVENT_QUEUES);
    call_fini(&b);
    watch_start(&b, 2, b.request.out.watch.sequence);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
    expect_event(&b, 0, EVENT_QUEUES);
    call_fini(&b);
    call_fini(&a);
}

Test(session, removal_tells_who_is_armed_for_the_queue)
{
    static struct call watch, call;

    arm(2, EVENT_READY);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
    watch_start(&watch, 2, 0);
    expect_event(&watch, queue, EVENT_READY);
    call_fini(&watch);
    call_init(&call, REQUEST_ARM, queue, 2);
    cr_assert_eq(call_run(&rig, &call), -ENOENT);
}

Test(session, more_events_than_one_answer_takes_come_with_the_next)
{
    uint64_t numbers[REQUEST_EVENTS_MAX + 1];
    static struct call call, first, second;
    char name[16];

    for (int i = 0; i <= REQUEST_EVENTS_MAX; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        numbers[i] = rig_make(&rig, name, NULL);
        call_init(&call, REQUEST_ARM, numbers[i], 3);
        call.request.in.arm.kinds = EVENT_READY;
        cr_assert_eq(call_run(&rig, &call), 0);
        rig_put(&rig, numbers[i], 2, 1, "a\n");
    }
    watch_start(&first, 3, 0);
    cr_assert_eq(first.request.out.watch.n_events, REQUEST_EVENTS_MAX);
    watch_start(&second, 3, first.request.out.watch.sequence);
    expect_event(&second, numbers[REQUEST_EVENTS_MAX], EVENT_READY);
    call_fini(&first);
    call_fini(&second);
}

/* ---- requests that come twice ---- */

Test(session, repeated_get_brings_the_same_items)
{
    static struct call get, again;

    rig_put(&rig, queue, 2, 1, "a\nb\nc\n");
    call_get(&get, GET_STREAM, queue, 1, 2);
    get.request.number = 5;
    get_expect(&rig, &get, "a\nb\n");
    again = get;
    again.n_done = 0;
    again.request.owner = &again;
    get_expect(&rig, &again, "a\nb\n");
    cr_assert_eq(again.request.out.get.grants[0].token, get.request.out.get.grants[0].token);
    cr_assert_eq(rig_state(&rig, queue).total_gets, 2);
    call_fini(&again);
    rig_settle_one(&rig, queue,
                   (struct settlement){SETTLE_ACK, 1, 0, 1, get.request.out.get.grants[0].token});
    call_fini(&get);

    again.n_done = 0; /* what is left of it */
    get_expect(&rig, &again, "b\n");
    rig_settle(&rig, &again, SETTLE_ACK);
    again.n_done = 0;
    get_expect(&rig, &again, "");
}

Test(session, repeated_settle_make_remove_and_purge_are_done_once)
{
    struct queue_settings settings = rig_settings();
    static struct call get, call;
    struct settlement s;

    rig_put(&rig, queue, 2, 1, "a\nb\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    s = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);
    for (int i = 0; i < 2; i++) {
        call_init(&call, REQUEST_SETTLE, queue, 1);
        call.request.number = 1;
        call.request.in.settle.items = &s;
        call.request.in.settle.n_items = 1;
        cr_assert_eq(call_run(&rig, &call), 0);
        cr_assert_eq(call.request.out.settle.n_late, 0);
    }
    for (int i = 0; i < 2; i++) {
        call_init(&call, REQUEST_PURGE, queue, 1);
        call.request.number = 2;
        cr_assert_eq(call_run(&rig, &call), 0);
        cr_assert_eq(call.request.out.purge.n_items, 1);
    }
    for (int i = 0; i < 2; i++) {
        call_init(&call, REQUEST_REMOVE, queue, 1);
        call.request.number = 3;
        cr_assert_eq(call_run(&rig, &call), 0);
    }
    for (int i = 0; i < 2; i++) {
        call_init(&call, REQUEST_MAKE, 0, 1);
        call.request.number = 4;
        call.request.in.make.name = "new";
        call.request.in.make.settings = &settings;
        cr_assert_eq(call_run(&rig, &call), 0);
        cr_assert_str_eq(call.request.out.make.entry.name, "new");
    }
}

Test(session, request_without_a_number_is_never_a_repeat)
{
    static struct call call;

    for (int i = 0; i < 2; i++) {
        call_init(&call, REQUEST_REMOVE, queue, 1);
        cr_assert_eq(call_run(&rig, &call), i == 0 ? 0 : -ENOENT);
    }
}

Test(session, late_copy_of_an_answered_request_does_nothing)
{
    static struct call get, late;

    rig_put(&rig, queue, 2, 1, "a\nb\n");
    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.number = 7;
    get_expect(&rig, &get, "a\n");
    call_fini(&get);
    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.number = 8;
    get.request.answered_below = 8;
    get_expect(&rig, &get, "b\n");
    call_fini(&get);
    call_get(&late, GET_STREAM, queue, 1, 1);
    late.request.number = 7;
    cr_assert_eq(call_run(&rig, &late), -ETIMEDOUT);
}

Test(session, late_copy_of_a_request_that_failed_does_nothing)
{
    static struct call get, late;

    rig_put(&rig, queue, 2, 1, "a\n");
    rig.faulty.read_error = -ENOMEM;
    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.number = 7;
    cr_assert_eq(call_run(&rig, &get), -ENOMEM);
    rig.faulty.read_error = 0;
    call_get(&late, GET_STREAM, queue, 1, 1);
    late.request.number = 7;
    cr_assert_eq(call_run(&rig, &late), -ENOMEM);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.number = 8;
    get_expect(&rig, &get, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
}

static void break_reading(void)
{
    rig.faulty.read_error = -ENOMEM;
}

Test(session, late_copy_of_a_claim_whose_answer_failed_leases_nothing)
{
    static struct call get, late;

    rig_put(&rig, queue, 2, 1, "a\n");
    rig.faulty.in_commit = break_reading; /* it is leased, and cannot be laid into the answer */
    call_get(&get, GET_CLAIM, queue, 1, 1);
    get.request.number = 7;
    cr_assert_eq(call_run(&rig, &get), -ENOMEM);
    rig.faulty.read_error = 0;
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    call_get(&late, GET_CLAIM, queue, 1, 1);
    late.request.number = 7;
    cr_assert_eq(call_run(&rig, &late), -ENOMEM);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
}

/* What was given is with somebody: it must not go back to others. */
Test(session, repeated_get_that_finds_no_memory_gives_nothing_back)
{
    static struct call get, again;

    rig_put(&rig, queue, 2, 1, "a\n");
    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.number = 7;
    get_expect(&rig, &get, "a\n");
    for (int i = 0; i < 2; i++) {
        rig.faulty.read_error = i == 0 ? -ENOMEM : 0;
        call_get(&again, GET_STREAM, queue, 1, 1);
        again.request.number = 7;
        cr_assert_eq(call_run(&rig, &again), i == 0 ? -ETIMEDOUT : 0);
        cr_assert_eq(rig_state(&rig, queue).leased, 1);
    }
    cr_assert_eq(again.request.out.get.grants[0].token, get.request.out.get.grants[0].token);
    call_fini(&again);
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(session, number_used_for_something_else_is_nonsense)
{
    static struct call call;

    call_get(&call, GET_STREAM, queue, 1, 1);
    call.request.number = 7;
    cr_assert_eq(call_run(&rig, &call), 0);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    call.request.number = 7;
    cr_assert_eq(call_run(&rig, &call), -EPROTO);
}

Test(session, copy_takes_the_place_of_a_request_at_work)
{
    static struct call older, newer;

    for (uint64_t i = 1; i <= 300; i++)
        rig_put(&rig, queue, 2, i, "x\n");
    call_init(&older, REQUEST_PURGE, queue, 1);
    older.request.number = 1;
    call_submit(&rig, &older);
    service_round(rig.service);
    cr_assert_eq(older.n_done, 0);
    call_init(&newer, REQUEST_PURGE, queue, 1);
    newer.request.number = 1;
    call_submit(&rig, &newer);
    service_round(rig.service);
    cr_assert_eq(older.n_done, 1);
    cr_assert_eq(older.request.status, -ETIMEDOUT);
    for (int i = 0; i < 10; i++)
        service_round(rig.service);
    cr_assert_eq(newer.n_done, 1);
    cr_assert_eq(newer.request.out.purge.n_items, 300);
    cr_assert_eq(older.n_done, 1);
}

/* ---- sessions that go ---- */

Test(session, leases_of_a_silent_mount_come_back_counted)
{
    static struct call get, other;

    rig_put(&rig, queue, 2, 1, "a\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    call_fini(&get);
    rig_advance(&rig, SESSION_LIFE_US - 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    cr_assert_eq(rig_state(&rig, queue).expired, 1);
    rig_restart(&rig, 0);
    call_get(&other, GET_STREAM, queue, 3, 1);
    get_expect(&rig, &other, "a\n");
    cr_assert_eq(other.request.out.get.grants[0].deliveries, 1);
    call_fini(&other);
}

Test(session, mount_that_is_heard_of_keeps_its_leases)
{
    static struct call get, watch;

    rig_put(&rig, queue, 2, 1, "a\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    for (int i = 0; i < 5; i++) {
        rig_advance(&rig, SESSION_LIFE_US - 1);
        watch_start(&watch, 1, 0);
        watch_start(&watch, 1, 0);
    }
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(session, mount_that_was_forgotten_is_told_of_another_life)
{
    static struct call watch, sync;
    uint64_t service;

    watch_start(&watch, 1, 0);
    rig_advance(&rig, 10 * SECOND);
    service = watch.request.out.watch.service;
    rig_advance(&rig, SESSION_LIFE_US);
    watch_start(&watch, 1, 50);
    rig_make(&rig, "other", NULL);
    expect_event(&watch, 0, EVENT_QUEUES);
    cr_assert_neq(watch.request.out.watch.service, service);
    cr_assert_gt(watch.request.out.watch.sequence, 50);
    call_init(&sync, REQUEST_SYNC, 0, 1);
    cr_assert_eq(call_run(&rig, &sync), 0);
    cr_assert_eq(sync.request.out.sync.service, watch.request.out.watch.service);
    call_fini(&sync);
    call_fini(&watch);
}

Test(session, mounts_are_those_that_sync_or_watch)
{
    static struct call sync;

    rig_put(&rig, queue, 9, 1, "a\n"); /* no mount */
    for (uint8_t i = 1; i <= 3; i++) {
        call_init(&sync, REQUEST_SYNC, 0, i);
        cr_assert_eq(call_run(&rig, &sync), 0);
        cr_assert_eq(sync.request.out.sync.n_mounts, i);
        call_fini(&sync);
    }
    rig_advance(&rig, SESSION_LIFE_US);
    call_init(&sync, REQUEST_SYNC, 0, 1);
    cr_assert_eq(call_run(&rig, &sync), 0);
    cr_assert_eq(sync.request.out.sync.n_mounts, 1);
    call_fini(&sync);
}
