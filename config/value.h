/*
 * One value of the table: text to int64_t and back, by its rule. What is wrong and what is allowed
 * are said here, the same for files and for `config` writes.
 */
#ifndef QUEUEFS_CONFIG_VALUE_H
#define QUEUEFS_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config/tree.h"
#include "core/settings.h"

struct value_rule {
    enum setting_type type;
    int64_t min, max;
    bool forever;
    const char *const *choices; /* NULL-terminated, for SETTING_CHOICE */
};

struct value_rule setting_rule(const struct setting *row);

#define VALUE_WHY_MAX 256

/* A value from a node of YAML, the fault at its place; users and groups given by name ask the name
 * service. 0, -EINVAL with *source->error, -ENOMEM. */
int value_load(const struct source *source, const struct node *node, const struct value_rule *rule,
               int64_t *value);

/* What is allowed: "1 to 16777216", "0s to 1h", "line, nul or file". */
void value_allowed(const struct value_rule *rule, char allowed[VALUE_WHY_MAX]);

/* The value as YAML. `names`: users and groups by name where that reads back to the same. */
void value_print(const struct value_rule *rule, int64_t value, bool names, FILE *out);

#endif
