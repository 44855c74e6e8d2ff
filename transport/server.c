/* server_new to server_start and server_stop, server_free are for one thread; all else runs on
 * NNG's threads and the backend's. server_internal.h says how. */
#include "transport/server_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <nng/protocol/reqrep0/rep.h>

#include "transport/error.h"
#include "transport/nng_guard.h"
#include "transport/socket.h"

bool server_begin(struct server *server)
{
    bool go;

    pthread_mutex_lock(&server->lock);
    go = !server->closing;
    if (go)
        server->n_starting++;
    pthread_mutex_unlock(&server->lock);
    return go;
}

void server_end(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->n_starting--;
    if (server->closing && server->n_starting == 0)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* One more context that waits for a request. */
static int server_add(struct server *server)
{
    struct server_context *context;
    int rc = context_open(server, &context);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&server->lock);
    context->next = server->contexts;
    server->contexts = context;
    server->n_contexts++;
    server->n_idle++;
    pthread_mutex_unlock(&server->lock);
    context_receive(context);
    return 0;
}

static bool wants_more(struct server *server)
{
    bool more;

    pthread_mutex_lock(&server->lock);
    more = server->n_idle < SERVER_IDLE_MIN && server->n_contexts < SERVER_CONTEXTS_MAX;
    pthread_mutex_unlock(&server->lock);
    return more;
}

void server_grow(struct server *server)
{
    while (wants_more(server) && server_add(server) == 0)
        continue;
}

static int sync_init(struct server *server)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc)
        return -rc;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&server->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (rc)
        return -rc;
    rc = pthread_mutex_init(&server->lock, NULL);
    if (rc)
        pthread_cond_destroy(&server->changed);
    return -rc;
}

int server_new(struct backend *backend, struct server **made)
{
    struct server *server;
    int rc;

    if (!nng_guard_init())
        return -ENOTSUP;
    server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->backend = backend;
    RB_INIT(&server->peers);
    rc = sync_init(server);
    if (rc < 0)
        goto memory;
    rc = error_from_nng(nng_rep0_open(&server->socket));
    if (rc < 0)
        goto sync;
    rc = listeners_watch(server);
    if (rc < 0)
        goto socket;
    *made = server;
    return 0;
socket:
    socket_close(server->socket);
sync:
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
memory:
    free(server);
    return rc;
}

int server_start(struct server *server)
{
    int rc = server->tls ? tls_watch(server->tls) : 0;

    for (size_t i = 0; rc == 0 && i < SERVER_CONTEXTS; i++)
        rc = server_add(server);
    return rc;
}

uint64_t server_bad_frames(const struct server *server)
{
    return atomic_load(&server->bad_frames);
}

void server_stop(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    pthread_mutex_unlock(&server->lock);
}

static struct timespec in_ms(long ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

/* A peer that reads nothing must not keep us: its answers are given up after a while. */
static void await_answers_locked(struct server *server)
{
    struct timespec deadline;
    int rc = 0;

    while (server->n_taken > 0)
        pthread_cond_wait(&server->changed, &server->lock);
    deadline = in_ms(SERVER_FLUSH_MS);
    while (server->n_sending > 0 && rc == 0)
        rc = pthread_cond_timedwait(&server->changed, &server->lock, &deadline);
}

/* With no context receiving, a connection reads one request more and then is quiet. NNG closes
 * quiet connections reliably. */
static void await_quiet(struct server *server)
{
    struct timespec deadline = in_ms(SERVER_SETTLE_MS);
    int rc = 0;

    pthread_mutex_lock(&server->lock);
    while (server->n_peers > 0 && rc == 0)
        rc = pthread_cond_timedwait(&server->changed, &server->lock, &deadline);
    pthread_mutex_unlock(&server->lock);
}

static void stop_contexts(struct server *server)
{
    struct server_context *context;

    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    await_answers_locked(server);
    server->closing = true;
    while (server->n_starting > 0)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
    for (context = server->contexts; context; context = context->next)
        nng_aio_stop(context->aio);
}

void server_free(struct server *server)
{
    struct server_context *context;

    if (!server)
        return;
    tls_unwatch(server->tls);
    stop_contexts(server);
    await_quiet(server);
    for (context = server->contexts; context; context = context->next)
        nng_ctx_close(context->ctx);
    if (socket_close(server->socket) < 0)
        return;
    while ((context = server->contexts)) {
        server->contexts = context->next;
        context_free(context);
    }
    peers_free(server);
    listeners_free(server);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    free(server);
}
