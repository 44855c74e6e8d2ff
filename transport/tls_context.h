/* Files and rules made into what OpenSSL makes connections of. */
#ifndef QUEUEFS_TRANSPORT_TLS_CONTEXT_H
#define QUEUEFS_TRANSPORT_TLS_CONTEXT_H

#include <time.h>
#include <openssl/ssl.h>

#include "transport/tls.h"

#define TLS_WHAT_MAX 256

/* What was read, for the log. */
struct tls_facts {
    char own[TLS_WHAT_MAX]; /* "the certificate CN=a of /etc/a.pem" */
    char
        what[TLS_WHAT_MAX]; /* of the certificate and the revocation list the one that ends first */
    time_t begin, end;      /* of that */
};

/* As tls_new(). *context is for SSL_CTX_free(); connections from it demand and check the peer's
 * certificate (tls_peer_check), and names and addresses where they are set. */
int tls_context_new(const struct tls_files *files, SSL_CTX **context, struct tls_facts *facts,
                    char **error);

#endif
