/*
 * A thousand mounts' worth of connections to one service, and what they do to the puts of another.
 *
 *   many_clients ADDRESS [--clients N] [--waiting N] [--puts N] [--pid PID]
 *
 * Each client does what a mount does that has readers waiting: a WATCH parked, a SYNC each second,
 * a GET on each of its queues that armed it; when it is told of an item it takes it, acknowledges
 * it and waits again. All of them live in one thread, on an epoll. The main thread measures: one
 * put at a time, each acknowledged from the disk, first alone, then beside the clients, then into a
 * queue that all the clients wait for. Every item of those must come to exactly one client.
 *
 * Prints name, n, median, p99, unit; with --pid the service's memory for each connection. Status 1
 * where an item was lost, came twice, or did not come in time; speed decides nothing.
 */
#include <err.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/raw.h"
#include "core/crc32c.h"

#define ID_WATCH   1
#define ID_SYNC    2
#define ID_SETTLE  3
#define ID_GET     100 /* and the index of the queue */
#define QUEUES_MAX 64
#define SECOND     INT64_C(1000000)
#define PATIENCE   (60 * SECOND)

struct client {
    struct raw raw;
    struct producer_id id;
    uint64_t seen; /* of its WATCH */
    uint64_t since;
    int64_t sync_us; /* the next one */
};

static struct {
    const char *address;
    size_t n_clients, n_waiting, n_puts;
    long pid;
} options = {NULL, 1000, 10000, 2000, 0};

static uint64_t queues[QUEUES_MAX]; /* the clients wait for these */
static size_t n_queues;
static struct client *clients;
static int epoll;
static _Atomic size_t n_armed, n_taken;
static _Atomic bool ending;
static uint8_t *taken; /* by item: how often */
static size_t n_items;

static uint64_t life; /* of the service's store */

static int64_t now_us(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND + at.tv_nsec / 1000;
}

static struct request request_of(enum request_kind kind, const struct producer_id *id,
                                 uint64_t queue)
{
    struct request request = {.kind = kind, .session = *id, .queue = queue, .life = life};

    return request;
}

/* ---- the clients ---- */

static void client_watch(struct client *client)
{
    struct request watch = request_of(REQUEST_WATCH, &client->id, 0);

    watch.in.watch.seen = client->seen;
    watch.in.watch.wait_us = 20 * SECOND;
    raw_send(&client->raw, &watch, ID_WATCH);
}

static void client_sync(struct client *client)
{
    struct request sync = request_of(REQUEST_SYNC, &client->id, 0);

    sync.in.sync.since = client->since;
    raw_send(&client->raw, &sync, ID_SYNC);
}

static void client_get(struct client *client, size_t queue)
{
    struct request get = request_of(REQUEST_GET, &client->id, queues[queue]);

    get.in.get.kind = GET_STREAM;
    get.in.get.max_items = 1;
    get.in.get.max_bytes = 1 << 16;
    get.in.get.arm = true;
    raw_send(&client->raw, &get, (uint32_t)(ID_GET + queue));
}

static void watch_answered(struct client *client, const struct request *watch)
{
    client->seen = watch->out.watch.sequence;
    for (size_t i = 0; i < watch->out.watch.n_events; i++) {
        for (size_t q = 0; q < n_queues; q++) {
            if (queues[q] != watch->out.watch.events[i].queue)
                continue;
            n_armed--;
            client_get(client, q);
        }
    }
    client_watch(client);
}

static void get_answered(struct client *client, size_t queue, const struct request *get)
{
    struct request settle = request_of(REQUEST_SETTLE, &client->id, queues[queue]);
    const struct grant *grant = get->out.get.grants;
    struct settlement ack;
    unsigned long item;

    if (get->out.get.n_grants == 0) {
        n_armed++;
        return;
    }
    item = strtoul((const char *)get->out.get.data + grant->offset, NULL, 10);
    if (item >= n_items)
        errx(1, "an item that nobody put");
    taken[item]++;
    n_taken++;
    ack = (struct settlement){SETTLE_ACK, grant->batch, grant->from, grant->to, grant->token};
    settle.in.settle.items = &ack;
    settle.in.settle.n_items = 1;
    raw_send(&client->raw, &settle, ID_SETTLE);
    client_get(client, queue);
}

static void client_answered(struct client *client, uint32_t id, const uint8_t *frame, size_t len)
{
    struct request answer = {.kind = REQUEST_GET};
    void *memory;

    answer.kind = id == ID_WATCH    ? REQUEST_WATCH
                  : id == ID_SYNC   ? REQUEST_SYNC
                  : id == ID_SETTLE ? REQUEST_SETTLE
                                    : REQUEST_GET;
    answer.in.get.max_items = 1;
    raw_decode(frame, len, &answer, &memory);
    if (answer.status < 0)
        errx(1, "an answer of kind %d: %s", (int)answer.kind, strerror(-answer.status));
    if (id == ID_WATCH)
        watch_answered(client, &answer);
    else if (id == ID_SYNC)
        client->since = answer.out.sync.until;
    else if (id >= ID_GET)
        get_answered(client, id - ID_GET, &answer);
    free(memory);
}

