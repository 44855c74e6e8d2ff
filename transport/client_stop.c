/*
 * The end of a client, in steps: nothing is sent any more, the answers on their way come in,
 * nothing is received any more, the connection is closed, what has no answer is answered
 * -ESHUTDOWN.
 */
#include "transport/client_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cond.h"
#include "transport/socket.h"

static void await_started_locked(struct client *client)
{
    while (client->n_starting > 0)
        pthread_cond_wait(&client->changed, &client->lock);
}

/* Nothing is sent from here on. */
static void stop_sending(struct client *client)
{
    pthread_mutex_lock(&client->lock);
    client->stopping = true;
    await_started_locked(client);
    pthread_mutex_unlock(&client->lock);
    for (size_t i = 0; client->slots && i < CLIENT_ALL_SLOTS; i++)
        slot_stop_sending(&client->slots[i]);
}

/* The answers that are on their way are waited for a while: they are worth it, and NNG 1.5 may
 * hang where a busy connection is closed. */
static void stop_receiving(struct client *client)
{
    int64_t until_us = cond_in_ms(CLIENT_DRAIN_MS);

    pthread_mutex_lock(&client->lock);
    while (client->n_flying > 0 && cond_wait_until(&client->changed, &client->lock, until_us))
        continue;
    client->closing = true;
    await_started_locked(client);
    pthread_mutex_unlock(&client->lock);
    for (size_t i = 0; client->slots && i < CLIENT_ALL_SLOTS; i++)
        slot_stop(&client->slots[i]);
}

/* End the connection and its thread. A dial is waited for a while, too. */
static void stop_link(struct client *client)
{
    int64_t until_us = cond_in_ms(CLIENT_DIAL_MS);
    nng_dialer dialer;
    bool dialing;

    pthread_mutex_lock(&client->lock);
    client->leaving = true;
    pthread_cond_broadcast(&client->changed);
    while (client->dialing && cond_wait_until(&client->changed, &client->lock, until_us))
        continue;
    dialer = client->dialer;
    dialing = client->dialing;
    pthread_mutex_unlock(&client->lock);
    if (dialing)
        nng_dialer_close(dialer);
    if (client->link_runs)
        pthread_join(client->link, NULL);
    client->link_runs = false;
}

static void requests_fail(struct client *client)
{
    for (size_t i = 0; client->slots && i < CLIENT_ALL_SLOTS; i++)
        if (client->slots[i].request) {
            struct request *request = client->slots[i].request;

            client->slots[i].request = NULL;
            client_fail(request, -ESHUTDOWN);
        }
    for (size_t i = 0; i < 2; i++)
        for (;;) {
            struct request *request;

            pthread_mutex_lock(&client->lock);
            request = client_pop_locked(&client->lanes[i]);
            pthread_mutex_unlock(&client->lock);
            if (!request)
                break;
            client_fail(request, -ESHUTDOWN);
        }
}

void client_stop(struct client *client)
{
    tls_unwatch(client->tls);
    stop_sending(client);
    stop_receiving(client);
    stop_link(client);
    if (client->opened)
        client->abandoned = socket_close(client->socket) < 0;
    client->opened = false;
    requests_fail(client);
    if (client->abandoned)
        return;
    for (size_t i = 0; client->slots && i < CLIENT_ALL_SLOTS; i++)
        slot_close(&client->slots[i]);
    free(client->slots);
    client->slots = NULL;
}
