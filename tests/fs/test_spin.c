#include "fs/spin.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

TestSuite(spin, .timeout = 20);

static struct spin spin;
static int ends[2];

static void setup(void)
{
    cr_assert_eq(pipe(ends), 0);
    spin_init(&spin);
    spin.alone = false;
}

static int64_t took_us(void)
{
    struct timespec begun, ended;

    clock_gettime(CLOCK_MONOTONIC, &begun);
    spin_wait(&spin, ends[0]);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return (ended.tv_sec - begun.tv_sec) * INT64_C(1000000) +
           (ended.tv_nsec - begun.tv_nsec) / 1000;
}

static void miss(int n)
{
    for (int i = 0; i < n; i++)
        spin_wait(&spin, ends[0]);
}

Test(spin, looks_for_its_time_where_nothing_comes, .init = setup)
{
    cr_assert_geq(took_us(), SPIN_US);
    cr_assert_eq(spin.luck, SPIN_LUCK - 2);
}

Test(spin, what_is_there_already_is_luck, .init = setup)
{
    miss(3);
    cr_assert_eq(write(ends[1], "x", 1), 1);
    spin_wait(&spin, ends[0]);
    cr_assert_eq(spin.luck, SPIN_LUCK - 5);
}

Test(spin, the_end_of_the_session_ends_it, .init = setup)
{
    close(ends[1]);
    spin_wait(&spin, ends[0]);
    cr_assert_eq(spin.luck, SPIN_LUCK);
}

Test(spin, what_does_not_pay_is_tried_now_and_then, .init = setup)
{
    miss(SPIN_LUCK / 2);
    cr_assert_eq(spin.luck, 0);
    cr_assert_eq(write(ends[1], "x", 1), 1);
    for (int n = 0; spin.luck == 0; n++) {
        spin_wait(&spin, ends[0]);
        cr_assert_lt(n, SPIN_EVERY);
    }
}

/* n that pay for each in vain, a hundred times. */
static void play(int n)
{
    char byte;

    for (int i = 0; i < 100; i++) {
        cr_assert_eq(write(ends[1], "x", 1), 1);
        for (int k = 0; k < n; k++)
            spin_wait(&spin, ends[0]);
        cr_assert_eq(read(ends[0], &byte, 1), 1);
        miss(1);
    }
}

Test(spin, two_of_three_pay, .init = setup)
{
    play(2);
    cr_assert_geq(spin.luck, SPIN_LUCK - 2);
}

Test(spin, one_of_two_does_not, .init = setup)
{
    play(1);
    cr_assert_leq(spin.luck, 1);
}

Test(spin, one_at_a_time_looks, .init = setup)
{
    cr_assert_not(atomic_flag_test_and_set(&spin.looking));
    miss(3);
    cr_assert_eq(spin.luck, SPIN_LUCK);
}

Test(spin, with_one_processor_nobody_looks, .init = setup)
{
    spin.alone = true;
    miss(3);
    cr_assert_eq(spin.luck, SPIN_LUCK);
}
