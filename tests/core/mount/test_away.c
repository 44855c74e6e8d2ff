/* A mount whose service is away at the start, or goes away: between them stands a gate that can be
 * shut, behind which requests wait as they do in a client without a connection. */
#include "core/mount/mount.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/service/service.h"

#define SECOND INT64_C(1000000)

struct gate {
    struct backend backend; /* first */
    struct backend *real;
    pthread_mutex_t lock;
    struct request *claim, **claims_end;
    bool open, gone;
    _Atomic int fail_makes; /* so many more are answered -ENOSPC */
    _Atomic int n_makes;
};

static void answer(struct request *request, int status)
{
    request->status = status;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->reply_free = NULL;
    request->done(request);
}

static void pass(struct gate *gate, struct request *request)
{
    if (request->kind == REQUEST_MAKE) {
        gate->n_makes++;
        if (gate->fail_makes > 0) {
            gate->fail_makes--;
            answer(request, -ENOSPC);
            return;
        }
    }
    gate->real->submit(gate->real, request);
}

static void gate_submit(struct backend *backend, struct request *request)
{
    static _Atomic uint64_t last_number;
    struct gate *gate = (struct gate *)backend;
    bool open, gone;

    request->number = ++last_number;
    pthread_mutex_lock(&gate->lock);
    open = gate->open;
    gone = gate->gone;
    if (!open && !gone) {
        request->next = NULL;
        *gate->claims_end = request;
        gate->claims_end = &request->next;
    }
    pthread_mutex_unlock(&gate->lock);
    if (gone)
        answer(request, -ESHUTDOWN);
    else if (open)
        pass(gate, request);
}

static struct request *gate_turn(struct gate *gate, bool open, bool gone)
{
    struct request *claim;

    pthread_mutex_lock(&gate->lock);
    claim = gate->claim;
    gate->claim = NULL;
    gate->claims_end = &gate->claim;
    gate->open = open;
    gate->gone = gone;
    pthread_mutex_unlock(&gate->lock);
    return claim;
}

static int64_t now_us(void)
{
    return clock_system.mono_us(&clock_system);
}

static void gate_open(struct gate *gate)
{
    struct request *claim = gate_turn(gate, true, false), *next;

    for (; claim; claim = next) {
        next = claim->next;
        if (claim->give_up_us && claim->give_up_us < now_us())
            answer(claim, -ETIMEDOUT);
        else
            pass(gate, claim);
    }
}

static void gate_shut(struct gate *gate)
{
    cr_assert_null(gate_turn(gate, false, false));
}

/* As client_stop(). */
static void gate_stop(struct gate *gate)
{
    struct request *claim = gate_turn(gate, false, true), *next;

    for (; claim; claim = next) {
        next = claim->next;
        answer(claim, -ESHUTDOWN);
    }
}

struct world {
    struct service *service;
    struct gate gate;
    struct mount *mount, *other; /* other: NULL where there is none */
    struct preset queues[2];
};

static int mount_open(struct world *world, struct gate *gate, uint8_t id, int64_t wait_us,
                      struct mount **mount)
{
    struct mount_options options = {
        .backend = gate ? &gate->backend : service_backend(world->service),
        .clock = &clock_system,
        .id = {.bytes = {id, 1}},
        .buffer_total = 1 << 20,
        .timeout_us = 2 * SECOND,
        .silence_us = gate ? 0 : 20 * SECOND,
        .queues = gate ? world->queues : NULL,
        .n_queues = gate ? 2 : 0,
    };

    settings_default(&options.defaults);
    options.defaults.own.mode = 0600;
    cr_assert_eq(mount_new(&options, mount), 0);
    return mount_start(*mount, wait_us);
}

/* `jobs` and `other` stand in the settings file. */
static void open_world(struct world *world, bool open)
{
    struct service_options options = {.clock = &clock_system, .id = 42};
    int i;

    memset(world, 0, sizeof(*world));
    cr_assert_eq(store_memory_open(64 << 20, &options.store), 0);
    cr_assert_eq(service_new(&options, &world->service), 0);
    cr_assert_eq(service_start(world->service), 0);
    world->gate.backend.submit = gate_submit;
    world->gate.real = service_backend(world->service);
    world->gate.claims_end = &world->gate.claim;
    world->gate.open = open;
    pthread_mutex_init(&world->gate.lock, NULL);
    for (i = 0; i < 2; i++) {
        strcpy(world->queues[i].name, i ? "other" : "jobs");
        settings_default(&world->queues[i].settings);
        world->queues[i].settings.own.mode = 0640;
    }
    cr_assert_eq(mount_open(world, &world->gate, 1, open ? 20 * SECOND : 50000, &world->mount),
                 open ? 0 : -ETIMEDOUT);
}

