/* Open files: one for each open(2), from OPEN to RELEASE; and who polls them. */
#include "fs/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define POLL_ALL (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

/* ---- references ---- */

struct file *file_new(struct tree *tree, struct node *node, const struct node_ops *ops, int flags)
{
    struct file *file = calloc(1, sizeof(*file));

    if (!file)
        return NULL;
    file->tree = tree;
    file->node = node;
    file->ops = ops;
    file->flags = flags;
    atomic_init(&file->n_refs, 1);
    atomic_init(&file->n_users, 1);
    pthread_mutex_init(&file->poll.lock, NULL);
    pthread_mutex_lock(&tree->files_lock);
    TAILQ_INSERT_TAIL(&tree->files, file, link);
    pthread_mutex_unlock(&tree->files_lock);
    return file;
}

struct file *file_of(const struct fuse_file_info *fi)
{
    return (struct file *)(uintptr_t)fi->fh;
}

void file_ref(struct file *file)
{
    atomic_fetch_add(&file->n_refs, 1);
}

void file_unref(struct file *file)
{
    if (atomic_fetch_sub(&file->n_refs, 1) > 1)
        return;
    if (file->claim) /* no sooner: its bytes may be on their way to the kernel */
        mount_queue_claim_close(file->node->mq, file->claim);
    node_unref(&file->tree->nodes, file->node);
    pthread_mutex_destroy(&file->poll.lock);
    lister_close(file->lister);
    page_fini(&file->page);
    free(file->text);
    if (file->payer)
        budget_give_back(file->payer, BUDGET_FETCHED, file->paid_bytes);
    budget_user_unref(file->payer);
    free(file);
}

int file_pay(struct file *file, fuse_req_t req, size_t bytes)
{
    if (!file->payer)
        file->payer =
            budget_user_get(mount_budget(file->tree->options.mount), fuse_req_ctx(req)->uid);
    if (!file->payer)
        return -ENOMEM;
    if (!budget_take_all(file->payer, BUDGET_FETCHED, bytes)) {
        budget_refused(file->payer);
        return -ENOMEM;
    }
    file->paid_bytes += bytes;
    return 0;
}

/* ---- poll ---- */

/* Puts `handle` in the place of what is there, which the caller destroys. */
static struct fuse_pollhandle *swap_locked(struct poll *poll, struct fuse_pollhandle *handle)
{
    struct fuse_pollhandle *old = poll->handle;

    poll->handle = handle;
    return old;
}

static void handle_destroy(struct fuse_pollhandle *handle)
{
    if (handle)
        fuse_pollhandle_destroy(handle);
}

/* Wake whoever waits. The handle stays for the next time where it is still the newest. */
static void notify(struct file *file)
{
    struct poll *poll = &file->poll;
    struct fuse_pollhandle *handle;

    pthread_mutex_lock(&poll->lock);
    handle = swap_locked(poll, NULL);
    pthread_mutex_unlock(&poll->lock);
    if (!handle)
        return;
    fuse_lowlevel_notify_poll(handle);

    pthread_mutex_lock(&poll->lock);
    if (!poll->handle && !poll->released)
        handle = swap_locked(poll, handle);
    pthread_mutex_unlock(&poll->lock);
    handle_destroy(handle);
}

static void poll_done(struct op *op, ssize_t result)
{
    struct file *file = op->owner;

    pthread_mutex_lock(&file->poll.lock);
    file->poll.parked = false;
    pthread_mutex_unlock(&file->poll.lock);
    notify(file);
    file_unref(file);
}

/* Whether it is ready now; if not, an op is parked until it may be. */
static bool ask(struct file *file)
{
    struct poll *poll = &file->poll;
    bool parked, crowd;

    pthread_mutex_lock(&poll->lock);
    parked = poll->parked;
    poll->parked = true;
    poll->crowd = parked;
    pthread_mutex_unlock(&poll->lock);
    if (parked)
        return false;

    file_ref(file);
    op_init(&poll->op, poll_done, file);
    if (!file->ops->poll(file, &poll->op))
        return false;
    pthread_mutex_lock(&poll->lock);
    poll->parked = false;
    crowd = poll->crowd;
    pthread_mutex_unlock(&poll->lock);
    if (crowd)
        notify(file);
    file_unref(file);
    return true;
}

