/* Single items of a queue, by id: claimed, dropped, revived, forgotten; and what the log says. */
#include "tests/core/service/service_rig.h"

#include "core/clock.h"
#include "core/log.h"

static struct rig rig;
static uint64_t queue;

static unsigned n_logged;
static char logged[8][256];

static void sink(enum log_level level, const char *message)
{
    if (level != LOG_LEVEL_WARNING)
        return;
    snprintf(logged[n_logged % 8], sizeof(logged[0]), "%s", message);
    n_logged++;
}

static void setup(void)
{
    log_set_sink("test", sink);
    rig_init(&rig);
    queue = rig_make(&rig, "q", NULL);
}

/* Batches 1 to 3, of three items each. */
static void setup_three(void)
{
    setup();
    rig_put(&rig, queue, 1, 1, "a\nb\nc\n");
    rig_put(&rig, queue, 1, 4, "d\ne\nf\n");
    rig_put(&rig, queue, 1, 7, "g\nh\ni\n");
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(queue_items, .init = setup_three, .fini = teardown, .timeout = 20);

static void call_claim(struct call *get, uint64_t id)
{
    call_get(get, GET_CLAIM, queue, 1, 1);
    get->request.in.get.item = id;
}

static void claim_expect(struct call *get, uint64_t id, const char *expected)
{
    call_claim(get, id);
    get_expect(&rig, get, expected);
    cr_assert_eq(get->request.out.get.n_grants, *expected != '\0');
}

/* Claims it and does nothing with it. */
static struct grant claim(uint64_t id, const char *expected)
{
    struct grant grant;
    struct call get;

    claim_expect(&get, id, expected);
    grant = get.request.out.get.grants[0];
    call_fini(&get);
    cr_assert_eq(item_id(grant.batch, grant.from), id);
    cr_assert_eq(grant.to, grant.from + 1);
    return grant;
}

static void no_claim(uint64_t id)
{
    struct call get;

    claim_expect(&get, id, "");
}

static void settle_expect(enum settle_verb verb, uint64_t id, uint32_t n, int64_t n_late)
{
    uint32_t from = item_index(id);
    struct settlement s = {verb, item_batch(id), from, from + n, 0};

    cr_assert_eq(rig_settle_one(&rig, queue, s), n_late);
}

static void change_settings(void (*change)(struct queue_settings *settings))
{
    struct queue_settings settings = rig_settings();

    change(&settings);
    cr_assert_eq(
        service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN),
        0);
}

static void drain_expect(const char *expected)
{
    struct call get;
    char all[64] = "";

    call_get(&get, GET_STREAM, queue, 1, 100);
    cr_assert_eq(call_run(&rig, &get), 0);
    memcpy(all, get.request.out.get.data ? get.request.out.get.data : (const uint8_t *)"",
           get.request.out.get.len);
    cr_assert_str_eq(all, expected);
    rig_settle(&rig, &get, SETTLE_RETURN);
}

/* ---- claims of one item ---- */

Test(queue_items, claim_takes_one_from_the_midst_of_what_nobody_has_tracked)
{
    struct grant grant = claim(item_id(2, 1), "e\n");

    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    cr_assert_eq(rig_state(&rig, queue).depth, 8);
    drain_expect("a\nb\nc\nd\nf\ng\nh\ni\n");
    cr_assert_eq(rig_settle_one(&rig, queue, settlement_of(SETTLE_RETURN, &grant)), 0);
    drain_expect("a\nb\nc\nd\ne\nf\ng\nh\ni\n");
}

Test(queue_items, claim_takes_the_first_and_the_last)
{
    claim(item_id(1, 0), "a\n");
    claim(item_id(3, 2), "i\n");
    drain_expect("b\nc\nd\ne\nf\ng\nh\n");
}

