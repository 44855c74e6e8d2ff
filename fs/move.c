/*
 * rm and mv of items. What this mount holds is settled at once, from memory; the rest asks the
 * service.
 */
#include "fs/move.h"

#include "core/retry.h"
#include "fs/call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct move moves[] = {
    {NODE_LEASED, MOVE_AWAY, MOVE_HELD, SETTLE_ACK},
    {NODE_LEASED, NODE_READY, MOVE_HELD, SETTLE_NACK},
    {NODE_LEASED, NODE_DEAD, MOVE_HELD, SETTLE_BURY},
    {NODE_READY, NODE_LEASED, MOVE_TAKE, SETTLE_ACK},
    {NODE_READY, MOVE_AWAY, MOVE_SETTLE, SETTLE_DROP},
    {NODE_DEAD, NODE_READY, MOVE_SETTLE, SETTLE_REVIVE},
    {NODE_DEAD, MOVE_AWAY, MOVE_SETTLE, SETTLE_FORGET},
};

const struct move *move_find(enum node_kind from, enum node_kind to)
{
    for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
        if (moves[i].from == from && moves[i].to == to)
            return &moves[i];
    return NULL;
}

const struct move *move_of_rename(enum node_kind from, const char *name, enum node_kind to,
                                  const char *new_name, unsigned flags, uint64_t *id)
{
    const struct move *move = to == MOVE_AWAY ? NULL : move_find(from, to);

    if ((flags & ~(unsigned)RENAME_NOREPLACE) || strcmp(name, new_name) != 0)
        return NULL;
    return item_id_parse(name, id) ? move : NULL;
}

/* How the item is after its move; ITEM_STATES: that is for the service to say. mv(1) of several
 * looks at each when it is there, and shall not ask the service for what is known. */
static enum item_state state_after(const struct node *from, const struct move *move,
                                   const struct item_info *info)
{
    struct mount_queue_info queue;

    mount_queue_info(from->mq, &queue);
    switch (move->verb) {
    case SETTLE_BURY:
        return ITEM_DEAD;
    case SETTLE_REVIVE:
        return ITEM_READY;
    case SETTLE_NACK:
        if (retry_is_over(&queue.settings.own, info->deliveries))
            return ITEM_DEAD;
        return retry_delay_us(&queue.settings.own, info->deliveries) == 0 ? ITEM_READY
                                                                          : ITEM_STATES;
    default:
        return ITEM_STATES;
    }
}

static void reply_moved(struct tree *tree, fuse_req_t req, struct node *from,
                        const struct move *move, const struct item_info *info, ssize_t result)
{
    if (result == 0 && move->to != MOVE_AWAY)
        node_item_moved(&tree->nodes, from, info->id, state_after(from, move, info));
    fuse_reply_err(req, (int)-result);
}

static void move_answered(struct call *call, ssize_t result)
{
    const struct item_info info = {.id = call->id};

    reply_moved(call->tree, call->req, call->node, call->move, &info, result);
}

/* Of an item that nobody holds. */
static void move_by_service(struct tree *tree, fuse_req_t req, struct node *from, uint64_t id,
                            const struct move *move)
{
    struct call *call = call_new(tree, req, CALL_ASKS, move_answered);

    if (!call)
        return;
    call->node = from;
    call->id = id;
    call->move = move;
    if (move->how == MOVE_TAKE)
        mount_queue_take(from->mq, id, &call->op);
    else
        mount_queue_settle(from->mq, id, move->verb, &call->op);
}

static void move_held(struct tree *tree, fuse_req_t req, struct node *from, uint64_t id,
                      const struct move *move)
{
    struct item_info info = {.id = id};
    int result = -ENOENT;

    if (mount_queue_claim(from->mq, id, &info))
        result = mount_queue_claim_settle(from->mq, id, move->verb);
    reply_moved(tree, req, from, move, &info, result);
}

static void begin(struct tree *tree, fuse_req_t req, struct node *from, uint64_t id,
                  const struct move *move)
{
    if (move->how == MOVE_HELD)
        move_held(tree, req, from, id, move);
    else
        move_by_service(tree, req, from, id, move);
}

void tree_rename(struct tree *tree, fuse_req_t req, struct node *from, const char *name,
                 struct node *to, const char *new_name, unsigned flags)
{
    uint64_t id;
    const struct move *move =
        move_of_rename(from->child.kind, name, to->child.kind, new_name, flags, &id);

    if (!move || from->queue != to->queue)
        fuse_reply_err(req, EPERM);
    else
        begin(tree, req, from, id, move);
}

void items_unlink(struct tree *tree, struct node *dir, fuse_req_t req, const char *name)
{
    uint64_t id;

    if (!item_id_parse(name, &id))
        fuse_reply_err(req, ENOENT);
    else
        begin(tree, req, dir, id, move_find(dir->child.kind, MOVE_AWAY));
}
