#include "core/mount/ticker.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

static sem_t ticked;
static int order[8], n_order;

static void tick(struct ticker_entry *entry, int64_t now_us)
{
    order[n_order++] = (int)(intptr_t)entry->owner;
    sem_post(&ticked);
}

static int wait_ticks(int n)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    while (n > 0 && sem_timedwait(&ticked, &until) == 0)
        n--;
    return n;
}

static sem_t held, go;
static struct ticker_entry holder;

static void hold(struct ticker_entry *entry, int64_t now_us)
{
    sem_post(&held);
    sem_wait(&go);
}

static struct ticker *start(void)
{
    struct ticker *ticker;

    sem_init(&ticked, 0, 0);
    cr_assert_eq(ticker_new(&clock_system, &ticker), 0);
    cr_assert_eq(ticker_start(ticker), 0);
    return ticker;
}

/* Nothing is called before sem_post(&go), however slow the machine. */
static struct ticker *start_held(void)
{
    struct ticker *ticker = start();

    sem_init(&held, 0, 0);
    sem_init(&go, 0, 0);
    ticker_entry_init(&holder, hold, NULL);
    cr_assert(ticker_arm(ticker, &holder, 0));
    sem_wait(&held);
    return ticker;
}

Test(ticker, entries_are_called_in_order_of_time, .timeout = 60)
{
    struct ticker *ticker = start_held();
    struct ticker_entry a, b, c;

    ticker_entry_init(&a, tick, (void *)1);
    ticker_entry_init(&b, tick, (void *)2);
    ticker_entry_init(&c, tick, (void *)3);
    cr_assert(ticker_arm(ticker, &c, 3));
    cr_assert(ticker_arm(ticker, &a, 1));
    cr_assert(ticker_arm(ticker, &b, 2));
    sem_post(&go);
    cr_assert_eq(wait_ticks(3), 0);
    ticker_free(ticker);
    cr_assert_eq(order[0], 1);
    cr_assert_eq(order[1], 2);
    cr_assert_eq(order[2], 3);
}

Test(ticker, an_earlier_time_wins_and_a_later_one_is_ignored, .timeout = 60)
{
    int64_t now_us = clock_system.mono_us(&clock_system);
    struct ticker *ticker = start_held();
    struct ticker_entry a;

    ticker_entry_init(&a, tick, (void *)1);
    cr_assert(ticker_arm(ticker, &a, now_us + 3600000000));
    cr_assert(!ticker_arm(ticker, &a, 1));
    cr_assert(!ticker_arm(ticker, &a, now_us + 7200000000));
    sem_post(&go);
    cr_assert_eq(wait_ticks(1), 0);
    cr_assert(ticker_arm(ticker, &a, now_us));
    cr_assert_eq(wait_ticks(1), 0);
    ticker_free(ticker);
}

Test(ticker, a_cancelled_entry_is_not_called, .timeout = 60)
{
    struct ticker *ticker = start_held();
    struct ticker_entry a, b;

    ticker_entry_init(&a, tick, (void *)1);
    ticker_entry_init(&b, tick, (void *)2);
    cr_assert(ticker_arm(ticker, &a, 1));
    cr_assert(ticker_arm(ticker, &b, 2));
    ticker_cancel(ticker, &a);
    ticker_cancel(ticker, &a);
    sem_post(&go);
    cr_assert_eq(wait_ticks(1), 0);
    ticker_free(ticker);
    cr_assert_eq(n_order, 1);
    cr_assert_eq(order[0], 2);
}

Test(ticker, stops_with_entries_armed, .timeout = 60)
{
    struct ticker *ticker = start();
    struct ticker_entry a;

    ticker_entry_init(&a, tick, (void *)1);
    ticker_arm(ticker, &a, clock_system.mono_us(&clock_system) + 3600000000);
    ticker_stop(ticker);
    ticker_stop(ticker);
    ticker_free(ticker);
    ticker_free(NULL);
    cr_assert_eq(n_order, 0);
}

static _Atomic bool within, may_leave;

static void tick_slowly(struct ticker_entry *entry, int64_t now_us)
{
    cr_assert(ticker_is_here());
    ticker_cancel(entry->owner, entry); /* waits for nothing here */
    within = true;
    while (!may_leave)
        usleep(1000);
    within = false;
}

static void *let_leave(void *arg)
{
    usleep(50000);
    may_leave = true;
    return NULL;
}

Test(ticker, cancel_waits_for_a_function_that_runs, .timeout = 60)
{
    struct ticker *ticker = start();
    struct ticker_entry a;
    pthread_t thread;

    ticker_entry_init(&a, tick_slowly, ticker);
    ticker_arm(ticker, &a, 0);
    while (!within)
        usleep(100);
    pthread_create(&thread, NULL, let_leave, NULL);
    ticker_cancel(ticker, &a);
    cr_assert_not(within);
    cr_assert_not(ticker_is_here());
    pthread_join(thread, NULL);
    ticker_arm(ticker, &a, clock_system.mono_us(&clock_system) + 10000000);
    ticker_cancel(ticker, &a);
    cr_assert_null(ticker_take(ticker));
    ticker_free(ticker);
}
