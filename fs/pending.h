/*
 * What interrupts a thread: the signals that wait for it, as /proc/TID/status tells. Any thread; it
 * takes a few microseconds and asks nothing of a mount.
 */
#ifndef QUEUEFS_FS_PENDING_H
#define QUEUEFS_FS_PENDING_H

#include <sys/types.h>

enum pending {
    PENDING_HANDLED, /* it has a handler; also where nothing can be told */
    PENDING_STOP,    /* none that ends or is handled: a stop, a tracer, the freezer */
    PENDING_END,     /* the process ends of it, or is ending, whatever the call returns */
};

/* Thread `tid`; 0: not one of ours. */
enum pending pending_of(pid_t tid);

/* The same from the text of that file. */
enum pending pending_in(const char *status);

#endif
