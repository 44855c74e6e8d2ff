/* Leases as a mount knows them: never longer than the service's, renewed while open. */
#include "core/get/claims.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

#define SECOND INT64_C(1000000)
#define LEASE  (30 * SECOND)
#define START  (100 * SECOND)
#define WALL   (1000 * SECOND) /* the time of day when the clock shows START */

static struct all_settings settings;
static struct ack_queue acks;
static struct claims *set;
static struct effects effects;
static atomic_size_t kept_bytes;
static int64_t now_us;

static void setup(void)
{
    struct request model = {.kind = REQUEST_SETTLE};
    struct claims_options options = {
        .settings = &settings, .acks = &acks, .kept_bytes = &kept_bytes};

    settings.own.lease_us = LEASE;
    settings.own.lease_max_us = 10 * LEASE;
    now_us = START;
    effects_init(&effects);
    ack_queue_init(&acks, &model);
    cr_assert_eq(claims_new(&options, &set), 0);
}

static void teardown(void)
{
    claims_free(set);
    cr_assert_eq(acks.n_reserved, 0, "room for what nobody will settle");
    ack_queue_fini(&acks);
    cr_assert_eq(kept_bytes, 0);
}

TestSuite(claim, .init = setup, .fini = teardown, .timeout = 20);

static int add(uint64_t id, const char *text)
{
    struct claim_item item = {
        .id = id,
        .token = id + 1000,
        .deliveries = 1,
        .put_time_us = 77,
        .sent_us = now_us,
        .lease_us = LEASE,
        .data = (const uint8_t *)text,
        .len = strlen(text),
    };

    return claims_add(set, &item, now_us);
}

static bool is_held(uint64_t id)
{
    struct item_info info;

    return claims_find(set, id, now_us, WALL, &info);
}

/* The next request that a step of `s`, or of the set's renewals, has sent, or NULL. */
static struct request *take_sent(void)
{
    struct request *request = effects.requests;

    if (request)
        effects.requests = request->next;
    if (!effects.requests)
        effects_init(&effects);
    return request;
}

static struct request *step(int64_t us)
{
    now_us += us;
    claims_step(set, now_us, &effects);
    return take_sent();
}

static struct request *ends(void)
{
    ack_queue_hurry(&acks);
    ack_queue_step(&acks, now_us, &effects);
    return take_sent();
}

static void answer(struct request *renewal, int status, uint64_t n_late)
{
    renewal->status = status;
    renewal->out.settle.n_late = n_late;
    claims_renewal_done(set, renewal, now_us);
}

static void answer_end(struct request *request)
{
    request->status = 0;
    ack_queue_answered(&acks, request, now_us);
}

static void expect_range(const struct request *request, size_t i, enum settle_verb verb,
                         uint64_t id)
{
    const struct settlement *range = &request->in.settle.items[i];

    cr_assert_eq(range->verb, verb);
    cr_assert_eq(item_id(range->batch, range->from), id);
    cr_assert_eq(range->to, range->from + 1);
    cr_assert_eq(range->token, id + 1000);
}

/* ---- looking ---- */

Test(claim, what_is_added_is_found_until_its_lease_ends)
{
    uint64_t id = item_id(3, 4);
    struct item_info info;

    cr_assert_eq(add(id, "job"), 0);
    now_us += 10 * SECOND;
    cr_assert(claims_find(set, id, now_us, WALL, &info));
    cr_assert_eq(info.id, id);
    cr_assert_eq(info.size, 3);
    cr_assert_eq(info.state, ITEM_LEASED);
    cr_assert_eq(info.deliveries, 1);
    cr_assert_eq(info.put_time_us, 77);
    cr_assert_eq(info.until_us, WALL + 20 * SECOND);
    cr_assert_not(claims_find(set, id + 1, now_us, WALL, &info));
    now_us = START + LEASE - 1;
    cr_assert(is_held(id));
    now_us++;
    cr_assert_not(is_held(id), "shown after its time, before any tick");
    cr_assert_eq(claims_list(set, 0, now_us, WALL, &info, 1), 0);
    cr_assert_eq(claims_deadline(set), START + LEASE);
    cr_assert_null(step(0));
    cr_assert_eq(claims_deadline(set), TIME_FOREVER);
    cr_assert_eq(acks.n_reserved, 0);
}

Test(claim, a_lease_that_is_over_is_not_held)
{
    struct claim_item item = {.id = 5, .sent_us = now_us - LEASE, .lease_us = LEASE};

    cr_assert_eq(claims_add(set, &item, now_us), -ESTALE);
    item.sent_us++;
    cr_assert_eq(claims_add(set, &item, now_us), 0);
    item = (struct claim_item){.id = 6, .sent_us = now_us, .lease_us = -5};
    cr_assert_eq(claims_add(set, &item, now_us), -ESTALE);
}

