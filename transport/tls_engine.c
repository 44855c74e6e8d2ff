/*
 * NNG calls these on its threads, one at a time for a connection. Of a connection it says nothing
 * but `transport`, for nng_tls_engine_send() and receive(). That is the connection's nng_stream:
 * NNG hands out streams and gets them back by that same pointer. Two things need it: who is at the
 * other end, and the time limit. NNG has one of its own, which does not work before the handshake
 * is over, as there is no operation then that it could cancel. So each connection begins with a
 * receive of ours with a timeout, of nothing: when the handshake is done it gets no bytes, and
 * where that takes too long NNG cancels what waits for the peer, and with that the connection ends.
 *
 * An error of a connection must never be NNG_ECLOSED or NNG_ECANCELED: NNG 1.5 takes these for the
 * end of the listener.
 */
#include "transport/tls_engine.h"

#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <bsd/sys/queue.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <nng/supplemental/tls/engine.h>

#include "core/refused.h"
#include "transport/descriptors.h"
#include "transport/peer_name.h"
#include "transport/tls_why.h"

struct nng_tls_engine_config {
    struct tls *tls; /* NULL: NNG's own, that nothing uses */
    struct tls_report *report;
    char *expected;
    bool listener;
};

struct nng_tls_engine_conn {
    nng_tls_engine_config *config; /* NNG holds it as long as the connection */
    void *transport;
    SSL *ssl;
    struct tls_peer peer;
    char name[PEER_NAME_MAX];
    TAILQ_ENTRY(nng_tls_engine_conn) link; /* in handshakes, while counted */
    bool ousting;                          /* its limit is being aborted; under the lock */
    atomic_bool ousted;                    /* for another one */
    nng_aio *limit;                        /* the receive of nothing */
    uint8_t nothing;                       /* where that would put it */
    bool counted;                          /* among the handshakes under way */
    bool done;                             /* the handshake is */
    bool heard;                            /* something came */
    bool received;                         /* something came that was not of the handshake */
    bool closed;
    bool draining;
    int failed;       /* an error of NNG, for good */
    atomic_bool told; /* why */
};

/*
 * The handshakes of listeners that are under way, the oldest first. Where there are as many as
 * there may be, the oldest ends for a new one: those of good peers take milliseconds.
 */
TAILQ_HEAD(handshakes, nng_tls_engine_conn);

static pthread_mutex_t handshakes_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ousted = PTHREAD_COND_INITIALIZER;
static struct handshakes handshakes = TAILQ_HEAD_INITIALIZER(handshakes);
static size_t n_handshakes;

/* ---- bytes, between OpenSSL and NNG ---- */

