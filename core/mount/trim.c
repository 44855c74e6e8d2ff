/*
 * free(3) keeps large buffers for the next ones, which is what makes them cheap. After a burst that
 * nothing like it follows they are the system's: once what users hold has been far below the most
 * that they held, for a second, everything that is free is given back. That takes a few ms for each
 * GiB, and whoever allocates meanwhile waits.
 */
#include "core/mount/mount_state.h"

#include <malloc.h>

#define TRIM_BYTES (INT64_C(16) << 20) /* less is not worth it */

void mount_trim(struct mount *m)
{
    int64_t now_bytes, high_bytes = budget_high(&m->budget, &now_bytes);
    bool idle = high_bytes <= m->high_bytes / 4;

    if (!idle) {
        if (high_bytes > m->high_bytes)
            m->high_bytes = high_bytes;
        return;
    }
    if (m->high_bytes - now_bytes >= TRIM_BYTES) {
        malloc_trim(0);
        m->high_bytes = now_bytes;
    }
}
