#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/address.h"
#include "config/config.h"

typedef const char *address_check(const char *text);

static void expect_good(address_check *check, const char *const *texts)
{
    for (; *texts; texts++)
        cr_assert_null(check(*texts), "%s: %s", *texts, check(*texts));
}

static void expect_bad(address_check *check, const char *const *texts)
{
    for (; *texts; texts++) {
        cr_assert_not_null(check(*texts), "%s", *texts);
        cr_assert_not_null(strstr(check(*texts), "allowed"), "%s", check(*texts));
    }
}

Test(address, of_a_service, .timeout = 5)
{
    static const char *const good[] = {"local",     "inproc://a",           "ipc:///run/q.sock",
                                       "tcp://h:1", "tcp://10.0.0.5:65535", "tls+tcp://[::1]:7440",
                                       NULL};
    static const char *const bad[] = {"",
                                      "localhost",
                                      "tcp",
                                      "tcp:/h:1",
                                      "TCP://h:1",
                                      "tcp://",
                                      "tcp://h",
                                      "tcp://:1",
                                      "tcp://h:",
                                      "tcp://h:0",
                                      "tcp://h:65536",
                                      "tcp://h:1x",
                                      "tcp://h:-1",
                                      "tcp://h:111111",
                                      "tcp://::1:7440",
                                      "tcp://[]:1",
                                      "tcp://u@h:1",
                                      "tcp://h:1/path",
                                      "tcp://h/x:1",
                                      "tcp://a b:1",
                                      "tcp://a\n:1",
                                      "ipc://",
                                      "ipc://relative",
                                      "inproc://",
                                      "ws://h:1",
                                      "tls://h:1",
                                      NULL};
    expect_good(config_service_address_check, good);
    expect_bad(config_service_address_check, bad);
}

Test(address, to_listen_on, .timeout = 5)
{
    static const char *const good[] = {"tcp://:7440",
                                       "tcp://*:7440",
                                       "tcp://127.0.0.1:0",
                                       "tls+tcp://[::]:1",
                                       "ipc:///a",
                                       "inproc://x",
                                       NULL};
    static const char *const bad[] = {"local", "tcp://h", "tcp://h:65536", "nats://h:1", NULL};
    expect_good(config_listen_address_check, good);
    expect_bad(config_listen_address_check, bad);
}

Test(address, of_a_nats_server, .timeout = 5)
{
    static const char *const good[] = {"nats://127.0.0.1:4222", "tls://n.example:4222", NULL};
    static const char *const bad[] = {"nats://h",       "nats://:4222", "tcp://h:1", "h:4222",
                                      "nats://u:p@h:1", "nats://h h:1", NULL};
    expect_good(address_nats_check, good);
    expect_bad(address_nats_check, bad);
}

static char text[5000];

static const char *repeat(const char *start, size_t total)
{
    memset(text, 'a', total);
    memcpy(text, start, strlen(start));
    text[total] = '\0';
    return text;
}

Test(address, lengths_hold_on_both_sides, .timeout = 5)
{
    cr_assert_null(config_listen_address_check(repeat("ipc:///", 6 + 107)));
    cr_assert_not_null(config_listen_address_check(repeat("ipc:///", 6 + 108)));
    cr_assert_null(config_listen_address_check(repeat("inproc://", 9 + 64)));
    cr_assert_not_null(config_listen_address_check(repeat("inproc://", 9 + 65)));
    repeat("tcp://", 6 + 255);
    strcat(text, ":1");
    cr_assert_null(config_service_address_check(text));
    repeat("tcp://", 6 + 256);
    strcat(text, ":1");
    cr_assert_not_null(config_service_address_check(text));
    cr_assert_null(path_check(repeat("/", 4095)));
    cr_assert_not_null(path_check(repeat("/", 4096)));
    cr_assert_null(host_check(repeat("a", 255)));
    cr_assert_not_null(host_check(repeat("a", 256)));
    cr_assert_null(prefix_check(repeat("a", 64)));
    cr_assert_not_null(prefix_check(repeat("a", 65)));
}

Test(address, other_texts, .timeout = 5)
{
    cr_assert_null(path_check("relative/pa th"));
    cr_assert_not_null(path_check("/a\nb"));
    cr_assert_not_null(path_check("/a\x7f"));
    cr_assert_null(host_check("queue.example"));
    cr_assert_not_null(host_check("h:1"));
    cr_assert_not_null(host_check("a b"));
    cr_assert_null(prefix_check("team-a_1"));
    cr_assert_not_null(prefix_check("a.b"));
    cr_assert_not_null(prefix_check("a*"));
}
