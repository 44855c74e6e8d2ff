#include "core/retry.h"

#include "core/clock.h"

#define RETRY_DELAY_MAX_US (INT64_C(600) * 1000000)

bool retry_is_over(const struct queue_settings *settings, uint32_t deliveries)
{
    return deliveries >= settings->max_deliveries;
}

int64_t retry_delay_us(const struct queue_settings *settings, uint32_t deliveries)
{
    int64_t delay_us = settings->retry_delay_us;

    if (deliveries < 2)
        return 0;
    for (uint32_t i = 2; i < deliveries && delay_us > 0 && delay_us < RETRY_DELAY_MAX_US; i++)
        delay_us *= 2;
    return time_min(delay_us, RETRY_DELAY_MAX_US);
}
