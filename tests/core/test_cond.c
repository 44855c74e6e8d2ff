#include "core/cond.h"

#include <criterion/criterion.h>

#include "core/clock.h"

TestSuite(cond, .timeout = 60);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond;
static bool said;

static void setup(void)
{
    cr_assert_eq(cond_init(&cond), 0);
}

static int64_t now_us(void)
{
    return clock_system.mono_us(&clock_system);
}

Test(cond, a_wait_ends_at_its_time, .init = setup)
{
    int64_t until_us = cond_in_ms(20);

    pthread_mutex_lock(&lock);
    while (cond_wait_until(&cond, &lock, until_us))
        continue;
    pthread_mutex_unlock(&lock);
    cr_assert_geq(now_us(), until_us);
}

Test(cond, a_time_that_has_come_is_not_waited_for, .init = setup)
{
    pthread_mutex_lock(&lock);
    cr_assert_not(cond_wait_until(&cond, &lock, 0));
    cr_assert_not(cond_wait_until(&cond, &lock, now_us()));
    pthread_mutex_unlock(&lock);
}

static void *say(void *arg)
{
    pthread_mutex_lock(&lock);
    said = true;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void expect_said(int64_t until_us)
{
    pthread_t thread;

    said = false;
    pthread_mutex_lock(&lock);
    pthread_create(&thread, NULL, say, NULL);
    while (!said)
        cr_assert(cond_wait_until(&cond, &lock, until_us));
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
}

Test(cond, a_signal_ends_a_wait_with_an_end_and_one_without, .init = setup)
{
    expect_said(TIME_FOREVER);
    expect_said(cond_in_ms(50000));
}

Test(cond, in_ms_is_that_long_from_now)
{
    int64_t begun_us = now_us(), at_us = cond_in_ms(1500);

    cr_assert_geq(at_us, begun_us + 1500000);
    cr_assert_leq(at_us, now_us() + 1500000);
}
