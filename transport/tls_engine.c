/*
 * NNG calls these on its threads, one at a time for a connection. Configs are filled in by one
 * thread and only read once there are connections; Debian's Mbed TLS locks the generator of random
 * numbers and the key itself.
 */
#include "transport/tls_engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <nng/supplemental/tls/engine.h>

#include "transport/tls_why.h"

struct nng_tls_engine_config {
    mbedtls_ssl_config ssl;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt ca, cert;
    mbedtls_x509_crl crl;
    mbedtls_pk_context key;
    char *server_name;
    struct tls_report *report;
};

struct nng_tls_engine_conn {
    mbedtls_ssl_context ssl;
    struct tls_peer peer;
    struct tls_report *report;
    void *transport; /* NNG's */
};

/* Whose report the config that is being made gets: NNG passes nothing through. */
static _Thread_local struct tls_report *making;

/* Bytes moved, or what Mbed TLS calls it. */
static int net_result(int rv, size_t n, int want)
{
    if (rv == 0)
        return (int)n;
    return rv == NNG_EAGAIN ? want : MBEDTLS_ERR_NET_CONN_RESET;
}

static int net_send(void *transport, const unsigned char *bytes, size_t len)
{
    int rv = nng_tls_engine_send(transport, bytes, &len);

    return net_result(rv, len, MBEDTLS_ERR_SSL_WANT_WRITE);
}

static int net_receive(void *transport, unsigned char *bytes, size_t len)
{
    int rv = nng_tls_engine_recv(transport, bytes, &len);

    return net_result(rv, len, MBEDTLS_ERR_SSL_WANT_READ);
}

static int nng_error(int rv)
{
    switch (rv) {
    case MBEDTLS_ERR_SSL_WANT_READ:
    case MBEDTLS_ERR_SSL_WANT_WRITE:
        return NNG_EAGAIN;
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
    case MBEDTLS_ERR_SSL_CONN_EOF:
        return NNG_ECLOSED;
    case MBEDTLS_ERR_NET_CONN_RESET:
        return NNG_ECONNRESET;
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
    case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE:
        return NNG_EPEERAUTH;
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
        return NNG_ENOMEM;
    default:
        return NNG_ECRYPTO;
    }
}

static int conn_init(nng_tls_engine_conn *conn, void *transport, nng_tls_engine_config *config)
{
    int rv;

    mbedtls_ssl_init(&conn->ssl);
    rv = mbedtls_ssl_setup(&conn->ssl, &config->ssl);
    if (rv == 0 && config->server_name)
        rv = mbedtls_ssl_set_hostname(&conn->ssl, config->server_name);
    if (rv) {
        mbedtls_ssl_free(&conn->ssl);
        return nng_error(rv);
    }
    conn->transport = transport;
    conn->report = tls_report_ref(config->report);
    conn->peer.expected = conn->ssl.hostname;
    mbedtls_ssl_set_verify(&conn->ssl, tls_peer_check, &conn->peer);
    mbedtls_ssl_set_bio(&conn->ssl, transport, net_send, net_receive, NULL);
    return 0;
}

static void conn_fini(nng_tls_engine_conn *conn)
{
    mbedtls_ssl_free(&conn->ssl);
    tls_report_unref(conn->report);
}

static void conn_close(nng_tls_engine_conn *conn)
{
    mbedtls_ssl_close_notify(&conn->ssl);
}

static int conn_handshake(nng_tls_engine_conn *conn)
{
    int rv = mbedtls_ssl_handshake(&conn->ssl);
    char why[TLS_WHY_MAX];

    if (rv == 0)
        return 0;
    if (nng_error(rv) != NNG_EAGAIN && tls_why(&conn->ssl, &conn->peer, rv, why))
        tls_report_add(conn->report, why);
    return nng_error(rv);
}

static int conn_send(nng_tls_engine_conn *conn, const uint8_t *bytes, size_t *len)
{
    int rv = mbedtls_ssl_write(&conn->ssl, bytes, *len);

    if (rv < 0)
        return nng_error(rv);
    *len = (size_t)rv;
    return 0;
}

static int conn_receive(nng_tls_engine_conn *conn, uint8_t *bytes, size_t *len)
{
    int rv = mbedtls_ssl_read(&conn->ssl, bytes, *len);

    if (rv <= 0)
        return rv == 0 ? NNG_ECLOSED : nng_error(rv);
    *len = (size_t)rv;
    return 0;
}

static bool conn_verified(nng_tls_engine_conn *conn)
{
    return mbedtls_ssl_get_verify_result(&conn->ssl) == 0;
}

static void config_fini(nng_tls_engine_config *config)
{
    mbedtls_ssl_config_free(&config->ssl);
    mbedtls_ctr_drbg_free(&config->random);
    mbedtls_entropy_free(&config->entropy);
    mbedtls_x509_crt_free(&config->ca);
    mbedtls_x509_crt_free(&config->cert);
    mbedtls_x509_crl_free(&config->crl);
    mbedtls_pk_free(&config->key);
    free(config->server_name);
    tls_report_unref(config->report);
}

