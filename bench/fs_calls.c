/*
 * Makes system calls on a mounted queue, or a plain file, and prints what they take, one line
 * `name: value` each. One thing a run; times are of the monotonic clock.
 *
 *     fs_calls write FILE N [THREADS]     keep FILE open, one 100-byte line a write; N in all
 *     fs_calls open FILE N                open, write one line, close, N times
 *     fs_calls read FILE SIZE N           keep FILE open, N reads of SIZE bytes
 *     fs_calls put FILE N                 one line a write, each with fdatasync
 *     fs_calls put-dsync FILE N           the same with O_DSYNC, one call instead of two
 *     fs_calls over FILE N                one line a pwrite, each with fdatasync, into a plain file
 *     fs_calls over-dsync FILE N          that has its blocks: no size, no block changes
 *     fs_calls over-rested FILE N         as over, each after the pause that wake has
 *     fs_calls claim QUEUE N THREADS      claim, read, remove; N jobs in all
 *     fs_calls wake QUEUE NAME N          how long after a write a reader of QUEUE/NAME has it
 *
 * write, open, read and claim print `ns` (of the whole time for each of the N) and `rate` (N a
 * second); the others quantiles of each one's own time in microseconds.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ITEM_BYTES  100
#define THREADS_MAX 64
#define ID_DIGITS   16
#define READ_MAX    (1 << 20)

/* Between two wake-ups: the reader has gone back to waiting by then. */
#define PAUSE_NS 2000000

struct worker {
    pthread_t thread;
    const char *path;
    size_t n;
    pthread_barrier_t *ready; /* before the clock starts */
};

static char line[ITEM_BYTES];

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t number(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);

    if (*end != '\0' || n == 0)
        errx(2, "%s: not a number above 0", text);
    return (size_t)n;
}

static int open_or_end(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0)
        err(1, "%s", path);
    return fd;
}

static void write_line(int fd)
{
    if (write(fd, line, sizeof(line)) != sizeof(line))
        err(1, "write");
}

static void print_rate(int64_t taken_ns, size_t n)
{
    printf("ns: %.0f\nrate: %.1f\n", (double)taken_ns / (double)n,
           (double)n * 1e9 / (double)taken_ns);
}

