#include "fs/main_backing.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* An unanswered request is sent again after this. */
#define ANSWER_TIMEOUT_US INT64_C(5000000)

#define SYSTEM_SOCKET "ipc:///run/queued/queued.sock"

/* Fill in who owns the queues of the file that say nothing of it. */
static void fill_owners(const struct backing_options *options)
{
    const uint64_t owner = UINT64_C(1) << (setting_find("owner") - settings_table);
    const uint64_t group = UINT64_C(1) << (setting_find("group") - settings_table);

    for (size_t i = 0; i < options->config->n_queues; i++) {
        struct config_queue *queue = &options->config->queues[i];

        if (!(queue->given & owner))
            queue->settings.own.owner = options->uid;
        if (!(queue->given & group))
            queue->settings.own.group = options->gid;
    }
}

/* The settings a stored queue shall have: its own, with what the file says over them. */
static int overlay(struct store *store, const struct config_queue *queue,
                   struct all_settings *settings)
{
    struct all_settings given = queue->settings;
    struct queue_record record;
    uint64_t number = 0;
    int result;

    *settings = queue->settings;
    while ((result = store->ops->queue_next(store, number + 1, &record)) == 0) {
        number = record.number;
        if (strcmp(record.name, queue->name) == 0)
            break;
    }
    if (result < 0)
        return result == -ENOENT ? 0 : result;
    settings->own = record.settings;
    for (const struct setting *row = settings_table; row->key; row++) {
        if (queue->given >> (row - settings_table) & 1)
            *setting_value(row, settings) = *setting_value(row, &given);
    }
    return 0;
}

/* The store is read here for the last time before the service takes it. */
static int overlay_all(struct store *store, const struct config *config,
                       struct all_settings **settings)
{
    int result = 0;

    *settings = calloc(config->n_queues + 1, sizeof(**settings));
    if (!*settings)
        return -ENOMEM;
    for (size_t i = 0; i < config->n_queues && result == 0; i++)
        result = overlay(store, &config->queues[i], &(*settings)[i]);
    return result;
}

static int ensure_queues(struct service *service, const struct config *config,
                         const struct all_settings *settings)
{
    for (size_t i = 0; i < config->n_queues; i++) {
        int result = service_ensure_queue(service, config->queues[i].name, &settings[i].own);

        if (result < 0) {
            log_error("cannot make queue %s: %s", config->queues[i].name, strerror(-result));
            return result;
        }
    }
    return 0;
}

static int open_store(const struct backing *backing, const struct config *config,
                      struct store **store)
{
    const struct lmdb_options options = {
        .dir = backing->datadir.path,
        .max_bytes = (uint64_t)config->max_bytes,
        .min_free_bytes = (uint64_t)config->min_free,
    };
    int result = config->engine == CONFIG_ENGINE_MEMORY
                     ? store_memory_open((uint64_t)config->max_bytes, store)
                     : store_lmdb_open(&options, store);

    if (result < 0)
        log_error("cannot open the store in %s: %s", backing->datadir.path, strerror(-result));
    return result;
}

static int start_service(struct backing *backing, const struct backing_options *options)
{
    struct service_options service = {
        .clock = &clock_system, .fatal = options->fatal, .fatal_arg = options->fatal_arg};
    struct all_settings *settings = NULL;
    int result = open_store(backing, options->config, &service.store);

    if (result < 0)
        return result;
    result = overlay_all(service.store, options->config, &settings);
    if (result == 0 && getrandom(&service.id, sizeof(service.id), 0) != sizeof(service.id))
        result = -EIO;
    if (result == 0)
        result = service_new(&service, &backing->service);
    else
        service.store->ops->close(service.store);
    if (result < 0)
        log_error("cannot start the queue service: %s", strerror(-result));
    else
        result = ensure_queues(backing->service, options->config, settings);
    free(settings);
    return result < 0 ? result : service_start(backing->service);
}

