/* Claims through a mount: who gets what again, and when. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/mount/world_rig.h"

static struct world world;
static struct mount *second; /* stopped by its test, freed when nothing answers it any more */
static struct mount_queue *mq;
static struct writer *w;

static void setup(void)
{
    open_world(&world);
    mq = make(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
}

static void teardown(void)
{
    struct mount_rest rest;

    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    mount_stop(world.mount, 20000000, &rest);
    cr_assert_eq(rest.n_items, 0);
    service_stop(world.service);
    mount_free(second);
    mount_free(world.mount);
    service_free(world.service);
}

TestSuite(mount_claims, .init = setup, .fini = teardown, .timeout = 120);

/* What `cat claim` prints, as a number; 0: nothing. */
static uint64_t claim_of(struct mount_queue *from)
{
    struct reader *r;
    char text[4097];
    uint64_t id = 0;
    ssize_t len;

    cr_assert_eq(mount_queue_reader_open(from, 0, GET_CLAIM, 1, -1, &r), 0);
    len = get(from, r, 0, CONSUMER_BULK_READ, text);
    cr_assert(len == 0 || len == ITEM_ID_DIGITS + 1);
    if (len > 0) {
        text[ITEM_ID_DIGITS] = '\0';
        cr_assert(item_id_parse(text, &id));
        cr_assert_eq(get(from, r, len, CONSUMER_BULK_READ, text), 0);
    }
    close_reader(from, r);
    return id;
}

static uint64_t claim_one(void)
{
    return claim_of(mq);
}

static uint64_t put_and_claim(const char *text)
{
    cr_assert_eq(put(mq, w, text), (ssize_t)strlen(text));
    return claim_one();
}

/* What `cat out` prints. */
static void expect_out(const char *expected)
{
    struct reader *r;
    char text[4097] = "";

    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, READER_UNLIMITED, -1, &r), 0);
    get(mq, r, 0, CONSUMER_BULK_READ, text);
    cr_assert_str_eq(text, expected);
    close_reader(mq, r);
}

/* However often it ends, the item is there again at once. */
static void set_lease(int64_t lease_us)
{
    struct call *call = call_new();
    struct mount_queue_info info;

    mount_queue_info(mq, &info);
    info.settings.own.lease_us = lease_us;
    info.settings.own.retry_delay_us = 0;
    info.settings.own.max_deliveries = 1000;
    mount_queue_set(mq, &info.settings, UINT64_MAX, &call->op);
    cr_assert_eq(call_end(call), 0);
}

static bool wait_until_gone(uint64_t id)
{
    struct item_info info;
    int i;

    for (i = 0; i < 4000 && mount_queue_claim(mq, id, &info); i++)
        usleep(5000);
    return i < 4000;
}

Test(mount_claims, held_read_and_acknowledged)
{
    uint64_t id = put_and_claim("job one\n");
    struct item_info info, infos[4];
    const uint8_t *data;
    struct claim *claim;
    size_t len;

    cr_assert_neq(id, 0);
    cr_assert(mount_queue_claim(mq, id, &info));
    cr_assert_eq(info.size, 7);
    cr_assert_eq(info.deliveries, 1);
    cr_assert_gt(info.until_us, info.put_time_us);
    cr_assert_eq(mount_queue_claim_list(mq, 0, infos, 4), 1);
    cr_assert_eq(mount_queue_claim_open(mq, id, &claim, &data, &len), 0);
    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_ACK), 0);
    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_ACK), -ENOENT);
    cr_assert_eq(memcmp(data, "job one", len), 0);
    mount_queue_claim_close(mq, claim);
    cr_assert_eq(flush(mq), 0);
    cr_assert_eq(stat_of(mq, "leased"), 0);
    cr_assert_eq(stat_of(mq, "depth"), 0);
    cr_assert_eq(stat_of(mq, "acks_late"), 0);
    cr_assert_eq(stat_of(mq, "total_gets"), 1);
    cr_assert_eq(claim_one(), 0);
}

Test(mount_claims, nothing_is_held_where_nothing_was_claimed)
{
    struct item_info info;
    const uint8_t *data;
    struct claim *claim;
    size_t len;

    cr_assert_not(mount_queue_claim(mq, 5, &info));
    cr_assert_eq(mount_queue_claim_list(mq, 0, &info, 1), 0);
    cr_assert_eq(mount_queue_claim_open(mq, 5, &claim, &data, &len), -ENOENT);
    cr_assert_eq(mount_queue_claim_settle(mq, 5, SETTLE_ACK), -ENOENT);
    cr_assert_eq(mount_queue_claim_settle(mq, 5, SETTLE_RENEW), -ESTALE);
}

