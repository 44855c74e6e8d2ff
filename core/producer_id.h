/* Who puts and asks: one life of one mount. */
#ifndef QUEUEFS_CORE_PRODUCER_ID_H
#define QUEUEFS_CORE_PRODUCER_ID_H

#include <stdint.h>

struct producer_id {
    uint8_t bytes[16]; /* random, one for each life of a mount */
};

#endif
