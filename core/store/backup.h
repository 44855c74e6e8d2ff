/*
 * A copy of a store of the local engine (store.h) that a service can be started on, made while
 * another one uses it. It is the log, up to its end as it is when the copying ends: all that was
 * acknowledged before it began is in it. Where an older copy is in DEST, only what came since is
 * copied, and what lives no more goes. A copying that is cut off leaves the older one, or that with
 * some more of what came since.
 *
 * `DEST/backup` says how far it goes: its log, the last record, the end. One thread.
 */
#ifndef QUEUEFS_CORE_STORE_BACKUP_H
#define QUEUEFS_CORE_STORE_BACKUP_H

#include <stdint.h>

struct backup_report {
    uint64_t n_segments, n_copied; /* there are so many, of which so many were copied now */
    uint64_t copied_bytes;
};

typedef void backup_progress(void *arg, uint64_t done, uint64_t all);

/* DEST is made where it is missing. 0, or a negative errno, and one line in the log: -EEXIST: DEST
 * has something else, or a copy that a service has run on, or of another store. */
int store_backup(const char *dir, const char *dest, backup_progress *progress, void *arg,
                 struct backup_report *report);

#endif
