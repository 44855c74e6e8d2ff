/*
 * Which threads have been told ESTALE by an open and will come again at once. A set of thread ids
 * of bounded size, forgetting the oldest where it is full: a thread that is killed in between never
 * comes again. Guarded by its owner's lock.
 */
#ifndef QUEUEFS_FS_TOLD_H
#define QUEUEFS_FS_TOLD_H

#include <stdbool.h>
#include <sys/types.h>

#define TOLD_ROWS 1024
#define TOLD_WAYS 16

struct told {
    pid_t tids[TOLD_ROWS][TOLD_WAYS]; /* newest first; 0: empty */
};

void told_init(struct told *told);

/* tid > 0 that is not in the set. */
void told_add(struct told *told, pid_t tid);

/* Whether it was there; it no longer is. */
bool told_take(struct told *told, pid_t tid);

#endif
