/* Any thread may submit; client_start, client_stop and client_free are for one. client_internal.h
 * says how. */
#include "transport/client_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <nng/protocol/reqrep0/req.h>

#include "core/cond.h"
#include "transport/error.h"
#include "transport/nng_guard.h"
#include "transport/tls_engine.h"

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
    int rc = cond_init(&client->changed);

    if (rc < 0)
        return rc;
    rc = -pthread_mutex_init(&client->lock, NULL);
    if (rc < 0)
        pthread_cond_destroy(&client->changed);
    return rc;
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
