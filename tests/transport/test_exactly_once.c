/*
 * Puts are stored once and in order, gets lease once, whatever a network does and however often the
 * service is killed meanwhile (faulty_net.h). QUEUEFS_TEST_SEED repeats a run as far as threads let
 * it, QUEUEFS_TEST_FULL=1 makes it ten times as long.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/mount/mount.h"
#include "tests/core/service/service_rig.h"
#include "tests/transport/faulty_net.h"

#define WRITERS  4
#define READ_LEN (1 << 20)

static int n_items(void)
{
    const char *full = getenv("QUEUEFS_TEST_FULL");

    return full && strcmp(full, "1") == 0 ? 20000 : 2000;
}

struct world {
    struct faulty_store store;
    struct service *service;
    uint64_t lives;
    struct net net;
    struct net_client clients[3];
    struct mount *mounts[3];
    unsigned seed;
    unsigned n_restarts;
};

static void start_service(struct world *world)
{
    struct service_options options = {
        .store = &world->store.base, .clock = &clock_system, .id = 1000 * ++world->lives};

    cr_assert_eq(service_new(&options, &world->service), 0);
    cr_assert_eq(service_start(world->service), 0);
}

static struct mount *mount_open(struct backend *backend, uint8_t id)
{
    struct mount_options options = {
        .backend = backend,
        .clock = &clock_system,
        .id = {.bytes = {id, 7}},
        .buffer_total = 1 << 20,
        .timeout_us = 20 * SECOND,
    };
    struct mount *mount;

    settings_default(&options.defaults);
    options.defaults.mount.batch_size = 7;
    options.defaults.own.retry_delay_us = 0;
    options.defaults.own.max_deliveries = 1000;
    cr_assert_eq(mount_new(&options, &mount), 0);
    cr_assert_eq(mount_start(mount, 10 * SECOND), 0);
    return mount;
}

static void open_world(struct world *world, unsigned seed)
{
    const char *given = getenv("QUEUEFS_TEST_SEED");

    memset(world, 0, sizeof(*world));
    world->seed = given ? (unsigned)atoi(given) : seed;
    world->store.base.ops = &faulty_ops;
    cr_assert_eq(store_memory_open(256 << 20, &world->store.real), 0);
    start_service(world);
    net_init(&world->net, world->seed);
    net_service(&world->net, service_backend(world->service));
    for (int i = 0; i < 3; i++) {
        net_client_init(&world->clients[i], &world->net);
        world->mounts[i] = mount_open(&world->clients[i].backend, (uint8_t)(i + 1));
    }
}

/* As kill -9: no answer gets out any more; what was taken is committed, or no longer. */
static void restart(struct world *world)
{
    net_service(&world->net, NULL);
    if (rand_r(&world->seed) % 2)
        world->store.commit_error = -EIO;
    service_stop(world->service);
    net_await_served(&world->net);
    service_free(world->service);
    world->store.commit_error = 0;
    start_service(world);
    net_service(&world->net, service_backend(world->service));
    world->n_restarts++;
}

static void close_world(struct world *world)
{
    struct mount_rest rest;

    for (int i = 0; i < 3; i++) {
        mount_stop(world->mounts[i], 5 * SECOND, &rest);
        cr_assert_eq(rest.n_items, 0);
        net_client_stop(&world->clients[i]);
    }
    net_service(&world->net, NULL);
    service_stop(world->service);
    net_await_served(&world->net);
    net_fini(&world->net);
    for (int i = 0; i < 3; i++)
        mount_free(world->mounts[i]);
    service_free(world->service);
    world->store.real->ops->close(world->store.real);
}

/* ---- ops that are waited for ---- */

struct wait {
    struct op op;
    sem_t ended;
    ssize_t result;
    char *to; /* of a read */
};

static void wait_done(struct op *op, ssize_t result)
{
    struct wait *wait = op->owner;
    size_t at = 0;

    for (int i = 0; wait->to && i < op->n_iov; i++) {
        memcpy(wait->to + at, op->iov[i].iov_base, op->iov[i].iov_len);
        at += op->iov[i].iov_len;
    }
    wait->result = result;
    sem_post(&wait->ended);
}

static void wait_init(struct wait *wait)
{
    memset(wait, 0, sizeof(*wait));
    op_init(&wait->op, wait_done, wait);
    sem_init(&wait->ended, 0, 0);
}

static ssize_t wait_end(struct wait *wait)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    cr_assert_eq(sem_timedwait(&wait->ended, &until), 0, "an op never ended");
    sem_destroy(&wait->ended);
    return wait->result;
}

static ssize_t flush(struct mount_queue *mq)
{
    struct wait wait;

    wait_init(&wait);
    mount_queue_flush(mq, &wait.op);
    return wait_end(&wait);
}

static struct mount_queue *make(struct mount *mount, const char *name)
{
    struct mount_queue *mq;
    struct wait wait;

    do {
        wait_init(&wait);
        mount_make_queue(mount, name, 0600, 0, 0, &wait.op);
        wait_end(&wait);
        mq = mount_find(mount, name);
    } while (!mq);
    return mq;
}

