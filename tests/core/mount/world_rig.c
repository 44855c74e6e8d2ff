#include "tests/core/mount/world_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND INT64_C(1000000)

static void call_done(struct op *op, ssize_t result)
{
    struct call *call = op->owner;
    size_t at = 0;
    int i;

    for (i = 0; i < op->n_iov && at + op->iov[i].iov_len <= sizeof(call->bytes); i++) {
        memcpy(call->bytes + at, op->iov[i].iov_base, op->iov[i].iov_len);
        at += op->iov[i].iov_len;
    }
    call->result = result;
    sem_post(&call->ended);
}

struct call *call_new(void)
{
    struct call *call = calloc(1, sizeof(*call));

    op_init(&call->op, call_done, call);
    sem_init(&call->ended, 0, 0);
    return call;
}

ssize_t call_wait(struct call *call)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    cr_assert_eq(sem_timedwait(&call->ended, &until), 0, "an op never ended");
    return call->result;
}

ssize_t call_end(struct call *call)
{
    ssize_t result = call_wait(call);

    sem_destroy(&call->ended);
    free(call);
    return result;
}

struct mount *mount_open(struct world *world, uint8_t id)
{
    struct mount_options options = {
        .backend = service_backend(world->service),
        .clock = &clock_system,
        .id = {.bytes = {id, 1}},
        .buffer_total = 1 << 20,
        .timeout_us = 20 * SECOND,
        .silence_us = 20 * SECOND,
    };
    struct mount *mount;

    settings_default(&options.defaults);
    cr_assert_eq(mount_new(&options, &mount), 0);
    cr_assert_eq(mount_start(mount, 20 * SECOND), 0);
    return mount;
}

void open_world(struct world *world)
{
    struct service_options options = {.clock = &clock_system, .id = 42};

    cr_assert_eq(store_memory_open(64 << 20, &options.store), 0);
    cr_assert_eq(service_new(&options, &world->service), 0);
    cr_assert_eq(service_start(world->service), 0);
    world->mount = mount_open(world, 1);
}

void close_world(struct world *world)
{
    struct mount_rest rest;

    mount_stop(world->mount, 20 * SECOND, &rest);
    service_stop(world->service);
    mount_free(world->mount);
    service_free(world->service);
    cr_assert_eq(rest.n_items, 0);
}

struct mount_queue *make(struct mount *mount, const char *name)
{
    struct call *call = call_new();

    mount_make_queue(mount, name, 0600, 0, 0, &call->op);
    cr_assert_eq(call_end(call), 0);
    return mount_find(mount, name);
}

ssize_t put(struct mount_queue *mq, struct writer *w, const char *text)
{
    struct call *call = call_new();

    call->op.data = (const uint8_t *)text;
    call->op.len = strlen(text);
    mount_queue_write(mq, w, &call->op);
    return call_end(call);
}

ssize_t flush(struct mount_queue *mq)
{
    struct call *call = call_new();

    mount_queue_flush(mq, &call->op);
    return call_end(call);
}

static ssize_t get_once(struct mount_queue *mq, struct reader *r, int64_t offset, size_t len,
                        char *to)
{
    struct call *call = call_new();
    ssize_t result;

    call->op.len = len;
    call->op.offset = offset;
    mount_queue_read(mq, r, &call->op);
    result = call_wait(call);
    if (result > 0) {
        memcpy(to, call->bytes, (size_t)result);
        to[result] = '\0';
    }
    sem_destroy(&call->ended);
    free(call);
    return result;
}

ssize_t get(struct mount_queue *mq, struct reader *r, int64_t offset, size_t len, char *to)
{
    ssize_t result;

    do
        result = get_once(mq, r, offset, len, to);
    while (result == -ETIMEDOUT);
    return result;
}

void close_reader(struct mount_queue *mq, struct reader *r)
{
    struct call *call = call_new();

    mount_queue_reader_close(mq, r, &call->op);
    cr_assert_eq(call_end(call), 0);
    mount_queue_reader_release(mq, r);
}

long stat_of(struct mount_queue *mq, const char *key)
{
    char *text = mount_queue_stats(mq), *line;
    size_t len = strlen(key);
    long value = -1;

    for (line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            value = strtol(line + len + 2, NULL, 10);
    free(text);
    return value;
}
