/*
 * A map of a queue's settings, as it stands under `defaults:`, under a queue's name and in a
 * `config` write.
 */
#ifndef QUEUEFS_CONFIG_SETTINGS_MAP_H
#define QUEUEFS_CONFIG_SETTINGS_MAP_H

#include <stdint.h>

#include "config/tree.h"
#include "core/settings.h"

/*
 * Apply the map (or nothing: NODE_NULL) over *all, all or nothing; *given gets the bits of the
 * rows that stand in it. 0, -EINVAL with *source->error, -ENOMEM.
 */
int settings_map_load(const struct source *source, const struct node *map, struct all_settings *all,
                      uint64_t *given);

#endif
