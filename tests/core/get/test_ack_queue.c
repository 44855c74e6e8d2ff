#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/get/ack_queue.h"

static struct ack_queue s;
static struct effects effects;

static void setup(void)
{
    struct request model = {.queue = 7};

    ack_queue_init(&s, &model);
    effects_init(&effects);
}

static void teardown(void)
{
    ack_queue_fini(&s);
}

TestSuite(acks, .init = setup, .fini = teardown, .timeout = 20);

static void add(uint64_t batch, uint32_t from, uint32_t to, int64_t now_us)
{
    struct settlement range = {
        .verb = SETTLE_ACK, .batch = batch, .from = from, .to = to, .token = 9};

    cr_assert_eq(ack_queue_reserve(&s, 1), 0);
    ack_queue_add(&s, &range, now_us);
}

/* The next request that was sent, or NULL. */
static struct request *step(int64_t now_us)
{
    struct request *request;

    ack_queue_step(&s, now_us, &effects);
    request = effects.requests;
    if (request)
        effects.requests = request->next;
    if (!effects.requests)
        effects_init(&effects);
    return request;
}

static uint64_t answer(struct request *request, int status, int64_t now_us)
{
    request->status = status;
    return ack_queue_answered(&s, request, now_us);
}

Test(acks, sends_after_the_linger_of_the_oldest)
{
    struct request *request;

    add(1, 0, 1, 100);
    add(2, 0, 1, 3000);
    cr_assert_eq(ack_queue_deadline(&s), 100 + ACK_QUEUE_LINGER_US);
    cr_assert_null(step(99 + ACK_QUEUE_LINGER_US));
    request = step(100 + ACK_QUEUE_LINGER_US);
    cr_assert_not_null(request);
    cr_assert_eq(request->kind, REQUEST_SETTLE);
    cr_assert_eq(request->queue, 7);
    cr_assert_eq(request->in.settle.n_items, 2);
    cr_assert_eq(ack_queue_deadline(&s), TIME_FOREVER);
    answer(request, 0, 0);
    cr_assert_eq(ack_queue_pending(&s), 0);
}

Test(acks, hurry_sends_at_once_and_needs_something)
{
    ack_queue_hurry(&s);
    cr_assert_null(step(0));
    add(1, 0, 1, 100);
    ack_queue_hurry(&s);
    answer(step(100), 0, 0);
}

Test(acks, ranges_that_touch_are_joined_on_both_sides)
{
    struct request *request;

    add(1, 5, 6, 0);
    add(1, 6, 9, 0);
    add(2, 0, 1, 0);
    add(1, 3, 5, 0);
    add(1, 10, 11, 0);
    ack_queue_hurry(&s);
    request = step(0);
    cr_assert_eq(request->in.settle.n_items, 3);
    cr_assert_eq(request->in.settle.items[0].from, 3);
    cr_assert_eq(request->in.settle.items[0].to, 9);
    answer(request, 0, 0);
}

Test(acks, other_token_or_verb_is_not_joined)
{
    struct settlement range = {.verb = SETTLE_ACK, .batch = 1, .from = 1, .to = 2, .token = 8};
    struct request *request;

    add(1, 0, 1, 0);
    cr_assert_eq(ack_queue_reserve(&s, 2), 0);
    ack_queue_add(&s, &range, 0);
    range.token = 9;
    range.verb = SETTLE_RETURN;
    ack_queue_add(&s, &range, 0);
    ack_queue_hurry(&s);
    request = step(0);
    cr_assert_eq(request->in.settle.n_items, 3);
    answer(request, 0, 0);
}

Test(acks, many_ranges_go_without_linger)
{
    uint32_t i;

    for (i = 0; i < ACK_QUEUE_RANGES - 1; i++)
        add(i, 0, 1, 0);
    cr_assert_null(step(0));
    add(i, 0, 1, 0);
    answer(step(0), 0, 0);
}

Test(acks, at_most_four_travel_and_the_rest_gathers)
{
    struct request *sent[ACK_QUEUE_IN_FLIGHT], *more;
    size_t i;

    for (i = 0; i < ACK_QUEUE_IN_FLIGHT; i++) {
        add(i, 0, 1, 0);
        ack_queue_hurry(&s);
        sent[i] = step(0);
        cr_assert_not_null(sent[i]);
    }
    add(10, 0, 1, 0);
    ack_queue_hurry(&s);
    add(11, 0, 1, 0);
    cr_assert_null(step(0));
    cr_assert_eq(ack_queue_deadline(&s), TIME_FOREVER);
    answer(sent[2], 0, 0);
    more = step(0);
    cr_assert_eq(more->in.settle.n_items, 2);
    answer(more, 0, 0);
    answer(sent[0], 0, 0);
    answer(sent[1], 0, 0);
    answer(sent[3], 0, 0);
}

Test(acks, mark_is_reached_when_all_before_it_are_answered)
{
    struct request *a, *b;
    uint64_t first, second;

    cr_assert(ack_queue_reached(&s, ack_queue_mark(&s)));
    add(1, 0, 1, 0);
    first = ack_queue_mark(&s);
    cr_assert_not(ack_queue_reached(&s, first));
    ack_queue_hurry(&s);
    a = step(0);
    add(2, 0, 1, 0);
    second = ack_queue_mark(&s);
    ack_queue_hurry(&s);
    b = step(0);
    answer(b, 0, 0);
    cr_assert_not(ack_queue_reached(&s, first));
    cr_assert_not(ack_queue_reached(&s, second));
    answer(a, 0, 0);
    cr_assert(ack_queue_reached(&s, first));
    cr_assert(ack_queue_reached(&s, second));
    cr_assert_eq(ack_queue_reserve(&s, 3), 0);
    cr_assert(ack_queue_reached(&s, ack_queue_mark(&s)), "reserved is nothing to wait for");
    ack_queue_unreserve(&s, 3);
}

