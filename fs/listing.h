/*
 * A directory listing on its way to the kernel: one answer to READDIR or READDIRPLUS. In the latter
 * an entry may come with its node, which is then looked up as by LOOKUP. One thread at a time.
 */
#ifndef QUEUEFS_FS_LISTING_H
#define QUEUEFS_FS_LISTING_H

#include "fs/tree.h"

struct listing {
    struct tree *tree;
    fuse_req_t req;
    bool plus;
    char *data;
    size_t size, len;
    struct node **nodes; /* plus: those that the kernel will know by this answer */
    size_t n_nodes;
};

/* 0 or -ENOMEM. */
int listing_init(struct listing *listing, struct tree *tree, fuse_req_t req, size_t size,
                 bool plus);

/* An entry without its node. False: full, nothing added. `next`: the offset behind this entry. */
bool listing_add(struct listing *listing, const char *name, mode_t type, ino_t ino, off_t next);

/* plus only: an entry with its node, which was looked up; that is undone where it does not fit. */
bool listing_add_node(struct listing *listing, const char *name,
                      const struct fuse_entry_param *entry, struct node *node, off_t next);

void listing_reply(struct listing *listing); /* and frees it */
void listing_fini(struct listing *listing);  /* instead, where it is empty */

#endif
