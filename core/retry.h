/* What becomes of an item whose worker has failed: the policy of retry_delay and max_deliveries. */
#ifndef QUEUEFS_CORE_RETRY_H
#define QUEUEFS_CORE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"

/* Whether an item that was delivered so often is dead now. */
bool retry_is_over(const struct queue_settings *settings, uint32_t deliveries);

/* How long it rests before the next delivery: 0 after the first, then twice as long each time, 600
 * s at most. */
int64_t retry_delay_us(const struct queue_settings *settings, uint32_t deliveries);

#endif