Test(claim, listed_by_id_from_any_id_on)
{
    struct item_info infos[3];

    cr_assert_eq(add(30, "c"), 0);
    cr_assert_eq(add(10, "a"), 0);
    cr_assert_eq(add(20, "b"), 0);
    cr_assert_eq(claims_list(set, 0, now_us, WALL, infos, 3), 3);
    cr_assert_eq(infos[0].id, 10);
    cr_assert_eq(infos[2].id, 30);
    cr_assert_eq(claims_list(set, 11, now_us, WALL, infos, 1), 1);
    cr_assert_eq(infos[0].id, 20);
    cr_assert_eq(claims_list(set, 30, now_us, WALL, infos, 3), 1);
    cr_assert_eq(claims_list(set, 31, now_us, WALL, infos, 3), 0);
}

Test(claim, held_again_under_a_new_lease)
{
    struct claim_item item = {.id = 9, .token = 1, .sent_us = now_us, .lease_us = LEASE};
    struct request *request;

    cr_assert_eq(claims_add(set, &item, now_us), 0);
    item.token = 2;
    cr_assert_eq(claims_add(set, &item, now_us), 0);
    cr_assert_eq(acks.n_reserved, 1);
    cr_assert_eq(claims_settle(set, 9, SETTLE_ACK, now_us), 0);
    request = ends();
    cr_assert_eq(request->in.settle.items[0].token, 2);
    answer_end(request);
}

/* ---- settling ---- */

Test(claim, ends_are_sent_and_the_item_is_gone)
{
    const enum settle_verb verbs[] = {SETTLE_ACK, SETTLE_NACK, SETTLE_BURY};
    struct request *request;
    size_t i;

    for (i = 0; i < 3; i++)
        cr_assert_eq(add(10 * (i + 1), "x"), 0);
    for (i = 0; i < 3; i++)
        cr_assert_eq(claims_settle(set, 10 * (i + 1), verbs[i], now_us), 0);
    for (i = 0; i < 3; i++)
        cr_assert_eq(claims_settle(set, 10 * (i + 1), verbs[i], now_us), -ENOENT);
    request = ends();
    cr_assert_eq(request->in.settle.n_items, 3);
    for (i = 0; i < 3; i++)
        expect_range(request, i, verbs[i], 10 * (i + 1));
    answer_end(request);
}

Test(claim, after_the_end_nothing_can_be_settled)
{
    cr_assert_eq(add(10, "x"), 0);
    now_us += LEASE;
    cr_assert_eq(claims_settle(set, 10, SETTLE_ACK, now_us), -ENOENT);
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), -ESTALE);
    cr_assert_eq(claims_settle(set, 11, SETTLE_RENEW, now_us), -ESTALE);
    cr_assert_null(step(0));
    cr_assert_null(ends());
}

Test(claim, at_the_end_all_is_given_back_or_forgotten)
{
    struct request *request;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(add(20, "y"), 0);
    claims_end(set, true, now_us);
    request = ends();
    cr_assert_eq(request->in.settle.n_items, 2);
    cr_assert_eq(request->in.settle.items[0].verb, SETTLE_NACK);
    answer_end(request);
    cr_assert_eq(add(30, "z"), 0);
    claims_end(set, false, now_us);
    cr_assert_null(ends());
    cr_assert_not(is_held(30));
}

/* ---- bytes ---- */

Test(claim, bytes_outlive_the_lease_while_open)
{
    struct claim *a, *b;
    size_t len;

    cr_assert_eq(add(10, "bytes"), 0);
    cr_assert_eq(claims_open(set, 10, now_us, &a), 0);
    cr_assert_eq(claims_open(set, 10, now_us, &b), 0);
    cr_assert_eq(claims_settle(set, 10, SETTLE_ACK, now_us), 0);
    cr_assert_eq(claims_open(set, 10, now_us, &b), -ENOENT);
    claims_close(set, b, now_us);
    cr_assert_eq(memcmp(claim_data(a, &len), "bytes", 5), 0);
    cr_assert_eq(len, 5);
    cr_assert_eq(kept_bytes, 5);
    claims_close(set, a, now_us);
    cr_assert_eq(kept_bytes, 0);
    answer_end(ends());
}

static int add_large(uint64_t id, size_t len)
{
    static uint8_t data[HELD_KEEP_MAX + 1];
    struct claim_item item = {
        .id = id, .sent_us = now_us, .lease_us = LEASE, .data = data, .len = len};

    return claims_add(set, &item, now_us);
}

