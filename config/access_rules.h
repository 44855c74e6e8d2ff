/* `access:` of the settings file: who may do what with which queues. */
#ifndef QUEUEFS_CONFIG_ACCESS_RULES_H
#define QUEUEFS_CONFIG_ACCESS_RULES_H

#include <stdio.h>

#include "config/tree.h"
#include "core/access.h"

#define ACCESS_RULES_MAX  1024
#define ACCESS_QUEUES_MAX 64 /* patterns of one rule */

/* The list (or nothing: NODE_NULL) into a zeroed *access, which access_fini() gives back after a
 * failure too. 0, -EINVAL with *source->error, -ENOMEM. A user's name asks the name service. */
int access_rules_load(const struct source *source, const struct node *list, struct access *access);

/* A line for each rule, which access_rules_load() reads back to the same. */
void access_rules_print(const struct access *access, int indent, FILE *out);

bool access_rules_same(const struct access *one, const struct access *other);

#endif
