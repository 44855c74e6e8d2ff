/* The tree: its life, and which operations each kind of node has. */
#include "fs/tree.h"

#include "fs/aside.h"

#include <errno.h>

#define OPS(kind, number, ops, mode, traits, name, help) [NODE_##kind] = &(ops),

const struct node_ops *node_ops_of(enum node_kind kind)
{
    static const struct node_ops *const table[NODE_KINDS] = {NODES(OPS)};

    return table[kind];
}

int tree_init(struct tree *tree, const struct tree_options *options)
{
    *tree = (struct tree){.options = *options};
    nodes_init(&tree->nodes, &clock_system);
    spin_init(&tree->spin);
    closes_init(&tree->closes);
    limit_init(&tree->limit, mount_ticker(options->mount), &clock_system);
    pthread_mutex_init(&tree->files_lock, NULL);
    TAILQ_INIT(&tree->files);
    tree->aside = aside_new();
    return tree->aside ? 0 : -ENOMEM;
}

void tree_fini(struct tree *tree)
{
    struct file *file;

    aside_end(tree->aside);
    while ((file = TAILQ_FIRST(&tree->files)) != NULL)
        file_release(file);
    node_open_end(&tree->nodes);
    nodes_fini(&tree->nodes);
    closes_fini(&tree->closes);
    pthread_mutex_destroy(&tree->files_lock);
}
