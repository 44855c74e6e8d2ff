#include "transport/tls_why.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "transport/peer_name.h"

#define NAME_MAX_SHOWN 100 /* of what a certificate says, which may be anything */

static void append(char why[TLS_WHY_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void append(char why[TLS_WHY_MAX], const char *format, ...)
{
    const size_t len = strlen(why);
    va_list args;

    va_start(args, format);
    vsnprintf(why + len, TLS_WHY_MAX - len, format, args);
    va_end(args);
}

/* ---- words ---- */

const char *tls_time(time_t at, char text[TLS_TIME_MAX])
{
    struct tm tm;

    if (!gmtime_r(&at, &tm) || strftime(text, TLS_TIME_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(text, TLS_TIME_MAX, "an unknown day");
    return text;
}

const char *tls_name(const X509_NAME *name, char *text, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n = 0;

    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) > 0)
        n = BIO_read(bio, text, (int)size - 1);
    text[n > 0 ? n : 0] = '\0';
    if (n <= 0)
        snprintf(text, size, "without a name");
    BIO_free(bio);
    return text;
}

/* ---- what is wrong with a certificate ---- */

static void append_time(char why[TLS_WHY_MAX], const char *before, const ASN1_TIME *asn1)
{
    char text[TLS_TIME_MAX];
    struct tm tm;

    if (ASN1_TIME_to_tm(asn1, &tm))
        append(why, " %s %s", before, tls_time(timegm(&tm), text));
}

static void append_name(char why[TLS_WHY_MAX], const GENERAL_NAME *name, const char *separator)
{
    char address[ADDRESS_TEXT_MAX];

    if (name->type == GEN_DNS)
        append(why, "%s%.*s", separator, ASN1_STRING_length(name->d.dNSName),
               (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    else if (name->type == GEN_IPADD &&
             address_text(ASN1_STRING_get0_data(name->d.iPAddress),
                          (size_t)ASN1_STRING_length(name->d.iPAddress), address))
        append(why, "%s%s", separator, address);
}

/* "; it is for a.example, 10.0.0.1": what to call the service by, or to put into a new one. */
static void append_names(char why[TLS_WHY_MAX], X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const int n = names ? sk_GENERAL_NAME_num(names) : 0;

    append(why, n > 0 ? "; it is for" : "; it has no subjectAltName");
    for (int i = 0; i < n && strlen(why) < TLS_WHY_MAX - 64; i++)
        append_name(why, sk_GENERAL_NAME_value(names, i), i == 0 ? " " : ", ");
    GENERAL_NAMES_free(names);
}

static const struct {
    int error;
    const char *text;
} faults[] = {
    {X509_V_ERR_CERT_REVOKED, "has been revoked (tls.crl): issue a new one"},
    {X509_V_ERR_UNABLE_TO_GET_CRL,
     "is of a CA of which there is no revocation list in tls.crl: add it"},
    {X509_V_ERR_CRL_HAS_EXPIRED,
     "can't be checked, as the revocation list in tls.crl has expired: put a new one there"},
    {X509_V_ERR_CRL_NOT_YET_VALID,
     "can't be checked, as the revocation list in tls.crl is not valid yet: look at the clock"},
    {X509_V_ERR_INVALID_PURPOSE, "is not for such use (extended key usage)"},
    {X509_V_ERR_EE_KEY_TOO_SMALL, "has a key that is too weak: issue a new one"},
    {X509_V_ERR_CA_KEY_TOO_SMALL, "has a key that is too weak: issue a new one"},
    {X509_V_ERR_CA_MD_TOO_WEAK, "is signed by a hash that is not allowed: issue a new one"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, "has been tampered with: its signature is wrong"},
};

static void append_fault(char why[TLS_WHY_MAX], int error)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (faults[i].error == error) {
            append(why, "%s", faults[i].text);
            return;
        }
    }
    append(why, "is not good: %s", X509_verify_cert_error_string(error));
}

/* Nobody whom tls.ca knows has signed it. */
static bool is_stranger(int error)
{
    return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
           error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
           error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
           error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
           error == X509_V_ERR_CERT_UNTRUSTED;
}

static void explain_certificate(struct tls_peer *peer, X509 *cert, char why[TLS_WHY_MAX])
{
    char name[NAME_MAX_SHOWN];

    tls_name(X509_get_subject_name(cert), name, sizeof(name));
    snprintf(why, TLS_WHY_MAX, "the certificate %s ", name);
    if (is_stranger(peer->error)) {
        tls_name(X509_get_issuer_name(cert), name, sizeof(name));
        append(why, "is not from the CA in tls.ca but from %s: issue it one, or add its CA", name);
    } else if (peer->error == X509_V_ERR_CERT_HAS_EXPIRED) {
        append(why, "has expired");
        append_time(why, "on", X509_get0_notAfter(cert));
        append(why, ": renew it");
    } else if (peer->error == X509_V_ERR_CERT_NOT_YET_VALID) {
        append(why, "is not valid yet, but");
        append_time(why, "from", X509_get0_notBefore(cert));
        append(why, " on: look at both clocks");
    } else if (peer->error == X509_V_ERR_HOSTNAME_MISMATCH ||
               peer->error == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        append(why, "is for another %s than %.80s",
               peer->error == X509_V_ERR_HOSTNAME_MISMATCH ? "name" : "IP address",
               peer->expected ? peer->expected : "expected");
        append_names(why, cert);
    } else {
        append_fault(why, peer->error);
    }
}

int tls_peer_check(int ok, X509_STORE_CTX *checked)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(checked, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_peer *peer = ssl ? SSL_get_app_data(ssl) : NULL;
    X509 *cert = X509_STORE_CTX_get_current_cert(checked);

    if (ok || !peer || peer->error != X509_V_OK)
        return ok;
    peer->error = X509_STORE_CTX_get_error(checked);
    if (is_stranger(peer->error))
        cert = X509_STORE_CTX_get0_cert(checked);
    if (cert)
        explain_certificate(peer, cert, peer->why);
    else
        snprintf(peer->why, sizeof(peer->why), "its certificate is not good: %s",
                 X509_verify_cert_error_string(peer->error));
    return ok;
}

/* ---- what is wrong with a handshake ---- */

static const struct {
    int alert;
    const char *text;
} alerts[] = {
    {SSL3_AD_CERTIFICATE_EXPIRED,
     "the other side says that this certificate has expired: renew it"},
    {SSL3_AD_CERTIFICATE_REVOKED,
     "the other side says that this certificate has been revoked: get a new one"},
    {TLS1_AD_UNKNOWN_CA, "the other side does not know the CA of this certificate: get one of its "
                         "CA, or have this CA added to its tls.ca"},
    {TLS13_AD_CERTIFICATE_REQUIRED, "the other side wants a certificate"},
    {SSL_AD_BAD_CERTIFICATE,
     "the other side does not accept this certificate (a wrong name, or not valid yet?); its log "
     "says why"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE,
     "the other side does not accept this certificate for such use; its log says why"},
    {SSL_AD_CERTIFICATE_UNKNOWN, "the other side does not accept this certificate; its log says "
                                 "why"},
    {SSL_AD_ACCESS_DENIED, "the other side does not accept this certificate; its log says why"},
    {SSL_AD_PROTOCOL_VERSION,
     "the other side does not speak a version of TLS that this one does: look at tls.min_version "
     "of both"},
    {SSL_AD_HANDSHAKE_FAILURE,
     "the two sides have no cipher in common, or the other one wants a certificate: look at "
     "tls.ciphers of both"},
};

static bool explain_alert(int alert, char why[TLS_WHY_MAX])
{
    if (alert < 0 || alert > 255)
        return false;
    for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
        if (alerts[i].alert == alert) {
            snprintf(why, TLS_WHY_MAX, "%s", alerts[i].text);
            return true;
        }
    }
    snprintf(why, TLS_WHY_MAX, "the other side ended the handshake with TLS alert %d", alert);
    return true;
}

static bool is_no_tls(int reason)
{
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_HTTPS_PROXY_REQUEST || reason == SSL_R_UNEXPECTED_MESSAGE ||
           reason == SSL_R_PACKET_LENGTH_TOO_LONG || reason == SSL_R_UNKNOWN_PROTOCOL ||
           reason == SSL_R_BAD_RECORD_TYPE || reason == SSL_R_RECORD_LENGTH_MISMATCH;
}

static void explain_reason(int reason, const char *text, char why[TLS_WHY_MAX])
{
    if (is_no_tls(reason))
        snprintf(why, TLS_WHY_MAX, "what came is no TLS; both sides need a tls+tcp:// address (%s)",
                 text);
    else if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_VERSION_TOO_LOW)
        snprintf(why, TLS_WHY_MAX,
                 "the two sides have no version of TLS in common: look at tls.min_version and "
                 "tls.ciphers of both");
    else if (reason == SSL_R_NO_SHARED_CIPHER)
        snprintf(why, TLS_WHY_MAX, "the two sides have no cipher in common: look at tls.ciphers");
    else
        snprintf(why, TLS_WHY_MAX, "the handshake failed (%s)", text);
}

void tls_why(const struct tls_peer *peer, bool listener, char why[TLS_WHY_MAX])
{
    const unsigned long error = ERR_peek_error();
    const int reason = ERR_GET_REASON(error);
    const char *text = ERR_reason_error_string(error);

    if (peer->error != X509_V_OK)
        snprintf(why, TLS_WHY_MAX, "%s", peer->why);
    else if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        snprintf(why, TLS_WHY_MAX, "it showed no certificate%s",
                 listener ? ": it needs one of the CA in tls.ca (service.tls.cert and key there)"
                          : "");
    else if (ERR_GET_LIB(error) != ERR_LIB_SSL ||
             !explain_alert(reason - SSL_AD_REASON_OFFSET, why))
        explain_reason(ERR_GET_LIB(error) == ERR_LIB_SSL ? reason : 0, text ? text : "no reason",
                       why);
}

bool tls_refused_peer(const struct tls_peer *peer)
{
    const unsigned long error = ERR_peek_error();

    return peer->error != X509_V_OK ||
           (ERR_GET_LIB(error) == ERR_LIB_SSL &&
            ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
}