Test(queue_items, claim_of_an_item_counts_and_survives_a_restart)
{
    struct grant grant = claim(item_id(2, 1), "e\n");

    cr_assert_eq(grant.deliveries, 0);
    cr_assert_eq(grant.lease_us, 30 * SECOND);
    rig_restart(&rig, 5 * SECOND);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    no_claim(item_id(2, 1));
    rig_advance(&rig, 30 * SECOND);
    cr_assert_eq(rig_settle_one(&rig, queue, settlement_of(SETTLE_ACK, &grant)), 1);
    cr_assert_eq(claim(item_id(2, 1), "e\n").deliveries, 1);
}

Test(queue_items, claim_that_is_repeated_brings_the_same)
{
    struct call get;
    uint64_t token;

    for (int i = 0; i < 2; i++) {
        call_claim(&get, item_id(2, 0));
        get.request.number = 7;
        get_expect(&rig, &get, "d\n");
        if (i == 0)
            token = get.request.out.get.grants[0].token;
        cr_assert_eq(get.request.out.get.grants[0].token, token);
        call_fini(&get);
    }
    cr_assert_eq(rig_state(&rig, queue).total_gets, 1);
}

Test(queue_items, claim_of_what_is_not_there_is_empty_and_waits_for_nothing)
{
    struct settlement buried = {SETTLE_BURY, 0, 0, 0, 0};
    struct grant grant = claim(item_id(1, 1), "b\n");
    struct call get;

    no_claim(item_id(1, 1)); /* leased */
    no_claim(item_id(1, 3));
    no_claim(item_id(4, 0));
    no_claim(item_id(BATCH_NUMBER_MAX, BATCH_ITEMS_MAX - 1));
    buried = settlement_of(SETTLE_BURY, &grant);
    cr_assert_eq(rig_settle_one(&rig, queue, buried), 0);
    no_claim(item_id(1, 1)); /* dead */
    grant = claim(item_id(1, 0), "a\n");
    cr_assert_eq(rig_settle_one(&rig, queue, settlement_of(SETTLE_ACK, &grant)), 0);
    no_claim(item_id(1, 0)); /* done */

    call_claim(&get, item_id(1, 0));
    get.request.in.get.arm = true;
    get_expect(&rig, &get, "");
    cr_assert(TAILQ_EMPTY(&service_find(rig.service, queue)->line));
    cr_assert_eq(rig_state(&rig, queue).depth, 7);
}

Test(queue_items, claim_of_an_item_that_a_batch_no_more_has_is_empty)
{
    struct call get;

    stream_expect(&rig, &get, queue, 3, "a\nb\nc\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    no_claim(item_id(1, 1));
    rig_restart(&rig, 0);
    no_claim(item_id(1, 1));
    claim(item_id(2, 0), "d\n");
}

static void delay_at_once(struct queue_settings *settings)
{
    settings->retry_delay_us = 100 * SECOND;
}

Test(queue_items, claim_takes_what_is_delayed)
{
    struct grant grant;

    change_settings(delay_at_once);
    for (int i = 0; i < 2; i++) {
        grant = claim(item_id(2, 1), "e\n");
        cr_assert_eq(rig_settle_one(&rig, queue, settlement_of(SETTLE_NACK, &grant)), 0);
    }
    cr_assert_eq(rig_state(&rig, queue).delayed, 1);
    grant = claim(item_id(2, 1), "e\n");
    cr_assert_eq(grant.deliveries, 2);
    cr_assert_eq(rig_state(&rig, queue).delayed, 0);
    rig_advance(&rig, 29 * SECOND);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
}

Test(queue_items, claim_from_a_batch_that_cannot_be_read_is_eio)
{
    struct call get;

    rig.faulty.damaged = 2;
    call_claim(&get, item_id(2, 0));
    cr_assert_eq(call_run(&rig, &get), -EIO);
    claim(item_id(3, 0), "g\n");
    rig.faulty.damaged = 0;
    rig.faulty.read_error = -EIO;
    call_claim(&get, item_id(2, 0));
    cr_assert_eq(call_run(&rig, &get), -EIO);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
}

Test(queue_items, nonsense_is_refused)
{
    struct settlement s = {SETTLE_DROP, 1, 0, 1, 1};
    struct call get;

    call_get(&get, GET_STREAM, queue, 1, 1);
    get.request.in.get.item = item_id(1, 0);
    cr_assert_eq(call_run(&rig, &get), -EPROTO);
    call_claim(&get, 5);
    cr_assert_eq(call_run(&rig, &get), -EPROTO);
    for (s.verb = SETTLE_DROP; s.verb <= SETTLE_FORGET; s.verb++)
        cr_assert_eq(rig_settle_one(&rig, queue, s), -EPROTO);
    s = (struct settlement){SETTLE_FORGET + 1, 1, 0, 1, 0};
    cr_assert_eq(rig_settle_one(&rig, queue, s), -EPROTO);
    cr_assert_eq(rig_state(&rig, queue).depth, 9);
}

/* ---- drop, revive, forget ---- */

Test(queue_items, drop_removes_from_the_midst_of_what_nobody_has_tracked)
{
    settle_expect(SETTLE_DROP, item_id(2, 1), 1, 0);
    cr_assert_eq(rig_state(&rig, queue).depth, 8);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 8);
    settle_expect(SETTLE_DROP, item_id(2, 1), 1, 1);
    rig_restart(&rig, 0);
    settle_expect(SETTLE_DROP, item_id(3, 0), 3, 0);
    drain_expect("a\nb\nc\nd\nf\n");
    rig_restart(&rig, 0);
    drain_expect("a\nb\nc\nd\nf\n");
}

