/*
 * What a mount has behind it: the NNG client, or where no service is named, the service that runs
 * inside (transport/queued/service.h), to which it talks directly. Other mounts reach that one over
 * DATADIR/queuefs.sock and what `listen` says.
 */
#ifndef QUEUEFS_FS_QUEUEFS_BACKING_H
#define QUEUEFS_FS_QUEUEFS_BACKING_H

#include "config/config.h"
#include "core/request.h"
#include "core/mount/mount.h"
#include "transport/client.h"
#include "transport/queued/service.h"

struct backing_options {
    struct config *config; /* owners of its queues are filled in */
    const char *data;      /* --data, or NULL */
    const char *mountpoint;
    uid_t uid; /* owner of queues that name none */
    gid_t gid;
    void (*fatal)(void *arg, int error); /* the store failed for good; on any thread */
    void *fatal_arg;
};

struct backing {
    struct main_service service; /* empty: it is elsewhere */
    struct client *client;       /* NULL: it is inside */
};

/* After the fork. 0 or negative errno, logged; then it was undone. */
int backing_start(struct backing *backing, const struct backing_options *options);

/* How requests get to the service; valid until backing_fini(). */
struct backend *backing_backend(struct backing *backing);

/* Of struct mount_options; `backing` is the backing. */
void backing_link_info(void *backing, struct link_info *info);

/* Answers nothing any more; what was acknowledged is stored. Takes a zeroed one. */
void backing_stop(struct backing *backing);

/* Lets go of all memory, and of the data directory last. */
void backing_fini(struct backing *backing);

#endif
