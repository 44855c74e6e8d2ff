/* What every store promises when it is filled up to its limit, and when it is emptied again. */
#include <errno.h>

#include <criterion/criterion.h>

#include "tests/core/store/store_engines.h"

#define BATCH (MIB / 4)

/* Put batches, one a transaction, until the store says that it is full. */
static uint64_t fill(void)
{
    uint64_t batch = 0;

    while (!is_full(store)) {
        cr_assert_lt(batch, LIMIT / BATCH);
        begin(store);
        cr_assert_eq(put_len(store, 1, ++batch, BATCH), 0);
        commit(store);
    }
    return batch;
}

static void drain(uint64_t last)
{
    for (uint64_t batch = 1; batch <= last; batch++) {
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
        commit(store);
    }
}

STORE_TEST(full_before_the_limit)
{
    struct store_space space;
    uint64_t last = fill();

    cr_assert_eq(store->ops->space(store, &space), 0);
    cr_assert_eq(space.limit_bytes, LIMIT);
    cr_assert_gt(space.used_bytes, LIMIT / 10 * 6);
    cr_assert_leq(space.used_bytes, LIMIT);
    cr_assert_geq(last, LIMIT / BATCH * 6 / 10);
}

STORE_TEST(put_beyond_the_limit_changes_nothing)
{
    uint64_t last = fill(), batch = last;
    int rc;

    do {
        cr_assert_lt(batch, LIMIT / BATCH + 1);
        last = batch;
        begin(store);
        cr_assert_eq(put_len(store, 1, ++batch, BATCH), 0);
        rc = store->ops->commit(store);
    } while (rc == 0);
    cr_assert_eq(rc, -ENOSPC);
    expect_next(store, 1, last + 1, 0);
    begin(store);
    cr_assert_eq(put_len(store, 1, batch, LIMIT), 0);
    cr_assert_eq(store->ops->commit(store), -ENOSPC);
    expect_next(store, 1, last + 1, 0);
}

STORE_TEST(aborted_puts_take_no_space)
{
    struct store_space before, after;

    cr_assert_eq(store->ops->space(store, &before), 0);
    for (int i = 0; i < 4; i++) {
        begin(store);
        cr_assert_eq(put_len(store, 1, 1, LIMIT / 2), 0);
        store->ops->abort(store);
    }
    cr_assert_eq(store->ops->space(store, &after), 0);
    cr_assert_eq(after.used_bytes, before.used_bytes);
    cr_assert_not(after.full);
}

STORE_TEST(full_store_takes_marks_and_deletes)
{
    uint64_t last = fill();

    for (uint64_t batch = 1; batch <= last; batch++) {
        begin(store);
        put_mark(store, 1, batch, "partly done");
        commit(store);
    }
    drain(last);
    expect_next(store, 1, 0, 0);
    cr_assert_not(is_full(store));
}

STORE_TEST(drained_store_takes_puts_again)
{
    uint64_t last = fill();

    for (int round = 0; round < 3; round++) {
        uint64_t before = last;

        drain(last);
        cr_assert_not(is_full(store));
        last = fill();
        cr_assert_geq(last + 8, before); /* a segment more or less is dead */
    }
}

STORE_TEST(store_emptied_at_once_takes_as_much_at_once)
{
    uint64_t last = fill();

    begin(store);
    for (uint64_t batch = 1; batch <= last; batch++)
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
    commit(store);
    begin(store);
    for (uint64_t batch = 1; batch < last; batch++)
        cr_assert_eq(put_len(store, 1, batch, BATCH), 0);
    commit(store);
    expect_next(store, 1, last - 1, last - 1);
}
