/* A consumer that gives ids, and what becomes of the items. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/get/consumer_rig.h"

#define SECOND INT64_C(1000000)
#define LINE   17

static struct rig rig;
static struct call call;

static void setup(void)
{
    rig_init_claims(&rig);
    call_init(&call, &rig);
}

static void teardown(void)
{
    call_fini(&call);
    rig_fini(&rig);
}

TestSuite(claim, .init = setup, .fini = teardown, .timeout = 20);

static const char *lines(uint64_t batch, uint32_t from, uint32_t to)
{
    static char text[20 * LINE + 1];

    for (text[0] = '\0'; from < to; from++) {
        item_id_format(item_id(batch, from), text + strlen(text));
        strcat(text, "\n");
    }
    return text;
}

static bool is_held(uint64_t id)
{
    struct item_info info;

    return claims_find(consumer_claims(rig.c), id, rig.now_us, 0, &info);
}

/* One open that claims one, as `cat claim` does. */
static void claim_one(const char *text)
{
    struct reader *r = rig_reader(&rig, 1, 0);

    rig_expect(&rig, r, BULK, text);
    if (*text)
        rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
}

/* ---- what is given ---- */

Test(claim, gives_the_id_and_holds_the_item)
{
    struct item_info info;

    rig_put(&rig, 7, FRAMING_LINE, "one\ntwo\n");
    claim_one(lines(7, 0, 1));
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
    cr_assert(claims_find(consumer_claims(rig.c), item_id(7, 0), rig.now_us, 0, &info));
    cr_assert_eq(info.size, 3);
    cr_assert_eq(info.deliveries, 1);
    cr_assert_eq(consumer_counters(rig.c)->total_gets, 1);
}

Test(claim, end_of_file_when_there_is_nothing)
{
    claim_one("");
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0);
}

Test(claim, reading_on_and_closing_settle_nothing)
{
    struct reader *r = rig_reader(&rig, READER_UNLIMITED, 0);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\n");
    rig_expect(&rig, r, 4096, lines(1, 0, 1));
    rig_expect(&rig, r, 4096, lines(1, 1, 2));
    rig_leave(&rig, r);
    rig_pass(&rig, SECOND);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 2);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 0);
}

Test(claim, large_read_gives_what_is_there_up_to_the_limit)
{
    struct reader *r = rig_reader(&rig, 5, 0);
    char text[5 * LINE + 1];

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n\n");
    rig_put(&rig, 2, FRAMING_NUL, "d\ne\nf\n");
    snprintf(text, sizeof(text), "%s", lines(1, 0, 3));
    strcat(text, lines(2, 0, 2));
    rig_expect(&rig, r, BULK, text);
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 5);
}

Test(claim, framing_makes_no_difference)
{
    struct reader *r = rig_reader(&rig, 3, 0);
    struct claim *claim;
    size_t len;

    rig.settings.own.framing = FRAMING_FILE;
    rig_put(&rig, 3, FRAMING_FILE, "no\nseparator");
    rig_put(&rig, 3, FRAMING_FILE, "");
    rig_expect(&rig, r, BULK, lines(3, 0, 2));
    cr_assert_eq(
        claims_open((struct claims *)consumer_claims(rig.c), item_id(3, 0), rig.now_us, &claim), 0);
    cr_assert_eq(memcmp(claim_data(claim, &len), "no\nseparator", 12), 0);
    cr_assert_eq(len, 12);
    claims_close((struct claims *)consumer_claims(rig.c), claim, rig.now_us);
    rig_leave(&rig, r);
}

Test(claim, line_larger_than_the_read_goes_on_in_the_next)
{
    struct reader *r = rig_reader(&rig, 1, 0);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    rig_expect(&rig, r, 10, "0000000001");
    rig_expect(&rig, r, 6, "000000");
    rig_expect(&rig, r, 6, "\n");
    rig_expect(&rig, r, 6, "");
    cr_assert(is_held(item_id(1, 0)));
    rig_leave(&rig, r);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
}

Test(claim, what_the_last_read_gave_is_given_again)
{
    struct reader *r = rig_reader(&rig, 2, 0);
    struct call again;

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    rig_expect(&rig, r, 4096, lines(1, 0, 1));
    call_init(&again, &rig);
    rig_read(&rig, r, &again, 4096, 10);
    cr_assert_str_eq(again.bytes, "000000\n");
    call_fini(&again);
    rig_expect(&rig, r, 4096, lines(1, 1, 2));
    rig_expect_error(&rig, r, 4096, 3, -EINVAL);
    rig_leave(&rig, r);
}

