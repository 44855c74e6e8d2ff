/*
 * The connection. One thread dials the addresses in turn, one at a time. The socket's pipe events,
 * on NNG's threads, say when a connection is there and when it is gone.
 *
 * NNG 1.5 may hang in its clean-up for good when a dialer is closed while its connection breaks or
 * is busy. So where there is one address, a broken connection is left to NNG's own redialling;
 * where there are several, that is off and the dialer is closed a moment after the break. A
 * connection that works is closed only when the client stops, and its requests before it.
 */
#include "transport/client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/cond.h"
#include "core/log.h"
#include "transport/error.h"
#include "transport/wire.h"

#define NEVER_MS 86400000

static void note_locked(struct client *client, const char *why)
{
    snprintf(client->last_error, sizeof(client->last_error), "%s: %.200s",
             client->targets[client->target].url, why);
}

void link_note(struct client *client, const char *why)
{
    pthread_mutex_lock(&client->lock);
    note_locked(client, why);
    pthread_mutex_unlock(&client->lock);
}

/* The address, where it is news that there is a connection again; else NULL. */
static const char *rise_locked(struct client *client)
{
    const char *url = client->lost ? client->targets[client->target].url : NULL;

    if (!client->pipe || client->suspect || client->up)
        return NULL;
    client->lost = false;
    client->up = true;
    client->targets[client->target].foreign = 0;
    return url;
}

static void log_again(const char *url)
{
    if (url)
        log_info("connected to queue service %s again", url);
}

/* A connection counts once something came over it: a process that is stopped lets others connect,
 * and no more. */
void link_heard(struct client *client)
{
    const char *url;

    if (atomic_load(&client->up))
        return;
    pthread_mutex_lock(&client->lock);
    url = rise_locked(client);
    pthread_mutex_unlock(&client->lock);
    log_again(url);
}

/* Whether that is news. Before the first connection whoever started the client knows it. */
static bool fall_locked(struct client *client)
{
    bool news = client->up && !client->leaving && !client->stopping;

    client->up = false;
    client->lost |= news;
    return news;
}

static void log_lost(struct client *client)
{
    char why[sizeof(client->last_error)];

    pthread_mutex_lock(&client->lock);
    memcpy(why, client->last_error, sizeof(why));
    pthread_mutex_unlock(&client->lock);
    log_warning("queue service %s; what is put is kept and sent when it is back", why);
}

void link_suspect(struct client *client)
{
    bool lost = false;

    pthread_mutex_lock(&client->lock);
    if (client->pipe && !client->suspect) {
        note_locked(client, "no answer");
        client->suspect = true;
        lost = fall_locked(client);
        pthread_cond_broadcast(&client->changed);
    }
    pthread_mutex_unlock(&client->lock);
    if (lost)
        log_lost(client);
}

static void explain_version(uint8_t version, char why[TLS_WHY_MAX])
{
    if (version == 0)
        snprintf(why, TLS_WHY_MAX, "its answers are none of a queue service");
    else
        snprintf(why, TLS_WHY_MAX,
                 "the service speaks version %u of the protocol, this mount version %d: upgrade %s",
                 version, WIRE_VERSION, version < WIRE_VERSION ? "the service" : "this mount");
}

void link_foreign(struct client *client, uint8_t version)
{
    char why[TLS_WHY_MAX];
    struct target *target;
    bool news = false;

    explain_version(version, why);
    pthread_mutex_lock(&client->lock);
    target = &client->targets[client->target];
    if (client->pipe && !client->suspect) {
        note_locked(client, why);
        client->suspect = true;
        fall_locked(client);
        news = !client->leaving && target->foreign != (version ? version : -1);
        target->foreign = version ? version : -1;
        client->lost |= news;
        pthread_cond_broadcast(&client->changed);
    }
    pthread_mutex_unlock(&client->lock);
    if (news)
        log_warning("queue service %s: %s; what is put is kept and sent when that is done",
                    target->url, why);
}

void link_ending(struct client *client)
{
    pthread_mutex_lock(&client->lock);
    if (client->pipe && !client->ending) {
        note_locked(client, "the service is ending");
        client->ending = true;
        pthread_cond_broadcast(&client->changed);
    }
    pthread_mutex_unlock(&client->lock);
}

int64_t link_since(struct client *client, int pipe)
{
    int64_t since_us;

    pthread_mutex_lock(&client->lock);
    since_us = client->newest == pipe ? client->newest_us : 0;
    pthread_mutex_unlock(&client->lock);
    return since_us;
}

/* A connection is about to be used. */
static void pipe_made(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct client *client = arg;

    (void)event;
    pthread_mutex_lock(&client->lock);
    client->newest = nng_pipe_id(pipe);
    client->newest_us = client->clock->mono_us(client->clock);
    pthread_mutex_unlock(&client->lock);
}

