#include "fs/queuefs/backing.h"

#include "core/log.h"
#include "transport/queued/listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An unanswered request is sent again after this. */
#define ANSWER_TIMEOUT_US INT64_C(5000000)

static int start_embedded(struct backing *backing, const struct backing_options *options)
{
    struct main_service_options service = {
        .config = options->config,
        .program = "queuefs",
        .data = options->data,
        .mountpoint = options->mountpoint,
        .fatal = options->fatal,
        .fatal_arg = options->fatal_arg,
    };

    return main_service_start(&backing->service, &service);
}

/* Where `queued` of this machine listens, most likely first. */
static size_t local_addresses(char own[LOCAL_ADDRESS_MAX], const char **addresses)
{
    size_t n = 0;

    if (geteuid() != 0 && local_user_address(own))
        addresses[n++] = own;
    addresses[n++] = LOCAL_SYSTEM_ADDRESS;
    return n;
}

static int start_client(struct backing *backing, const struct config *config)
{
    const char *addresses[CONFIG_ADDRESSES_MAX + 4];
    struct client_options options = {
        .addresses = addresses,
        .tls = tls_files_of(&config->service_tls),
        .clock = &clock_system,
        .answer_timeout_us = ANSWER_TIMEOUT_US,
    };
    char own[LOCAL_ADDRESS_MAX], *error = NULL;
    int result;

    for (size_t i = 0; i < config->n_service_addresses; i++) {
        const char *address = config->service_addresses[i];

        if (options.n_addresses + 2 > sizeof(addresses) / sizeof(addresses[0]))
            break; /* nothing but `local`, over and over */
        if (strcmp(address, "local") != 0)
            addresses[options.n_addresses++] = address;
        else
            options.n_addresses += local_addresses(own, addresses + options.n_addresses);
    }
    result = client_new(&options, &backing->client, &error);
    if (result == 0)
        result = client_start(backing->client);
    if (result < 0)
        log_error("queue service: %s", error ? error : strerror(-result));
    free(error);
    return result;
}

int backing_start(struct backing *backing, const struct backing_options *options)
{
    int result = 0;

    memset(backing, 0, sizeof(*backing));
    main_service_fill_owners(options->config, options->uid, options->gid);
    if (options->config->n_service_addresses == 0)
        result = start_embedded(backing, options);
    else
        result = start_client(backing, options->config);
    if (result < 0) {
        backing_stop(backing);
        backing_fini(backing);
    }
    return result;
}

struct backend *backing_backend(struct backing *backing)
{
    return backing->client ? client_backend(backing->client)
                           : service_backend(backing->service.service);
}

void backing_link_info(void *arg, struct link_info *info)
{
    struct backing *backing = arg;

    if (backing->client) {
        client_link_info(backing->client, info);
        return;
    }
    *info = (struct link_info){.connected = true, .endpoint = "embedded"};
}

void backing_stop(struct backing *backing)
{
    if (backing->client)
        client_stop(backing->client);
    main_service_stop(&backing->service);
}

void backing_fini(struct backing *backing)
{
    client_free(backing->client);
    main_service_fini(&backing->service);
    memset(backing, 0, sizeof(*backing));
}