/* ---- waiting ---- */

Test(claim, waits_for_the_first_only)
{
    struct reader *r = rig_reader(&rig, 8, TIME_FOREVER);

    rig_read(&rig, r, &call, BULK, 0);
    rig_settle_down(&rig);
    rig_pass(&rig, 100 * SECOND);
    cr_assert_not(call.done);
    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    rig_tell(&rig);
    rig_settle_down(&rig);
    cr_assert_str_eq(call.bytes, lines(1, 0, 1));
    rig_expect(&rig, r, BULK, "");
    rig_leave(&rig, r);
}

Test(claim, each_of_many_waiters_gets_one)
{
    struct reader *readers[3];
    struct call calls[3];
    size_t i;

    for (i = 0; i < 3; i++) {
        readers[i] = rig_reader(&rig, 1, TIME_FOREVER);
        call_init(&calls[i], &rig);
        rig_read(&rig, readers[i], &calls[i], BULK, 0);
    }
    rig_settle_down(&rig);
    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\n");
    rig_tell(&rig);
    rig_settle_down(&rig);
    for (i = 0; i < 3; i++) {
        cr_assert_str_eq(calls[i].bytes, lines(1, (uint32_t)i, (uint32_t)i + 1));
        call_fini(&calls[i]);
        rig_leave(&rig, readers[i]);
    }
}

Test(claim, lease_that_ended_in_the_pool_is_never_given)
{
    struct reader *a = rig_reader(&rig, 2, 0), *b = rig_reader(&rig, 1, 0);
    struct call other;

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    rig_read(&rig, a, &call, BULK, 0);
    rig_answer(&rig, 0, 0, true); /* two came, and both were given */
    cr_assert_eq(call.result, 2 * LINE);
    rig_put(&rig, 2, FRAMING_LINE, "c\n");
    call_init(&other, &rig);
    rig_read(&rig, b, &other, BULK, 0);
    rig.now_us += rig.settings.own.lease_us;
    rig_answer(&rig, rig.n_sent - 1, 0, true); /* the mount was stopped meanwhile */
    cr_assert_not(other.done);
    rig_settle_down(&rig);
    cr_assert_str_eq(other.bytes, lines(2, 0, 1), "given back and claimed anew");
    cr_assert_eq(rig.items[2].n_leases, 2);
    call_fini(&other);
    rig_leave(&rig, a);
    rig_leave(&rig, b);
}

Test(claim, interrupted_and_unheard_goes_back)
{
    struct reader *r = rig_reader(&rig, 1, 0);
    struct call close;

    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    rig_read(&rig, r, &call, BULK, 0);
    op_cancel(&call.op);
    cr_assert_eq(call.result, -EINTR);
    call_init(&close, &rig);
    rig_close(&rig, r, &close);
    cr_assert_not(close.done, "a GET is on its way");
    rig_settle_down(&rig);
    cr_assert(close.done);
    cr_assert_eq(rig_count(&rig, ITEM_READY), 1);
    rig_release(&rig, r);
    call_fini(&close);
}

/* ---- settling ---- */

Test(claim, acknowledged_in_one_request_after_a_moment)
{
    struct reader *r = rig_reader(&rig, 3, 0);
    unsigned before;

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\n");
    rig_expect(&rig, r, BULK, lines(1, 0, 3));
    rig_leave(&rig, r);
    before = rig.n_settles;
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_ACK), 0);
    cr_assert_eq(rig_hold(&rig, item_id(1, 1), SETTLE_BURY), 0);
    cr_assert_eq(rig_hold(&rig, item_id(1, 2), SETTLE_ACK), 0);
    cr_assert_eq(rig_hold(&rig, item_id(1, 2), SETTLE_ACK), -ENOENT);
    cr_assert_eq(rig.n_settles, before);
    rig_pass(&rig, ACK_QUEUE_LINGER_US);
    cr_assert_eq(rig.n_settles, before + 1);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 2);
    cr_assert_eq(rig_count(&rig, ITEM_DEAD), 1);
}

