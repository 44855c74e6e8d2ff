/* What the kernel is told of a node: its attributes, and the answers that are made of them. */
#include "fs/tree.h"

#include "fs/attr.h"

#include <errno.h>
#include <stdlib.h>

#define FRESH_S     1.0
#define BLOCK_BYTES 4096

/*
 * Sizes that are shown where there is none to know. The kernel serves splice(2), sendfile(2) and
 * their like up to the size it was told and asks nobody beyond, so a size of 0 would be an end of
 * file that is none; ops_read() says what becomes of them. Programs make buffers of what they are
 * told, so it is not larger than it must be. A text that nobody has opened looks as those of sysfs.
 */
#define STREAM_BYTES ((off_t)64 << 20)
#define TEXT_BYTES   BLOCK_BYTES

static void set_times(struct stat *st, int64_t us)
{
    struct timespec at = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    st->st_atim = st->st_mtim = st->st_ctim = at;
}

/* The root and what is in it: the mounting user's. */
static void stat_of_root(const struct tree *tree, const struct node *node, struct stat *st)
{
    bool all = tree->options.allow_other;
    struct store_space space;
    uint64_t n_queues;

    st->st_uid = tree->options.uid;
    st->st_gid = tree->options.gid;
    set_times(st, tree->options.made_us);
    if (node->child.kind == NODE_STATS || node->child.kind == NODE_HELP) {
        st->st_mode = S_IFREG | (all ? 0444 : 0400);
    } else if (node->child.kind == NODE_FLUSH) {
        st->st_mode = S_IFREG | (all ? 0222 : 0200);
    } else {
        mount_space(tree->options.mount, &space, &n_queues);
        /* Sticky, as the owner of a queue may remove it; who may make one is mkdir's to say. */
        st->st_mode = S_IFDIR | (all ? 01777 : 0755);
        st->st_nlink = 2 + n_queues;
    }
}

/* All of its blocks are there: it is nothing sparse. */
static void set_size(struct stat *st, off_t size)
{
    st->st_size = size;
    st->st_blocks = (size + 511) / 512;
}

/* Of a text as of the last open: who asks for it has just opened it. */
static off_t size_of_text(struct node *node)
{
    size_t len = atomic_load(&node->text_len);

    atomic_store(&node->shown, len);
    return len > 0 ? (off_t)len : TEXT_BYTES;
}

static nlink_t links_of(enum node_kind kind)
{
    if (kind == NODE_DIR)
        return 2 + 3; /* ready, leased, dead */
    return child_lists_items(kind) ? 2 : 1;
}

/* Its size, and the time it was put; where it is ready only later, that time. */
static int stat_of_item(struct tree *tree, const struct node *node, struct stat *st)
{
    struct item_info info;
    int result = node_item_shown(&tree->nodes, node, &info);

    if (result < 0)
        return result;
    set_size(st, (off_t)info.size);
    set_times(st, info.state == ITEM_DELAYED ? info.until_us : info.put_time_us);
    return 0;
}

static bool is_text(const struct node *node)
{
    return child_has(node->child.kind, NODE_TEXT);
}

static bool size_varies(const struct node *node)
{
    return is_text(node) || child_takes(node->child.kind);
}

int node_stat(struct tree *tree, struct node *node, struct stat *st)
{
    struct mount_queue_info info;

    *st = (struct stat){.st_ino = attr_ino(node->queue, &node->child),
                        .st_nlink = links_of(node->child.kind),
                        .st_blksize = BLOCK_BYTES};
    if (child_takes(node->child.kind))
        set_size(st, STREAM_BYTES);
    else if (is_text(node))
        set_size(st, size_of_text(node));
    if (!node->mq) {
        stat_of_root(tree, node, st);
        return 0;
    }
    mount_queue_info(node->mq, &info);
    if (info.gone)
        return -ENOENT;
    st->st_mode = attr_mode(node->child.kind, (mode_t)info.settings.own.mode);
    st->st_uid = (uid_t)info.settings.own.owner;
    st->st_gid = (gid_t)info.settings.own.group;
    set_times(st, info.made_us);
    return node->child.kind == NODE_ITEM ? stat_of_item(tree, node, st) : 0;
}

/* How long the kernel may keep what it was told of a node: not longer than the item's lease. Of
 * what has a size to each open nothing: SEEK_END asks then, and ops_getattr() knows it. */
static double fresh_s(struct tree *tree, const struct node *node, bool *claim)
{
    struct item_info info;
    double left_s;

    *claim = node->child.kind == NODE_ITEM && node_item(&tree->nodes, node, &info) == 0 &&
             info.state == ITEM_LEASED;
    if (!*claim)
        return size_varies(node) ? 0 : FRESH_S;
    left_s = (double)(info.until_us - clock_system.wall_us(&clock_system)) / 1e6;
    return left_s < 0 ? 0 : left_s < FRESH_S ? left_s : FRESH_S;
}

int entry_of_node(struct tree *tree, struct node *node, struct fuse_entry_param *entry)
{
    bool claim;

    *entry = (struct fuse_entry_param){.ino = node_id(&tree->nodes, node),
                                       .generation = node->generation};
    entry->attr_timeout = fresh_s(tree, node, &claim);
    entry->entry_timeout = size_varies(node) ? FRESH_S : entry->attr_timeout;
    if ((node->child.kind == NODE_ITEM && !claim) || child_gives_one(&node->child))
        entry->entry_timeout = 0;
    return node_stat(tree, node, &entry->attr);
}

void reply_entry(struct tree *tree, fuse_req_t req, struct node *node)
{
    struct fuse_entry_param entry;
    int result;

    if (!node) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    result = entry_of_node(tree, node, &entry);
    if (result < 0)
        fuse_reply_err(req, -result);
    else
        result = fuse_reply_entry(req, &entry);
    if (result < 0)
        node_forget(&tree->nodes, node, 1);
}

void reply_attr(struct tree *tree, fuse_req_t req, struct node *node)
{
    struct stat st;
    int result = node_stat(tree, node, &st);
    bool claim;

    if (result < 0)
        fuse_reply_err(req, -result);
    else
        fuse_reply_attr(req, &st, fresh_s(tree, node, &claim));
}

void reply_size(struct tree *tree, fuse_req_t req, struct node *node, off_t size)
{
    struct stat st;
    int result = node_stat(tree, node, &st);

    if (result < 0) {
        fuse_reply_err(req, -result);
        return;
    }
    set_size(&st, size);
    fuse_reply_attr(req, &st, 0);
}

bool setattr_changes(const struct stat *now, const struct stat *to, int to_set)
{
    return ((to_set & FUSE_SET_ATTR_MODE) && ((now->st_mode ^ to->st_mode) & 07777) != 0) ||
           ((to_set & FUSE_SET_ATTR_UID) && now->st_uid != to->st_uid) ||
           ((to_set & FUSE_SET_ATTR_GID) && now->st_gid != to->st_gid);
}

void tree_look(struct tree *tree, const struct node *node)
{
    if (closes_under_way(&tree->closes) && (!node->mq || mount_queue_unfinished(node->mq)))
        closes_await(&tree->closes);
}

void tree_expire(struct tree *tree, uint64_t queue)
{
    fuse_ino_t *ids;
    size_t n = node_ids_of(&tree->nodes, queue, &ids);

    /* Attributes only: a negative offset leaves the (never cached) contents alone. */
    for (size_t i = 0; i < n; i++)
        fuse_lowlevel_notify_inval_inode(tree->session, ids[i], -1, 0);
    free(ids);
}
