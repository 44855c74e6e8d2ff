/*
 * How many threads serve a mount. The kernel wakes them in turn, so more than there are processors
 * cost a switch for each request; with one, each request waits until the thread has slept and been
 * woken again.
 */
#ifndef QUEUEFS_FS_SESSION_THREADS_H
#define QUEUEFS_FS_SESSION_THREADS_H

#include <sched.h>

#define SESSION_THREADS_MIN 2
#define SESSION_THREADS_MAX 10

/* How many processors this process may run on. */
static inline unsigned int usable_processors(void)
{
    cpu_set_t usable;

    return sched_getaffinity(0, sizeof(usable), &usable) == 0 ? (unsigned int)CPU_COUNT(&usable)
                                                              : SESSION_THREADS_MIN;
}

static inline unsigned int session_threads(void)
{
    unsigned int n = usable_processors();

    if (n < SESSION_THREADS_MIN)
        return SESSION_THREADS_MIN;
    return n > SESSION_THREADS_MAX ? SESSION_THREADS_MAX : n;
}

#endif
