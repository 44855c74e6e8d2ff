#include <criterion/criterion.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "fs/limit.h"

static struct ticker *ticker;
static struct limit limit;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
/* lock: what was ended, in order, and by which bound */
static struct {
    struct limited *what;
    enum limit_bound bound;
} ends[4];
static atomic_int n_ended;

static void set_up(void)
{
    cr_assert_eq(ticker_new(&clock_system, &ticker), 0);
    cr_assert_eq(ticker_start(ticker), 0);
    limit_init(&limit, ticker, &clock_system);
}

static void tear_down(void)
{
    ticker_stop(ticker);
    cr_assert_null(ticker_take(ticker));
    ticker_free(ticker);
}

TestSuite(limit, .init = set_up, .fini = tear_down, .timeout = 60);

static void end(struct limited *limited)
{
    enum limit_bound bound;

    cr_assert(ticker_is_here());
    bound = limit_remove(&limit, limited);
    cr_assert_neq(bound, LIMIT_NONE);
    pthread_mutex_lock(&lock);
    ends[n_ended].what = limited;
    ends[n_ended++].bound = bound;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&lock);
}

static void wait_ended(int n)
{
    pthread_mutex_lock(&lock);
    while (n_ended < n)
        pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
}

static atomic_bool within, may_leave;

static void end_slowly(struct limited *limited)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    within = true;
    while (!may_leave)
        nanosleep(&pause, NULL);
    within = false;
}

/* Nothing else is ended before may_leave is set, however slow the machine. */
static void hold(struct limited *holder)
{
    limit_set_kernel(&limit, 1000);
    limit_add(&limit, holder, end_slowly);
    while (!within)
        sched_yield();
}

Test(limit, of_the_kernel)
{
    cr_assert_eq(limit_of_kernel_us(0, 0), 0);
    cr_assert_eq(limit_of_kernel_us(100, 0), 75000000);
    cr_assert_eq(limit_of_kernel_us(0, 100), 75000000);
    cr_assert_eq(limit_of_kernel_us(40, 100), 30000000);
    cr_assert_eq(limit_of_kernel_us(100, 40), 30000000);
    cr_assert_eq(limit_of_kernel_us(1, 0), 11250000);
}

Test(limit, none)
{
    struct limited a;

    limit_set_kernel(&limit, 0);
    limit_add(&limit, &a, end);
    cr_assert_not(limit_remove(&limit, &a));
}

Test(limit, ends_in_order_what_waits_too_long)
{
    struct limited a, b;

    limit_set_kernel(&limit, 20000);
    limit_add(&limit, &a, end);
    limit_add(&limit, &b, end);
    wait_ended(2);
}

Test(limit, what_is_removed_in_time_is_not_ended)
{
    struct limited holder, a, b;

    hold(&holder);
    limit_add(&limit, &a, end);
    limit_add(&limit, &b, end);
    cr_assert_not(limit_remove(&limit, &a));
    may_leave = true;
    wait_ended(1);
    cr_assert_eq(ends[0].what, &b);
    cr_assert_eq(n_ended, 1);
    cr_assert_not(ticker_is_here());
    limit_remove(&limit, &holder);
}

static void *let_leave(void *arg)
{
    const struct timespec pause = {.tv_nsec = 50000000};

    nanosleep(&pause, NULL);
    may_leave = true;
    return NULL;
}

Test(limit, removal_waits_for_an_end_that_runs)
{
    struct limited a;
    pthread_t thread;

    hold(&a);
    pthread_create(&thread, NULL, let_leave, NULL);
    cr_assert(limit_remove(&limit, &a));
    cr_assert_not(within);
    pthread_join(thread, NULL);
}

Test(limit, a_moment_ends_before_a_second)
{
    struct limited a, b, c;
    int64_t begin_us = clock_system.mono_us(&clock_system);

    limit_set_kernel(&limit, 0);
    limit_add(&limit, &a, end);
    limit_add(&limit, &b, end);
    limit_add(&limit, &c, end);
    limit_hurry(&limit, &b, LIMIT_MOMENT); /* first: it is due first, however slow the machine */
    limit_hurry(&limit, &a, LIMIT_SECOND);
    wait_ended(1);
    cr_assert_eq(ends[0].bound, LIMIT_MOMENT);
    cr_assert_geq(clock_system.mono_us(&clock_system) - begin_us, LIMIT_MOMENT_US);
    wait_ended(2);
    cr_assert_eq(ends[1].bound, LIMIT_SECOND);
    cr_assert_geq(clock_system.mono_us(&clock_system) - begin_us, LIMIT_SECOND_US);
    cr_assert_eq(limit_remove(&limit, &c), LIMIT_NONE);
}

Test(limit, the_earlier_end_holds)
{
    struct limited holder, a, b;

    hold(&holder);
    limit_add(&limit, &a, end);
    limit_hurry(&limit, &a, LIMIT_SECOND);
    may_leave = true;
    wait_ended(1);
    cr_assert_eq(ends[0].bound, LIMIT_KERNEL);
    limit_set_kernel(&limit, 60000000);
    limit_add(&limit, &b, end);
    limit_hurry(&limit, &b, LIMIT_MOMENT);
    wait_ended(2);
    cr_assert_eq(ends[1].bound, LIMIT_MOMENT);
    limit_remove(&limit, &holder);
}
