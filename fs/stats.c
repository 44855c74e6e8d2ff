/* stats, of a queue and of the mount: a text made when it is opened, so that it is of one moment.
 */
#include "fs/tree.h"

#include <errno.h>
#include <fcntl.h>

static int stats_open(struct file *file, fuse_req_t req)
{
    struct mount_queue *mq = file->node->mq;

    if ((file->flags & O_ACCMODE) != O_RDONLY)
        return -EACCES;
    tree_look(file->tree, file->node);
    return open_text(file, mq ? mount_queue_stats(mq) : mount_stats(file->tree->options.mount));
}

const struct node_ops stats_ops = {.open = stats_open, .read = reply_text};
