/* Which addresses are allowed, and what is said about the others. */
#include "transport/address.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(address, .timeout = 10);

static struct address parsed(const char *text)
{
    struct address address;
    char *error = NULL;

    cr_assert_eq(address_parse(text, &address, &error), 0, "%s", error);
    return address;
}

static void refused(const char *text, const char *hint)
{
    struct address address;
    char *error = NULL;

    cr_assert_eq(address_parse(text, &address, &error), -EINVAL, "%s", text);
    cr_assert_not_null(strstr(error, text), "%s", error);
    cr_assert_not_null(strstr(error, hint), "%s", error);
    free(error);
}

Test(address, each_kind_is_understood)
{
    struct address address = parsed("inproc://embedded");

    cr_assert_eq(address.kind, ADDRESS_INPROC);
    cr_assert_str_eq(address.path, "embedded");
    address = parsed("ipc:///run/queued/queued.sock");
    cr_assert_eq(address.kind, ADDRESS_IPC);
    cr_assert_str_eq(address.path, "/run/queued/queued.sock");
    address = parsed("tcp://10.0.0.5:7440");
    cr_assert_eq(address.kind, ADDRESS_TCP);
    cr_assert_str_eq(address.host, "10.0.0.5");
    cr_assert_eq(address.port, 7440);
    address = parsed("tls+tcp://[2001:db8::1]:65535");
    cr_assert_eq(address.kind, ADDRESS_TLS);
    cr_assert_str_eq(address.host, "2001:db8::1");
    cr_assert_eq(address.port, 65535);
    address = parsed("tcp://queue-1.example.org:0");
    cr_assert_str_eq(address.host, "queue-1.example.org");
    cr_assert_eq(address.port, 0);
}

Test(address, other_schemes_are_refused)
{
    refused("", "what is allowed");
    refused("local", "what is allowed");
    refused("http://x:1", "what is allowed");
    refused("tcp:/x:1", "what is allowed");
    refused("TCP://x:1", "what is allowed");
}

Test(address, paths_have_limits)
{
    char text[200] = "ipc:///";

    refused("ipc://", "path is missing");
    refused("ipc://relative", "begin with /");
    refused("inproc://", "name is missing");
    memset(text + 7, 'p', ADDRESS_PATH_MAX - 1);
    cr_assert_eq(strlen(parsed(text).path), ADDRESS_PATH_MAX);
    text[7 + ADDRESS_PATH_MAX - 1] = 'p';
    refused(text, "107 bytes");
}

Test(address, hosts_have_limits)
{
    char text[400] = "tcp://";

    refused("tcp://", "HOST:PORT");
    refused("tcp://host", "HOST:PORT");
    refused("tcp://:80", "the host must be");
    refused("tcp://ho st:80", "the host must be");
    refused("tcp://a/b:80", "the host must be");
    refused("tcp://[::1]80", "HOST:PORT");
    refused("tcp://[::1:80", "HOST:PORT");
    refused("tcp://[nonsense]:80", "the host must be");
    memset(text + 6, 'h', ADDRESS_HOST_MAX + 1);
    strcpy(text + 6 + ADDRESS_HOST_MAX + 1, ":80");
    refused(text, "too long");
    strcpy(text + 6 + ADDRESS_HOST_MAX, ":80");
    cr_assert_eq(strlen(parsed(text).host), ADDRESS_HOST_MAX);
}

Test(address, ports_have_limits)
{
    refused("tcp://host:", "port is missing");
    refused("tcp://host:x", "port is missing");
    refused("tcp://host:-1", "port is missing");
    refused("tcp://host:65536", "0 to 65535");
    refused("tcp://host:99999999999999999999", "0 to 65535");
    refused("tcp://host:80/path", "0 to 65535");
    refused("tcp://host:1:2", "0 to 65535");
    cr_assert_eq(parsed("tcp://host:65535").port, 65535);
}

static bool local(const char *text)
{
    struct address address = parsed(text);

    return address_is_local(&address);
}

Test(address, local_ones_are_told_from_those_others_can_reach)
{
    cr_assert(local("inproc://x"));
    cr_assert(local("ipc:///x"));
    cr_assert(local("tcp://127.0.0.1:1"));
    cr_assert(local("tcp://127.255.0.9:1"));
    cr_assert(local("tcp://localhost:1"));
    cr_assert(local("tcp://[::1]:1"));
    cr_assert_not(local("tcp://0.0.0.0:1"));
    cr_assert_not(local("tcp://*:1"));
    cr_assert_not(local("tcp://[::]:1"));
    cr_assert_not(local("tcp://128.0.0.1:1"));
    cr_assert_not(local("tcp://localhost.example.org:1"));
}
