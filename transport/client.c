/* Any thread may submit; client_start, client_stop and client_free are for one. client_internal.h
 * says how. */
#include "transport/client_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <nng/protocol/reqrep0/req.h>

#include "transport/error.h"
#include "transport/nng_guard.h"
#include "transport/tls_engine.h"

static void lane_init(struct lane *lane)
{
    lane->idle = NULL;
    lane->first = NULL;
    lane->last = &lane->first;
}

static void lane_append(struct lane *lane, struct request *request)
{
    request->next = NULL;
    *lane->last = request;
    lane->last = &request->next;
}

struct request *client_pop_locked(struct lane *lane)
{
    struct request *request = lane->first;

    if (!request)
        return NULL;
    lane->first = request->next;
    if (!lane->first)
        lane->last = &lane->first;
    request->next = NULL;
    return request;
}

/* The lowest number that has no answer yet. */
static uint64_t lowest_locked(const struct client *client)
{
    uint64_t lowest = UINT64_MAX;

    for (size_t i = 0; i < CLIENT_ALL_SLOTS; i++)
        lowest = client->busy[i] < lowest ? client->busy[i] : lowest;
    for (size_t i = 0; i < 2; i++)
        if (client->lanes[i].first && client->lanes[i].first->number < lowest)
            lowest = client->lanes[i].first->number;
    return lowest;
}

static void slot_take_locked(struct slot *slot, struct request *request)
{
    struct client *client = slot->client;

    slot->request = request;
    request->n_retries = 0;
    slot->pause_ms = CLIENT_PAUSE_MS;
    client->busy[slot->index] = request->number;
    request->answered_below = lowest_locked(client);
    client->n_starting++;
    client->n_flying += slot->index < CLIENT_SLOTS;
}

static bool begin_unless(struct client *client, const bool *refused)
{
    bool go;

    pthread_mutex_lock(&client->lock);
    go = !*refused;
    if (go)
        client->n_starting++;
    pthread_mutex_unlock(&client->lock);
    return go;
}

bool client_begin(struct client *client)
{
    return begin_unless(client, &client->stopping);
}

bool client_begin_receive(struct client *client)
{
    return begin_unless(client, &client->closing);
}

void client_flew(struct slot *slot)
{
    struct client *client = slot->client;

    if (slot->index >= CLIENT_SLOTS)
        return;
    pthread_mutex_lock(&client->lock);
    client->n_flying--;
    if (client->stopping && client->n_flying == 0)
        pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

void client_end(struct client *client)
{
    pthread_mutex_lock(&client->lock);
    client->n_starting--;
    if (client->stopping && client->n_starting == 0)
        pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

void client_fail(struct request *request, int status)
{
    request->status = status;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->reply_free = NULL;
    request->reply_memory = NULL;
    request->done(request);
}

static void client_submit(struct backend *backend, struct request *request)
{
    struct client *client = (struct client *)backend;
    struct lane *lane = &client->lanes[request->kind == REQUEST_WATCH];
    struct slot *slot = NULL;
    bool stopping;

    pthread_mutex_lock(&client->lock);
    stopping = client->stopping;
    if (!stopping)
        request->number = ++client->last_number;
    if (!stopping && lane->idle) {
        slot = lane->idle;
        lane->idle = slot->next;
        slot_take_locked(slot, request);
    } else if (!stopping) {
        lane_append(lane, request);
    }
    pthread_mutex_unlock(&client->lock);

    if (stopping)
        client_fail(request, -ESHUTDOWN);
    if (slot) {
        slot_send(slot);
        client_end(client);
    }
}

/* Give an empty slot its next request, or to the idle ones. */
static bool slot_refill_locked(struct slot *slot)
{
    struct client *client = slot->client;
    struct request *next = client->stopping ? NULL : client_pop_locked(slot->lane);

    client->busy[slot->index] = UINT64_MAX;
    slot->request = NULL;
    if (next) {
        slot_take_locked(slot, next);
        return true;
    }
    slot->next = slot->lane->idle;
    slot->lane->idle = slot;
    return false;
}

void client_finish(struct slot *slot)
{
    struct client *client = slot->client;
    struct request *request = slot->request;
    bool more;

    pthread_mutex_lock(&client->lock);
    more = slot_refill_locked(slot);
    pthread_mutex_unlock(&client->lock);
    if (more) {
        slot_send(slot);
        client_end(client);
    }
    request->done(request);
}

static int target_add_tls(struct client *client, struct target *target,
                          const struct tls_files *files, char **error)
{
    const char *name =
        files->server_name && *files->server_name ? files->server_name : target->address.host;
    int rc = client->tls ? 0 : tls_new(files, &client->tls, error);

    if (rc < 0)
        return rc;
    target->report = tls_report_new(NULL);
    if (!target->report)
        return -ENOMEM;
    return error_from_nng(
        tls_engine_config(NNG_TLS_MODE_CLIENT, client->tls, target->report, name, &target->config));
}

static int targets_add(struct client *client, const struct client_options *options, const char *url,
                       char **error)
{
    struct target *target = &client->targets[client->n_targets];
    int rc = address_parse(url, &target->address, error);

    if (rc == 0 && target->address.port == 0 &&
        (target->address.kind == ADDRESS_TCP || target->address.kind == ADDRESS_TLS)) {
        if (asprintf(error, "address %s: port 0 is for listening only", url) < 0)
            *error = NULL;
        rc = -EINVAL;
    }
    if (rc < 0)
        return rc;
    target->url = strdup(url);
    client->n_targets++;
    if (!target->url)
        return -ENOMEM;
    if (target->address.kind != ADDRESS_TLS)
        return 0;
    return target_add_tls(client, target, &options->tls, error);
}

static int sync_init(struct client *client)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc)
        return -rc;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&client->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (rc)
        return -rc;
    rc = pthread_mutex_init(&client->lock, NULL);
    if (rc)
        pthread_cond_destroy(&client->changed);
    return -rc;
}

