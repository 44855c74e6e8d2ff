/*
 * One ordered set of all nodes: by queue, kind, whether busy, arguments, directory, serial. So all
 * nodes of a queue stand together, and the first `in` of a queue is an idle one, if there is any.
 */
#include "fs/node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int node_compare(const struct node *a, const struct node *b)
{
    int order = compare(a->queue, b->queue);

    if (order == 0)
        order = compare(a->child.kind, b->child.kind);
    if (order == 0)
        order = compare(a->busy, b->busy);
    if (order == 0)
        order = compare(a->child.limit, b->child.limit);
    if (order == 0)
        order = compare(a->in, b->in);
    if (order == 0)
        order = compare((uint64_t)a->child.timeout_us, (uint64_t)b->child.timeout_us);
    return order == 0 ? compare(a->serial, b->serial) : order;
}

RB_GENERATE_INTERNAL(node_set, node, link, node_compare, static __attribute__((unused)))

/* Whether each open of such a node has a node of its own. */
static bool one_open_each(const struct node *node)
{
    return node->child.kind == NODE_IN || node->child.kind == NODE_FLUSH ||
           child_gives_one(&node->child);
}

void nodes_init(struct nodes *nodes, const struct clock *clock)
{
    pthread_mutex_init(&nodes->lock, NULL);
    RB_INIT(&nodes->set);
    nodes->next_serial = 1;
    nodes->next_generation = 1;
    nodes->clock = clock;
    told_init(&nodes->told);
    op_list_init(&nodes->opening);
    nodes->root = (struct node){
        .child = {.kind = NODE_ROOT, .limit = READER_UNLIMITED, .timeout_us = -1},
        .n_lookups = 1,
    };
}

static void lister_unref(struct lister *lister);

static void node_free(struct node *node)
{
    mount_queue_unref(node->mq);
    lister_unref(node->lister);
    free(node);
}

void nodes_fini(struct nodes *nodes)
{
    struct node *node;

    while ((node = RB_MIN(node_set, &nodes->set)) != NULL) {
        RB_REMOVE(node_set, &nodes->set, node);
        node_free(node);
    }
    pthread_mutex_destroy(&nodes->lock);
}

struct node *node_of(struct nodes *nodes, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? &nodes->root : (struct node *)(uintptr_t)ino;
}

fuse_ino_t node_id(const struct nodes *nodes, const struct node *node)
{
    return node == &nodes->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)node;
}

static bool is_within(const struct nodes *nodes, const struct node *node, int64_t us)
{
    return nodes->clock->mono_us(nodes->clock) - node->since_us < us;
}

/* For so long nobody else gets what a thread has looked up: it is about to open it, or was not. */
#define LOOKED_US INT64_C(1000000)

static bool is_kept_from(const struct nodes *nodes, const struct node *node, pid_t tid)
{
    return child_gives_one(&node->child) && node->looker != -1 &&
           (node->looker != tid || tid == 0) && is_within(nodes, node, LOOKED_US);
}

static bool is_idle_like(const struct node *node, const struct node *like)
{
    return node && node->queue == like->queue && node->child.kind == like->child.kind &&
           !node->busy && node->child.limit == like->child.limit &&
           node->child.timeout_us == like->child.timeout_us;
}

/* The node that a lookup of `like` finds, or NULL. */
static struct node *find_locked(struct nodes *nodes, struct node *like)
{
    struct node *node;

    if (!one_open_each(like))
        return RB_FIND(node_set, &nodes->set, like);
    node = RB_NFIND(node_set, &nodes->set, like);
    while (is_idle_like(node, like) && is_kept_from(nodes, node, like->looker))
        node = RB_NEXT(node_set, &nodes->set, node);
    return is_idle_like(node, like) ? node : NULL;
}

static struct node *node_new_locked(struct nodes *nodes, const struct node *like,
                                    struct mount_queue *mq)
{
    struct node *node = malloc(sizeof(*node));

    if (!node)
        return NULL;
    *node = *like;
    node->generation = nodes->next_generation++;
    node->mq = mq ? mount_queue_ref(mq) : NULL;
    return node;
}

