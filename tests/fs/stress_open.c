/*
 * Opens, writes to and closes one file over and over, from 8 threads or 8 processes at once, and
 * counts what fails, by errno. Of a mount's `in` nothing may: ESTALE is between kernel and mount.
 *
 *     stress_open PATH ROUNDS threads|processes
 *
 * Each write is one line, "WRITER-ROUND". Status 0: nothing failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_WRITERS 8
#define N_ERRNOS  256

static const char *path;
static int n_rounds;
static atomic_int failures[N_ERRNOS];

static void count(int error)
{
    failures[error >= 0 && error < N_ERRNOS ? error : 0]++;
}

static void write_once(long writer, int round)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "%ld-%d\n", writer, round);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

    if (fd < 0) {
        count(errno);
        return;
    }
    if (write(fd, line, (size_t)len) != len)
        count(errno);
    if (close(fd) < 0)
        count(errno);
}

static void *run(void *arg)
{
    for (int i = 0; i < n_rounds; i++)
        write_once((long)arg, i);
    return NULL;
}

static int report(void)
{
    int status = 0;

    for (int i = 0; i < N_ERRNOS; i++) {
        if (failures[i] == 0)
            continue;
        printf("%s: %d times\n", strerror(i), failures[i]);
        status = 1;
    }
    return status;
}

static int run_threads(void)
{
    pthread_t threads[N_WRITERS];

    for (long i = 0; i < N_WRITERS; i++) {
        if (pthread_create(&threads[i], NULL, run, (void *)i) != 0)
            return 2;
    }
    for (int i = 0; i < N_WRITERS; i++)
        pthread_join(threads[i], NULL);
    return report();
}

static int run_processes(void)
{
    int status, result = 0;

    for (long i = 0; i < N_WRITERS; i++) {
        if (fork() == 0) {
            run((void *)i);
            exit(report());
        }
    }
    while (wait(&status) > 0)
        result |= status != 0;
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: stress_open PATH ROUNDS threads|processes\n", stderr);
        return 2;
    }
    path = argv[1];
    n_rounds = atoi(argv[2]);
    return strcmp(argv[3], "threads") == 0 ? run_threads() : run_processes();
}