static void close_world(struct world *world, struct mount_rest *rest)
{
    struct mount_rest none;

    mount_stop(world->mount, 1 * SECOND, rest ? rest : &none);
    gate_stop(&world->gate);
    service_stop(world->service);
    mount_free(world->mount);
    mount_free(world->other);
    service_free(world->service);
    pthread_mutex_destroy(&world->gate.lock);
    if (!rest)
        cr_assert_eq(none.n_items, 0);
}

/* ---- calls ---- */

struct call {
    struct op op;
    sem_t ended;
    ssize_t result;
    char bytes[64];
};

static void call_done(struct op *op, ssize_t result)
{
    struct call *call = op->owner;

    if (op->n_iov > 0 && op->iov[0].iov_len < sizeof(call->bytes))
        memcpy(call->bytes, op->iov[0].iov_base, op->iov[0].iov_len);
    call->result = result;
    sem_post(&call->ended);
}

static void call_init(struct call *call)
{
    memset(call, 0, sizeof(*call));
    op_init(&call->op, call_done, call);
    sem_init(&call->ended, 0, 0);
}

static ssize_t call_end(struct call *call)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    cr_assert_eq(sem_timedwait(&call->ended, &until), 0, "an op never ended");
    sem_destroy(&call->ended);
    return call->result;
}

static ssize_t put(struct mount_queue *mq, struct writer *w, const char *text)
{
    struct call call;

    call_init(&call);
    call.op.data = (const uint8_t *)text;
    call.op.len = strlen(text);
    mount_queue_write(mq, w, &call.op);
    return call_end(&call);
}

static ssize_t flush(struct mount_queue *mq)
{
    struct call call;

    call_init(&call);
    mount_queue_flush(mq, &call.op);
    return call_end(&call);
}

/* The service is there again; a slow machine may need more than the 2 s of one flush. */
static ssize_t flush_back(struct mount_queue *mq)
{
    ssize_t result = flush(mq);

    for (int i = 0; i < 5 && result == -ETIMEDOUT; i++)
        result = flush(mq);
    return result;
}

static void get_begin(struct call *call, struct mount_queue *mq, struct reader *r)
{
    call_init(call);
    call->op.len = 32;
    mount_queue_read(mq, r, &call->op);
}

static long stat_of(struct mount_queue *mq, const char *key)
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

static struct mount_queue *find(struct mount *mount, const char *name)
{
    struct mount_queue *mq = mount_find(mount, name);

    cr_assert_not_null(mq, "%s is not there", name);
    return mq;
}

static uint64_t number_of(struct mount_queue *mq)
{
    struct mount_queue_info info;

    mount_queue_info(mq, &info);
    return info.number;
}

/* By a second mount. Its watch stays with the service, so it is freed with the world. */
static void make_elsewhere(struct world *world, const char *name, int64_t mode)
{
    struct mount_rest rest;
    struct call call;

    cr_assert_eq(mount_open(world, NULL, 9, 20 * SECOND, &world->other), 0);
    call_init(&call);
    mount_make_queue(world->other, name, mode, 0, 0, &call.op);
    cr_assert_eq(call_end(&call), 0);
    mount_stop(world->other, SECOND, &rest);
}

/* ---- tests ---- */

TestSuite(away, .timeout = 120);

