/*
 * Is a store of the local engine (store.h) what it should be? All of its log is read, each record's
 * and each batch's checksum taken, and the index compared with what the log makes. Nothing is
 * written. A store that is in use can be looked at as well: then its index, which its service has
 * in memory in part, is not compared, and what two passes do not both find is not damage.
 *
 * A store that is not in use is locked meanwhile. One thread.
 */
#ifndef QUEUEFS_CORE_STORE_VERIFY_H
#define QUEUEFS_CORE_STORE_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

enum verify_index {
    VERIFY_INDEX_RIGHT,
    VERIFY_INDEX_MISSING, /* it is made anew at the next start, which is no damage */
    VERIFY_INDEX_WRONG,   /* the same */
    VERIFY_INDEX_IN_USE,
    VERIFY_INDEX_CLOSED, /* it may only be read, and LMDB writes */
    VERIFY_INDEX_AHEAD,  /* the log is damaged: the index may know more */
    VERIFY_INDEX_STATES,
};

#define VERIFY_FOUND_MAX  100 /* kept of what was found; all is counted */
#define VERIFY_FOUND_SIZE 256

struct verify_report {
    bool in_use;
    uint64_t n_segments, log_bytes; /* of the files */
    uint64_t n_records;
    uint64_t n_queues, n_batches, n_items; /* that live */
    uint64_t n_damaged;                    /* places of the log */
    uint64_t n_wrong_rows;                 /* of the index */
    enum verify_index index;
    char found[VERIFY_FOUND_MAX][VERIFY_FOUND_SIZE]; /* a line for each */
    unsigned n_found;
};

/* So many bytes of so many have been read; called now and then. */
typedef void verify_progress(void *arg, uint64_t done, uint64_t all);

/* 0, whatever was found; a negative errno: it could not be read (-ENOENT: there is no store). */
int store_verify(const char *dir, verify_progress *progress, void *arg,
                 struct verify_report *report);

#endif
