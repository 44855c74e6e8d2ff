/*
 * in: puts. What a write(2) is, is core's affair (producer.h); here is what only FUSE knows. The
 * kernel splits a write(2) of more than TREE_WRITE_MAX and hides an error on a later piece
 * behind the short count. So an error on a write that may be such a piece is kept, and the next
 * call on the open is told as well.
 */
#include "fs/call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

/* A piece of an unaligned buffer is up to a page short of the most. */
#define PIECE_MIN (TREE_WRITE_MAX - 4096)

static int in_open(struct file *file, fuse_req_t req)
{
    if ((file->flags & O_ACCMODE) == O_RDONLY)
        return -EACCES;
    return mqueue_writer_open(file->node->mq, &file->writer);
}

static void in_release(struct file *file)
{
    if (file->writer)
        mqueue_writer_release(file->node->mq, file->writer);
}

/* The error that an earlier call may not have shown; told once. */
static int kept_error(struct file *file)
{
    return atomic_exchange(&file->kept_error, 0);
}

static void in_written(struct call *call, ssize_t result)
{
    struct file *file = call->file;
    bool piece = atomic_exchange(&file->after_long, result >= (ssize_t)PIECE_MIN);

    /* EAGAIN and EINTR took nothing: who gets a short count writes the rest again and sees them. */
    if (piece && result < 0 && result != -EAGAIN && result != -EINTR)
        atomic_store(&file->kept_error, (int)result);
    if (result == -EAGAIN)
        poll_again(file); /* while the file cannot be released yet */
    call_reply_write(call, result);
}

static void in_write(struct file *file, fuse_req_t req, const char *data, size_t len, int flags)
{
    struct call *call;
    int error = kept_error(file);

    if (error) {
        fuse_reply_err(req, -error);
        return;
    }
    call = call_new(file->tree, req, in_written);
    if (!call)
        return;
    call_set_file(call, file);
    call->op.data = (const uint8_t *)data;
    call->op.len = len;
    call->op.nonblock = flags & O_NONBLOCK;
    call->op.sync = flags & O_DSYNC; /* O_SYNC has this bit too */
    mqueue_write(file->node->mq, file->writer, &call->op);
}

static void in_flush(struct file *file, fuse_req_t req)
{
    struct call *call = call_new(file->tree, req, call_reply_error);

    if (!call)
        return;
    call->kept = kept_error(file);
    mqueue_writer_close(file->node->mq, file->writer, &call->op);
}

static void in_fsync(struct file *file, fuse_req_t req)
{
    struct call *call = call_new(file->tree, req, call_reply_error);

    if (!call)
        return;
    call->kept = kept_error(file);
    tree_look(file->tree, file->node);
    mqueue_sync(file->node->mq, file->writer, &call->op);
}

/* Truncation and times do nothing. */
static void in_touch(struct tree *tree, struct node *node, fuse_req_t req)
{
    reply_attr(tree, req, node);
}

static bool in_poll(struct file *file, struct op *op)
{
    return mqueue_writer_poll(file->node->mq, file->writer, op);
}

const struct node_ops in_ops = {
    .open = in_open,
    .release = in_release,
    .write = in_write,
    .flush = in_flush,
    .fsync = in_fsync,
    .touch = in_touch,
    .poll = in_poll,
    .poll_events = POLLOUT | POLLWRNORM,
};
