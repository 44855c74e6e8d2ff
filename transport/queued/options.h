/* The command line of queued, over the settings file. One thread. */
#ifndef QUEUEFS_TRANSPORT_QUEUED_OPTIONS_H
#define QUEUEFS_TRANSPORT_QUEUED_OPTIONS_H

#include "config/config.h"
#include "transport/queued/command.h"
#include "transport/queued/store_command.h"

struct queued_options {
    struct config config; /* listen: where it says nothing, the place where mounts look */
    char *data;           /* --data; NULL: not given. Owned */
    bool check;
    struct store_command store; /* of a kind: this is all there is to do */
    int argc;                   /* what it was read from; borrowed */
    char **argv;
};

/*
 * Read them. 0, OPTIONS_DONE, or negative: one line was printed and *status is what to exit with.
 * In any case queued_options_fini() gives back what they hold.
 */
int queued_options_read(struct queued_options *options, int argc, char **argv, int *status);
void queued_options_fini(struct queued_options *options);

#endif