Test(queue_items, drop_takes_what_is_ready_or_delayed_and_leaves_the_rest)
{
    struct grant grant;

    change_settings(delay_at_once);
    for (int i = 0; i < 2; i++) {
        grant = claim(item_id(1, 0), "a\n");
        cr_assert_eq(rig_settle_one(&rig, queue, settlement_of(SETTLE_NACK, &grant)), 0);
    }
    claim(item_id(1, 1), "b\n");
    settle_expect(SETTLE_DROP, item_id(1, 0), 3, 1);
    cr_assert_eq(rig_state(&rig, queue).delayed, 0);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    settle_expect(SETTLE_DROP, item_id(2, 0), 4, 4); /* beyond its end: all of it */
    settle_expect(SETTLE_DROP, item_id(9, 0), 2, 2);
    drain_expect("d\ne\nf\ng\nh\ni\n");
}

Test(queue_items, drop_is_committed_before_it_is_answered)
{
    struct settlement s = {SETTLE_DROP, 2, 0, 1, 0};
    struct call settle;

    rig.faulty.commit_error = -ENOSPC;
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = &s;
    settle.request.in.settle.n_items = 1;
    call_submit(&rig, &settle);
    service_round(rig.service);
    cr_assert_eq(settle.n_done, 0);
    rig.faulty.commit_error = 0;
    rig_advance(&rig, SERVICE_RETRY_US);
    cr_assert_eq(settle.n_done, 1);
    cr_assert_eq(settle.request.status, 0);
}

Test(queue_items, settlement_that_is_repeated_is_done_once)
{
    struct settlement s = {SETTLE_DROP, 2, 0, 2, 0};
    struct call settle;

    for (int i = 0; i < 2; i++) {
        call_init(&settle, REQUEST_SETTLE, queue, 1);
        settle.request.number = 9;
        settle.request.in.settle.items = &s;
        settle.request.in.settle.n_items = 1;
        cr_assert_eq(call_run(&rig, &settle), 0);
        cr_assert_eq(settle.request.out.settle.n_late, 0);
    }
    cr_assert_eq(rig_state(&rig, queue).depth, 7);
}

static void small(struct queue_settings *settings)
{
    settings->maxsize = 9;
}

Test(queue_items, drop_makes_room)
{
    struct call arm;

    change_settings(small);
    call_init(&arm, REQUEST_ARM, queue, 1);
    arm.request.in.arm.kinds = EVENT_ROOM;
    cr_assert_eq(call_run(&rig, &arm), 0);
    cr_assert_eq(arm.request.out.arm.kinds, 0);
    settle_expect(SETTLE_DROP, item_id(3, 2), 1, 0);
    cr_assert(LIST_EMPTY(&service_find(rig.service, queue)->armed));
}