static int bio_result(BIO *bio, int rv, size_t n, int retry)
{
    BIO_clear_retry_flags(bio);
    if (rv == 0)
        return (int)n;
    if (rv == NNG_EAGAIN)
        BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return -1;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    nng_tls_engine_conn *conn = BIO_get_data(bio);
    size_t n = (size_t)len;
    int rv = nng_tls_engine_send(conn->transport, (const uint8_t *)bytes, &n);

    return bio_result(bio, rv, n, BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *bytes, int len)
{
    nng_tls_engine_conn *conn = BIO_get_data(bio);
    size_t n = (size_t)len;
    int rv = nng_tls_engine_recv(conn->transport, (uint8_t *)bytes, &n);

    conn->heard |= rv == 0;
    return bio_result(bio, rv, n, BIO_FLAGS_READ);
}

static long bio_control(BIO *bio, int command, long number, void *arg)
{
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *bio_method;

static int bio_method_make(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "nng");
    if (!bio_method || !BIO_meth_set_write(bio_method, bio_write) ||
        !BIO_meth_set_read(bio_method, bio_read) || !BIO_meth_set_ctrl(bio_method, bio_control) ||
        !BIO_meth_set_create(bio_method, bio_create))
        return NNG_ENOMEM;
    return 0;
}

/* ---- a connection's beginning and end ---- */

static void tell(nng_tls_engine_conn *conn, const char *why)
{
    if (!atomic_exchange(&conn->told, true))
        tls_report_add(conn->config->report, conn->name, why);
}

static void count_out_locked(nng_tls_engine_conn *conn)
{
    if (conn->counted) {
        TAILQ_REMOVE(&handshakes, conn, link);
        n_handshakes--;
    }
    conn->counted = false;
}

static void handshake_over(nng_tls_engine_conn *conn)
{
    pthread_mutex_lock(&handshakes_lock);
    count_out_locked(conn);
    pthread_mutex_unlock(&handshakes_lock);
}

/* The oldest one, counted out, where there are too many; it stays until `ousting` is false. */
static nng_tls_engine_conn *oust_locked(void)
{
    nng_tls_engine_conn *oldest = TAILQ_FIRST(&handshakes);

    if (!oldest || n_handshakes < descriptors_for(TLS_HANDSHAKES_MAX, 1, 4))
        return NULL;
    count_out_locked(oldest);
    oldest->ousting = true;
    atomic_store(&oldest->ousted, true);
    return oldest;
}

/* The limit is there already, as another thread may want to abort it at once. */
static void handshake_begin(nng_tls_engine_conn *conn)
{
    nng_tls_engine_conn *oldest;

    pthread_mutex_lock(&handshakes_lock);
    oldest = oust_locked();
    TAILQ_INSERT_TAIL(&handshakes, conn, link);
    conn->counted = true;
    n_handshakes++;
    pthread_mutex_unlock(&handshakes_lock);
    if (!oldest)
        return;
    nng_aio_abort(oldest->limit, NNG_ETIMEDOUT);
    pthread_mutex_lock(&handshakes_lock);
    oldest->ousting = false;
    pthread_cond_broadcast(&ousted);
    pthread_mutex_unlock(&handshakes_lock);
}

/* It is in nobody's hands any more. */
static void handshake_leave(nng_tls_engine_conn *conn)
{
    pthread_mutex_lock(&handshakes_lock);
    count_out_locked(conn);
    while (conn->ousting)
        pthread_cond_wait(&ousted, &handshakes_lock);
    pthread_mutex_unlock(&handshakes_lock);
}

/* The receive of nothing has come to an end: the handshake is done, or took too long, or the
 * connection is gone. */
static void limit_over(void *arg)
{
    nng_tls_engine_conn *conn = arg;
    const int rv = nng_aio_result(conn->limit);

    if (rv == NNG_ETIMEDOUT && conn->config->listener)
        refused_add();
    if (rv == NNG_ETIMEDOUT)
        tell(conn, atomic_load(&conn->ousted)
                       ? "too many handshakes are under way, and this was the oldest"
                       : "no TLS handshake within 10 s");
    else if ((rv == NNG_ECONNSHUT || rv == NNG_ECONNRESET) && conn->config->listener && conn->heard)
        tell(conn, "it closed the connection in the handshake; it may not accept this side's "
                   "certificate: its log says why");
}

static int limit_begin(nng_tls_engine_conn *conn)
{
    nng_iov iov = {.iov_buf = &conn->nothing, .iov_len = sizeof(conn->nothing)};
    int rv = nng_aio_alloc(&conn->limit, limit_over, conn);

    if (rv)
        return rv;
    nng_aio_set_timeout(conn->limit, TLS_HANDSHAKE_MS);
    nng_aio_set_iov(conn->limit, 1, &iov);
    nng_stream_recv(conn->transport, conn->limit);
    return 0;
}

static bool is_address(const char *host)
{
    struct in6_addr six;
    struct in_addr four;

    return inet_pton(AF_INET, host, &four) == 1 || inet_pton(AF_INET6, host, &six) == 1;
}

static bool expect(SSL *ssl, const char *host)
{
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
    return SSL_set1_host(ssl, host) && SSL_set_tlsext_host_name(ssl, host);
}

static int ssl_make(nng_tls_engine_conn *conn)
{
    SSL_CTX *context = tls_context(conn->config->tls);
    BIO *bio = BIO_new(bio_method);

    conn->ssl = SSL_new(context);
    SSL_CTX_free(context);
    if (!conn->ssl || !bio) {
        BIO_free(bio);
        return NNG_ENOMEM;
    }
    BIO_set_data(bio, conn);
    SSL_set_bio(conn->ssl, bio, bio);
    SSL_set_app_data(conn->ssl, &conn->peer);
    if (conn->config->listener)
        SSL_set_accept_state(conn->ssl);
    else
        SSL_set_connect_state(conn->ssl);
    if (conn->config->expected && !expect(conn->ssl, conn->config->expected))
        return NNG_EINVAL;
    return 0;
}

static int conn_init(nng_tls_engine_conn *conn, void *transport, nng_tls_engine_config *config)
{
    nng_sockaddr at;
    int rv;

    if (!config->tls)
        return NNG_EINVAL;
    conn->config = config;
    conn->transport = transport;
    conn->peer.expected = config->expected;
    snprintf(conn->name, sizeof(conn->name), "a peer");
    if (nng_stream_get_addr(transport, NNG_OPT_REMADDR, &at) == 0)
        peer_name_of(&at, conn->name);
    rv = ssl_make(conn);
    ERR_clear_error();
    if (rv == 0)
        rv = limit_begin(conn);
    if (rv == 0 && config->listener)
        handshake_begin(conn);
    return rv;
}

/* Also of what was not, or half, initialised. */
static void conn_fini(nng_tls_engine_conn *conn)
{
    handshake_leave(conn);
    if (conn->limit)
        nng_aio_free(conn->limit);
    SSL_free(conn->ssl);
    ERR_clear_error();
}

static void conn_close(nng_tls_engine_conn *conn)
{
    if (!conn->closed && conn->done && !conn->failed)
        SSL_shutdown(conn->ssl);
    conn->closed = true;
    ERR_clear_error();
}

/* ---- handshake and data ---- */

/* What became of an operation of OpenSSL that did not succeed; why is told where that is of use. */
static int fail(nng_tls_engine_conn *conn, int n)
{
    char why[TLS_WHY_MAX];

    switch (SSL_get_error(conn->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return NNG_EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        /* It says goodbye; conn_close() says so too. */
        return NNG_ECONNSHUT;
    case SSL_ERROR_SSL:
        /* In TLS 1.3 a client hears only after its handshake that it was refused. */
        if (!conn->received) {
            tls_why(&conn->peer, conn->config->listener, why);
            tell(conn, why);
        }
        conn->failed = NNG_EPEERAUTH;
        conn->draining = conn->config->listener && !conn->done && tls_refused_peer(&conn->peer);
        break;
    default:
        conn->failed = NNG_ECONNRESET;
    }
    if (!conn->draining)
        handshake_over(conn); /* else it still has a descriptor, and gives way as others do */
    ERR_clear_error();
    return conn->failed;
}

/*
 * A client that was refused may have sent its first request behind its handshake. To close with
 * that unread would be a reset, which can overtake the alert that says why. So what comes is thrown
 * away until the client closes, or the time is up.
 */
static int drain(nng_tls_engine_conn *conn)
{
    uint8_t bytes[4096];
    size_t len;
    int rv;

    do {
        len = sizeof(bytes);
        rv = nng_tls_engine_recv(conn->transport, bytes, &len);
    } while (rv == 0);
    return rv == NNG_EAGAIN ? rv : conn->failed;
}

static int conn_handshake(nng_tls_engine_conn *conn)
{
    int n, rv;

    if (conn->done && !conn->failed)
        return 0;
    if (conn->failed)
        return conn->draining ? drain(conn) : conn->failed;
    ERR_clear_error();
    n = SSL_do_handshake(conn->ssl);
    if (n == 1) {
        conn->done = true;
        handshake_over(conn);
        return 0;
    }
    rv = fail(conn, n);
    return conn->draining ? drain(conn) : rv;
}

static int conn_send(nng_tls_engine_conn *conn, const uint8_t *bytes, size_t *len)
{
    const int want = *len < INT_MAX ? (int)*len : INT_MAX;
    int n, rv = conn_handshake(conn);

    if (rv)
        return rv;
    ERR_clear_error();
    n = SSL_write(conn->ssl, bytes, want);
    if (n <= 0)
        return fail(conn, n);
    *len = (size_t)n;
    return 0;
}

static int conn_receive(nng_tls_engine_conn *conn, uint8_t *bytes, size_t *len)
{
    const int want = *len < INT_MAX ? (int)*len : INT_MAX;
    int n, rv = conn_handshake(conn);

    if (rv)
        return rv;
    if (bytes == &conn->nothing) {
        *len = 0;
        return 0;
    }
    ERR_clear_error();
    n = SSL_read(conn->ssl, bytes, want);
    if (n <= 0)
        return fail(conn, n);
    conn->received = true;
    *len = (size_t)n;
    return 0;
}

/* The only common name of the certificate; "" if it has none, or is not what it seems. */
static void common_name(X509 *certificate, char cn[IDENTITY_CN_MAX + 1])
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1), len;
    unsigned char *text = NULL;

    cn[0] = '\0';
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return;
    len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (len > 0 && len <= IDENTITY_CN_MAX && !memchr(text, '\0', (size_t)len)) {
        memcpy(cn, text, (size_t)len);
        cn[len] = '\0';
    }
    OPENSSL_free(text);
}

