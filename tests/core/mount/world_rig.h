/*
 * A mount on a real service in the same process, over a store in memory: what the FUSE side calls,
 * from threads, without FUSE and without NNG.
 */
#ifndef QUEUEFS_TESTS_CORE_MOUNT_WORLD_RIG_H
#define QUEUEFS_TESTS_CORE_MOUNT_WORLD_RIG_H

#include <semaphore.h>

#include "core/mount/mount.h"
#include "core/service/service.h"

struct world {
    struct service *service;
    struct mount *mount;
};

struct call {
    struct op op;
    sem_t ended;
    ssize_t result;
    char bytes[4096];
};

struct call *call_new(void);
ssize_t call_wait(struct call *call); /* at most 30 s: no op takes longer */
ssize_t call_end(struct call *call);  /* the same, and frees it */

/* A service, and a mount on it, which waits for it for 20 s; a further mount, which the test stops
 * and frees. */
void open_world(struct world *world);
void close_world(struct world *world); /* asserts that nothing is left over */
struct mount *mount_open(struct world *world, uint8_t id);

struct mount_queue *make(struct mount *mount, const char *name);

/* Calls that wait for their end. */
ssize_t put(struct mount_queue *mq, struct writer *w, const char *text);
ssize_t flush(struct mount_queue *mq);
/* Asks again where the service was too slow for a read. */
ssize_t get(struct mount_queue *mq, struct reader *r, int64_t offset, size_t len, char *to);
void close_reader(struct mount_queue *mq, struct reader *r);
long stat_of(struct mount_queue *mq, const char *key);

#endif
