/* Open files: one for each open(2), from OPEN to RELEASE. */
#include "fs/tree.h"

#include <stdlib.h>

struct file *file_new(struct tree *tree, struct node *node, int flags)
{
    struct file *file = calloc(1, sizeof(*file));

    if (!file)
        return NULL;
    file->tree = tree;
    file->node = node;
    file->ops = node_ops_of(node->child.kind);
    file->flags = flags;
    atomic_init(&file->n_refs, 1);
    atomic_init(&file->n_users, 1);
    poll_init(&file->poll);
    pthread_mutex_lock(&tree->files_lock);
    TAILQ_INSERT_TAIL(&tree->files, file, link);
    pthread_mutex_unlock(&tree->files_lock);
    return file;
}

struct file *file_of(const struct fuse_file_info *fi)
{
    return (struct file *)(uintptr_t)fi->fh;
}

void file_ref(struct file *file)
{
    atomic_fetch_add(&file->n_refs, 1);
}

void file_unref(struct file *file)
{
    if (atomic_fetch_sub(&file->n_refs, 1) > 1)
        return;
    if (file->held) /* no sooner: its bytes may be on their way to the kernel */
        mqueue_held_close(file->node->mq, file->held);
    node_unref(&file->tree->nodes, file->node);
    poll_fini(&file->poll);
    lister_close(file->lister);
    page_fini(&file->page);
    free(file->text);
    free(file);
}

static struct file *use_locked(struct node *node)
{
    if (node->file) {
        file_ref(node->file);
        atomic_fetch_add(&node->file->n_users, 1);
    }
    return node->file;
}

struct file *file_use(struct tree *tree, struct node *node)
{
    struct file *file;

    pthread_mutex_lock(&tree->files_lock);
    file = use_locked(node);
    pthread_mutex_unlock(&tree->files_lock);
    return file;
}

void file_opened(struct file *file)
{
    struct tree *tree = file->tree;
    struct file *first;

    if (!child_gives_one(&file->node->child))
        return;
    pthread_mutex_lock(&tree->files_lock);
    first = use_locked(file->node);
    file->node->file = node_is_alone(&tree->nodes, file->node) ? file : NULL;
    pthread_mutex_unlock(&tree->files_lock);
    if (!first)
        return;
    first->ops->shared(first);
    file_unuse(first);
}

void file_unuse(struct file *file)
{
    if (atomic_fetch_sub(&file->n_users, 1) == 1 && file->ops->release)
        file->ops->release(file);
    file_unref(file);
}

void file_release(struct file *file)
{
    struct tree *tree = file->tree;

    node_close(&tree->nodes, file->node);
    pthread_mutex_lock(&tree->files_lock);
    TAILQ_REMOVE(&tree->files, file, link);
    if (file->node->file == file)
        file->node->file = NULL;
    pthread_mutex_unlock(&tree->files_lock);
    poll_release(file);
    file_unuse(file);
}