/* NNG 1.5 has no way to ask an engine for a name. But it asks this question on the thread of who
 * asks NNG: that leaves here where the name is to go. */
static _Thread_local char *wanted_cn;

static bool conn_verified(nng_tls_engine_conn *conn)
{
    if (wanted_cn && conn->done && SSL_get0_peer_certificate(conn->ssl))
        common_name(SSL_get0_peer_certificate(conn->ssl), wanted_cn);
    return conn->done && SSL_get0_peer_certificate(conn->ssl) &&
           SSL_get_verify_result(conn->ssl) == X509_V_OK;
}

bool tls_engine_verified(nng_pipe pipe, char cn[IDENTITY_CN_MAX + 1])
{
    bool verified = false;
    int rv;

    cn[0] = '\0';
    wanted_cn = cn;
    rv = nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified);
    wanted_cn = NULL;
    return rv == 0 && verified;
}

/* ---- configs ---- */

/* What the config that is being made is to have: NNG passes nothing through. */
static _Thread_local const struct nng_tls_engine_config *making;

static void config_fini(nng_tls_engine_config *config)
{
    tls_unref(config->tls);
    tls_report_unref(config->report);
    free(config->expected);
}

static int config_init(nng_tls_engine_config *config, nng_tls_mode mode)
{
    if (!making)
        return 0;
    config->listener = mode == NNG_TLS_MODE_SERVER;
    config->expected = making->expected ? strdup(making->expected) : NULL;
    if (making->expected && !config->expected)
        return NNG_ENOMEM;
    config->tls = tls_ref(making->tls);
    config->report = tls_report_ref(making->report);
    return 0;
}

