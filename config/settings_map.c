/*
 * A queue's settings out of a map of YAML, row by row of the table, into a copy that replaces the
 * original only when all of it is good.
 */
#include "config/settings_map.h"

#include <errno.h>

#include "config/units.h"
#include "config/unknown.h"
#include "config/value.h"

static int unknown_setting(const struct source *source, const struct node *node)
{
    struct unknown unknown;
    unknown_init(&unknown, node);
    for (const struct setting *row = settings_table; row->key; row++)
        unknown_offer(&unknown, row->key);
    return unknown_fault(source, &unknown);
}

static int setting_load(const struct source *source, const struct node *node,
                        const struct setting *row, struct all_settings *all)
{
    struct value_rule rule = setting_rule(row);
    return value_load(source, node, &rule, setting_value(row, all));
}

/* Said at the key that is given; a lease is the shorter one, so it is what gives way. */
static int check_leases(const struct source *source, const struct node *map,
                        const struct all_settings *all)
{
    const struct node *lease = node_child(map, "lease");
    const struct node *lease_max = node_child(map, "lease_max");
    if (all->own.lease_us <= all->own.lease_max_us || (!lease && !lease_max))
        return 0;
    char lease_text[UNIT_TEXT_MAX], max_text[UNIT_TEXT_MAX];
    time_print(all->own.lease_us, lease_text);
    time_print(all->own.lease_max_us, max_text);
    if (lease)
        return node_key_fault(source, lease, "%s is longer than lease_max; at most %s is allowed",
                              lease_text, max_text);
    return node_key_fault(source, lease_max, "%s is shorter than lease; at least %s is allowed",
                          max_text, lease_text);
}

static int rows_load(const struct source *source, const struct node *map, struct all_settings *all,
                     uint64_t *given)
{
    for (const struct node *node = map->first; node; node = node->next) {
        const struct setting *row = setting_find(node->key);
        if (!row)
            return unknown_setting(source, node);
        int error = setting_load(source, node, row, all);
        if (error)
            return error;
        *given |= setting_bit(row);
    }
    return check_leases(source, map, all);
}

int settings_map_load(const struct source *source, const struct node *map, struct all_settings *all,
                      uint64_t *given)
{
    struct all_settings copy = *all;
    uint64_t bits = 0;
    if (map->kind != NODE_MAP && map->kind != NODE_NULL)
        return node_fault(source, map, "%s stands here; a map of `setting: value` is allowed",
                          node_kind_name(map));
    int error = map->kind == NODE_MAP ? rows_load(source, map, &copy, &bits) : 0;
    if (error)
        return error;
    *all = copy;
    *given = bits;
    return 0;
}