/* The first answer over a connection may come before it is said to be there. */
static const char *came_locked(struct client *client, int id)
{
    client->came = true;
    client->pipe = client->gone == id ? 0 : id;
    if (client->newest != id || atomic_load(&client->heard_us) < client->newest_us)
        return NULL;
    return rise_locked(client);
}

/* A connection that breaks at once may be gone before it is said to have come. */
static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct client *client = arg;
    int id = nng_pipe_id(pipe);
    const char *again = NULL;
    bool lost = false;

    pthread_mutex_lock(&client->lock);
    if (event == NNG_PIPE_EV_ADD_POST) {
        again = came_locked(client, id);
    } else if (client->pipe != id) {
        client->gone = id;
    } else {
        client->pipe = 0;
        if (!client->suspect && !client->ending && !client->leaving)
            note_locked(client, "the connection was lost");
        lost = fall_locked(client);
    }
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
    log_again(again);
    if (lost)
        log_lost(client);
}

void link_watch(struct client *client)
{
    nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_PRE, pipe_made, client);
    nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_POST, pipe_changed, client);
    nng_pipe_notify(client->socket, NNG_PIPE_EV_REM_POST, pipe_changed, client);
}

/* Wait for a change, until then at most; false: that time has come. */
static bool wait_locked(struct client *client, int64_t until_us)
{
    return cond_wait_until(&client->changed, &client->lock, until_us);
}

/* A timer of each dial. Closing the dialer ends nng_dialer_start(). */
struct watchdog {
    struct client *client;
    nng_aio *aio;
};

static void watchdog_bites(void *arg)
{
    struct watchdog *watchdog = arg;
    struct client *client = watchdog->client;

    if (nng_aio_result(watchdog->aio) != 0)
        return;
    pthread_mutex_lock(&client->lock);
    client->timed_out = true;
    pthread_mutex_unlock(&client->lock);
    nng_dialer_close(client->dialer);
}

static int dialer_start(struct client *client)
{
    struct watchdog watchdog = {.client = client};
    int rv = nng_aio_alloc(&watchdog.aio, watchdog_bites, &watchdog);

    if (rv)
        return rv;
    nng_sleep_aio(CLIENT_CONNECT_MS, watchdog.aio);
    rv = nng_dialer_start(client->dialer, 0);
    nng_aio_stop(watchdog.aio);
    nng_aio_free(watchdog.aio);
    pthread_mutex_lock(&client->lock);
    client->dialing = false;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
    return client->timed_out ? NNG_ETIMEDOUT : rv;
}

static int set_redial(struct client *client, nng_dialer dialer)
{
    bool one = client->n_targets == 1;
    int rv =
        nng_dialer_set_ms(dialer, NNG_OPT_RECONNMINT, one ? BACKOFF_FIRST_US / 1000 : NEVER_MS);

    return rv ? rv : nng_dialer_set_ms(dialer, NNG_OPT_RECONNMAXT, one ? BACKOFF_MAX_US / 1000 : 0);
}

static int dialer_make(struct client *client, const struct target *target)
{
    nng_dialer dialer;
    int rv = nng_dialer_create(&dialer, client->socket, target->url);

    if (rv)
        return rv;
    rv = nng_dialer_set_size(dialer, NNG_OPT_RECVMAXSZ, WIRE_FRAME_MAX);
    if (rv == 0)
        rv = set_redial(client, dialer);
    if (rv == 0 && target->config)
        rv = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, target->config);
    if (rv) {
        nng_dialer_close(dialer);
        return rv;
    }
    pthread_mutex_lock(&client->lock);
    client->dialer = dialer;
    client->dialing = !client->leaving;
    client->timed_out = client->came = client->suspect = client->ending = false;
    pthread_mutex_unlock(&client->lock);
    if (client->dialing)
        return 0;
    nng_dialer_close(dialer);
    return NNG_ECLOSED;
}

/* Wait for the connection that a dial has made; it comes a moment later, if at all. */
static bool await_first_locked(struct client *client)
{
    int64_t until_us = cond_in_ms(CLIENT_CONNECT_MS), leave_us = cond_in_ms(CLIENT_SETTLE_MS);

    while (!client->came && wait_locked(client, client->leaving ? leave_us : until_us))
        continue;
    return client->came;
}

/* Wait for a connection. False: it did not come in time, or the client stops. */
static bool await_pipe_locked(struct client *client, long ms)
{
    int64_t until_us = cond_in_ms(ms);

    while (!client->leaving && !client->pipe && wait_locked(client, until_us))
        continue;
    return !client->leaving && client->pipe;
}

