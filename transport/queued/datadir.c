#include "transport/queued/datadir.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRY_US 20000

/* Not in <linux/magic.h> of every release. */
#define SMB2_MAGIC 0xFE534D42
#define CIFS_MAGIC 0xFF534D42

static char *join(const char *a, const char *b, const char *c)
{
    char *path;

    return asprintf(&path, "%s/%s%s", a, b, c) < 0 ? NULL : path;
}

static const char *home_dir(void)
{
    const char *home = getenv("HOME");
    struct passwd *user;

    if (home && home[0] == '/')
        return home;
    user = getpwuid(getuid());
    return user ? user->pw_dir : NULL;
}

char *datadir_choose(const char *given, const char *stored, const char *program)
{
    const char *state = getenv("STATE_DIRECTORY");
    const char *xdg = getenv("XDG_DATA_HOME");
    const char *home;

    if (given || stored)
        return strdup(given ? given : stored);
    if (state && state[0] == '/')
        return strndup(state, strcspn(state, ":"));
    if (xdg && xdg[0] == '/')
        return join(xdg, program, "");
    if (geteuid() == 0)
        return join("/var/lib", program, "");
    home = home_dir();
    if (!home) {
        log_error("no home directory to keep data in; give --data");
        return NULL;
    }
    return join(home, ".local/share/", program);
}

bool path_is_within(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    while (len > 0 && dir[len - 1] == '/')
        len--;
    return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

bool filesystem_unfit(uint64_t type)
{
    static const uint32_t unfit[] = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, SMB2_MAGIC, CIFS_MAGIC,
                                     FUSE_SUPER_MAGIC};

    for (size_t i = 0; i < sizeof(unfit) / sizeof(unfit[0]); i++) {
        if ((uint32_t)type == unfit[i])
            return true;
    }
    return false;
}

/* The directory and what is missing above it. `path` is cut and mended on the way. */
static int make_dirs(char *path)
{
    for (char *at = path + 1;; at++) {
        char cut = *at;

        if (cut != '/' && cut != '\0')
            continue;
        *at = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            log_error("cannot make the data directory %s: %s", path, strerror(errno));
            return -errno;
        }
        *at = cut;
        if (cut == '\0')
            return 0;
    }
}

static int check_place(const char *path, const char *mountpoint)
{
    if (!mountpoint || !path_is_within(path, mountpoint))
        return 0;
    log_error("the data directory %s is below the mount point %s", path, mountpoint);
    return -EINVAL;
}

static int check_filesystem(const char *path)
{
    struct statfs fs;

    if (statfs(path, &fs) < 0) {
        log_error("data directory %s: %s", path, strerror(errno));
        return -errno;
    }
    if (filesystem_unfit((uint64_t)fs.f_type)) {
        log_error("the data directory %s is on a network file system or on FUSE, which a store "
                  "cannot trust; give --data",
                  path);
        return -EINVAL;
    }
    return 0;
}

/* Whether this process is of the group; true where that can't be found out. */
static bool is_own_group(gid_t group)
{
    int n = getgroups(0, NULL);
    gid_t *groups = n > 0 ? calloc((size_t)n, sizeof(*groups)) : NULL;
    bool own = group == getegid();

    if (groups)
        n = getgroups(n, groups);
    for (int i = 0; groups && i < n && !own; i++)
        own = groups[i] == group;
    free(groups);
    return own;
}

