/* The line of those whose get found nothing: one item wakes one of them, none stays for good. */
#include "tests/core/service/service_rig.h"

#define CALL_US SESSION_CALL_US

static struct rig rig;
static uint64_t queue;
static struct call watches[8];

static void setup(void)
{
    rig_init(&rig);
    queue = rig_make(&rig, "q", NULL);
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(line, .init = setup, .fini = teardown, .timeout = 10);

/* Sessions 1 to n each find nothing, and park a watch. */
static void stand(uint8_t n)
{
    static struct call get;

    for (uint8_t i = 1; i <= n; i++) {
        call_get(&get, GET_STREAM, queue, i, 1);
        get.request.in.get.arm = true;
        get_expect(&rig, &get, "");
        call_init(&watches[i], REQUEST_WATCH, 0, i);
        watches[i].request.in.watch.wait_us = 10 * SECOND;
        call_submit(&rig, &watches[i]);
        service_round(rig.service);
    }
}

static int n_told(uint8_t n)
{
    int told = 0;

    for (uint8_t i = 1; i <= n; i++)
        told += watches[i].n_done;
    return told;
}

static void stand_down(uint8_t n)
{
    for (uint8_t i = 1; i <= n; i++) {
        if (watches[i].n_done)
            call_fini(&watches[i]);
    }
}

Test(line, as_many_are_told_as_there_are_items_the_first_first)
{
    stand(5);
    rig_put(&rig, queue, 9, 1, "a\nb\n");
    cr_assert_eq(n_told(5), 2);
    cr_assert_eq(watches[1].n_done, 1);
    cr_assert_eq(watches[2].n_done, 1);
    cr_assert_eq(watches[1].request.out.watch.events[0].kinds, EVENT_READY);
    stand_down(5);
}

Test(line, where_nobody_comes_twice_as_many_are_told_each_time)
{
    stand(7);
    rig_put(&rig, queue, 9, 1, "a\n");
    cr_assert_eq(n_told(7), 1);
    cr_assert_leq(service_deadline(rig.service), rig.now_us + CALL_US);
    rig_advance(&rig, CALL_US - 1);
    cr_assert_eq(n_told(7), 1);
    rig_advance(&rig, 1);
    cr_assert_eq(n_told(7), 2);
    rig_advance(&rig, CALL_US);
    cr_assert_eq(n_told(7), 4);
    rig_advance(&rig, CALL_US);
    cr_assert_eq(n_told(7), 7);
    cr_assert_gt(service_deadline(rig.service), rig.now_us + CALL_US);
    stand_down(7);
}

Test(line, an_item_that_was_taken_calls_nobody_else)
{
    static struct call get;

    stand(3);
    rig_put(&rig, queue, 9, 1, "a\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_advance(&rig, CALL_US);
    cr_assert_eq(n_told(3), 1);
    rig_settle(&rig, &get, SETTLE_RETURN); /* and now it is there again */
    cr_assert_eq(n_told(3), 2);
    stand_down(3);
}

Test(line, who_asked_to_be_told_is_told_whoever_stands_in_line)
{
    static struct call call, watch;

    stand(2);
    call_init(&call, REQUEST_ARM, queue, 7);
    call.request.in.arm.kinds = EVENT_READY;
    cr_assert_eq(call_run(&rig, &call), 0);
    call_init(&watch, REQUEST_WATCH, 0, 7);
    watch.request.in.watch.wait_us = 10 * SECOND;
    call_submit(&rig, &watch);
    rig_put(&rig, queue, 9, 1, "a\n");
    cr_assert_eq(watch.n_done, 1);
    cr_assert_eq(n_told(2), 1);
    call_fini(&watch);
    stand_down(2);
}

Test(line, a_session_that_ends_leaves_the_line)
{
    stand(2);
    rig_advance(&rig, SESSION_LIFE_US - 1);
    stand_down(2);
    call_init(&watches[2], REQUEST_WATCH, 0, 2);
    watches[2].request.in.watch.wait_us = 10 * SECOND;
    call_submit(&rig, &watches[2]);
    service_round(rig.service);
    rig_advance(&rig, 1); /* the first is forgotten, the second is heard of */
    rig_put(&rig, queue, 9, 1, "a\n");
    cr_assert_eq(watches[2].n_done, 1);
    cr_assert_eq(watches[2].request.out.watch.n_events, 1);
    call_fini(&watches[2]);
}

Test(line, removal_of_the_queue_tells_all)
{
    static struct call call;

    stand(3);
    call_init(&call, REQUEST_REMOVE, queue, 9);
    cr_assert_eq(call_run(&rig, &call), 0);
    cr_assert_eq(n_told(3), 3);
    stand_down(3);
}

/* ---- gets that come while a put is committed ---- */

static struct call late_get, late_put;
static unsigned n_put_when_got;

static void note_got(struct request *request)
{
    n_put_when_got = late_put.n_done;
    call_done(request);
}

static void come_late(void)
{
    call_get(&late_get, GET_STREAM, queue, 1, 1);
    late_get.request.done = note_got;
    call_submit(&rig, &late_get);
}

Test(line, a_get_that_comes_during_the_commit_has_the_item_and_nobody_is_called)
{
    stand(2);
    rig.faulty.in_commit = come_late;
    call_put(&late_put, queue, 9, 1, "a\n");
    cr_assert_eq(call_run(&rig, &late_put), 0);
    cr_assert_eq(late_get.n_done, 1);
    cr_assert_eq(late_get.request.out.get.len, 2);
    cr_assert_eq(n_put_when_got, 0, "who waits for the item is told first");
    cr_assert_eq(n_told(2), 0);
    rig_settle(&rig, &late_get, SETTLE_RETURN);
    cr_assert_eq(n_told(2), 1, "it still stands in line");
    stand_down(2);
}

static struct call later_put, claim;

static void others_come_late(void)
{
    call_put(&later_put, queue, 9, 2, "b\n");
    call_submit(&rig, &later_put);
    come_late();
    call_get(&claim, GET_CLAIM, queue, 1, 1);
    call_submit(&rig, &claim);
}

static unsigned n_got_in_commit;

static void look_for_the_get(void)
{
    n_got_in_commit = late_get.n_done;
}

/* A get of what was stored before does not wait for what comes with it to be stored. */
Test(line, a_get_of_what_is_there_is_answered_before_the_commit)
{
    cr_assert_eq(rig_put(&rig, queue, 9, 1, "a\n"), 0);
    rig.faulty.in_commit = look_for_the_get;
    call_get(&late_get, GET_STREAM, queue, 1, 9);
    call_submit(&rig, &late_get);
    call_put(&late_put, queue, 9, 2, "b\n");
    cr_assert_eq(call_run(&rig, &late_put), 0);
    cr_assert_eq(n_got_in_commit, 1);
    cr_assert_eq(late_get.request.out.get.len, 2, "not what is being stored");
    rig_settle(&rig, &late_get, SETTLE_ACK);
    call_get(&claim, GET_STREAM, queue, 1, 9);
    cr_assert_eq(call_run(&rig, &claim), 0);
    cr_assert_eq(memcmp(claim.request.out.get.data, "b\n", 2), 0);
    rig_settle(&rig, &claim, SETTLE_ACK);
}

Test(line, what_needs_a_commit_waits_for_the_next_one)
{
    unsigned commits = rig.faulty.n_commits;

    rig.faulty.in_commit = others_come_late;
    call_put(&late_put, queue, 9, 1, "a\n");
    cr_assert_eq(call_run(&rig, &late_put), 0);
    cr_assert_eq(rig.faulty.n_commits, commits + 1);
    cr_assert_eq(late_get.n_done, 1);
    cr_assert_eq(later_put.n_done + claim.n_done, 0);
    service_round(rig.service);
    cr_assert_eq(rig.faulty.n_commits, commits + 2);
    cr_assert_eq(later_put.n_done, 1);
    cr_assert_eq(later_put.request.out.put.last, 2, "they were not lost, nor in another order");
    service_round(rig.service);
    cr_assert_eq(rig.faulty.n_commits, commits + 3);
    cr_assert_eq(claim.n_done, 1);
    cr_assert_eq(memcmp(claim.request.out.get.data, "b\n", 2), 0);
    rig_settle(&rig, &claim, SETTLE_ACK);
    rig_settle(&rig, &late_get, SETTLE_ACK);
}

Test(line, a_get_during_a_commit_that_failed_is_refused)
{
    rig.faulty.in_commit = come_late;
    rig.faulty.commit_error = -EIO;
    call_put(&late_put, queue, 9, 1, "a\n");
    cr_assert_eq(call_run(&rig, &late_put), -EIO);
    cr_assert_eq(late_get.n_done, 1);
    cr_assert_eq(late_get.request.status, -EIO);
}

static void come_for_another_queue(void)
{
    queue++;
    come_late();
    queue--;
}

Test(line, a_get_during_the_commit_of_a_queue_that_is_not_there_is_answered)
{
    rig.faulty.in_commit = come_for_another_queue;
    call_put(&late_put, queue, 9, 1, "a\n");
    cr_assert_eq(call_run(&rig, &late_put), 0);
    cr_assert_eq(late_get.n_done, 1);
    cr_assert_eq(late_get.request.status, -ENOENT);
}

Test(line, a_claim_that_comes_with_a_put_has_its_item_with_the_next_commit)
{
    unsigned commits;

    stand(1);
    commits = rig.faulty.n_commits;
    call_put(&late_put, queue, 9, 1, "a\n");
    call_submit(&rig, &late_put);
    call_get(&claim, GET_CLAIM, queue, 1, 1);
    call_submit(&rig, &claim);
    service_round(rig.service);
    cr_assert_eq(late_put.n_done, 1);
    cr_assert_eq(claim.n_done, 0, "its lease is not stored yet");
    cr_assert_eq(n_told(1), 0);
    cr_assert_leq(service_deadline(rig.service), rig.now_us, "the next round follows at once");
    service_round(rig.service);
    cr_assert_eq(claim.n_done, 1);
    cr_assert_eq(rig.faulty.n_commits, commits + 2);
    cr_assert_eq(claim.request.out.get.len, 2);
    rig_settle(&rig, &claim, SETTLE_ACK);
    stand_down(1);
}

Test(line, a_claim_that_comes_with_a_put_that_is_not_stored_is_answered)
{
    rig.faulty.put_error = -ENOSPC;
    call_put(&late_put, queue, 9, 1, "a\n");
    call_submit(&rig, &late_put);
    call_get(&claim, GET_CLAIM, queue, 1, 1);
    cr_assert_eq(call_run(&rig, &claim), 0);
    cr_assert_eq(claim.request.out.get.n_grants, 0);
    cr_assert_eq(late_put.request.status, -ENOSPC);
}
