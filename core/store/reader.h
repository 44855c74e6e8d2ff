/*
 * A store of the local engine (store.h) that is only read, in use or not: all of its log is read,
 * and an index made of it in memory. It stands as it was then; of a store in use a batch may be
 * gone later: its bytes are -EAGAIN then, and it is to be opened anew. Only the reads of store_ops
 * are there, and close. It is not locked: a service may be started on it meanwhile. One thread.
 */
#ifndef QUEUEFS_CORE_STORE_READER_H
#define QUEUEFS_CORE_STORE_READER_H

#include "core/store/store.h"

/* So many bytes of the log of so many have been read; called now and then. */
typedef void reader_progress(void *arg, uint64_t done, uint64_t all);

struct reader_options {
    const char *dir;
    reader_progress *progress; /* NULL: nobody looks */
    void *arg;
};

/* *n_damaged: places of the log that are, what lay there is not in the store. 0, or negative errno:
 * -ENOENT there is no store, -EBADMSG segments of two (logged), -EAGAIN it moves on faster than it
 * can be read. */
int store_reader_open(const struct reader_options *options, struct store **store,
                      uint64_t *n_damaged);

#endif
