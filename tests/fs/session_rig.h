/*
 * A tree without a mount: the session reads from one end of a socket and the test is the kernel at
 * the other, which sends what linux/fuse.h says. Behind it a mount and a service over a store in
 * memory. Any thread of a test may call; each answer goes to whoever waits for its number.
 */
#ifndef QUEUEFS_TESTS_FS_SESSION_RIG_H
#define QUEUEFS_TESTS_FS_SESSION_RIG_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/service/service.h"
#include "fs/tree.h"

#define RIG_SESSION_THREADS 2

struct rig_reply;

struct rig {
    struct service *service;
    struct mount *mount;
    struct tree tree;
    struct fuse_session *session;
    int kernel;
    pthread_t threads[RIG_SESSION_THREADS], reader;
    pthread_mutex_t lock;
    pthread_cond_t came;
    struct rig_reply *replies; /* lock */
    uint64_t unique;           /* lock; of the last request */
    unsigned n_woken;          /* lock; notifications of polls */
    pid_t pid;                 /* who asks; 0: this thread */
};

/* While it is set, neither `config` is printed nor what is written to it is read. */
extern atomic_bool rig_names_stuck;

void rig_init(struct rig *rig);
void rig_fini(struct rig *rig);

/* Send a request, of up to three parts behind its header; its number. */
uint64_t rig_send(struct rig *rig, uint32_t opcode, uint64_t node, const void *fixed,
                  size_t n_fixed, const void *more, size_t n_more, const void *last, size_t n_last);

/* The answer, 30 s at most: 0 or its negative errno; up to `max` bytes of it, *len of them. */
int rig_wait(struct rig *rig, uint64_t unique, void *reply, size_t max, size_t *len);
bool rig_answered(struct rig *rig, uint64_t unique);
void rig_await_woken(struct rig *rig, unsigned n);

/* Both. */
int rig_call(struct rig *rig, uint32_t opcode, uint64_t node, const void *fixed, size_t n_fixed,
             void *reply, size_t max);

/* ---- calls; 0, or a negative errno ---- */

/* With one or two names behind `fixed`. */
int rig_name(struct rig *rig, uint32_t opcode, uint64_t node, const void *fixed, size_t n_fixed,
             const char *name, const char *other, void *reply, size_t max);
int rig_lookup(struct rig *rig, uint64_t dir, const char *name, uint64_t *node);
int rig_mkdir(struct rig *rig, const char *name, uint64_t *node); /* in the root */
int rig_open(struct rig *rig, uint64_t node, int flags, uint64_t *fh);
uint64_t rig_send_read(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size);
/* Asks again where the service was too slow for a read. */
int rig_read(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, void *to, uint32_t size);
uint64_t rig_send_write(struct rig *rig, uint64_t node, uint64_t fh, const void *data, size_t len);
int rig_write(struct rig *rig, uint64_t node, uint64_t fh, const char *text);
int rig_flush(struct rig *rig, uint64_t node, uint64_t fh);
int rig_release(struct rig *rig, uint64_t node, uint64_t fh);

/* Open by name in `dir`, put, close; as much as read(2) gives of a name, as text. */
void rig_put(struct rig *rig, uint64_t dir, const char *text);
void rig_expect(struct rig *rig, uint64_t dir, const char *name, const char *text);

#endif
