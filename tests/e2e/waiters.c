/*
 * Many reads that wait: PROCESSES times THREADS opens of FILE, each with a read in it. Prints
 * "ready" when all are about to read. Then, for each line on stdin: a signal's number sends it to
 * half of the processes that are left and prints how many milliseconds it took until they were
 * gone; "wait" waits for all reads to end and prints "errno N count N" for each result.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 1000
#define THREADS_MAX   1000
#define ERRNO_MAX     200

static pid_t children[PROCESSES_MAX];
static int n_children;
static int ready_pipe[2], result_pipe[2];
static const char *path;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void *wait_for_item(void *arg)
{
    (void)arg;
    char buffer[64];
    unsigned char result;
    int fd = open(path, O_RDONLY);

    if (fd < 0)
        die(path);
    if (write(ready_pipe[1], "r", 1) != 1)
        die("write");
    result = read(fd, buffer, sizeof(buffer)) < 0 ? (unsigned char)errno : 0;
    if (write(result_pipe[1], &result, 1) != 1)
        die("write");
    close(fd);
    return NULL;
}

static void run_threads(int n_threads)
{
    pthread_t threads[THREADS_MAX];
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 << 10);
    for (int i = 0; i < n_threads; i++)
        if (pthread_create(&threads[i], &attr, wait_for_item, NULL))
            die("pthread_create");
    for (int i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    exit(0);
}

static void signal_half(int number)
{
    int n = n_children - n_children / 2;
    double begin = now_ms();

    for (int i = 0; i < n; i++)
        kill(children[n_children - 1 - i], number);
    for (int i = 0; i < n; i++)
        waitpid(children[n_children - 1 - i], NULL, 0);
    n_children -= n;
    printf("%d gone in %.1f ms\n", n, now_ms() - begin);
}

static void wait_for_all(int n_threads)
{
    int counts[ERRNO_MAX] = {0};
    unsigned char result;
    double begin = now_ms();

    for (int i = 0; i < n_children * n_threads; i++) {
        if (read(result_pipe[0], &result, 1) != 1 || result >= ERRNO_MAX)
            die("read");
        counts[result]++;
    }
    for (int i = 0; i < ERRNO_MAX; i++)
        if (counts[i])
            printf("errno %d count %d\n", i, counts[i]);
    printf("all ended in %.1f ms\n", now_ms() - begin);
}

int main(int argc, char **argv)
{
    char line[32], byte;
    struct rlimit files = {2000, 2000};

    if (argc != 4)
        return 2;
    int n_processes = atoi(argv[1]), n_threads = atoi(argv[2]);
    path = argv[3];
    if (n_processes > PROCESSES_MAX || n_threads > THREADS_MAX)
        return 2;
    setrlimit(RLIMIT_NOFILE, &files);
    if (pipe(ready_pipe) || pipe(result_pipe))
        die("pipe");
    for (n_children = 0; n_children < n_processes; n_children++) {
        children[n_children] = fork();
        if (children[n_children] < 0)
            die("fork");
        if (!children[n_children])
            run_threads(n_threads);
    }
    for (int i = 0; i < n_processes * n_threads; i++)
        if (read(ready_pipe[0], &byte, 1) != 1)
            die("read");
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        if (!strncmp(line, "wait", 4))
            wait_for_all(n_threads);
        else
            signal_half(atoi(line));
        fflush(stdout);
    }
    for (int i = 0; i < n_children; i++)
        kill(children[i], SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}
