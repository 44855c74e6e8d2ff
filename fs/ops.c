/*
 * What the kernel asks, one function each: find the node or the open file and hand over, or refuse.
 * EACCES is for modes, which the kernel checks; EPERM for what nobody may.
 */
#include "fs/attr.h"
#include "fs/tree.h"

#include <errno.h>
#include <fcntl.h>

static struct tree *tree_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct node *find(fuse_req_t req, fuse_ino_t ino)
{
    return node_of(&tree_of(req)->nodes, ino);
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
    conn->max_write = TREE_WRITE_MAX;
    /* Closes are sent in the background: let many go at once. */
    conn->max_background = 256;
    conn->congestion_threshold = 192;
    conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
                              FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct node *dir = find(req, parent);

    if (dir->child.kind == NODE_ROOT)
        root_lookup(tree_of(req), req, name);
    else
        dir_lookup(tree_of(req), dir, req, name);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    node_forget(&tree_of(req)->nodes, find(req, ino), n);
    fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        node_forget(&tree_of(req)->nodes, find(req, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    reply_attr(tree_of(req), req, find(req, ino));
}

static void setattr_of_file(struct tree *tree, struct node *node, fuse_req_t req, struct stat *to,
                            int to_set)
{
    const struct node_ops *ops = node_ops_of(node->child.kind);
    struct stat now;
    int result = node_stat(tree, node, &now);

    if (result == 0 && setattr_changes(&now, to, to_set))
        result = -EPERM;
    to_set &= FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
              FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
    if (result == 0 && to_set && !ops->touch && node->child.kind != NODE_ROOT)
        result = -EPERM;
    if (result < 0)
        fuse_reply_err(req, -result);
    else if (to_set && ops->touch)
        ops->touch(tree, node, req);
    else
        reply_attr(tree, req, node);
}

static void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int to_set,
                        struct fuse_file_info *fi)
{
    struct node *node = find(req, ino);

    if (node->child.kind == NODE_DIR)
        dir_setattr(tree_of(req), node, req, to, to_set);
    else
        setattr_of_file(tree_of(req), node, req, to, to_set);
}

static void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    if (parent == FUSE_ROOT_ID)
        root_mkdir(tree_of(req), req, name);
    else
        fuse_reply_err(req, EPERM);
}

static void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (parent == FUSE_ROOT_ID)
        root_rmdir(tree_of(req), req, name);
    else
        fuse_reply_err(req, EPERM);
}

static void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
    fuse_reply_err(req, EPERM);
}

static void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                       struct fuse_file_info *fi)
{
    fuse_reply_err(req, EPERM);
}

static void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fuse_reply_err(req, EPERM);
}

static void ops_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
    fuse_reply_err(req, EPERM);
}

static void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                       const char *newname, unsigned int flags)
{
    fuse_reply_err(req, EPERM);
}

static void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
    fuse_reply_err(req, EPERM);
}

void reply_open(struct file *file, fuse_req_t req, int error)
{
    struct fuse_file_info fi = {.fh = (uintptr_t)file, .direct_io = 1};

    if (error) {
        file_release(file);
        fuse_reply_err(req, -error);
    } else if (fuse_reply_open(req, &fi) < 0) {
        /* Nobody has it: no release will come. */
        file_release(file);
    }
}

static void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tree *tree = tree_of(req);
    struct node *node = find(req, ino);
    int result = node_open(&tree->nodes, node, fuse_req_ctx(req)->pid);
    struct file *file;

    if (result < 0) {
        fuse_reply_err(req, -result);
        return;
    }
    file = file_new(tree, node, fi->flags);
    if (!file) {
        node_close(&tree->nodes, node);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    result = file->ops->open ? file->ops->open(file, req) : 0;
    if (result != OPEN_PARKED)
        reply_open(file, req, result);
}

static void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (file->ops->read)
        file->ops->read(file, req, size, offset, fi->flags);
    else
        fuse_reply_buf(req, NULL, 0);
    file_unref(file);
}

static void ops_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t offset,
                      struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (file->ops->write)
        file->ops->write(file, req, data, len, fi->flags);
    else
        fuse_reply_err(req, EBADF);
    file_unref(file);
}

/* Answered for every kind: ENOSYS would end all flushes. */
static void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (file->ops->flush)
        file->ops->flush(file, req);
    else
        fuse_reply_err(req, 0);
    file_unref(file);
}

static void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    file_release(file_of(fi));
    fuse_reply_err(req, 0);
}

static void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (file->ops->fsync)
        file->ops->fsync(file, req);
    else
        fuse_reply_err(req, 0);
    file_unref(file);
}

static void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_open(req, fi);
}

static void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                        struct fuse_file_info *fi)
{
    struct node *dir = find(req, ino);

    if (offset < 0)
        fuse_reply_err(req, EINVAL);
    else if (dir->child.kind == NODE_ROOT)
        root_readdir(tree_of(req), req, size, offset);
    else
        dir_readdir(tree_of(req), dir, req, size, offset);
}

static void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

/* Names are durable once mkdir has returned. The kernel holds the directory meanwhile, so this
 * never waits. */
static void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = QUEUE_NAME_MAX};
    struct store_space space = {0};
    uint64_t n_queues = 0;

    mount_space(tree_of(req)->options.mount, &space, &n_queues);
    st.f_blocks = space.limit_bytes / st.f_frsize;
    if (space.used_bytes < space.limit_bytes)
        st.f_bfree = (space.limit_bytes - space.used_bytes) / st.f_frsize;
    st.f_bavail = space.full ? 0 : st.f_bfree;
    st.f_files = n_queues;
    fuse_reply_statfs(req, &st);
}

static void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                         size_t size, int flags)
{
    fuse_reply_err(req, ENOTSUP);
}

/* security.capability is asked for at each truncating open; ENOSYS would end all of these. */
static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    fuse_reply_err(req, ENODATA);
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, 0);
    else
        fuse_reply_buf(req, NULL, 0);
}

static void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    fuse_reply_err(req, ENODATA);
}

static void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
                      struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                      size_t out_size)
{
    fuse_reply_err(req, ENOTTY);
}

static void ops_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                     struct fuse_pollhandle *handle)
{
    struct file *file = file_of(fi);

    file_ref(file);
    poll_answer(file, req, handle);
    file_unref(file);
}

const struct fuse_lowlevel_ops tree_fuse_ops = {
    .init = ops_init,
    .lookup = ops_lookup,
    .forget = ops_forget,
    .forget_multi = ops_forget_multi,
    .getattr = ops_getattr,
    .setattr = ops_setattr,
    .mknod = ops_mknod,
    .mkdir = ops_mkdir,
    .unlink = ops_unlink,
    .rmdir = ops_rmdir,
    .symlink = ops_symlink,
    .rename = ops_rename,
    .link = ops_link,
    .create = ops_create,
    .open = ops_open,
    .read = ops_read,
    .write = ops_write,
    .flush = ops_flush,
    .release = ops_release,
    .fsync = ops_fsync,
    .opendir = ops_opendir,
    .readdir = ops_readdir,
    .releasedir = ops_releasedir,
    .fsyncdir = ops_fsyncdir,
    .statfs = ops_statfs,
    .setxattr = ops_setxattr,
    .getxattr = ops_getxattr,
    .listxattr = ops_listxattr,
    .removexattr = ops_removexattr,
    .ioctl = ops_ioctl,
    .poll = ops_poll,
};
