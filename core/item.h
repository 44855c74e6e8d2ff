/* What can be seen of an item. Ids: name.h. */
#ifndef QUEUEFS_CORE_ITEM_H
#define QUEUEFS_CORE_ITEM_H

#include <stdint.h>

#include "core/name.h"

enum item_state {
    ITEM_READY,
    ITEM_LEASED,
    ITEM_DELAYED, /* ready later */
    ITEM_DEAD,
    ITEM_DONE,
    ITEM_STATES
};

struct item_info {
    uint64_t id;
    uint64_t size; /* bytes, without its separator */
    enum item_state state;
    uint32_t deliveries; /* counted ones; a claim's own is among them */
    int64_t put_time_us; /* wall clock */
    int64_t until_us;    /* wall clock: delayed until, leased until; else 0 */
};

#endif
