/*
 * A page of the index's map that cannot be read: the file was cut short while it was open, or the
 * disk failed. The kernel tells by SIGBUS, in the midst of LMDB; there is no going on from there.
 * So the process ends as after any store that fails, with a line that says so: the next start makes
 * the index anew from the log.
 *
 * Signals of other addresses are as if nobody looked: what was there before is put back.
 */
#include "core/store/index.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/log.h"

static const int signals[] = {SIGBUS, SIGSEGV};
#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct sigaction before[N_SIGNALS];

/* The index that is watched, with its map; one a process. */
static struct {
    const char *dir;
    uintptr_t begin, end;
} map;
static atomic_int watched = -1; /* its descriptor */

/* Where the file is mapped: LMDB does not say. */
static bool find_map(int fd)
{
    unsigned int major_dev, minor_dev;
    uintptr_t begin, end;
    struct stat file;
    char line[512];
    unsigned long inode;
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");

    if (!maps)
        return false;
    while (fstat(fd, &file) == 0 && !found && fgets(line, sizeof(line), maps)) {
        found = sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %x:%x %lu", &begin, &end,
                       &major_dev, &minor_dev, &inode) == 5 &&
                inode == file.st_ino && makedev(major_dev, minor_dev) == file.st_dev;
    }
    fclose(maps);
    if (found) {
        map.begin = begin;
        map.end = end;
    }
    return found;
}

/* The thread was reading the map: it holds no lock of the log. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;

    if (atomic_load(&watched) >= 0 && at >= map.begin && at < map.end) {
        log_error(
            "%s cannot be read: it was cut short, or its disk has failed. Ending; the next start "
            "makes it anew from the log",
            map.dir);
        _exit(1);
    }
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}

void index_fault_watch(int fd, const char *dir)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    if (atomic_load(&watched) >= 0 || !find_map(fd))
        return;
    map.dir = dir;
    atomic_store(&watched, fd);
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &action, &before[i]);
}

void index_fault_unwatch(int fd)
{
    int ours = fd;

    if (!atomic_compare_exchange_strong(&watched, &ours, -1))
        return;
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}
