/*
 * A request of the kernel that may have to wait: an op of core and the answer to its end. The
 * caller makes one, fills in what the op needs and hands &call->op to core; when the op ends, on
 * whatever thread, `reply` answers the request and the call is freed.
 *
 * Signals. The first one that comes to the caller, be it a stop or a tracer, makes the kernel send
 * INTERRUPT, once; from then on nothing reaches the caller before the answer, not SIGKILL, and it
 * can't be stopped either. The kernel restarts nothing: EINTR goes to the program. So how the call
 * goes on is settled at that INTERRUPT, by what the call does and what is pending:
 *
 *             ends the process  a handler runs       stop, tracer, freezer
 *     WAITS   ends at once      ends at once, EINTR  ends after a moment, EINTR
 *     SYNCS   ends at once      ends after a second, EINTR
 *     ASKS    ends at once      ends by itself; after a second at most, ETIMEDOUT
 *
 * A moment is what a busy queue needs to give an item. What would end earlier by itself does. The
 * limit on how long a request may wait (limit.h) ends all kinds with ETIMEDOUT.
 */
#ifndef QUEUEFS_FS_CALL_H
#define QUEUEFS_FS_CALL_H

#include "fs/tree.h"

#include "core/name.h"
#include "core/op.h"

/* One READDIR of a directory of items. */
struct reading {
    struct file *dir;
    fuse_req_t req;
    size_t size;
    off_t offset;
    bool plus;
    uint64_t from; /* the lowest id that may come next */
    int64_t since_us;
};

struct aside_work;
struct move;

enum call_kind {
    CALL_WAITS, /* for items or room, perhaps for ever; nothing is done until it ends */
    CALL_SYNCS, /* until what was done before is acknowledged */
    CALL_ASKS,  /* the service, for an answer or a change, and a second as a rule */
};

struct call {
    struct op op;
    enum call_kind kind;
    fuse_req_t req;
    struct tree *tree;
    void (*reply)(struct call *call, ssize_t result);
    struct limited limited;
    /* Whoever's reply needs them: */
    struct node *node;
    struct file *file;
    size_t size;
    uint64_t id; /* of an item */
    const struct move *move;
    struct aside_work *work; /* there until `reply` has returned, unless the op was interrupted */
    struct reading reading;
    uint64_t begins; /* of a write that may be a piece of a longer one: see in.c */
    char name[QUEUE_NAME_MAX + 1];
};

/* NULL: no memory, and the request was answered so. From here on interrupts may cancel the op. */
struct call *call_new(struct tree *tree, fuse_req_t req, enum call_kind kind,
                      void (*reply)(struct call *call, ssize_t result));

/* The file that the reply needs. It is held until then: the kernel may release it as soon as the
 * request is answered. */
void call_set_file(struct call *call, struct file *file);

/* The usual replies: an error or 0; the bytes written; the bytes read, from op->iov. */
void call_reply_error(struct call *call, ssize_t result);
void call_reply_write(struct call *call, ssize_t result);
void call_reply_read(struct call *call, ssize_t result);

#endif