Test(claim, given_back_is_what_the_next_claim_gets)
{
    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    claim_one(lines(1, 0, 1));
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_NACK), 0);
    claim_one(lines(1, 0, 1));
    cr_assert_eq(rig.items[0].n_leases, 2);
}

Test(claim, given_back_goes_before_what_is_just_being_fetched)
{
    struct reader *r = rig_reader(&rig, 1, TIME_FOREVER);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    claim_one(lines(1, 0, 1));
    rig_read(&rig, r, &call, BULK, 0);
    cr_assert_eq(rig_find(&rig, REQUEST_GET), 0);
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_NACK), 0);
    rig_answer(&rig, 0, 0, true);
    cr_assert_not(call.done);
    rig_pass(&rig, ACK_QUEUE_LINGER_US);
    rig_settle_down(&rig);
    cr_assert_str_eq(call.bytes, lines(1, 0, 1));
    rig_leave(&rig, r);
    rig_pass(&rig, POOL_IDLE_US);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 1);
}

Test(claim, given_back_is_what_the_next_out_gets)
{
    struct reader *r = rig_other_reader(&rig, READER_UNLIMITED, 0);

    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    claim_one(lines(1, 0, 1));
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_NACK), 0);
    rig_read(&rig, r, &call, BULK, 0);
    cr_assert_eq(rig.n_sent, 1, "the GET waits for the settlement");
    cr_assert_eq(rig.sent[0]->kind, REQUEST_SETTLE);
    rig_settle_down(&rig);
    cr_assert_str_eq(call.bytes, "a\n");
    rig_leave(&rig, r);
}

Test(claim, late_ones_are_counted)
{
    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    claim_one(lines(1, 0, 1));
    rig.items[0].token = 99; /* the service knows better */
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_ACK), 0);
    rig_pass(&rig, SECOND);
    rig_settle_down(&rig);
    cr_assert_eq(consumer_counters(rig.c)->acks_late, 1);
}

Test(claim, lease_ends_by_the_clock)
{
    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    claim_one(lines(1, 0, 1));
    rig_pass(&rig, rig.settings.own.lease_us - 1);
    cr_assert(is_held(item_id(1, 0)));
    rig_pass(&rig, 1);
    cr_assert_not(is_held(item_id(1, 0)));
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_ACK), -ENOENT);
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_RENEW), -ESTALE);
}

Test(claim, flush_waits_for_settlements_renewals_and_the_peer)
{
    struct reader *r = rig_reader(&rig, 2, 0), *other = rig_other_reader(&rig, 1, 0);

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\nc\n");
    rig_expect(&rig, r, BULK, lines(1, 0, 2));
    rig_leave(&rig, r);
    rig_expect(&rig, other, 4096, "c\n");
    rig_release(&rig, other);
    rig_settle_down(&rig);
    other = rig_other_reader(&rig, 1, 0);
    rig_put(&rig, 2, FRAMING_LINE, "d\n");
    rig_expect(&rig, other, 4096, "d\n");
    rig_release(&rig, other);
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_ACK), 0);
    cr_assert_eq(rig_hold(&rig, item_id(1, 1), SETTLE_RENEW), 0);
    rig_flush(&rig, &call, SECOND);
    cr_assert_eq(rig.n_sent, 3);
    rig_answer(&rig, 1, 0, true);
    rig_answer(&rig, 1, 0, true);
    cr_assert_not(call.done, "the peer's acknowledgement");
    rig_answer(&rig, 0, 0, true);
    cr_assert(call.done);
    cr_assert_eq(rig.items[1].n_renewals, 1);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 3);
}

Test(claim, renewal_is_waited_for_by_flush)
{
    rig_put(&rig, 1, FRAMING_LINE, "a\n");
    claim_one(lines(1, 0, 1));
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_RENEW), 0);
    rig_flush(&rig, &call, SECOND);
    cr_assert_not(call.done);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(call.result, 0);
}

/* ---- claimed ahead ---- */

/* Claims that follow one another at once, without anything that is answered later. */
static void claim_quickly(uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++)
        claim_one(lines(1, i, i + 1));
}

Test(claim, quick_claims_are_fetched_ahead)
{
    rig_put_many(&rig, 1, 200, 10);
    claim_quickly(100);
    cr_assert_leq(rig.n_gets, 12);
    cr_assert_eq(rig.n_settles, 0, "nothing went back at the closes");
    rig_pass(&rig, POOL_IDLE_US);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 100, "the rest went back after a moment");
}