static int config_init(nng_tls_engine_config *config, nng_tls_mode mode)
{
    const int end = mode == NNG_TLS_MODE_SERVER ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;
    int rv;

    config->report = making ? tls_report_ref(making) : tls_report_new(NULL);
    mbedtls_ssl_config_init(&config->ssl);
    mbedtls_ctr_drbg_init(&config->random);
    mbedtls_entropy_init(&config->entropy);
    mbedtls_x509_crt_init(&config->ca);
    mbedtls_x509_crt_init(&config->cert);
    mbedtls_x509_crl_init(&config->crl);
    mbedtls_pk_init(&config->key);
    rv = config->report ? 0 : MBEDTLS_ERR_SSL_ALLOC_FAILED;
    if (rv == 0)
        rv =
            mbedtls_ctr_drbg_seed(&config->random, mbedtls_entropy_func, &config->entropy, NULL, 0);
    if (rv == 0)
        rv = mbedtls_ssl_config_defaults(&config->ssl, end, MBEDTLS_SSL_TRANSPORT_STREAM,
                                         MBEDTLS_SSL_PRESET_DEFAULT);
    if (rv) {
        config_fini(config);
        return nng_error(rv);
    }
    mbedtls_ssl_conf_authmode(&config->ssl, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_rng(&config->ssl, mbedtls_ctr_drbg_random, &config->random);
    mbedtls_ssl_conf_min_version(&config->ssl, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3);
    return 0;
}

static int config_server(nng_tls_engine_config *config, const char *name)
{
    free(config->server_name);
    config->server_name = strdup(name);
    return config->server_name ? 0 : NNG_ENOMEM;
}

static int config_auth(nng_tls_engine_config *config, nng_tls_auth_mode mode)
{
    /* Less is nothing that a queue service offers. */
    return mode == NNG_TLS_AUTH_MODE_REQUIRED ? 0 : NNG_ENOTSUP;
}

/* PEM texts are parsed with their NUL. */

static int config_ca_chain(nng_tls_engine_config *config, const char *ca, const char *crl)
{
    if (mbedtls_x509_crt_parse(&config->ca, (const uint8_t *)ca, strlen(ca) + 1) != 0)
        return NNG_EINVAL;
    if (crl && mbedtls_x509_crl_parse(&config->crl, (const uint8_t *)crl, strlen(crl) + 1) != 0)
        return NNG_EINVAL;
    mbedtls_ssl_conf_ca_chain(&config->ssl, &config->ca, crl ? &config->crl : NULL);
    return 0;
}

/* NNG_EINVAL: the certificate; NNG_ECRYPTO: the key; NNG_EPEERAUTH: they are not a pair. */
static int config_own_cert(nng_tls_engine_config *config, const char *cert, const char *key,
                           const char *password)
{
    const size_t password_len = password ? strlen(password) : 0;

    if (mbedtls_x509_crt_parse(&config->cert, (const uint8_t *)cert, strlen(cert) + 1) != 0)
        return NNG_EINVAL;
    if (mbedtls_pk_parse_key(&config->key, (const uint8_t *)key, strlen(key) + 1,
                             (const uint8_t *)password, password_len) != 0)
        return NNG_ECRYPTO;
    if (mbedtls_pk_check_pair(&config->cert.pk, &config->key) != 0)
        return NNG_EPEERAUTH;
    return mbedtls_ssl_conf_own_cert(&config->ssl, &config->cert, &config->key) ? NNG_ENOMEM : 0;
}

static int config_version(nng_tls_engine_config *config, nng_tls_version min, nng_tls_version max)
{
    return min <= NNG_TLS_1_2 && max >= NNG_TLS_1_2 ? 0 : NNG_ENOTSUP;
}

static nng_tls_engine_config_ops config_ops = {
    .size = sizeof(nng_tls_engine_config),
    .init = config_init,
    .fini = config_fini,
    .server = config_server,
    .auth = config_auth,
    .ca_chain = config_ca_chain,
    .own_cert = config_own_cert,
    .version = config_version,
};

static nng_tls_engine_conn_ops conn_ops = {
    .size = sizeof(nng_tls_engine_conn),
    .init = conn_init,
    .fini = conn_fini,
    .close = conn_close,
    .handshake = conn_handshake,
    .recv = conn_receive,
    .send = conn_send,
    .verified = conn_verified,
};

static const nng_tls_engine engine = {
    .version = NNG_TLS_ENGINE_VERSION,
    .config_ops = &config_ops,
    .conn_ops = &conn_ops,
    .name = "queuefs",
    .description = "Mbed TLS, with reasons",
    .fips_mode = false,
};

static int registered;

/* NNG puts its own engine in when it is first used: let that be over. */
static void engine_register(void)
{
    nng_tls_config *first;

    if (nng_tls_config_alloc(&first, NNG_TLS_MODE_CLIENT) == 0)
        nng_tls_config_free(first);
    registered = nng_tls_engine_register(&engine);
}

int tls_engine_config_alloc(nng_tls_mode mode, struct tls_report *report, nng_tls_config **config)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int rv;

    pthread_once(&once, engine_register);
    if (registered != 0)
        return registered;
    making = report;
    rv = nng_tls_config_alloc(config, mode);
    making = NULL;
    return rv;
}
