/* How long to wait before what has failed is tried again: doubled each time, up to a limit. */
#ifndef QUEUEFS_CORE_BACKOFF_H
#define QUEUEFS_CORE_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_US INT64_C(50000)
#define BACKOFF_MAX_US   INT64_C(2000000)

struct backoff {
    int64_t next_us;
};

/* It went well: the next failure waits for the shortest time. */
static inline void backoff_reset(struct backoff *backoff)
{
    backoff->next_us = BACKOFF_FIRST_US;
}

/* How long this time. */
static inline int64_t backoff_next(struct backoff *backoff)
{
    int64_t us = backoff->next_us;

    backoff->next_us = us * 2 < BACKOFF_MAX_US ? us * 2 : BACKOFF_MAX_US;
    return us;
}

#endif
