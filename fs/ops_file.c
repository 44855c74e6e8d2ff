/* What the kernel asks of open files and directories, one function each: see ops.c. */
#include "fs/ops.h"

#include "fs/call.h"

#include <errno.h>

static void open_in_turn(struct tree *tree, fuse_req_t req);

/* Its turn has come; or it has waited for a moment, and goes on if the others get on. */
static void open_again(struct call *call, ssize_t result)
{
    struct nodes *nodes = &call->tree->nodes;

    if (result == -EINTR && !fuse_req_interrupted(call->req) && node_is_crowded(nodes)) {
        open_in_turn(call->tree, call->req);
        return;
    }
    if (result < 0)
        node_open_told(nodes, fuse_req_ctx(call->req)->pid);
    fuse_reply_err(call->req, ESTALE);
}

static void open_in_turn(struct tree *tree, fuse_req_t req)
{
    struct call *call = call_new(tree, req, CALL_WAITS, open_again);

    if (!call)
        return;
    limit_hurry(&tree->limit, &call->limited, LIMIT_MOMENT);
    node_open_wait(&tree->nodes, fuse_req_ctx(req)->pid, &call->op);
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tree *tree = fuse_req_userdata(req);
    struct node *node = node_of(&tree->nodes, ino);
    int result = node_open(&tree->nodes, node, fuse_req_ctx(req)->pid);
    struct file *file;

    if (result == NODE_CROWD) {
        open_in_turn(tree, req);
        return;
    }
    if (result < 0) {
        fuse_reply_err(req, -result);
        return;
    }
    file = file_new(tree, node, node_ops_of(node->child.kind), fi->flags);
    if (!file) {
        node_close(&tree->nodes, node);
        node_unref(&tree->nodes, node);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    file->tid = fuse_req_ctx(req)->pid;
    result = file_pay(file, req, FILE_BYTES);
    if (result == 0 && file->ops->open)
        result = file->ops->open(file, req);
    if (result != OPEN_PARKED)
        reply_open(file, req, result);
}

/*
 * splice(2), sendfile(2), copy_file_range(2) and mmap(2) go through the kernel's cache also where
 * read(2) does not: a page each, known by its lock owner 0. A page is the inode's, and wants all of
 * its 4096 bytes or it ends the file: a stream has none. So they are refused with what sendfile(2)
 * names as a reason to go on with read(2), and that is what cat, cp and others that copy do.
 *
 * libuv goes on upon EINVAL only, and until it has all bytes that fstat(2) has shown, for ever if
 * they never come. Where those were not the file's, as of `out`, ENOSYS ends it before it has
 * begun.
 */
static void refuse_page(struct file *file, fuse_req_t req)
{
    bool counted = file->ops->shown
                       ? file->ops->shown(file) > 0
                       : file->text && atomic_load(&file->node->shown) == file->text_len;

    fuse_reply_err(req, counted ? EINVAL : ENOSYS);
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (fi->lock_owner == 0 && !file_is_cached(file))
        refuse_page(file, req);
    else if (file->ops->read)
        file->ops->read(file, req, size, offset, fi->flags);
    else
        fuse_reply_buf(req, NULL, 0);
    file_unref(file);
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t offset,
               struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (file->ops->write)
        file->ops->write(file, req, data, len, offset, fi->flags);
    else
        fuse_reply_err(req, EBADF);
    file_unref(file);
}

/* Answered for every kind: ENOSYS would end all flushes. */
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (file->ops->flush)
        file->ops->flush(file, req);
    else
        fuse_reply_err(req, 0);
    file_unref(file);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tree *tree = fuse_req_userdata(req);

    file_release(file_of(fi));
    closes_done(&tree->closes);
    fuse_reply_err(req, 0);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (file->ops->fsync)
        file->ops->fsync(file, req);
    else
        fuse_reply_err(req, 0);
    file_unref(file);
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tree *tree = fuse_req_userdata(req);
    struct node *dir = node_of(&tree->nodes, ino);
    struct file *file;
    int rc;

    node_open(&tree->nodes, dir, 0);
    file = file_new(tree, dir, node_ops_of(dir->child.kind), fi->flags);
    if (!file) {
        node_close(&tree->nodes, dir);
        node_unref(&tree->nodes, dir);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    rc = file_pay(file, req, FILE_BYTES);
    if (rc == 0 && file->ops->open)
        rc = file->ops->open(file, req);
    if (rc < 0) {
        fuse_reply_err(req, -rc);
        file_release(file);
        return;
    }
    *fi = (struct fuse_file_info){.fh = (uintptr_t)file};
    if (fuse_reply_open(req, fi) < 0)
        file_release(file);
}

static void readdir_any(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi,
                        bool plus)
{
    struct file *file = file_of(fi);

    file_ref(file); /* it may be released as soon as the request is answered */
    if (offset < 0)
        fuse_reply_err(req, EINVAL);
    else if (file->ops->readdir)
        file->ops->readdir(file, req, size, offset, plus);
    else
        fuse_reply_buf(req, NULL, 0);
    file_unref(file);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                 struct fuse_file_info *fi)
{
    readdir_any(req, size, offset, fi, false);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    readdir_any(req, size, offset, fi, true);
}

/* Names are durable once mkdir has returned. The kernel holds the directory meanwhile, so this
 * never waits. */
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
               struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
               size_t out_size)
{
    fuse_reply_err(req, ENOTTY);
}

void ops_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
              struct fuse_pollhandle *handle)
{
    struct file *file = file_of(fi);

    file_ref(file);
    file_poll(file, req, handle);
    file_unref(file);
}
