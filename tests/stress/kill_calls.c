/* pwrite and pwrite64 are two functions here, whatever the build says. */
#undef _FILE_OFFSET_BITS

#include "tests/stress/kill_calls.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/cond.h"
#include "tests/stress/kill_power.h"

#define FASTER 500 /* time */
#define NS     UINT64_C(1000000000)

const char *const kill_phase_names[] = {
    [PHASE_START] = "start",   [PHASE_REBUILD] = "rebuild", [PHASE_COMMIT] = "commit",
    [PHASE_CLEAN] = "clean",   [PHASE_BACKUP] = "backup",   [PHASE_CLOSE] = "close",
    [PHASE_AHEAD] = "in time",
};
const char *const kill_call_names[] = {
    [CALL_CREATE] = "create", [CALL_ALLOCATE] = "allocate", [CALL_WRITE] = "write",
    [CALL_SYNC] = "sync",     [CALL_RENAME] = "rename",     [CALL_TRUNCATE] = "truncate",
    [CALL_UNLINK] = "unlink", [CALL_MKDIR] = "mkdir",
};
const char *const kill_file_names[] = {
    [FILE_SEGMENT] = "segment", [FILE_SPARE] = "spare", [FILE_INDEX] = "index",
    [FILE_COPY] = "copy",       [FILE_OTHER] = "other",
};

const char *const kill_how_names[] = {
    [KILL_BEFORE] = "before",
    [KILL_MIDST] = "in",
    [KILL_POWER] = "power cut at",
};

static struct {
    const char *store, *copy; /* NULL: nothing is watched */
    struct kill_point point;
    struct kill_note *note;
    pthread_t thread;
} watched;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static _Atomic enum kill_phase phase;

void kill_watch(const char *store, const char *copy, const struct kill_point *point,
                struct kill_note *note)
{
    watched.point = *point;
    watched.note = note;
    watched.thread = pthread_self();
    watched.copy = copy;
    watched.store = store;
}

void kill_in(enum kill_phase now)
{
    atomic_store(&phase, now);
}

/* ---- which file ---- */

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool ends_with(const char *path, const char *end)
{
    size_t len = strlen(path), end_len = strlen(end);

    return len >= end_len && strcmp(path + len - end_len, end) == 0;
}

/* FILES: it is none of ours. */
static enum kill_file file_of(const char *path)
{
    if (is_below(path, watched.copy))
        return FILE_COPY;
    if (!is_below(path, watched.store))
        return FILES;
    if (is_below(path + strlen(watched.store), "/index"))
        return FILE_INDEX;
    return ends_with(path, ".log")     ? FILE_SEGMENT
           : ends_with(path, ".spare") ? FILE_SPARE
                                       : FILE_OTHER;
}

static void path_of_fd(int fd, char path[PATH_MAX])
{
    char link[64];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = '\0';
}

static enum kill_file file_at(int dir_fd, const char *name)
{
    char path[PATH_MAX] = "";
    size_t len = 0;

    if (name[0] != '/') {
        path_of_fd(dir_fd, path);
        len = strlen(path);
    }
    snprintf(path + len, sizeof(path) - len, "%s%s", len > 0 ? "/" : "", name);
    return file_of(path);
}

static enum kill_file file_of_fd(int fd)
{
    char path[PATH_MAX];

    path_of_fd(fd, path);
    return file_of(path);
}

/* ---- the end ---- */

