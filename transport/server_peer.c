/*
 * Connections and what each may use. A frame that would be too much is dropped or refused for want
 * of memory, an answer that would be too much is dropped: the client asks again, which is always
 * safe. Where all peers together have used up what there is, the one with the most of it loses its
 * connection. So a peer that floods, or asks and never reads, harms itself alone.
 *
 * Known by the number of its pipe, from before the first frame until its last request is over.
 */
#include "transport/server_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/refused.h"
#include "transport/descriptors.h"
#include "transport/peer_name.h"

#define TELL_US INT64_C(60000000) /* between two lines in the log that somebody is refused */

static int peer_compare(const struct server_peer *a, const struct server_peer *b)
{
    return (a->pipe > b->pipe) - (a->pipe < b->pipe);
}

RB_GENERATE_INTERNAL(server_peers, server_peer, by_pipe, peer_compare,
                     __attribute__((unused)) static)

static struct server_peer *peer_find_locked(struct server *server, int pipe)
{
    struct server_peer wanted = {.pipe = pipe};

    return RB_FIND(server_peers, &server->peers, &wanted);
}

/* ---- a place for a new one ---- */

static size_t count_of_locked(const struct server *server, uint64_t owner)
{
    const struct server_peer *peer;
    size_t n = 0;

    TAILQ_FOREACH (peer, &server->present, link)
        n += peer->owner == owner;
    return n;
}

/* The one that gives way: the oldest that never sent a whole frame (a client does so at once), else
 * the longest silent, if that was long. Of this owner where it is not 0; NULL: none. */
static struct server_peer *silent_locked(struct server *server, uint64_t owner, int64_t now_us)
{
    struct server_peer *peer, *silent = NULL;

    TAILQ_FOREACH (peer, &server->present, link) {
        if (peer->closing || (owner != 0 && peer->owner != owner))
            continue;
        if (!peer->spoke)
            return peer;
        if (!silent && now_us - peer->heard_us >= SERVER_SILENT_US)
            silent = peer;
    }
    return silent;
}

/* Whether there is a place for one more of this owner; *silent is the one that gives way for it. */
static bool place_locked(struct server *server, uint64_t owner, int64_t now_us,
                         struct server_peer **silent)
{
    const size_t most = descriptors_for(SERVER_PEERS_MAX, 1, 2);
    bool full = server->n_peers >= most;
    bool greedy = owner != 0 && 2 * server->n_peers >= most &&
                  count_of_locked(server, owner) + server->n_peers >= most;

    *silent = NULL;
    if (full || greedy)
        *silent = silent_locked(server, full ? 0 : owner, now_us);
    if (*silent)
        (*silent)->closing = true;
    return (!full && !greedy) || *silent;
}

static void peer_add_locked(struct server *server, struct server_peer *peer)
{
    if (RB_INSERT(server_peers, &server->peers, peer))
        return;
    TAILQ_INSERT_TAIL(&server->present, peer, link);
    server->n_peers++;
}

/* Told now and then. */
static void tell_full(int pipe, bool first)
{
    char name[PEER_NAME_MAX];

    refused_add();
    if (!first)
        return;
    peer_name(pipe, name);
    log_warning("no further connection is taken: that of %s is refused, and others are", name);
}

bool peer_came(struct server *server, int pipe, const struct identity *who, uint64_t owner)
{
    struct server_peer *peer = calloc(1, sizeof(*peer)), *silent;
    nng_pipe away = NNG_PIPE_INITIALIZER;
    bool may, first;

    if (!peer)
        return false;
    peer->pipe = pipe;
    peer->who = *who;
    peer->owner = owner;
    peer->heard_us = clock_system.mono_us(&clock_system);
    pthread_mutex_lock(&server->lock);
    may = place_locked(server, owner, peer->heard_us, &silent);
    first = !may && (server->told_us == 0 || peer->heard_us - server->told_us > TELL_US);
    if (first)
        server->told_us = peer->heard_us;
    if (silent)
        away.id = (uint32_t)silent->pipe;
    if (may)
        peer_add_locked(server, peer);
    pthread_mutex_unlock(&server->lock);
    if (!may)
        free(peer);
    if (!may)
        tell_full(pipe, first);
    else
        memory_watch(server);
    if (silent) {
        refused_add();
        nng_pipe_close(away);
    }
    return may;
}

static void peer_free_locked(struct server *server, struct server_peer *peer)
{
    RB_REMOVE(server_peers, &server->peers, peer);
    free(peer);
}

void peer_gone(struct server *server, int pipe)
{
    struct server_peer *peer;

    pthread_mutex_lock(&server->lock);
    peer = peer_find_locked(server, pipe);
    if (peer) {
        TAILQ_REMOVE(&server->present, peer, link);
        server->n_peers--;
        peer->gone = true;
        if (peer->n_requests == 0)
            peer_free_locked(server, peer);
        if (server->closing && server->n_peers == 0)
            pthread_cond_broadcast(&server->changed);
    }
    pthread_mutex_unlock(&server->lock);
}

void peers_free(struct server *server)
{
    struct server_peer *peer;

    while ((peer = RB_ROOT(&server->peers)) != NULL)
        peer_free_locked(server, peer);
}

/* ---- requests ---- */

static void heard_locked(struct server *server, struct server_peer *peer)
{
    peer->heard_us = clock_system.mono_us(&clock_system);
    peer->spoke = true;
    TAILQ_REMOVE(&server->present, peer, link);
    TAILQ_INSERT_TAIL(&server->present, peer, link);
}

