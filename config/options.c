/*
 * The table of the program's own settings, and the config's beginning and end, which follow it.
 */
#include "config/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "core/clock.h"
#include "core/log.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define MS  INT64_C(1000)
#define SEC (1000 * MS)
#define DAY (24 * 60 * 60 * SEC)

#define ID_MAX INT64_C(4294967294) /* the last one says 'leave it' */

#define AT(field) .offset = offsetof(struct config, field)
#define LIST(field)                                                                                \
    .kind = OPTION_LIST, .offset = offsetof(struct config, field),                                 \
    .count_offset = offsetof(struct config, n_##field)

static const char *const engines[] = {"local", "memory", "nats", NULL};
static const char *const tls_versions[] = {"1.2", "1.3", NULL};
static const char *const lists[] = {[CONFIG_LIST_SAFE] = "safe", [CONFIG_LIST_ALL] = "all", NULL};
static const char *const makers[] = {
    [CONFIG_MAKE_OWNER] = "owner", [CONFIG_MAKE_ALL] = "all", NULL};
static const char *const levels[] = {[LOG_LEVEL_ERROR] = "error",
                                     [LOG_LEVEL_WARNING] = "warning",
                                     [LOG_LEVEL_INFO] = "info",
                                     [LOG_LEVEL_DEBUG] = "debug",
                                     NULL};

/* clang-format off */
const struct option options_table[] = {
    {"", "service", OPTION_SECTION, .inside = "service",
     .help = "where the queue service is that queuefs mounts"},
    {"service", "address", LIST(service_addresses), .check = config_service_address_check,
     .allowed = "an address or a list of them: inproc://, ipc://, tcp://, tls+tcp://, local",
     .help = "the service, or several, tried in order; absent: it runs inside queuefs"},
    {"service", "timeout", OPTION_VALUE, AT(timeout_us),
     .rule = {SETTING_TIME, 10 * MS, DAY, false, NULL}, .fallback = 30 * SEC,
     .help = "how long flush, fsync and the end of the mount wait for the service"},
    {"service", "tls", OPTION_SECTION, .inside = "service.tls",
     .help = "certificates for tls+tcp:// addresses"},
    {"service.tls", "ca", OPTION_TEXT, AT(service_tls.ca), .check = path_check,
     .allowed = "a path", .help = "certificates of the authorities a service must come from"},
    {"service.tls", "cert", OPTION_TEXT, AT(service_tls.cert), .check = path_check,
     .allowed = "a path", .help = "the certificate shown to the service"},
    {"service.tls", "key", OPTION_TEXT, AT(service_tls.key), .check = path_check,
     .allowed = "a path", .help = "the private key of that certificate"},
    {"service.tls", "crl", OPTION_TEXT, AT(service_tls.crl), .check = path_check,
     .allowed = "a path", .help = "what these authorities have revoked; absent: nothing"},
    {"service.tls", "min_version", OPTION_VALUE, AT(service_tls.min_version),
     .rule = {SETTING_CHOICE, CONFIG_TLS_1_2, CONFIG_TLS_1_3, false, tls_versions},
     .fallback = CONFIG_TLS_1_2, .help = "the oldest version of TLS that is spoken"},
    {"service.tls", "ciphers", OPTION_TEXT, AT(service_tls.ciphers), .check = ciphers_check,
     .allowed = "names of OpenSSL, with colons between",
     .help = "the only ciphers that are used; absent: those with forward secrecy and AEAD"},
    {"service.tls", "server_name", OPTION_TEXT, AT(service_tls.server_name), .check = host_check,
     .allowed = "a name", .help = "the name in the service's certificate, where not the address's"},

    {"", "listen", LIST(listen), .check = config_listen_address_check,
     .allowed = "an address or a list of them: inproc://, ipc://, tcp://, tls+tcp://",
     .help = "where queued, or a service inside queuefs, takes mounts"},
    {"", "socket", OPTION_SECTION, .inside = "socket",
     .help = "who may use the sockets of ipc:// listeners, and enter the directories made for them"},
    {"socket", "mode", OPTION_VALUE, AT(socket_mode),
     .rule = {SETTING_MODE, 0, 0666, false, NULL}, .fallback = 0660,
     .help = "permission bits; using a socket takes w"},
    {"socket", "owner", OPTION_VALUE, AT(socket_owner),
     .rule = {SETTING_USER, 0, ID_MAX, false, NULL}, .fallback = CONFIG_NOBODY,
     .help = "owner; absent: who runs the service"},
    {"socket", "group", OPTION_VALUE, AT(socket_group),
     .rule = {SETTING_GROUP, 0, ID_MAX, false, NULL}, .fallback = CONFIG_NOBODY,
     .help = "group; absent: that of who runs the service"},
    {"", "tls", OPTION_SECTION, .inside = "tls", .help = "certificates for tls+tcp:// listeners"},
    {"tls", "ca", OPTION_TEXT, AT(tls.ca), .check = path_check, .allowed = "a path",
     .help = "certificates of the authorities a mount must come from"},
    {"tls", "cert", OPTION_TEXT, AT(tls.cert), .check = path_check, .allowed = "a path",
     .help = "the certificate shown to mounts"},
    {"tls", "key", OPTION_TEXT, AT(tls.key), .check = path_check, .allowed = "a path",
     .help = "the private key of that certificate"},
    {"tls", "crl", OPTION_TEXT, AT(tls.crl), .check = path_check,
     .allowed = "a path", .help = "what these authorities have revoked; absent: nothing"},
    {"tls", "min_version", OPTION_VALUE, AT(tls.min_version),
     .rule = {SETTING_CHOICE, CONFIG_TLS_1_2, CONFIG_TLS_1_3, false, tls_versions},
     .fallback = CONFIG_TLS_1_2, .help = "the oldest version of TLS that is spoken"},
    {"tls", "ciphers", OPTION_TEXT, AT(tls.ciphers), .check = ciphers_check,
     .allowed = "names of OpenSSL, with colons between",
     .help = "the only ciphers that are used; absent: those with forward secrecy and AEAD"},

    {"", "access", OPTION_ACCESS,
     .allowed = "a list of {cn: or uid: whom, queues: [names], may: [put, get, manage]}; * in cn "
                "and queues is for any text",
     .help = "who may do what with which queues, by certificate or, on ipc://, by user; what no "
             "rule allows is refused; absent: whoever gets in may all"},

    {"", "store", OPTION_SECTION, .inside = "store",
     .help = "where the service keeps its queues"},
    {"store", "engine", OPTION_VALUE, AT(engine),
     .rule = {SETTING_CHOICE, CONFIG_ENGINE_LOCAL, CONFIG_ENGINE_NATS, false, engines},
     .fallback = CONFIG_ENGINE_LOCAL,
     .help = "what keeps them: local on this disk, memory until the end, nats on a NATS cluster"},
    {"store", "path", OPTION_TEXT, AT(store_path), .check = path_check, .allowed = "a path",
     .help = "the directory of the queues; absent: the user's or the system's place for data"},
    {"store", "max_bytes", OPTION_VALUE, AT(max_bytes),
     .rule = {SETTING_SIZE, MIB, 64 * TIB, false, NULL}, .fallback = 16 * GIB,
     .help = "the store's size at most; puts to a full one are ENOSPC"},
    {"store", "min_free", OPTION_VALUE, AT(min_free),
     .rule = {SETTING_SIZE, 0, 64 * TIB, false, NULL}, .fallback = 512 * MIB,
     .help = "what puts leave free on the disk"},
    {"store", "segment", OPTION_VALUE, AT(segment),
     .rule = {SETTING_SIZE, MIB, GIB, false, NULL}, .fallback = 64 * MIB,
     .help = "the size of the log's files, once it has grown; a sixteenth of max_bytes at most"},
    {"store", "nats", OPTION_SECTION, .inside = "store.nats",
     .help = "the NATS cluster, for the engine nats"},
    {"store.nats", "servers", LIST(nats_servers), .check = address_nats_check,
     .allowed = "an address or a list of them: nats://, tls://",
     .fallback_text = "nats://127.0.0.1:4222", .help = "servers of the cluster"},
    {"store.nats", "replicas", OPTION_VALUE, AT(nats_replicas),
     .rule = {SETTING_COUNT, 1, 5, false, NULL}, .fallback = 3,
     .help = "servers that keep each item"},
    {"store.nats", "prefix", OPTION_TEXT, AT(nats_prefix), .check = prefix_check,
     .allowed = "letters, digits, _ and -", .fallback_text = "queuefs",
     .help = "what the names of streams and subjects begin with"},
    {"store.nats", "credentials", OPTION_TEXT, AT(nats_credentials), .check = path_check,
     .allowed = "a path", .help = "the credentials file shown to the cluster"},

    {"", "mount", OPTION_SECTION, .inside = "mount", .help = "how queuefs mounts"},
    {"mount", "path", OPTION_TEXT, AT(mount_path), .check = path_check, .allowed = "a path",
     .help = "the mount point, where the command names none"},
    {"mount", "allow_other", OPTION_VALUE, AT(allow_other),
     .rule = {SETTING_BOOL, 0, 1, false, NULL}, .fallback = 0,
     .help = "whether other users may use the mount, as modes allow"},
    {"mount", "foreground", OPTION_VALUE, AT(foreground),
     .rule = {SETTING_BOOL, 0, 1, false, NULL}, .fallback = 0,
     .help = "whether queuefs stays in the foreground and logs to stderr"},
    {"mount", "buffer_total", OPTION_VALUE, AT(buffer_total),
     .rule = {SETTING_SIZE, 4 * KIB, TIB, false, NULL}, .fallback = 256 * MIB,
     .help = "bytes of all queues, written and not yet acknowledged, at which writers wait; of other "
             "users each leaves half, and what readers hold is limited to 4 times as much"},
    {"mount", "list", OPTION_VALUE, AT(list),
     .rule = {SETTING_CHOICE, CONFIG_LIST_SAFE, CONFIG_LIST_ALL, false, lists},
     .fallback = CONFIG_LIST_SAFE,
     .help = "whether out, next and claim are listed; safe: no, so that globs take nothing"},
    {"mount", "may_make", OPTION_VALUE, AT(may_make),
     .rule = {SETTING_CHOICE, CONFIG_MAKE_OWNER, CONFIG_MAKE_ALL, false, makers},
     .fallback = CONFIG_MAKE_OWNER,
     .help = "who makes queues with mkdir: owner (who mounts, and root), all"},

    {"", "log", OPTION_SECTION, .inside = "log", .help = "the log"},
    {"log", "level", OPTION_VALUE, AT(log_level),
     .rule = {SETTING_CHOICE, LOG_LEVEL_ERROR, LOG_LEVEL_DEBUG, false, levels},
     .fallback = LOG_LEVEL_INFO, .help = "how much is logged"},

    {"", "defaults", OPTION_DEFAULTS, .help = "settings of every queue that has not its own"},
    {"", "queues", OPTION_QUEUES,
     .help = "queues by name, with their settings; made at start if they are not there"},
    {.key = NULL},
};
/* clang-format on */

const struct option *option_find(const char *section, const char *key)
{
    for (const struct option *row = options_table; row->key; row++) {
        if (strcmp(row->section, section) == 0 && strcmp(row->key, key) == 0)
            return row;
    }
    return NULL;
}

static void *field(struct config *config, size_t offset)
{
    return (char *)config + offset;
}

int64_t *option_value(const struct option *row, struct config *config)
{
    return field(config, row->offset);
}

char **option_text(const struct option *row, struct config *config)
{
    return field(config, row->offset);
}

size_t *option_count(const struct option *row, struct config *config)
{
    return field(config, row->count_offset);
}

static int text_default(const struct option *row, struct config *config)
{
    if (!row->fallback_text)
        return 0;
    char **text = option_text(row, config);
    *text = strdup(row->fallback_text);
    if (!*text)
        return -ENOMEM;
    if (row->kind == OPTION_LIST)
        *option_count(row, config) = 1;
    return 0;
}

int config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    settings_default(&config->defaults);
    int error = 0;
    for (const struct option *row = options_table; row->key && !error; row++) {
        if (row->kind == OPTION_VALUE)
            *option_value(row, config) = row->fallback;
        else if (row->kind == OPTION_TEXT || row->kind == OPTION_LIST)
            error = text_default(row, config);
    }
    if (error)
        config_fini(config);
    return error;
}

void config_fini(struct config *config)
{
    if (!config)
        return;
    for (const struct option *row = options_table; row->key; row++) {
        if (row->kind != OPTION_TEXT && row->kind != OPTION_LIST)
            continue;
        char **texts = option_text(row, config);
        size_t n = row->kind == OPTION_LIST ? *option_count(row, config) : 1;
        for (size_t i = 0; i < n; i++)
            free(texts[i]);
    }
    access_fini(&config->access);
    free(config->queues);
    free(config->file);
    memset(config, 0, sizeof *config);
}
