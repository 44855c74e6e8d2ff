/*
 * Where a service is or listens: inproc://NAME, ipc:///PATH, tcp://HOST:PORT, tls+tcp://HOST:PORT.
 * HOST is a name, an IPv4 address or an IPv6 one in brackets. Pure functions, any thread.
 */
#ifndef QUEUEFS_TRANSPORT_ADDRESS_H
#define QUEUEFS_TRANSPORT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

enum address_kind { ADDRESS_INPROC, ADDRESS_IPC, ADDRESS_TCP, ADDRESS_TLS };

#define ADDRESS_PATH_MAX 107 /* what a socket's address holds */
#define ADDRESS_HOST_MAX 253

struct address {
    enum address_kind kind;
    char path[ADDRESS_PATH_MAX + 1]; /* of ipc, absolute; of inproc the name; else empty */
    char host[ADDRESS_HOST_MAX + 1]; /* of tcp and tls, without brackets; else empty */
    uint16_t port;                   /* 0: any free one; listeners only */
};

/* 0, or -EINVAL: then *error is one line that names the address and what is wrong with it
 * (malloc'ed; NULL where memory is short). */
int address_parse(const char *text, struct address *address, char **error);

/* Whether only this machine can reach it. */
bool address_is_local(const struct address *address);

#endif
