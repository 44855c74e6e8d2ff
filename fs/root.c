/* The root: help, stats, flush and a directory for each queue. */
#include "fs/attr.h"
#include "fs/call.h"
#include "fs/listing.h"

#include "core/get/consumer.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *name;
    struct child child;
    const char *help;
} fixed[] = {
    {"help", {NODE_HELP, READER_UNLIMITED, -1}, "this"},
    {"stats",
     {NODE_STATS, READER_UNLIMITED, -1},
     "counters of all queues, and the state of the connection"},
    {"flush",
     {NODE_FLUSH, READER_UNLIMITED, -1},
     "touch it: returns when all that was put, to any queue, is on disk"},
};

#define N_FIXED (sizeof(fixed) / sizeof(fixed[0]))

const char *root_name(unsigned i, const char **help)
{
    if (i >= N_FIXED)
        return NULL;
    *help = fixed[i].help;
    return fixed[i].name;
}

static const struct child queue_dir = {NODE_DIR, READER_UNLIMITED, -1};

/* The entry of a queue; takes the reference. */
static void reply_queue(struct tree *tree, fuse_req_t req, struct mount_queue *mq)
{
    if (!mq) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    reply_entry(tree, req, node_lookup(&tree->nodes, mq, &queue_dir, 0));
    mount_queue_unref(mq);
}

static void root_lookup(struct tree *tree, struct node *root, fuse_req_t req, const char *name)
{
    for (size_t i = 0; i < N_FIXED; i++) {
        if (strcmp(name, fixed[i].name) == 0) {
            reply_entry(tree, req, node_lookup(&tree->nodes, NULL, &fixed[i].child, 0));
            return;
        }
    }
    reply_queue(tree, req, queue_name_valid(name) ? mount_find(tree->options.mount, name) : NULL);
}

/* Behind the fixed names, the offset is the number of the queue that came last. */
#define FIRST_QUEUE ((off_t)(2 + N_FIXED))

static void list_queues(struct tree *tree, struct listing *listing, off_t offset)
{
    struct mount_queue_info info;
    struct mount_queue *mq;
    bool fits = true;

    while (fits && (mq = mount_next(tree->options.mount, (uint64_t)(offset - FIRST_QUEUE)))) {
        mount_queue_info(mq, &info);
        mount_queue_unref(mq);
        offset = FIRST_QUEUE + (off_t)info.number;
        fits = listing_add(listing, info.name, S_IFDIR, attr_ino(info.number, &queue_dir), offset);
    }
}

static void root_readdir(struct file *file, fuse_req_t req, size_t size, off_t offset, bool plus)
{
    struct listing listing;
    bool fits = true;

    if (listing_init(&listing, file->tree, req, size, plus) < 0) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    for (; fits && offset < FIRST_QUEUE; offset += fits) {
        if (offset < 2)
            fits =
                listing_add(&listing, offset == 0 ? "." : "..", S_IFDIR, FUSE_ROOT_ID, offset + 1);
        else
            fits = listing_add(&listing, fixed[offset - 2].name, S_IFREG,
                               attr_ino(0, &fixed[offset - 2].child), offset + 1);
    }
    if (fits)
        list_queues(file->tree, &listing, offset);
    listing_reply(&listing);
}

static void root_made(struct call *call, ssize_t result)
{
    if (result < 0)
        fuse_reply_err(call->req, (int)-result);
    else
        reply_queue(call->tree, call->req, mount_find(call->tree->options.mount, call->name));
}

/* The kernel lets everybody into the root, for the sake of rmdir. */
static bool may_make(const struct tree *tree, uid_t uid)
{
    return tree->options.all_make || uid == 0 || uid == tree->options.uid;
}

/* The mode is the default: mkdir(1) asks for 0777 less the umask, which nobody chose for a queue,
 * and where somebody does, by -m, a chmod follows. */
static void root_mkdir(struct tree *tree, struct node *root, fuse_req_t req, const char *name)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct call *call;

    if (!queue_name_may_be_made(name)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if (!may_make(tree, ctx->uid)) {
        fuse_reply_err(req, EACCES);
        return;
    }
    call = call_new(tree, req, CALL_ASKS, root_made);
    if (!call)
        return;
    strcpy(call->name, name); /* valid names fit */
    mount_make_queue(tree->options.mount, call->name, tree->options.queue_mode, ctx->uid, ctx->gid,
                     &call->op);
}

static void root_rmdir(struct tree *tree, struct node *root, fuse_req_t req, const char *name)
{
    struct mount_queue *mq = mount_find(tree->options.mount, name);
    struct call *call;

    if (!mq) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    call = call_new(tree, req, CALL_ASKS, call_reply_error);
    if (call)
        mount_remove_queue(tree->options.mount, mq, &call->op);
    mount_queue_unref(mq);
}

const struct node_ops root_ops = {
    .lookup = root_lookup,
    .readdir = root_readdir,
    .mkdir = root_mkdir,
    .rmdir = root_rmdir,
};