/* A service that is ending is to close the connection; it has a moment to do so. */
static void await_end_locked(struct client *client)
{
    int64_t until_us = cond_in_ms(CLIENT_ENDING_MS);

    while (!client->leaving && client->pipe && wait_locked(client, until_us))
        continue;
    client->suspect = true;
}

/* Stay with an address while it is good. False: its connection never came up, although dialling
 * worked. */
static bool link_stay(struct client *client)
{
    bool several = client->n_targets > 1, came;

    pthread_mutex_lock(&client->lock);
    came = await_first_locked(client);
    if (came)
        client->targets[client->target].said[0] = '\0';
    while (came && !client->leaving && !client->suspect) {
        if (client->ending && several)
            await_end_locked(client);
        else if (client->pipe)
            pthread_cond_wait(&client->changed, &client->lock);
        else if (!await_pipe_locked(client, several ? CLIENT_SETTLE_MS : CLIENT_REDIAL_MS))
            break;
    }
    pthread_mutex_unlock(&client->lock);
    return came;
}

/* Close the dialer and wait until its connection is gone, so that there are never two. */
static void link_leave(struct client *client)
{
    int64_t settled_us = cond_in_ms(CLIENT_SETTLE_MS), until_us;

    pthread_mutex_lock(&client->lock);
    while (client->came && !client->pipe && wait_locked(client, settled_us))
        continue;
    pthread_mutex_unlock(&client->lock);
    nng_dialer_close(client->dialer);
    until_us = cond_in_ms(CLIENT_CLOSE_MS);
    pthread_mutex_lock(&client->lock);
    while (client->pipe && wait_locked(client, until_us))
        continue;
    client->pipe = 0;
    pthread_mutex_unlock(&client->lock);
}

/* Why a dial failed, in words. `rv` 0: it worked, but its connection never came up. */
static void explain(const struct target *target, int rv, char why[TLS_WHY_MAX])
{
    const bool closed = rv == 0 || rv == NNG_ECONNSHUT || rv == NNG_ECLOSED ||
                        rv == NNG_ECONNRESET || rv == NNG_EPROTO;

    if (target->report && tls_report_take(target->report, why))
        return;
    if (!closed)
        snprintf(why, TLS_WHY_MAX, "%s", nng_strerror(rv));
    else if (target->address.kind == ADDRESS_TCP)
        snprintf(why, TLS_WHY_MAX,
                 "nothing there speaks our protocol without TLS (tls+tcp:// "
                 "rather than tcp://?)");
    else if (target->config)
        snprintf(why, TLS_WHY_MAX,
                 "the connection was closed in the handshake: no TLS there (tcp:// rather than "
                 "tls+tcp://?), or it may not accept this certificate: its log says why");
    else
        snprintf(why, TLS_WHY_MAX, "nothing there speaks our protocol");
}

/* For `stats`, and once for the log. */
static void link_failed(struct client *client, struct target *target, int rv)
{
    char why[TLS_WHY_MAX];
    bool news;

    explain(target, rv, why);
    pthread_mutex_lock(&client->lock);
    note_locked(client, why);
    news = !client->leaving && strcmp(target->said, why) != 0;
    client->lost |= news;
    pthread_mutex_unlock(&client->lock);
    if (!news)
        return;
    log_warning("queue service %s: %s", target->url, why);
    memcpy(target->said, why, sizeof(target->said));
}

/* One address, from dialling until its connection is no good any more. True: it was one. */
static bool link_try(struct client *client)
{
    struct target *target = &client->targets[client->target];
    bool came = false;
    int rv;

    if (target->config)
        tls_refresh(client->tls);
    rv = dialer_make(client, target);

    if (rv == 0) {
        rv = dialer_start(client);
        if (rv == 0)
            came = link_stay(client);
        link_leave(client);
    }
    if (!came)
        link_failed(client, target, rv);
    return came;
}

/* An address that was good until its connection broke is tried again at once, and first; else the
 * next one has its turn, and after each round of them there is a pause. */
void *link_run(void *arg)
{
    struct client *client = arg;
    struct backoff pause;
    bool stopping = false;

    backoff_reset(&pause);
    while (!stopping) {
        int64_t heard_us = atomic_load(&client->heard_us);
        bool came = link_try(client);
        bool good = came && atomic_load(&client->heard_us) != heard_us;
        bool next, round;
        int64_t until_us;

        pthread_mutex_lock(&client->lock);
        next = !good || client->suspect;
        if (next)
            client->target = (client->target + 1) % client->n_targets;
        round = next && client->target == 0;
        if (good)
            backoff_reset(&pause);
        until_us = cond_in_ms(round ? backoff_next(&pause) / 1000 : 0);
        while (!client->leaving && wait_locked(client, until_us))
            continue;
        stopping = client->leaving;
        pthread_mutex_unlock(&client->lock);
    }
    return NULL;
}
