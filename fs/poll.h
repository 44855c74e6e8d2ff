/*
 * poll(2) on an open file. The answer comes at once; where the kernel gave a handle, it is notified
 * once what was asked for may have become so. One handle a file is kept, the newest, until
 * a newer one or the release takes its place. At most one op is parked.
 */
#ifndef QUEUEFS_FS_POLL_H
#define QUEUEFS_FS_POLL_H

#include <pthread.h>
#include <stdbool.h>

#include "fs/fuse.h"

#include "core/op.h"

struct file;

struct poll {
    pthread_mutex_t lock;
    /* Guarded by lock. */
    struct fuse_pollhandle *handle; /* owned; NULL: none */
    bool parked;                    /* or about to be */
    bool crowd;                     /* someone else polled meanwhile */
    bool released;
    struct op op; /* core's while parked */
};

void poll_init(struct poll *poll);

/* Nothing parked any more. */
void poll_fini(struct poll *poll);

/* Answer a poll; takes the handle (NULL: the kernel waits for nothing). */
void poll_answer(struct file *file, fuse_req_t req, struct fuse_pollhandle *handle);

/* A call was answered EAGAIN: whoever waits for a change only (EPOLLET) must be told of the next,
 * although the last poll had nothing to wait for. */
void poll_again(struct file *file);

/* The file's last close: ends what is parked, destroys the handle. Before its writer or reader
 * goes. */
void poll_release(struct file *file);

#endif