static void bury(uint64_t id, const char *text)
{
    struct grant grant = claim(id, text);

    cr_assert_eq(rig_settle_one(&rig, queue, settlement_of(SETTLE_BURY, &grant)), 0);
}

Test(queue_items, revive_makes_the_dead_ready_as_if_never_delivered)
{
    bury(item_id(2, 0), "d\n");
    bury(item_id(2, 2), "f\n");
    cr_assert_eq(rig_state(&rig, queue).dead, 2);
    drain_expect("a\nb\nc\ne\ng\nh\ni\n");
    rig_restart(&rig, 0);
    settle_expect(SETTLE_REVIVE, item_id(2, 0), 2, 1);
    cr_assert_eq(rig_state(&rig, queue).dead, 1);
    rig_restart(&rig, 0);
    drain_expect("a\nb\nc\nd\ne\ng\nh\ni\n");
    cr_assert_eq(claim(item_id(2, 0), "d\n").deliveries, 0);
}

Test(queue_items, forget_removes_the_dead_and_nothing_else)
{
    bury(item_id(2, 0), "d\n");
    settle_expect(SETTLE_FORGET, item_id(2, 0), 3, 2);
    settle_expect(SETTLE_FORGET, item_id(3, 0), 1, 1);
    settle_expect(SETTLE_REVIVE, item_id(2, 0), 1, 1);
    cr_assert_eq(rig_state(&rig, queue).dead, 0);
    rig_restart(&rig, 0);
    cr_assert_eq(rig_state(&rig, queue).dead, 0);
    drain_expect("a\nb\nc\ne\nf\ng\nh\ni\n");
}

Test(queue_items, queue_without_its_last_dead_item_can_be_removed)
{
    struct call call;

    settle_expect(SETTLE_DROP, item_id(2, 0), 3, 0);
    settle_expect(SETTLE_DROP, item_id(3, 0), 3, 0);
    settle_expect(SETTLE_DROP, item_id(1, 1), 2, 0);
    bury(item_id(1, 0), "a\n");
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), -ENOTEMPTY);
    settle_expect(SETTLE_FORGET, item_id(1, 0), 1, 0);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
}

/* ---- the log ---- */

static void die_at_once(struct queue_settings *settings)
{
    settings->max_deliveries = 2;
    settings->lease_us = SECOND;
}

Test(queue_items, log_names_an_item_that_has_failed_for_good)
{
    struct grant grant;

    change_settings(die_at_once);
    grant = claim(item_id(2, 1), "e\n");
    cr_assert_eq(rig_settle_one(&rig, queue, settlement_of(SETTLE_NACK, &grant)), 0);
    cr_assert_eq(n_logged, 0);
    claim(item_id(2, 1), "e\n");
    rig_advance(&rig, SECOND);
    cr_assert_eq(n_logged, 1);
    cr_assert_str_eq(logged[0], "queue q: item 0000000002000001 went to dead/: failed 2 times");
    rig_advance(&rig, 100 * SECOND);
    rig_restart(&rig, 0);
    cr_assert_eq(n_logged, 1);
}

Test(queue_items, log_names_an_item_that_was_buried)
{
    bury(item_id(1, 0), "a\n");
    cr_assert_eq(n_logged, 1);
    cr_assert_str_eq(logged[0],
                     "queue q: item 0000000001000000 went to dead/: buried, delivered 1 time");
}

Test(queue_items, log_has_one_line_for_neighbours_that_die_together)
{
    struct settlement all[9];
    struct call get, settle;

    for (uint32_t i = 0; i < 9; i++) {
        struct grant grant;

        call_get(&get, GET_CLAIM, queue, 1, 1);
        cr_assert_eq(call_run(&rig, &get), 0);
        grant = get.request.out.get.grants[0];
        all[i] = settlement_of(i == 4 ? SETTLE_ACK : SETTLE_BURY, &grant);
        call_fini(&get);
    }
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = all;
    settle.request.in.settle.n_items = 9;
    cr_assert_eq(call_run(&rig, &settle), 0);
    cr_assert_eq(n_logged, 4);
    cr_assert_str_eq(logged[0], "queue q: 3 items from 0000000001000000 on went to dead/: buried, "
                                "delivered 1 time");
    cr_assert_str_eq(logged[1],
                     "queue q: item 0000000002000000 went to dead/: buried, delivered 1 time");
    cr_assert_eq(rig_state(&rig, queue).dead, 8);
}

