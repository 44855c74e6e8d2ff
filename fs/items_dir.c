/*
 * ready, leased and dead: directories of items. leased is what this mount holds and answers from
 * memory; ready and dead ask the service. What this mount holds is in leased alone.
 */
#include "fs/attr.h"
#include "fs/call.h"
#include "fs/listing.h"
#include "fs/move.h"

#include "core/clock.h"

#include <errno.h>
#include <stdlib.h>

/* An answer that brings no item (they are elsewhere) is followed by the next question; for so long,
 * because the kernel holds the directory meanwhile. */
#define LISTING_TIMEOUT_US INT64_C(1000000)

/* Offsets: 1 behind ".", 2 behind "..", then the id of the item that came last. */
#define BEHIND_DOTS ((off_t)2)

static uint32_t states_of(const struct node *dir)
{
    return dir->child.kind == NODE_DEAD ? 1 << ITEM_DEAD : 1 << ITEM_READY | 1 << ITEM_DELAYED;
}

/* ---- a name ---- */

static void looked(struct call *call, ssize_t result)
{
    const struct item_answer *answer = call->op.answer;

    if (result == 0 && answer->n_items == 0)
        result = -ENOENT;
    if (result < 0)
        fuse_reply_err(call->req, (int)-result);
    else
        reply_entry(call->tree, call->req,
                    node_lookup_item(&call->tree->nodes, call->node, &answer->items[0], NULL));
}

static void look(struct tree *tree, struct node *dir, fuse_req_t req, uint64_t id)
{
    struct node *listed = node_lookup_listed(&tree->nodes, dir, id);
    struct call *call;

    if (listed) {
        reply_entry(tree, req, listed);
        return;
    }
    call = call_new(tree, req, CALL_ASKS, looked);
    if (!call)
        return;
    call->node = dir;
    mount_queue_look(dir->mq, id, states_of(dir), false, &call->op);
}

static void items_lookup(struct tree *tree, struct node *dir, fuse_req_t req, const char *name)
{
    bool leased = dir->child.kind == NODE_LEASED;
    struct item_info info;
    uint64_t id;

    if (!item_id_parse(name, &id) || mount_queue_claim(dir->mq, id, &info) != leased)
        fuse_reply_err(req, ENOENT);
    else if (leased)
        reply_entry(tree, req, node_lookup_item(&tree->nodes, dir, &info, NULL));
    else
        look(tree, dir, req, id);
}

/* touch(1) of an item whose lease has ended. */
static void items_create(struct tree *tree, struct node *dir, fuse_req_t req, const char *name)
{
    uint64_t id;

    fuse_reply_err(req,
                   dir->child.kind == NODE_LEASED && item_id_parse(name, &id) ? ESTALE : EPERM);
}

/* ---- a listing ---- */

/* Whether the item is here still; then *info is how. */
static bool is_listed(const struct node *dir, struct item_info *info)
{
    return mount_queue_claim(dir->mq, info->id, info) == (dir->child.kind == NODE_LEASED);
}

/* False: it does not fit. */
static bool add_item(struct listing *listing, const struct file *file, struct item_info info)
{
    const struct node *dir = file->node;
    struct child child = child_of_item(info.id);
    struct fuse_entry_param entry;
    char name[ITEM_ID_DIGITS + 1];
    struct node *node = NULL;

    if (!is_listed(dir, &info))
        return true;
    item_id_format(info.id, name);
    if (listing->plus && file->lister)
        node = node_lookup_item(&listing->tree->nodes, dir, &info, file->lister);
    if (!node)
        return listing_add(listing, name, S_IFREG, attr_ino(dir->queue, &child), (off_t)info.id);
    if (entry_of_node(listing->tree, node, &entry) == 0)
        return listing_add_node(listing, name, &entry, node, (off_t)info.id);
    node_forget(&listing->tree->nodes, node, 1); /* it is gone */
    return true;
}

static bool add_dots(struct listing *listing, const struct node *dir, off_t offset)
{
    const struct child parent = {NODE_DIR, READER_UNLIMITED, -1};
    bool fits = true;

    if (offset == 0)
        fits = listing_add(listing, ".", S_IFDIR, attr_ino(dir->queue, &dir->child), 1);
    if (fits && offset <= 1)
        fits = listing_add(listing, "..", S_IFDIR, attr_ino(dir->queue, &parent), BEHIND_DOTS);
    return fits;
}

