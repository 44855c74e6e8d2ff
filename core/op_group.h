/*
 * Waiting until all of several ops have ended. The group's owner owns the ops too and keeps both
 * until done(), which is called once, on the thread that ends the last one; it may free them.
 */
#ifndef QUEUEFS_CORE_OP_GROUP_H
#define QUEUEFS_CORE_OP_GROUP_H

#include "core/op.h"

struct op_group {
    void (*done)(struct op_group *group, int error); /* 0, or how the first that failed has ended */
    void *owner;
    atomic_size_t n_left;
    _Atomic int error;
};

void op_group_init(struct op_group *group, void (*done)(struct op_group *group, int error),
                   void *owner);

/* Make the op one of the group; then it is the caller's to hand on. */
void op_group_add(struct op_group *group, struct op *op);

/* No more is added. done() may be called before this returns. */
void op_group_end(struct op_group *group);

#endif
