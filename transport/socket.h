/* Closing NNG sockets, which in NNG 1.5 may hang for good where a connection is busy just then. */
#ifndef QUEUEFS_TRANSPORT_SOCKET_H
#define QUEUEFS_TRANSPORT_SOCKET_H

#include <nng/nng.h>

/*
 * nng_close(), but for 2 s at most. 0; -ETIMEDOUT: it hangs. Then whatever the socket's callbacks
 * use must be left alone for ever, for which a process that is ending has the time.
 */
int socket_close(nng_socket socket);

#endif
