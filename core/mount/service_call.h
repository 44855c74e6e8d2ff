/*
 * A user's call that needs the service: mkdir, rmdir, chmod, ls of ready/, mv, rm there. The
 * kernel holds a directory's lock while such a call is parked and queues other callers behind it,
 * unkillably, so they end after one second at most (mount_options.silence_us), and together: while
 * the service is silent, that is while nothing has been answered since an earlier request was sent,
 * the second counts from that earlier one, and later ones end at once. Any answer to any request
 * ends the silence.
 *
 * The user's op parks in mount.ops with the call that it waits for as its `context`. An answer
 * looks it up there, so that an op that was interrupted or timed out is simply not found any more;
 * the call lives on until its request is answered. One that was refused, because the service or
 * this mount's id is another by now, is sent again once that is known, unless it meant another
 * store's queue: that one is gone. Any thread; no lock of a mount is held by the caller, and none
 * while an op is finished or a request submitted.
 *
 * Shared by change.c, flush.c and items.c; nobody else includes this.
 */
#ifndef QUEUEFS_CORE_MOUNT_SERVICE_CALL_H
#define QUEUEFS_CORE_MOUNT_SERVICE_CALL_H

#include "core/mount/mount_state.h"
#include "core/op_group.h"

struct service_call {
    struct request request; /* first; `in` is the caller's */
    struct mount *mount;
    struct mount_queue *mq; /* a reference, or NULL */
    uint32_t n_stores;      /* the mount's when it began */

    /* May be set before service_call_begin(). */
    int64_t deadline_us;    /* of the op, and of the request where that has none of its own */
    bool after_settlements; /* go when what was settled here is answered; where that fails, so does
                             * the call */
    int64_t after_puts_us;  /* and when what is buffered here is stored, for so long at most */
    bool takes;             /* what it leases may have to be given back: counted in n_takes */

    /* The request was answered: goes on, or ends the call. */
    void (*answered)(struct service_call *call);

    /* What the request's `in` points to, and what becomes of the answer. */
    union {
        struct {
            char name[QUEUE_NAME_MAX + 1];
            struct all_settings settings;
            uint64_t fields; /* which of them are to be set */
        };
        struct {
            struct item_answer answer;
            struct settlement settlement;
        };
    };

    struct op_group before; /* service_call.c's */
    struct op settlements, puts;
};

/* NULL: out of memory. request.queue is that of mq, 0 where mq is NULL or its number is not known
 * yet. */
struct service_call *service_call_new(struct mount *mount, struct mount_queue *mq,
                                      enum request_kind kind,
                                      void (*answered)(struct service_call *call));

/*
 * Park the op until the deadline and send the request; answered() may be called before this
 * returns. Nothing is sent where the mount is ending, the op was interrupted, the deadline has
 * passed, or the service has not told of the queue yet: then nothing comes to pass after the op has
 * failed. Takes the call; NULL ends the op with -ENOMEM.
 */
void service_call_begin(struct service_call *call, struct op *op);

/* Another request of an answered call, for the op that still waits or for nobody: `next` takes over
 * the queue, the session and, where it has none, the time to give up. */
void service_call_again(struct service_call *call, const struct request *next);

/* Take the op out of the list, if it still waits for the call, else NULL: then the caller has to
 * finish it. */
struct op *service_call_take_op(struct service_call *call);

/* The op ends, if it still waits, and the call is freed. */
void service_call_end(struct service_call *call, ssize_t result);

/* The call is freed, with the answer's memory. */
void service_call_free(struct service_call *call);

/* The same list for ops that wait for something else: park, false where the op was finished; and
 * finish, if it still waits. */
bool mount_park(struct mount *mount, struct op *op, void *context, int64_t deadline_us);
void mount_finish(struct mount *mount, const void *context, ssize_t result);

#endif
