#include "fs/attr.h"

mode_t attr_mode(enum node_kind kind, mode_t mode)
{
    mode_t get = mode & 0444;
    mode_t put = mode & 0222;
    mode_t look = get | put << 1;

    switch (kind) {
    case NODE_DIR:
        return S_IFDIR | get | put | look >> 2;
    case NODE_IN:
        return S_IFREG | put | put << 1; /* so that fopen("a+") is let through */
    case NODE_OUT:
    case NODE_NEXT:
    case NODE_CLAIM:
        return S_IFREG | get;
    case NODE_READY:
    case NODE_LEASED:
    case NODE_DEAD:
        return S_IFDIR | get | get >> 1 | get >> 2; /* to move and remove is to get */
    case NODE_ITEM:
        return S_IFREG | get | get >> 1; /* touch(1) opens for writing */
    case NODE_STATS:
        return S_IFREG | look;
    case NODE_HELP:
        return S_IFREG | 0444;
    case NODE_FLUSH:
        return S_IFREG | put;
    case NODE_CONFIG:
        return S_IFREG | 0600 | look;
    case NODE_PURGE:
        return S_IFREG | 0200;
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
