/* Which moves of items there are: mv between ready, leased and dead, and rm. */
#ifndef QUEUEFS_FS_MOVE_H
#define QUEUEFS_FS_MOVE_H

#include "core/request.h"
#include "fs/child.h"

/* Where an item goes that is removed. */
#define MOVE_AWAY NODE_KINDS

enum move_how {
    MOVE_HELD,  /* mount_queue_claim_settle() by `verb`: at once */
    MOVE_TAKE,  /* mount_queue_take() */
    MOVE_SETTLE /* mount_queue_settle() by `verb` */
};

struct move {
    enum node_kind from, to;
    enum move_how how;
    enum settle_verb verb;
};

/* Pure. NULL: there is no such move. */
const struct move *move_find(enum node_kind from, enum node_kind to);

/* Pure. rename(2) of `name` to `new_name`: NULL where nobody may; else *id is the item. */
const struct move *move_of_rename(enum node_kind from, const char *name, enum node_kind to,
                                  const char *new_name, unsigned flags, uint64_t *id);

#endif
