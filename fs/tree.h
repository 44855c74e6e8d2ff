/*
 * The mounted tree: what all its nodes share, and the table of operations that each kind of node
 * fills in. ops.c answers the kernel: it finds the node or the open file and calls the kind's
 * function, or does the default where there is none.
 *
 * Every request is answered exactly once, by the function that took it or by its call (call.h). No
 * function here blocks, but for a moment in closes.h. Any session thread may run any of them.
 */
#ifndef QUEUEFS_FS_TREE_H
#define QUEUEFS_FS_TREE_H

#include "fs/closes.h"
#include "fs/limit.h"
#include "fs/node.h"
#include "fs/page.h"
#include "fs/spin.h"

#include "core/mount/mount.h"

struct tree_options {
    struct mount *mount;
    bool allow_other;
    uid_t uid; /* who mounts */
    gid_t gid;
    int64_t queue_mode; /* of the queues that mkdir makes */
    int64_t made_us;    /* wall clock, the root's times */
    bool list_all;      /* list out, next and claim too */
    bool all_make;      /* of allow_other: they make queues too */
    /* The text of a `config` file, malloc'ed; NULL: no memory. */
    char *(*config_print)(const struct all_settings *settings);
    /* Lines written to it, over what is there: all or nothing; *fields: which ones. -EINVAL, then
     * *error (malloc'ed) says what is wrong. */
    int (*config_parse)(const char *text, size_t len, struct all_settings *settings,
                        uint64_t *fields, char **error);
};

struct tree {
    struct tree_options options;
    struct fuse_session *session;
    struct nodes nodes;
    struct spin spin;
    struct closes closes;
    struct aside *aside;        /* owned */
    struct limit limit;         /* on how long a request may wait */
    pthread_mutex_t files_lock; /* above what it guards */
    TAILQ_HEAD(, file) files;   /* all that are open */
};

/*
 * poll(2) on an open file. The answer comes at once; where the kernel gave a handle, it is notified
 * once what was asked for may have become so. One handle a file is kept, the newest, until a newer
 * one or the release takes its place. At most one op is parked.
 */
struct poll {
    pthread_mutex_t lock;
    /* Guarded by lock. */
    struct fuse_pollhandle *handle; /* owned; NULL: none */
    bool parked;                    /* or about to be */
    bool crowd;                     /* someone else polled meanwhile */
    bool released;
    struct op op; /* core's while parked */
};

/* An open file. */
struct file {
    struct tree *tree;
    struct node *node;
    const struct node_ops *ops;
    int flags;          /* of open(2) */
    pid_t tid;          /* the thread that opened it; 0: not known */
    atomic_int n_refs;  /* the open, a parked poll, a read that is being answered */
    atomic_int n_users; /* the open, and whoever uses it without having been given it */
    struct poll poll;
    struct writer *writer;    /* in */
    _Atomic off_t end;        /* in: where the kernel saw its last write end */
    atomic_bool after_long;   /* in: the last write may be a piece of a longer one */
    _Atomic uint64_t refused; /* in: what came after it, and the error: see there */
    struct reader *reader;    /* out, next, claim */
    _Atomic off_t shown;      /* next: the size that fstat(2) was told; 0: none */
    struct claim *claim;      /* an item that this mount holds */
    const uint8_t *data;      /* its bytes, held's */
    size_t data_len;
    struct page page;      /* a directory of items: see there */
    struct lister *lister; /* the same; owned, NULL: not yet */
    char *text;            /* stats, config, an item: what a reader sees; owned */
    size_t text_len;
    struct budget_user *payer; /* who opened it; a reference, NULL: it has paid for nothing */
    size_t paid_bytes;         /* of his budget */
    TAILQ_ENTRY(file) link;    /* tree.files_lock */
};

/* Positive outcome of node_ops.open: it answers the request itself. */
#define OPEN_PARKED 1

/* Any may be NULL: what then happens stands with it. */
struct node_ops {
    /* 0, negative errno or OPEN_PARKED. NULL: 0. */
    int (*open)(struct file *file, fuse_req_t req);
    /* Give back what open got; the file is freed by the caller. NULL: nothing. */
    void (*release)(struct file *file);
    /* NULL: end of file. */
    void (*read)(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags);
    /* NULL: EBADF. */
    void (*write)(struct file *file, fuse_req_t req, const char *data, size_t len, off_t offset,
                  int flags);
    /* close(2) of a descriptor. NULL: 0. */
    void (*flush)(struct file *file, fuse_req_t req);
    /* NULL: 0. */
    void (*fsync)(struct file *file, fuse_req_t req);
    /* Of what gives one item: fstat(2) of the open that has the node alone, and that it no longer
     * is alone. */
    void (*fstat)(struct file *file, fuse_req_t req);
    void (*shared)(struct file *file);
    /* The size that fstat(2) was told, where reads will give so much; 0: none. NULL: as its text.
     */
    off_t (*shown)(struct file *file);
    /* Times or size are set. NULL: EPERM. */
    void (*touch)(struct tree *tree, struct node *node, fuse_req_t req);
    /* Whether `poll_events` are so now; if not, the op is parked until they may be. NULL: always.
     */
    bool (*poll)(struct file *file, struct op *op);
    unsigned poll_events;
    bool stream; /* it has no position: reads and writes go on, and the kernel lets those who share
                    an open not wait for each other's, which nobody could kill */
    bool keeps;  /* its bytes never change: the kernel may keep them */

