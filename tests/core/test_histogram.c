#include "core/histogram.h"

#include <criterion/criterion.h>

Test(histogram, empty_has_no_percentile, .timeout = 10)
{
    struct histogram h = {0};

    cr_assert_eq(histogram_percentile(&h, 50), 0);
    cr_assert_eq(histogram_percentile(&h, 99), 0);
}

Test(histogram, small_values_are_exact, .timeout = 10)
{
    struct histogram h = {0};
    int i;

    for (i = 1; i <= 7; i++)
        histogram_add(&h, i, 1);
    cr_assert_eq(histogram_percentile(&h, 50), 4);
    cr_assert_eq(histogram_percentile(&h, 100), 7);
    cr_assert_eq(h.max_us, 7);
    cr_assert_eq(h.n, 7);
}

Test(histogram, error_is_at_most_an_eighth, .timeout = 10)
{
    int64_t us;

    for (us = 1; us < INT64_C(1) << 40; us = us * 3 / 2 + 1) {
        struct histogram h = {0};
        int64_t p;

        histogram_add(&h, us, 10);
        histogram_add(&h, us * 64, 1); /* so that the maximum does not cut the bucket */
        p = histogram_percentile(&h, 50);
        cr_assert_geq(p, us);
        cr_assert_leq(p, us + us / 8);
    }
}

Test(histogram, percentile_never_passes_the_maximum, .timeout = 10)
{
    struct histogram h = {0};

    histogram_add(&h, 1000, 5);
    cr_assert_eq(histogram_percentile(&h, 99), 1000);
}

Test(histogram, negative_and_huge_values_are_kept_in_range, .timeout = 10)
{
    struct histogram h = {0};

    histogram_add(&h, -5, 1);
    histogram_add(&h, INT64_MAX, 1);
    cr_assert_eq(histogram_percentile(&h, 50), 0);
    cr_assert_gt(histogram_percentile(&h, 100), 0);
    cr_assert_eq(h.max_us, INT64_MAX);
}

Test(histogram, merge_adds_counts_and_takes_the_larger_maximum, .timeout = 10)
{
    struct histogram a = {0}, b = {0};

    histogram_add(&a, 2, 3);
    histogram_add(&b, 6, 3);
    histogram_merge(&a, &b);
    cr_assert_eq(a.n, 6);
    cr_assert_eq(a.max_us, 6);
    cr_assert_eq(histogram_percentile(&a, 50), 2);
    cr_assert_eq(histogram_percentile(&a, 51), 6);
}

Test(histogram, counts_stop_at_their_limit, .timeout = 10)
{
    struct histogram a = {0}, b = {0};

    histogram_add(&a, 1, UINT64_MAX / 2);
    histogram_add(&b, 1, UINT64_MAX / 2);
    histogram_merge(&a, &b);
    cr_assert_eq(a.buckets[1], UINT32_MAX);
    cr_assert_eq(histogram_percentile(&a, 50), 1);
}
