/* out, next and claim, with whatever limit and wait their name says: gets (consumer.h). */
#include "fs/call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

static int out_open(struct file *file, fuse_req_t req)
{
    const struct child *child = &file->node->child;
    int rc;

    if ((file->flags & O_ACCMODE) != O_RDONLY)
        return -EACCES;
    /* So grep -r, cp -r and backups open what they find; they must not empty a queue. */
    if (file->flags & O_NOFOLLOW)
        return -EPERM;
    rc = mount_queue_may(file->node->mq, ACCESS_GET);
    if (rc < 0)
        return rc;
    return mount_queue_reader_open(file->node->mq, fuse_req_ctx(req)->uid,
                                   child->kind == NODE_CLAIM ? GET_CLAIM : GET_STREAM, child->limit,
                                   child->timeout_us, &file->reader);
}

static void out_release(struct file *file)
{
    if (file->reader)
        mount_queue_reader_release(file->node->mq, file->reader);
}

static void out_given(struct call *call, ssize_t result)
{
    if (result == -EAGAIN)
        file_poll_again(call->file); /* while the file cannot be released yet */
    call_reply_read(call, result);
}

static void out_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct call *call = call_new(file->tree, req, CALL_WAITS, out_given);

    if (!call)
        return;
    call_set_file(call, file);
    call->op.len = size;
    call->op.offset = file->ops->stream ? OP_GO_ON : offset;
    call->op.nonblock = flags & O_NONBLOCK;
    tree_look(file->tree, file->node);
    mount_queue_read(file->node->mq, file->reader, &call->op);
}

static void out_flush(struct file *file, fuse_req_t req)
{
    struct call *call = call_new(file->tree, req, CALL_ASKS, call_reply_error);

    if (!call)
        return;
    /* A child, as a rule, on its way to exec: whoever was told a size shall still find it so. */
    call->op.sharer = fuse_req_ctx(req)->pid != file->tid;
    mount_queue_reader_close(file->node->mq, file->reader, &call->op);
}

/* ---- the size of one item ---- */

/*
 * Programs that trust the size (Node's copyFile, curl, wc, tail) ask for it before they read. So an
 * open of `next` that is asked for it has its item from then on, if one is there. Nothing, an empty
 * item and every error look as ever: what is wrong the read will tell.
 *
 * Who opens an open file once more (/dev/stdin) shall find in the queue what the first open has got
 * so and not read; Node asks for the size of its standard input whenever it starts.
 */
static void out_shared(struct file *file)
{
    atomic_store(&file->shown, 0);
    mount_queue_peek_no_more(file->node->mq, file->reader);
}

static void out_peeked(struct call *call, ssize_t result)
{
    struct file *file = call->file;

    if (result > 0 && node_is_alone(&call->tree->nodes, file->node)) {
        atomic_store(&file->shown, result);
        reply_size(call->tree, call->req, file->node, result);
    } else {
        reply_attr(call->tree, call->req, file->node);
    }
}

static void out_fstat(struct file *file, fuse_req_t req)
{
    struct call *call = call_new(file->tree, req, CALL_ASKS, out_peeked);

    if (!call)
        return;
    call_set_file(call, file);
    tree_look(file->tree, file->node);
    mount_queue_peek(file->node->mq, file->reader, &call->op);
}

static off_t out_shown(struct file *file)
{
    off_t shown = atomic_load(&file->shown);

    return shown > 0 && mount_queue_reader_size(file->node->mq, file->reader) == shown ? shown : 0;
}

static bool out_poll(struct file *file, struct op *op)
{
    return mount_queue_reader_poll(file->node->mq, file->reader, op);
}

const struct node_ops out_ops = {
    .open = out_open,
    .release = out_release,
    .read = out_read,
    .flush = out_flush,
    .fstat = out_fstat,
    .shared = out_shared,
    .shown = out_shown,
    .poll = out_poll,
    .poll_events = POLLIN | POLLRDNORM,
};

/* Its lines are short: who reads byte by byte, as shells do where they cannot seek, may. */
const struct node_ops claim_ops = {
    .open = out_open,
    .release = out_release,
    .read = out_read,
    .flush = out_flush,
    .poll = out_poll,
    .poll_events = POLLIN | POLLRDNORM,
    .stream = true,
};
