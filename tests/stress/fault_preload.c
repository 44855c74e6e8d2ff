/*
 * A disk that fails at a given moment, for LD_PRELOAD: the n-th call of one kind on files below a
 * directory fails with an errno, and nothing of it is done.
 *
 *   FAULT=CALL:N:ERRNO[:COUNT]  CALL is pwrite, write, writev (pwritev too), name (renameat,
 * unlinkat), sync (fdatasync, fsync, msync), truncate or allocate (fallocate); ERRNO is EIO or
 * ENOSPC, or KILL: SIGKILL ends the process there, or SHORT: of a write half is done; COUNT calls
 * fail, one if not given, 0: every one from the N-th on
 *   FAULT_DIR   the directory, as an absolute path without symbolic links
 *   FAULT_LOG   a file to which `CALL N` is appended for each call that was failed
 *
 * Calls are counted over all threads. Without FAULT nothing fails.
 */
/* pwrite and pwrite64 are two functions here, whatever the build says. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
    char call[16];
    unsigned long first, count;
    int error; /* 0: kill */
    bool is_short;
    const char *dir, *log;
} fault;

static atomic_ulong n_calls;

__attribute__((constructor)) static void fault_read(void)
{
    const char *text = getenv("FAULT");
    char name[16] = "";
    int n;

    fault.count = 1;
    fault.dir = getenv("FAULT_DIR");
    fault.log = getenv("FAULT_LOG");
    if (!text || !fault.dir)
        return;
    n = sscanf(text, "%15[a-z]:%lu:%15[A-Z]:%lu", fault.call, &fault.first, name, &fault.count);
    fault.error = strcmp(name, "ENOSPC") == 0 ? ENOSPC : EIO;
    if (strcmp(name, "KILL") == 0)
        fault.error = 0;
    fault.is_short = strcmp(name, "SHORT") == 0;
    if (n < 3)
        fault.call[0] = '\0';
}

/* The real function; dlsym() gives a data pointer, which ISO C does not turn into a function. */
static void real(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    memcpy(function, &found, sizeof(found));
}

static bool is_below(int fd)
{
    char link[64], path[PATH_MAX];
    size_t len = strlen(fault.dir);
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    return n > (ssize_t)len && memcmp(path, fault.dir, len) == 0 && path[len] == '/';
}

static void tell(unsigned long n)
{
    char line[64];
    int fd = fault.log ? (int)syscall(SYS_openat, AT_FDCWD, fault.log,
                                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)
                       : -1;

    if (fd < 0)
        return;
    syscall(SYS_write, fd, line, (size_t)snprintf(line, sizeof(line), "%s %lu\n", fault.call, n));
    close(fd);
}

static bool is_due(const char *call)
{
    unsigned long n;

    if (strcmp(call, fault.call) != 0)
        return false;
    n = atomic_fetch_add(&n_calls, 1) + 1;
    if (n < fault.first || (fault.count > 0 && n >= fault.first + fault.count))
        return false;
    tell(n);
    if (!fault.error)
        raise(SIGKILL);
    errno = fault.error;
    return true;
}

static bool fails(const char *call, int fd)
{
    int saved = errno;
    bool due = fault.call[0] && is_below(fd) && is_due(call);

    if (!due)
        errno = saved;
    return due;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    ssize_t (*next)(int, const void *, size_t, off_t);

    real(&next, "pwrite");
    if (fails("pwrite", fd))
        return fault.is_short ? next(fd, data, len / 2, at) : -1;
    return next(fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    return pwrite(fd, data, len, at);
}

ssize_t write(int fd, const void *data, size_t len)
{
    ssize_t (*next)(int, const void *, size_t);

    real(&next, "write");
    if (fails("write", fd))
        return fault.is_short ? next(fd, data, len / 2) : -1;
    return next(fd, data, len);
}

/* Half of the last part is left out. */
static struct iovec *shortened(const struct iovec *parts, int n)
{
    static _Thread_local struct iovec some[IOV_MAX];

    memcpy(some, parts, (size_t)n * sizeof(*parts));
    some[n - 1].iov_len /= 2;
    return some;
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    ssize_t (*next)(int, const struct iovec *, int);

    real(&next, "writev");
    if (fails("writev", fd))
        return fault.is_short ? next(fd, shortened(parts, n), n) : -1;
    return next(fd, parts, n);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t);

    real(&next, "pwritev");
    if (fails("writev", fd))
        return fault.is_short ? next(fd, shortened(parts, n), n, at) : -1;
    return next(fd, parts, n, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t at)
{
    return pwritev(fd, parts, n, at);
}

/* Of names in the directory that `fd` is. */
int renameat(int fd, const char *name, int to_fd, const char *to)
{
    int (*next)(int, const char *, int, const char *);

    if (fails("name", fd))
        return -1;
    real(&next, "renameat");
    return next(fd, name, to_fd, to);
}

int unlinkat(int fd, const char *name, int flags)
{
    int (*next)(int, const char *, int);

    if (fails("name", fd))
        return -1;
    real(&next, "unlinkat");
    return next(fd, name, flags);
}

int fdatasync(int fd)
{
    int (*next)(int);

    if (fails("sync", fd))
        return -1;
    real(&next, "fdatasync");
    return next(fd);
}

int fsync(int fd)
{
    int (*next)(int);

    if (fails("sync", fd))
        return -1;
    real(&next, "fsync");
    return next(fd);
}

/* Which file a mapping is of is not asked: only the store maps files that it writes back. */
int msync(void *at, size_t len, int flags)
{
    int (*next)(void *, size_t, int);

    if (fault.call[0] && is_due("sync"))
        return -1;
    real(&next, "msync");
    return next(at, len, flags);
}

int ftruncate(int fd, off_t len)
{
    int (*next)(int, off_t);

    if (fails("truncate", fd))
        return -1;
    real(&next, "ftruncate");
    return next(fd, len);
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    int (*next)(int, int, off_t, off_t);

    if (fails("allocate", fd))
        return -1;
    real(&next, "fallocate");
    return next(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    return fallocate(fd, mode, at, len);
}
