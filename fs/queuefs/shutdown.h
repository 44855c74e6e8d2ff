/*
 * How a mount ends, whatever ends it: SIGTERM, SIGINT or SIGHUP, the mount going away (also
 * lazily, which only /proc/self/mountinfo tells), the store failing for good, the session's loop
 * returning. Whichever comes first, the mount is stopped once: what is buffered is sent, every
 * waiter released; then the loop is made to return.
 *
 * Two threads: the watcher, which waits for the causes, and the stopper, which the first of them
 * sets going: stopping takes its time, and a second signal shall end the program at once.
 */
#ifndef QUEUEFS_FS_QUEUEFS_SHUTDOWN_H
#define QUEUEFS_FS_QUEUEFS_SHUTDOWN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/mount/mount.h"
#include "fs/fuse.h"
#include "fs/queuefs/mountinfo.h"

struct ending {
    struct mount *mount;
    struct fuse_session *session;
    const char *mountpoint;
    int64_t timeout_us;
    struct mount_entry entry; /* the mount to watch; id 0: not known */
    pthread_t loop;           /* who runs the session's loop */
    pthread_t watcher, stopper;
    bool watching, stopping; /* the threads are there */
    int signal_fd, mountinfo_fd, wake_fd;
    struct mount_rest rest; /* the stopper's result */
    atomic_bool failed;     /* the store did */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Guarded by lock. */
    bool begun, loop_left, finished;
};

/* Block the signals, in the calling thread and those that it starts. Before there are threads.
 * 0 or negative errno. */
int ending_init(struct ending *ending);

/* From here on the causes count. Called by the thread that will run the loop, with the fields above
 * (mount to entry) filled in. 0 or negative errno. */
int ending_watch(struct ending *ending);

/* The store failed for good. Any thread, at any time after ending_init(). */
void ending_fail(struct ending *ending);

/* End as if by a signal. Any thread, after ending_watch(). */
void ending_begin(struct ending *ending);

/* The loop has returned, or never ran: stop the mount if nothing did yet, and wait for that. Also
 * where ending_watch() failed. */
void ending_finish(struct ending *ending);

void ending_fini(struct ending *ending);

#endif
