/*
 * in: puts. What a write(2) is, is core's affair (producer.h); here is what only FUSE knows. The
 * kernel splits a write(2) of more than TREE_WRITE_MAX and hides an error on a later piece behind
 * the short count. A piece cannot be told from a write(2) of its own. But who got a short count
 * writes the rest, the same bytes, again, and who got the error goes on with others. So an error on
 * a write straight after one that may have been split is kept with what its bytes began with, and
 * told again to the next write if it begins so. (Left over: who was told, and goes on with an item
 * that begins with the same BEGINNING bytes, is told once more.)
 */
#include "fs/call.h"

#include "core/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

/* A piece of an unaligned buffer is up to a page short of the most. */
#define PIECE_MIN (TREE_WRITE_MAX - 4096)

#define BEGINNING ((size_t)4096)

/* Bytes, see forget_size(): less than anybody limits a file to, more than a line. */
#define SIZE_KEPT 4096

static int in_open(struct file *file, fuse_req_t req)
{
    int rc;

    if ((file->flags & O_ACCMODE) == O_RDONLY)
        return -EACCES;
    rc = mount_queue_may(file->node->mq, ACCESS_PUT);
    if (rc < 0)
        return rc;
    return mount_queue_writer_open(file->node->mq, fuse_req_ctx(req)->uid, &file->writer);
}

static void in_release(struct file *file)
{
    if (file->writer)
        mount_queue_writer_release(file->node->mq, file->writer);
}

/* What `len` bytes begin with, in 48 bits: how many bytes that is, and their CRC. */
static uint64_t beginning(const char *data, size_t len)
{
    size_t n = len < BEGINNING ? len : BEGINNING;

    return (uint64_t)n << 32 | crc32c(data, n);
}

/* In one word, as two writes of one open may be on their way (io_uring). 0: none. */
static uint64_t refusal(uint64_t beginning, int error)
{
    return (uint64_t)error << 48 | beginning;
}

/* The error that these bytes have met already, which the kernel may have hidden; told once. */
static int hidden_error(struct file *file, const char *data, size_t len)
{
    uint64_t refused = atomic_exchange(&file->refused, 0);
    size_t n = refused >> 32 & UINT16_MAX;
    bool same = refused && len >= n && refusal(beginning(data, n), 0) == refused << 16 >> 16;

    return same ? (int)(refused >> 48) : 0;
}

static void in_written(struct call *call, ssize_t result)
{
    struct file *file = call->file;

    atomic_store(&file->after_long, result >= (ssize_t)PIECE_MIN);
    /* EAGAIN and EINTR changed nothing: they are met again, or not. */
    if (call->begins && result < 0 && result != -EAGAIN && result != -EINTR)
        atomic_store(&file->refused, refusal(call->begins, (int)-result));
    if (result == -EAGAIN)
        file_poll_again(file); /* while the file cannot be released yet */
    call_reply_write(call, result);
}

static void in_write(struct file *file, fuse_req_t req, const char *data, size_t len, off_t offset,
                     int flags)
{
    struct call *call;
    int error = hidden_error(file, data, len);

    atomic_store(&file->end, offset + (off_t)len);
    if (error) {
        fuse_reply_err(req, error);
        return;
    }
    call = call_new(file->tree, req, flags & O_DSYNC ? CALL_SYNCS : CALL_WAITS, in_written);
    if (!call)
        return;
    call_set_file(call, file);
    if (atomic_load(&file->after_long))
        call->begins = beginning(data, len);
    call->op.data = (const uint8_t *)data;
    call->op.len = len;
    call->op.nonblock = flags & O_NONBLOCK;
    call->op.sync = flags & O_DSYNC; /* O_SYNC has this bit too */
    mount_queue_write(file->node->mq, file->writer, &call->op);
}

/*
 * The kernel keeps a size of what is appended to, adds up all writes, those of earlier opens too,
 * and holds RLIMIT_FSIZE against it. So it shall ask for the size again before the next open, once
 * that is worth it. (Left over: what one open appends adds up.)
 */
static void forget_size(struct file *file)
{
    struct tree *tree = file->tree;

    if (atomic_exchange(&file->end, 0) > SIZE_KEPT)
        fuse_lowlevel_notify_inval_inode(tree->session, node_id(&tree->nodes, file->node), -1, 0);
}

static void in_flush(struct file *file, fuse_req_t req)
{
    struct call *call;

    forget_size(file);
    call = call_new(file->tree, req, CALL_SYNCS, call_reply_error);
    if (call)
        mount_queue_writer_close(file->node->mq, file->writer, &call->op);
}

static void in_fsync(struct file *file, fuse_req_t req)
{
    struct call *call = call_new(file->tree, req, CALL_SYNCS, call_reply_error);

    if (!call)
        return;
    tree_look(file->tree, file->node);
    mount_queue_sync(file->node->mq, file->writer, &call->op);
}

/* Truncation and times do nothing. */
static void in_touch(struct tree *tree, struct node *node, fuse_req_t req)
{
    reply_attr(tree, req, node);
}

static bool in_poll(struct file *file, struct op *op)
{
    return mount_queue_writer_poll(file->node->mq, file->writer, op);
}

const struct node_ops in_ops = {
    .open = in_open,
    .release = in_release,
    .write = in_write,
    .flush = in_flush,
    .fsync = in_fsync,
    .touch = in_touch,
    .poll = in_poll,
    .poll_events = POLLOUT | POLLWRNORM,
    .stream = true,
};
