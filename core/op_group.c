#include "core/op_group.h"

void op_group_init(struct op_group *group, void (*done)(struct op_group *group, int error),
                   void *owner)
{
    group->done = done;
    group->owner = owner;
    atomic_init(&group->n_left, 1);
    atomic_init(&group->error, 0);
}

void op_group_end(struct op_group *group)
{
    if (atomic_fetch_sub(&group->n_left, 1) == 1)
        group->done(group, group->error);
}

static void one_done(struct op *op, ssize_t result)
{
    struct op_group *group = op->owner;
    int none = 0;

    if (result < 0)
        atomic_compare_exchange_strong(&group->error, &none, (int)result);
    op_group_end(group);
}

void op_group_add(struct op_group *group, struct op *op)
{
    op_init(op, one_done, group);
    atomic_fetch_add(&group->n_left, 1);
}
