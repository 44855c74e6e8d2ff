#include "bench/peer.h"

#include <err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKERS_MAX 64
#define NUMBER_LEN  16

static const struct peer *peer;
static struct peer_options options = {
    .n_items = 1000, .n_workers = 1, .n_window = 256, .item_bytes = 100, .port = 0};
static const struct peer_mode *mode;
static struct peer_job jobs[WORKERS_MAX];
static pthread_barrier_t start;

int64_t peer_now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

void peer_step(struct peer_job *job, int64_t begin_ns)
{
    job->step_ns[job->n_steps++] = peer_now_ns() - begin_ns;
}

void peer_item(const struct peer_options *of, size_t number, char *item)
{
    char digits[NUMBER_LEN + 1];
    size_t n = of->item_bytes < NUMBER_LEN ? of->item_bytes : NUMBER_LEN;

    snprintf(digits, sizeof(digits), "%016zu", number);
    memset(item, 'x', of->item_bytes);
    memcpy(item, digits + NUMBER_LEN - n, n);
}

static void fill(size_t first, size_t n_items)
{
    struct peer_job job = {.options = &options, .first = first, .n_items = n_items};

    if (n_items == 0)
        return;
    job.connection = peer->open(&options, 0);
    peer->fill(&job);
    peer->close(job.connection);
}

static void *work(void *arg)
{
    struct peer_job *job = arg;

    pthread_barrier_wait(&start);
    mode->run(job);
    return NULL;
}

static void jobs_init(void)
{
    size_t first = 0;

    for (size_t w = 0; w < options.n_workers; w++) {
        struct peer_job *job = &jobs[w];

        job->options = &options;
        job->first = first;
        job->n_items = (options.n_items - first) / (options.n_workers - w);
        first += job->n_items;
        job->connection = peer->open(&options, w);
        job->step_ns = calloc(job->n_items + 1, sizeof(*job->step_ns));
        if (!job->step_ns)
            err(1, "steps");
        memset(job->step_ns, 1, (job->n_items + 1) * sizeof(*job->step_ns)); /* no faults later */
    }
}

static int64_t jobs_run(void)
{
    pthread_t threads[WORKERS_MAX];
    int64_t begin;

    pthread_barrier_init(&start, NULL, (unsigned)options.n_workers + 1);
    for (size_t w = 0; w < options.n_workers; w++) {
        if (pthread_create(&threads[w], NULL, work, &jobs[w]) != 0)
            errx(1, "pthread_create");
    }
    begin = peer_now_ns();
    pthread_barrier_wait(&start);
    for (size_t w = 0; w < options.n_workers; w++)
        pthread_join(threads[w], NULL);
    pthread_barrier_destroy(&start);
    return peer_now_ns() - begin - jobs[0].untimed_ns;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void print_quantiles(const int64_t *sorted_ns, size_t n)
{
    static const struct {
        const char *name;
        double share;
    } wanted[] = {{"p10", .1}, {"p25", .25}, {"p50", .5},     {"p75", .75},
                  {"p90", .9}, {"p99", .99}, {"p99.9", .999}, {"max", 1}};

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        printf("%s: %.2f\n", wanted[i].name,
               (double)sorted_ns[(size_t)((double)(n - 1) * wanted[i].share)] / 1000);
}

static void print_steps(void)
{
    size_t n = 0, at = 0;
    int64_t *all;

    for (size_t w = 0; w < options.n_workers; w++)
        n += jobs[w].n_steps;
    if (n == 0)
        return;
    all = calloc(n, sizeof(*all));
    if (!all)
        err(1, "steps");
    for (size_t w = 0; w < options.n_workers; w++) {
        memcpy(all + at, jobs[w].step_ns, jobs[w].n_steps * sizeof(*all));
        at += jobs[w].n_steps;
    }
    qsort(all, n, sizeof(*all), compare);
    print_quantiles(all, n);
    free(all);
}

static size_t number_of(const char *name, const char *text)
{
    char *end;
    unsigned long long value = text ? strtoull(text, &end, 10) : 0;

    if (!text || *text < '0' || *text > '9' || *end)
        errx(2, "%s needs a number", name);
    return value;
}

static void parse(int argc, char **argv)
{
    size_t port = 0;
    const struct {
        const char *name;
        size_t *value;
    } numbers[] = {{"--items", &options.n_items},     {"--bytes", &options.item_bytes},
                   {"--workers", &options.n_workers}, {"--window", &options.n_window},
                   {"--fill", &options.n_fill},       {"--port", &port}};

    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;

        if (strcmp(argv[i], "--mode") == 0) {
            options.mode = argv[i + 1];
            continue;
        }
        while (k < sizeof(numbers) / sizeof(numbers[0]) && strcmp(argv[i], numbers[k].name) != 0)
            k++;
        if (k == sizeof(numbers) / sizeof(numbers[0]))
            errx(2, "%s: unknown", argv[i]);
        *numbers[k].value = number_of(argv[i], argv[i + 1]);
    }
    options.port = (int)port;
    if (port > 65535 || options.n_workers < 1 || options.n_workers > WORKERS_MAX ||
        options.n_items < options.n_workers || options.item_bytes < 1 || options.n_window < 1)
        errx(2, "--port, --workers (1 to %d), --items, --bytes, --window: out of range",
             WORKERS_MAX);
}

static const struct peer_mode *find_mode(void)
{
    for (const struct peer_mode *at = peer->modes; at->name; at++) {
        if (options.mode && strcmp(options.mode, at->name) == 0)
            return at;
    }
    fprintf(stderr, "--mode must be one of:");
    for (const struct peer_mode *at = peer->modes; at->name; at++)
        fprintf(stderr, " %s", at->name);
    fprintf(stderr, "\n");
    exit(2);
}

int peer_main(const struct peer *which, int argc, char **argv)
{
    double seconds;

    peer = which;
    parse(argc, argv);
    mode = find_mode();
    fill(options.n_items, options.n_fill);
    if (mode->takes)
        fill(0, options.n_items);
    jobs_init();
    seconds = (double)jobs_run() / 1e9;
    printf("n: %zu\nseconds: %.6f\nrate: %.1f\n", options.n_items, seconds,
           (double)options.n_items / seconds);
    print_steps();
    for (size_t w = 0; w < options.n_workers; w++) {
        peer->close(jobs[w].connection);
        free(jobs[w].step_ns);
    }
    return 0;
}
