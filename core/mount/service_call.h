/*
 * Questions of a user's call to the service: mkdir, rmdir, chmod, ls of ready/, mv, rm there. The
 * kernel holds a directory's lock while such a call is parked and queues other callers behind it,
 * unkillably, so they end after one second at most, and together: while the service is silent, that
 * is while nothing has been answered since an earlier question was asked, the second counts from
 * that earlier one, and later ones end at once. Any answer to any request ends the silence.
 *
 * The user's op parks in mount.ops with what it waits for, the question, as its `context`. An
 * answer looks it up there, so that an op that was interrupted or timed out is simply not found any
 * more; the question lives on until its request is answered. Any thread; no lock of a mount is
 * held by the caller, and none while an op is finished or a request submitted.
 *
 * Shared by change.c and items.c; nobody else includes this.
 */
#ifndef QUEUEFS_CORE_MOUNT_SERVICE_CALL_H
#define QUEUEFS_CORE_MOUNT_SERVICE_CALL_H

#include "core/mount/mount_state.h"

#define ASK_TIMEOUT_US INT64_C(1000000)

/* First member of a question: what it waits for is its own address. */
struct ask {
    struct request request; /* first; `in` is the asker's */
    struct mount *mount;
    struct mount_queue *mq; /* a reference, or NULL */
};

/* request.queue is that of mq, 0 where mq is NULL or its number is not known; request.owner is the
 * ask. */
void ask_init(struct ask *ask, struct mount *mount, struct mount_queue *mq, enum request_kind kind,
              void (*done)(struct request *request));

/* Gives back the answer's memory and the reference. */
void ask_fini(struct ask *ask);

/* When a question that is asked now has to end. */
int64_t ask_deadline(struct mount *mount);

/*
 * Park the op until deadline_us, which is the request's too. False: there is nothing to send, and
 * the ask is the caller's to fini and free: the op was finished (the mount is ending, it was
 * interrupted, the deadline has passed), or the service has not told of the queue yet and the op
 * ends at its deadline: nothing can come to pass after it has failed.
 */
bool ask_begin(struct ask *ask, struct op *op, int64_t deadline_us);

/* Whether the op still waits for the answer. */
bool ask_waits(struct ask *ask);

/* Send the request; its done() may be called before this returns. */
void ask_send(struct ask *ask);

/* Take the op out of the list, if it still waits for `context`, else NULL: then the caller has to
 * finish it. */
struct op *ask_take_op(struct mount *mount, const void *context);

/* Finish the op that waits for `context`, if it still does. */
void ask_finish(struct mount *mount, const void *context, ssize_t result);

/* Park an op in the list without a question. False: it has been finished already. */
bool ask_park(struct mount *mount, struct op *op, void *context, int64_t deadline_us);

#endif
