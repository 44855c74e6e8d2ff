/*
 * Collects the known keys of a map for one message. Near is what two edits turn into the key, and
 * fewer than half its length: any three letters are two edits from any other.
 */
#include "config/unknown.h"

#include <stdio.h>
#include <string.h>

#define NEAR 2

void unknown_init(struct unknown *unknown, const struct node *node)
{
    unknown->node = node;
    unknown->nearest = NULL;
    unknown->distance = NEAR + 1;
    unknown->allowed[0] = '\0';
    unknown->len = 0;
}

void unknown_offer(struct unknown *unknown, const char *key)
{
    size_t distance = fault_distance(unknown->node->key, key, NEAR);
    if (distance < unknown->distance && 2 * distance < strlen(unknown->node->key)) {
        unknown->distance = distance;
        unknown->nearest = key;
    }
    size_t room = sizeof unknown->allowed - unknown->len;
    int n = snprintf(unknown->allowed + unknown->len, room, "%s%s", unknown->len ? ", " : "", key);
    unknown->len += (size_t)n < room ? (size_t)n : room - 1;
}

int unknown_fault(const struct source *source, const struct unknown *unknown)
{
    const char *nearest = unknown->nearest;
    return node_key_fault(source, unknown->node, "unknown key%s%s%s; allowed: %s",
                          nearest ? ", did you mean " : "", nearest ? nearest : "",
                          nearest ? "?" : "", unknown->allowed);
}
