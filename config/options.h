/*
 * The table of the program's own settings: everything in the file that is not a queue's. Rows
 * stand in the order of printing, a section's own rows after the row that names it. A section is
 * known by its path ("" the top, "service", "service.tls").
 */
#ifndef QUEUEFS_CONFIG_OPTIONS_H
#define QUEUEFS_CONFIG_OPTIONS_H

#include <stdint.h>

#include "config/config.h"
#include "config/value.h"

enum option_kind {
    OPTION_SECTION,  /* a map; its rows have section `inside` */
    OPTION_VALUE,    /* int64_t at `offset`, by `rule` */
    OPTION_TEXT,     /* char * at `offset` */
    OPTION_LIST,     /* char *[CONFIG_ADDRESSES_MAX] at `offset`, size_t at `count_offset` */
    OPTION_ACCESS,   /* a list of rules, access_rules.h */
    OPTION_DEFAULTS, /* a map of a queue's settings, for every queue */
    OPTION_QUEUES,   /* a map of queues by name, each a map of settings */
};

struct option {
    const char *section, *key;
    enum option_kind kind;
    const char *inside;
    size_t offset, count_offset;
    struct value_rule rule;
    int64_t fallback;
    const char *fallback_text;          /* TEXT, LIST: NULL: absent */
    const char *(*check)(const char *); /* TEXT, each of LIST: NULL, or what is wrong */
    const char *allowed;                /* TEXT, LIST: a few words for the reference */
    const char *help;
};

extern const struct option options_table[]; /* ends with a NULL key */

/* Row of `key` in `section`, or NULL. */
const struct option *option_find(const char *section, const char *key);

/* What a row describes in `config`. */
int64_t *option_value(const struct option *row, struct config *config);
char **option_text(const struct option *row, struct config *config);
size_t *option_count(const struct option *row, struct config *config);

#endif