static bool is_kept(uint64_t id)
{
    struct claim *claim;
    size_t len;
    bool kept;

    cr_assert_eq(claims_open(set, id, now_us, &claim), 0);
    kept = claim_data(claim, &len);
    cr_assert_geq(len, HELD_KEEP_MAX);
    claims_close(set, claim, now_us);
    return kept;
}

Test(claim, only_small_items_are_kept_and_only_so_many)
{
    uint64_t id, n = HELD_KEEP_ALL / HELD_KEEP_MAX;

    cr_assert_eq(add_large(1, HELD_KEEP_MAX + 1), 0);
    cr_assert_not(is_kept(1));
    for (id = 2; id < n + 2; id++)
        cr_assert_eq(add_large(id, HELD_KEEP_MAX), 0);
    cr_assert(is_kept(n + 1));
    cr_assert_eq(kept_bytes, HELD_KEEP_ALL);
    cr_assert_eq(add_large(n + 2, HELD_KEEP_MAX), 0);
    cr_assert_not(is_kept(n + 2));
    cr_assert_eq(kept_bytes, HELD_KEEP_ALL);
}

/* ---- renewing ---- */

Test(claim, renewal_counts_from_when_it_was_sent_and_once_it_is_answered)
{
    struct request *renewal;

    cr_assert_eq(add(10, "x"), 0);
    now_us += 10 * SECOND;
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    cr_assert_null(step(0), "it waits for a moment");
    renewal = step(claims_deadline(set) - now_us);
    cr_assert_not_null(renewal);
    expect_range(renewal, 0, SETTLE_RENEW, 10);
    renewal->sent_us = now_us + SECOND;
    now_us += 5 * SECOND;
    cr_assert_eq(claims_deadline(set), START + LEASE);
    answer(renewal, 0, 0);
    cr_assert_eq(claims_deadline(set), START + 11 * SECOND + ACK_QUEUE_LINGER_US + LEASE);
}

Test(claim, renewal_that_was_sent_twice_counts_from_the_first_time)
{
    struct request *renewal;
    int64_t first_us;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    renewal = step(ACK_QUEUE_LINGER_US);
    first_us = now_us;
    now_us += 3 * SECOND;
    renewal->sent_us = now_us;
    renewal->n_retries = 1;
    answer(renewal, 0, 0);
    cr_assert_eq(claims_deadline(set), first_us + LEASE);
}

Test(claim, renewal_that_the_settler_sent_again_counts_from_the_first_time)
{
    struct request *renewal;
    int64_t first_us;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    renewal = step(ACK_QUEUE_LINGER_US);
    first_us = now_us;
    answer(renewal, -EIO, 0);
    cr_assert_eq(step(SECOND), renewal);
    renewal->sent_us = now_us;
    answer(renewal, 0, 0);
    cr_assert_eq(claims_deadline(set), first_us + LEASE);
}

Test(claim, failed_or_late_renewals_do_not_count)
{
    struct request *renewal;
    int i;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(add(20, "y"), 0);
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    cr_assert_eq(claims_settle(set, 20, SETTLE_RENEW, now_us), 0);
    renewal = step(ACK_QUEUE_LINGER_US);
    cr_assert_eq(renewal->in.settle.n_items, 2);
    for (i = 0; i < 4; i++) {
        answer(renewal, 0, 1);
        renewal =
            claims_deadline(set) < now_us + SECOND ? step(claims_deadline(set) - now_us) : NULL;
        cr_assert_eq(!renewal, i == 3, "tried three times more");
    }
    cr_assert_eq(claims_deadline(set), START + LEASE);
}

Test(claim, settled_before_the_renewal_went_needs_none)
{
    struct claim *claim;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(claims_open(set, 10, now_us, &claim), 0);
    claims_close(set, claim, now_us);
    cr_assert_eq(claims_settle(set, 10, SETTLE_ACK, now_us), 0);
    cr_assert_null(step(SECOND));
    answer_end(ends());
}