/* Answer with what the page has. False: none of it is here any more, and the listing goes on. */
static bool give(struct reading *reading)
{
    struct file *dir = reading->dir;
    uint64_t from = reading->from, start;
    const struct item_info *info;
    struct listing listing;
    bool fits;

    if (listing_init(&listing, dir->tree, reading->req, reading->size, reading->plus) < 0) {
        fuse_reply_err(reading->req, ENOMEM);
        return true;
    }
    fits = add_dots(&listing, dir->node, reading->offset);
    while (fits && (info = page_find(&dir->page, from))) {
        fits = add_item(&listing, dir, *info);
        from = info->id + 1;
    }
    if (fits && listing.len == 0 && page_wants(&dir->page, from, &start) > 0) {
        reading->from = from;
        listing_fini(&listing);
        return false;
    }
    listing_reply(&listing);
    return true;
}

static int fill_from_memory(struct file *dir, uint64_t start, uint32_t max)
{
    struct item_info *infos = malloc(max * sizeof(*infos));
    size_t n;
    int result;

    if (!infos)
        return -ENOMEM;
    n = mount_queue_claim_list(dir->node->mq, start, infos, max);
    result = page_fill(&dir->page, start, infos, n, n == max ? infos[n - 1].id + 1 : 0);
    free(infos);
    return result;
}

static void proceed(struct reading *reading);

static void listed(struct call *call, ssize_t result)
{
    const struct item_answer *answer = call->op.answer;
    struct reading *reading = &call->reading;
    int64_t now_us = clock_system.mono_us(&clock_system);

    if (result == 0)
        result =
            page_fill(&call->file->page, call->id, answer->items, answer->n_items, answer->next);
    if (result == 0 && answer->n_items == 0 && answer->next != 0 &&
        now_us - reading->since_us >= LISTING_TIMEOUT_US)
        result = -ETIMEDOUT;
    if (result < 0)
        fuse_reply_err(call->req, (int)-result);
    else
        proceed(reading);
}

static void ask(const struct reading *reading, uint64_t start, uint32_t max)
{
    struct call *call = call_new(reading->dir->tree, reading->req, CALL_ASKS, listed);

    if (!call)
        return;
    call_set_file(call, reading->dir);
    call->reading = *reading;
    call->id = start;
    mount_queue_list(reading->dir->node->mq, states_of(reading->dir->node), start, max, &call->op);
}

/* Fetch what is needed, then answer. */
static void proceed(struct reading *reading)
{
    struct file *dir = reading->dir;
    uint64_t start;
    uint32_t max;
    int result = 0;

    do {
        while (result == 0 && (max = page_wants(&dir->page, reading->from, &start)) > 0) {
            if (dir->node->child.kind != NODE_LEASED) {
                ask(reading, start, max);
                return;
            }
            result = fill_from_memory(dir, start, max);
        }
    } while (result == 0 && !give(reading));
    if (result < 0)
        fuse_reply_err(reading->req, -result);
}

/* What an open listing holds. */
#define PAGE_BYTES (PAGE_ITEMS * sizeof(struct item_info))

static void items_readdir(struct file *dir, fuse_req_t req, size_t size, off_t offset, bool plus)
{
    struct reading reading = {
        .dir = dir,
        .req = req,
        .size = size,
        .offset = offset,
        .plus = plus,
        .from = offset <= BEHIND_DOTS ? 0 : (uint64_t)offset + 1,
        .since_us = clock_system.mono_us(&clock_system),
    };

    if (dir->paid_bytes < PAGE_BYTES && file_pay(dir, req, PAGE_BYTES) < 0) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    if (!dir->lister)
        dir->lister = lister_new(); /* without it names are listed, and attributes asked for */
    tree_look(dir->tree, dir->node);
    if (offset == 0)
        page_reset(&dir->page);
    proceed(&reading);
}

static int items_open(struct file *dir, fuse_req_t req)
{
    return mount_queue_may(dir->node->mq, ACCESS_GET);
}

const struct node_ops items_ops = {
    .open = items_open,
    .lookup = items_lookup,
    .readdir = items_readdir,
    .create = items_create,
    .unlink = items_unlink,
};