static void client_readable(struct client *client)
{
    uint8_t *frame;
    uint32_t id;
    size_t len;

    raw_read(&client->raw, false);
    while (raw_next(&client->raw, &frame, &len, &id)) {
        client_answered(client, id, frame, len);
        raw_taken(&client->raw, len);
    }
}

/* All SYNCs that are due; they are spread over the second. */
static void sync_due(size_t *next)
{
    int64_t now = now_us();

    for (; clients[*next].sync_us <= now; *next = (*next + 1) % options.n_clients) {
        client_sync(&clients[*next]);
        clients[*next].sync_us += SECOND;
    }
}

static void *clients_run(void *arg)
{
    struct epoll_event events[256];
    size_t next = 0;

    while (!ending) {
        int n = epoll_wait(epoll, events, 256, 5);

        for (int i = 0; i < n; i++)
            client_readable(events[i].data.ptr);
        sync_due(&next);
    }
    return NULL;
}

static void clients_connect(void)
{
    clients = calloc(options.n_clients, sizeof(*clients));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || epoll < 0)
        err(1, "clients");
    for (size_t i = 0; i < options.n_clients; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};

        raw_open(&clients[i].raw, options.address);
        if (getrandom(&clients[i].id, sizeof(clients[i].id), 0) != sizeof(clients[i].id))
            err(1, "getrandom");
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].raw.fd, &event) < 0)
            err(1, "epoll");
    }
}

static void clients_begin(void)
{
    int64_t now = now_us();

    for (size_t i = 0; i < options.n_clients; i++) {
        clients[i].sync_us = now + SECOND * (int64_t)i / (int64_t)options.n_clients;
        client_watch(&clients[i]);
    }
}

static void clients_wait_for_items(void)
{
    for (size_t i = 0; i < options.n_waiting; i++)
        client_get(&clients[i % options.n_clients], i / options.n_clients);
}

static void await(_Atomic size_t *count, size_t wanted, const char *what)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t end = now_us() + PATIENCE;

    while (*count != wanted) {
        if (now_us() > end)
            errx(1, "%s: %zu instead of %zu", what, *count, wanted);
        nanosleep(&pause, NULL);
    }
}

/* ---- measuring ---- */

static struct raw caller;
static struct producer_id caller_id;
#define CHAINS 4096 /* more than there are queues */
static uint64_t chains[CHAINS];

static void call(struct request *request)
{
    void *memory;

    raw_call(&caller, request, &memory);
    free(memory);
    if (request->status < 0)
        errx(1, "request %d: %s", (int)request->kind, strerror(-request->status));
}

static uint64_t make_queue(const char *name)
{
    struct request make = request_of(REQUEST_MAKE, &caller_id, 0);
    struct all_settings settings;

    settings_default(&settings);
    make.in.make.name = name;
    make.in.make.settings = &settings.own;
    make.in.make.may_exist = true;
    call(&make);
    return make.out.make.entry.number;
}

static void learn_life(void)
{
    struct request sync = request_of(REQUEST_SYNC, &caller_id, 0);

    call(&sync);
    life = sync.out.sync.life;
}

static void put(uint64_t queue, uint64_t base, size_t item)
{
    struct request request = request_of(REQUEST_PUT, &caller_id, queue);
    struct batch_view *batch = &request.in.put.batch;
    char text[101];

    snprintf(text, sizeof(text), "%099zu\n", item);
    request.in.put.epoch = 1;
    request.in.put.base = base;
    request.in.put.chain = chains[queue % CHAINS];
    *batch = (struct batch_view){
        .framing = FRAMING_LINE, .n_items = 1, .data = (uint8_t *)text, .len = 100};
    batch->crc = crc32c(batch->data, batch->len);
    call(&request);
    if (request.out.put.last != base)
        errx(1, "a put was not stored");
    chains[queue % CHAINS] = request.out.put.chain;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* n puts, one after the other; gives the p99. */
static int64_t measure(const char *name, const uint64_t *where, size_t n_where, uint64_t *bases,
                       size_t first)
{
    size_t n = options.n_puts;
    int64_t *times = calloc(n, sizeof(*times)), p99;

    if (!times)
        err(1, "times");
    for (size_t i = 0; i < n; i++) {
        int64_t begin = now_us();

        put(where[i % n_where], ++bases[i % n_where], first + i);
        times[i] = now_us() - begin;
    }
    qsort(times, n, sizeof(*times), compare);
    p99 = times[n - 1 - n / 100];
    printf("%-28s n %6zu   median %7" PRId64 "   p99 %7" PRId64 "   max %7" PRId64 "   us\n", name,
           n, times[n / 2], p99, times[n - 1]);
    fflush(stdout);
    free(times);
    return p99;
}

static long service_kib(void)
{
    char path[64], line[256];
    long kib = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%ld/status", options.pid);
    file = options.pid ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof(line), file))
        sscanf(line, "VmRSS: %ld", &kib);
    if (file)
        fclose(file);
    return kib;
}

