/* What users do: see workload.h. */
#include "tests/stress/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BURST_MAX   100       /* items between two calls that wait */
#define BULK        (1 << 18) /* a read that gives many items */
#define SMALL       4096      /* one that gives one */
#define ERRNO_KINDS 256

enum call { CALL_OPEN, CALL_WRITE, CALL_SYNC, CALL_FLUSH, CALL_READ, N_CALLS };

static const char *const call_names[] = {"open", "write", "fsync", "flush", "read"};

struct user {
    struct workload *w;
    pthread_t thread;
    bool writes;
    int index, mount;
    uint64_t random;
    /* Of a writer: items of each queue not yet acknowledged, written in this life of the mount. */
    uint64_t pending[N_QUEUES], next[N_QUEUES];
    unsigned life;
    /* Of a reader: deliveries not yet confirmed. */
    uint32_t unconfirmed;
    char *buffer; /* what is written, or a line that is not whole */
    size_t len;
    bool joined;
};

struct workload {
    struct workload_options options;
    struct user *users;
    int n_users;
    atomic_bool stop;
    atomic_uint errors[N_CALLS][ERRNO_KINDS];
};

/* Count the failure of a call; -errno. */
static int failed(struct workload *w, enum call call)
{
    int error = errno;

    atomic_fetch_add(&w->errors[call][error < ERRNO_KINDS ? error : 0], 1);
    return -error;
}

static void path_of(const struct cluster *c, int mount, enum queue_index queue, const char *name,
                    char path[CLUSTER_PATH + 64])
{
    snprintf(path, CLUSTER_PATH + 64, "%s/%s/%s", c->mounts[mount].path, queue_names[queue], name);
}

int workload_flush(const struct cluster *c, int mount, enum queue_index queue)
{
    char path[CLUSTER_PATH + 64];

    path_of(c, mount, queue, "flush", path);
    return utimensat(AT_FDCWD, path, NULL, 0) < 0 ? -errno : 0;
}

/* ---- writers ---- */

static unsigned life_of(const struct user *u)
{
    return atomic_load(&u->w->options.cluster->mounts[u->mount].life);
}

/* What was written to a mount that is dead will not be acknowledged any more. */
static void forget_pending(struct user *u)
{
    for (int queue = 0; queue < N_QUEUES; queue++)
        u->pending[queue] = u->next[queue];
}

/* What was not acknowledged in time (O_DSYNC) is taken all the same: it must not be written again.
 */
static int write_all(struct user *u, int fd, size_t len)
{
    size_t piece = random_below(&u->random, 4) ? len : 1 + random_below(&u->random, len);
    int rc = 0;

    for (size_t done = 0; done < len;) {
        size_t size = len - done < piece ? len - done : piece;
        ssize_t n = write(fd, u->buffer + done, size);

        if (n < 0)
            rc = failed(u->w, CALL_WRITE);
        if (n < 0 && rc != -ETIMEDOUT)
            return rc;
        done += n < 0 ? size : (size_t)n;
    }
    return rc;
}

/* A few items. What was attempted is noted before, as a write that fails may have been taken. */
static int write_burst(struct user *u, int fd, enum queue_index queue)
{
    struct workload *w = u->w;
    uint64_t n = 1 + random_below(&u->random, random_below(&u->random, 3) ? 8 : BURST_MAX);
    uint64_t first = history_attempt(w->options.history, queue, u->index, n);
    size_t len = 0;

    for (uint64_t i = 0; i < n; i++)
        len += item_print(w->options.seed, queue, u->index, first + i, u->buffer + len);
    u->next[queue] = first + n;
    return write_all(u, fd, len);
}

/*
 * Make what was written durable, by fsync or the queue's flush. What this open wrote, from `first`
 * on, is acknowledged then; of what earlier ones wrote one can tell only if the mount has not been
 * killed in between.
 */
static int make_durable(struct user *u, int fd, enum queue_index queue, uint64_t first)
{
    struct workload *w = u->w;
    uint64_t from = u->pending[queue] < first ? u->pending[queue] : first;
    bool by_flush = random_below(&u->random, 3) == 0;
    int rc;

    if (by_flush)
        rc = workload_flush(w->options.cluster, u->mount, queue);
    else
        rc = fsync(fd) < 0 ? -errno : 0;
    if (rc < 0) {
        errno = -rc;
        return failed(w, by_flush ? CALL_FLUSH : CALL_SYNC);
    }
    if (life_of(u) != u->life) {
        if (by_flush)
            return -ENOTCONN; /* perhaps of the next life */
        from = first;
    }
    history_acknowledge(w->options.history, queue, u->index, from, u->next[queue]);
    u->pending[queue] = u->next[queue];
    return 0;
}

