/*
 * Tests of what every store promises, run against each engine: STORE_TEST(condition) makes a test
 * of the suite store_memory and one of store_local out of one body, with `store` open and empty.
 * Included by one file of a test program.
 */
#ifndef QUEUEFS_TESTS_CORE_STORE_STORE_ENGINES_H
#define QUEUEFS_TESTS_CORE_STORE_STORE_ENGINES_H

#include "tests/core/store/store_fixture.h"

#define LIMIT (32 * MIB)

/* Of one test: each runs in a process of its own. */
static struct store *store;
static char dir[] = "/tmp/test-store-XXXXXX";

static void memory_setup(void)
{
    cr_assert_eq(store_memory_open(LIMIT, &store), 0);
}

static void memory_teardown(void)
{
    store->ops->close(store);
}

static void local_setup(void)
{
    const struct local_options options = {.dir = dir, .max_bytes = LIMIT};

    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(store_local_open(&options, &store), 0);
}

static void local_teardown(void)
{
    store->ops->close(store);
    remove_tree(dir);
}

#define STORE_TEST(condition)                                                                      \
    static void condition(void);                                                                   \
    Test(store_memory, condition, .init = memory_setup, .fini = memory_teardown, .timeout = 30)    \
    {                                                                                              \
        condition();                                                                               \
    }                                                                                              \
    Test(store_local, condition, .init = local_setup, .fini = local_teardown, .timeout = 30)       \
    {                                                                                              \
        condition();                                                                               \
    }                                                                                              \
    static void condition(void)

#endif
