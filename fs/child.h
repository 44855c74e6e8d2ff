/* What the names in a queue's directory mean. Pure functions, any thread. */
#ifndef QUEUEFS_FS_CHILD_H
#define QUEUEFS_FS_CHILD_H

#include <stdbool.h>
#include <stdint.h>

/* Kinds of nodes. Part of st_ino: append only. */
enum node_kind {
    NODE_ROOT,
    NODE_DIR,
    NODE_IN,
    NODE_OUT,
    NODE_NEXT,
    NODE_STATS,
    NODE_FLUSH,
    NODE_CONFIG,
    NODE_PURGE,
    NODE_CLAIM,
    NODE_READY,
    NODE_LEASED,
    NODE_DEAD,
    NODE_ITEM, /* child.limit is its id; in ready, leased or dead */
    NODE_HELP,
    NODE_KINDS
};

#define CHILD_LIMIT_MAX (UINT64_C(1) << 40)

/* The longest wait that may stand in a name; about 285 years. */
#define CHILD_TIMEOUT_MAX_US (INT64_C(1) << 53)

struct child {
    enum node_kind kind;
    uint64_t limit;     /* items until the end of file; READER_UNLIMITED */
    int64_t timeout_us; /* how long to wait for the first item; -1: the queue's get_timeout */
};

/*
 * A name in a queue's directory: in, out, next, claim, ready, leased, dead, stats, flush, config,
 * purge, help; out@N, out@T, out@N@T, next@T, claim@N, claim@T, claim@N@T, where N is a decimal
 * number from 1 to CHILD_LIMIT_MAX and T is `forever` or a number and one of us, ms, s, m, h.
 * Without N, next and claim are one item. False: there is no such name; *child is then unchanged.
 */
bool child_parse(const char *name, struct child *child);

/* A fixed name in a queue's directory. */
struct child_word {
    const char *name;
    enum node_kind kind;
    bool takes_limit, takes_timeout;
    const char *help; /* what it is, of one line */
};

/* In the order of listings; NULL from `i` = their number on. */
const struct child_word *child_word(unsigned i);

/* Whether to open and read it takes items: what opens all that it finds must not find it. */
bool child_takes(enum node_kind kind);

/* Whether an open of it gets one item and no more, so that its size can be told. */
bool child_gives_one(const struct child *child);

/* The limit of a name that says none. */
uint64_t child_usual_limit(enum node_kind kind);

/* The item of this id. */
struct child child_of_item(uint64_t id);

/* Whether it is a directory of items: ready, leased, dead. */
bool child_lists_items(enum node_kind kind);

#endif
