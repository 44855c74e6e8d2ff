/* /proc/self/mountinfo: what is mounted where, and when that changes. */
#ifndef QUEUEFS_FS_QUEUEFS_MOUNTINFO_H
#define QUEUEFS_FS_QUEUEFS_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct mount_entry {
    long id; /* of the mount, while it is there */
    unsigned major, minor;
    char path[PATH_MAX];
    char type[64];
};

/* One line. False: it is none. Pure. */
bool mount_entry_parse(const char *line, struct mount_entry *entry);

/* The topmost mount on exactly `path`. 0, -ENOENT: none; or why it can't be known. */
int mount_entry_at(const char *path, struct mount_entry *entry);

/* Whether this mount is still there. Where that can't be known: true. */
bool mount_entry_exists(const struct mount_entry *entry);

/* A descriptor on which poll(2) says POLLPRI when something was mounted or unmounted since
 * the last poll of it; the caller's to close. Or negative errno. */
int mountinfo_open(void);

#endif