Test(away, queues_of_the_file_are_there_and_buffer)
{
    struct world world;
    struct mount_queue *mq, *next;
    struct writer *w;
    uint64_t number;

    open_world(&world, false);
    mq = find(world.mount, "jobs");
    number = number_of(mq);
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(put(mq, w, "one\ntwo\n"), 8);
    cr_assert_eq(stat_of(mq, "buffer_size"), 2);
    cr_assert_eq(flush(mq), -ETIMEDOUT);
    gate_open(&world.gate);
    cr_assert_eq(flush_back(mq), 0);
    cr_assert_eq(stat_of(mq, "depth"), 2);
    cr_assert_eq(stat_of(mq, "duplicates"), 0);
    cr_assert_eq(number_of(mq), number, "the kernel knows it by its number");

    next = mount_next(world.mount, 0);
    cr_assert_eq(next, mq);
    mount_queue_unref(next);
    next = mount_next(world.mount, number);
    cr_assert_eq(next, find(world.mount, "other"));
    mount_queue_unref(next);
    mount_queue_unref(next);
    cr_assert_null(mount_next(world.mount, number + 1));
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world, NULL);
}

Test(away, a_queue_that_the_service_has_is_adopted_as_it_is)
{
    struct mount_queue_info info;
    struct world world;
    struct mount_queue *mq;
    struct writer *w;

    open_world(&world, false);
    make_elsewhere(&world, "jobs", 0666);
    mq = find(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(put(mq, w, "one\n"), 4);
    mount_queue_info(mq, &info);
    cr_assert_eq(info.settings.own.mode, 0640);
    gate_open(&world.gate);
    cr_assert_eq(flush_back(mq), 0);
    mount_queue_info(mq, &info);
    cr_assert_eq(info.settings.own.mode, 0666);
    cr_assert_eq(info.state.depth, 1);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world, NULL);
}

Test(away, a_queue_that_cannot_be_made_is_asked_for_again)
{
    struct world world;
    struct mount_queue *mq;
    struct writer *w;
    long size;

    open_world(&world, false);
    mq = find(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(put(mq, w, "one\n"), 4);
    world.gate.fail_makes = 3; /* two in the first round, one in the second */
    gate_open(&world.gate);
    usleep(200000);
    size = stat_of(mq, "buffer_size");
    if (world.gate.n_makes == 2)
        cr_assert_eq(size, 1);
    while (stat_of(mq, "buffer_size") > 0)
        usleep(10000);
    cr_assert_eq(stat_of(mq, "depth"), 1);
    usleep(1200000);
    cr_assert_eq(world.gate.n_makes, 5, "made once each, then no more");
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world, NULL);
}

Test(away, reads_end_with_an_error_and_items_come_once_it_is_back)
{
    struct world world;
    struct mount_queue *mq;
    struct reader *r, *patient;
    struct writer *w;
    struct call call, waiting;
    int64_t begun_us;

    open_world(&world, false);
    mq = find(world.mount, "jobs");
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, 0, &r), 0);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, TIME_FOREVER, &patient), 0);
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    begun_us = now_us();
    get_begin(&waiting, mq, patient);
    get_begin(&call, mq, r);
    cr_assert_eq(call_end(&call), -ETIMEDOUT);
    cr_assert_geq(now_us() - begun_us, SECOND);
    cr_assert_lt(now_us() - begun_us, 10 * SECOND);
    cr_assert_eq(put(mq, w, "one\n"), 4);
    gate_open(&world.gate);
    cr_assert_eq(call_end(&waiting), 4);
    cr_assert_str_eq(waiting.bytes, "one\n");
    mount_queue_reader_release(mq, r);
    mount_queue_reader_release(mq, patient);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world, NULL);
}

