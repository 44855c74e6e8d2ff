/* What the names in a queue's directory mean. Pure functions, any thread. */
#ifndef QUEUEFS_FS_CHILD_H
#define QUEUEFS_FS_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/kinds.h"

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
    const char *help; /* what it is, of one line */
};

/* In the order of listings; NULL from `i` = their number on. */
const struct child_word *child_word(unsigned i);

bool child_has(enum node_kind kind, enum node_trait trait);

/* Whether to open and read it takes items. */
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
