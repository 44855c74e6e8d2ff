/* The tree: its life, and which operations each kind of node has. */
#include "fs/tree.h"

const struct node_ops *node_ops_of(enum node_kind kind)
{
    static const struct node_ops *const table[NODE_KINDS] = {
        [NODE_ROOT] = &root_ops,   [NODE_DIR] = &dir_ops,     [NODE_IN] = &in_ops,
        [NODE_OUT] = &out_ops,     [NODE_NEXT] = &out_ops,    [NODE_CLAIM] = &claim_ops,
        [NODE_STATS] = &stats_ops, [NODE_FLUSH] = &flush_ops, [NODE_CONFIG] = &config_ops,
        [NODE_PURGE] = &purge_ops, [NODE_READY] = &items_ops, [NODE_LEASED] = &items_ops,
        [NODE_DEAD] = &items_ops,  [NODE_ITEM] = &item_ops,   [NODE_HELP] = &help_ops,
    };

    return table[kind];
}

void tree_init(struct tree *tree, const struct tree_options *options)
{
    *tree = (struct tree){.options = *options};
    nodes_init(&tree->nodes, &clock_system);
    closes_init(&tree->closes);
    limit_init(&tree->limit, &clock_system);
    pthread_mutex_init(&tree->files_lock, NULL);
    TAILQ_INIT(&tree->files);
}

void tree_fini(struct tree *tree)
{
    struct file *file;

    while ((file = TAILQ_FIRST(&tree->files)) != NULL)
        file_release(file);
    nodes_fini(&tree->nodes);
    closes_fini(&tree->closes);
    limit_fini(&tree->limit);
    pthread_mutex_destroy(&tree->files_lock);
}
