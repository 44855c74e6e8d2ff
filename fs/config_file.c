/*
 * config: the queue's settings as YAML. A reader sees them as they were when it opened; one
 * write(2) of whole lines is applied whole or not at all, wherever it writes to.
 */
#include "fs/aside.h"
#include "fs/call.h"
#include "fs/owner.h"

#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Owner and group are asked for by name, which may take as long as the name service does: the text
 * is printed and read aside. */
struct config_work {
    struct aside_work aside; /* first */
    const struct tree_options *options;
    struct mount_queue_info info; /* its settings are those that the lines say, once run */
    struct all_settings was;
    uint64_t fields; /* that the lines set */
    char *text;      /* printed; the file's, once it has it */
    size_t len;
    char lines[];
};

static void work_free(struct aside_work *aside)
{
    struct config_work *work = (struct config_work *)aside;

    free(work->text);
    free(work);
}

/* With a copy of the lines; NULL: no memory. */
static struct config_work *work_new(const struct file *file,
                                    ssize_t (*run)(struct aside_work *aside), const char *lines,
                                    size_t len)
{
    struct config_work *work = calloc(1, sizeof(*work) + len);

    if (!work)
        return NULL;
    work->aside.run = run;
    work->aside.free = work_free;
    work->options = &file->tree->options;
    mount_queue_info(file->node->mq, &work->info);
    work->was = work->info.settings;
    work->len = len;
    if (len)
        memcpy(work->lines, lines, len);
    return work;
}

/* False: no memory, and the request was answered so. */
static bool do_aside(struct file *file, fuse_req_t req, struct config_work *work,
                     void (*reply)(struct call *call, ssize_t result))
{
    struct call *call;

    if (!work) {
        fuse_reply_err(req, ENOMEM);
        return false;
    }
    call = call_new(file->tree, req, CALL_ASKS, reply);
    if (!call) {
        work_free(&work->aside);
        return false;
    }
    call_set_file(call, file);
    call->work = &work->aside;
    aside_do(file->tree->aside, &work->aside, &call->op);
    return true;
}

/* ---- reading ---- */

static ssize_t print(struct aside_work *aside)
{
    struct config_work *work = (struct config_work *)aside;

    work->text = work->options->config_print(&work->info.settings);
    return work->text ? 0 : -ENOMEM;
}

static void printed(struct call *call, ssize_t result)
{
    struct config_work *work = (struct config_work *)call->work;

    if (result == 0) {
        result = open_text(call->file, work->text);
        work->text = NULL;
    }
    reply_open(call->file, call->req, (int)result);
}

static int config_open(struct file *file, fuse_req_t req)
{
    struct mount_queue_info info;
    int rc = 0;

    mount_queue_info(file->node->mq, &info);
    if (info.gone)
        return -ENOENT;
    if ((file->flags & O_ACCMODE) != O_RDONLY)
        rc = mount_queue_may(file->node->mq, ACCESS_MANAGE);
    if (rc < 0 || (file->flags & O_ACCMODE) == O_WRONLY)
        return rc;
    if (!do_aside(file, req, work_new(file, print, NULL, 0), printed))
        file_release(file);
    return OPEN_PARKED;
}

/* ---- writing ---- */

static ssize_t parse(struct aside_work *aside)
{
    struct config_work *work = (struct config_work *)aside;
    char *error = NULL;
    int rc = work->options->config_parse(work->lines, work->len, &work->info.settings,
                                         &work->fields, &error);

    if (rc < 0)
        log_warning("queue %s: config: %s", work->info.name, error ? error : strerror(-rc));
    free(error);
    return rc;
}

static void written(struct call *call, ssize_t result)
{
    if (result < 0)
        log_warning("queue %s: config not changed: %s", call->name, strerror((int)-result));
    else
        tree_expire(call->tree, call->file->node->queue);
    call_reply_write(call, result < 0 ? result : (ssize_t)call->size);
}

/* 0 or -EPERM, logged. */
static int check_owner(fuse_req_t req, struct config_work *work)
{
    int rc = owner_check(req, &work->was.own, &work->info.settings.own, &work->fields);

    if (rc < 0)
        log_warning("queue %s: config: not changed: only root may give a queue to another "
                    "user, or to a group that the owner is not in",
                    work->info.name);
    return rc;
}

/* The lines are read: the service is asked to make it so. */
static void parsed(struct call *call, ssize_t result)
{
    struct config_work *work = (struct config_work *)call->work;
    struct call *set;

    if (result == 0)
        result = check_owner(call->req, work);
    if (result < 0) {
        fuse_reply_err(call->req, (int)-result);
        return;
    }
    set = call_new(call->tree, call->req, CALL_ASKS, written);
    if (!set)
        return;
    call_set_file(set, call->file);
    set->size = work->len;
    memcpy(set->name, work->info.name, sizeof(set->name));
    mount_queue_set(call->file->node->mq, &work->info.settings, work->fields, &set->op);
}

static void config_write(struct file *file, fuse_req_t req, const char *data, size_t len,
                         off_t offset, int flags)
{
    do_aside(file, req, work_new(file, parse, data, len), parsed);
}

/* Truncation and times do nothing: `cat new > config` does both. */
static void config_touch(struct tree *tree, struct node *node, fuse_req_t req)
{
    reply_attr(tree, req, node);
}

const struct node_ops config_ops = {
    .open = config_open,
    .read = reply_text,
    .write = config_write,
    .touch = config_touch,
};
