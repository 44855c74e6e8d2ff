/*
 * The kinds of nodes: a row each. Whoever adds one adds a row and its operations (struct node_ops
 * of tree.h, in a file of its own); names, modes, listings, help and dispatch follow.
 *
 *   NODE(kind, number, operations, mode, traits, name, help)
 *
 * number: part of st_ino, so it is never changed or used again. mode: what stat(2) shows, in terms
 * of `get`, `put` and `look`, the bits of the queue's mode that let somebody get, put, or do
 * either, in the place of r, w, and r. name: in a queue's directory, in the order of listings.
 * help: one line.
 */
#ifndef QUEUEFS_FS_KINDS_H
#define QUEUEFS_FS_KINDS_H

enum node_trait {
    NODE_TAKES = 1,   /* to open and read it takes items: what opens all that it finds must not find
                         it; it has no size and no end to seek to */
    NODE_LIMIT = 2,   /* its name may say how many items ... */
    NODE_TIMEOUT = 4, /* ... and how long to wait */
    NODE_ONE = 8,     /* is one item where its name does not say */
    NODE_TEXT = 16,   /* a text that is made when it is opened */
    NODE_ITEMS = 32,  /* a directory of items */
};

/* clang-format off */
#define NODES_NAMED(NODE)                                                                          \
    NODE(IN, 2, in_ops, S_IFREG | put | put << 1 /* so that fopen("a+") is let through */, 0,      \
         "in", "put: write here, each line is an item")                                            \
    NODE(OUT, 3, out_ops, S_IFREG | get, NODE_TAKES | NODE_LIMIT | NODE_TIMEOUT,                   \
         "out", "get: cat takes all, head -n 3 takes three")                                       \
    NODE(NEXT, 4, out_ops, S_IFREG | get, NODE_TAKES | NODE_TIMEOUT | NODE_ONE,                    \
         "next", "get one")                                                                        \
    NODE(CLAIM, 9, claim_ops, S_IFREG | get, NODE_TAKES | NODE_LIMIT | NODE_TIMEOUT | NODE_ONE,    \
         "claim", "lease one and print its id; leased/ID is its bytes")                            \
    NODE(READY, 10, items_ops, S_IFDIR | get | get >> 1 | get >> 2 /* to move is to get */,        \
         NODE_ITEMS, "ready", "what waits, a file each; to read one only looks")                   \
    NODE(LEASED, 11, items_ops, S_IFDIR | get | get >> 1 | get >> 2, NODE_ITEMS,                   \
         "leased", "what was claimed; rm: done, mv to ready/: give back")                          \
    NODE(DEAD, 12, items_ops, S_IFDIR | get | get >> 1 | get >> 2, NODE_ITEMS,                     \
         "dead", "what failed too often; mv to ready/: try again")                                 \
    NODE(STATS, 5, stats_ops, S_IFREG | look, NODE_TEXT,                                           \
         "stats", "counters")                                                                      \
    NODE(FLUSH, 6, flush_ops, S_IFREG | put, 0,                                                    \
         "flush", "touch it: returns when all that was put is on disk")                            \
    NODE(CONFIG, 7, config_ops, S_IFREG | 0600 | look, NODE_TEXT,                                  \
         "config", "the settings; write `key: value` to change one")                               \
    NODE(PURGE, 8, purge_ops, S_IFREG | 0200, 0,                                                   \
         "purge", "write the queue's name here to remove all that is ready")                       \
    NODE(HELP, 14, help_ops, S_IFREG | 0444, NODE_TEXT,                                            \
         "help", "this")

/* Without a fixed name; an item's id is its child's limit. */
#define NODES_NAMELESS(NODE)                                                                       \
    NODE(ROOT, 0, root_ops, S_IFDIR, 0, NULL, NULL)                                                \
    NODE(DIR, 1, dir_ops, S_IFDIR | get | put | look >> 2, 0, NULL, NULL)                          \
    NODE(ITEM, 13, item_ops, S_IFREG | get | get >> 1 /* touch(1) opens for writing */, 0,         \
         NULL, NULL)
/* clang-format on */

#define NODES(NODE) NODES_NAMED(NODE) NODES_NAMELESS(NODE)

#define NODE_NUMBER(kind, number, ops, mode, traits, name, help) NODE_##kind = (number),
#define NODE_PLUS_1(kind, number, ops, mode, traits, name, help) +1

enum node_kind { NODES(NODE_NUMBER) NODE_KINDS = 0 NODES(NODE_PLUS_1) };

#endif
