/* A store that is full, or fails: what is refused, what waits, and what is never acknowledged. */
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

TestSuite(service_faults, .init = setup, .fini = teardown, .timeout = 20);

static void drain_expect(const char *expected)
{
    struct call get;

    call_get(&get, GET_STREAM, queue, 1, 1000);
    get_expect(&rig, &get, expected);
    rig_settle(&rig, &get, SETTLE_ACK);
}

static int make(const char *name)
{
    struct queue_settings settings = rig_settings();
    struct call call;

    call_init(&call, REQUEST_MAKE, 0, 1);
    call.request.in.make.name = name;
    call.request.in.make.settings = &settings;
    return call_run(&rig, &call);
}

Test(service_faults, full_store_refuses_puts_and_does_the_rest)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    rig.faulty.full = true;
    cr_assert_eq(rig_put(&rig, queue, 1, 3, "c\n"), -ENOSPC);
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    rig.faulty.full = false;
    cr_assert_eq(rig_put(&rig, queue, 1, 3, "c\n"), 0);
    drain_expect("b\nc\n");
}

Test(service_faults, store_that_the_next_start_would_not_find_takes_nothing_and_gives_out)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    rig.faulty.gone = true;
    cr_assert_eq(rig_put(&rig, queue, 1, 1, "a\nb\n"), -EIO); /* a repeat is not there either */
    cr_assert_eq(rig_put(&rig, queue, 1, 3, "c\n"), -EIO);
    cr_assert_eq(make("other"), -EIO);
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    rig.faulty.gone = false;
    cr_assert_eq(rig_put(&rig, queue, 1, 3, "c\n"), 0);
    cr_assert_eq(make("other"), 0);
    drain_expect("b\nc\n");
}

Test(service_faults, put_that_finds_no_space_leaves_no_trace_and_the_rest_is_committed)
{
    struct settlement s;
    struct call get, put, settle;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    s = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);
    rig.faulty.put_error = -ENOSPC;
    call_put(&put, queue, 1, 3, "c\n");
    call_submit(&rig, &put);
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = &s;
    settle.request.in.settle.n_items = 1;
    cr_assert_eq(call_run(&rig, &settle), 0);
    cr_assert_eq(put.n_done, 1);
    cr_assert_eq(put.request.status, -ENOSPC);
    rig.faulty.put_error = 0;
    rig_restart(&rig, 0);
    cr_assert_eq(rig_put(&rig, queue, 1, 3, "c\n"), 0);
    drain_expect("b\nc\n");
}

Test(service_faults, settlements_wait_while_the_store_has_no_space_at_all)
{
    struct settlement s;
    struct call get, settle;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    s = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);
    rig.faulty.commit_error = -ENOSPC;
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = &s;
    settle.request.in.settle.n_items = 1;
    call_submit(&rig, &settle);
    service_round(rig.service);
    cr_assert_eq(settle.n_done, 0);
    cr_assert_eq(service_deadline(rig.service), rig.now_us + SERVICE_RETRY_US);
    stream_expect(&rig, &get, queue, 1, "b\n"); /* gets go on */
    call_fini(&get);
    rig.faulty.commit_error = 0;
    rig_advance(&rig, SERVICE_RETRY_US);
    cr_assert_eq(settle.n_done, 1);
    cr_assert_eq(settle.request.status, 0);
    cr_assert_eq(rig.fatal, 0);
    rig_restart(&rig, 0);
    drain_expect("b\n");
}

Test(service_faults, other_failure_of_a_commit_ends_every_acknowledgement)
{
    struct call put, watch, held;

    call_init(&watch, REQUEST_WATCH, 0, 1);
    watch.request.in.watch.wait_us = SECOND;
    call_submit(&rig, &watch);
    call_put(&held, queue, 1, 9, "x\n");
    call_submit(&rig, &held);
    service_round(rig.service);
    rig.faulty.commit_error = -EIO;
    call_put(&put, queue, 1, 1, "a\n");
    cr_assert_eq(call_run(&rig, &put), -EIO);
    cr_assert_eq(rig.fatal, -EIO);
    cr_assert(watch.n_done == 1 && watch.request.status == -EIO);
    cr_assert(held.n_done == 1 && held.request.status == -EIO);
    rig.faulty.commit_error = 0;
    cr_assert_eq(rig_put(&rig, queue, 1, 1, "a\n"), -EIO);
    rig_restart(&rig, 0);
    cr_assert_eq(rig_put(&rig, queue, 1, 1, "a\n"), 0);
    drain_expect("a\n");
}

Test(service_faults, make_and_set_that_find_no_space_change_nothing)
{
    struct queue_settings settings = rig_settings();
    struct call call;

    rig.faulty.commit_error = -ENOSPC;
    cr_assert_eq(make("r"), -ENOSPC);
    cr_assert_null(service_find_name(rig.service, "r"));
    settings.maxsize = 9;
    call_init(&call, REQUEST_SET, queue, 1);
    call.request.in.set.settings = &settings;
    call.request.in.set.fields = SETTINGS_OWN;
    cr_assert_eq(call_run(&rig, &call), -ENOSPC);
    cr_assert_eq(service_find(rig.service, queue)->record.settings.maxsize, 0);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), -ENOSPC);
    rig.faulty.commit_error = 0;
    cr_assert_eq(make("r"), 0);
}

/* What was answered is stored; but a store that cannot go on is not kept for who only reads. */
Test(service_faults, store_that_fails_behind_an_answer_ends_it)
{
    struct call get;

    rig.faulty.catch_up_error = -EIO;
    cr_assert_eq(rig_put(&rig, queue, 1, 1, "a\n"), 0);
    cr_assert_eq(rig.fatal, -EIO);
    call_get(&get, GET_STREAM, queue, 1, 1);
    cr_assert_eq(call_run(&rig, &get), -EIO);
    call_fini(&get);
    rig.faulty.catch_up_error = 0;
    rig_restart(&rig, 0);
    drain_expect("a\n");
}
