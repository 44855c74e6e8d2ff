/*
 * The n-th allocation inside the consumer fails, for each n of a small day's work. Reads may then
 * say so; nothing is lost, given twice or left lent.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/get/consumer_rig.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static int countdown; /* allocations until one fails; 0: none does */
static int n_failing; /* how many fail then */

static bool fails(void)
{
    if (!rig_in_core || countdown == 0)
        return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    if (--n_failing == 0)
        countdown = 0;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

/* Returns how many bytes the read gave. */
static size_t read_some(struct rig *rig, struct reader *r, size_t len)
{
    struct call call;
    size_t given;

    call_init(&call, rig);
    rig_read(rig, r, &call, len, r->pos);
    rig_settle_down(rig);
    rig_pass(rig, 300000);
    rig_settle_down(rig);
    rig_pass(rig, 1200000);
    cr_assert(call.done);
    cr_assert(call.result >= 0 || call.result == -ENOMEM || call.result == -ETIMEDOUT, "got %zd",
              call.result);
    given = call.result > 0 ? (size_t)call.result : 0;
    call_fini(&call);
    return given;
}

/* What it tells the next read gives, or neither can. */
static void peek(struct rig *rig, struct reader *r)
{
    struct call call;

    call_init(&call, rig);
    rig_peek(rig, r, &call);
    rig_settle_down(rig);
    rig_pass(rig, 1500000);
    cr_assert(call.done);
    cr_assert(call.result == 0 || call.result == 20 || call.result == -ENOMEM ||
                  call.result == -ETIMEDOUT,
              "got %zd", call.result);
    call_fini(&call);
}

static void close_reader(struct rig *rig, struct reader *r)
{
    struct call call;

    call_init(&call, rig);
    rig_close(rig, r, &call);
    rig_settle_down(rig);
    rig_pass(rig, 1200000);
    cr_assert(call.done);
    call_fini(&call);
    rig_release(rig, r);
}

/* Of four items: two small reads, one of a part, one of all that is left. */
static void work(int nth, int n)
{
    struct reader *a, *b, *c;
    struct call poll;
    struct rig rig;
    size_t given;

    rig_init(&rig);
    a = rig_reader(&rig, READER_UNLIMITED, -1);
    b = rig_reader(&rig, 1, -1);
    c = rig_reader(&rig, READER_UNLIMITED, TIME_FOREVER);
    call_init(&poll, &rig);
    countdown = nth;
    n_failing = n;
    rig_poll(&rig, c, &poll);
    rig_put_many(&rig, 1, 2, 20);
    rig_put_many(&rig, 2, 2, 20000);
    rig_tell(&rig);
    given = read_some(&rig, a, 4096);
    peek(&rig, b);
    given += read_some(&rig, b, 4096);
    given += read_some(&rig, a, BULK);
    close_reader(&rig, b);
    close_reader(&rig, a);
    rig_pass(&rig, 5000000);
    rig_settle_down(&rig);
    rig_pass(&rig, 5000000);
    rig_settle_down(&rig);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), 0, "failing %d of %d", n, nth);
    cr_assert(given > 0 || n > 1);
    countdown = 0;
    rig_release(&rig, c);
    cr_assert(poll.done);
    call_fini(&poll);
    rig_fini(&rig);
}

Test(consumer_memory, one_allocation_fails, .timeout = 60)
{
    int nth;

    for (nth = 1; nth <= 40; nth++)
        work(nth, 1);
}

Test(consumer_memory, some_allocations_fail, .timeout = 60)
{
    int nth;

    for (nth = 1; nth <= 40; nth++)
        work(nth, 5);
}

/* Of four items: claims of two, one of which is settled, the other one renewed. */
static void work_on_claims(int nth, int n)
{
    struct item_info infos[4];
    struct reader *a, *b;
    struct rig rig;
    size_t given, n_held;

    rig_init_claims(&rig);
    a = rig_reader(&rig, 1, -1);
    b = rig_reader(&rig, 2, -1);
    rig_put_many(&rig, 1, 2, 20);
    rig_put_many(&rig, 2, 2, 20000);
    countdown = nth;
    n_failing = n;
    given = read_some(&rig, a, 4096) / CLAIM_LINE;
    given += read_some(&rig, b, BULK) / CLAIM_LINE;
    close_reader(&rig, b);
    close_reader(&rig, a);
    n_held = claims_list(consumer_claims(rig.c), 0, rig.now_us, 0, infos, 4);
    cr_assert_geq(n_held, given, "given, and not held");
    if (n_held > 1)
        rig_hold(&rig, infos[1].id, SETTLE_RENEW);
    if (n_held > 0)
        rig_hold(&rig, infos[0].id, SETTLE_ACK);
    rig_pass(&rig, 3000000);
    rig_settle_down(&rig);
    rig_pass(&rig, 3000000);
    rig_settle_down(&rig);
    countdown = 0;
    cr_assert(given > 0 || n > 1);
    cr_assert_eq(rig_count(&rig, ITEM_DONE), n_held > 0);
    cr_assert_eq(rig_count(&rig, ITEM_LEASED), n_held - (n_held > 0), "failing %d of %d", n, nth);
    rig_fini(&rig);
}

Test(consumer_memory, one_allocation_of_claims_fails, .timeout = 60)
{
    int nth;

    for (nth = 1; nth <= 40; nth++)
        work_on_claims(nth, 1);
}

Test(consumer_memory, some_allocations_of_claims_fail, .timeout = 60)
{
    int nth;

    for (nth = 1; nth <= 40; nth++)
        work_on_claims(nth, 5);
}

Test(consumer_memory, consumer_and_reader_are_not_made_where_there_is_none, .timeout = 20)
{
    struct all_settings settings = {.own = {.lease_us = 1}};
    struct consumer_options options = {.settings = &settings};
    struct consumer *c;
    struct reader *r;
    struct rig rig;
    int nth;

    rig_init(&rig);
    rig_in_core = true;
    countdown = n_failing = 1;
    cr_assert_eq(consumer_new(&options, &c), -ENOMEM);
    options.kind = GET_CLAIM;
    for (nth = 1; nth <= 2; nth++) {
        countdown = nth;
        n_failing = 1;
        cr_assert_eq(consumer_new(&options, &c), -ENOMEM);
    }
    countdown = n_failing = 1;
    cr_assert_eq(reader_new(rig.c, &rig.budget.unlimited, 1, -1, &r), -ENOMEM);
    rig_in_core = false;
    rig_fini(&rig);
}
