#include "transport/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *prefix;
    enum address_kind kind;
} address_kinds[] = {
    {"inproc://", ADDRESS_INPROC},
    {"ipc://", ADDRESS_IPC},
    {"tcp://", ADDRESS_TCP},
    {"tls+tcp://", ADDRESS_TLS},
};

/* What follows the scheme, or NULL where it is none of ours. */
static const char *parse_kind(const char *text, enum address_kind *kind)
{
    for (size_t i = 0; i < sizeof(address_kinds) / sizeof(address_kinds[0]); i++) {
        size_t len = strlen(address_kinds[i].prefix);

        if (strncmp(text, address_kinds[i].prefix, len) == 0) {
            *kind = address_kinds[i].kind;
            return text + len;
        }
    }
    return NULL;
}

/* Each of these returns NULL or what is wrong. */

static const char *parse_path(const char *rest, struct address *address)
{
    if (!*rest)
        return address->kind == ADDRESS_IPC ? "a path is missing" : "a name is missing";
    if (address->kind == ADDRESS_IPC && rest[0] != '/')
        return "the path must begin with / (ipc:///run/...)";
    if (strlen(rest) > ADDRESS_PATH_MAX)
        return "longer than the 107 bytes that a socket's address holds";
    strcpy(address->path, rest);
    return NULL;
}

static const char *parse_port(const char *rest, struct address *address)
{
    unsigned long port = 0;
    size_t n = strspn(rest, "0123456789");

    if (n == 0)
        return "a port is missing (HOST:PORT)";
    if (n <= 5)
        port = strtoul(rest, NULL, 10);
    if (n > 5 || rest[n] || port > UINT16_MAX)
        return "the port must be 0 to 65535";
    address->port = (uint16_t)port;
    return NULL;
}

static bool host_valid(const char *host, bool brackets)
{
    struct in6_addr six;

    if (brackets)
        return inet_pton(AF_INET6, host, &six) == 1;
    for (const char *c = host; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._*", *c))
            return false;
    return host[0] != '\0';
}

static const char *parse_host(const char *rest, struct address *address)
{
    bool brackets = rest[0] == '[';
    const char *from = rest + brackets;
    const char *end = strchr(from, brackets ? ']' : ':');
    size_t len;

    if (!end || (brackets && end[1] != ':'))
        return "HOST:PORT is what is allowed";
    len = (size_t)(end - from);
    if (len > ADDRESS_HOST_MAX)
        return "the host is too long";
    memcpy(address->host, from, len);
    address->host[len] = '\0';
    if (!host_valid(address->host, brackets))
        return "the host must be a name, an IPv4 address or an IPv6 address in [ ]";
    return parse_port(end + 1 + brackets, address);
}

int address_parse(const char *text, struct address *address, char **error)
{
    struct address parsed = {0};
    const char *rest = parse_kind(text, &parsed.kind), *wrong;

    if (!rest)
        wrong = "inproc://, ipc://, tcp:// and tls+tcp:// are what is allowed";
    else if (parsed.kind == ADDRESS_INPROC || parsed.kind == ADDRESS_IPC)
        wrong = parse_path(rest, &parsed);
    else
        wrong = parse_host(rest, &parsed);
    if (wrong) {
        if (asprintf(error, "address %s: %s", text, wrong) < 0)
            *error = NULL;
        return -EINVAL;
    }
    *address = parsed;
    return 0;
}

bool address_is_local(const struct address *address)
{
    struct in_addr four;
    struct in6_addr six;

    if (address->kind == ADDRESS_INPROC || address->kind == ADDRESS_IPC)
        return true;
    if (inet_pton(AF_INET, address->host, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, address->host, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six);
    return strcmp(address->host, "localhost") == 0;
}
