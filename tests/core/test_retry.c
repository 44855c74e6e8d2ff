#include "core/retry.h"

#include <criterion/criterion.h>

static const struct queue_settings settings = {.max_deliveries = 3, .retry_delay_us = 1000000};

Test(retry, the_last_delivery_is_that_of_max_deliveries, .timeout = 10)
{
    cr_assert(!retry_is_over(&settings, 2));
    cr_assert(retry_is_over(&settings, 3));
    cr_assert(retry_is_over(&settings, 4)); /* the setting was lowered meanwhile */
}

Test(retry, the_first_is_at_once_and_each_later_one_takes_twice_as_long, .timeout = 10)
{
    cr_assert_eq(retry_delay_us(&settings, 0), 0);
    cr_assert_eq(retry_delay_us(&settings, 1), 0);
    cr_assert_eq(retry_delay_us(&settings, 2), 1000000);
    cr_assert_eq(retry_delay_us(&settings, 3), 2000000);
    cr_assert_eq(retry_delay_us(&settings, 11), 512000000);
    cr_assert_eq(retry_delay_us(&settings, 12), 600000000);
    cr_assert_eq(retry_delay_us(&settings, UINT32_MAX), 600000000);
}

Test(retry, a_delay_of_none_stays_none, .timeout = 10)
{
    struct queue_settings none = {.max_deliveries = 100};

    cr_assert_eq(retry_delay_us(&none, 1000000), 0);
}
