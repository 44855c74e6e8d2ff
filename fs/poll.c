#include "fs/poll.h"

#include "fs/tree.h"

#include <poll.h>

#define POLL_ALL (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

void poll_init(struct poll *poll)
{
    pthread_mutex_init(&poll->lock, NULL);
    poll->handle = NULL;
    poll->parked = poll->crowd = poll->released = false;
}

void poll_fini(struct poll *poll)
{
    pthread_mutex_destroy(&poll->lock);
}

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

void poll_answer(struct file *file, fuse_req_t req, struct fuse_pollhandle *handle)
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

void poll_again(struct file *file)
{
    bool wanted;

    pthread_mutex_lock(&file->poll.lock);
    wanted = file->poll.handle && !file->poll.parked;
    pthread_mutex_unlock(&file->poll.lock);
    if (wanted && ask(file))
        notify(file);
}

void poll_release(struct file *file)
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
