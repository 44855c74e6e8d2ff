/* purge: to write the queue's own name into it removes all ready items. */
#include "fs/call.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void purge_written(struct call *call, ssize_t result)
{
    call_reply_write(call, result < 0 ? result : (ssize_t)call->size);
}

static void purge_write(struct file *file, fuse_req_t req, const char *data, size_t len,
                        off_t offset, int flags)
{
    struct mount_queue_info info;
    struct call *call;
    size_t name_len = len > 0 && data[len - 1] == '\n' ? len - 1 : len;

    mount_queue_info(file->node->mq, &info);
    if (strlen(info.name) != name_len || memcmp(info.name, data, name_len) != 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    call = call_new(file->tree, req, CALL_ASKS, purge_written);
    if (!call)
        return;
    call->size = len;
    tree_look(file->tree, file->node);
    mount_queue_purge(file->node->mq, &call->op);
}

static int purge_open(struct file *file, fuse_req_t req)
{
    bool writes = (file->flags & O_ACCMODE) != O_RDONLY;

    return writes ? mount_queue_may(file->node->mq, ACCESS_MANAGE) : 0;
}

/* A shell's `>` truncates. */
static void purge_touch(struct tree *tree, struct node *node, fuse_req_t req)
{
    reply_attr(tree, req, node);
}

const struct node_ops purge_ops = {.open = purge_open, .write = purge_write, .touch = purge_touch};
