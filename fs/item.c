/*
 * An item as a file: its bytes, to look at. Of one that this mount holds they are in memory as a
 * rule; those of others the service gives to each open. They never change, so the kernel may keep
 * them. Where an item is no longer as it was seen, ESTALE makes the kernel look its name up again.
 */
#include "fs/call.h"
#include "fs/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static void item_fetched(struct call *call, ssize_t result)
{
    const struct item_answer *answer = call->op.answer;
    struct file *file = call->file;

    if (result == -ENOENT || (result == 0 && answer->n_items == 0)) {
        node_unlist(&file->tree->nodes, file->node); /* its name shall be asked for */
        result = -ESTALE;
    }
    if (result == 0) {
        file->text = malloc(answer->len ? answer->len : 1);
        if (!file->text)
            result = -ENOMEM;
    }
    if (result == 0 && answer->len) {
        memcpy(file->text, answer->data, answer->len);
        file->text_len = answer->len;
    }
    reply_open(file, call->req, (int)result);
}

/* Ask for its bytes. */
static int fetch(struct file *file, fuse_req_t req, size_t size, uint32_t states)
{
    struct call *call;
    int result = file_pay(file, req, size);

    if (result < 0)
        return result;
    call = call_new(file->tree, req, CALL_ASKS, item_fetched);
    if (!call) {
        file_release(file);
        return OPEN_PARKED;
    }
    call_set_file(call, file);
    mount_queue_look(file->node->mq, file->node->child.limit, states, true, &call->op);
    return OPEN_PARKED;
}

static int open_held(struct file *file, fuse_req_t req, const struct item_info *info)
{
    int result = mount_queue_claim_open(file->node->mq, info->id, &file->claim, &file->data,
                                        &file->data_len);

    if (result < 0)
        return result == -ENOENT ? -ESTALE : result;
    if (!file->data && info->size > 0)
        return fetch(file, req, info->size, 1 << ITEM_LEASED);
    return 0;
}

static int item_open(struct file *file, fuse_req_t req)
{
    struct item_info info;
    int result = node_item(&file->tree->nodes, file->node, &info);

    if (result < 0)
        return result;
    if (file->flags & O_TRUNC)
        return -EPERM;
    if (file->node->in == NODE_LEASED)
        return open_held(file, req, &info);
    /* Only touch(1) of what is held opens for writing. */
    if ((file->flags & O_ACCMODE) != O_RDONLY)
        return -EPERM;
    return fetch(file, req, info.size,
                 file->node->in == NODE_DEAD ? 1 << ITEM_DEAD
                                             : 1 << ITEM_READY | 1 << ITEM_DELAYED);
}

static void item_write(struct file *file, fuse_req_t req, const char *data, size_t len,
                       off_t offset, int flags)
{
    fuse_reply_err(req, EPERM);
}

/* Its lease runs in full again. */
static void item_touch(struct tree *tree, struct node *node, fuse_req_t req)
{
    struct item_info info;
    int result = node_item(&tree->nodes, node, &info);

    if (result == 0 && node->in != NODE_LEASED)
        result = -EPERM;
    if (result == 0)
        result = mount_queue_claim_settle(node->mq, info.id, SETTLE_RENEW);
    if (result < 0)
        fuse_reply_err(req, -result);
    else
        reply_attr(tree, req, node);
}

/* What xattr(7) asks: with a size of 0 how long the value is, else the value. */
static void reply_xattr(fuse_req_t req, size_t size, const char *value, size_t len)
{
    if (size == 0)
        fuse_reply_xattr(req, len);
    else if (size < len)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, len);
}

static void item_getxattr(struct tree *tree, struct node *node, fuse_req_t req, const char *name,
                          size_t size)
{
    char value[XATTR_VALUE_MAX];
    struct item_info info;
    int len = node_item_shown(&tree->nodes, node, &info);

    if (len == 0)
        len = xattr_value(&info, name, value);
    if (len < 0)
        fuse_reply_err(req, -len);
    else
        reply_xattr(req, size, value, (size_t)len);
}

static void item_listxattr(struct tree *tree, struct node *node, fuse_req_t req, size_t size)
{
    char names[XATTR_NAMES_MAX];
    struct item_info info;
    int result = node_item_shown(&tree->nodes, node, &info);

    if (result < 0)
        fuse_reply_err(req, -result);
    else
        reply_xattr(req, size, names, xattr_names(&info, names));
}

const struct node_ops item_ops = {
    .open = item_open,
    .read = reply_text,
    .write = item_write,
    .touch = item_touch,
    .getxattr = item_getxattr,
    .listxattr = item_listxattr,
    .keeps = true,
};
