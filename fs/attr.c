#include "fs/attr.h"

#define MODE(kind, number, ops, mode, traits, name, help)                                          \
    case NODE_##kind:                                                                              \
        return mode;

mode_t attr_mode(enum node_kind kind, mode_t mode)
{
    mode_t get = mode & 0444;
    mode_t put = mode & 0222;
    mode_t look = get | put << 1;

    switch (kind) {
        NODES(MODE)
    default:
        return S_IFREG;
    }
}

mode_t attr_queue_mode(mode_t mode)
{
    return mode & 0666;
}

/* Mixes all bits of x into all bits of the result. */
static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

ino_t attr_ino(uint64_t queue, const struct child *child)
{
    uint64_t plain = queue << 8 | (unsigned)child->kind;

    if (child->kind == NODE_ROOT)
        return 1;
    if (child->kind == NODE_ITEM)
        return mixed(child->limit ^ mixed(queue)) >> 2 | UINT64_C(1) << 62;
    if (child->timeout_us == -1 && child->limit == child_usual_limit(child->kind))
        return plain;
    /* Names with arguments: the upper half of the numbers, spread so that they hardly ever meet. */
    return plain | UINT64_C(1) << 63 |
           (mixed(child->limit ^ mixed((uint64_t)child->timeout_us)) >> 2 & ~UINT64_C(0xffffffff));
}
