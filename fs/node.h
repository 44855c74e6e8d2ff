/*
 * Nodes: what the kernel holds inodes of. A node's address is its node id (the root's is
 * FUSE_ROOT_ID); it lives while the kernel knows it (a lookup count) or has it open.
 *
 * `in` and `flush` have a node for each open, all showing one st_ino, because the kernel
 * lets the callers of one inode wait for each other, unkillably. LOOKUP hands out a node that is
 * not open; OPEN of one that is answers ESTALE, upon which the kernel looks the name up again. A
 * thread is told so once: its next open succeeds, sharing the node if it must. The kernel throws
 * away what others have just looked up with each of these, and they begin anew; so they go a few at
 * a time, and the others wait in OPEN.
 *
 * So have `next` and what else gives one item, because the kernel has one size for each inode, and
 * the size of an item is that of one open. Their names are looked up for each open; LOOKUP hands
 * out a node that is neither open nor was just handed to another thread. So whoever opens by name
 * has it alone, and asks about no other by it. Only an open file that is opened again (/dev/stdin)
 * is shared.
 *
 * An item has a node in each directory where it is seen, all showing one st_ino. A rename moves the
 * kernel's inode along: that node is told off, and the new name gets a node of its own.
 *
 * Any thread may call anything here.
 */
#ifndef QUEUEFS_FS_NODE_H
#define QUEUEFS_FS_NODE_H

#include "fs/child.h"
#include "fs/fuse.h"
#include "fs/told.h"

#include "core/mount/mount.h"
#include "core/op.h"

#include <bsd/sys/tree.h>
#include <stdatomic.h>

/* An open directory that lists items with their attributes; counted references. */
struct lister {
    atomic_uint n_refs;
    atomic_bool open;
};

struct file;

struct node {
    struct child child;
    struct mount_queue *mq; /* owned; NULL: root, its stats, its flush */
    uint64_t queue;         /* its number, 0 without */
    uint64_t generation;    /* with its address it is unique, which a file handle needs */
    enum node_kind in;      /* of an item: its directory */
    /* nodes.lock */
    RB_ENTRY(node) link;
    bool busy;       /* of a kind that has a node for each open: it is open */
    uint64_t serial; /* tells those apart; of an item not 0: it was moved */
    uint64_t n_lookups, n_opens;
    uint64_t n_files;       /* opens, until nobody needs them any more */
    atomic_size_t text_len; /* of stats, config: of the last that was opened; 0: none was */
    atomic_size_t shown;    /* the size that stat(2) was last told of them */
    struct item_info info;  /* of an item: as last seen */
    struct lister *lister;  /* that saw it; owned, NULL: it was looked up */
    int64_t since_us;       /* monotonic: when it was seen, or moved; or handed to: */
    pid_t looker;           /* the thread that looked it up to open it; -1: none, or it has */
    struct file *file;      /* tree.files_lock: the open that has it alone; NULL: none */
};

struct nodes {
    pthread_mutex_t lock;
    RB_HEAD(node_set, node) set;
    uint64_t next_serial, next_generation;
    struct told told;
    unsigned n_retrying;    /* threads that were told ESTALE and have not come again */
    int64_t retrying_us;    /* when the last of them was told */
    bool ended;             /* none of these waits any more */
    struct op_list opening; /* opens that wait to be told so; op->context: their thread */
    const struct clock *clock;
    struct node root; /* in no set, never freed */
};

void nodes_init(struct nodes *nodes, const struct clock *clock);

/* Frees all nodes, open or not. */
void nodes_fini(struct nodes *nodes);

struct node *node_of(struct nodes *nodes, fuse_ino_t ino);
fuse_ino_t node_id(const struct nodes *nodes, const struct node *node);

/* The node of a child of `mq` (NULL: of the root) for thread `tid` (0: unknown), counted as looked
 * up once. NULL: no memory. */
struct node *node_lookup(struct nodes *nodes, struct mount_queue *mq, const struct child *child,
                         pid_t tid);

/* The same of an item in `dir`, which was just seen so, by `lister` or (NULL) by a LOOKUP. */
struct node *node_lookup_item(struct nodes *nodes, const struct node *dir,
                              const struct item_info *info, struct lister *lister);

/* The same of one that was listed with its attributes, which stand for a second, and while that
 * directory is open: `ls -l` shall not ask for each. NULL: it must be asked for. */
struct node *node_lookup_listed(struct nodes *nodes, const struct node *dir, uint64_t id);

/* It is not there any more as it was listed. */
void node_unlist(struct nodes *nodes, struct node *node);

/*
 * An item as this mount knows it: as it holds it, else as it was last seen in its directory.
 * -ESTALE: it is not there any more; *info is how it was. Upon ESTALE the kernel looks the name up
 * again, although it was told to keep it for a while: a rename takes what it knows of the old name
 * along to the new one.
 */
int node_item(struct nodes *nodes, const struct node *node, struct item_info *info);

/* As node_item(), but whoever has it open is told how it was, and nobody ESTALE. */
int node_item_shown(struct nodes *nodes, const struct node *node, struct item_info *info);

/*
 * This mount has moved an item out of `dir`. ITEM_READY, ITEM_DEAD: it is so now, and who looks at
 * once is told that; mv(1) of several looks at each. ITEM_STATES: only the service knows how it is.
 */
void node_item_moved(struct nodes *nodes, const struct node *dir, uint64_t id,
                     enum item_state state);

struct lister *lister_new(void);          /* open; NULL: no memory */
void lister_close(struct lister *lister); /* takes NULL */

void node_forget(struct nodes *nodes, struct node *node, uint64_t n_lookups);

/* Positive outcome of node_open(). */
#define NODE_CROWD 1

/* 0; -ESTALE where thread `tid` (0: unknown) shall look the name up again; NODE_CROWD: it shall,
 * but in its turn, which is what node_open_wait() waits for. */
int node_open(struct nodes *nodes, struct node *node, pid_t tid);

/* The op ends with 0 when the thread's open is to be answered ESTALE. It may be cancelled at any
 * time; where it is to be answered so all the same, node_open_told() notes that. */
void node_open_wait(struct nodes *nodes, pid_t tid, struct op *op);
void node_open_told(struct nodes *nodes, pid_t tid);
/* Whether others look names up again just now, as many as may. */
bool node_is_crowded(struct nodes *nodes);
/* All those that wait end, and none waits any more. */
void node_open_end(struct nodes *nodes);

/* Whether it is open once. */
bool node_is_alone(struct nodes *nodes, const struct node *node);

/* The open has ended: another may have the node, at once. A shell's next `>> in` follows so close
 * that it often comes while this one is still being released. */
void node_close(struct nodes *nodes, struct node *node);

/* After node_close(): what the open left behind needs it no longer. */
void node_unref(struct nodes *nodes, struct node *node);

/* The ids of all nodes of a queue, malloc'ed; their number is the result. 0 where memory lacks. */
size_t node_ids_of(struct nodes *nodes, uint64_t queue, fuse_ino_t **ids);

#endif
