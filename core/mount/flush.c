/* Flushes: an op on the mount that waits for those of one queue, or of all. */
#include "core/mount/service_call.h"

#include <stdlib.h>

struct flush {
    struct op_group group;
    struct mount *mount;
    struct mount_queue **all; /* references */
    size_t n;
    struct op ops[]; /* two a queue: its puts, its settlements */
};

static void flushed(struct op_group *group, int error)
{
    struct flush *flush = group->owner;

    mount_finish(flush->mount, flush, error);
    mount_all_free(flush->all, flush->n);
    free(flush);
}

/* Takes the references. An op whose user was interrupted ends by its own deadline. */
static void flush_all(struct mount *m, struct mount_queue **all, size_t n, struct op *op)
{
    struct flush *flush = calloc(1, sizeof(*flush) + 2 * n * sizeof(flush->ops[0]));
    size_t i;

    if (!flush)
        op_finish(op, -ENOMEM);
    if (!flush || !mount_park(m, op, flush, TIME_FOREVER)) {
        mount_all_free(all, n);
        free(flush);
        return;
    }
    flush->mount = m;
    flush->all = all;
    flush->n = n;
    op_group_init(&flush->group, flushed, flush);
    for (i = 0; i < n; i++) {
        op_group_add(&flush->group, &flush->ops[2 * i]);
        mount_queue_flush_puts(all[i], &flush->ops[2 * i]);
        op_group_add(&flush->group, &flush->ops[2 * i + 1]);
        mount_queue_flush_settlements(all[i], &flush->ops[2 * i + 1]);
    }
    op_group_end(&flush->group);
}

void mount_queue_flush(struct mount_queue *mq, struct op *op)
{
    struct mount_queue **one = malloc(sizeof(*one));

    if (!one) {
        op_finish(op, -ENOMEM);
        return;
    }
    *one = mount_queue_ref(mq);
    flush_all(mq->mount, one, 1, op);
}

void mount_flush(struct mount *m, struct op *op)
{
    size_t n;
    struct mount_queue **all = mount_all(m, &n);

    flush_all(m, all, n, op);
}
