/* What differs between two configs, row by row of options_table. */
#include "config/config.h"

#include <string.h>

#include "config/access_rules.h"
#include "config/options.h"

/* The tables' accessors are for filling in; nothing is written through them here. */
static struct config *unconst(const struct config *config)
{
    return (struct config *)(uintptr_t)config;
}

static bool same_texts(const struct option *row, const struct config *one,
                       const struct config *other)
{
    char **a = option_text(row, unconst(one)), **b = option_text(row, unconst(other));
    size_t n = 1;

    if (row->kind == OPTION_LIST) {
        n = *option_count(row, unconst(one));
        if (n != *option_count(row, unconst(other)))
            return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(a[i] ? a[i] : "", b[i] ? b[i] : "") != 0)
            return false;
    }
    return true;
}

static bool same_settings(const struct all_settings *one, const struct all_settings *other)
{
    struct all_settings a = *one, b = *other;

    for (const struct setting *row = settings_table; row->key; row++) {
        if (*setting_value(row, &a) != *setting_value(row, &b))
            return false;
    }
    return true;
}

static bool same_queues(const struct config *one, const struct config *other)
{
    if (one->n_queues != other->n_queues)
        return false;
    for (size_t i = 0; i < one->n_queues; i++) {
        const struct config_queue *a = &one->queues[i], *b = &other->queues[i];

        if (strcmp(a->name, b->name) != 0 || a->given != b->given ||
            !same_settings(&a->settings, &b->settings))
            return false;
    }
    return true;
}

static bool is_same(const struct option *row, const struct config *one, const struct config *other)
{
    switch (row->kind) {
    case OPTION_SECTION:
        return true;
    case OPTION_VALUE:
        return *option_value(row, unconst(one)) == *option_value(row, unconst(other));
    case OPTION_TEXT:
    case OPTION_LIST:
        return same_texts(row, one, other);
    case OPTION_ACCESS:
        return access_rules_same(&one->access, &other->access);
    case OPTION_DEFAULTS:
        return one->defaults_given == other->defaults_given &&
               same_settings(&one->defaults, &other->defaults);
    case OPTION_QUEUES:
        return same_queues(one, other);
    }
    return true;
}

void config_compare(const struct config *one, const struct config *other,
                    void (*differs)(void *arg, const char *key), void *arg)
{
    char key[128];

    for (const struct option *row = options_table; row->key; row++) {
        if (is_same(row, one, other))
            continue;
        snprintf(key, sizeof key, "%s%s%s", row->section, row->section[0] ? "." : "", row->key);
        differs(arg, key);
    }
}