static struct node *lookup_locked(struct nodes *nodes, struct mount_queue *mq, struct node *like)
{
    struct node *node = find_locked(nodes, like);

    if (!node) {
        if (one_open_each(like))
            like->serial = nodes->next_serial++;
        node = node_new_locked(nodes, like, mq);
        if (node)
            RB_INSERT(node_set, &nodes->set, node);
    }
    if (node)
        node->n_lookups++;
    return node;
}

struct node *node_lookup(struct nodes *nodes, struct mount_queue *mq, const struct child *child,
                         pid_t tid)
{
    struct mount_queue_info info = {0};
    struct node like = {.child = *child, .looker = tid};
    struct node *node;

    if (mq)
        mount_queue_info(mq, &info);
    like.queue = info.number;

    pthread_mutex_lock(&nodes->lock);
    node = lookup_locked(nodes, mq, &like);
    if (node) {
        node->looker = tid;
        node->since_us = nodes->clock->mono_us(nodes->clock);
    }
    pthread_mutex_unlock(&nodes->lock);
    return node;
}

/* ---- items ---- */

/* For so long what was listed stands. */
#define LISTED_US INT64_C(1000000)

/* For so long who moved an item is told how it is now. */
#define MOVED_US INT64_C(1000)

struct lister *lister_new(void)
{
    struct lister *lister = malloc(sizeof(*lister));

    if (!lister)
        return NULL;
    atomic_init(&lister->n_refs, 1);
    atomic_init(&lister->open, true);
    return lister;
}

static void lister_unref(struct lister *lister)
{
    if (lister && atomic_fetch_sub(&lister->n_refs, 1) == 1)
        free(lister);
}

void lister_close(struct lister *lister)
{
    if (lister)
        atomic_store(&lister->open, false);
    lister_unref(lister);
}

static struct node like_item(const struct node *dir, uint64_t id)
{
    return (struct node){.child = child_of_item(id), .queue = dir->queue, .in = dir->child.kind};
}

struct node *node_lookup_item(struct nodes *nodes, const struct node *dir,
                              const struct item_info *info, struct lister *lister)
{
    struct node like = like_item(dir, info->id);
    struct lister *old = NULL;
    struct node *node;

    pthread_mutex_lock(&nodes->lock);
    node = lookup_locked(nodes, dir->mq, &like);
    if (node) {
        old = node->lister;
        node->info = *info;
        node->since_us = nodes->clock->mono_us(nodes->clock);
        node->lister = lister;
        if (lister)
            atomic_fetch_add(&lister->n_refs, 1);
    }
    pthread_mutex_unlock(&nodes->lock);
    lister_unref(old);
    return node;
}

struct node *node_lookup_listed(struct nodes *nodes, const struct node *dir, uint64_t id)
{
    struct node like = like_item(dir, id);
    struct node *node;

    pthread_mutex_lock(&nodes->lock);
    node = find_locked(nodes, &like);
    if (node &&
        !(node->lister && atomic_load(&node->lister->open) && is_within(nodes, node, LISTED_US)))
        node = NULL;
    if (node)
        node->n_lookups++;
    pthread_mutex_unlock(&nodes->lock);
    return node;
}

void node_unlist(struct nodes *nodes, struct node *node)
{
    struct lister *lister;

    pthread_mutex_lock(&nodes->lock);
    lister = node->lister;
    node->lister = NULL;
    pthread_mutex_unlock(&nodes->lock);
    lister_unref(lister);
}

/* Whether what was seen of an item that this mount does not hold still stands. */
static bool stands_locked(const struct nodes *nodes, const struct node *node)
{
    if (node->serial == 0)
        return node->in != NODE_LEASED;
    return node->info.state != ITEM_STATES && is_within(nodes, node, MOVED_US);
}