Test(claim, slow_claims_are_not_fetched_ahead)
{
    uint32_t i;

    rig_put_many(&rig, 1, 20, 10);
    for (i = 0; i < 10; i++) {
        claim_one(lines(1, i, i + 1));
        cr_assert_eq(rig_count(&rig, ITEM_LEASED), i + 1);
        rig_pass(&rig, 10000);
    }
}

Test(claim, nothing_is_fetched_ahead_of_a_short_lease)
{
    rig.settings.own.lease_us = CLAIM_AHEAD_LEASE_US - 1;
    rig_put_many(&rig, 1, 20, 10);
    claim_quickly(10);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 10);
}

Test(claim, claimed_ahead_is_no_loss_to_out)
{
    struct reader *r = rig_other_reader(&rig, READER_UNLIMITED, 0);

    rig_put_many(&rig, 1, 5, 4);
    claim_quickly(4); /* of which the last came with the fifth */
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 5);
    rig_expect(&rig, r, BULK, "1:4\n");
    rig_leave(&rig, r);
}

Test(claim, claimed_ahead_goes_back_before_a_flush_ends)
{
    rig_put_many(&rig, 1, 5, 4);
    claim_quickly(4);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 5);
    rig_flush(&rig, &call, SECOND);
    rig_settle_down(&rig);
    cr_assert(call.done);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 4);
}

Test(claim, given_back_goes_before_what_was_claimed_ahead)
{
    rig_put_many(&rig, 1, 5, 4);
    claim_quickly(4);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 5);
    cr_assert_eq(rig_hold(&rig, item_id(1, 2), SETTLE_NACK), 0);
    claim_one(lines(1, 2, 3));
}

/* ---- the end ---- */

Test(claim, at_the_end_of_the_mount_all_is_given_back)
{
    rig_put_many(&rig, 1, 9, 4);
    claim_quickly(4);
    cr_assert_gt(rig_count(&rig, ITEM_LEASED), 4);
    rig_end(&rig, -ESHUTDOWN);
    cr_assert_gt(consumer_counters(rig.c)->in_flight_settlements, 0);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0);
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_ACK), -ENOENT);
}

Test(claim, of_a_removed_queue_all_is_forgotten)
{
    rig_put_many(&rig, 1, 3, 4);
    claim_quickly(2);
    rig_end(&rig, -ENOENT);
    cr_assert_eq(rig_hold(&rig, item_id(1, 0), SETTLE_ACK), -ENOENT);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), 0);
}

/* ---- claims by id ---- */

static int hold(struct grant *grants, size_t n, const char *bytes)
{
    struct request get = {.kind = REQUEST_GET, .sent_us = rig.now_us};
    struct effects effects;
    int error;

    get.out.get.grants = grants;
    get.out.get.n_grants = n;
    get.out.get.data = (const uint8_t *)bytes;
    get.out.get.len = strlen(bytes);
    effects_init(&effects);
    error = consumer_hold(rig.c, &get, rig.now_us, &effects);
    cr_assert_null(effects.requests);
    return error;
}

Test(claim, what_was_asked_for_by_id_is_held)
{
    struct grant grant = {
        .batch = 1, .from = 1, .to = 2, .token = 5, .len = 2, .lease_us = 10 * SECOND};

    rig_put(&rig, 1, FRAMING_LINE, "a\nb\n");
    cr_assert_eq(hold(&grant, 1, "b\n"), 0);
    cr_assert(is_held(item_id(1, 1)));
    grant.lease_us = 0;
    grant.from = 0;
    grant.to = 1;
    cr_assert_eq(hold(&grant, 1, "a\n"), -ESTALE);
    cr_assert_not(is_held(item_id(1, 0)));
    rig_pass(&rig, SECOND);
    cr_assert_eq(rig.n_settles, 1, "and given back");
    grant = (struct grant){.batch = 9, .to = 3, .token = 5, .len = 3, .lease_us = SECOND};
    cr_assert_eq(hold(&grant, 1, "ab\n"), 0, "fewer separators than items are contained");
    cr_assert(is_held(item_id(9, 2)));
    grant.len = 50;
    cr_assert_eq(hold(&grant, 1, "a\n"), -EPROTO);
    rig_settle_down(&rig);
}