static int compare(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void print_quantiles(int64_t *times_ns, size_t n)
{
    static const struct {
        const char *name;
        double share;
    } wanted[] = {{"p10", .1}, {"p25", .25}, {"p50", .5},    {"p75", .75},
                  {"p90", .9}, {"p99", .99}, {"p99.9", .999}};

    qsort(times_ns, n, sizeof(*times_ns), compare);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        printf("%s: %.2f\n", wanted[i].name,
               (double)times_ns[(size_t)((double)(n - 1) * wanted[i].share)] / 1000);
    printf("max: %.2f\n", (double)times_ns[n - 1] / 1000);
}

static int64_t *new_times(size_t n)
{
    int64_t *times_ns = calloc(n, sizeof(*times_ns));

    if (!times_ns)
        err(1, "times");
    return times_ns;
}

/* n things done by some threads at once: from the moment all are ready. */
static int64_t run_workers(void *(*work)(void *), const char *path, size_t n, size_t n_threads)
{
    static struct worker workers[THREADS_MAX];
    pthread_barrier_t ready;
    int64_t begin_ns;

    if (n_threads > THREADS_MAX || n < n_threads)
        errx(2, "too many threads");
    pthread_barrier_init(&ready, NULL, (unsigned)n_threads + 1);
    for (size_t i = 0; i < n_threads; i++) {
        workers[i] = (struct worker){.path = path, .n = n / n_threads, .ready = &ready};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            errx(1, "cannot start a thread");
    }
    pthread_barrier_wait(&ready);
    begin_ns = now_ns();
    for (size_t i = 0; i < n_threads; i++)
        pthread_join(workers[i].thread, NULL);
    return now_ns() - begin_ns;
}

static void *write_lines(void *arg)
{
    struct worker *worker = arg;
    int fd = open_or_end(worker->path, O_WRONLY | O_APPEND);

    pthread_barrier_wait(worker->ready);
    for (size_t i = 0; i < worker->n; i++)
        write_line(fd);
    close(fd);
    return NULL;
}

static int do_write(char **args, int n_args)
{
    size_t n = number(args[1]), n_threads = n_args > 2 ? number(args[2]) : 1;

    print_rate(run_workers(write_lines, args[0], n, n_threads), n / n_threads * n_threads);
    return 0;
}

static int do_open(char **args, int n_args)
{
    size_t n = number(args[1]);
    int64_t begin_ns = now_ns();

    for (size_t i = 0; i < n; i++) {
        int fd = open_or_end(args[0], O_WRONLY | O_APPEND);

        write_line(fd);
        close(fd);
    }
    print_rate(now_ns() - begin_ns, n);
    return 0;
}

static int do_read(char **args, int n_args)
{
    static char buffer[READ_MAX];
    size_t size = number(args[1]), n = number(args[2]);
    int fd = open_or_end(args[0], O_RDONLY);
    int64_t begin_ns = now_ns();

    if (size > sizeof(buffer))
        errx(2, "a read of at most %zu bytes", sizeof(buffer));
    for (size_t i = 0; i < n; i++)
        if (read(fd, buffer, size) <= 0)
            errx(1, "%s ended after %zu reads", args[0], i);
    print_rate(now_ns() - begin_ns, n);
    close(fd);
    return 0;
}

/* Each of n items put by `call`, timed; before each there is a pause. */
static int time_each(int fd, size_t n, long pause_ns, void (*call)(int fd, size_t i))
{
    const struct timespec pause = {.tv_nsec = pause_ns};
    int64_t *times_ns = new_times(n);

    for (size_t i = 0; i < n; i++) {
        int64_t begin_ns;

        if (pause_ns > 0)
            nanosleep(&pause, NULL);
        begin_ns = now_ns();
        call(fd, i);
        times_ns[i] = now_ns() - begin_ns;
    }
    close(fd);
    print_quantiles(times_ns, n);
    free(times_ns);
    return 0;
}

static void sync_data(int fd)
{
    if (fdatasync(fd) < 0)
        err(1, "fdatasync");
}

static void append(int fd, size_t i)
{
    write_line(fd);
}

static void append_and_sync(int fd, size_t i)
{
    write_line(fd);
    sync_data(fd);
}

static void overwrite(int fd, size_t i)
{
    if (pwrite(fd, line, sizeof(line), (off_t)(i * sizeof(line))) != sizeof(line))
        err(1, "pwrite");
}

static void overwrite_and_sync(int fd, size_t i)
{
    overwrite(fd, i);
    sync_data(fd);
}

static int do_put(char **args, int n_args)
{
    return time_each(open_or_end(args[0], O_WRONLY | O_APPEND), number(args[1]), 0,
                     append_and_sync);
}

static int do_put_dsync(char **args, int n_args)
{
    return time_each(open_or_end(args[0], O_WRONLY | O_APPEND | O_DSYNC), number(args[1]), 0,
                     append);
}

/* The file is made, or kept, with room for n lines in blocks that are written and on disk. */
static void write_blocks(const char *path, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        err(1, "%s", path);
    for (size_t i = 0; i < n; i++)
        overwrite(fd, i);
    if (fsync(fd) < 0)
        err(1, "%s", path);
    close(fd);
}

static int do_over(char **args, int n_args)
{
    size_t n = number(args[1]);

    write_blocks(args[0], n);
    return time_each(open_or_end(args[0], O_WRONLY), n, 0, overwrite_and_sync);
}

static int do_over_rested(char **args, int n_args)
{
    size_t n = number(args[1]);

    write_blocks(args[0], n);
    return time_each(open_or_end(args[0], O_WRONLY), n, PAUSE_NS, overwrite_and_sync);
}

static int do_over_dsync(char **args, int n_args)
{
    size_t n = number(args[1]);

    write_blocks(args[0], n);
    return time_each(open_or_end(args[0], O_WRONLY | O_DSYNC), n, 0, overwrite);
}

/* As cat does: until the end of the file. The length of what came. A disk that stalls for a second
 * makes a read of `claim` end with ETIMEDOUT: again, as a worker would. */
static size_t read_file(const char *path, char *to, size_t size)
{
    int fd = open_or_end(path, O_RDONLY);
    size_t len = 0;
    ssize_t n;

    do {
        do
            n = read(fd, to + len, size - len);
        while (n < 0 && errno == ETIMEDOUT);
        if (n < 0)
            err(1, "%s", path);
        len += (size_t)n;
    } while (n > 0);
    close(fd);
    return len;
}

/* Claim one item by reading `claim` (a path), read and remove it. */
static void do_job(const char *queue, const char *claim)
{
    char id[64], path[4096], item[4096];
    size_t len = read_file(claim, id, sizeof(id));

    if (len != ID_DIGITS + 1)
        errx(1, "%s gave %zu bytes", claim, len);
    snprintf(path, sizeof(path), "%s/leased/%.*s", queue, ID_DIGITS, id);
    if (read_file(path, item, sizeof(item)) == 0)
        errx(1, "%s is empty", path);
    if (unlink(path) < 0)
        err(1, "%s", path);
}

static void *do_jobs(void *arg)
{
    struct worker *worker = arg;
    char claim[4096];

    snprintf(claim, sizeof(claim), "%s/claim", worker->path);
    pthread_barrier_wait(worker->ready);
    for (size_t i = 0; i < worker->n; i++)
        do_job(worker->path, claim);
    return NULL;
}

static int do_claim(char **args, int n_args)
{
    size_t n = number(args[1]), n_threads = number(args[2]);

    print_rate(run_workers(do_jobs, args[0], n, n_threads), n / n_threads * n_threads);
    return 0;
}

struct waker {
    pthread_t thread;
    const char *queue, *name;
    size_t n;
    bool claims;       /* what is read is an id */
    sem_t got;         /* after each item */
    int64_t *times_ns; /* when it was there */
};

static void *wait_for_items(void *arg)
{
    struct waker *waker = arg;
    char path[4096], leased[4096], data[4096];

    snprintf(path, sizeof(path), "%s/%s", waker->queue, waker->name);
    for (size_t i = 0; i < waker->n; i++) {
        int fd = open_or_end(path, O_RDONLY);

        if (read(fd, data, sizeof(data)) <= 0)
            err(1, "%s", path);
        waker->times_ns[i] = now_ns();
        close(fd);
        snprintf(leased, sizeof(leased), "%s/leased/%.*s", waker->queue, ID_DIGITS, data);
        if (waker->claims && unlink(leased) < 0)
            err(1, "%s", leased);
        sem_post(&waker->got);
    }
    return NULL;
}

static int do_wake(char **args, int n_args)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    struct waker waker = {.queue = args[0], .name = args[1], .n = number(args[2])};
    char path[4096];
    int fd;

    waker.claims = strncmp(waker.name, "claim", 5) == 0;
    waker.times_ns = new_times(waker.n);
    snprintf(path, sizeof(path), "%s/in", waker.queue);
    fd = open_or_end(path, O_WRONLY | O_APPEND);
    sem_init(&waker.got, 0, 0);
    if (pthread_create(&waker.thread, NULL, wait_for_items, &waker) != 0)
        errx(1, "cannot start a thread");
    for (size_t i = 0; i < waker.n; i++) {
        int64_t begin_ns;

        nanosleep(&pause, NULL);
        begin_ns = now_ns();
        write_line(fd);
        while (sem_wait(&waker.got) < 0 && errno == EINTR)
            ;
        waker.times_ns[i] -= begin_ns;
    }
    pthread_join(waker.thread, NULL);
    close(fd);
    print_quantiles(waker.times_ns, waker.n);
    free(waker.times_ns);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int n_least, n_most;
        int (*run)(char **args, int n_args);
    } commands[] = {
        {"write", 2, 3, do_write},
        {"open", 2, 2, do_open},
        {"read", 3, 3, do_read},
        {"put", 2, 2, do_put},
        {"put-dsync", 2, 2, do_put_dsync},
        {"over", 2, 2, do_over},
        {"over-rested", 2, 2, do_over_rested},
        {"over-dsync", 2, 2, do_over_dsync},
        {"claim", 3, 3, do_claim},
        {"wake", 3, 3, do_wake},
    };

    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\n';
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].n_least &&
            argc - 2 <= commands[i].n_most)
            return commands[i].run(argv + 2, argc - 2);
    errx(2, "usage: fs_calls COMMAND ARGUMENTS (see fs_calls.c)");
}
