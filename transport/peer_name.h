/* What is at the other end of a connection, for the log. Any thread, and NNG is asked: hold no
 * lock of ours. */
#ifndef QUEUEFS_TRANSPORT_PEER_NAME_H
#define QUEUEFS_TRANSPORT_PEER_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <nng/nng.h>

#define PEER_NAME_MAX    96
#define ADDRESS_TEXT_MAX 46

/* "10.0.0.5:4711", "process 17 of user 1000"; "a peer" where it can't be told. */
void peer_name(int pipe, char name[PEER_NAME_MAX]);

/* "10.0.0.5:4711" of an address; false: of no such kind. */
bool peer_name_of(const nng_sockaddr *at, char name[PEER_NAME_MAX]);

/* Four or sixteen bytes as an IP address; false: other lengths. */
bool address_text(const uint8_t *bytes, size_t len, char text[ADDRESS_TEXT_MAX]);

/* A number of whose connection it is: of the user on a local socket, else of the address, of IPv6
 * of its first 64 bits; 0: unknown. */
uint64_t peer_owner(int pipe_id);

#endif
