/* The fault of a key that nobody knows: which ones there are, and which may have been meant. */
#ifndef QUEUEFS_CONFIG_UNKNOWN_H
#define QUEUEFS_CONFIG_UNKNOWN_H

#include "config/tree.h"

struct unknown {
    const struct node *node; /* whose key is unknown */
    const char *nearest;
    size_t distance;
    char allowed[1024];
    size_t len;
};

void unknown_init(struct unknown *unknown, const struct node *node);
void unknown_offer(struct unknown *unknown, const char *key); /* one that is known; static */
int unknown_fault(const struct source *source, const struct unknown *unknown);

#endif
