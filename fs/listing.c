#include "fs/listing.h"

#include <errno.h>
#include <stdlib.h>

#define LISTING_MAX ((size_t)256 << 10)

/* Of an entry with attributes, at least. */
#define ENTRY_BYTES_MIN 128

int listing_init(struct listing *listing, struct tree *tree, fuse_req_t req, size_t size, bool plus)
{
    *listing = (struct listing){
        .tree = tree, .req = req, .plus = plus, .size = size < LISTING_MAX ? size : LISTING_MAX};
    listing->data = malloc(listing->size);
    if (plus)
        listing->nodes = malloc((listing->size / ENTRY_BYTES_MIN + 1) * sizeof(struct node *));
    if (listing->data && (!plus || listing->nodes))
        return 0;
    listing_fini(listing);
    return -ENOMEM;
}

static bool add(struct listing *listing, const char *name, const struct fuse_entry_param *entry,
                off_t next)
{
    char *at = listing->data + listing->len;
    size_t room = listing->size - listing->len;
    size_t need = listing->plus
                      ? fuse_add_direntry_plus(listing->req, at, room, name, entry, next)
                      : fuse_add_direntry(listing->req, at, room, name, &entry->attr, next);

    if (need > room)
        return false;
    listing->len += need;
    return true;
}

bool listing_add(struct listing *listing, const char *name, mode_t type, ino_t ino, off_t next)
{
    const struct fuse_entry_param entry = {.attr = {.st_mode = type, .st_ino = ino}};

    return add(listing, name, &entry, next);
}

bool listing_add_node(struct listing *listing, const char *name,
                      const struct fuse_entry_param *entry, struct node *node, off_t next)
{
    if (!add(listing, name, entry, next)) {
        node_forget(&listing->tree->nodes, node, 1);
        return false;
    }
    listing->nodes[listing->n_nodes++] = node;
    return true;
}

void listing_reply(struct listing *listing)
{
    if (fuse_reply_buf(listing->req, listing->data, listing->len) < 0)
        for (size_t i = 0; i < listing->n_nodes; i++)
            node_forget(&listing->tree->nodes, listing->nodes[i], 1);
    listing_fini(listing);
}

void listing_fini(struct listing *listing)
{
    free(listing->data);
    free(listing->nodes);
}
