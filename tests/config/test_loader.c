/* What the settings file says, where it says it right. Its faults are in test_faults.c. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "core/clock.h"
#include "core/log.h"

static void load(struct config *config, const char *text)
{
    char *error = NULL;
    cr_assert_eq(config_init(config), 0);
    int result = config_load_text(config, "f", text, strlen(text), &error);
    cr_assert_eq(result, 0, "%s", error ? error : "out of memory");
    cr_assert_null(error);
}

Test(loader, nothing_given_is_the_defaults, .timeout = 5)
{
    static const char *const texts[] = {"",
                                        "\n",
                                        "# only a comment\n",
                                        "---\n",
                                        "---\n...\n",
                                        "~",
                                        "{}",
                                        "service:\nqueues:\nlog: {}\n",
                                        "service: {address: , tls: {ca: , key: }}\nlisten:\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct config config;
        load(&config, texts[i]);
        cr_assert_eq(config.n_service_addresses, 0);
        cr_assert_eq(config.timeout_us, 30000000);
        cr_assert_null(config.service_tls.ca);
        cr_assert_eq(config.n_listen, 0);
        cr_assert_eq(config.socket_mode, 0660);
        cr_assert_eq(config.socket_owner, CONFIG_NOBODY);
        cr_assert_eq(config.socket_group, CONFIG_NOBODY);
        cr_assert_eq(config.engine, CONFIG_ENGINE_LOCAL);
        cr_assert_null(config.store_path);
        cr_assert_eq(config.max_bytes, INT64_C(16) << 30);
        cr_assert_eq(config.min_free, INT64_C(512) << 20);
        cr_assert_eq(config.segment, INT64_C(64) << 20);
        cr_assert_eq(config.n_nats_servers, 1);
        cr_assert_str_eq(config.nats_servers[0], "nats://127.0.0.1:4222");
        cr_assert_eq(config.nats_replicas, 3);
        cr_assert_str_eq(config.nats_prefix, "queuefs");
        cr_assert_null(config.mount_path);
        cr_assert_eq(config.allow_other, 0);
        cr_assert_eq(config.foreground, 0);
        cr_assert_eq(config.buffer_total, INT64_C(256) << 20);
        cr_assert_eq(config.log_level, LOG_LEVEL_INFO);
        cr_assert_eq(config.defaults.mount.batch_size, 100);
        cr_assert_eq(config.defaults_given, 0);
        cr_assert_eq(config.n_queues, 0);
        cr_assert_null(config.file);
        config_fini(&config);
    }
}

Test(loader, every_key_of_the_manual_is_taken, .timeout = 5)
{
    struct config config;
    load(&config, "service:\n"
                  "  address: [tcp://10.0.0.5:7440, ipc:///run/queued/queued.sock, local]\n"
                  "  timeout: 5s\n"
                  "  tls: {ca: /a, cert: /b, key: /c, server_name: q.example, crl: /g,\n"
                  "    min_version: 1.3, ciphers: 'A:B'}\n"
                  "listen:\n"
                  "  - ipc:///run/queued/queued.sock\n"
                  "  - tls+tcp://[::]:7441\n"
                  "tls: {ca: /d, cert: /e, key: /f}\n"
                  "store:\n"
                  "  engine: nats\n"
                  "  path: /var/lib/queued\n"
                  "  max_bytes: 1GiB\n"
                  "  min_free: 0\n"
                  "  segment: 8MiB\n"
                  "  nats: {servers: ['nats://a:1', \"tls://b:2\"], replicas: 1, prefix: p, "
                  "credentials: /g}\n"
                  "mount: {path: /mnt/q, allow_other: true, foreground: true, buffer_total: 1MiB}\n"
                  "log: {level: debug}\n");
    cr_assert_eq(config.n_service_addresses, 3);
    cr_assert_str_eq(config.service_addresses[0], "tcp://10.0.0.5:7440");
    cr_assert_str_eq(config.service_addresses[2], "local");
    cr_assert_eq(config.timeout_us, 5000000);
    cr_assert_str_eq(config.service_tls.ca, "/a");
    cr_assert_str_eq(config.service_tls.cert, "/b");
    cr_assert_str_eq(config.service_tls.key, "/c");
    cr_assert_str_eq(config.service_tls.server_name, "q.example");
    cr_assert_str_eq(config.service_tls.crl, "/g");
    cr_assert_eq(config.service_tls.min_version, CONFIG_TLS_1_3);
    cr_assert_str_eq(config.service_tls.ciphers, "A:B");
    cr_assert_eq(config.n_listen, 2);
    cr_assert_str_eq(config.listen[1], "tls+tcp://[::]:7441");
    cr_assert_str_eq(config.tls.ca, "/d");
    cr_assert_str_eq(config.tls.cert, "/e");
    cr_assert_str_eq(config.tls.key, "/f");
    cr_assert_null(config.tls.crl);
    cr_assert_eq(config.tls.min_version, CONFIG_TLS_1_2);
    cr_assert_eq(config.engine, CONFIG_ENGINE_NATS);
    cr_assert_str_eq(config.store_path, "/var/lib/queued");
    cr_assert_eq(config.max_bytes, 1 << 30);
    cr_assert_eq(config.min_free, 0);
    cr_assert_eq(config.segment, 8 << 20);
    cr_assert_eq(config.n_nats_servers, 2);
    cr_assert_str_eq(config.nats_servers[1], "tls://b:2");
    cr_assert_eq(config.nats_replicas, 1);
    cr_assert_str_eq(config.nats_prefix, "p");
    cr_assert_str_eq(config.nats_credentials, "/g");
    cr_assert_str_eq(config.mount_path, "/mnt/q");
    cr_assert_eq(config.allow_other, 1);
    cr_assert_eq(config.foreground, 1);
    cr_assert_eq(config.buffer_total, 1 << 20);
    cr_assert_eq(config.log_level, LOG_LEVEL_DEBUG);
    config_fini(&config);
}

Test(loader, one_address_needs_no_list, .timeout = 5)
{
    struct config config;
    load(&config, "service: {address: local}\nlisten: tcp://127.0.0.1:0\n");
    cr_assert_eq(config.n_service_addresses, 1);
    cr_assert_str_eq(config.service_addresses[0], "local");
    cr_assert_eq(config.n_listen, 1);
    config_fini(&config);
}

Test(loader, sixteen_addresses_are_taken, .timeout = 5)
{
    struct config config;
    char text[1024] = "listen: [";
    for (int i = 0; i < CONFIG_ADDRESSES_MAX; i++)
        sprintf(text + strlen(text), "%sinproc://%d", i ? ", " : "", i);
    strcat(text, "]");
    load(&config, text);
    cr_assert_eq(config.n_listen, CONFIG_ADDRESSES_MAX);
    cr_assert_str_eq(config.listen[15], "inproc://15");
    config_fini(&config);
}

static bool given(uint64_t bits, const char *key)
{
    return bits >> (setting_find(key) - settings_table) & 1;
}

static void expect_defaults_below(const char *text)
{
    struct config config;
    load(&config, text);
    cr_assert_eq(config.n_queues, 2);
    const struct config_queue *jobs = &config.queues[0], *logs = &config.queues[1];
    cr_assert_str_eq(jobs->name, "jobs");
    cr_assert_eq(jobs->settings.mount.batch_size, 200);
    cr_assert_eq(jobs->settings.mount.linger_us, 7000);
    cr_assert_eq(jobs->settings.own.mode, 0660);
    cr_assert_eq(jobs->settings.own.owner, 0);
    cr_assert_eq(jobs->settings.own.max_deliveries, 5);
    cr_assert(given(jobs->given, "batch_size") && given(jobs->given, "linger"));
    cr_assert(given(jobs->given, "mode") && given(jobs->given, "owner"));
    cr_assert(!given(jobs->given, "group") && !given(jobs->given, "maxsize"));
    cr_assert_str_eq(logs->name, "logs");
    cr_assert_eq(logs->settings.mount.linger_us, 7000);
    cr_assert_eq(logs->settings.mount.batch_size, 100);
    cr_assert_eq(logs->given, config.defaults_given);
    cr_assert(given(config.defaults_given, "linger"));
    cr_assert(!given(config.defaults_given, "batch_size"));
    config_fini(&config);
}

Test(loader, defaults_hold_for_queues_in_either_order, .timeout = 5)
{
    expect_defaults_below("defaults: {linger: 7ms}\n"
                          "queues:\n"
                          "  jobs: {batch_size: 200, mode: 0660, owner: root}\n"
                          "  logs:\n");
    expect_defaults_below("queues:\n"
                          "  jobs: {batch_size: 200, mode: 0660, owner: 0}\n"
                          "  logs: {}\n"
                          "defaults: {linger: 7ms}\n");
}

Test(loader, forever_is_taken_where_it_is_allowed, .timeout = 5)
{
    struct config config;
    load(&config, "defaults: {get_timeout: forever, put_timeout: 1h}");
    cr_assert_eq(config.defaults.mount.get_timeout_us, TIME_FOREVER);
    cr_assert_eq(config.defaults.mount.put_timeout_us, INT64_C(3600000000));
    config_fini(&config);
}

Test(loader, a_lease_may_be_as_long_as_lease_max, .timeout = 5)
{
    struct config config;
    load(&config, "queues: {a: {lease_max: 24h, lease: 24h}, b: {lease: 12h}}");
    cr_assert_eq(config.queues[0].settings.own.lease_us, INT64_C(24) * 3600000000);
    config_fini(&config);
}

Test(loader, crlf_and_a_byte_order_mark_are_taken, .timeout = 5)
{
    struct config config;
    load(&config, "\xef\xbb\xbflog:\r\n  level: error\r\n");
    cr_assert_eq(config.log_level, LOG_LEVEL_ERROR);
    config_fini(&config);
}

/* ---- files ---- */