Test(claim, open_items_are_renewed_each_third_and_after_the_last_close)
{
    struct request *renewal;
    struct claim *a, *b;
    int i;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(claims_open(set, 10, now_us, &a), 0);
    cr_assert_eq(claims_open(set, 10, now_us, &b), 0);
    for (i = 1; i <= 6; i++) {
        cr_assert_eq(claims_deadline(set), START + i * LEASE / 3);
        renewal = step(LEASE / 3);
        cr_assert_not_null(renewal);
        answer(renewal, 0, 0);
    }
    claims_close(set, a, now_us);
    cr_assert_eq(claims_deadline(set), now_us + LEASE / 3);
    now_us += SECOND;
    claims_close(set, b, now_us);
    renewal = step(ACK_QUEUE_LINGER_US);
    cr_assert_not_null(renewal);
    answer(renewal, 0, 0);
    cr_assert_eq(claims_deadline(set), now_us + LEASE, "no renewal any more");
    cr_assert_null(step(LEASE));
    cr_assert_not(is_held(10));
}

Test(claim, opened_late_is_renewed_at_once)
{
    struct claim *claim;

    cr_assert_eq(add(10, "x"), 0);
    now_us += LEASE - 1;
    cr_assert_eq(claims_open(set, 10, now_us, &claim), 0);
    answer(step(0), 0, 0);
    cr_assert(is_held(10));
    now_us += LEASE - 1;
    cr_assert(is_held(10));
    claims_close(set, claim, now_us);
    answer(step(0), 0, 0);
}

Test(claim, lease_max_bounds_all_renewals)
{
    struct request *renewal;
    struct claim *claim;

    settings.own.lease_max_us = LEASE + 2 * SECOND;
    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(claims_open(set, 10, now_us, &claim), 0);
    while (is_held(10)) {
        renewal = step(SECOND);
        if (renewal)
            answer(renewal, 0, 0);
    }
    cr_assert_eq(now_us, START + LEASE + 2 * SECOND);
    claims_close(set, claim, now_us);
}

/* The service tells what is left of a lease that began with the first try. */
Test(claim, lease_max_counts_from_the_first_try)
{
    struct claim_item item = {.id = 10, .sent_us = now_us, .lease_us = LEASE - 7 * SECOND};

    settings.own.lease_max_us = LEASE;
    cr_assert_eq(claims_add(set, &item, now_us), 0);
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    answer(step(ACK_QUEUE_LINGER_US), 0, 0);
    cr_assert_eq(claims_deadline(set), START + LEASE - 7 * SECOND);
}

Test(claim, shorter_lease_is_believed_of_what_was_renewed_just_before)
{
    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(add(20, "y"), 0);
    now_us += SECOND;
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    answer(step(ACK_QUEUE_LINGER_US), 0, 0);
    settings.own.lease_us = 3 * SECOND;
    cr_assert_null(step(SECOND));
    cr_assert_eq(claims_deadline(set), START + 4 * SECOND + ACK_QUEUE_LINGER_US);
    cr_assert_null(step(3 * SECOND));
    cr_assert_not(is_held(10));
    cr_assert(is_held(20), "its lease was granted by the old settings");
}

Test(claim, hurry_sends_renewals_and_tells_when_they_are_answered)
{
    struct request *renewal;
    uint64_t mark;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert(claims_reached(set, claims_hurry(set, now_us)));
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    mark = claims_hurry(set, now_us);
    cr_assert_not(claims_reached(set, mark));
    cr_assert_eq(claims_pending(set), 1);
    renewal = step(0);
    answer(renewal, 0, 0);
    cr_assert(claims_reached(set, mark));
    cr_assert_eq(claims_pending(set), 0);
}

Test(claim, answer_to_what_was_settled_meanwhile_changes_nothing)
{
    struct claim_item item = {.id = 10, .token = 1, .lease_us = LEASE};
    struct request *renewal;

    cr_assert_eq(add(10, "x"), 0);
    cr_assert_eq(claims_settle(set, 10, SETTLE_RENEW, now_us), 0);
    renewal = step(ACK_QUEUE_LINGER_US);
    cr_assert_eq(claims_settle(set, 10, SETTLE_NACK, now_us), 0);
    answer_end(ends());
    now_us += SECOND;
    item.sent_us = now_us;
    cr_assert_eq(claims_add(set, &item, now_us), 0);
    renewal->sent_us = now_us + 1;
    answer(renewal, 0, 0);
    cr_assert_eq(claims_deadline(set), now_us + LEASE);
}

Test(claim, ten_thousand_are_settled_in_a_few_requests)
{
    struct request *request;
    uint32_t i;

    for (i = 0; i < 10000; i++)
        cr_assert_eq(add(item_id(1 + i / 100, i % 100), "x"), 0);
    for (i = 0; i < 10000; i++)
        cr_assert_eq(claims_settle(set, item_id(1 + i / 100, i % 100), SETTLE_ACK, now_us), 0);
    request = ends();
    cr_assert_eq(request->in.settle.n_items, 10000, "tokens differ");
    answer_end(request);
}
