/* The command line of queuefs, over the settings file. One thread, before the fork. */
#ifndef QUEUEFS_FS_QUEUEFS_OPTIONS_H
#define QUEUEFS_FS_QUEUEFS_OPTIONS_H

#include "config/config.h"
#include "fs/fuse.h"
#include "transport/queued/command.h"
#include "transport/queued/store_command.h"

struct options {
    struct config config;
    char *data;            /* --data; NULL: not given. Owned, like every char * here */
    char *source;          /* as /proc/mounts shows it; NULL: not given */
    char *mountpoint;      /* as given */
    struct fuse_args fuse; /* for libfuse, its own options only */
    bool check;
    struct store_command store; /* of a kind: this is all there is to do */
};

/*
 * Read them. 0, OPTIONS_DONE, or negative: one line was printed and *status is what to exit with.
 * In any case options_fini() gives back what they hold.
 */
int options_read(struct options *options, int argc, char **argv, int *status);
void options_fini(struct options *options);

#endif
