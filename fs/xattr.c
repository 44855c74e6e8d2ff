#include "fs/xattr.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int format_time(int64_t us, char value[XATTR_VALUE_MAX])
{
    int64_t part = us % 1000000;
    time_t seconds = (time_t)(us / 1000000) - (part < 0);
    struct tm tm;
    size_t len;

    if (!gmtime_r(&seconds, &tm))
        return -ENODATA;
    len = strftime(value, XATTR_VALUE_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    return (int)len + snprintf(value + len, XATTR_VALUE_MAX - len, ".%06dZ",
                               (int)(part < 0 ? part + 1000000 : part));
}

static int deliveries(const struct item_info *info, char value[XATTR_VALUE_MAX])
{
    return snprintf(value, XATTR_VALUE_MAX, "%u", (unsigned)info->deliveries);
}

static int enqueued(const struct item_info *info, char value[XATTR_VALUE_MAX])
{
    return format_time(info->put_time_us, value);
}

static int lease_expires(const struct item_info *info, char value[XATTR_VALUE_MAX])
{
    return info->state == ITEM_LEASED ? format_time(info->until_us, value) : -ENODATA;
}

static const struct {
    const char *name;
    int (*value)(const struct item_info *info, char value[XATTR_VALUE_MAX]);
} table[] = {
    {"user.deliveries", deliveries},
    {"user.enqueued", enqueued},
    {"user.lease_expires", lease_expires},
};

#define N_TABLE (sizeof(table) / sizeof(table[0]))

int xattr_value(const struct item_info *info, const char *name, char value[XATTR_VALUE_MAX])
{
    for (size_t i = 0; i < N_TABLE; i++)
        if (strcmp(name, table[i].name) == 0)
            return table[i].value(info, value);
    return -ENODATA;
}

size_t xattr_names(const struct item_info *info, char names[XATTR_NAMES_MAX])
{
    char value[XATTR_VALUE_MAX];
    size_t len = 0;

    for (size_t i = 0; i < N_TABLE; i++) {
        if (table[i].value(info, value) < 0)
            continue;
        memcpy(names + len, table[i].name, strlen(table[i].name) + 1);
        len += strlen(table[i].name) + 1;
    }
    return len;
}