static void print_memory(const char *name, long before_kib)
{
    const struct timespec pause = {.tv_nsec = 300000000};

    nanosleep(&pause, NULL);
    if (options.pid)
        printf("%-28s %8.1f KiB a connection, %ld KiB in all\n", name,
               (double)(service_kib() - before_kib) / (double)options.n_clients, service_kib());
    fflush(stdout);
}

static int check_items(void)
{
    size_t lost = 0, twice = 0;

    for (size_t i = 0; i < n_items; i++) {
        lost += taken[i] == 0;
        twice += taken[i] > 1;
    }
    printf("%-28s %zu of %zu taken, %zu lost, %zu twice\n", "items", (size_t)n_taken, n_items, lost,
           twice);
    return lost > 0 || twice > 0;
}

static void set_up(void)
{
    struct rlimit files;
    char name[32];

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (getrandom(&caller_id, sizeof(caller_id), 0) != sizeof(caller_id))
        err(1, "getrandom");
    raw_open(&caller, options.address);
    learn_life();
    n_queues = (options.n_waiting + options.n_clients - 1) / options.n_clients;
    if (n_queues > QUEUES_MAX)
        errx(2, "--waiting: at most %d a client", QUEUES_MAX);
    for (size_t i = 0; i < n_queues; i++) {
        snprintf(name, sizeof(name), "waited-%zu", i);
        queues[i] = make_queue(name);
    }
    n_items = options.n_puts;
    taken = calloc(n_items, 1);
    if (!taken)
        err(1, "items");
}

static int run(void)
{
    uint64_t other = make_queue("other"), other_base = 0, bases[QUEUES_MAX] = {0};
    int64_t idle, loaded, waited;
    long kib = service_kib();
    pthread_t thread;

    idle = measure("puts, nobody else", &other, 1, &other_base, 0);
    clients_connect();
    print_memory("memory, connected", kib);
    clients_begin();
    if (pthread_create(&thread, NULL, clients_run, NULL) != 0)
        errx(1, "pthread_create");
    print_memory("memory, a WATCH each", kib);
    clients_wait_for_items();
    await(&n_armed, options.n_waiting, "waiting gets");
    print_memory("memory, and waiting gets", kib);
    loaded = measure("puts beside waiting gets", &other, 1, &other_base, 0);
    if (n_queues > 0)
        waited = measure("puts that are waited for", queues, n_queues, bases, 0);
    else
        waited = idle;
    if (n_queues > 0)
        await(&n_taken, n_items, "items taken");
    printf("%-28s %.1f beside, %.1f waited for\n", "p99 to that of nobody else",
           (double)loaded / (double)idle, (double)waited / (double)idle);
    ending = true;
    pthread_join(thread, NULL);
    return n_queues > 0 ? check_items() : 0;
}

static void parse(int argc, char **argv)
{
    const struct {
        const char *name;
        size_t *value;
    } numbers[] = {{"--clients", &options.n_clients},
                   {"--waiting", &options.n_waiting},
                   {"--puts", &options.n_puts},
                   {"--pid", (size_t *)&options.pid}};

    for (int i = 1; i < argc; i++) {
        bool known = false;

        for (size_t k = 0; k < 4 && i + 1 < argc && !known; k++) {
            known = strcmp(argv[i], numbers[k].name) == 0;
            if (known)
                *numbers[k].value = strtoul(argv[++i], NULL, 10);
        }
        if (!known && !options.address && argv[i][0] != '-')
            options.address = argv[i];
        else if (!known)
            errx(2, "%s: unknown, or its value is missing", argv[i]);
    }
    if (!options.address || options.n_clients < 1 || options.n_puts < 100)
        errx(2, "usage: many_clients ADDRESS [--clients N] [--waiting N] [--puts N>=100] "
                "[--pid PID]");
}

int main(int argc, char **argv)
{
    int status;

    parse(argc, argv);
    set_up();
    status = run();
    for (size_t i = 0; i < options.n_clients; i++)
        raw_close(&clients[i].raw);
    raw_close(&caller);
    free(clients);
    free(taken);
    return status;
}