Test(acks, failed_ones_are_sent_again_with_back_off)
{
    struct request *request;
    int64_t now_us = 0, wait_us = 50000;
    int i;

    add(1, 0, 1, 0);
    ack_queue_hurry(&s);
    request = step(0);
    for (i = 0; i < 8; i++) {
        answer(request, i % 2 ? -EIO : -ESHUTDOWN, now_us);
        cr_assert_eq(ack_queue_deadline(&s), now_us + wait_us);
        cr_assert_null(step(now_us + wait_us - 1));
        now_us += wait_us;
        cr_assert_eq(step(now_us), request);
        wait_us = wait_us * 2 > 2000000 ? 2000000 : wait_us * 2;
    }
    cr_assert_not(ack_queue_reached(&s, ack_queue_mark(&s)));
    answer(request, 0, now_us);
    cr_assert(ack_queue_reached(&s, ack_queue_mark(&s)));
}

Test(acks, what_can_never_succeed_is_dropped)
{
    add(1, 0, 1, 0);
    ack_queue_hurry(&s);
    answer(step(0), -ENOENT, 0);
    add(1, 0, 1, 0);
    ack_queue_hurry(&s);
    answer(step(0), -EPROTO, 0);
    s.ending = true;
    add(1, 0, 1, 0);
    ack_queue_hurry(&s);
    answer(step(0), -ESHUTDOWN, 0);
    cr_assert_eq(ack_queue_pending(&s), 0);
}

Test(acks, late_acknowledgements_are_told_and_late_returns_are_not)
{
    struct settlement range = {.verb = SETTLE_RETURN, .batch = 1, .from = 1, .to = 2};
    struct request *request;

    add(1, 0, 1, 0);
    ack_queue_hurry(&s);
    request = step(0);
    request->out.settle.n_late = 3;
    cr_assert_eq(answer(request, 0, 0), 3);
    cr_assert_eq(ack_queue_reserve(&s, 1), 0);
    ack_queue_add(&s, &range, 0);
    ack_queue_hurry(&s);
    request = step(0);
    request->out.settle.n_late = 1;
    cr_assert_eq(answer(request, 0, 0), 0);
}

Test(acks, reserve_refuses_while_too_much_waits)
{
    struct settlement range = {.verb = SETTLE_ACK, .from = 0, .to = 1};
    struct request *request;
    uint32_t i;

    cr_assert_eq(ack_queue_reserve(&s, REQUEST_SETTLEMENTS_MAX), 0);
    for (i = 0; i < REQUEST_SETTLEMENTS_MAX; i++) {
        range.batch = i;
        ack_queue_add(&s, &range, 0);
    }
    cr_assert_eq(ack_queue_reserve(&s, 1), -EAGAIN);
    request = step(0);
    cr_assert_eq(request->in.settle.n_items, REQUEST_SETTLEMENTS_MAX);
    cr_assert_eq(ack_queue_reserve(&s, 1), 0);
    ack_queue_unreserve(&s, 1);
    answer(request, 0, 0);
}

/* Promised to many readers, then all acknowledged before anything could be sent. */
Test(acks, more_than_a_request_holds_goes_in_two_with_one_mark)
{
    struct settlement range = {.verb = SETTLE_ACK, .from = 0, .to = 1};
    struct request *first, *second;
    uint64_t mark;
    uint32_t i;

    cr_assert_eq(ack_queue_reserve(&s, REQUEST_SETTLEMENTS_MAX), 0);
    cr_assert_eq(ack_queue_reserve(&s, 10), 0);
    for (i = 0; i < REQUEST_SETTLEMENTS_MAX + 10; i++) {
        range.batch = i;
        ack_queue_add(&s, &range, 0);
    }
    mark = ack_queue_mark(&s);
    ack_queue_step(&s, 0, &effects);
    first = effects.requests;
    second = first->next;
    cr_assert_eq(first->in.settle.n_items, REQUEST_SETTLEMENTS_MAX);
    cr_assert_eq(second->in.settle.n_items, 10);
    cr_assert_eq(second->in.settle.items[9].batch, REQUEST_SETTLEMENTS_MAX + 9);
    answer(first, 0, 0);
    cr_assert_not(ack_queue_reached(&s, mark));
    answer(second, 0, 0);
    cr_assert(ack_queue_reached(&s, mark));
}

Test(acks, room_reserved_survives_a_send)
{
    struct settlement range = {.verb = SETTLE_ACK, .batch = 50, .from = 0, .to = 1};
    uint32_t i;

    cr_assert_eq(ack_queue_reserve(&s, 100), 0);
    add(1, 0, 1, 0);
    ack_queue_hurry(&s);
    answer(step(0), 0, 0);
    for (i = 0; i < 100; i++, range.batch++)
        ack_queue_add(&s, &range, 0);
    ack_queue_hurry(&s);
    answer(step(0), 0, 0);
}

Test(acks, drop_forgets_what_waits_and_what_comes)
{
    struct request *request;

    add(1, 0, 1, 0);
    ack_queue_hurry(&s);
    request = step(0);
    answer(request, -EIO, 0);
    add(2, 0, 1, 0);
    cr_assert_eq(ack_queue_reserve(&s, 1), 0);
    ack_queue_drop(&s);
    ack_queue_add(&s, &(struct settlement){.batch = 3, .to = 1}, 0);
    cr_assert_eq(ack_queue_pending(&s), 0);
    cr_assert_eq(ack_queue_deadline(&s), TIME_FOREVER);
    cr_assert_null(step(10000000));
}
