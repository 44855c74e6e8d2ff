/*
 * The data directory of a queue service: which one, made where it is missing, fit for a
 * store, written to by nobody else, and held by one process through a lock file that says by whom.
 * One thread.
 */
#ifndef QUEUEFS_TRANSPORT_QUEUED_DATADIR_H
#define QUEUEFS_TRANSPORT_QUEUED_DATADIR_H

#include <stdbool.h>
#include <stdint.h>

struct datadir {
    char *path;  /* absolute, no symlinks; owned */
    int lock_fd; /* held while open */
};

/* How long to wait for a process that is ending. */
#define DATADIR_WAIT_US INT64_C(5000000)

/*
 * `given` (--data) or `stored` (store.path), either NULL; else where the environment and the user
 * put it. malloc'ed; NULL: out of memory, or there is no home directory (logged).
 */
char *datadir_choose(const char *given, const char *stored, const char *program);

/*
 * Make it, check it, lock it for `mountpoint` (absolute), or where that is NULL for a service that
 * others reach at `address`. 0 or negative errno, logged. After the fork. A half-opened one is
 * closed by datadir_close().
 */
int datadir_open(struct datadir *datadir, const char *path, const char *mountpoint,
                 const char *address);
/* The same, to import into the queue. */
int datadir_open_import(struct datadir *datadir, const char *path, const char *queue);
void datadir_close(struct datadir *datadir);

/* Whether `path` is `dir` or below it; both absolute and without symlinks. Pure. */
bool path_is_within(const char *path, const char *dir);

/* Whether a file system of this statfs type can't be trusted with locks, mmap and fsync. Pure. */
bool filesystem_unfit(uint64_t type);

#endif