/* A write under O_DSYNC has returned. */
static int write_durably(struct user *u, int fd, enum queue_index queue)
{
    uint64_t first = u->next[queue];
    int rc = write_burst(u, fd, queue);

    if (rc == 0)
        history_acknowledge(u->w->options.history, queue, u->index, first, u->next[queue]);
    return rc;
}

static void write_bursts(struct user *u, int fd, enum queue_index queue, bool durably)
{
    uint64_t first = u->next[queue];
    int n = 1 + (int)random_below(&u->random, 10);
    int rc = 0;

    for (int i = 0; i < n && rc == 0 && !atomic_load(&u->w->stop); i++) {
        rc = durably ? write_durably(u, fd, queue) : write_burst(u, fd, queue);
        if (rc == 0 && !durably && random_below(&u->random, 10) < 7)
            rc = make_durable(u, fd, queue, first);
        if (rc == -ETIMEDOUT)
            rc = 0; /* not yet */
        sleep_ms((int64_t)random_below(&u->random, 8));
    }
    if (rc < 0)
        forget_pending(u);
}

static void write_once(struct user *u)
{
    enum queue_index queue = random_below(&u->random, 2) ? QUEUE_WORK : QUEUE_KEEP;
    bool durably = random_below(&u->random, 8) == 0;
    char path[CLUSTER_PATH + 64];
    int fd;

    if (life_of(u) != u->life)
        forget_pending(u);
    u->life = life_of(u);
    path_of(u->w->options.cluster, u->mount, queue, "in", path);
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | (durably ? O_DSYNC : 0));
    if (fd < 0) {
        failed(u->w, CALL_OPEN);
        sleep_ms(10);
        return;
    }
    write_bursts(u, fd, queue, durably);
    close(fd);
}

/* ---- readers ---- */

/* Hand the whole lines over; what follows the last one stays for the next read. */
static void take_lines(struct user *u, uint32_t delivery, bool draining)
{
    char *begin = u->buffer, *end = u->buffer + u->len, *newline;

    while ((newline = memchr(begin, '\n', (size_t)(end - begin))) != NULL) {
        history_read(u->w->options.history, delivery, begin, (size_t)(newline + 1 - begin),
                     draining);
        begin = newline + 1;
    }
    u->len = (size_t)(end - begin);
    memmove(u->buffer, begin, u->len);
}

/* Until the end of file, or a reader that leaves earlier; 0 or negative errno. */
static int read_on(struct user *u, int fd, uint32_t delivery, bool draining)
{
    size_t size = draining || random_below(&u->random, 2) ? BULK : SMALL;
    int most = draining ? -1 : (int)random_below(&u->random, 50);
    ssize_t n;

    u->len = 0;
    do {
        n = read(fd, u->buffer + u->len, size);
        if (n < 0)
            return failed(u->w, CALL_READ);
        u->len += (size_t)n;
        take_lines(u, delivery, draining);
        if (u->len > 0 && (n == 0 || u->len > ITEM_MAX)) {
            history_read(u->w->options.history, delivery, u->buffer, u->len, draining);
            u->len = 0;
        }
    } while (n > 0 && (u->len > 0 || most < 0 || most-- > 0));
    return 0;
}

static void choose_name(struct user *u, char name[32])
{
    unsigned ms = (unsigned)random_below(&u->random, 300);

    switch (random_below(&u->random, 4)) {
    case 0:
        snprintf(name, 32, "next@%ums", ms);
        break;
    case 1:
        snprintf(name, 32, "out");
        break;
    default:
        snprintf(name, 32, "out@%u@%ums", 1 + (unsigned)random_below(&u->random, 300), ms);
        break;
    }
}

