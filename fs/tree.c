/* What the nodes have in common: their attributes, and the answers that are made of them. */
#include "fs/tree.h"

#include "fs/attr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRESH_S     1.0
#define BLOCK_BYTES 4096

const struct node_ops *node_ops_of(enum node_kind kind)
{
    static const struct node_ops none;
    static const struct node_ops *const table[NODE_KINDS] = {
        [NODE_ROOT] = &none,       [NODE_DIR] = &none,          [NODE_IN] = &in_ops,
        [NODE_OUT] = &out_ops,     [NODE_NEXT] = &out_ops,      [NODE_STATS] = &stats_ops,
        [NODE_FLUSH] = &flush_ops, [NODE_CONFIG] = &config_ops, [NODE_PURGE] = &purge_ops,
    };

    return table[kind];
}

void tree_init(struct tree *tree, const struct tree_options *options)
{
    *tree = (struct tree){.options = *options};
    nodes_init(&tree->nodes);
    limit_init(&tree->limit, &clock_system);
    pthread_mutex_init(&tree->files_lock, NULL);
    TAILQ_INIT(&tree->files);
}

void tree_fini(struct tree *tree)
{
    struct file *file;

    while ((file = TAILQ_FIRST(&tree->files)) != NULL)
        file_release(file);
    nodes_fini(&tree->nodes);
    limit_fini(&tree->limit);
    pthread_mutex_destroy(&tree->files_lock);
}

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
    if (node->child.kind == NODE_STATS) {
        st->st_mode = S_IFREG | (all ? 0444 : 0400);
    } else if (node->child.kind == NODE_FLUSH) {
        st->st_mode = S_IFREG | (all ? 0222 : 0200);
    } else {
        mount_space(tree->options.mount, &space, &n_queues);
        /* Everybody may make queues; sticky, so that only their owners remove them. */
        st->st_mode = S_IFDIR | (all ? 01777 : 0755);
        st->st_nlink = 2 + n_queues;
    }
}

int node_stat(const struct tree *tree, const struct node *node, struct stat *st)
{
    struct mqueue_info info;

    *st = (struct stat){.st_ino = attr_ino(node->queue, &node->child),
                        .st_nlink = node->child.kind == NODE_DIR ? 2 : 1,
                        .st_blksize = BLOCK_BYTES};
    if (!node->mq) {
        stat_of_root(tree, node, st);
        return 0;
    }
    mqueue_info(node->mq, &info);
    if (info.gone)
        return -ENOENT;
    st->st_mode = attr_mode(node->child.kind, (mode_t)info.settings.own.mode);
    st->st_uid = (uid_t)info.settings.own.owner;
    st->st_gid = (gid_t)info.settings.own.group;
    set_times(st, info.made_us);
    return 0;
}

void reply_entry(struct tree *tree, fuse_req_t req, struct node *node)
{
    struct fuse_entry_param entry = {.attr_timeout = FRESH_S, .entry_timeout = FRESH_S};
    int result;

    if (!node) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    entry.ino = node_id(&tree->nodes, node);
    result = node_stat(tree, node, &entry.attr);
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

    if (result < 0)
        fuse_reply_err(req, -result);
    else
        fuse_reply_attr(req, &st, FRESH_S);
}

void reply_text(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    size_t from = offset < 0 || (uint64_t)offset > file->text_len ? file->text_len : (size_t)offset;
    size_t len = file->text_len - from;

    fuse_reply_buf(req, file->text + from, len < size ? len : size);
}

bool setattr_changes(const struct stat *now, const struct stat *to, int to_set)
{
    return ((to_set & FUSE_SET_ATTR_MODE) && ((now->st_mode ^ to->st_mode) & 07777) != 0) ||
           ((to_set & FUSE_SET_ATTR_UID) && now->st_uid != to->st_uid) ||
           ((to_set & FUSE_SET_ATTR_GID) && now->st_gid != to->st_gid);
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
