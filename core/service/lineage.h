/*
 * Which store this is and which lives it has had: each start of a service on it begins one. A mount
 * that knew an earlier life, and how far that had come, can tell from here whether what it knows is
 * part of what this store has come to: a copy that was made earlier has come less far, and another
 * store does not know the life at all. Kept in the store's own row, little-endian:
 *
 *   version 1, zero 3, lives 4, store id 16, running time 8, each life: id 8, where it ended 8, crc
 * 4
 */
#ifndef QUEUEFS_CORE_SERVICE_LINEAGE_H
#define QUEUEFS_CORE_SERVICE_LINEAGE_H

#include "core/store/store.h"
#include "core/store_id.h"

/* A mount that was away for more starts than so many takes the store for another. */
#define LINEAGE_LIVES 1000

struct life {
    uint64_t id;
    uint64_t ended; /* the store's position then; 0: it is the one that runs */
};

struct lineage {
    struct store_id store;
    int64_t ran_us;                   /* how long services have run on the store, when last kept */
    struct life lives[LINEAGE_LIVES]; /* oldest first; the last one runs */
    size_t n_lives;
};

/*
 * Read who the store is, or make it somebody (a damaged row is: named once in the log), and begin
 * the life `id`, before anything else is written. 0, of the store, or of random_bytes(). A store
 * that has no space for it is served all the same: to a mount the next start is another store then.
 */
int lineage_begin(struct lineage *lineage, struct store *store, uint64_t id);

/* The running time. 0 or of the store. */
int lineage_keep(struct lineage *lineage, struct store *store, int64_t ran_us);

/* How far that life has come in this store; 0: it is not known. */
uint64_t lineage_reached(const struct lineage *lineage, struct store *store, uint64_t life);

#endif
