/*
 * flush, of a queue and of the mount: to set its times, to write to it and to truncate it all
 * return when what was buffered is acknowledged. touch(1) opens it and sets times; a shell's `>`
 * truncates it in open(2).
 */
#include "fs/call.h"

#include <errno.h>
#include <fcntl.h>

static void flush_queues(struct tree *tree, struct node *node, struct call *call)
{
    tree_look(tree, node);
    if (node->mq)
        mount_queue_flush(node->mq, &call->op);
    else
        mount_flush(tree->options.mount, &call->op);
}

static void flush_opened(struct call *call, ssize_t result)
{
    reply_open(call->file, call->req, result < 0 ? (int)result : 0);
}

static int flush_open(struct file *file, fuse_req_t req)
{
    struct call *call;

    if (!(file->flags & O_TRUNC))
        return 0;
    call = call_new(file->tree, req, CALL_SYNCS, flush_opened);
    if (!call) {
        file_release(file);
        return OPEN_PARKED;
    }
    call_set_file(call, file);
    flush_queues(file->tree, file->node, call);
    return OPEN_PARKED;
}

static void flush_written(struct call *call, ssize_t result)
{
    call_reply_write(call, result < 0 ? result : (ssize_t)call->size);
}

static void flush_write(struct file *file, fuse_req_t req, const char *data, size_t len,
                        off_t offset, int flags)
{
    struct call *call = call_new(file->tree, req, CALL_SYNCS, flush_written);

    if (!call)
        return;
    call->size = len;
    flush_queues(file->tree, file->node, call);
}

static void flush_fsync(struct file *file, fuse_req_t req)
{
    struct call *call = call_new(file->tree, req, CALL_SYNCS, call_reply_error);

    if (call)
        flush_queues(file->tree, file->node, call);
}

static void flush_touched(struct call *call, ssize_t result)
{
    if (result < 0)
        fuse_reply_err(call->req, (int)-result);
    else
        reply_attr(call->tree, call->req, call->node);
}

static void flush_touch(struct tree *tree, struct node *node, fuse_req_t req)
{
    struct call *call = call_new(tree, req, CALL_SYNCS, flush_touched);

    if (!call)
        return;
    call->node = node;
    flush_queues(tree, node, call);
}

const struct node_ops flush_ops = {
    .open = flush_open,
    .write = flush_write,
    .fsync = flush_fsync,
    .touch = flush_touch,
};
