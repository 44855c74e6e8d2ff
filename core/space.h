/* How full a store is: told by it, by its service to mounts, by df. */
#ifndef QUEUEFS_CORE_SPACE_H
#define QUEUEFS_CORE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

struct store_space {
    uint64_t used_bytes, limit_bytes;
    uint64_t damaged_rows; /* found since the start */
    bool full; /* puts must be refused: 90 % of the limit, or under min_free on the disk */
    bool gone; /* they must too: the next start would not find what is stored now */
};

#endif
