/*
 * The settings file, YAML, one format for queuefs and queued. Every key is a row of one table
 * (options.c for the program's, core/settings.c for a queue's): the loader, --check, `config`
 * files and the man page's list all come from it. An unknown or duplicate key, a wrong type or a
 * value out of range is refused with file, line, column, key and what is allowed.
 */
#ifndef QUEUEFS_CONFIG_CONFIG_H
#define QUEUEFS_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/access.h"
#include "core/name.h"
#include "core/settings.h"

#define CONFIG_ADDRESSES_MAX 16
#define CONFIG_NOBODY        (-1) /* an owner or group that is not given */

struct config_tls {
    char *ca, *cert, *key; /* paths; NULL: not given. Owned, like every char * here */
    char *crl;             /* the same */
    int64_t min_version;   /* enum config_tls_version */
    char *ciphers;         /* NULL: those of today */
    char *server_name;     /* of service.tls only */
};

/* One entry of `queues:`: the defaults with its own keys over them. */
struct config_queue {
    char name[QUEUE_NAME_MAX + 1];
    struct all_settings settings;
    uint64_t given; /* setting_bit() of those that stand in the file for it or in defaults */
};

struct config {
    char *file; /* where it was read from; NULL: nowhere */

    char *service_addresses[CONFIG_ADDRESSES_MAX];
    size_t n_service_addresses; /* 0: embedded */
    int64_t timeout_us;
    struct config_tls service_tls;

    char *listen[CONFIG_ADDRESSES_MAX];
    size_t n_listen;
    int64_t socket_mode, socket_owner, socket_group; /* of ipc:// listeners; CONFIG_NOBODY */
    struct config_tls tls;

    struct access access; /* no rules: whoever gets in may all */

    int64_t engine; /* index into local, memory, nats */
    char *store_path;
    int64_t max_bytes, min_free, segment;
    char *nats_servers[CONFIG_ADDRESSES_MAX];
    size_t n_nats_servers;
    int64_t nats_replicas;
    char *nats_prefix, *nats_credentials;

    char *mount_path;
    int64_t allow_other, foreground, buffer_total;
    int64_t list;      /* enum config_list */
    int64_t may_make;  /* enum config_make */
    int64_t log_level; /* enum log_level */

    struct all_settings defaults;
    uint64_t defaults_given;
    struct config_queue *queues;
    size_t n_queues;
};

enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };
enum config_list { CONFIG_LIST_SAFE, CONFIG_LIST_ALL };
enum config_make { CONFIG_MAKE_OWNER, CONFIG_MAKE_ALL };
enum config_engine { CONFIG_ENGINE_LOCAL, CONFIG_ENGINE_MEMORY, CONFIG_ENGINE_NATS };

/* Defaults; config_fini() gives back what it holds. 0, or -ENOMEM: nothing is held. */
int config_init(struct config *config);
void config_fini(struct config *config); /* takes NULL, and what is finished already */

/*
 * Read `path` (a file or a pipe, at most 1 MiB) over the initialised config. On an error *error is
 * one line "PATH:LINE:COLUMN: KEY: ...", or "PATH: ..." where the file can't be read (malloc'ed;
 * NULL: out of memory), the result negative, and config only good for config_fini().
 */
int config_load(struct config *config, const char *path, char **error);

/* The same from memory; `name` stands for the path. */
int config_load_text(struct config *config, const char *name, const char *text, size_t len,
                     char **error);

/*
 * All effective settings as YAML that config_load() reads back to the same; what is absent, owners
 * that were not given among it, stands there as a comment. 0 or -EIO.
 */
int config_print(const struct config *config, FILE *out);

/* A queue's `config` file: one `key: value` line a setting, with its meaning as a comment line.
 * Owners are numbers: nothing here asks the name service. malloc'ed; NULL: out of memory. */
char *config_queue_print(const struct all_settings *settings);

/*
 * Apply `key: value` lines over *settings: all or nothing; *fields: setting_bit() of those that
 * stand there. 0, -EINVAL or -ENOMEM; then *error is one line naming line, column, key and what is
 * allowed (malloc'ed; NULL: out of memory). An owner given by name asks the name service, which may
 * block.
 */
int config_queue_parse(const char *text, size_t len, struct all_settings *settings,
                       uint64_t *fields, char **error);

/* An address from the command line. NULL: good; else what is wrong and what is allowed (static). */
const char *config_service_address_check(const char *address);
const char *config_listen_address_check(const char *address);

/* Tells `differs` the name of each key ("store.path", "queues") that is not the same in both. */
void config_compare(const struct config *one, const struct config *other,
                    void (*differs)(void *arg, const char *key), void *arg);

/* The reference of all keys, for the man page: roff to `out`. 0 or -EIO. */
int config_print_reference(FILE *out);

#endif
