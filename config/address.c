/*
 * Addresses are scheme://rest. The rest is checked as far as a typing error shows without asking
 * the network: a path that is absolute (the background has another working directory) and fits a
 * socket's name, a host and a port.
 */
#include "config/address.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "config/config.h"

#define HOST_MAX       255
#define PORT_MAX       65535
#define SHORT_NAME_MAX 64
#define CIPHERS_MAX    2048
#define SOCKET_PATH    (sizeof((struct sockaddr_un *)0)->sun_path - 1)

/* What follows `scheme` in `text`, or NULL. */
static const char *after(const char *text, const char *scheme)
{
    size_t len = strlen(scheme);
    return strncmp(text, scheme, len) == 0 ? text + len : NULL;
}

static bool printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return false;
    }
    return true;
}

static bool port_valid(const char *text, bool zero)
{
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 5 || text[len] != '\0')
        return false;
    long port = 0;
    for (; *text != '\0'; text++)
        port = port * 10 + (*text - '0');
    return port <= PORT_MAX && (port > 0 || zero);
}

/* HOST:PORT, an IPv6 address in brackets. To listen the host may be empty (all) and the port 0. */
static const char *host_port_check(const char *text, bool listen)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return "no port; scheme://HOST:PORT is allowed";
    size_t len = (size_t)(colon - text);
    if (len > HOST_MAX || (len == 0 && !listen))
        return "no host; scheme://HOST:PORT is allowed";
    bool bracketed = len > 2 && text[0] == '[' && text[len - 1] == ']';
    if (!bracketed && strcspn(text, ":[]") < len)
        return "an IPv6 address without brackets; scheme://[ADDRESS]:PORT is allowed";
    if (strpbrk(text, "/@?#"))
        return "more than a host and a port; scheme://HOST:PORT is allowed";
    if (!port_valid(colon + 1, listen))
        return listen ? "not a port; 0 to 65535 is allowed" : "not a port; 1 to 65535 is allowed";
    return NULL;
}

static const char *socket_path_check(const char *text)
{
    if (text[0] != '/')
        return "not an absolute path; ipc:///PATH is allowed";
    if (strlen(text) > SOCKET_PATH)
        return "too long for a socket; a path of at most 107 bytes is allowed";
    return NULL;
}

static const char *address_check(const char *text, bool listen)
{
    if (!printable(text))
        return "a space or control character in an address; inproc://, ipc://, tcp:// and "
               "tls+tcp:// addresses are allowed";
    const char *rest = after(text, "inproc://");
    if (rest)
        return rest[0] != '\0' && strlen(rest) <= SHORT_NAME_MAX
                   ? NULL
                   : "a name of 1 to 64 bytes after inproc:// is allowed";
    rest = after(text, "ipc://");
    if (rest)
        return socket_path_check(rest);
    rest = after(text, "tls+tcp://");
    if (!rest)
        rest = after(text, "tcp://");
    if (rest)
        return host_port_check(rest, listen);
    return listen ? "not an address; inproc://, ipc://, tcp:// and tls+tcp:// are allowed"
                  : "not an address; inproc://, ipc://, tcp://, tls+tcp:// and local are allowed";
}

const char *config_service_address_check(const char *text)
{
    return strcmp(text, "local") == 0 ? NULL : address_check(text, false);
}

const char *config_listen_address_check(const char *text)
{
    return address_check(text, true);
}

const char *address_nats_check(const char *text)
{
    const char *rest = after(text, "nats://");
    if (!rest)
        rest = after(text, "tls://");
    if (!rest || !printable(text))
        return "not a NATS server; nats://HOST:PORT and tls://HOST:PORT are allowed";
    return host_port_check(rest, false);
}

const char *path_check(const char *text)
{
    if (strlen(text) >= PATH_MAX)
        return "too long; a path of at most 4095 bytes is allowed";
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return "a control character; a path without them is allowed";
    }
    return NULL;
}

const char *host_check(const char *text)
{
    if (strlen(text) > HOST_MAX || !printable(text) || strpbrk(text, "/:@"))
        return "not a host's name; one of at most 255 bytes is allowed";
    return NULL;
}

const char *ciphers_check(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-:";
    size_t len = strspn(text, allowed);
    if (text[len] != '\0' || len > CIPHERS_MAX)
        return "not names of ciphers; OpenSSL's, with colons between, are allowed";
    return NULL;
}

const char *prefix_check(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-";
    size_t len = strspn(text, allowed);
    if (text[len] != '\0' || len > SHORT_NAME_MAX)
        return "not a prefix; 1 to 64 letters, digits, _ and - are allowed";
    return NULL;
}