static char *write_file(const char *text, size_t len)
{
    char *path = strdup("/tmp/queuefs-config-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
    return path;
}

Test(loader, a_file_is_remembered_by_its_path, .timeout = 5)
{
    struct config config;
    char *error = NULL;
    char *path = write_file("log: {level: debug}", 19);
    cr_assert_eq(config_init(&config), 0);
    cr_assert_eq(config_load(&config, path, &error), 0);
    cr_assert_eq(config.log_level, LOG_LEVEL_DEBUG);
    cr_assert_str_eq(config.file, path);
    config_fini(&config);
    config_fini(&config);
    unlink(path);
    free(path);
}

static void expect_refused(const char *path, int result, const char *message)
{
    struct config config;
    char *error = NULL;
    cr_assert_eq(config_init(&config), 0);
    cr_assert_eq(config_load(&config, path, &error), result);
    cr_assert_str_eq(error, message);
    free(error);
    config_fini(&config);
}

Test(loader, a_file_that_cannot_be_read_is_named, .timeout = 5)
{
    expect_refused("/tmp/no/such/file", -ENOENT, "/tmp/no/such/file: No such file or directory");
    expect_refused("/tmp", -EISDIR, "/tmp: Is a directory");
    expect_refused("/tmp/no\nsuch", -ENOENT, "/tmp/no?such: No such file or directory");
}

Test(loader, a_file_may_have_1_mib_and_no_more, .timeout = 20)
{
    size_t limit = 1 << 20;
    char *text = malloc(limit + 1);
    memset(text, '#', limit + 1);
    char *path = write_file(text, limit);
    struct config config;
    char *error = NULL;
    cr_assert_eq(config_init(&config), 0);
    cr_assert_eq(config_load(&config, path, &error), 0, "%s", error);
    config_fini(&config);
    unlink(path);
    free(path);

    path = write_file(text, limit + 1);
    char message[128];
    sprintf(message, "%s: more than 1MiB of settings; at most 1MiB is allowed", path);
    expect_refused(path, -EFBIG, message);
    unlink(path);
    free(path);
    free(text);
}

Test(loader, a_pipe_is_read_to_its_end, .timeout = 5)
{
    struct config config;
    char *error = NULL;
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], "log: {level: error}", 19), 19);
    close(ends[1]);
    char path[64];
    sprintf(path, "/proc/self/fd/%d", ends[0]);
    cr_assert_eq(config_init(&config), 0);
    cr_assert_eq(config_load(&config, path, &error), 0, "%s", error);
    cr_assert_eq(config.log_level, LOG_LEVEL_ERROR);
    config_fini(&config);
    close(ends[0]);
}

