/* What one session may have of the service, and that others are served meanwhile. */
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

TestSuite(limits, .init = setup, .fini = teardown, .timeout = 60);

static void number_session(struct call *call, uint32_t n)
{
    memcpy(call->request.session.bytes + 4, &n, sizeof(n));
}

/* Of a session that holds nothing after it. */
static int look_in(uint32_t session)
{
    static struct call call;
    int rc;

    call_init(&call, REQUEST_SYNC, 0, 200);
    number_session(&call, session);
    rig.now_us++;
    rc = call_run(&rig, &call);
    call_fini(&call);
    return rc;
}

Test(limits, sessions_that_hold_nothing_make_place)
{
    for (uint32_t n = 0; n < 2 * SESSIONS_MAX; n++)
        cr_assert_eq(look_in(n), 0);
    cr_assert_leq(rig.service->sessions.n, SESSIONS_MAX);
}

Test(limits, sessions_that_hold_something_keep_theirs)
{
    static struct call watch;

    call_init(&watch, REQUEST_WATCH, 0, 201);
    watch.request.in.watch.wait_us = 60 * SECOND;
    call_submit(&rig, &watch);
    for (uint32_t n = 0; n < SESSIONS_MAX + 100; n++)
        cr_assert_eq(look_in(n), 0);
    cr_assert_eq(watch.n_done, 0);
    cr_assert_not_null(sessions_find(&rig.service->sessions, &watch.request.session));
}

Test(limits, kept_answers_of_one_leave_room_for_others)
{
    struct sessions *all = &rig.service->sessions;
    static struct call call, other;
    struct settlement late = {SETTLE_ACK, 9, 0, 1, 9};

    for (uint64_t n = 1; n <= 60000; n++) {
        call_init(&call, REQUEST_SETTLE, queue, 1);
        call.request.number = n;
        call.request.in.settle.items = &late;
        call.request.in.settle.n_items = 1;
        all->kept_bytes += SESSION_KEPT_MAX - (1 << 20); /* as if others kept so much */
        cr_assert_eq(call_run(&rig, &call), 0);
        all->kept_bytes -= SESSION_KEPT_MAX - (1 << 20);
        cr_assert_leq(all->kept_bytes, (size_t)1 << 20);
    }
    call_init(&other, REQUEST_SETTLE, queue, 2);
    other.request.number = 1;
    other.request.in.settle.items = &late;
    other.request.in.settle.n_items = 1;
    cr_assert_eq(call_run(&rig, &other), 0);
}

static bool no_room(struct request *request, size_t size)
{
    return false;
}

Test(limits, no_answer_is_made_where_there_is_no_room_for_it)
{
    static struct call sync;

    call_init(&sync, REQUEST_SYNC, 0, 1);
    sync.request.reply_room = no_room;
    cr_assert_eq(call_run(&rig, &sync), -ETIMEDOUT);
    cr_assert_null(sync.request.reply_memory);
}

/* A round has time for one long thing of each kind. */
static void be_slow(void)
{
    rig.step_us = SERVICE_SLICE_US;
}

Test(limits, sessions_take_turns_at_looking)
{
    static struct call greedy[20], modest;

    for (int i = 0; i < 20; i++) {
        call_init(&greedy[i], REQUEST_SYNC, 0, 1);
        call_submit(&rig, &greedy[i]);
    }
    call_init(&modest, REQUEST_SYNC, 0, 2);
    call_submit(&rig, &modest);
    be_slow();
    service_round(rig.service);
    service_round(rig.service);
    cr_assert_eq(modest.n_done, 1);
    cr_assert_eq(greedy[19].n_done, 0);
    cr_assert_leq(service_deadline(rig.service), rig.now_us);
    for (int i = 0; i < 20; i++)
        service_round(rig.service);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(greedy[i].n_done, 1);
        call_fini(&greedy[i]);
    }
    call_fini(&modest);
}

Test(limits, many_settlements_go_on_in_later_rounds_and_others_are_served)
{
    static struct call get, settle, put;
    struct settlement acks[10];

    rig_put(&rig, queue, 2, 1, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    stream_expect(&rig, &get, queue, 10, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    for (uint32_t i = 0; i < 10; i++) {
        acks[i] = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
        acks[i].from = 9 - i;
        acks[i].to = 10 - i;
    }
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.number = 1;
    settle.request.in.settle.items = acks;
    settle.request.in.settle.n_items = 10;
    be_slow();
    call_submit(&rig, &settle);
    service_round(rig.service);
    cr_assert_eq(settle.n_done, 0);
    call_put(&put, queue, 3, 1, "other\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    for (int i = 0; i < 20 && !settle.n_done; i++)
        service_round(rig.service);
    cr_assert_eq(settle.n_done, 1);
    cr_assert_eq(settle.request.status, 0);
    cr_assert_eq(settle.request.out.settle.n_late, 0);
    cr_assert_eq(put.request.state.leased, 10 - 2);
    call_fini(&get);
    call_fini(&put);
}

Test(limits, leases_of_a_session_that_has_gone_end_in_many_rounds)
{
    static struct call gets[8];
    int i;

    for (i = 0; i < 8; i++)
        rig_put(&rig, queue, 2, (uint64_t)i + 1, "a\n");
    for (i = 0; i < 8; i++)
        stream_expect(&rig, &gets[i], queue, 1, "a\n");
    rig.now_us += SESSION_LIFE_US;
    be_slow();
    service_round(rig.service);
    cr_assert_gt(service_find(rig.service, queue)->items[ITEM_LEASED], 4);
    cr_assert_leq(service_deadline(rig.service), rig.now_us);
    for (i = 0; i < 20; i++)
        service_round(rig.service);
    cr_assert_eq(service_find(rig.service, queue)->items[ITEM_LEASED], 0);
    cr_assert_eq(service_find(rig.service, queue)->record.expired, 8);
    for (i = 0; i < 8; i++)
        call_fini(&gets[i]);
}
