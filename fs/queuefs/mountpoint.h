/* The directory to mount on. Every error is logged here, as one line. One thread. */
#ifndef QUEUEFS_FS_QUEUEFS_MOUNTPOINT_H
#define QUEUEFS_FS_QUEUEFS_MOUNTPOINT_H

/* Its absolute path without symlinks, also where a dead mount lies on it. 0 (*path malloc'ed) or
 * negative errno. */
int mountpoint_resolve(const char *given, char **path);

/* How long to wait for a queuefs there that is ending. */
#define MOUNTPOINT_WAIT_US INT64_C(5000000)

/* Detach dead mounts from it; refuse where a living queuefs lies on it, or where it is no
 * directory. 0 or negative errno. */
int mountpoint_clear(const char *path);

/* Detach the topmost mount, open files or not. 0 or negative errno. Also with threads. */
int mountpoint_detach(const char *path);

#endif