static int listen_on(struct backing *backing, const char *url, mode_t mode,
                     const struct config_tls *files)
{
    const struct tls_files tls = {.ca = files->ca, .cert = files->cert, .key = files->key};
    char *error = NULL;
    int result = server_listen(backing->server, url, mode, &tls, &error);

    if (result < 0)
        log_error("cannot listen on %s: %s", url, error ? error : strerror(-result));
    free(error);
    return result;
}

static int listen_all(struct backing *backing, const struct config *config)
{
    char *shared;
    int result;

    snprintf(backing->inproc, sizeof(backing->inproc), "inproc://queuefs-%d", (int)getpid());
    result = listen_on(backing, backing->inproc, 0600, &config->tls);
    for (size_t i = 0; i < config->n_listen && result == 0; i++)
        result = listen_on(backing, config->listen[i], 0660, &config->tls);
    if (result < 0)
        return result;
    if (asprintf(&shared, "ipc://%s/queuefs.sock", backing->datadir.path) < 0)
        return -ENOMEM;
    /* A path too long for a socket costs only the sharing. */
    listen_on(backing, shared, 0600, &config->tls);
    free(shared);
    return 0;
}

static int start_embedded(struct backing *backing, const struct backing_options *options)
{
    char *path = datadir_choose(options->data, options->config->store_path, "queuefs");
    int result;

    if (!path)
        return -ENOMEM;
    result = datadir_open(&backing->datadir, path, options->mountpoint);
    free(path);
    if (result == 0)
        result = start_service(backing, options);
    if (result == 0)
        result = server_new(service_backend(backing->service), &backing->server);
    if (result == 0)
        result = listen_all(backing, options->config);
    return result < 0 ? result : server_start(backing->server);
}

/* Where `queued` of this machine listens, most likely first. */
static size_t local_addresses(char *own, size_t size, const char **addresses)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    size_t n = 0;

    if (geteuid() != 0 && runtime && runtime[0] == '/') {
        snprintf(own, size, "ipc://%s/queued.sock", runtime);
        addresses[n++] = own;
    }
    addresses[n++] = SYSTEM_SOCKET;
    return n;
}

static int start_client(struct backing *backing, const struct config *config)
{
    const char *addresses[CONFIG_ADDRESSES_MAX + 4];
    struct client_options options = {
        .addresses = addresses,
        .tls = {.ca = config->service_tls.ca,
                .cert = config->service_tls.cert,
                .key = config->service_tls.key,
                .server_name = config->service_tls.server_name},
        .clock = &clock_system,
        .answer_timeout_us = ANSWER_TIMEOUT_US,
    };
    char own[128], *error = NULL;
    int result;

    if (backing->server)
        addresses[options.n_addresses++] = backing->inproc;
    for (size_t i = 0; i < config->n_service_addresses; i++) {
        const char *address = config->service_addresses[i];

        if (options.n_addresses + 2 > sizeof(addresses) / sizeof(addresses[0]))
            break; /* nothing but `local`, over and over */
        if (strcmp(address, "local") != 0)
            addresses[options.n_addresses++] = address;
        else
            options.n_addresses +=
                local_addresses(own, sizeof(own), addresses + options.n_addresses);
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

    *backing = (struct backing){.datadir = {.lock_fd = -1}};
    fill_owners(options);
    if (options->config->n_service_addresses == 0)
        result = start_embedded(backing, options);
    if (result == 0)
        result = start_client(backing, options->config);
    if (result < 0) {
        backing_stop(backing);
        backing_fini(backing);
    }
    return result;
}

void backing_stop(struct backing *backing)
{
    if (backing->client)
        client_stop(backing->client);
    if (backing->server)
        server_stop(backing->server);
    if (backing->service)
        service_stop(backing->service);
}

void backing_fini(struct backing *backing)
{
    client_free(backing->client);
    server_free(backing->server);
    service_free(backing->service);
    datadir_close(&backing->datadir);
    *backing = (struct backing){.datadir = {.lock_fd = -1}};
}