int node_item(struct nodes *nodes, const struct node *node, struct item_info *info)
{
    struct item_info claim;
    bool moved, stands;

    pthread_mutex_lock(&nodes->lock);
    *info = node->info;
    moved = node->serial != 0;
    stands = stands_locked(nodes, node);
    pthread_mutex_unlock(&nodes->lock);
    if (!mount_queue_claim(node->mq, node->child.limit, &claim))
        return stands ? 0 : -ESTALE;
    if (moved || node->in != NODE_LEASED)
        return -ESTALE;
    *info = claim;
    return 0;
}

int node_item_shown(struct nodes *nodes, const struct node *node, struct item_info *info)
{
    int result = node_item(nodes, node, info);
    bool open;

    pthread_mutex_lock(&nodes->lock);
    open = node->n_opens > 0;
    pthread_mutex_unlock(&nodes->lock);
    return open ? 0 : result;
}

void node_item_moved(struct nodes *nodes, const struct node *dir, uint64_t id,
                     enum item_state state)
{
    struct node like = like_item(dir, id);
    struct node *node;

    pthread_mutex_lock(&nodes->lock);
    node = find_locked(nodes, &like);
    if (node) {
        RB_REMOVE(node_set, &nodes->set, node);
        node->serial = nodes->next_serial++;
        RB_INSERT(node_set, &nodes->set, node);
        node->since_us = nodes->clock->mono_us(nodes->clock);
        if (node->in == NODE_DEAD)
            node->info.deliveries = 0; /* as if never delivered */
        node->info.state = state;
    }
    pthread_mutex_unlock(&nodes->lock);
}

/* ---- what the kernel knows and has open ---- */

/* Takes it out of the set where nobody needs it any more; the caller then frees it. */
static bool retire_locked(struct nodes *nodes, struct node *node)
{
    if (node->n_lookups > 0 || node->n_files > 0 || node == &nodes->root)
        return false;
    RB_REMOVE(node_set, &nodes->set, node);
    return true;
}

void node_forget(struct nodes *nodes, struct node *node, uint64_t n_lookups)
{
    bool retired;

    if (node == &nodes->root)
        return;
    pthread_mutex_lock(&nodes->lock);
    node->n_lookups -= n_lookups < node->n_lookups ? n_lookups : node->n_lookups;
    retired = retire_locked(nodes, node);
    pthread_mutex_unlock(&nodes->lock);
    if (retired)
        node_free(node);
}

static void set_busy_locked(struct nodes *nodes, struct node *node, bool busy)
{
    if (node->busy == busy)
        return;
    RB_REMOVE(node_set, &nodes->set, node);
    node->busy = busy;
    RB_INSERT(node_set, &nodes->set, node);
}

/* So many look a name up again at a time. */
#define RETRYING_MAX 2

/* Who has not come again by then was killed in between. */
#define RETRYING_US INT64_C(20000)

/* Whether one more thread may be told ESTALE now. */
static bool may_retry_locked(struct nodes *nodes)
{
    if (nodes->clock->mono_us(nodes->clock) - nodes->retrying_us > RETRYING_US)
        nodes->n_retrying = 0;
    return nodes->n_retrying < RETRYING_MAX;
}

static void tell_locked(struct nodes *nodes, pid_t tid)
{
    told_add(&nodes->told, tid);
    nodes->n_retrying++;
    nodes->retrying_us = nodes->clock->mono_us(nodes->clock);
}

/* 0, or what the open is to be told. A thread that cannot be known again is told nothing, nor one
 * that has looked the name up just now. */
static int refuse_locked(struct nodes *nodes, struct node *node, pid_t tid)
{
    if (!one_open_each(node) || child_gives_one(&node->child) || tid <= 0)
        return 0;
    if (told_take(&nodes->told, tid)) {
        nodes->n_retrying -= nodes->n_retrying > 0;
        return 0;
    }
    if (!node->busy)
        return 0;
    if (!may_retry_locked(nodes))
        return NODE_CROWD;
    tell_locked(nodes, tid);
    return -ESTALE;
}

/* Whose turn it is among those who wait; NULL: nobody's. */
static struct op *next_opening_locked(struct nodes *nodes)
{
    struct op *op = TAILQ_FIRST(&nodes->opening.ops);

