/*
 * The server's parts, private to server*.c.
 *
 *   server.c         contexts: one request each, received, taken by the backend, answered
 *   server_listen.c   listeners
 *   server_peer.c     connections, and what each may use
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
#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <nng/nng.h>

#include "transport/server.h"
#include "transport/wire.h"

#define SERVER_CONTEXTS     32    /* to begin with */
#define SERVER_CONTEXTS_MAX 16384 /* parked requests and all */
#define SERVER_IDLE_MIN     16    /* where fewer wait for a request, more are opened */
#define SERVER_LISTENERS    32
#define SERVER_FLUSH_MS     1000 /* the last answers have so long to go out */
#define SERVER_SETTLE_MS    200  /* connections have so long to become quiet */

/* Connections, and what they may use. */
#define SERVER_PEERS_MAX     4096              /* or half of the descriptors */
#define SERVER_SILENT_US     INT64_C(10000000) /* who sent no whole frame for so long gives way */
#define SERVER_PEER_SESSIONS 4   /* a mount has one; those of all peers fit into a service */
#define SERVER_PEER_REQUESTS 512 /* being worked on, or answers not read; clients have 272 */
#define SERVER_SMALL         ((size_t)64 << 10)  /* frames of this size are always taken */
#define SERVER_HELD_MAX      ((size_t)256 << 20) /* requests being worked on */
#define SERVER_PEER_UNSENT   ((size_t)96 << 20)  /* answers that one connection does not read */
#define SERVER_UNSENT_MAX    ((size_t)288 << 20) /* and all of them */
#define SERVER_PARTS_MAX     ((size_t)512 << 20) /* requests that have come in part */
#define SERVER_STUCK_US      INT64_C(2000000) /* whose answers did not move for so long is stuck */

struct server_peer {
    RB_ENTRY(server_peer) by_pipe;
    TAILQ_ENTRY(server_peer) link; /* of those that are not gone, the longest silent first */
    int pipe;
    struct identity who;
    uint64_t owner;      /* see peer_owner() */
    int64_t heard_us;    /* when its last whole frame came, or it */
    bool spoke;          /* a whole frame came */
    size_t n_requests;   /* of contexts that have it as their peer */
    size_t unsent_bytes; /* answers being made, or on their way */
    int64_t moved_us;    /* when the last answer went out, or the first was made */
    bool gone, closing;
    size_t n_sessions;
    struct producer_id sessions[SERVER_PEER_SESSIONS]; /* for which it has spoken */
};

RB_HEAD(server_peers, server_peer);

enum context_state { CONTEXT_RECEIVES, CONTEXT_SENDS };

struct server_context {
    struct server *server;
    nng_ctx ctx;
    nng_aio *aio;
    enum context_state state;
    struct wire_request decoded;
    nng_msg *received;        /* what `decoded` lies in */
    nng_msg *reply;           /* made early for out.get.data, or NULL */
    struct server_peer *peer; /* from peer_take() to peer_end() */
    size_t held_bytes, unsent_bytes;
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
    struct server_peers peers;
    TAILQ_HEAD(, server_peer) present; /* those that are not gone */
    size_t n_peers;                    /* of these */
    size_t held_bytes, unsent_bytes;   /* of all contexts */
    int64_t told_us;                   /* when it said that a connection is refused; 0: never */
    /* server_memory.c: */
    nng_aio *memory_aio;
    bool measures;       /* lock */
    int64_t usual_bytes; /* lock; the least that there was, or what closing did not help against */
    int64_t closed_us;   /* when it said that connections are closed; 0: never */
    bool stopping, closing;
    struct server_listener listeners[SERVER_LISTENERS];
    size_t n_listeners;
    struct tls *tls; /* of those with TLS; NULL: there are none */
};

/* server_peer.c */
/*
 * False: refuse it. Where there are as many as there may be, or of its owner as many as are left
 * for all others, one that never spoke, or was silent for long, gives way.
 */
bool peer_came(struct server *server, int pipe, const struct identity *who, uint64_t owner);
void peer_gone(struct server *server, int pipe);
void peers_free(struct server *server);
enum peer_verdict {
    PEER_TAKE,
    PEER_DROP,  /* answer nothing; no peer_end() */
    PEER_REFUSE /* answer -ENOMEM */
};
/* A frame of `len` bytes came; it and its answer count until peer_end(). */
enum peer_verdict peer_take(struct server_context *context, int pipe, size_t len);
/* Whether the peer may speak for this session: for so many only. */
bool peer_speaks_for(struct server_context *context, const struct producer_id *session);
/* The frame's memory was given back. */
void peer_worked(struct server_context *context);
/* An answer of `len` bytes is made. False: there is no room for it. May be called again with
 * another length. */
bool peer_reserve(struct server_context *context, size_t len);
/* An answer went out. */
void peer_moved(struct server_context *context);
void peer_end(struct server_context *context); /* harmless without a peer */
/* See to it that there is memory, and contexts, for others. No lock held. */
void peers_relieve(struct server *server);

/* server_memory.c */
int memory_init(struct server *server);
void memory_watch(struct server *server); /* a connection came; no lock held */
void memory_stop(struct server *server);  /* nothing of it runs any more */
void memory_fini(struct server *server);

/* server_listen.c */
int listeners_watch(struct server *server);
void listeners_free(struct server *server);

#endif
