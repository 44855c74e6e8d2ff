/* What a failed handshake means, in words that say what to do. */
#ifndef QUEUEFS_TRANSPORT_TLS_WHY_H
#define QUEUEFS_TRANSPORT_TLS_WHY_H

#include <stdbool.h>
#include <time.h>
#include <openssl/ssl.h>

#include "transport/tls_report.h"

#define TLS_TIME_MAX 32

/* What was wrong with the certificate at the other end; SSL_set_app_data() says which of these is a
 * connection's. Of one thread at a time, as the connection is. */
struct tls_peer {
    const char *expected;  /* the name or IP address it must be for; NULL: any */
    int error;             /* X509_V_ERR_*; X509_V_OK: nothing */
    char why[TLS_WHY_MAX]; /* then: "the certificate CN=x has expired ..." */
};

/* For SSL_CTX_set_verify(): takes note of what is wrong. */
int tls_peer_check(int ok, X509_STORE_CTX *checked);

/*
 * Why SSL_do_handshake(), or what came after it, has failed with SSL_ERROR_SSL: of this thread's
 * errors. `listener`: which end we are.
 */
void tls_why(const struct tls_peer *peer, bool listener, char why[TLS_WHY_MAX]);

/* Whether it is the other side's certificate, or the want of one, that was refused. */
bool tls_refused_peer(const struct tls_peer *peer);

/* "2027-01-02 03:04:05 UTC"; returns `text`. */
const char *tls_time(time_t at, char text[TLS_TIME_MAX]);

/* "CN=a,O=b", cut off where it is long. Returns `text`. */
const char *tls_name(const X509_NAME *name, char *text, size_t size);

#endif
