/*
 * --export QUEUE and --import QUEUE: the items of one queue of a store, to stdout and from stdin,
 * as lines, between NULs, or as a tar with a file each, by the queue's framing. One thread.
 */
#ifndef QUEUEFS_TRANSPORT_QUEUED_ITEMS_COMMAND_H
#define QUEUEFS_TRANSPORT_QUEUED_ITEMS_COMMAND_H

#include <stdbool.h>

#include "config/config.h"

/* Whose store it is: that of the program, as it would serve it. Borrowed. */
struct items_place {
    const char *program, *data; /* data NULL: not given */
    struct config *config;
};

struct items_command {
    const char *queue; /* to export also QUEUE/dead */
    struct items_place place;
};

/* Whether there can be such a queue. */
bool items_command_name_valid(const char *queue, bool to_export);

/* Where the store is, malloc'ed; NULL: there is none on a disk, which was said. */
char *items_command_dir(const struct items_place *place);

/* The statuses to exit with. */
int items_export(const struct items_command *command);
int items_import(const struct items_command *command);

#endif