int client_new(const struct client_options *options, struct client **made, char **error)
{
    struct client *client = calloc(1, sizeof(*client));
    int rc;

    *error = NULL;
    if (!client)
        return -ENOMEM;
    rc = sync_init(client);
    if (rc < 0) {
        free(client);
        return rc;
    }
    client->backend.submit = client_submit;
    client->clock = options->clock;
    client->answer_timeout_us = options->answer_timeout_us;
    lane_init(&client->lanes[0]);
    lane_init(&client->lanes[1]);
    for (size_t i = 0; i < CLIENT_ALL_SLOTS; i++)
        client->busy[i] = UINT64_MAX;
    client->targets = calloc(options->n_addresses + 1, sizeof(*client->targets));
    rc = client->targets ? 0 : -ENOMEM;
    if (rc == 0 && options->n_addresses == 0) {
        *error = strdup("no address of a service is given");
        rc = -EINVAL;
    }
    for (size_t i = 0; rc == 0 && i < options->n_addresses; i++)
        rc = targets_add(client, options, options->addresses[i], error);
    if (rc < 0) {
        client_free(client);
        return rc;
    }
    *made = client;
    return 0;
}

static int slots_open(struct client *client)
{
    client->slots = calloc(CLIENT_ALL_SLOTS, sizeof(*client->slots));
    if (!client->slots)
        return -ENOMEM;
    for (size_t i = 0; i < CLIENT_ALL_SLOTS; i++) {
        struct slot *slot = &client->slots[i];
        int rc;

        slot->client = client;
        slot->lane = &client->lanes[i >= CLIENT_SLOTS];
        slot->index = i;
        rc = slot_open(slot);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void slots_begin(struct client *client)
{
    for (size_t i = CLIENT_ALL_SLOTS; i-- > 0;) {
        bool more;

        pthread_mutex_lock(&client->lock);
        more = slot_refill_locked(&client->slots[i]);
        pthread_mutex_unlock(&client->lock);
        if (more) {
            slot_send(&client->slots[i]);
            client_end(client);
        }
    }
}

int client_start(struct client *client)
{
    int rc;

    assert(!client->opened && !client->stopping);
    if (!nng_guard_init())
        return -ENOTSUP;
    rc = error_from_nng(nng_req0_open(&client->socket));
    if (rc < 0)
        return rc;
    client->opened = true;
    rc = error_from_nng(
        nng_socket_set_ms(client->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE));
    if (rc == 0)
        rc = slots_open(client);
    if (rc < 0)
        return rc;
    link_watch(client);
    rc = client->tls ? tls_watch(client->tls) : 0;
    if (rc < 0)
        return rc;
    rc = -pthread_create(&client->link, NULL, link_run, client);
    if (rc < 0)
        return rc;
    client->link_runs = true;
    slots_begin(client);
    return 0;
}

struct backend *client_backend(struct client *client)
{
    return &client->backend;
}

void client_link_info(void *arg, struct link_info *info)
{
    struct client *client = arg;

    memset(info, 0, sizeof(*info));
    pthread_mutex_lock(&client->lock);
    info->connected = client->up;
    info->retries = client->retries;
    snprintf(info->endpoint, sizeof(info->endpoint), "%s", client->targets[client->target].url);
    memcpy(info->last_error, client->last_error, sizeof(info->last_error));
    pthread_mutex_unlock(&client->lock);
}

void client_free(struct client *client)
{
    if (!client)
        return;
    client_stop(client);
    if (client->abandoned)
        return;
    for (size_t i = 0; i < client->n_targets; i++) {
        if (client->targets[i].config)
            nng_tls_config_free(client->targets[i].config);
        tls_report_unref(client->targets[i].report);
        free(client->targets[i].url);
    }
    free(client->targets);
    tls_unref(client->tls);
    pthread_mutex_destroy(&client->lock);
    pthread_cond_destroy(&client->changed);
    free(client);
}
