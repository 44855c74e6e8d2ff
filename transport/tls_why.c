#include "transport/tls_why.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <mbedtls/asn1.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>

#define TAG_IP_ADDRESS 7 /* in a subjectAltName */

/* Whether the certificate is for this IP address. */
static bool is_for_address(const mbedtls_x509_crt *cert, const uint8_t *address, size_t len)
{
    const mbedtls_x509_sequence *name = &cert->subject_alt_names;

    for (; name && name->buf.p; name = name->next) {
        if ((name->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) == TAG_IP_ADDRESS &&
            name->buf.len == len && memcmp(name->buf.p, address, len) == 0)
            return true;
    }
    return false;
}

static bool is_for_host(const mbedtls_x509_crt *cert, const char *host)
{
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, host, &four) == 1)
        return is_for_address(cert, (const uint8_t *)&four, sizeof(four));
    if (inet_pton(AF_INET6, host, &six) == 1)
        return is_for_address(cert, (const uint8_t *)&six, sizeof(six));
    return false;
}

int tls_peer_check(void *arg, mbedtls_x509_crt *cert, int depth, uint32_t *flags)
{
    struct tls_peer *peer = arg;

    if (depth == 0 && peer->expected && is_for_host(cert, peer->expected))
        *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
    if (depth == 0 && mbedtls_x509_dn_gets(peer->name, sizeof(peer->name), &cert->subject) <= 0)
        snprintf(peer->name, sizeof(peer->name), "without a name");
    peer->flags |= *flags;
    return 0;
}

static const struct {
    uint32_t flag;
    const char *text;
} faults[] = {
    {MBEDTLS_X509_BADCERT_EXPIRED, "has expired"},
    {MBEDTLS_X509_BADCERT_FUTURE, "is not valid yet"},
    {MBEDTLS_X509_BADCERT_REVOKED, "has been revoked"},
    {MBEDTLS_X509_BADCERT_NOT_TRUSTED, "is not from the CA in tls.ca"},
    {MBEDTLS_X509_BADCERT_KEY_USAGE, "is not for such use (key usage)"},
    {MBEDTLS_X509_BADCERT_EXT_KEY_USAGE, "is not for such use (extended key usage)"},
    {MBEDTLS_X509_BADCERT_NS_CERT_TYPE, "is not for such use (type)"},
    {MBEDTLS_X509_BADCERT_BAD_MD, "is signed by a hash that is not allowed"},
    {MBEDTLS_X509_BADCERT_BAD_PK, "is signed by a key that is not allowed"},
    {MBEDTLS_X509_BADCERT_BAD_KEY, "has a key that is too weak"},
};

static void append(char why[TLS_WHY_MAX], const char *text)
{
    size_t len = strlen(why);

    snprintf(why + len, TLS_WHY_MAX - len, "%s", text);
}

/* "the certificate CN=x has expired, is for another name than queue.example" */
static void explain_certificate(const struct tls_peer *peer, char why[TLS_WHY_MAX])
{
    const char *separator = " ";

    snprintf(why, TLS_WHY_MAX, "the certificate %.100s", peer->name);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (!(peer->flags & faults[i].flag))
            continue;
        append(why, separator);
        append(why, faults[i].text);
        separator = ", ";
    }
    if (peer->flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) {
        append(why, separator);
        append(why, "is for another name than ");
        append(why, peer->expected ? peer->expected : "expected");
    } else if (separator[0] == ' ') {
        append(why, " is not good");
    }
}

static const char *alert_text(unsigned char alert)
{
    switch (alert) {
    case MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED:
        return "the other side says that this certificate has expired";
    case MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA:
        return "the other side does not know the CA of this certificate";
    case MBEDTLS_SSL_ALERT_MSG_BAD_CERT:
    case MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT:
    case MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED:
    case MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN:
    case MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED:
        return "the other side does not accept this certificate";
    case MBEDTLS_SSL_ALERT_MSG_NO_CERT:
        return "the other side wants a certificate";
    case MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION:
        return "the other side does not speak TLS 1.2";
    default:
        return NULL;
    }
}

static void explain_alert(const mbedtls_ssl_context *ssl, char why[TLS_WHY_MAX])
{
    const char *text = alert_text(ssl->in_msg[1]);

    if (text)
        snprintf(why, TLS_WHY_MAX, "%s", text);
    else
        snprintf(why, TLS_WHY_MAX, "the other side ended the handshake with TLS alert %u",
                 ssl->in_msg[1]);
}

static bool is_server(const mbedtls_ssl_context *ssl)
{
    return ssl->conf->endpoint == MBEDTLS_SSL_IS_SERVER;
}

/* The connection is gone: how far had it come? Where it said nothing it was a look at the port. */
static bool explain_closed(const mbedtls_ssl_context *ssl, char why[TLS_WHY_MAX])
{
    if (is_server(ssl) && ssl->state <= MBEDTLS_SSL_CLIENT_HELLO)
        return false;
    if (!is_server(ssl) && ssl->state <= MBEDTLS_SSL_SERVER_HELLO)
        snprintf(why, TLS_WHY_MAX,
                 "the connection was closed at once: no TLS there (tcp:// "
                 "rather than tls+tcp://?)");
    else
        snprintf(why, TLS_WHY_MAX,
                 "the other side closed the connection in the handshake; it may "
                 "not accept this certificate");
    return true;
}

bool tls_why(const mbedtls_ssl_context *ssl, const struct tls_peer *peer, int rv,
             char why[TLS_WHY_MAX])
{
    const bool begins = ssl->state <= MBEDTLS_SSL_SERVER_HELLO;
    char text[128];

    /* Which may be reported as a handshake message that could not be processed. */
    if (peer->flags != 0 && rv != MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        explain_certificate(peer, why);
        return true;
    }
    switch (rv) {
    case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE:
        snprintf(why, TLS_WHY_MAX, "it showed no certificate");
        return true;
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        explain_alert(ssl, why);
        return true;
    case MBEDTLS_ERR_SSL_CONN_EOF:
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
    case MBEDTLS_ERR_NET_CONN_RESET:
        return explain_closed(ssl, why);
    case MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION:
        snprintf(why, TLS_WHY_MAX, "the other side does not speak TLS 1.2");
        return true;
    default:
        mbedtls_strerror(rv, text, sizeof(text));
        snprintf(why, TLS_WHY_MAX, "%s (%s)",
                 begins ? "what came is no TLS; both sides need a tls+tcp:// address"
                        : "the handshake failed",
                 text);
        return true;
    }
}
