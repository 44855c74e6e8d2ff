/*
 * alarmed CALL PATH N: the call N times, on names below PATH, while a timer signal comes every
 * 300 us, whose handler restarts nothing. Prints a line "NAME COUNT" for each outcome: "ok" or the
 * name of an errno. `once` instead of N: one call, one signal after 100 ms; then also "us TIME".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *path;
static int counts[256];

static void on_alarm(int number)
{
}

static int result_of(int rc)
{
    return rc < 0 ? errno : 0;
}

static int call_mkdir(void)
{
    int made = result_of(mkdir(path, 0700));

    if (made == 0)
        counts[result_of(rmdir(path))]++;
    return made;
}

static int call_stat(void)
{
    struct stat st;

    return result_of(stat(path, &st));
}

static int call_ls(void)
{
    DIR *dir = opendir(path);
    int error;

    if (!dir)
        return errno;
    do
        errno = 0;
    while (readdir(dir));
    error = errno;
    closedir(dir);
    return error;
}

static int call_fsync(void)
{
    int fd = open(path, O_WRONLY);
    int error;

    if (fd < 0)
        return errno;
    error = write(fd, "x\n", 2) == 2 ? result_of(fsync(fd)) : errno;
    counts[result_of(close(fd))]++;
    return error;
}

static int call_osync(void)
{
    int fd = open(path, O_WRONLY | O_SYNC);
    int error;

    if (fd < 0)
        return errno;
    error = result_of((int)write(fd, "x\n", 2));
    counts[result_of(close(fd))]++;
    return error;
}

static int call_touch(void)
{
    return result_of(utimensat(AT_FDCWD, path, NULL, 0));
}

static int call_truncate(void)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    return fd < 0 ? errno : result_of(close(fd));
}

static int call_chmod(void)
{
    static int n;

    return result_of(chmod(path, n++ % 2 ? 0600 : 0640));
}

static int call_read(void)
{
    char data[4096];
    int fd = open(path, O_RDONLY);
    int error;

    if (fd < 0)
        return errno;
    error = result_of((int)read(fd, data, sizeof(data)));
    counts[result_of(close(fd))]++;
    return error;
}

/* "FROM TO": there and back. */
static int call_rename(void)
{
    static char from[4096];
    const char *to = strchr(path, ' ') + 1;
    int error;

    snprintf(from, sizeof(from), "%.*s", (int)(to - 1 - path), path);
    error = result_of(rename(from, to));
    if (error == 0)
        counts[result_of(rename(to, from))]++;
    return error;
}

/* All that is listed in a directory. */
static int call_rm(void)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    if (!dir)
        return errno;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            counts[result_of(unlinkat(dirfd(dir), entry->d_name, 0))]++;
    closedir(dir);
    return 0;
}

static const struct {
    const char *name;
    int (*call)(void);
} calls[] = {{"mkdir", call_mkdir}, {"stat", call_stat},         {"ls", call_ls},
             {"fsync", call_fsync}, {"osync", call_osync},       {"touch", call_touch},
             {"chmod", call_chmod}, {"truncate", call_truncate}, {"read", call_read},
             {"rm", call_rm},       {"rename", call_rename}};

static long now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval timer = {{0, 300}, {0, 300}};
    int n = atoi(argv[3]);
    long begin_us;
    size_t i = 0;

    while (strcmp(calls[i].name, argv[1]) != 0)
        i++;
    if (strcmp(argv[3], "once") == 0) {
        n = 1;
        timer = (struct itimerval){{0, 0}, {0, 100000}};
    }
    path = argv[2];
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    begin_us = now_us();
    for (int k = 0; k < n; k++)
        counts[calls[i].call()]++;
    begin_us = now_us() - begin_us;
    memset(&timer, 0, sizeof(timer));
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int error = 0; error < 256; error++)
        if (counts[error])
            printf("%s %d\n", error ? strerrorname_np(error) : "ok", counts[error]);
    printf("us %ld\n", begin_us);
    return 0;
}