    if (!op || !may_retry_locked(nodes))
        return NULL;
    op_take_locked(op);
    tell_locked(nodes, (pid_t)(intptr_t)op->context);
    return op;
}

int node_open(struct nodes *nodes, struct node *node, pid_t tid)
{
    struct op *next;
    int result;

    pthread_mutex_lock(&nodes->lock);
    result = refuse_locked(nodes, node, tid);
    if (result == 0) {
        node->n_opens++;
        node->n_files++;
        node->looker = -1;
        if (one_open_each(node))
            set_busy_locked(nodes, node, true);
    }
    next = next_opening_locked(nodes);
    pthread_mutex_unlock(&nodes->lock);
    if (next)
        op_finish(next, 0);
    return result;
}

void node_open_wait(struct nodes *nodes, pid_t tid, struct op *op)
{
    struct op *next;
    bool parked;

    op->context = (void *)(intptr_t)tid;
    atomic_store(&op->lock, &nodes->lock);
    pthread_mutex_lock(&nodes->lock);
    parked = !nodes->ended && op_park_locked(op, &nodes->opening);
    next = next_opening_locked(nodes);
    pthread_mutex_unlock(&nodes->lock);
    if (!parked)
        op_finish(op, -ESHUTDOWN); /* or cancelled: it is answered at once */
    if (next)
        op_finish(next, 0);
}

bool node_is_crowded(struct nodes *nodes)
{
    bool crowded;

    pthread_mutex_lock(&nodes->lock);
    crowded = !may_retry_locked(nodes);
    pthread_mutex_unlock(&nodes->lock);
    return crowded;
}

void node_open_told(struct nodes *nodes, pid_t tid)
{
    pthread_mutex_lock(&nodes->lock);
    tell_locked(nodes, tid);
    pthread_mutex_unlock(&nodes->lock);
}

void node_open_end(struct nodes *nodes)
{
    struct op *op;

    do {
        pthread_mutex_lock(&nodes->lock);
        nodes->ended = true;
        op = TAILQ_FIRST(&nodes->opening.ops);
        if (op)
            op_take_locked(op);
        pthread_mutex_unlock(&nodes->lock);
        if (op)
            op_finish(op, -ESHUTDOWN);
    } while (op);
}

bool node_is_alone(struct nodes *nodes, const struct node *node)
{
    bool alone;

    pthread_mutex_lock(&nodes->lock);
    alone = node->n_opens == 1;
    pthread_mutex_unlock(&nodes->lock);
    return alone;
}

void node_close(struct nodes *nodes, struct node *node)
{
    pthread_mutex_lock(&nodes->lock);
    assert(node->n_opens > 0);
    node->n_opens--;
    if (node->n_opens == 0 && one_open_each(node))
        set_busy_locked(nodes, node, false);
    pthread_mutex_unlock(&nodes->lock);
}

void node_unref(struct nodes *nodes, struct node *node)
{
    bool retired;

    pthread_mutex_lock(&nodes->lock);
    assert(node->n_files > node->n_opens);
    node->n_files--;
    retired = retire_locked(nodes, node);
    pthread_mutex_unlock(&nodes->lock);
    if (retired)
        node_free(node);
}

size_t node_ids_of(struct nodes *nodes, uint64_t queue, fuse_ino_t **ids)
{
    struct node like = {.queue = queue};
    struct node *node, *first;
    size_t n = 0;

    pthread_mutex_lock(&nodes->lock);
    first = RB_NFIND(node_set, &nodes->set, &like);
    for (node = first; node && node->queue == queue; node = RB_NEXT(node_set, &nodes->set, node))
        n++;
    *ids = n ? malloc(n * sizeof(**ids)) : NULL;
    n = 0;
    for (node = *ids ? first : NULL; node && node->queue == queue;
         node = RB_NEXT(node_set, &nodes->set, node))
        (*ids)[n++] = node_id(nodes, node);
    pthread_mutex_unlock(&nodes->lock);
    return n;
}
