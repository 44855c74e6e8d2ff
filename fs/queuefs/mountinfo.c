#include "fs/queuefs/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOUNTINFO "/proc/self/mountinfo"

/* Blanks and backslashes stand as three octal digits. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *at = text; *at; at++) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' &&
            at[3] >= '0' && at[3] <= '7') {
            *to++ = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
            at += 3;
        } else {
            *to++ = *at;
        }
    }
    *to = '\0';
}

/* ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [FIELD]... - TYPE SOURCE SUPEROPTIONS */
bool mount_entry_parse(const char *line, struct mount_entry *entry)
{
    const char *rest = strstr(line, " - ");
    struct mount_entry found;
    int path_at = 0;
    size_t len;

    if (!rest ||
        sscanf(line, "%ld %*d %u:%u %*s %n", &found.id, &found.major, &found.minor, &path_at) !=
            3 ||
        path_at == 0 || line + path_at >= rest)
        return false;
    len = strcspn(line + path_at, " ");
    if (len == 0 || len >= sizeof(found.path) || sscanf(rest, " - %63s", found.type) != 1)
        return false;
    memcpy(found.path, line + path_at, len);
    found.path[len] = '\0';
    unescape(found.path);
    *entry = found;
    return true;
}

/* The last entry that `wanted` likes, which is the topmost. */
static int search(bool (*wanted)(const struct mount_entry *entry, const void *arg), const void *arg,
                  struct mount_entry *found)
{
    FILE *file = fopen(MOUNTINFO, "re");
    struct mount_entry entry;
    char *line = NULL;
    size_t size = 0;
    int result = -ENOENT;

    if (!file)
        return -errno;
    while (getline(&line, &size, file) > 0) {
        if (!mount_entry_parse(line, &entry) || !wanted(&entry, arg))
            continue;
        *found = entry;
        result = 0;
    }
    if (ferror(file))
        result = -EIO;
    free(line);
    fclose(file);
    return result;
}

static bool has_path(const struct mount_entry *entry, const void *path)
{
    return strcmp(entry->path, path) == 0;
}

int mount_entry_at(const char *path, struct mount_entry *entry)
{
    return search(has_path, path, entry);
}

static bool is_same(const struct mount_entry *entry, const void *arg)
{
    const struct mount_entry *other = arg;

    return entry->id == other->id && entry->major == other->major && entry->minor == other->minor;
}

bool mount_entry_exists(const struct mount_entry *entry)
{
    struct mount_entry found;

    return search(is_same, entry, &found) != -ENOENT;
}

int mountinfo_open(void)
{
    int fd = open(MOUNTINFO, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}
