/*
 * The server's parts, private to server*.c.
 *
 *   server.c          contexts come and go; start and stop
 *   server_context.c  a context: one request at a time, received, taken by the backend, answered
 *   server_listen.c   listeners
 *
 * A context's only aio receives, then sends, then receives again; between the two the request is
 * the backend's, for as long as it likes. An operation is started only between server_begin() and
 * server_end(): server_free() waits for those before it stops the aios.
 */
#ifndef QUEUEFS_TRANSPORT_SERVER_INTERNAL_H
#define QUEUEFS_TRANSPORT_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <nng/nng.h>

#include "transport/server.h"
#include "transport/wire.h"

#define SERVER_CONTEXTS     32    /* to begin with */
#define SERVER_CONTEXTS_MAX 16384 /* parked requests and all */
#define SERVER_IDLE_MIN     16    /* where fewer wait for a request, more are opened */
#define SERVER_LISTENERS    32
#define SERVER_FLUSH_MS     1000 /* the last answers have so long to go out */
#define SERVER_SETTLE_MS    200  /* connections have so long to become quiet */

enum context_state { CONTEXT_RECEIVES, CONTEXT_SENDS };

struct server_context {
    struct server *server;
    nng_ctx ctx;
    nng_aio *aio;
    enum context_state state;
    struct wire_request decoded;
    nng_msg *received; /* what `decoded` lies in */
    nng_msg *reply;    /* made early for out.get.data, or NULL */
    struct server_context *next;
};

struct server_listener {
    nng_listener id;
    char *url;
    bool tls;
};

struct server {
    struct backend *backend;
    nng_socket socket;
    _Atomic uint64_t bad_frames;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct server_context *contexts;
    size_t n_contexts;
    size_t n_idle;     /* receiving */
    size_t n_taken;    /* with the backend */
    size_t n_sending;  /* answers on their way */
    size_t n_starting; /* between server_begin() and server_end() */
    long n_pipes;      /* connections */
    bool stopping, closing;
    struct server_listener listeners[SERVER_LISTENERS];
    size_t n_listeners;
};

/* server.c */
bool server_begin(struct server *server); /* false: closing, start nothing */
void server_end(struct server *server);
/* A context has got a request: open more where few are left. Within begin and end. */
void server_grow(struct server *server);

/* server_context.c */
int context_open(struct server *server, struct server_context **context);
void context_receive(struct server_context *context); /* within begin and end; counted idle */
void context_free(struct server_context *context);    /* stopped, socket closed */

/* server_listen.c */
int listeners_watch(struct server *server);
void listeners_free(struct server *server);

#endif
