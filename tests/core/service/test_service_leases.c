/* What becomes of an item that is lent when the service dies, its disk fails or is full, and when
 * the mount that has it goes away. */
#define RIG_SEGMENT_BYTES ((uint64_t)64 << 10)
#include "tests/core/service/service_rig.h"

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

static void set_lease(int64_t lease_us)
{
    struct queue_settings settings = rig_settings();
    struct call call;

    settings.lease_us = lease_us;
    call_init(&call, REQUEST_SET, queue, 1);
    call.request.in.set.settings = &settings;
    call.request.in.set.fields = SETTINGS_OWN;
    cr_assert_eq(call_run(&rig, &call), 0);
    call_fini(&call);
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

/* Not an empty answer: that would say that the queue is empty. */
Test(service_leases, repeated_claim_whose_lease_has_ended_is_another_one)
{
    static struct call get, again;

    set_lease(SECOND);
    call_get(&get, GET_CLAIM, queue, 1, 1);
    get.request.number = 5;
    again = get;
    again.request.owner = &again;
    get_expect(&rig, &get, "a\n");
    rig_advance(&rig, SECOND);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    get_expect(&rig, &again, "a\n");
    cr_assert_neq(again.request.out.get.grants[0].token, get.request.out.get.grants[0].token);
    cr_assert_eq(again.request.out.get.grants[0].deliveries, 1);
    cr_assert_eq(again.request.out.get.grants[0].lease_us, SECOND);
    call_fini(&get);
    rig_restart(&rig, 0);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    call_fini(&again);
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

/* The mount goes by what it was told. */
Test(service_leases, claim_is_as_long_after_a_kill_though_leases_are_shorter_now)
{
    lend(GET_CLAIM);
    set_lease(SECOND);
    rig_restart(&rig, 0);
    rig_advance(&rig, MINUTE - 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, 1);
    cr_assert_eq(rig_state(&rig, queue).expired, 1);
}

Test(service_leases, renewal_by_new_settings_is_kept_over_a_kill)
{
    struct settlement renewal = lend(GET_CLAIM);

    renewal.verb = SETTLE_RENEW;
    set_lease(2 * MINUTE);
    cr_assert_eq(rig_settle_one(&rig, queue, renewal), 0);
    set_lease(SECOND);
    rig_restart(&rig, 0);
    rig_advance(&rig, 2 * MINUTE - 1);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    rig_advance(&rig, 1);
    cr_assert_eq(rig_state(&rig, queue).expired, 1);
}

static struct call sent_meanwhile;

/* The service has read the clock, stands still for most of a lease, and meanwhile a claim comes. */
static int64_t slow_mono(const struct clock *clock)
{
    int64_t now_us = rig.now_us;

    (void)clock;
    rig.clock.mono_us = rig_mono;
    rig.now_us += MINUTE - SECOND;
    sent_meanwhile.request.sent_us = rig.now_us;
    call_submit(&rig, &sent_meanwhile);
    return now_us;
}

Test(service_leases, lease_does_not_begin_before_it_was_asked_for)
{
    int64_t until_us;

    call_get(&sent_meanwhile, GET_CLAIM, queue, 1, 1);
    rig.clock.mono_us = slow_mono;
    service_round(rig.service);
    service_round(rig.service);
    cr_assert_eq(sent_meanwhile.n_done, 1);
    cr_assert_eq(sent_meanwhile.request.out.get.n_grants, 1);
    until_us = sent_meanwhile.request.sent_us + sent_meanwhile.request.out.get.grants[0].lease_us;
    rig_advance(&rig, until_us - 1 - rig.now_us);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    call_fini(&sent_meanwhile);
}

Test(service_leases, what_is_held_of_a_batch_that_cannot_be_read_any_more_is_late)
{
    struct settlement both, drop = {.verb = SETTLE_DROP, .batch = 1, .to = 1};
    struct call get;

    call_get(&get, GET_CLAIM, queue, 1, 2);
    get_expect(&rig, &get, "a\nb\n");
    both = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);
    rig.faulty.damaged = 1;
    rig_restart(&rig, 0);
    both.to = 1; /* which means to look where it ends */
    cr_assert_eq(rig_settle_one(&rig, queue, both), 1);
    rig_advance(&rig, MINUTE);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    cr_assert_eq(rig_settle_one(&rig, queue, drop), -EIO);
    others_get("", 0);
}

#define MANY     1000
#define LINE_LEN 60

/* Line `n` of a large batch. */
static void line_of(unsigned n, char line[LINE_LEN + 1])
{
    snprintf(line, LINE_LEN + 1, "%-*u\n", LINE_LEN - 1, n);
}

static void put_and_take(uint64_t other, unsigned n)
{
    static char text[4001];
    struct call get;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 2] = '\n';
    cr_assert_eq(rig_put(&rig, other, 3, n, text), 0);
    stream_expect(&rig, &get, other, 1, text);
    rig_settle(&rig, &get, SETTLE_ACK);
}

static void claim_one(uint64_t from, unsigned n)
{
    char line[LINE_LEN + 1];
    struct call get;

    line_of(n, line);
    call_get(&get, GET_CLAIM, from, 1, 1);
    get_expect(&rig, &get, line);
    rig_settle(&rig, &get, SETTLE_ACK);
}

/* The store lets go of the bytes that are done while others of the batch are still asked for. */
Test(service_leases, what_is_left_of_a_batch_is_right_when_the_store_has_shrunk_it)
{
    static char text[MANY * LINE_LEN + 1];
    uint64_t large = rig_make(&rig, "large", NULL), other = rig_make(&rig, "other", NULL);
    struct call get;

    for (unsigned i = 0; i < MANY; i++)
        line_of(i, text + (size_t)i * LINE_LEN);
    cr_assert_eq(rig_put(&rig, large, 2, 1, text), 0);
    call_get(&get, GET_CLAIM, large, 1, MANY - 200);
    cr_assert_eq(call_run(&rig, &get), 0);
    rig_settle(&rig, &get, SETTLE_ACK);
    claim_one(large, MANY - 200);
    for (unsigned n = 1; n <= 100; n++)
        put_and_take(other, n);
    for (unsigned n = MANY - 199; n < MANY - 100; n++)
        claim_one(large, n);
    rig_restart(&rig, 0);
    for (unsigned n = MANY - 100; n < MANY; n++)
        claim_one(large, n);
    cr_assert_eq(rig_state(&rig, large).depth, 0);
}
