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

static inline unsigned int session_threads(void)
{
    cpu_set_t usable;
    unsigned int n = SESSION_THREADS_MIN;

    if (sched_getaffinity(0, sizeof(usable), &usable) == 0)
        n = (unsigned int)CPU_COUNT(&usable);
    if (n < SESSION_THREADS_MIN)
        return SESSION_THREADS_MIN;
    return n > SESSION_THREADS_MAX ? SESSION_THREADS_MAX : n;
}

#endif