void file_poll(struct file *file, fuse_req_t req, struct fuse_pollhandle *handle)
{
    struct fuse_pollhandle *old;
    unsigned events;

    if (!file->ops->poll) {
        handle_destroy(handle);
        fuse_reply_poll(req, POLL_ALL);
        return;
    }
    if (handle) {
        pthread_mutex_lock(&file->poll.lock);
        old = swap_locked(&file->poll, handle);
        pthread_mutex_unlock(&file->poll.lock);
        handle_destroy(old);
    }
    events = file->ops->read ? 0 : POLLIN | POLLRDNORM; /* end of file, at once */
    if (ask(file))
        events |= file->ops->poll_events;
    fuse_reply_poll(req, events);
}

void file_poll_again(struct file *file)
{
    bool wanted;

    pthread_mutex_lock(&file->poll.lock);
    wanted = file->poll.handle && !file->poll.parked;
    pthread_mutex_unlock(&file->poll.lock);
    if (wanted && ask(file))
        notify(file);
}

/* Ends what is parked, destroys the handle. */
static void poll_release(struct file *file)
{
    struct poll *poll = &file->poll;
    struct fuse_pollhandle *handle;
    bool parked;

    pthread_mutex_lock(&poll->lock);
    handle = swap_locked(poll, NULL);
    poll->released = true;
    parked = poll->parked;
    pthread_mutex_unlock(&poll->lock);
    handle_destroy(handle);
    if (parked)
        op_cancel(&poll->op);
}

/* ---- uses, the end ---- */

static struct file *use_locked(struct node *node)
{
    if (node->file) {
        file_ref(node->file);
        atomic_fetch_add(&node->file->n_users, 1);
    }
    return node->file;
}

struct file *file_use(struct tree *tree, struct node *node)
{
    struct file *file;

    pthread_mutex_lock(&tree->files_lock);
    file = use_locked(node);
    pthread_mutex_unlock(&tree->files_lock);
    return file;
}

/* The kernel is about to be told that it is open. Of what gives one item: file_use() may find it.
 */
static void file_opened(struct file *file)
{
    struct tree *tree = file->tree;
    struct file *first;

    if (!child_gives_one(&file->node->child))
        return;
    pthread_mutex_lock(&tree->files_lock);
    first = use_locked(file->node);
    file->node->file = node_is_alone(&tree->nodes, file->node) ? file : NULL;
    pthread_mutex_unlock(&tree->files_lock);
    if (!first)
        return;
    first->ops->shared(first);
    file_unuse(first);
}

void file_unuse(struct file *file)
{
    if (atomic_fetch_sub(&file->n_users, 1) == 1 && file->ops->release)
        file->ops->release(file);
    file_unref(file);
}

void file_release(struct file *file)
{
    struct tree *tree = file->tree;

    node_close(&tree->nodes, file->node);
    pthread_mutex_lock(&tree->files_lock);
    TAILQ_REMOVE(&tree->files, file, link);
    if (file->node->file == file)
        file->node->file = NULL;
    pthread_mutex_unlock(&tree->files_lock);
    poll_release(file);
    file_unuse(file);
}

/* ---- answers ---- */

/* Whether reads go through the kernel's cache: of bytes that never change. */
bool file_is_cached(const struct file *file)
{
    return file->ops->keeps && (file->flags & O_ACCMODE) == O_RDONLY;
}

/* Programs that open for both ways at once do so to seek. */
static bool is_stream(const struct file *file)
{
    return file->ops->stream && (file->flags & O_ACCMODE) != O_RDWR;
}

/* libfuse's fuse_reply_open() has no word for a stream. */
static int send_open(struct file *file, fuse_req_t req)
{
    struct fuse_open_out out = {.fh = (uintptr_t)file};
    struct iovec iov = {&out, sizeof(out)};

    file_opened(file);
    out.open_flags = file_is_cached(file) ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO;
    if (is_stream(file))
        out.open_flags |= FOPEN_STREAM;
    if (!file->ops->flush)
        out.open_flags |= FOPEN_NOFLUSH;
    return fuse_reply_iov(req, &iov, 1);
}

void reply_open(struct file *file, fuse_req_t req, int error)
{
    if (error) {
        file_release(file);
        fuse_reply_err(req, -error);
    } else if (send_open(file, req) < 0) {
        /* Nobody has it: no release will come. */
        file_release(file);
    }
}

int open_text(struct file *file, char *text)
{
    if (!text)
        return -ENOMEM;
    file->text = text;
    file->text_len = strlen(text);
    atomic_store(&file->node->text_len, file->text_len);
    return 0;
}

void reply_text(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    const char *text = file->text ? file->text : (const char *)file->data;
    size_t text_len = file->text ? file->text_len : file->data_len;
    size_t from = offset < 0 || (uint64_t)offset > text_len ? text_len : (size_t)offset;
    size_t len = text_len - from;

    fuse_reply_buf(req, len ? text + from : NULL, len < size ? len : size);
}
