/*
 * Threads: op_cancel() comes from libfuse's interrupt function, which runs under the request's
 * lock, and from the ticker's thread. The op's end must not free the call under either: it waits
 * for them (fuse_req_interrupt_func takes the request's lock, limit_remove asks the ticker), except
 * where it runs on the very thread that cancels. The interrupt function is waited for first: it may
 * set the limit.
 */
#include "fs/call.h"

#include "fs/pending.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static void call_interrupted(fuse_req_t req, void *data)
{
    struct call *call = data;
    enum pending pending = pending_of(fuse_req_ctx(req)->pid);

    if (pending == PENDING_END || (pending == PENDING_HANDLED && call->kind == CALL_WAITS))
        op_cancel(&call->op);
    else
        limit_hurry(&call->tree->limit, &call->limited,
                    call->kind == CALL_WAITS ? LIMIT_MOMENT : LIMIT_SECOND);
}

static void call_over_limit(struct limited *limited)
{
    struct call *call = (struct call *)((char *)limited - offsetof(struct call, limited));

    op_cancel(&call->op);
}

static bool is_timeout(enum call_kind kind, enum limit_bound over)
{
    return over == LIMIT_KERNEL || (over == LIMIT_SECOND && kind == CALL_ASKS);
}

static void call_done(struct op *op, ssize_t result)
{
    struct call *call = op->owner;
    enum limit_bound over;

    if (!op->in_cancel || ticker_is_here())
        fuse_req_interrupt_func(call->req, NULL, NULL);
    over = limit_remove(&call->tree->limit, &call->limited);
    if (result == -EINTR && is_timeout(call->kind, over))
        result = -ETIMEDOUT;
    call->reply(call, result);
    if (call->file)
        file_unref(call->file);
    free(call);
}

struct call *call_new(struct tree *tree, fuse_req_t req, enum call_kind kind,
                      void (*reply)(struct call *call, ssize_t result))
{
    struct call *call = calloc(1, sizeof(*call));

    if (!call) {
        fuse_reply_err(req, ENOMEM);
        return NULL;
    }
    op_init(&call->op, call_done, call);
    call->kind = kind;
    call->req = req;
    call->tree = tree;
    call->reply = reply;
    limit_add(&tree->limit, &call->limited, call_over_limit);
    fuse_req_interrupt_func(req, call_interrupted, call);
    return call;
}

void call_set_file(struct call *call, struct file *file)
{
    file_ref(file);
    call->file = file;
}

void call_reply_error(struct call *call, ssize_t result)
{
    fuse_reply_err(call->req, result < 0 ? (int)-result : 0);
}

void call_reply_write(struct call *call, ssize_t result)
{
    if (result < 0)
        fuse_reply_err(call->req, (int)-result);
    else
        fuse_reply_write(call->req, (size_t)result);
}

void call_reply_read(struct call *call, ssize_t result)
{
    if (result < 0)
        fuse_reply_err(call->req, (int)-result);
    else if (result == 0)
        fuse_reply_buf(call->req, NULL, 0);
    else
        fuse_reply_iov(call->req, call->op.iov, call->op.n_iov);
}
