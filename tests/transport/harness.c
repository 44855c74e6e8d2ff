#include "tests/transport/harness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/transport/samples.h"

#define PATIENCE_S 20

static struct timespec from_now(clockid_t clock, long ms)
{
    struct timespec at;

    clock_gettime(clock, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static void answer_one(struct fake *fake, struct request *request, int status)
{
    if (status == 0 && fake->answer)
        status = fake->answer(fake, request);
    else if (status == 0)
        sample_answer(request);
    request->status = status;
    request->done(request);
}

static struct request *take_kept(struct fake *fake)
{
    struct request *list = fake->kept;

    fake->kept = NULL;
    fake->n_kept = 0;
    return list;
}

static void answer_list(struct fake *fake, struct request *list, int status)
{
    while (list) {
        struct request *next = list->next;

        answer_one(fake, list, status);
        list = next;
    }
}

static void *fake_run(void *arg)
{
    struct fake *fake = arg;

    pthread_mutex_lock(&fake->lock);
    while (!fake->ending) {
        struct request *list;

        while (!fake->ending && (fake->mode != FAKE_LATER || !fake->kept))
            pthread_cond_wait(&fake->changed, &fake->lock);
        if (fake->ending)
            break;
        list = take_kept(fake);
        pthread_mutex_unlock(&fake->lock);
        answer_list(fake, list, 0);
        pthread_mutex_lock(&fake->lock);
    }
    pthread_mutex_unlock(&fake->lock);
    return NULL;
}

static void fake_submit(struct backend *backend, struct request *request)
{
    struct fake *fake = (struct fake *)backend;
    bool at_once, ending;

    pthread_mutex_lock(&fake->lock);
    fake->n_seen++;
    fake->last_number = request->number;
    fake->last_answered_below = request->answered_below;
    ending = fake->ending;
    at_once =
        ending || (request->kind == REQUEST_WATCH ? fake->watch_mode : fake->mode) == FAKE_AT_ONCE;
    if (!at_once) {
        request->next = fake->kept;
        fake->kept = request;
        fake->n_kept++;
    }
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
    if (at_once)
        answer_one(fake, request, ending ? -ESHUTDOWN : 0);
}

void fake_init(struct fake *fake, enum fake_mode mode)
{
    memset(fake, 0, sizeof(*fake));
    fake->backend.submit = fake_submit;
    fake->mode = fake->watch_mode = mode;
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
    cr_assert_eq(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
}

void fake_mode(struct fake *fake, enum fake_mode mode)
{
    pthread_mutex_lock(&fake->lock);
    fake->mode = mode;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

void fake_await(struct fake *fake, size_t n)
{
    struct timespec deadline = from_now(CLOCK_REALTIME, PATIENCE_S * 1000);
    int rc = 0;

    pthread_mutex_lock(&fake->lock);
    while (fake->n_seen < n && rc == 0)
        rc = pthread_cond_timedwait(&fake->changed, &fake->lock, &deadline);
    pthread_mutex_unlock(&fake->lock);
    cr_assert_eq(rc, 0, "%zu of %zu requests came", fake->n_seen, n);
}

void fake_answer(struct fake *fake, int status)
{
    struct request *list;

    pthread_mutex_lock(&fake->lock);
    list = take_kept(fake);
    pthread_mutex_unlock(&fake->lock);
    answer_list(fake, list, status);
}

void fake_stop(struct fake *fake)
{
    bool first;

    pthread_mutex_lock(&fake->lock);
    first = !fake->ending;
    fake->ending = true;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
    if (first)
        pthread_join(fake->thread, NULL);
    fake_answer(fake, -ESHUTDOWN);
}

void fake_fini(struct fake *fake)
{
    fake_stop(fake);
    pthread_cond_destroy(&fake->changed);
    pthread_mutex_destroy(&fake->lock);
}

static void call_done(struct request *request)
{
    struct call *call = request->owner;

    call->n_done++;
    sem_post(&call->done);
}

void call_init(struct call *call, enum request_kind kind)
{
    memset(call, 0, sizeof(*call));
    sample_request(&call->request, kind);
    call->request.number = 0;
    call->request.done = call_done;
    call->request.owner = call;
    sem_init(&call->done, 0, 0);
}

void call_start(struct call *call, struct client *client)
{
    struct backend *backend = client_backend(client);

    backend->submit(backend, &call->request);
}

bool call_await_ms(struct call *call, int ms)
{
    struct timespec deadline = from_now(CLOCK_MONOTONIC, ms);
    int rc;

    do
        rc = sem_clockwait(&call->done, CLOCK_MONOTONIC, &deadline);
    while (rc < 0 && errno == EINTR);
    return rc == 0;
}

void call_await(struct call *call)
{
    cr_assert(call_await_ms(call, PATIENCE_S * 1000), "no answer to request %d",
              (int)call->request.kind);
}

void call_fini(struct call *call)
{
    request_release(&call->request);
    sem_destroy(&call->done);
}

void call_expect(struct call *call, struct client *client)
{
    struct request expected = call->request;

    call_start(call, client);
    call_await(call);
    sample_answer(&expected);
    cr_assert_eq(call->request.status, 0, "status %d", call->request.status);
    cr_assert(sample_same_answer(&expected, &call->request), "kind %d", (int)expected.kind);
    cr_assert_eq(call->n_done, 1);
}

void dir_make(char dir[64])
{
    snprintf(dir, 64, "%s/qfs-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    cr_assert_not_null(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void dir_remove(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct server *serve(struct fake *fake, const char *url)
{
    struct server *server;
    char *error = NULL;
    int rc = -EADDRINUSE;

    cr_assert_eq(server_new(&fake->backend, &server), 0);
    /* NNG gives the address of a closed socket back a moment later. */
    for (int i = 0; rc == -EADDRINUSE && i < 2000; i++) {
        free(error);
        if (i)
            usleep(10000);
        rc = server_listen(server, url, 0600, NULL, &error);
    }
    cr_assert_eq(rc, 0, "%s", error);
    cr_assert_eq(server_start(server), 0);
    return server;
}

struct client *connect_any(const char *const *urls, size_t n, int64_t answer_timeout_us)
{
    struct client_options options = {.addresses = urls,
                                     .n_addresses = n,
                                     .clock = &clock_system,
                                     .answer_timeout_us = answer_timeout_us};
    struct client *client;
    char *error;

    cr_assert_eq(client_new(&options, &client, &error), 0, "%s", error);
    cr_assert_eq(client_start(client), 0);
    return client;
}

struct client *connect_to(const char *url, int64_t answer_timeout_us)
{
    return connect_any(&url, 1, answer_timeout_us);
}

void serve_end(struct server *server, struct fake *fake)
{
    server_stop(server);
    fake_stop(fake);
    server_free(server);
    fake_fini(fake);
}
