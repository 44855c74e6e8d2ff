/*
 * What the kernel asks, one function each: find the node or the open file and hand over, or refuse.
 * EACCES is for modes, which the kernel checks; EPERM for what nobody may.
 */
#include "fs/attr.h"
#include "fs/ops.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

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
    /* Closes are sent in the background, so many at most: the rest would come late (closes.h). */
    conn->max_background = UINT16_MAX;
    conn->congestion_threshold = UINT16_MAX;
    conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
                              FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    /* Always READDIRPLUS: what a listing shows is what the lookups of `ls -l` are answered from. */
    conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
}

static const struct node_ops *ops_of(fuse_req_t req, fuse_ino_t ino)
{
    return node_ops_of(find(req, ino)->child.kind);
}

/* An operation on a name in a directory, by the directory's function, if it has one. */
static void by_name(fuse_req_t req, fuse_ino_t parent, const char *name,
                    void (*function)(struct tree *tree, struct node *dir, fuse_req_t req,
                                     const char *name))
{
    if (function)
        function(tree_of(req), find(req, parent), req, name);
    else
        fuse_reply_err(req, EPERM);
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    by_name(req, parent, name, ops_of(req, parent)->lookup);
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

/*
 * Only lseek(2) names the open file: it goes to the end. Of what is given once and in order there
 * is none, whatever its size: tail -n would read backwards from there, and so it reads on.
 */
static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct node *node = find(req, ino);
    struct file *file = NULL;

    if (!fi && child_gives_one(&node->child))
        file = file_use(tree_of(req), node);
    if (fi && child_takes(find(req, ino)->child.kind))
        fuse_reply_err(req, ESPIPE);
    else if (file)
        file->ops->fstat(file, req);
    else
        reply_attr(tree_of(req), req, node);
    if (file)
        file_unuse(file);
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
    if (result == 0 && (to_set & FUSE_SET_ATTR_SIZE) && node->child.kind == NODE_ITEM)
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

    if (ops_of(req, ino)->setattr)
        ops_of(req, ino)->setattr(tree_of(req), node, req, to, to_set);
    else
        setattr_of_file(tree_of(req), node, req, to, to_set);
}

/* There is always room in `in`. Never ENOSYS or EOPNOTSUPP: posix_fallocate(3) would then write
 * NULs, one a block. */
static void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t len,
                          struct fuse_file_info *fi)
{
    fuse_reply_err(req, find(req, ino)->child.kind == NODE_IN ? 0 : EPERM);
}

static void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    by_name(req, parent, name, ops_of(req, parent)->mkdir);
}

static void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    by_name(req, parent, name, ops_of(req, parent)->rmdir);
}

static void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
    fuse_reply_err(req, EPERM);
}

static void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                       struct fuse_file_info *fi)
{
    by_name(req, parent, name, ops_of(req, parent)->create);
}

static void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    by_name(req, parent, name, ops_of(req, parent)->unlink);
}

static void ops_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
    fuse_reply_err(req, EPERM);
}

static void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                       const char *newname, unsigned int flags)
{
    tree_rename(tree_of(req), req, find(req, parent), name, find(req, newparent), newname, flags);
}

static void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
    fuse_reply_err(req, EPERM);
}

/* How many queues there may be has no limit. None left would look like a full filesystem. */
#define FILES_LEFT (UINT64_C(1) << 32)

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
    st.f_ffree = st.f_favail = FILES_LEFT;
    st.f_files = n_queues + FILES_LEFT;
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
    const struct node_ops *ops = ops_of(req, ino);

    if (ops->getxattr)
        ops->getxattr(tree_of(req), find(req, ino), req, name, size);
    else
        fuse_reply_err(req, ENODATA);
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    const struct node_ops *ops = ops_of(req, ino);

    if (ops->listxattr)
        ops->listxattr(tree_of(req), find(req, ino), req, size);
    else if (size == 0)
        fuse_reply_xattr(req, 0);
    else
        fuse_reply_buf(req, NULL, 0);
}

static void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    fuse_reply_err(req, ENODATA);
}

static ssize_t io_read(int fd, void *request, size_t max, void *userdata)
{
    struct tree *tree = userdata;
    ssize_t len;

    spin_wait(&tree->spin, fd);
    closes_reading(&tree->closes);
    len = read(fd, request, max);
    if (len > 0)
        closes_read(&tree->closes, request, (size_t)len);
    return len;
}

static ssize_t io_write(int fd, struct iovec *iov, int n_iov, void *userdata)
{
    return writev(fd, iov, n_iov);
}

const struct fuse_custom_io tree_fuse_io = {.read = io_read, .writev = io_write};

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
    .readdirplus = ops_readdirplus,
    .releasedir = ops_release,
    .fsyncdir = ops_fsyncdir,
    .statfs = ops_statfs,
    .setxattr = ops_setxattr,
    .getxattr = ops_getxattr,
    .listxattr = ops_listxattr,
    .removexattr = ops_removexattr,
    .fallocate = ops_fallocate,
    .ioctl = ops_ioctl,
    .poll = ops_poll,
};
