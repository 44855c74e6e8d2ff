/* Two mounts on a real service in the same process look at its items, take and move them. */
#include "core/mount/mount.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

#include "core/service/service.h"

TestSuite(mount_items, .timeout = 120);

#define SECOND INT64_C(1000000)

#define READY (1U << ITEM_READY | 1U << ITEM_DELAYED)
#define DEAD  (1U << ITEM_DEAD)

struct world {
    struct service *service;
    struct mount *mounts[2];
    struct mount_queue *jobs[2]; /* as each sees it */
    /* Of the last call. */
    struct op op;
    sem_t ended;
    ssize_t result;
    struct item_info items[8];
    size_t n_items;
    char data[64];
};

static void call_done(struct op *op, ssize_t result)
{
    struct world *world = op->owner;
    const struct item_answer *answer = op->answer;

    world->result = result;
    world->n_items = answer ? answer->n_items : 0;
    memset(world->data, 0, sizeof(world->data));
    if (answer && answer->n_items > 0)
        memcpy(world->items, answer->items, answer->n_items * sizeof(world->items[0]));
    if (answer && answer->len > 0 && answer->len < sizeof(world->data))
        memcpy(world->data, answer->data, answer->len);
    sem_post(&world->ended);
}

static struct op *begin(struct world *world)
{
    op_init(&world->op, call_done, world);
    return &world->op;
}

static ssize_t end(struct world *world)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    cr_assert_eq(sem_timedwait(&world->ended, &until), 0, "an op never ended");
    return world->result;
}

static void open_world(struct world *world)
{
    struct service_options options = {.clock = &clock_system, .id = 42};
    struct mount_options mount = {
        .clock = &clock_system,
        .buffer_total = 1 << 20,
        .timeout_us = 20 * SECOND,
        .silence_us = 20 * SECOND,
    };
    int i;

    memset(world, 0, sizeof(*world));
    sem_init(&world->ended, 0, 0);
    settings_default(&mount.defaults);
    mount.defaults.own.max_deliveries = 1;
    mount.defaults.mount.linger_us = 10 * SECOND;
    cr_assert_eq(store_memory_open(64 << 20, &options.store), 0);
    cr_assert_eq(service_new(&options, &world->service), 0);
    cr_assert_eq(service_start(world->service), 0);
    mount.backend = service_backend(world->service);
    for (i = 0; i < 2; i++) {
        mount.id.bytes[0] = (uint8_t)(i + 1);
        cr_assert_eq(mount_new(&mount, &world->mounts[i]), 0);
        cr_assert_eq(mount_start(world->mounts[i], 20 * SECOND), 0);
        if (i == 0) {
            mount_make_queue(world->mounts[0], "jobs", 0600, 0, 0, begin(world));
            cr_assert_eq(end(world), 0);
        }
        world->jobs[i] = mount_find(world->mounts[i], "jobs");
        cr_assert_not_null(world->jobs[i]);
    }
}

static void close_world(struct world *world)
{
    struct mount_rest rest;
    int i;

    for (i = 0; i < 2; i++) {
        mount_queue_unref(world->jobs[i]);
        mount_stop(world->mounts[i], 1000000, &rest);
    }
    service_stop(world->service);
    for (i = 0; i < 2; i++)
        mount_free(world->mounts[i]);
    service_free(world->service);
    sem_destroy(&world->ended);
}

/* Written, not flushed. */
static void put(struct world *world, const char *text)
{
    struct writer *w;
    struct op *op = begin(world);

    cr_assert_eq(mount_queue_writer_open(world->jobs[0], 0, &w), 0);
    op->data = (const uint8_t *)text;
    op->len = strlen(text);
    mount_queue_write(world->jobs[0], w, op);
    cr_assert_eq(end(world), (ssize_t)strlen(text));
    mount_queue_writer_release(world->jobs[0], w);
}

static size_t list(struct world *world, int which, uint32_t states)
{
    mount_queue_list(world->jobs[which], states, 0, 8, begin(world));
    cr_assert_eq(end(world), 0);
    return world->n_items;
}