Test(mount_claims, given_back_comes_first_and_is_counted)
{
    uint64_t id = put_and_claim("one\ntwo\n");
    struct item_info info;

    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_NACK), 0);
    cr_assert_eq(claim_one(), id);
    cr_assert(mount_queue_claim(mq, id, &info));
    cr_assert_eq(info.deliveries, 2);
    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_BURY), 0);
    expect_out("two\n");
    cr_assert_eq(flush(mq), 0);
    cr_assert_eq(stat_of(mq, "dead"), 1);
}

Test(mount_claims, given_back_is_seen_by_out)
{
    uint64_t id = put_and_claim("one\n");

    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_NACK), 0);
    expect_out("one\n");
}

Test(mount_claims, what_was_claimed_ahead_is_seen_by_out)
{
    char expected[64] = "", line[8];
    int i;

    for (i = 0; i < 20; i++) {
        snprintf(line, sizeof(line), "%02d\n", i);
        cr_assert_eq(put(mq, w, line), 3);
        if (i >= 10)
            strcat(expected, line);
    }
    for (i = 0; i < 10; i++)
        cr_assert_neq(claim_one(), 0);
    expect_out(expected);
    cr_assert_eq(flush(mq), 0);
    cr_assert_eq(stat_of(mq, "leased"), 10);
}

Test(mount_claims, lease_that_ended_is_gone_and_claimed_again)
{
    struct item_info info;
    uint64_t id;

    set_lease(1000000);
    cr_assert_eq(put(mq, w, "x\n"), 2);
    while ((id = claim_one()) == 0) /* its lease was over on arrival */
        usleep(2000);
    cr_assert(wait_until_gone(id));
    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_ACK), -ENOENT);
    while (claim_one() != id)
        usleep(2000);
    cr_assert(!mount_queue_claim(mq, id, &info) || info.deliveries >= 2);
    cr_assert_geq(stat_of(mq, "expired"), 1);
}

Test(mount_claims, open_keeps_the_lease)
{
    struct item_info info;
    const uint8_t *data;
    struct claim *claim;
    int64_t first_until_us;
    uint64_t id;
    size_t len;

    set_lease(18000000); /* renewed after a third of it: 12 s in which that may be late */
    id = put_and_claim("x\n");
    cr_assert_eq(mount_queue_claim_open(mq, id, &claim, &data, &len), 0);
    cr_assert(mount_queue_claim(mq, id, &info));
    first_until_us = info.until_us;
    while (info.until_us < first_until_us + 1000000) {
        usleep(100000);
        cr_assert(mount_queue_claim(mq, id, &info));
    }
    cr_assert_eq(stat_of(mq, "expired"), 0);
    set_lease(1000000);
    mount_queue_claim_close(mq, claim);
    cr_assert(wait_until_gone(id));
}

Test(mount_claims, a_mount_that_ends_gives_back)
{
    struct mount_rest rest;
    struct mount_queue *other;
    uint64_t id;

    second = mount_open(&world, 2);
    other = mount_find(second, "jobs");
    cr_assert_eq(put(mq, w, "x\n"), 2);
    cr_assert_eq(flush(mq), 0);
    id = claim_of(other);
    cr_assert_neq(id, 0);
    cr_assert_eq(claim_one(), 0);
    mount_queue_unref(other);
    mount_stop(second, 20000000, &rest);
    cr_assert_eq(claim_one(), id);
}

Test(mount_claims, a_waiting_claim_wakes_with_a_put)
{
    struct call *call = call_new();
    struct reader *r;

    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_CLAIM, 1, INT64_MAX, &r), 0);
    call->op.len = 4096;
    mount_queue_read(mq, r, &call->op);
    while (stat_of(mq, "waiting") != 1)
        usleep(1000);
    cr_assert_eq(put(mq, w, "x\n"), 2);
    cr_assert_eq(call_end(call), ITEM_ID_DIGITS + 1);
    close_reader(mq, r);
}

Test(mount_claims, of_a_removed_queue_nothing_is_held)
{
    struct call *call = call_new();
    uint64_t id = put_and_claim("x\n");

    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_ACK), 0);
    cr_assert_eq(flush(mq), 0);
    mount_remove_queue(world.mount, mq, &call->op);
    cr_assert_eq(call_end(call), 0);
    cr_assert_eq(mount_queue_claim_settle(mq, id, SETTLE_ACK), -ENOENT);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_CLAIM, 1, 0, &(struct reader *){NULL}),
                 -ENOENT);
}
