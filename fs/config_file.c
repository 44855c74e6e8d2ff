/*
 * config: the queue's settings as YAML. A reader sees them as they were when it opened; one
 * write(2) of whole lines is applied whole or not at all, wherever it writes to.
 */
#include "fs/call.h"
#include "fs/owner.h"

#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

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
    return open_text(file, file->tree->options.config_print(&info.settings));
}

static void config_written(struct call *call, ssize_t result)
{
    if (result < 0)
        log_warning("queue %s: config not changed: %s", call->name, strerror((int)-result));
    else
        tree_expire(call->tree, call->file->node->queue);
    call_reply_write(call, result < 0 ? result : (ssize_t)call->size);
}

/* What the lines say, over *settings. 0 or negative errno, logged. */
static int parse(struct file *file, fuse_req_t req, const char *data, size_t len,
                 struct mount_queue_info *info, uint64_t *fields)
{
    struct all_settings to = info->settings;
    char *error = NULL;
    int rc = file->tree->options.config_parse(data, len, &to, fields, &error);

    if (rc < 0) {
        log_warning("queue %s: config: %s", info->name, error ? error : strerror(-rc));
    } else {
        rc = owner_check(req, &info->settings.own, &to.own, fields);
        if (rc < 0)
            log_warning("queue %s: config: not changed: only root may give a queue to another "
                        "user, or to a group that the owner is not in",
                        info->name);
    }
    free(error);
    info->settings = to;
    return rc;
}

static void config_write(struct file *file, fuse_req_t req, const char *data, size_t len,
                         off_t offset, int flags)
{
    struct mount_queue_info info;
    struct call *call;
    uint64_t fields = 0;
    int rc;

    mount_queue_info(file->node->mq, &info);
    rc = parse(file, req, data, len, &info, &fields);
    if (rc < 0) {
        fuse_reply_err(req, -rc);
        return;
    }
    call = call_new(file->tree, req, CALL_ASKS, config_written);
    if (!call)
        return;
    call_set_file(call, file);
    call->size = len;
    memcpy(call->name, info.name, sizeof(call->name));
    mount_queue_set(file->node->mq, &info.settings, fields, &call->op);
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