/* One open, perhaps a flush. */
static int read_open(struct user *u, enum queue_index queue, const char *name, bool draining)
{
    struct workload *w = u->w;
    uint32_t delivery = history_delivery(w->options.history, u->mount);
    char path[CLUSTER_PATH + 64];
    int fd, rc;

    path_of(w->options.cluster, u->mount, queue, name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return failed(w, CALL_OPEN);
    rc = read_on(u, fd, delivery, draining);
    close(fd);
    if (!u->unconfirmed)
        u->unconfirmed = delivery;
    if (random_below(&u->random, 4))
        return rc;
    if (workload_flush(w->options.cluster, u->mount, queue) == 0) {
        history_confirm(w->options.history, u->unconfirmed, delivery);
        u->unconfirmed = 0;
    }
    return rc;
}

static void read_once(struct user *u)
{
    char name[32];

    choose_name(u, name);
    if (read_open(u, QUEUE_WORK, name, false) < 0)
        sleep_ms(10);
    sleep_ms((int64_t)random_below(&u->random, 10));
}

/* ---- all of them ---- */

static void *run(void *arg)
{
    struct user *u = arg;

    while (!atomic_load(&u->w->stop)) {
        if (u->writes)
            write_once(u);
        else
            read_once(u);
    }
    return NULL;
}

static void user_init(struct user *u, struct workload *w, int i)
{
    const struct workload_options *options = &w->options;

    u->w = w;
    u->writes = i < options->n_writers;
    u->index = u->writes ? i : i - options->n_writers;
    u->mount = u->index % options->cluster->options.n_mounts;
    u->random = options->seed + (uint64_t)i * 7919;
    u->buffer = malloc(u->writes ? (size_t)BURST_MAX * ITEM_MAX : BULK + ITEM_MAX);
    if (!u->buffer)
        abort();
}

struct workload *workload_start(const struct workload_options *options)
{
    struct workload *w = calloc(1, sizeof(*w));

    if (!w)
        abort();
    w->options = *options;
    w->n_users = options->n_writers + options->n_readers;
    /* One more, for the drain. */
    w->users = calloc((size_t)w->n_users + 1, sizeof(*w->users));
    if (!w->users)
        abort();
    for (int i = 0; i <= w->n_users; i++)
        user_init(&w->users[i], w, i);
    w->users[w->n_users].mount = 0;
    for (int i = 0; i < w->n_users; i++) {
        if (pthread_create(&w->users[i].thread, NULL, run, &w->users[i]) != 0)
            abort();
    }
    return w;
}

unsigned workload_stop(struct workload *w, int seconds)
{
    struct timespec end;
    unsigned left = 0;

    atomic_store(&w->stop, true);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += seconds;
    for (int i = 0; i < w->n_users; i++) {
        struct user *u = &w->users[i];

        u->joined = u->joined || pthread_timedjoin_np(u->thread, NULL, &end) == 0;
        if (u->joined)
            continue;
        fprintf(stderr, "%s %d hangs in mount %d\n", u->writes ? "writer" : "reader", u->index,
                u->mount);
        left++;
    }
    return left;
}

/* EIO: the kernel's answer to a request that a mount was reading when it was killed. */
static bool explained(const struct workload *w, int error)
{
    if (error == ETIMEDOUT)
        return true;
    return w->options.mounts_die && (error == ENOTCONN || error == ECONNABORTED ||
                                     error == ENOENT || error == EINTR || error == EIO);
}

unsigned workload_wrong_errors(struct workload *w)
{
    unsigned wrong = 0;

    for (int call = 0; call < N_CALLS; call++) {
        for (int error = 0; error < ERRNO_KINDS; error++) {
            unsigned n = atomic_load(&w->errors[call][error]);

            if (n == 0)
                continue;
            fprintf(stderr, "%s failed %u times: %s%s\n", call_names[call], n, strerror(error),
                    explained(w, error) ? "" : " (wrong)");
            wrong += explained(w, error) ? 0 : n;
        }
    }
    return wrong;
}

void workload_free(struct workload *w)
{
    if (!w)
        return;
    for (int i = 0; i <= w->n_users; i++)
        free(w->users[i].buffer);
    free(w->users);
    free(w);
}

bool workload_drain(struct workload *w, enum queue_index queue, int seconds)
{
    const struct cluster *c = w->options.cluster;
    struct user *u = &w->users[w->n_users];
    int64_t end_us = now_us() + (int64_t)seconds * 1000000;
    const char *name = queue_names[queue];

    do {
        read_open(u, queue, "out@100ms", true);
        if (workload_flush(c, 0, queue) == 0 && cluster_stat(c, 0, name, "depth") == 0 &&
            cluster_stat(c, 0, name, "leased") == 0 && cluster_stat(c, 0, name, "delayed") == 0)
            return true;
    } while (now_us() < end_us);
    return false;
}
