/* What a failed handshake means, in words that say what to do. Pure but for *peer. */
#ifndef QUEUEFS_TRANSPORT_TLS_WHY_H
#define QUEUEFS_TRANSPORT_TLS_WHY_H

#include <stdbool.h>
#include <stdint.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include "transport/tls_report.h"

/* Who is at the other end, as its certificate says. */
struct tls_peer {
    const char *expected; /* the name it must be for; NULL: any */
    char name[128];       /* its subject; empty: it showed none */
    uint32_t flags;       /* MBEDTLS_X509_BADCERT_*, of the whole chain */
};

/* For mbedtls_ssl_set_verify(), with a struct tls_peer: takes note, and lets a certificate for an
 * IP address be one for that address. */
int tls_peer_check(void *peer, mbedtls_x509_crt *cert, int depth, uint32_t *flags);

/* False: nothing to tell, it was only a connection that said nothing. */
bool tls_why(const mbedtls_ssl_context *ssl, const struct tls_peer *peer, int rv,
             char why[TLS_WHY_MAX]);

#endif
