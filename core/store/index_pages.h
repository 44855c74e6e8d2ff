/*
 * The pages of the index's file, read by ourselves: LMDB trusts them, and a turned bit in one sends
 * it anywhere. index_check() looks at all of them before the file is opened; where one is not right
 * the index is made anew from the log. Values are not read: each row has its checksum.
 *
 * A page: number, flags, where its table of places ends, where its nodes begin; the places; nodes
 * from the end down: size or child, flags, size of the key, the key, and of a leaf its value, or
 * the number of the first of the pages that it is in.
 */
#ifndef QUEUEFS_CORE_STORE_INDEX_PAGES_H
#define QUEUEFS_CORE_STORE_INDEX_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/store/index.h"

#define PAGE_HEAD   16
#define PAGE_BRANCH 1
#define PAGE_LEAF   2
#define PAGE_LARGE  4

#define NODE_HEAD  8
#define NODE_LARGE 1 /* the value is in pages of its own */
#define NODE_TABLE 2 /* the value is a table */

/* Where a meta page has its two tables, of free pages and the root. */
#define META_TABLES 40

#define NO_PAGE    UINT64_MAX
#define DEPTH_MAX  32
#define TABLE_SIZE 48

/* Besides those of enum index_table. */
#define PAGES_FREE INDEX_TABLES       /* transaction -> free pages */
#define PAGES_ROOT (INDEX_TABLES + 1) /* name -> table */

struct pages {
    const uint8_t *map;
    size_t size; /* whole pages */
    size_t page_size;
    uint64_t n_pages; /* that the file has and that may be used */
    uint64_t
        n_all; /* given out so far: the last may be missing in the file; 0: it is not so long */
    const uint8_t *meta;
    uint8_t *used; /* a bit for each of n_all */
};

/* A table as its row in the root has it. */
struct page_table {
    uint64_t n_branch, n_leaf, n_large, n_rows, root;
    unsigned depth;
};

struct node {
    unsigned flags;
    const uint8_t *key, *value;
    size_t key_len, value_len, size; /* size: within the page */
    uint64_t child;                  /* of a branch; of a NODE_LARGE leaf, its first page */
};

struct page_key {
    const uint8_t *bytes; /* NULL: none */
    size_t len;
};

/* Numbers as LMDB has them: the machine's. */
static inline uint16_t page_get16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint32_t page_get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t page_get64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

struct page_table page_table_read(const uint8_t *row);
unsigned page_flags(const uint8_t *page);

/* Begin with those in use: the free ones and their table. False: they are damaged. */
bool pages_use_free(struct pages *p);
/* Whether the whole tree is right that `row` tells of. */
bool pages_table_right(struct pages *p, unsigned table, const uint8_t *row);
/* Each row of a tree that was found right, until one is false. */
bool pages_each_row(struct pages *p, uint64_t number, unsigned depth,
                    bool (*row)(struct pages *p, const struct node *n));
/* The table of that name, or -1. */
int page_table_of_name(struct page_key name);
/* Where the root table's row is, in the current meta page. */
const uint8_t *pages_root_row(const struct pages *p);

#endif
