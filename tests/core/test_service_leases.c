/* What becomes of an item that is lent when the service dies, its disk fails or is full, and when
 * the mount that has it goes away. */
#include "service_rig.h"

#define MINUTE (60 * SECOND)

static struct rig rig;
static uint64_t queue;

static void setup(void)
{
    struct queue_settings settings = rig_settings();

    rig_init(&rig);
    settings.lease_us = MINUTE;
    queue = rig_make(&rig, "q", &settings);
    rig_put(&rig, queue, 2, 1, "a\nb\n");
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(service_leases, .init = setup, .fini = teardown, .timeout = 20);

/* Lend the first item, which must be a. Released; the grant lives in the settlement. */
static struct settlement lend(enum get_kind kind)
{
    struct settlement ack;
    struct call get;

    call_get(&get, kind, queue, 1, 1);
    get_expect(&rig, &get, "a\n");
    ack = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);
    return ack;
}

/* Session 3 gets `expected`, which was delivered so often before. */
static void others_get(const char *expected, uint32_t deliveries)
{
    struct call get;

    call_get(&get, GET_STREAM, queue, 3, 10);
    get_expect(&rig, &get, expected);
    if (*expected)
        cr_assert_eq(get.request.out.get.grants[0].deliveries, deliveries);
    call_fini(&get);
}

Test(service_leases, what_was_read_is_there_again_after_a_kill)
{
    struct settlement ack = lend(GET_STREAM);

    rig_restart(&rig, 0);
    cr_assert_eq(rig_state(&rig, queue).depth, 2);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    cr_assert_eq(rig_settle_one(&rig, queue, ack), 1);
    others_get("a\nb\n", 0);
}

Test(service_leases, what_was_claimed_is_nobody_elses_after_a_kill)
{
    struct settlement ack = lend(GET_CLAIM);

    rig_restart(&rig, 0);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    others_get("b\n", 0);
    cr_assert_eq(rig_settle_one(&rig, queue, ack), 0);
    rig_restart(&rig, 0);
    others_get("b\n", 0);
}

Test(service_leases, claim_that_could_not_be_stored_was_not_given)
{
    struct call get;

    rig.faulty.commit_error = -EIO;
    call_get(&get, GET_CLAIM, queue, 1, 1);
    cr_assert_eq(call_run(&rig, &get), -EIO);
    cr_assert_eq(get.request.out.get.n_grants, 0);
    call_fini(&get);
    rig.faulty.commit_error = 0;
    rig_restart(&rig, 0);
    others_get("a\nb\n", 0);
}

Test(service_leases, claim_waits_while_there_is_no_space_at_all)
{
    struct call get;

    rig.faulty.commit_error = -ENOSPC;
    call_get(&get, GET_CLAIM, queue, 1, 1);
    call_submit(&rig, &get);
    service_round(rig.service);
    cr_assert_eq(get.n_done, 0);
    rig.faulty.commit_error = 0;
    rig_advance(&rig, SERVICE_RETRY_US);
    cr_assert_eq(get.n_done, 1);
    cr_assert_eq(get.request.status, 0);
    rig_settle(&rig, &get, SETTLE_ACK);
    others_get("b\n", 0);
}

Test(service_leases, full_store_goes_on_lending)
{
    struct settlement ack;

    rig.faulty.full = true;
    ack = lend(GET_CLAIM);
    cr_assert_eq(rig_settle_one(&rig, queue, ack), 0);
    rig_restart(&rig, 0);
    others_get("b\n", 0);
}

Test(service_leases, repeated_claim_brings_the_same_item)
{
    static struct call get, again;

    call_get(&get, GET_CLAIM, queue, 1, 1);
    get.request.number = 5;
    again = get;
    again.request.owner = &again;
    get_expect(&rig, &get, "a\n");
    get_expect(&rig, &again, "a\n");
    cr_assert_eq(again.request.out.get.grants[0].token, get.request.out.get.grants[0].token);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    call_fini(&again);
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(service_leases, claim_of_a_silent_mount_runs_to_its_end_and_comes_back_counted)
{
    struct settlement ack = lend(GET_CLAIM);

    rig_advance(&rig, SESSION_LIFE_US);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, MINUTE - SESSION_LIFE_US - 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, 1);
    cr_assert_eq(rig_state(&rig, queue).expired, 1);
    cr_assert_eq(rig_settle_one(&rig, queue, ack), 1);
    others_get("a\nb\n", 1);
}
