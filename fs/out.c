/* out, next and claim, with whatever limit and wait their name says: gets (consumer.h). */
#include "fs/call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

static int out_open(struct file *file, fuse_req_t req)
{
    const struct child *child = &file->node->child;

    if ((file->flags & O_ACCMODE) != O_RDONLY)
        return -EACCES;
    /* So grep -r, cp -r and backups open what they find; they must not empty a queue. */
    if (file->flags & O_NOFOLLOW)
        return -EPERM;
    return mqueue_reader_open(file->node->mq, child->kind == NODE_CLAIM ? GET_CLAIM : GET_STREAM,
                              child->limit, child->timeout_us, &file->reader);
}

static void out_release(struct file *file)
{
    if (file->reader)
        mqueue_reader_release(file->node->mq, file->reader);
}

static void out_given(struct call *call, ssize_t result)
{
    if (result == -EAGAIN)
        poll_again(call->file); /* while the file cannot be released yet */
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
    mqueue_read(file->node->mq, file->reader, &call->op);
}

static void out_flush(struct file *file, fuse_req_t req)
{
    struct call *call = call_new(file->tree, req, CALL_ASKS, call_reply_error);

    if (call)
        mqueue_reader_close(file->node->mq, file->reader, &call->op);
}

static bool out_poll(struct file *file, struct op *op)
{
    return mqueue_reader_poll(file->node->mq, file->reader, op);
}

const struct node_ops out_ops = {
    .open = out_open,
    .release = out_release,
    .read = out_read,
    .flush = out_flush,
    .poll = out_poll,
    .poll_events = POLLIN | POLLRDNORM,
    .endless = true,
};

/* Its lines are short: who reads byte by byte, as shells do where they cannot seek, may. */
const struct node_ops claim_ops = {
    .open = out_open,
    .release = out_release,
    .read = out_read,
    .flush = out_flush,
    .poll = out_poll,
    .poll_events = POLLIN | POLLRDNORM,
    .endless = true,
    .stream = true,
};
