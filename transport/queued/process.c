#include "transport/queued/process.h"

#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

/* So that nothing else becomes one of the standard descriptors. */
static void fill_standard_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

/* Batches are large buffers that come and go: keep their pages instead of faulting them in anew. */
static void tune_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_ARENA_MAX, 4);
}

/* A service, a mount on it and its first connections open some twenty. */
#define FILES_MIN 64

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int process_check(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_MIN)
        return 0;
    log_error("only %llu open files are allowed, at least %d are needed: raise the hard limit "
              "(ulimit -n, systemd's LimitNOFILE=)",
              (unsigned long long)limit.rlim_cur, FILES_MIN);
    return -EMFILE;
}

void process_init(void)
{
    fill_standard_fds();
    tune_memory();
    raise_file_limit();
    signal(SIGPIPE, SIG_IGN);
}
