#include <criterion/criterion.h>

#include <pthread.h>

#include "core/budget.h"

#define TOTAL 1000

static struct budget budget;

static void begin(bool by_uid)
{
    budget_init(&budget, TOTAL, by_uid, 500);
}

static size_t take(struct budget_user *user, size_t want)
{
    return budget_take(user, BUDGET_BUFFERED, want);
}

static void end(struct budget_user *user, size_t bytes)
{
    budget_give_back(user, BUDGET_BUFFERED, bytes);
    budget_user_unref(user);
}

static int64_t used(void)
{
    return atomic_load(&budget.used_bytes[BUDGET_BUFFERED]);
}

Test(budget, one_user_alone_may_have_it_all, .timeout = 10)
{
    struct budget_user *user;

    begin(false);
    user = budget_user_get(&budget, 1000);
    cr_assert_eq(user, budget_user_get(&budget, 1001), "there is one user only");
    cr_assert_eq(take(user, TOTAL + 1), TOTAL);
    cr_assert_eq(take(user, 1), 0);
    end(user, TOTAL);
    cr_assert_eq(used(), 0);
    budget_fini(&budget);
}

Test(budget, a_user_leaves_half_to_the_others, .timeout = 10)
{
    struct budget_user *one, *two, *three;

    begin(true);
    one = budget_user_get(&budget, 1000);
    two = budget_user_get(&budget, 1001);
    three = budget_user_get(&budget, 1002);
    cr_assert_eq(take(one, TOTAL), 500);
    cr_assert_eq(take(one, 1), 0);
    cr_assert_eq(take(two, TOTAL), 250);
    cr_assert_eq(take(three, TOTAL), 125);
    cr_assert_eq(budget_room(three, BUDGET_BUFFERED), 0);
    end(one, 500);
    cr_assert_eq(take(two, TOTAL), 187, "half of what the others leave");
    end(two, 250 + 187);
    end(three, 125);
    cr_assert_eq(used(), 0);
    budget_fini(&budget);
}

Test(budget, who_mounts_and_root_may_have_what_is_free, .timeout = 10)
{
    struct budget_user *one, *owner;

    begin(true);
    one = budget_user_get(&budget, 1000);
    owner = budget_user_get(&budget, 500);
    cr_assert_eq(owner, budget_user_get(&budget, 0));
    cr_assert_eq(take(one, TOTAL), 500);
    cr_assert_eq(take(owner, TOTAL), 500);
    cr_assert_eq(take(one, 1), 0);
    end(owner, 500);
    end(one, 500);
    budget_fini(&budget);
}

Test(budget, all_or_nothing, .timeout = 10)
{
    struct budget_user *user;

    begin(true);
    user = budget_user_get(&budget, 1000);
    cr_assert_not(budget_take_all(user, BUDGET_BUFFERED, 501));
    cr_assert_eq(used(), 0);
    cr_assert(budget_take_all(user, BUDGET_BUFFERED, 500));
    cr_assert(budget_take_all(user, BUDGET_BUFFERED, 0));
    end(user, 500);
    budget_fini(&budget);
}

Test(budget, what_is_forced_counts, .timeout = 10)
{
    struct budget_user *user;

    begin(true);
    user = budget_user_get(&budget, 1000);
    budget_force(user, BUDGET_BUFFERED, 2 * TOTAL);
    cr_assert_eq(take(user, 1), 0);
    end(user, 2 * TOTAL);
    cr_assert_eq(used(), 0);
    budget_fini(&budget);
}

Test(budget, a_user_is_known_as_long_as_somebody_needs_him, .timeout = 10)
{
    struct budget_user *user, *again;

    begin(true);
    user = budget_user_get(&budget, 1000);
    cr_assert_eq(take(user, 100), 100);
    again = budget_user_ref(user);
    budget_user_unref(user);
    cr_assert_eq(budget_user_get(&budget, 1000), again);
    budget_user_unref(again);
    end(again, 100);
    cr_assert(RB_EMPTY(&budget.users));
    budget_fini(&budget);
}

Test(budget, the_largest_item_is_always_possible, .timeout = 10)
{
    struct budget_user *user;

    begin(true);
    user = budget_user_get(&budget, 1000);
    cr_assert_geq(budget_room(user, BUDGET_FLOOR), (size_t)64 << 20);
    cr_assert_geq(budget_room(user, BUDGET_FETCHED), (size_t)64 << 20);
    budget_user_unref(user);
    budget_fini(&budget);
}

Test(budget, the_most_that_was_used, .timeout = 10)
{
    struct budget_user *user;
    int64_t now_bytes;

    begin(false);
    user = budget_user_get(&budget, 0);
    take(user, 600);
    budget_give_back(user, BUDGET_BUFFERED, 500);
    cr_assert_eq(budget_high(&budget, &now_bytes), 600);
    cr_assert_eq(now_bytes, 100);
    cr_assert_eq(budget_high(&budget, &now_bytes), 0);
    end(user, 100);
    budget_fini(&budget);
}

static void *take_and_give_back(void *arg)
{
    struct budget_user *user = arg;

    for (int i = 0; i < 100000; i++) {
        size_t n = take(user, 300);

        if (used() > TOTAL)
            return "over";
        budget_give_back(user, BUDGET_BUFFERED, n);
    }
    return NULL;
}

Test(budget, threads_never_pass_the_total, .timeout = 60)
{
    struct budget_user *user;
    pthread_t threads[4];
    void *what;

    begin(false);
    user = budget_user_get(&budget, 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_and_give_back, user), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &what);
        cr_assert_null(what);
    }
    cr_assert_eq(used(), 0);
    budget_fini(&budget);
}