static struct mount_queue *find(struct mount *mount, const char *name)
{
    struct mount_queue *mq;

    while (!(mq = mount_find(mount, name)))
        usleep(1000);
    return mq;
}

static void set_maxsize(struct mount_queue *mq, int64_t maxsize)
{
    struct mount_queue_info info;
    struct wait wait;

    do {
        mount_queue_info(mq, &info);
        info.settings.own.maxsize = maxsize;
        wait_init(&wait);
        mount_queue_set(mq, &info.settings, UINT64_MAX, &wait.op);
    } while (wait_end(&wait) != 0);
}

/* ---- writers and readers ---- */

struct writing {
    pthread_t thread;
    struct mount_queue *mq;
    int id, n;
    unsigned seed;
};

static void *write_items(void *arg)
{
    struct writing *writing = arg;
    struct writer *w;
    char text[64];

    cr_assert_eq(mount_queue_writer_open(writing->mq, 0, &w), 0);
    for (int i = 0; i < writing->n; i++) {
        struct wait wait;

        wait_init(&wait);
        wait.op.data = (const uint8_t *)text;
        wait.op.len = (size_t)snprintf(text, sizeof(text), "%d %d\n", writing->id, i);
        wait.op.sync = rand_r(&writing->seed) % 100 == 0;
        mount_queue_write(writing->mq, w, &wait.op);
        cr_assert_eq(wait_end(&wait), (ssize_t)strlen(text));
        if (rand_r(&writing->seed) % 50 == 0)
            usleep(2000);
    }
    while (flush(writing->mq) == -ETIMEDOUT)
        continue;
    mount_queue_writer_release(writing->mq, w);
    mount_queue_unref(writing->mq);
    return NULL;
}

/* What came out: how often each item was given. */
struct tally {
    pthread_mutex_t lock;
    int n;
    uint8_t *given[WRITERS];
    _Atomic long total, again, disorder;
};

static void tally_init(struct tally *tally, int n)
{
    memset(tally, 0, sizeof(*tally));
    pthread_mutex_init(&tally->lock, NULL);
    tally->n = n;
    for (int i = 0; i < WRITERS; i++)
        tally->given[i] = calloc((size_t)n, 1);
}

static void tally_fini(struct tally *tally)
{
    for (int i = 0; i < WRITERS; i++)
        free(tally->given[i]);
    pthread_mutex_destroy(&tally->lock);
}

static void tally_expect_all(struct tally *tally)
{
    for (int i = 0; i < WRITERS; i++)
        for (int j = 0; j < tally->n; j++)
            cr_assert_geq(tally->given[i][j], 1, "item %d of writer %d is lost", j, i);
}

/* last: of each writer, what this reader was given last. */
static void tally_add(struct tally *tally, char *text, int *last)
{
    pthread_mutex_lock(&tally->lock);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        int id, item;

        cr_assert_eq(sscanf(line, "%d %d", &id, &item), 2, "unexpected: %s", line);
        cr_assert(id >= 0 && id < WRITERS && item >= 0 && item < tally->n);
        tally->total++;
        tally->again += tally->given[id][item]++ > 0;
        tally->disorder += item <= last[id];
        last[id] = item;
    }
    pthread_mutex_unlock(&tally->lock);
}

struct reading {
    pthread_t thread;
    struct mount_queue *mq;
    struct tally *tally;
    unsigned seed;
    _Atomic bool enough; /* end once the queue is empty */
};

/* One open: until its end of file, or some items. */
static void read_some(struct reading *reading, char *buffer, int *last)
{
    bool bulk = rand_r(&reading->seed) % 2;
    uint64_t limit = rand_r(&reading->seed) % 2 ? READER_UNLIMITED : 20;
    struct reader *r;
    int64_t offset = 0;
    struct wait wait;

    cr_assert_eq(mount_queue_reader_open(reading->mq, 0, GET_STREAM, limit, 20000, &r), 0);
    for (int i = 0; i < 40; i++) {
        ssize_t n;

        wait_init(&wait);
        wait.to = buffer;
        wait.op.len = bulk ? READ_LEN : 4096;
        wait.op.offset = offset;
        mount_queue_read(reading->mq, r, &wait.op);
        n = wait_end(&wait);
        if (n == -ETIMEDOUT)
            continue;
        cr_assert_geq(n, 0, "%zd", n);
        if (n == 0)
            break;
        offset += n;
        buffer[n] = '\0';
        tally_add(reading->tally, buffer, last);
    }
    wait_init(&wait);
    mount_queue_reader_close(reading->mq, r, &wait.op);
    wait_end(&wait);
    mount_queue_reader_release(reading->mq, r);
}

static void *read_items(void *arg)
{
    struct reading *reading = arg;
    char *buffer = malloc(READ_LEN + 1);
    int last[WRITERS];
    struct mount_queue_info info;
    bool enough;

    memset(last, -1, sizeof(last));
    do {
        enough = reading->enough;
        read_some(reading, buffer, last);
        mount_queue_info(reading->mq, &info);
    } while (!enough || info.state.depth + info.state.leased > 0);
    free(buffer);
    mount_queue_unref(reading->mq);
    return NULL;
}

