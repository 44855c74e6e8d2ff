/*
 * server_new to server_start and server_stop, server_free are for one thread; all else runs on
 * NNG's threads and the backend's: nothing here blocks, no lock is held when NNG or the backend is
 * called. server_internal.h says how.
 */
#include "transport/server_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <nng/protocol/reqrep0/rep.h>

#include "core/cond.h"
#include "transport/error.h"
#include "transport/nng_guard.h"
#include "transport/socket.h"

/* Grants that the answer of a GET has room for without being copied. */
#define ROOMY_GRANTS 64

/*
 * NNG leaves room for its header before a message, but not where its size is a power of two. In
 * 1.10.1 a header that goes before such a message that was shortened since is written over its
 * first bytes (nni_chunk_insert() of src/core/message.c moves the rest by too little; inproc alone
 * inserts there).
 */
#define NOT_A_POWER_OF_TWO ((size_t)1)

/* False: closing, start nothing. */
static bool server_begin(struct server *server)
{
    bool go;

    pthread_mutex_lock(&server->lock);
    go = !server->closing;
    if (go)
        server->n_starting++;
    pthread_mutex_unlock(&server->lock);
    return go;
}

static void server_end(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->n_starting--;
    if (server->closing && server->n_starting == 0)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* ---- one request at a time ---- */

static void server_grow(struct server *server);

/* Nothing may be touched after an operation has started: its callback may have run by then. */

static void context_receive(struct server_context *context)
{
    context->state = CONTEXT_RECEIVES;
    nng_ctx_recv(context->ctx, context->aio);
}

/* Forget the request and wait for the next. */
static void context_again(struct server_context *context)
{
    struct server *server = context->server;

    if (!server_begin(server))
        return;
    pthread_mutex_lock(&server->lock);
    server->n_idle++;
    pthread_mutex_unlock(&server->lock);
    context_receive(context);
    server_end(server);
}

static void context_clear(struct server_context *context)
{
    wire_request_fini(&context->decoded);
    if (context->received)
        nng_msg_free(context->received);
    if (context->reply)
        nng_msg_free(context->reply);
    context->received = NULL;
    context->reply = NULL;
}

/* The message in which out.get.data was laid, or a new one, of exactly `size`. */
static nng_msg *reply_message(struct server_context *context, size_t size)
{
    nng_msg *msg = context->reply;
    int rv;

    context->reply = NULL;
    if (!msg)
        return nng_msg_alloc(&msg, size) == 0 ? msg : NULL;
    if (size <= nng_msg_len(msg))
        rv = nng_msg_chop(msg, nng_msg_len(msg) - size);
    else
        rv = nng_msg_realloc(msg, size);
    if (rv == 0)
        return msg;
    nng_msg_free(msg);
    return NULL;
}

static uint8_t *reply_place(nng_msg *reply)
{
    return (uint8_t *)nng_msg_body(reply) + WIRE_REPLY_DATA;
}

/* The frame of the answer, or NULL: no memory. */
static nng_msg *context_encode(struct server_context *context)
{
    const struct request *request = &context->decoded.request;
    bool data_there =
        context->reply && wire_reply_blob(request).data == reply_place(context->reply);
    nng_msg *msg;

    if (context->reply && !data_there) {
        nng_msg_free(context->reply);
        context->reply = NULL;
    }
    msg = reply_message(context, wire_reply_size(request));
    if (msg)
        wire_reply_encode(request, nng_msg_body(msg), data_there);
    return msg;
}

/* Give the peer `msg`. Without memory for an answer (NULL), or for a peer that reads none, there is
 * none: a client asks again. */
static void context_send(struct server_context *context, nng_msg *msg)
{
    struct server *server = context->server;

    context_clear(context);
    peer_worked(context);
    if (!msg) {
        peer_end(context);
        context_again(context);
        return;
    }
    peers_relieve(server);
    if (!server_begin(server)) {
        nng_msg_free(msg);
        return;
    }
    pthread_mutex_lock(&server->lock);
    server->n_sending++;
    pthread_mutex_unlock(&server->lock);
    context->state = CONTEXT_SENDS;
    nng_aio_set_msg(context->aio, msg);
    nng_ctx_send(context->ctx, context->aio);
    server_end(server);
}

static void context_answer(struct server_context *context)
{
    nng_msg *msg = NULL;

    if (peer_reserve(context, wire_reply_size(&context->decoded.request)))
        msg = context_encode(context);
    request_release(&context->decoded.request);
    context_send(context, msg);
}

/* Say which version this is. */
static void context_disown(struct server_context *context)
{
    nng_msg *msg = NULL;

    if (peer_reserve(context, WIRE_REFUSAL) && nng_msg_alloc(&msg, WIRE_REFUSAL) == 0)
        wire_refusal_encode(nng_msg_body(msg));
    context_send(context, msg);
}

static void context_refuse(struct server_context *context, int status)
{
    struct request *request = &context->decoded.request;

    request->status = status;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    context_answer(context);
}

static void context_done(struct request *request)
{
    struct server_context *context = request->owner;
    struct server *server = context->server;

    context_answer(context);
    pthread_mutex_lock(&server->lock);
    server->n_taken--;
    if (server->stopping && server->n_taken == 0)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* The backend lays the items' bytes where the answer wants them. */
static uint8_t *context_reply_buffer(struct request *request, size_t size)
{
    struct server_context *context = request->owner;
    bool get = request->kind == REQUEST_GET;
    size_t rows = get ? request->in.get.max_items : request->in.list.max_items;

    if (size > BATCH_BYTES_MAX)
        return NULL;
    if (context->reply) { /* what was to go there turned out to be damaged */
        nng_msg_free(context->reply);
        context->reply = NULL;
    }
    rows = rows < ROOMY_GRANTS ? rows : ROOMY_GRANTS;
    size += WIRE_REPLY_DATA + rows * WIRE_GRANT;
    if (!peer_reserve(context, size))
        return NULL;
    if (nng_msg_alloc(&context->reply, size | NOT_A_POWER_OF_TWO) != 0) {
        context->reply = NULL;
        return NULL;
    }
    return reply_place(context->reply);
}

static bool context_reply_room(struct request *request, size_t size)
{
    return peer_reserve(request->owner, size);
}

static void context_submit(struct server_context *context)
{
    struct server *server = context->server;
    struct request *request = &context->decoded.request;
    bool stopping;

    pthread_mutex_lock(&server->lock);
    stopping = server->stopping;
    if (!stopping)
        server->n_taken++;
    pthread_mutex_unlock(&server->lock);
    if (stopping) {
        context_refuse(context, -ESHUTDOWN);
        return;
    }
    request->owner = context;
    request->asker = &context->peer->who;
    request->done = context_done;
    request->reply_buffer = context_reply_buffer;
    request->reply_room = context_reply_room;
    server->backend->submit(server->backend, request);
}

static void context_received(struct server_context *context)
{
    struct server *server = context->server;
    nng_msg *msg = nng_aio_get_msg(context->aio);
    int pipe = nng_pipe_id(nng_msg_get_pipe(msg));
    enum peer_verdict verdict = peer_take(context, pipe, nng_msg_len(msg));
    int rc;

    nng_aio_set_msg(context->aio, NULL);
    context->received = msg;
    if (verdict == PEER_DROP) {
        context_clear(context);
        context_again(context);
        return;
    }
    rc = wire_request_decode(nng_msg_body(msg), nng_msg_len(msg), &context->decoded);
    if (rc == 0 && verdict == PEER_REFUSE)
        rc = -ENOMEM;
    if (rc == 0 && !peer_speaks_for(context, &context->decoded.request.session))
        rc = -EPROTO;
    if (rc == WIRE_FOREIGN || rc == WIRE_OTHER_VERSION || rc == -EPROTO)
        atomic_fetch_add(&server->bad_frames, 1);
    if (rc == WIRE_FOREIGN) {
        peer_end(context);
        context_clear(context);
        context_again(context);
    } else if (rc == WIRE_OTHER_VERSION) {
        context_disown(context);
    } else if (rc) {
        context_refuse(context, rc);
    } else {
        context_submit(context);
    }
}

static void receive_ended(struct server_context *context, int rv)
{
    struct server *server = context->server;

    pthread_mutex_lock(&server->lock);
    server->n_idle--;
    pthread_mutex_unlock(&server->lock);
    if (rv)
        return; /* closed: nothing else ends a receive */
    if (server_begin(server)) {
        server_grow(server);
        server_end(server);
    }
    peers_relieve(server);
    context_received(context);
}

static void send_ended(struct server_context *context, int rv)
{
    struct server *server = context->server;

    if (rv) {
        nng_msg *msg = nng_aio_get_msg(context->aio);

        nng_aio_set_msg(context->aio, NULL);
        if (msg)
            nng_msg_free(msg);
    }
    peer_moved(context);
    peer_end(context);
    pthread_mutex_lock(&server->lock);
    server->n_sending--;
    if (server->stopping && server->n_sending == 0)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    context_again(context);
}

static void context_event(void *arg)
{
    struct server_context *context = arg;
    int rv = nng_aio_result(context->aio);

    switch (context->state) {
    case CONTEXT_RECEIVES:
        receive_ended(context, rv);
        break;
    case CONTEXT_SENDS:
        send_ended(context, rv);
        break;
    }
}

static int context_open(struct server *server, struct server_context **opened)
{
    struct server_context *context = calloc(1, sizeof(*context));
    int rv;

    if (!context)
        return -ENOMEM;
    context->server = server;
    rv = nng_ctx_open(&context->ctx, server->socket);
    if (rv)
        goto memory;
    rv = nng_aio_alloc(&context->aio, context_event, context);
    if (rv)
        goto ctx;
    *opened = context;
    return 0;
ctx:
    nng_ctx_close(context->ctx);
memory:
    free(context);
    return error_from_nng(rv);
}

static void context_free(struct server_context *context)
{
    nng_aio_free(context->aio);
    context_clear(context);
    free(context);
}

/* ---- contexts come and go ---- */

/* One more context that waits for a request. */
static int server_add(struct server *server)
{
    struct server_context *context = NULL;
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

static void server_grow(struct server *server)
{
    while (wants_more(server) && server_add(server) == 0)
        continue;
}

static int sync_init(struct server *server)
{
    int rc = cond_init(&server->changed);

    if (rc < 0)
        return rc;
    rc = -pthread_mutex_init(&server->lock, NULL);
    if (rc < 0)
        pthread_cond_destroy(&server->changed);
    return rc;
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
    TAILQ_INIT(&server->present);
    rc = sync_init(server);
    if (rc < 0)
        goto memory;
    rc = error_from_nng(nng_rep0_open(&server->socket));
    if (rc < 0)
        goto sync;
    rc = memory_init(server);
    if (rc < 0)
        goto socket;
    rc = listeners_watch(server);
    if (rc < 0)
        goto memory_aio;
    *made = server;
    return 0;
memory_aio:
    memory_fini(server);
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

/* A peer that reads nothing must not keep us: its answers are given up after a while. */
static void await_answers_locked(struct server *server)
{
    int64_t until_us;

    while (server->n_taken > 0)
        pthread_cond_wait(&server->changed, &server->lock);
    until_us = cond_in_ms(SERVER_FLUSH_MS);
    while (server->n_sending > 0 && cond_wait_until(&server->changed, &server->lock, until_us))
        continue;
}

/* With no context receiving, a connection reads one request more and then is quiet. NNG closes
 * quiet connections reliably. */
static void await_quiet(struct server *server)
{
    int64_t until_us = cond_in_ms(SERVER_SETTLE_MS);

    pthread_mutex_lock(&server->lock);
    while (server->n_peers > 0 && cond_wait_until(&server->changed, &server->lock, until_us))
        continue;
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
    memory_stop(server);
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
    memory_fini(server);
    listeners_free(server);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    free(server);
}
