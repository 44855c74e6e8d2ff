/* What stat(2) shows: modes derived from the queue's one mode, and the rest of struct stat. Pure.
 */
#ifndef QUEUEFS_FS_ATTR_H
#define QUEUEFS_FS_ATTR_H

#include "fs/child.h"

#include <sys/stat.h>
#include <sys/types.h>

/*
 * Type and permission bits of a queue's node, where the queue's mode is `mode`: w is put, r is get
 * and look, config and purge are the owner's.
 *
 * The directory shows the queue's own r and w, and x for whom either is set, so that chmod g+w,
 * which starts from what it sees, changes what it says and nothing else.
 */
mode_t attr_mode(enum node_kind kind, mode_t mode);

/* The queue's mode that a chmod of its directory to `mode` asks for. */
mode_t attr_queue_mode(mode_t mode);

/* st_ino: the same for all nodes of one name, different for different ones. An item has one, in
 * whichever directory it is. `queue` 0: root's. */
ino_t attr_ino(uint64_t queue, const struct child *child);

#endif
