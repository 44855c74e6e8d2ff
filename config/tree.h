/*
 * YAML text as a tree of nodes that know their line and column. What settings have no use for is
 * refused here: anchors and aliases (and the bombs made of them), tags, several documents, keys
 * that are not text, keys twice in a map, NUL bytes, deep nesting, texts over TREE_TEXT_MAX.
 */
#ifndef QUEUEFS_CONFIG_TREE_H
#define QUEUEFS_CONFIG_TREE_H

#include <stddef.h>

#include "config/fault.h"

#define TREE_TEXT_MAX  (1024 * 1024)
#define TREE_DEPTH_MAX 8

enum node_kind {
    NODE_NULL, /* nothing, ~ or null, not in quotes */
    NODE_TEXT,
    NODE_MAP,
    NODE_LIST,
};

struct node {
    enum node_kind kind;
    struct place at;
    char *text; /* of NODE_TEXT */
    char *key;  /* in a map; NULL elsewhere */
    struct place key_at;
    struct node *parent; /* NULL: the root */
    struct node *first, *last, *next;
    size_t n_children;
};

/* 0, -EINVAL with *source->error, -ENOMEM. An empty text is a NODE_NULL. */
int tree_read(const struct source *source, const char *text, size_t len, struct node **root);

/* Frees the node and all below it. Takes NULL. */
void tree_free(struct node *root);

/* fault() at the node's value, or at its key, under its path. */
int node_fault(const struct source *source, const struct node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int node_key_fault(const struct source *source, const struct node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The child `key` of a map, or NULL. */
const struct node *node_child(const struct node *map, const char *key);

/* "a map", "a list", ... for messages. */
const char *node_kind_name(const struct node *node);

#endif
