/*
 * A queuefs that was killed leaves its mount behind, and every access to it says ENOTCONN (or
 * ECONNABORTED, while the process is still dying). Such a mount is detached; it
 * was a queuefs or another FUSE program's: it can't come back to life.
 */
#include "fs/queuefs/mountpoint.h"

#include "fs/queuefs/mountinfo.h"

#include "core/clock.h"
#include "core/log.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool is_dead(int error)
{
    return error == ENOTCONN || error == ECONNABORTED;
}

/* realpath(3) of the directory above, and the last name as it is. */
static char *resolve_above(const char *given)
{
    char *for_dir = strdup(given), *for_name = strdup(given);
    char *above = NULL, *path = NULL;

    if (for_dir && for_name)
        above = realpath(dirname(for_dir), NULL);
    if (above &&
        asprintf(&path, "%s/%s", strcmp(above, "/") == 0 ? "" : above, basename(for_name)) < 0)
        path = NULL;
    free(above);
    free(for_dir);
    free(for_name);
    return path;
}

int mountpoint_resolve(const char *given, char **path)
{
    int error;

    *path = realpath(given, NULL);
    if (!*path && is_dead(errno))
        *path = resolve_above(given);
    if (*path)
        return 0;
    error = errno;
    log_error("mount point %s: %s%s", given, strerror(error),
              error == ENOENT ? " (make it first: mkdir)" : "");
    return -error;
}

static int run(const char *const *argv)
{
    pid_t child;
    int status;

    if (posix_spawnp(&child, argv[0], NULL, NULL, (char *const *)argv, environ) != 0)
        return -ENOENT;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

int mountpoint_detach(const char *path)
{
    const char *const argv[] = {"fusermount3", "-u", "-q", "-z", "--", path, NULL};

    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return 0;
    return errno == EPERM ? run(argv) : -errno;
}

/* Until nothing dead lies on it. stat(2) would not do: the kernel remembers a dead mount's
 * attributes for a moment, but asks for statfs(2) each time. */
static int detach_dead(const char *path)
{
    struct statfs fs;
    int error, result;

    while (statfs(path, &fs) < 0) {
        error = errno;
        if (!is_dead(error)) {
            log_error("mount point %s: %s", path, strerror(error));
            return -error;
        }
        result = mountpoint_detach(path);
        if (result < 0) {
            log_error("a dead mount lies on %s and cannot be detached: %s", path,
                      strerror(-result));
            return result;
        }
        log_info("detached a dead mount from %s", path);
    }
    return 0;
}

static bool is_taken(const char *path)
{
    struct mount_entry entry;

    return mount_entry_at(path, &entry) == 0 && strcmp(entry.type, "fuse.queuefs") == 0;
}

/* A queuefs that is ending unmounts soon. 0, or -EBUSY: it stays. */
static int wait_until_free(const char *path)
{
    int64_t until_us = clock_system.mono_us(&clock_system) + MOUNTPOINT_WAIT_US;
    struct pollfd change = {.fd = mountinfo_open(), .events = POLLPRI};
    int64_t left_us = MOUNTPOINT_WAIT_US;
    bool taken;

    while ((taken = is_taken(path)) && left_us > 0 && change.fd >= 0) {
        poll(&change, 1, (int)(left_us / 1000) + 1);
        left_us = until_us - clock_system.mono_us(&clock_system);
    }
    if (change.fd >= 0)
        close(change.fd);
    return taken ? -EBUSY : 0;
}

static void warn_unless_empty(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int n = 0;

    if (!dir)
        return;
    while ((entry = readdir(dir)) && n == 0)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    if (n > 0)
        log_warning("%s is not empty: what is in it is hidden while queuefs is mounted", path);
}

int mountpoint_clear(const char *path)
{
    struct stat st;
    int result = detach_dead(path);

    if (result == 0 && wait_until_free(path) < 0) {
        log_error("a queuefs is mounted on %s already", path);
        return -EBUSY;
    }
    if (result == 0)
        result = detach_dead(path); /* what was waited for may have been killed */
    if (result < 0)
        return result;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        log_error("mount point %s: %s", path, strerror(ENOTDIR));
        return -ENOTDIR;
    }
    warn_unless_empty(path);
    return 0;
}
