/*
 * Lets others reach a backend (the service) over NNG: REP contexts on any number of listeners.
 * A parked request (WATCH) holds its context; there are always idle contexts left for the next
 * request. Frames are checked whole before anything of them reaches the backend; nonsense is
 * answered -EPROTO or dropped, and counted. The bytes of a put are the backend's to check.
 */
#ifndef QUEUEFS_TRANSPORT_SERVER_H
#define QUEUEFS_TRANSPORT_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/request.h"
#include "transport/tls.h"

struct server;

int server_new(struct backend *backend, struct server **server);

/*
 * Listen on `url` (inproc://, ipc:///PATH, tcp://HOST:PORT, tls+tcp://HOST:PORT). ipc_mode: the
 * socket's permission bits; a stale socket file is replaced. tls: for tls+tcp, the same each time.
 * May be called several times, after the last fork. 0 or negative errno, then *error (malloc'ed)
 * says why: -EADDRINUSE somebody listens there, -EPERM tcp:// that other machines could reach.
 */
int server_listen(struct server *server, const char *url, mode_t ipc_mode,
                  const struct tls_files *tls, char **error);

/* Where the i-th listener is, port 0 replaced by the real one; NULL: there are not so many. Lives
 * until server_free(). */
const char *server_url(const struct server *server, size_t i);

/* Begin to receive; after the listeners. */
int server_start(struct server *server);

/*
 * Read the certificates of the TLS listeners anew, other files or by other rules as `tls` says.
 * Connections that stand are left alone. 0, logged, or negative errno and *error as above: then all
 * is as it was. Any one thread at a time.
 */
int server_reload(struct server *server, const struct tls_files *tls, char **error);

/* Frames so far that were nonsense. Any thread. */
uint64_t server_bad_frames(const struct server *server);

/* Take no new requests: they are answered -ESHUTDOWN. Answers of those taken still go out until
 * server_free(). */
void server_stop(struct server *server);

/* The backend has answered everything (service_stop). Waits for callbacks. Takes NULL. */
void server_free(struct server *server);

#endif
