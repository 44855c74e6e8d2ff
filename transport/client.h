/*
 * A mount's way to its service: a backend whose requests travel over NNG (REQ contexts, one a
 * request in flight). One service of the address list is in use at a time; requests that
 * get no answer are sent again, the same bytes, with back-off from 50 ms to 2 s, to the next
 * address where one does not answer, until they are answered or the client stops.
 */
#ifndef QUEUEFS_TRANSPORT_CLIENT_H
#define QUEUEFS_TRANSPORT_CLIENT_H

#include "core/request.h"
#include "core/clock.h"
#include "core/mount/mount.h"
#include "transport/tls.h"

struct client;

struct client_options {
    const char *const *addresses; /* inproc://, ipc://, tcp://, tls+tcp://; copied */
    size_t n_addresses;
    struct tls_files tls; /* for tls+tcp; copied */
    const struct clock *clock;
    int64_t answer_timeout_us; /* no answer for so long: send again, perhaps elsewhere */
};

/* Checks the addresses (-EINVAL, *error malloc'ed says which and why). Starts nothing. */
int client_new(const struct client_options *options, struct client **client, char **error);

/* Opens sockets; after the last fork. Does not wait for the service to be there. */
int client_start(struct client *client);

struct backend *client_backend(struct client *client);

/* For mount_options.link_info: `arg` is the client. */
void client_link_info(void *arg, struct link_info *info);

/* Every unanswered request is answered -ESHUTDOWN; none is sent any more. Waits for callbacks. */
void client_stop(struct client *client);
void client_free(struct client *client); /* stops it; takes NULL */

#endif