static void end(void)
{
    watched.note->struck = true;
    if (watched.point.how == KILL_POWER)
        power_cut(watched.point.nth);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

/* The call is the one; before it is made where that is the end. */
static bool is_due(enum kill_call call, enum kill_file file)
{
    const struct kill_point *point = &watched.point;
    enum kill_phase now;
    uint64_t n;

    if (file == FILES)
        return false;
    now = pthread_equal(watched.thread, pthread_self()) ? atomic_load(&phase) : PHASE_AHEAD;
    pthread_mutex_lock(&counting);
    n = ++watched.note->n[now][call][file];
    pthread_mutex_unlock(&counting);
    if (n != point->nth || now != point->phase || call != point->call || file != point->file)
        return false;
    if (point->how == KILL_BEFORE || (point->how == KILL_POWER && call != CALL_WRITE))
        end();
    return true;
}

static long ended(bool due, long result)
{
    if (due)
        end();
    return result;
}

static bool fd_due(enum kill_call call, int fd)
{
    return watched.store && is_due(call, file_of_fd(fd));
}

static bool name_due(enum kill_call call, int dir_fd, const char *name)
{
    return watched.store && is_due(call, file_at(dir_fd, name));
}

/* ---- the calls ---- */

static bool is_half(void)
{
    return watched.point.how == KILL_MIDST;
}

static bool write_due(int fd, off_t at, size_t len)
{
    enum kill_file file = watched.store ? file_of_fd(fd) : FILES;

    if (file != FILES && watched.point.how == KILL_POWER)
        power_note(fd, at, len);
    return is_due(CALL_WRITE, file);
}

static int synced(int fd, bool due, long rc)
{
    if (rc == 0 && watched.store && watched.point.how == KILL_POWER && !watched.point.lies)
        power_forget(fd);
    return (int)ended(due, rc);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    bool due = write_due(fd, at, len);

    return ended(due, syscall(SYS_pwrite64, fd, data, due && is_half() ? len / 2 : len, at));
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    return pwrite(fd, data, len, at);
}

ssize_t write(int fd, const void *data, size_t len)
{
    bool due = write_due(fd, lseek(fd, 0, SEEK_CUR), len);

    return ended(due, syscall(SYS_write, fd, data, due && is_half() ? len / 2 : len));
}

static size_t total(const struct iovec *parts, int n)
{
    size_t len = 0;

    for (int i = 0; i < n; i++)
        len += parts[i].iov_len;
    return len;
}

/* The first half of all their bytes. */
static void write_half(int fd, const struct iovec *parts, int n, off_t at)
{
    size_t left = total(parts, n) / 2;

    for (int i = 0; i < n && left > 0; i++) {
        size_t len = parts[i].iov_len < left ? parts[i].iov_len : left;

        syscall(SYS_pwrite64, fd, parts[i].iov_base, len, at);
        at += (off_t)len;
        left -= len;
    }
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
    bool due = write_due(fd, at, total(parts, n));

    if (due && is_half()) {
        write_half(fd, parts, n, at);
        end();
    }
    return ended(due, syscall(SYS_pwritev, fd, parts, n, at, 0));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t at)
{
    return pwritev(fd, parts, n, at);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    bool due = write_due(fd, at, total(parts, n));

    if (due && is_half()) {
        write_half(fd, parts, n, at);
        end();
    }
    return ended(due, syscall(SYS_writev, fd, parts, n));
}

int fdatasync(int fd)
{
    bool due = fd_due(CALL_SYNC, fd);

    return synced(fd, due, syscall(SYS_fdatasync, fd));
}

int fsync(int fd)
{
    bool due = fd_due(CALL_SYNC, fd);

    return synced(fd, due, syscall(SYS_fsync, fd));
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    bool due = fd_due(CALL_ALLOCATE, fd);

    return (int)ended(due, syscall(SYS_fallocate, fd, mode, at, len));
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    return fallocate(fd, mode, at, len);
}

int ftruncate(int fd, off_t len)
{
    bool due = fd_due(CALL_TRUNCATE, fd);

    return (int)ended(due, syscall(SYS_ftruncate, fd, len));
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int renameat(int fd, const char *name, int to_fd, const char *to)
{
    bool due = name_due(CALL_RENAME, fd, name);

    return (int)ended(due, syscall(SYS_renameat2, fd, name, to_fd, to, 0));
}

int renameat2(int fd, const char *name, int to_fd, const char *to, unsigned int flags)
{
    bool due = name_due(CALL_RENAME, fd, name);

    return (int)ended(due, syscall(SYS_renameat2, fd, name, to_fd, to, flags));
}

int rename(const char *name, const char *to)
{
    return renameat(AT_FDCWD, name, AT_FDCWD, to);
}

int unlinkat(int fd, const char *name, int flags)
{
    bool due = name_due(CALL_UNLINK, fd, name);

    return (int)ended(due, syscall(SYS_unlinkat, fd, name, flags));
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int mkdirat(int fd, const char *name, mode_t mode)
{
    bool due = name_due(CALL_MKDIR, fd, name);

    return (int)ended(due, syscall(SYS_mkdirat, fd, name, mode));
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

static int open_it(int fd, const char *name, int flags, mode_t mode)
{
    bool due = flags & O_CREAT && name_due(CALL_CREATE, fd, name);

    return (int)ended(due, syscall(SYS_openat, fd, name, flags, mode));
}

/* Of the arguments behind `flags`, where there are any. */
#define OPEN(fd, name, flags)                                                                      \
    va_list args;                                                                                  \
    mode_t mode = 0;                                                                               \
    va_start(args, flags);                                                                         \
    if ((flags) & (O_CREAT | O_TMPFILE))                                                           \
        mode = va_arg(args, mode_t);                                                               \
    va_end(args);                                                                                  \
    return open_it(fd, name, flags, mode)

int open(const char *name, int flags, ...)
{
    OPEN(AT_FDCWD, name, flags);
}

int open64(const char *name, int flags, ...)
{
    OPEN(AT_FDCWD, name, flags);
}

int openat(int fd, const char *name, int flags, ...)
{
    OPEN(fd, name, flags);
}

int openat64(int fd, const char *name, int flags, ...)
{
    OPEN(fd, name, flags);
}

/* ---- time ---- */

bool __real_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us);
bool __wrap_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us);

int clock_gettime(clockid_t id, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, id, now);
    uint64_t fast_ns;

    if (rc < 0 || id != CLOCK_MONOTONIC)
        return rc;
    fast_ns = FASTER * ((uint64_t)now->tv_sec * NS + (uint64_t)now->tv_nsec);
    now->tv_sec = (time_t)(fast_ns / NS);
    now->tv_nsec = (long)(fast_ns % NS);
    return 0;
}

bool __wrap_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us)
{
    return __real_cond_wait_until(cond, lock,
                                  until_us == TIME_FOREVER ? until_us : until_us / FASTER + 1);
}
