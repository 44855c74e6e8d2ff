/* A queue's directory. Changes to it set the queue's mode, owner and group. */
#include "fs/attr.h"
#include "fs/call.h"
#include "fs/listing.h"
#include "fs/owner.h"

#include "core/get/consumer.h"

#include <errno.h>

static void dir_lookup(struct tree *tree, struct node *dir, fuse_req_t req, const char *name)
{
    struct child child;

    if (!child_parse(name, &child))
        fuse_reply_err(req, ENOENT);
    else
        reply_entry(tree, req, node_lookup(&tree->nodes, dir->mq, &child, fuse_req_ctx(req)->pid));
}

/* Offsets: 1 behind ".", 2 behind "..", then one a name. What takes items is there and not listed:
 * a shell's `*`, grep -r and zip -r open all that they find. */
static void dir_readdir(struct file *file, fuse_req_t req, size_t size, off_t offset, bool plus)
{
    struct child child = {.timeout_us = -1};
    struct listing listing;

    if (listing_init(&listing, file->tree, req, size, plus) < 0) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    for (;; offset++) {
        const struct child_word *word = offset < 2 ? NULL : child_word((unsigned)offset - 2);
        const char *name = offset == 0 ? "." : offset == 1 ? ".." : word ? word->name : NULL;
        enum node_kind kind = word ? word->kind : NODE_DIR;

        if (child_takes(kind) && !file->tree->options.list_all)
            continue;
        child.kind = offset == 1 ? NODE_ROOT : kind;
        child.limit = child_usual_limit(child.kind);
        if (!name || !listing_add(&listing, name, attr_mode(kind, 0),
                                  attr_ino(file->node->queue, &child), offset + 1))
            break;
    }
    listing_reply(&listing);
}

static void dir_changed(struct call *call, ssize_t result)
{
    if (result < 0) {
        fuse_reply_err(call->req, (int)-result);
        return;
    }
    tree_expire(call->tree, call->node->queue);
    reply_attr(call->tree, call->req, call->node);
}

static void set(struct all_settings *settings, const char *key, int64_t value, uint64_t *fields)
{
    const struct setting *row = setting_find(key);

    *setting_value(row, settings) = value;
    *fields |= setting_bit(row);
}

static void dir_setattr(struct tree *tree, struct node *dir, fuse_req_t req, const struct stat *to,
                        int to_set)
{
    struct all_settings settings = {0};
    struct mount_queue_info info;
    uint64_t fields = 0;
    struct call *call;
    int rc;

    if (!(to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))) {
        reply_attr(tree, req, dir);
        return;
    }
    if (to_set & FUSE_SET_ATTR_MODE)
        set(&settings, "mode", attr_queue_mode(to->st_mode), &fields);
    if (to_set & FUSE_SET_ATTR_UID)
        set(&settings, "owner", to->st_uid, &fields);
    if (to_set & FUSE_SET_ATTR_GID)
        set(&settings, "group", to->st_gid, &fields);
    mount_queue_info(dir->mq, &info);
    rc = owner_check(req, &info.settings.own, &settings.own, &fields);
    if (rc < 0) {
        fuse_reply_err(req, -rc);
        return;
    }
    call = call_new(tree, req, CALL_ASKS, dir_changed);
    if (!call)
        return;
    call->node = dir;
    mount_queue_set(dir->mq, &settings, fields, &call->op);
}

const struct node_ops dir_ops = {
    .lookup = dir_lookup,
    .readdir = dir_readdir,
    .setattr = dir_setattr,
};