/* What failed after its second does not come to pass later. */
Test(away, changes_end_after_a_second_and_are_not_made_up_for)
{
    struct mount_queue_info info;
    struct world world;
    struct mount_queue *mq;
    struct call make, remove, set, purge;
    struct writer *w;
    int64_t begun_us, asked_us;

    open_world(&world, false);
    mq = find(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    mount_queue_info(mq, &info);
    info.settings.own.maxsize = 7;
    begun_us = now_us();
    call_init(&make);
    call_init(&remove);
    call_init(&set);
    call_init(&purge);
    mount_make_queue(world.mount, "more", 0600, 0, 0, &make.op);
    mount_remove_queue(world.mount, mq, &remove.op);
    mount_queue_set(mq, &info.settings, UINT64_MAX, &set.op);
    mount_queue_purge(mq, &purge.op);
    asked_us = now_us();
    cr_assert_eq(call_end(&make), -ETIMEDOUT);
    cr_assert_eq(call_end(&remove), -ETIMEDOUT);
    cr_assert_eq(call_end(&set), -ETIMEDOUT);
    cr_assert_geq(now_us() - begun_us, SECOND);
    cr_assert_leq(make.op.deadline_us, asked_us + SECOND);
    cr_assert_leq(remove.op.deadline_us, asked_us + SECOND);
    cr_assert_leq(set.op.deadline_us, asked_us + SECOND);
    cr_assert_eq(call_end(&purge), -ETIMEDOUT);
    cr_assert_eq(put(mq, w, "one\n"), 4);
    gate_open(&world.gate);
    cr_assert_eq(flush_back(mq), 0);
    usleep(1500000);
    cr_assert_null(mount_find(world.mount, "more"));
    mount_queue_info(mq, &info);
    cr_assert_not(info.gone);
    cr_assert_eq(info.settings.own.maxsize, 0);
    cr_assert_eq(info.state.depth, 1);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world, NULL);
}

Test(away, a_removal_that_timed_out_does_not_take_what_is_put_later)
{
    struct world world;
    struct mount_queue *mq;
    struct call call;
    struct writer *w;

    open_world(&world, true);
    while (!(mq = mount_find(world.mount, "jobs")))
        usleep(1000);
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    gate_shut(&world.gate);
    call_init(&call);
    mount_remove_queue(world.mount, mq, &call.op);
    cr_assert_eq(call_end(&call), -ETIMEDOUT);
    cr_assert_eq(put(mq, w, "one\n"), 4);
    gate_open(&world.gate);
    cr_assert_eq(flush_back(mq), 0);
    cr_assert_eq(stat_of(mq, "depth"), 1);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world, NULL);
}

Test(away, the_end_says_what_could_not_be_sent)
{
    struct mount_rest rest;
    struct world world;
    struct mount_queue *mq;
    struct reader *r;
    struct writer *w;
    struct call call;

    open_world(&world, false);
    mq = find(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, TIME_FOREVER, &r), 0);
    get_begin(&call, mq, r);
    cr_assert_eq(put(mq, w, "one\ntwo\nthr"), 11);
    mount_stop(world.mount, SECOND / 10, &rest);
    cr_assert_eq(call_end(&call), -ESHUTDOWN);
    cr_assert_eq(rest.n_items, 2);
    cr_assert_eq(rest.n_unfinished, 1);
    mount_queue_writer_release(mq, w);
    mount_queue_reader_release(mq, r);
    mount_queue_unref(mq);
    close_world(&world, &rest);
}

/* There is nothing to send, and what a GET may bring is not waited for as long. */
static void expect_quick_end(bool open)
{
    struct mount_rest rest;
    struct world world;
    struct mount_queue *mq;
    struct reader *r;
    struct call call;
    int64_t begun_us;

    open_world(&world, open);
    while (!(mq = mount_find(world.mount, "jobs")))
        usleep(1000);
    if (open)
        gate_shut(&world.gate);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, TIME_FOREVER, &r), 0);
    get_begin(&call, mq, r);
    begun_us = now_us();
    mount_stop(world.mount, 20 * SECOND, &rest);
    cr_assert_lt(now_us() - begun_us, 10 * SECOND);
    cr_assert_eq(call_end(&call), -ESHUTDOWN);
    mount_queue_reader_release(mq, r);
    mount_queue_unref(mq);
    close_world(&world, &rest);
}

Test(away, the_end_waits_for_no_readers)
{
    expect_quick_end(true);
    expect_quick_end(false);
}

static void *open_later(void *gate)
{
    usleep(300000);
    gate_open(gate);
    return NULL;
}

Test(away, a_service_that_is_back_before_the_end_gets_everything)
{
    struct mount_rest rest;
    struct world world;
    struct mount_queue *mq;
    struct writer *w;
    pthread_t thread;

    open_world(&world, false);
    mq = find(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(put(mq, w, "one\ntwo\n"), 8);
    cr_assert_eq(pthread_create(&thread, NULL, open_later, &world.gate), 0);
    mount_stop(world.mount, 20 * SECOND, &rest);
    pthread_join(thread, NULL);
    cr_assert_eq(rest.n_items, 0);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world, NULL);
}
