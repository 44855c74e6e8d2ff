#include "fs/pending.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The lines of signals are within the first 1,500 bytes, but for long lists of groups. */
#define STATUS_MAX 8192

#define BIT(number) (UINT64_C(1) << ((number)-1))

#define STOPS   (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))
#define NOTHING (BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH))

/* The number of a line "\nNAME:\tNUMBER". False: there is none. */
static bool find(const char *status, const char *name, int base, uint64_t *number)
{
    const char *line = strstr(status, name);
    char *end;

    if (!line)
        return false;
    line += strlen(name);
    *number = strtoull(line, &end, base);
    return end != line;
}

enum pending pending_in(const char *status)
{
    uint64_t tracer, own, shared, blocked, ignored, caught, pending;

    if (!find(status, "\nTracerPid:", 10, &tracer) || !find(status, "\nSigPnd:", 16, &own) ||
        !find(status, "\nShdPnd:", 16, &shared) || !find(status, "\nSigBlk:", 16, &blocked) ||
        !find(status, "\nSigIgn:", 16, &ignored) || !find(status, "\nSigCgt:", 16, &caught))
        return PENDING_HANDLED;
    /* One that is on its way out has no memory any more, and its files are being closed. */
    if ((own | shared) & BIT(SIGKILL) || !strstr(status, "\nVmSize:"))
        return PENDING_END;
    pending = (own | shared) & ~blocked;
    /* Of one that is traced the tracer decides, and may drop it. */
    if (!tracer && (pending & ~(caught | ignored | STOPS | NOTHING)))
        return PENDING_END;
    return pending & caught ? PENDING_HANDLED : PENDING_STOP;
}

enum pending pending_of(pid_t tid)
{
    char path[sizeof("/proc//status") + 3 * sizeof(tid)];
    char status[STATUS_MAX + 1];
    size_t len = 0;
    ssize_t n = 1;
    int fd;

    if (tid <= 0)
        return PENDING_HANDLED;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return PENDING_HANDLED;
    while (n > 0 && len < STATUS_MAX) {
        n = read(fd, status + len, STATUS_MAX - len);
        len += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    status[len] = '\0';
    return pending_in(status);
}
