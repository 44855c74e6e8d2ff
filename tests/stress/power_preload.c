/*
 * What a power cut may take away, for LD_PRELOAD: of each file below a directory, what its bytes
 * were before they were written to, until a sync of that file has made the new ones safe.
 *
 *   POWER_DIR   the directory, as an absolute path without symbolic links
 *   POWER_LOG   a directory for the notes: FILE.undo for each FILE that was written to, with % for
 *               the slashes in its name
 *   POWER_LIES  1: syncs are made but not believed, as on a disk that lies
 *
 * A note is three numbers of 64 bits (offset, length of the file before, length of the bytes that
 * follow) and the bytes that were there. What is written under O_SYNC or O_DSYNC is safe at once.
 * Whether the name of a new file is safe is not looked at.
 */
/* pwrite and pwrite64 are two functions here, whatever the build says. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *power_dir, *power_log;
static bool lies;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void power_read(void)
{
    power_log = getenv("POWER_LOG");
    power_dir = power_log ? getenv("POWER_DIR") : NULL;
    lies = getenv("POWER_LIES") != NULL;
}

/* The real function; dlsym() gives a data pointer, which ISO C does not turn into a function. */
static void real(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    memcpy(function, &found, sizeof(found));
}

/* Open the notes on the file, whose name goes to `link`. -1: it is none of ours. */
static int notes_open(int fd, int flags, char link[64])
{
    char path[PATH_MAX], notes[PATH_MAX + 8];
    size_t len = power_dir ? strlen(power_dir) : 0;
    ssize_t n;

    if (!power_dir)
        return -1;
    snprintf(link, 64, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n <= (ssize_t)len || memcmp(path, power_dir, len) != 0 || path[len] != '/')
        return -1;
    path[n] = '\0';
    for (char *at = path + len + 1; *at; at++)
        *at = *at == '/' ? '%' : *at;
    snprintf(notes, sizeof(notes), "%s/%s.undo", power_log, path + len + 1);
    return open(notes, flags | O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void note_write(int notes, const void *data, size_t len)
{
    ssize_t (*next)(int, const void *, size_t);

    real(&next, "write");
    if (next(notes, data, len) != (ssize_t)len)
        abort();
}

/* `len` bytes from `at` on are about to change. They are read through an open of our own, as the
 * other may be for writing only. */
static void note(int fd, off_t at, size_t len)
{
    bool safe = !lies && fcntl(fd, F_GETFL) & O_DSYNC;
    char link[64];
    int notes = safe ? -1 : notes_open(fd, 0, link), reading;
    uint64_t head[3] = {(uint64_t)at};
    struct stat st;
    uint8_t *old;
    ssize_t n;

    if (notes < 0)
        return;
    old = malloc(len + 1);
    reading = open(link, O_RDONLY | O_CLOEXEC);
    if (!old || reading < 0 || fstat(fd, &st) < 0)
        abort();
    n = pread(reading, old, len, at);
    close(reading);
    head[1] = (uint64_t)st.st_size;
    head[2] = n > 0 ? (uint64_t)n : 0;
    note_write(notes, head, sizeof(head));
    note_write(notes, old, head[2]);
    free(old);
    close(notes);
}

/* The file was synced: nothing of it can be lost any more. */
static void forget(int fd)
{
    char link[64];
    int notes = lies ? -1 : notes_open(fd, O_TRUNC, link);

    if (notes >= 0)
        close(notes);
}

static size_t total(const struct iovec *parts, int n)
{
    size_t len = 0;

    for (int i = 0; i < n; i++)
        len += parts[i].iov_len;
    return len;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    ssize_t (*next)(int, const void *, size_t, off_t), done;

    real(&next, "pwrite");
    pthread_mutex_lock(&lock);
    note(fd, at, len);
    done = next(fd, data, len, at);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    return pwrite(fd, data, len, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t), done;

    real(&next, "pwritev");
    pthread_mutex_lock(&lock);
    note(fd, at, total(parts, n));
    done = next(fd, parts, n, at);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off64_t at)
{
    return pwritev(fd, parts, n, at);
}

ssize_t write(int fd, const void *data, size_t len)
{
    ssize_t (*next)(int, const void *, size_t), done;

    real(&next, "write");
    pthread_mutex_lock(&lock);
    note(fd, lseek(fd, 0, SEEK_CUR), len);
    done = next(fd, data, len);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    ssize_t (*next)(int, const struct iovec *, int), done;

    real(&next, "writev");
    pthread_mutex_lock(&lock);
    note(fd, lseek(fd, 0, SEEK_CUR), total(parts, n));
    done = next(fd, parts, n);
    pthread_mutex_unlock(&lock);
    return done;
}

/* Only ever used to make a file larger. */
int ftruncate(int fd, off_t len)
{
    int (*next)(int, off_t), done;

    real(&next, "ftruncate");
    pthread_mutex_lock(&lock);
    note(fd, 0, 0);
    done = next(fd, len);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

static int sync_file(int fd, const char *name)
{
    int (*next)(int), done;

    real(&next, name);
    pthread_mutex_lock(&lock);
    done = next(fd);
    if (done == 0)
        forget(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

int fdatasync(int fd)
{
    return sync_file(fd, "fdatasync");
}

int fsync(int fd)
{
    return sync_file(fd, "fsync");
}