Test(loader, who_may_use_the_sockets, .timeout = 5)
{
    struct config config;
    load(&config, "socket: {mode: 0600, owner: 0, group: 4294967294}\n");
    cr_assert_eq(config.socket_mode, 0600);
    cr_assert_eq(config.socket_owner, 0);
    cr_assert_eq(config.socket_group, INT64_C(4294967294));
    config_fini(&config);
}

static char differing[512];

static void differs(void *arg, const char *key)
{
    strcat(strcat(differing, key), " ");
}

static void expect_differing(const char *one_text, const char *other_text, const char *keys)
{
    struct config one, other;
    char *error;

    cr_assert_eq(config_init(&one), 0);
    cr_assert_eq(config_init(&other), 0);
    cr_assert_eq(config_load_text(&one, "a", one_text, strlen(one_text), &error), 0);
    cr_assert_eq(config_load_text(&other, "b", other_text, strlen(other_text), &error), 0);
    differing[0] = '\0';
    config_compare(&one, &other, differs, NULL);
    cr_assert_str_eq(differing, keys);
    config_fini(&one);
    config_fini(&other);
}

Test(loader, compare_names_what_differs)
{
    expect_differing("tls: {ca: /a}\nqueues: {a: {lease: 1m}}",
                     "tls: {ca: /a}\nqueues: {a: {lease: 1m}}", "");
    expect_differing("tls: {ca: /a}", "tls: {cert: /a}", "tls.ca tls.cert ");
    expect_differing("listen: tcp://h:1", "listen: [tcp://h:1, tcp://h:2]", "listen ");
    expect_differing("store: {path: /a, max_bytes: 1GiB}", "store: {path: /b}",
                     "store.path store.max_bytes ");
    expect_differing("defaults: {lease: 1m}", "queues: {a: }", "defaults queues ");
    expect_differing("queues: {a: {lease: 1m}}", "queues: {a: {lease: 2m}}", "queues ");
}
