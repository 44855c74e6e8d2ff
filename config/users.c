/*
 * The four lookups of the name service, with a buffer that grows while it says ERANGE: a group's
 * entry holds all its members and may be large.
 */
#include "config/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_FIRST 1024
#define ENTRY_MAX   (1024 * 1024)

/* One question: `name`, or where it is NULL `id`. Both answers, the name inside the buffer. */
struct entry {
    bool group;
    const char *name;
    int64_t id;
};

/* 0 found, ENOENT not, ERANGE the buffer is too small. */
static int ask_user(struct entry *entry, char *buffer, size_t size)
{
    struct passwd pw, *found = NULL;
    int error = entry->name ? getpwnam_r(entry->name, &pw, buffer, size, &found)
                            : getpwuid_r((uid_t)entry->id, &pw, buffer, size, &found);
    if (!found)
        return error == ERANGE ? ERANGE : ENOENT;
    entry->name = pw.pw_name;
    entry->id = pw.pw_uid;
    return 0;
}

static int ask_group(struct entry *entry, char *buffer, size_t size)
{
    struct group gr, *found = NULL;
    int error = entry->name ? getgrnam_r(entry->name, &gr, buffer, size, &found)
                            : getgrgid_r((gid_t)entry->id, &gr, buffer, size, &found);
    if (!found)
        return error == ERANGE ? ERANGE : ENOENT;
    entry->name = gr.gr_name;
    entry->id = gr.gr_gid;
    return 0;
}

/* On 0 *buffer is the caller's and entry->name points into it. */
static int ask(struct entry *entry, char **buffer)
{
    for (size_t size = ENTRY_FIRST; size <= ENTRY_MAX; size *= 2) {
        char *memory = malloc(size);
        if (!memory)
            return -ENOMEM;
        int error = entry->group ? ask_group(entry, memory, size) : ask_user(entry, memory, size);
        if (error == 0) {
            *buffer = memory;
            return 0;
        }
        free(memory);
        if (error != ERANGE)
            return -error;
    }
    return -ENOENT;
}

static int find_id(bool group, const char *name, int64_t *id)
{
    struct entry entry = {.group = group, .name = name};
    char *buffer;
    int error = ask(&entry, &buffer);
    if (error)
        return error;
    *id = entry.id;
    free(buffer);
    return 0;
}

/* A name that reads back as another number (two entries share it) is no use. */
static char *find_name(bool group, int64_t id)
{
    struct entry entry = {.group = group, .id = id};
    char *buffer;
    if (ask(&entry, &buffer))
        return NULL;
    int64_t again;
    char *name = NULL;
    if (find_id(group, entry.name, &again) == 0 && again == id)
        name = strdup(entry.name);
    free(buffer);
    return name;
}

int user_find(const char *name, int64_t *uid)
{
    return find_id(false, name, uid);
}

int group_find(const char *name, int64_t *gid)
{
    return find_id(true, name, gid);
}

char *user_name(int64_t uid)
{
    return find_name(false, uid);
}

char *group_name(int64_t gid)
{
    return find_name(true, gid);
}