/* Whoever may write to a store can forge what is in it. */
static int check_owner(const char *what, const char *path)
{
    struct stat stat_now;

    if (stat(path, &stat_now) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (stat_now.st_uid != geteuid() && stat_now.st_uid != 0) {
        log_error("the %s %s belongs to another user (%u), who may change what is stored: "
                  "chown it to the user of this program (%u)",
                  what, path, (unsigned)stat_now.st_uid, (unsigned)geteuid());
        return -EPERM;
    }
    if (stat_now.st_mode & S_IWOTH ||
        (stat_now.st_mode & S_IWGRP && !is_own_group(stat_now.st_gid))) {
        log_error("others may write to the %s %s (mode %04o, group %u): chmod go-w %s", what, path,
                  (unsigned)stat_now.st_mode & 07777, (unsigned)stat_now.st_gid, path);
        return -EPERM;
    }
    return 0;
}

static int check_owners(const char *path)
{
    char *file = join(path, "log", "");
    int result = file ? check_owner("data directory", path) : -ENOMEM;

    if (result == 0)
        result = check_owner("store", file);
    free(file);
    return result;
}

/* Cut the next line off *text. */
static const char *next_line(char **text)
{
    char *line = strsep(text, "\n");

    return line ? line : "";
}

/* What whoever cannot have it may do in its place. */
static void log_in_use(const struct datadir *datadir, const char *import)
{
    char buffer[PATH_MAX + 512], *text = buffer;
    ssize_t n = pread(datadir->lock_fd, buffer, sizeof(buffer) - 1, 0);
    const char *pid, *mountpoint, *address;

    buffer[n > 0 ? n : 0] = '\0';
    pid = next_line(&text);
    mountpoint = next_line(&text);
    address = next_line(&text);
    if (!*mountpoint && !*address)
        log_error("%s is in use by process %s, an import: wait until it has ended", datadir->path,
                  pid);
    else if (*mountpoint && import)
        log_error(
            "%s is in use by process %s, mounted on %s; `cat ITEMS >> %s/%s/in' does the same "
            "there",
            datadir->path, pid, mountpoint, mountpoint, import);
    else if (import)
        log_error("%s is in use by process %s, a queue service; `queuefs -s %s MOUNTPOINT', then "
                  "`cat ITEMS >> MOUNTPOINT/%s/in' does the same there",
                  datadir->path, pid, address, import);
    else if (*mountpoint)
        log_error("%s is in use by process %s, mounted on %s; to share its queues: "
                  "queuefs -s ipc://%s/queuefs.sock MOUNTPOINT",
                  datadir->path, pid, mountpoint, datadir->path);
    else
        log_error("%s is in use by process %s, a queue service; to use its queues: "
                  "queuefs -s %s MOUNTPOINT",
                  datadir->path, pid, address);
}

/* flock(2) has no timeout: try until it is over. */
static int take_lock(struct datadir *datadir, const char *import)
{
    const struct timespec pause = {.tv_nsec = LOCK_TRY_US * 1000};
    int64_t until_us = clock_system.mono_us(&clock_system) + DATADIR_WAIT_US;

    while (flock(datadir->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            log_error("cannot lock %s/lock: %s", datadir->path, strerror(errno));
            return -errno;
        }
        if (clock_system.mono_us(&clock_system) >= until_us) {
            log_in_use(datadir, import);
            return -EBUSY;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* From the lock file others read who has it: "PID\nMOUNTPOINT\nADDRESS\n". */
static int lock(struct datadir *datadir, const char *mountpoint, const char *address,
                const char *import)
{
    char *path = join(datadir->path, "lock", "");
    int result;

    if (!path)
        return -ENOMEM;
    datadir->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    result = datadir->lock_fd < 0 ? -errno : 0;
    if (result < 0)
        log_error("cannot open %s: %s", path, strerror(-result));
    else
        result = take_lock(datadir, import);
    free(path);
    if (result < 0)
        return result;
    if (ftruncate(datadir->lock_fd, 0) < 0 ||
        dprintf(datadir->lock_fd, "%d\n%s\n%s\n", (int)getpid(), mountpoint ? mountpoint : "",
                address ? address : "") < 0) {
        log_error("cannot write %s/lock: %s", datadir->path, strerror(errno));
        return -errno;
    }
    return 0;
}

static int open_for(struct datadir *datadir, const char *path, const char *mountpoint,
                    const char *address, const char *import)
{
    int result = check_place(path, mountpoint); /* before it is made; and again without symlinks */
    char *copy;

    *datadir = (struct datadir){.lock_fd = -1};
    if (result < 0)
        return result;
    copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    result = make_dirs(copy);
    free(copy);
    if (result < 0)
        return result;
    datadir->path = realpath(path, NULL);
    if (!datadir->path) {
        log_error("data directory %s: %s", path, strerror(errno));
        return -errno;
    }
    result = check_place(datadir->path, mountpoint);
    if (result == 0)
        result = check_filesystem(datadir->path);
    if (result == 0)
        result = check_owners(datadir->path);
    return result < 0 ? result : lock(datadir, mountpoint, address, import);
}

int datadir_open(struct datadir *datadir, const char *path, const char *mountpoint,
                 const char *address)
{
    if (!mountpoint && !address)
        address = "ADDRESS";
    return open_for(datadir, path, mountpoint, address, NULL);
}

int datadir_open_import(struct datadir *datadir, const char *path, const char *queue)
{
    return open_for(datadir, path, NULL, NULL, queue);
}

void datadir_close(struct datadir *datadir)
{
    if (datadir->lock_fd >= 0)
        close(datadir->lock_fd);
    free(datadir->path);
    *datadir = (struct datadir){.lock_fd = -1};
}
