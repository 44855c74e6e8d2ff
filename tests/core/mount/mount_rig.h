/*
 * A mount between a test and a service that the test plays. Requests of the kinds in `keep` are
 * kept, and the test answers each when and as it likes; all others are answered at once as by a
 * service with one empty queue, "jobs". A WATCH is always kept. Time is real.
 */
#ifndef QUEUEFS_TESTS_CORE_MOUNT_MOUNT_RIG_H
#define QUEUEFS_TESTS_CORE_MOUNT_MOUNT_RIG_H

#include <criterion/criterion.h>

#include <pthread.h>
#include <semaphore.h>

#include "core/mount/mount.h"

#define SECOND INT64_C(1000000)

#define RIG_QUEUE  7 /* the number of "jobs" */
#define KEEP(kind) (UINT32_C(1) << (kind))
#define KEEP_ALL   UINT32_MAX

struct mount_rig {
    struct backend backend; /* first */
    struct mount *mount;
    struct mount_queue *mq; /* "jobs" */

    pthread_mutex_t lock;
    pthread_cond_t came;
    /* Guarded by lock. */
    uint32_t keep; /* of KEEP() */
    struct request *kept, **kept_end;
    unsigned n_seen[REQUEST_KINDS];
    unsigned n_answering; /* are being answered at once */
};

struct rig_call {
    struct op op;
    sem_t ended;
    ssize_t result;
    int64_t begun_us, ended_us;
    /* Copies of the answer. */
    struct item_info items[8];
    struct item_answer answer;
    char data[64];
};

int64_t rig_now(void);

/* Calls wait for the service for 20 s, so that the test comes in time with its answers. */
void rig_open(struct mount_rig *rig);

/* As rig_open(), but calls wait for a second, as they do where nothing else is said. */
void rig_open_brief(struct mount_rig *rig);

/* The mount was started while the service was away: "jobs" is there by the settings file and its
 * number is not known. Everything is kept, and calls wait for a second. */
void rig_open_away(struct mount_rig *rig);

/* Stops the mount and answers what is kept with -ESHUTDOWN. */
void rig_close(struct mount_rig *rig);

/* From now on; what was not to be kept is answered. */
void rig_keep(struct mount_rig *rig, uint32_t kinds);

/* The next kept request of this kind, once it has come. */
struct request *rig_take(struct mount_rig *rig, enum request_kind kind);

/* How many of this kind have come so far. */
unsigned rig_seen(struct mount_rig *rig, enum request_kind kind);

/* With nothing in `out`. */
void rig_answer(struct request *request, int status);

/* As a service that has nothing to say. */
void rig_answer_empty(struct request *request);

/* One item, `text` with its newline, lent under `token`. The answer's memory is poisoned at its
 * release. */
void rig_answer_grant(struct request *request, uint64_t id, uint64_t token, const char *text);

void call_init(struct rig_call *call);
bool call_ended(struct rig_call *call); /* just now */
ssize_t call_end(struct rig_call *call);

/* From its beginning to its end, of a call that has ended. */
int64_t call_took(const struct rig_call *call);

/* Write into "jobs" by an open of its own, and close it. */
void rig_put(struct mount_rig *rig, const char *text);

#endif
