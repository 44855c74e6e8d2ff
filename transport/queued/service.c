#include "transport/queued/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/random.h"
#include "transport/queued/listen.h"

bool local_user_address(char address[LOCAL_ADDRESS_MAX])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (!runtime || runtime[0] != '/')
        return false;
    return snprintf(address, LOCAL_ADDRESS_MAX, "ipc://%s/queued.sock", runtime) <
           LOCAL_ADDRESS_MAX;
}

void main_service_fill_owners(struct config *config, uid_t uid, gid_t gid)
{
    const uint64_t owner = setting_bit(setting_find("owner"));
    const uint64_t group = setting_bit(setting_find("group"));

    for (size_t i = 0; i < config->n_queues; i++) {
        struct config_queue *queue = &config->queues[i];

        if (!(queue->given & owner))
            queue->settings.own.owner = uid;
        if (!(queue->given & group))
            queue->settings.own.group = gid;
    }
}

/* What the file says of a queue holds over what is stored; the rest stays as it is there. */
static int ensure_queues(struct service *service, const struct config *config)
{
    for (size_t i = 0; i < config->n_queues; i++) {
        const struct config_queue *queue = &config->queues[i];
        int result = service_ensure_queue(service, queue->name, &queue->settings.own, queue->given);

        if (result < 0) {
            log_error("cannot make queue %s: %s", queue->name, strerror(-result));
            return result;
        }
    }
    return 0;
}

int main_store_open(const char *dir, const struct config *config, struct store **store)
{
    const struct local_options options = {
        .dir = dir,
        .max_bytes = (uint64_t)config->max_bytes,
        .min_free_bytes = (uint64_t)config->min_free,
        .segment_bytes = (uint64_t)config->segment,
    };
    int result = config->engine == CONFIG_ENGINE_MEMORY
                     ? store_memory_open((uint64_t)config->max_bytes, store)
                     : store_local_open(&options, store);

    if (result < 0)
        log_error("cannot open the store in %s: %s", dir,
                  result == -EBUSY ? "it is being read (--verify): wait until that has ended"
                                   : strerror(-result));
    return result;
}

static int start_service(struct main_service *main, const struct main_service_options *options)
{
    struct service_options service = {
        .clock = &clock_system,
        .access = options->config->access.n_rules > 0 ? &options->config->access : NULL,
        .fatal = options->fatal,
        .fatal_arg = options->fatal_arg,
    };
    int result = main_store_open(main->datadir.path, options->config, &service.store);

    if (result < 0)
        return result;
    result = random_bytes(&service.id, sizeof(service.id));
    if (result == 0)
        result = service_new(&service, &main->service);
    else
        service.store->ops->close(service.store);
    if (result < 0)
        log_error("cannot start the queue service: %s", strerror(-result));
    else
        result = ensure_queues(main->service, options->config);
    return result < 0 ? result : service_start(main->service);
}

static int open_datadir(struct main_service *main, const struct main_service_options *options)
{
    const struct config *config = options->config;
    char *path = datadir_choose(options->data, config->store_path, options->program);
    int result;

    if (!path)
        return -ENOMEM;
    result = datadir_open(&main->datadir, path, options->mountpoint,
                          config->n_listen > 0 ? config->listen[0] : NULL);
    free(path);
    return result;
}

/* DATADIR/queuefs.sock, for who wants to share a mount's service. */
static int listen_shared(struct main_service *main)
{
    char *shared;

    if (asprintf(&shared, "ipc://%s/queuefs.sock", main->datadir.path) < 0)
        return -ENOMEM;
    /* A path too long for a socket costs only the sharing. */
    listen_private(main->server, shared);
    free(shared);
    return 0;
}

int main_service_start(struct main_service *main, const struct main_service_options *options)
{
    int result = main_service_check(options->config);

    *main = (struct main_service){.datadir = {.lock_fd = -1}};
    if (result == 0)
        result = open_datadir(main, options);
    if (result == 0)
        result = start_service(main, options);
    if (result == 0)
        result = server_new(service_backend(main->service), &main->server);
    if (result == 0 && options->mountpoint)
        result = listen_shared(main);
    if (result == 0)
        result = listen_all(main->server, options->config);
    return result < 0 ? result : server_start(main->server);
}

static void name_fixed(void *arg, const char *key)
{
    if (strcmp(key, "log.level") != 0 && strncmp(key, "tls.", 4) != 0)
        log_warning("%s has changed in the settings file: that takes a restart", key);
}

void main_service_reload(struct main_service *main, const struct config *was,
                         const struct config *config)
{
    const struct tls_files files = tls_files_of(&config->tls);
    char *error = NULL;
    int result = server_reload(main->server, &files, &error);

    if (result < 0)
        log_error("%s; the certificates stay as they were", error ? error : strerror(-result));
    free(error);
    log_set_level((enum log_level)config->log_level);
    config_compare(was, config, name_fixed, NULL);
}

void main_service_stop(struct main_service *main)
{
    if (main->server)
        server_stop(main->server);
    if (main->service)
        service_stop(main->service);
}

void main_service_fini(struct main_service *main)
{
    server_free(main->server);
    service_free(main->service);
    if (main->datadir.path)
        datadir_close(&main->datadir);
    *main = (struct main_service){.datadir = {.lock_fd = -1}};
}