/* NNG sets these on configs of its own. What holds is in struct tls. */

static int config_server(nng_tls_engine_config *config, const char *name)
{
    return 0;
}

static int config_auth(nng_tls_engine_config *config, nng_tls_auth_mode mode)
{
    return 0;
}

static int config_ca_chain(nng_tls_engine_config *config, const char *ca, const char *crl)
{
    return NNG_ENOTSUP;
}

static int config_own_cert(nng_tls_engine_config *config, const char *cert, const char *key,
                           const char *password)
{
    return NNG_ENOTSUP;
}

static int config_version(nng_tls_engine_config *config, nng_tls_version min, nng_tls_version max)
{
    return NNG_ENOTSUP;
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
    .description = "OpenSSL, with reasons",
    .fips_mode = false,
};

static int registered;

/* NNG puts its own engine in when it is first used: let that be over. */
static void engine_register(void)
{
    nng_tls_config *first;

    if (nng_tls_config_alloc(&first, NNG_TLS_MODE_CLIENT) == 0)
        nng_tls_config_free(first);
    registered = bio_method_make();
    if (registered == 0)
        registered = nng_tls_engine_register(&engine);
}

int tls_engine_config(nng_tls_mode mode, struct tls *tls, struct tls_report *report,
                      const char *expected, nng_tls_config **config)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct nng_tls_engine_config wanted = {
        .tls = tls, .report = report, .expected = (char *)expected};
    int rv;

    pthread_once(&once, engine_register);
    if (registered != 0)
        return registered;
    making = &wanted;
    rv = nng_tls_config_alloc(config, mode);
    making = NULL;
    return rv;
}