Test(queue_items, log_says_nothing_before_it_is_committed)
{
    struct grant grant = claim(item_id(1, 0), "a\n");
    struct settlement s = settlement_of(SETTLE_BURY, &grant);
    struct call settle;

    rig.faulty.commit_error = -ENOSPC;
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = &s;
    settle.request.in.settle.n_items = 1;
    call_submit(&rig, &settle);
    service_round(rig.service);
    cr_assert_eq(n_logged, 0);
    rig.faulty.commit_error = 0;
    rig_advance(&rig, SERVICE_RETRY_US);
    cr_assert_eq(settle.n_done, 1);
    cr_assert_eq(n_logged, 1);
}

/* ---- very many claims of one batch ---- */

#define MANY 20000

TestSuite(many_claims, .init = setup, .fini = teardown, .timeout = 60);

static struct settlement claims[MANY];

static void claim_many(void)
{
    static char text[2 * MANY + 1];
    static struct call gets[100];

    for (int i = 0; i < MANY; i++)
        memcpy(text + 2 * i, "x\n", 2);
    rig_put(&rig, queue, 1, 1, text);
    for (int i = 0; i < MANY; i += 100) {
        for (int k = 0; k < 100; k++) {
            call_get(&gets[k], GET_CLAIM, queue, 1, 1);
            call_submit(&rig, &gets[k]);
        }
        rig_advance(&rig, 100);
        for (int k = 0; k < 100; k++) {
            cr_assert_eq(gets[k].request.out.get.n_grants, 1);
            claims[i + k] = settlement_of(SETTLE_ACK, gets[k].request.out.get.grants);
            call_fini(&gets[k]);
        }
    }
}

static void settle_many(enum settle_verb verb, size_t from, size_t n)
{
    struct call settle;

    for (size_t i = from; i < from + n; i++)
        claims[i].verb = verb;
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = claims + from;
    settle.request.in.settle.n_items = n;
    cr_assert_eq(call_run(&rig, &settle), 0);
    cr_assert_eq(settle.request.out.settle.n_late, 0);
}

Test(many_claims, of_one_batch_are_renewed_and_acknowledged)
{
    claim_many();
    rig_advance(&rig, 20 * SECOND);
    settle_many(SETTLE_RENEW, 0, MANY);
    rig_advance(&rig, 20 * SECOND);
    cr_assert_eq(rig_state(&rig, queue).leased, MANY);
    for (size_t i = 0; i < MANY / 2; i += 100)
        settle_many(SETTLE_ACK, i, 100);
    rig_restart(&rig, 0);
    cr_assert_eq(rig_state(&rig, queue).leased, MANY / 2);
    settle_many(SETTLE_ACK, MANY / 2, MANY / 2);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 0);
    cr_assert_null(tracked_find(service_find(rig.service, queue), 1));
}

Test(many_claims, of_one_batch_expire_soon_after_their_time)
{
    int rounds = 0;

    claim_many();
    while (rig_state(&rig, queue).leased > 0) {
        int64_t due_us = service_deadline(rig.service);

        rig_advance(&rig, due_us > rig.now_us ? due_us - rig.now_us : 0);
        rounds++;
        cr_assert_lt(rounds, 10); /* and not one for each */
    }
    cr_assert_leq(rig.now_us, 1000 * SECOND + MANY + 30 * SECOND + MANY);
    cr_assert_eq(rig_state(&rig, queue).expired, MANY);
    cr_assert_eq(rig_state(&rig, queue).depth, MANY);
}
