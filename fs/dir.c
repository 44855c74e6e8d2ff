/* A queue's directory, and how directories are listed. Changes to it set the queue's mode, owner
 * and group. */
#include "fs/attr.h"
#include "fs/call.h"

#include "core/consumer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LISTING_MAX ((size_t)256 << 10)

int listing_init(struct listing *listing, fuse_req_t req, size_t size)
{
    *listing = (struct listing){.req = req, .size = size < LISTING_MAX ? size : LISTING_MAX};
    listing->data = malloc(listing->size);
    return listing->data ? 0 : -ENOMEM;
}

bool listing_add(struct listing *listing, const char *name, mode_t type, ino_t ino, off_t next)
{
    struct stat st = {.st_mode = type, .st_ino = ino};
    size_t room = listing->size - listing->len;
    size_t need =
        fuse_add_direntry(listing->req, listing->data + listing->len, room, name, &st, next);

    if (need > room)
        return false;
    listing->len += need;
    return true;
}

void listing_reply(struct listing *listing)
{
    fuse_reply_buf(listing->req, listing->data, listing->len);
    free(listing->data);
}

void dir_lookup(struct tree *tree, struct node *dir, fuse_req_t req, const char *name)
{
    struct child child;

    if (!child_parse(name, &child))
        fuse_reply_err(req, ENOENT);
    else
        reply_entry(tree, req, node_lookup(&tree->nodes, dir->mq, &child));
}

/* Offsets: 1 behind ".", 2 behind "..", then one a name. */
void dir_readdir(struct tree *tree, struct node *dir, fuse_req_t req, size_t size, off_t offset)
{
    struct child child = {.limit = READER_UNLIMITED, .timeout_us = -1};
    struct listing listing;
    const char *name;

    if (listing_init(&listing, req, size) < 0) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    for (;; offset++) {
        enum node_kind kind = NODE_DIR;

        name = offset == 0 ? "." : offset == 1 ? ".." : child_listed((unsigned)offset - 2, &kind);
        child.kind = offset == 1 ? NODE_ROOT : kind;
        if (!name || !listing_add(&listing, name, kind == NODE_DIR ? S_IFDIR : S_IFREG,
                                  attr_ino(dir->queue, &child), offset + 1))
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

void dir_setattr(struct tree *tree, struct node *dir, fuse_req_t req, const struct stat *to,
                 int to_set)
{
    struct mqueue_info info;
    struct call *call;

    if (!(to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))) {
        reply_attr(tree, req, dir);
        return;
    }
    call = call_new(tree, req, dir_changed);
    if (!call)
        return;
    call->node = dir;
    mqueue_info(dir->mq, &info);
    if (to_set & FUSE_SET_ATTR_MODE)
        info.settings.own.mode = attr_queue_mode(to->st_mode);
    if (to_set & FUSE_SET_ATTR_UID)
        info.settings.own.owner = to->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        info.settings.own.group = to->st_gid;
    mqueue_set(dir->mq, &info.settings, &call->op);
}
