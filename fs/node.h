/*
 * Nodes: what the kernel holds inodes of. A node's address is its node id (the root's is
 * FUSE_ROOT_ID); it lives while the kernel knows it (a lookup count) or has it open.
 *
 * `in` and `flush` have a node for each open, all showing one st_ino, because the kernel
 * lets the callers of one inode wait for each other, unkillably. LOOKUP hands out a node that is
 * not open; OPEN of one that is answers ESTALE, upon which the kernel looks the name up again. A
 * thread is told so once: its next open succeeds, sharing the node if it must.
 *
 * Any thread may call anything here.
 */
#ifndef QUEUEFS_FS_NODE_H
#define QUEUEFS_FS_NODE_H

#include "fs/child.h"
#include "fs/fuse.h"
#include "fs/told.h"

#include "core/mount.h"

#include <bsd/sys/tree.h>

struct node {
    struct child child;
    struct mqueue *mq; /* owned; NULL: root, its stats, its flush */
    uint64_t queue;    /* its number, 0 without */
    /* nodes.lock */
    RB_ENTRY(node) link;
    bool busy;       /* of a kind that has a node for each open: it is open */
    uint64_t serial; /* tells those apart */
    uint64_t n_lookups, n_opens;
};

struct nodes {
    pthread_mutex_t lock;
    RB_HEAD(node_set, node) set;
    uint64_t next_serial;
    struct told told;
    struct node root; /* in no set, never freed */
};

void nodes_init(struct nodes *nodes);

/* Frees all nodes, open or not. */
void nodes_fini(struct nodes *nodes);

struct node *node_of(struct nodes *nodes, fuse_ino_t ino);
fuse_ino_t node_id(const struct nodes *nodes, const struct node *node);

/* The node of a child of `mq` (NULL: of the root), counted as looked up once. NULL: no memory. */
struct node *node_lookup(struct nodes *nodes, struct mqueue *mq, const struct child *child);
void node_forget(struct nodes *nodes, struct node *node, uint64_t n_lookups);

/* 0, or -ESTALE where thread `tid` (0: unknown) shall look the name up again. */
int node_open(struct nodes *nodes, struct node *node, pid_t tid);
void node_close(struct nodes *nodes, struct node *node);

/* The ids of all nodes of a queue, malloc'ed; their number is the result. 0 where memory lacks. */
size_t node_ids_of(struct nodes *nodes, uint64_t queue, fuse_ino_t **ids);

#endif