static void begin_writing(struct world *world, struct writing *writing)
{
    for (int i = 0; i < WRITERS; i++) {
        writing[i] = (struct writing){.mq = find(world->mounts[i % 2], "jobs"),
                                      .id = i,
                                      .n = n_items(),
                                      .seed = world->seed + (unsigned)i};
        cr_assert_eq(pthread_create(&writing[i].thread, NULL, write_items, &writing[i]), 0);
    }
}

static void begin_reading(struct world *world, struct reading *reading, int mount,
                          struct tally *tally)
{
    *reading = (struct reading){.mq = find(world->mounts[mount], "jobs"),
                                .tally = tally,
                                .seed = world->seed + 100 + (unsigned)mount};
    cr_assert_eq(pthread_create(&reading->thread, NULL, read_items, reading), 0);
}

static void report(const struct world *world, const struct tally *tally, const char *what)
{
    fprintf(stderr,
            "# %s: %ld items, given again %ld, out of order %ld; %u restarts, %llu frames, %llu "
            "lost, %llu twice, %llu retries\n",
            what, tally->total, tally->again, tally->disorder, world->n_restarts,
            (unsigned long long)world->net.n_frames, (unsigned long long)world->net.n_lost,
            (unsigned long long)world->net.n_twice, (unsigned long long)world->net.n_retries);
}

/* For a moment nothing can be read; each request that fails of it is made anew. */
static void starve(struct world *world)
{
    world->store.read_error = -ENOMEM;
    usleep(1000 + rand_r(&world->seed) % 20000);
    world->store.read_error = 0;
}

/* Hurt it over and over until every writer is done. */
static void harass(struct world *world, struct writing *writing, void (*hurt)(struct world *))
{
    int left = WRITERS;

    net_faults(&world->net, 5, 5, 5);
    while (left > 0) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += rand_r(&world->seed) % 150 * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(writing[left - 1].thread, NULL, &until) == 0)
            left--;
        else if (hurt)
            hurt(world);
    }
}

/* ---- tests ---- */

TestSuite(exactly_once, .timeout = 600);

Test(exactly_once, puts_are_stored_once_and_in_order)
{
    struct writing writing[WRITERS];
    struct reading reading;
    struct tally tally;
    struct world world;

    open_world(&world, 1);
    tally_init(&tally, n_items());
    mount_queue_unref(make(world.mounts[0], "jobs"));
    begin_writing(&world, writing);
    harass(&world, writing, restart);
    net_faults(&world.net, 0, 0, 0);
    begin_reading(&world, &reading, 2, &tally);
    reading.enough = true;
    pthread_join(reading.thread, NULL);
    report(&world, &tally, "puts");
    tally_expect_all(&tally);
    cr_assert_eq(tally.again, 0);
    cr_assert_eq(tally.disorder, 0);
    cr_assert_gt(world.n_restarts, 3);
    tally_fini(&tally);
    close_world(&world);
}

static void expect_gets_lease_once(unsigned seed, void (*hurt)(struct world *))
{
    struct writing writing[WRITERS];
    struct reading reading[2];
    struct tally tally;
    struct world world;
    struct mount_queue *mq;

    open_world(&world, seed);
    tally_init(&tally, n_items());
    mq = make(world.mounts[0], "jobs");
    set_maxsize(mq, 300);
    begin_writing(&world, writing);
    for (int i = 0; i < 2; i++)
        begin_reading(&world, &reading[i], 1 + i, &tally);
    harass(&world, writing, hurt);
    for (int i = 0; i < 2; i++)
        reading[i].enough = true;
    for (int i = 0; i < 2; i++)
        pthread_join(reading[i].thread, NULL);
    report(&world, &tally, "gets");
    tally_expect_all(&tally);
    cr_assert_eq(tally.again, 0);
    mount_queue_unref(mq);
    tally_fini(&tally);
    close_world(&world);
}

Test(exactly_once, gets_lease_once)
{
    expect_gets_lease_once(2, NULL);
}

Test(exactly_once, gets_that_failed_lease_once)
{
    expect_gets_lease_once(4, starve);
}

/* What a reader has when the service dies may be given again, and nothing is lost. */
Test(exactly_once, restarts_lose_nothing_that_is_read_meanwhile)
{
    struct writing writing[WRITERS];
    struct reading reading[2];
    struct tally tally;
    struct world world;
    struct mount_queue *mq;

    open_world(&world, 3);
    tally_init(&tally, n_items());
    mq = make(world.mounts[0], "jobs");
    set_maxsize(mq, 300);
    begin_writing(&world, writing);
    for (int i = 0; i < 2; i++)
        begin_reading(&world, &reading[i], 1 + i, &tally);
    harass(&world, writing, restart);
    net_faults(&world.net, 0, 0, 0);
    for (int i = 0; i < 2; i++)
        reading[i].enough = true;
    for (int i = 0; i < 2; i++)
        pthread_join(reading[i].thread, NULL);
    report(&world, &tally, "both");
    tally_expect_all(&tally);
    cr_assert_gt(world.n_restarts, 3);
    mount_queue_unref(mq);
    tally_fini(&tally);
    close_world(&world);
}