enum peer_verdict peer_take(struct server_context *context, int pipe, size_t len)
{
    struct server *server = context->server;
    enum peer_verdict verdict = PEER_TAKE;
    struct server_peer *peer;

    pthread_mutex_lock(&server->lock);
    peer = peer_find_locked(server, pipe);
    if (!peer || peer->n_requests >= SERVER_PEER_REQUESTS)
        verdict = PEER_DROP;
    else if (len > SERVER_SMALL && server->held_bytes + len > SERVER_HELD_MAX)
        verdict = PEER_REFUSE;
    if (peer && !peer->gone)
        heard_locked(server, peer);
    if (verdict != PEER_DROP) {
        peer->n_requests++;
        server->held_bytes += len;
        context->peer = peer;
        context->held_bytes = len;
    }
    pthread_mutex_unlock(&server->lock);
    if (peer && verdict != PEER_TAKE)
        refused_add();
    return verdict;
}

bool peer_speaks_for(struct server_context *context, const struct producer_id *session)
{
    struct server *server = context->server;
    struct server_peer *peer = context->peer;
    bool known = false;

    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < peer->n_sessions && !known; i++)
        known = memcmp(&peer->sessions[i], session, sizeof(*session)) == 0;
    if (!known && peer->n_sessions < SERVER_PEER_SESSIONS) {
        peer->sessions[peer->n_sessions++] = *session;
        known = true;
    }
    pthread_mutex_unlock(&server->lock);
    if (!known)
        refused_add();
    return known;
}

void peer_worked(struct server_context *context)
{
    struct server *server = context->server;

    pthread_mutex_lock(&server->lock);
    server->held_bytes -= context->held_bytes;
    context->held_bytes = 0;
    pthread_mutex_unlock(&server->lock);
}

/* Small answers always have, as the number of a connection's requests is bounded. */
static bool has_room_locked(const struct server *server, const struct server_peer *peer, size_t len)
{
    if (len <= SERVER_SMALL)
        return true;
    return peer->unsent_bytes + len <= SERVER_PEER_UNSENT &&
           server->unsent_bytes + len <= SERVER_UNSENT_MAX;
}

static void release_locked(struct server_context *context)
{
    struct server *server = context->server;

    server->held_bytes -= context->held_bytes;
    server->unsent_bytes -= context->unsent_bytes;
    context->peer->unsent_bytes -= context->unsent_bytes;
    context->held_bytes = context->unsent_bytes = 0;
}

bool peer_reserve(struct server_context *context, size_t len)
{
    struct server *server = context->server;
    struct server_peer *peer = context->peer;
    bool may, over;

    pthread_mutex_lock(&server->lock);
    server->unsent_bytes -= context->unsent_bytes;
    peer->unsent_bytes -= context->unsent_bytes;
    context->unsent_bytes = 0;
    may = !peer->gone && has_room_locked(server, peer, len);
    over = !may && !peer->gone;
    if (may && peer->unsent_bytes == 0)
        peer->moved_us = clock_system.mono_us(&clock_system);
    if (may) {
        context->unsent_bytes = len;
        peer->unsent_bytes += len;
        server->unsent_bytes += len;
    }
    pthread_mutex_unlock(&server->lock);
    if (over)
        refused_add();
    return may;
}

void peer_moved(struct server_context *context)
{
    struct server *server = context->server;

    pthread_mutex_lock(&server->lock);
    context->peer->moved_us = clock_system.mono_us(&clock_system);
    pthread_mutex_unlock(&server->lock);
}

void peer_end(struct server_context *context)
{
    struct server *server = context->server;
    struct server_peer *peer = context->peer;

    if (!peer)
        return;
    pthread_mutex_lock(&server->lock);
    release_locked(context);
    peer->n_requests--;
    if (peer->gone && peer->n_requests == 0)
        peer_free_locked(server, peer);
    pthread_mutex_unlock(&server->lock);
    context->peer = NULL;
}

/* ---- when all together use too much ---- */

/* The one with the most requests; or with the most bytes, of those that do not read. */
static struct server_peer *worst_locked(struct server *server, bool by_bytes)
{
    int64_t stuck_us = clock_system.mono_us(&clock_system) - SERVER_STUCK_US;
    struct server_peer *peer, *worst = NULL;

    RB_FOREACH (peer, server_peers, &server->peers) {
        size_t its = by_bytes ? peer->unsent_bytes : peer->n_requests;

        if (peer->gone || peer->closing || its == 0 || (by_bytes && peer->moved_us > stuck_us))
            continue;
        if (!worst || its > (by_bytes ? worst->unsent_bytes : worst->n_requests))
            worst = peer;
    }
    return worst;
}

void peers_relieve(struct server *server)
{
    struct server_peer *worst = NULL;
    nng_pipe pipe = NNG_PIPE_INITIALIZER;
    char name[PEER_NAME_MAX];
    bool bytes;

    pthread_mutex_lock(&server->lock);
    bytes = server->unsent_bytes > SERVER_UNSENT_MAX / 2;
    if (bytes || (server->n_idle == 0 && server->n_contexts >= SERVER_CONTEXTS_MAX))
        worst = worst_locked(server, bytes);
    if (worst) {
        worst->closing = true;
        pipe.id = (uint32_t)worst->pipe;
    }
    pthread_mutex_unlock(&server->lock);
    if (!worst)
        return;
    refused_add();
    peer_name((int)pipe.id, name);
    log_warning("the connection of %s was closed: %s", name,
                bytes ? "it does not read its answers" : "its requests took every place");
    nng_pipe_close(pipe);
}
