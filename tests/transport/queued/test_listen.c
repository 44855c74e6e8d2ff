/* What a service may listen on, and what is made for its sockets. */
#include "transport/queued/listen.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "transport/queued/service.h"

static char base[] = "/tmp/queuefs-test-XXXXXX";
static char said[1024];

static void sink(enum log_level level, const char *message)
{
    snprintf(said, sizeof(said), "%s", message);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(base));
    log_set_sink("test", sink);
}

static void teardown(void)
{
    remove(base);
}

TestSuite(main_listen, .init = setup, .fini = teardown, .timeout = 15);

static void read_settings(struct config *config, const char *text)
{
    char *error = NULL;

    cr_assert_eq(config_init(config), 0);
    cr_assert_eq(config_load_text(config, "f", text, strlen(text), &error), 0, "%s", error);
}

static int judged(const char *settings)
{
    struct config config;
    int result;

    said[0] = '\0';
    read_settings(&config, settings);
    result = main_service_check(&config);
    config_fini(&config);
    return result;
}

Test(main_listen, this_machine_needs_no_tls)
{
    cr_assert_eq(judged("listen: [ipc:///run/q.sock, tcp://127.0.0.1:1, 'tcp://[::1]:0',"
                        " tcp://localhost:3, tcp://127.200.0.1:4]"),
                 0);
    cr_assert_str_empty(said);
}

Test(main_listen, tcp_that_others_reach_is_refused_and_says_what_to_do)
{
    static const char *const hosts[] = {
        "0.0.0.0", "[::]", "10.0.0.1", "queue.example", "[::ffff:127.0.0.1]", "128.0.0.1", "*"};

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        char settings[128], url[96];

        snprintf(url, sizeof(url), "tcp://%s:7440", hosts[i]);
        snprintf(settings, sizeof(settings), "listen: ['ipc:///a', '%s']", url);
        cr_assert_eq(judged(settings), -EINVAL, "%s", url);
        cr_assert_not_null(strstr(said, url), "%s", said);
        cr_assert_not_null(strstr(said, "tls+tcp://"), "%s", said);
    }
}

Test(main_listen, tls_names_the_key_that_is_missing)
{
    cr_assert_eq(judged("listen: tls+tcp://0.0.0.0:1\ntls: {ca: /a, cert: /b, key: /c}"), 0);
    cr_assert_eq(judged("listen: tls+tcp://0.0.0.0:1"), -EINVAL);
    cr_assert_not_null(strstr(said, "tls.ca is not set"), "%s", said);
    cr_assert_eq(judged("listen: tls+tcp://0.0.0.0:1\ntls: {ca: /a, key: /c}"), -EINVAL);
    cr_assert_not_null(strstr(said, "tls.cert is not set"), "%s", said);
    cr_assert_eq(judged("listen: tls+tcp://0.0.0.0:1\ntls: {ca: /a, cert: /b}"), -EINVAL);
    cr_assert_not_null(strstr(said, "tls.key is not set"), "%s", said);
}

static void submit_nothing(struct backend *backend, struct request *request)
{
    request->status = -ENOTSUP;
    request->done(request);
}

static int listened(const char *settings)
{
    struct backend backend = {.submit = submit_nothing};
    struct server *server;
    struct config config;
    int result;

    read_settings(&config, settings);
    cr_assert_eq(server_new(&backend, &server), 0);
    result = listen_all(server, &config);
    server_free(server);
    config_fini(&config);
    return result;
}

static mode_t directory_made(const char *mode)
{
    char settings[128], dir[64];
    struct stat st;

    snprintf(dir, sizeof(dir), "%s/d", base);
    snprintf(settings, sizeof(settings), "listen: ipc://%s/s\nsocket: {mode: %s}", dir, mode);
    cr_assert_eq(listened(settings), 0);
    cr_assert_eq(stat(dir, &st), 0);
    rmdir(dir);
    return st.st_mode & 07777;
}

Test(main_listen, a_missing_directory_is_made_for_those_who_may_use_the_socket)
{
    umask(077);
    cr_assert_eq(directory_made("0660"), 0750);
    cr_assert_eq(directory_made("0600"), 0750);
    cr_assert_eq(directory_made("0666"), 0755);
}

Test(main_listen, only_the_last_directory_is_made)
{
    char settings[128];

    snprintf(settings, sizeof(settings), "listen: ipc://%s/d/e/s", base);
    cr_assert_eq(listened(settings), -ENOENT);
    cr_assert_not_null(strstr(said, "/d/e"));
}

Test(main_listen, a_directory_that_is_there_stays_as_it_is)
{
    char settings[128];
    struct stat st;

    cr_assert_eq(chmod(base, 0711), 0);
    snprintf(settings, sizeof(settings), "listen: ipc://%s/s", base);
    cr_assert_eq(listened(settings), 0);
    cr_assert_eq(stat(base, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0711);
}

Test(main_listen, tcp_without_tls_is_a_warning)
{
    said[0] = '\0';
    cr_assert_eq(listened("listen: tcp://127.0.0.1:0"), 0);
    cr_assert_not_null(strstr(said, "any user of this machine"), "%s", said);
}

/* ---- whoever may write to the directory puts something else in the socket's place ---- */

static void expect_left_alone(const char *path, const char *victim)
{
    struct config config;
    struct stat st;

    read_settings(&config, "socket: {mode: 0666, owner: 65534, group: 65534}");
    said[0] = '\0';
    cr_assert_eq(listen_give(path, S_IFSOCK, 0666, &config), -EPERM);
    cr_assert_not_null(strstr(said, "something else was put in its place"), "%s", said);
    cr_assert_eq(stat(victim, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0600);
    cr_assert_eq(st.st_uid, geteuid());
    config_fini(&config);
}

Test(main_listen, what_is_given_away_is_what_was_made)
{
    char victim[64], other[64], path[64];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(victim, sizeof(victim), "%s/shadow", base);
    snprintf(path, sizeof(path), "%s/s", base);
    snprintf(other, sizeof(other), "%s/other", base);
    close(creat(victim, 0600));
    cr_assert_eq(symlink(victim, path), 0);
    expect_left_alone(path, victim);
    unlink(path);
    cr_assert_eq(link(victim, path), 0);
    expect_left_alone(path, victim);
    unlink(path);

    strcpy(name.sun_path, other);
    cr_assert_eq(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    cr_assert_eq(chmod(other, 0600), 0);
    cr_assert_eq(symlink(other, path), 0);
    expect_left_alone(path, other);
    unlink(path);
    cr_assert_eq(link(other, path), 0, "a socket of somebody else's");
    expect_left_alone(path, other);
    close(fd);
    unlink(path);
    unlink(other);
    unlink(victim);
}