/* What was written just before is waited for, for a fifth of a second at most. */
static void expect_ready(struct world *world, int which, size_t n)
{
    int64_t begun_us;
    size_t found;

    do {
        begun_us = clock_system.mono_us(&clock_system);
        found = list(world, which, READY);
    } while (found != n && clock_system.mono_us(&clock_system) - begun_us >= SECOND / 5);
    cr_assert_eq(found, n);
}

static ssize_t look(struct world *world, int which, uint64_t id, uint32_t states)
{
    mount_queue_look(world->jobs[which], id, states, true, begin(world));
    return end(world);
}

static ssize_t take(struct world *world, int which, uint64_t id)
{
    mount_queue_take(world->jobs[which], id, begin(world));
    return end(world);
}

static ssize_t settle(struct world *world, int which, uint64_t id, enum settle_verb verb)
{
    mount_queue_settle(world->jobs[which], id, verb, begin(world));
    return end(world);
}

Test(mount_items, what_was_just_written_is_listed_and_looked_at)
{
    struct world world;
    uint64_t second;

    open_world(&world);
    put(&world, "one\ntwo\nthree\n");
    expect_ready(&world, 0, 3);
    cr_assert_eq(world.items[0].size, 3);
    cr_assert_eq(world.items[2].size, 5);
    second = world.items[1].id;
    cr_assert_gt(second, world.items[0].id);
    cr_assert_eq(look(&world, 1, second, READY), 0);
    cr_assert_str_eq(world.data, "two");
    cr_assert_eq(look(&world, 1, second, DEAD), -ENOENT);
    cr_assert_eq(list(&world, 1, DEAD), 0);
    close_world(&world);
}

Test(mount_items, one_mount_takes_an_item_and_the_other_is_late)
{
    struct item_info info;
    struct world world;
    uint64_t id;

    open_world(&world);
    put(&world, "one\ntwo\n");
    expect_ready(&world, 0, 2);
    id = world.items[1].id;
    cr_assert_eq(take(&world, 1, id), 0);
    cr_assert(mount_queue_claim(world.jobs[1], id, &info));
    cr_assert_eq(take(&world, 0, id), -ENOENT);
    cr_assert_eq(take(&world, 1, id), -ENOENT);
    cr_assert_eq(settle(&world, 0, id, SETTLE_DROP), -ENOENT);
    cr_assert_eq(list(&world, 0, READY), 1);
    close_world(&world);
}

/* mv leased/x dead/; ls dead; mv dead/x ready/; ls ready; rm ready/x */
Test(mount_items, what_was_settled_is_seen_at_once)
{
    struct world world;
    uint64_t id;

    open_world(&world);
    put(&world, "one\n");
    expect_ready(&world, 0, 1);
    id = world.items[0].id;
    cr_assert_eq(take(&world, 0, id), 0);
    cr_assert_eq(mount_queue_claim_settle(world.jobs[0], id, SETTLE_BURY), 0);
    cr_assert_eq(list(&world, 0, DEAD), 1);
    cr_assert_eq(settle(&world, 1, id, SETTLE_DROP), -ENOENT);
    cr_assert_eq(settle(&world, 1, id, SETTLE_REVIVE), 0);
    cr_assert_eq(look(&world, 0, id, READY), 0);
    cr_assert_str_eq(world.data, "one");
    cr_assert_eq(settle(&world, 0, id, SETTLE_FORGET), -ENOENT);
    cr_assert_eq(take(&world, 0, id), 0);
    cr_assert_eq(mount_queue_claim_settle(world.jobs[0], id, SETTLE_NACK), 0);
    cr_assert_eq(look(&world, 0, id, READY), -ENOENT, "it has failed as often as it may");
    cr_assert_eq(settle(&world, 0, id, SETTLE_FORGET), 0);
    cr_assert_eq(look(&world, 1, id, DEAD), -ENOENT);
    put(&world, "two\n");
    expect_ready(&world, 0, 1);
    cr_assert_eq(settle(&world, 0, world.items[0].id, SETTLE_DROP), 0);
    cr_assert_eq(list(&world, 1, READY), 0);
    close_world(&world);
}