    /* Of directories. NULL of readdir: an empty one; of the rest: EPERM. */
    void (*lookup)(struct tree *tree, struct node *dir, fuse_req_t req, const char *name);
    /* From `offset` on; `plus`: with attributes. */
    void (*readdir)(struct file *dir, fuse_req_t req, size_t size, off_t offset, bool plus);
    void (*mkdir)(struct tree *tree, struct node *dir, fuse_req_t req, const char *name);
    void (*rmdir)(struct tree *tree, struct node *dir, fuse_req_t req, const char *name);
    void (*create)(struct tree *tree, struct node *dir, fuse_req_t req, const char *name);
    void (*unlink)(struct tree *tree, struct node *dir, fuse_req_t req, const char *name);
    /* NULL: mode and owner are fixed, sizes and times are `touch`. */
    void (*setattr)(struct tree *tree, struct node *node, fuse_req_t req, const struct stat *to,
                    int to_set);

    /* Extended attributes. NULL: none. */
    void (*getxattr)(struct tree *tree, struct node *node, fuse_req_t req, const char *name,
                     size_t size);
    void (*listxattr)(struct tree *tree, struct node *node, fuse_req_t req, size_t size);
};

#define NODE_OPS(kind, number, ops, mode, traits, name, help) extern const struct node_ops ops;
NODES(NODE_OPS)

/* ---- tree.c ---- */

const struct node_ops *node_ops_of(enum node_kind kind);
/* 0 or -ENOMEM; tree_fini() is due either way. */
int tree_init(struct tree *tree, const struct tree_options *options);
/* Releases what is still open, after mount_stop() and the end of the session's loop. */
void tree_fini(struct tree *tree);

/* ---- entry.c ---- */

/* What stat(2) shows of a node. 0; -ENOENT: its queue is gone; -ESTALE: the item is elsewhere. */
int node_stat(struct tree *tree, struct node *node, struct stat *st);

/* Of a node that was looked up, for the kernel to keep: the name of an item of ready or dead not
 * at all, an item that this mount holds until its lease ends at most. 0 or as node_stat(). */
int entry_of_node(struct tree *tree, struct node *node, struct fuse_entry_param *entry);

/* Answer with that entry; undone where the answer does not arrive. NULL: no memory. */
void reply_entry(struct tree *tree, fuse_req_t req, struct node *node);
void reply_attr(struct tree *tree, fuse_req_t req, struct node *node);
/* The same, of an open that is so large. */
void reply_size(struct tree *tree, fuse_req_t req, struct node *node, off_t size);

/* Whether setattr would change what is fixed: mode, owner, group. */
bool setattr_changes(const struct stat *now, const struct stat *to, int to_set);

/* The kernel shall ask anew for the attributes of all of a queue's nodes. */
void tree_expire(struct tree *tree, uint64_t queue);

/* What `node` shows is about to be looked at, on behalf of the request that this thread handles: a
 * close of its queue (of any, for a node of the root) that has returned counts. */
void tree_look(struct tree *tree, const struct node *node);

/* ---- file.c ---- */

/* A file that is being opened, with one reference; NULL: no memory. */
struct file *file_new(struct tree *tree, struct node *node, const struct node_ops *ops, int flags);
struct file *file_of(const struct fuse_file_info *fi);

/* So much memory more is the file's until it is freed, out of the budget of who makes this request,
 * or made an earlier one. 0, -ENOMEM. One request at a time. */
int file_pay(struct file *file, fuse_req_t req, size_t bytes);

/* What any open file costs, about: also what its text or its last read may be. */
#define FILE_BYTES ((size_t)4096)

void file_ref(struct file *file);
void file_unref(struct file *file);
/* The open has ended: releases what it holds and takes back its reference. */
void file_release(struct file *file);

/* The open that has this node alone, or NULL. The kernel may release it at any time, but what it
 * holds stays until file_unuse(). */
struct file *file_use(struct tree *tree, struct node *node);
void file_unuse(struct file *file);

/* Answer a poll; takes the handle (NULL: the kernel waits for nothing). */
void file_poll(struct file *file, fuse_req_t req, struct fuse_pollhandle *handle);

/* A call was answered EAGAIN: whoever waits for a change only (EPOLLET) must be told of the next,
 * although the last poll had nothing to wait for. */
void file_poll_again(struct file *file);

/* Whether its reads go through the kernel's cache: of bytes that never change. */
bool file_is_cached(const struct file *file);

/* The file opens with this text, which it takes, and whose size fstat(2) shows. 0, or -ENOMEM where
 * it is NULL. */
int open_text(struct file *file, char *text);

/* The end of an open: the kernel has the file now, or it is released. */
void reply_open(struct file *file, fuse_req_t req, int error);

/* A read of file->text, of file->data where there is none. */
void reply_text(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags);

/* ---- root.c ---- */

/* The help of the root is a row for each of its fixed names: NULL from `i` = their number on. */
const char *root_name(unsigned i, const char **help);

/* ---- move.c ---- */

/* rm of an item, and every rename(2). */
void items_unlink(struct tree *tree, struct node *dir, fuse_req_t req, const char *name);
void tree_rename(struct tree *tree, fuse_req_t req, struct node *from, const char *name,
                 struct node *to, const char *new_name, unsigned flags);

/* ---- ops.c ---- */

/* fuse's table, and how its session reads and writes; the session's user data is the tree. */
extern const struct fuse_lowlevel_ops tree_fuse_ops;
extern const struct fuse_custom_io tree_fuse_io;

/* The largest write(2) that arrives in one piece. */
#define TREE_WRITE_MAX ((size_t)1 << 20)

#endif
