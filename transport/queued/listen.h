/* The listeners of a service, as its settings say. Part of service.h. */
#ifndef QUEUEFS_TRANSPORT_QUEUED_LISTEN_H
#define QUEUEFS_TRANSPORT_QUEUED_LISTEN_H

#include "config/config.h"
#include "transport/server.h"

/* 0 or negative errno, logged. */
int listen_all(struct server *server, const struct config *config);

/*
 * Give what was just made at `path` (S_IFSOCK, S_IFDIR) to socket.owner and socket.group, with this
 * mode. 0, or negative errno, logged: -EPERM it is something else by now, which is left alone.
 */
int listen_give(const char *path, mode_t type, mode_t mode, const struct config *config);

/* The files and rules of a tls: section; borrows its texts. */
struct tls_files tls_files_of(const struct config_tls *tls);

/* An address for this user only. 0 or negative errno, logged. */
int listen_private(struct server *server, const char *url);

#endif
