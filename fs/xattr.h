/*
 * Extended attributes of an item: user.deliveries (how often it was lent, a claim's own included),
 * user.enqueued (when it was put) and, of one that is leased, user.lease_expires. Times are those
 * of ISO 8601 in UTC with microseconds, 2026-05-01T12:00:00.000000Z, which people can read, date -d
 * takes, and sort(1) sorts. Pure.
 */
#ifndef QUEUEFS_FS_XATTR_H
#define QUEUEFS_FS_XATTR_H

#include <stddef.h>

#include "core/item.h"

#define XATTR_VALUE_MAX 64
#define XATTR_NAMES_MAX 128

/* The value, without a NUL; its length, or -ENODATA. */
int xattr_value(const struct item_info *info, const char *name, char value[XATTR_VALUE_MAX]);

/* The names, each with a NUL; their length. */
size_t xattr_names(const struct item_info *info, char names[XATTR_NAMES_MAX]);

#endif
