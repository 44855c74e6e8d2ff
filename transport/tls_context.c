#include "transport/tls_context.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "transport/tls_why.h"

#define PEM_MAX ((size_t)1 << 20)

/* NNG hands on 16 KiB at a time; a record with all that is around it is to fit into that, or each
 * would be sent in two pieces. */
#define RECORD_MAX (16384 - 64)

/* Forward secrecy and authenticated encryption only. */
#define CIPHERS_1_2                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

/* Group and others must not be able to use a key; but a group of its own may read it, as Debian's
 * ssl-cert does. */
#define KEY_MODE_BAD 0037

/* The line, and -EINVAL. */
static int refuse(char **error, const char *setting, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int refuse(char **error, const char *setting, const char *path, const char *format, ...)
{
    char why[TLS_WHY_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    if (asprintf(error, "tls.%s: %s: %s", setting, path, why) < 0)
        *error = NULL;
    return -EINVAL;
}

/* With what OpenSSL says of it, where it has something to say. */
static int refuse_ssl(char **error, const char *setting, const char *path, const char *why)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    if (!reason)
        return refuse(error, setting, path, "%s", why);
    return refuse(error, setting, path, "%s (%s)", why, reason);
}

/* ---- files ---- */

static int text_read(FILE *file, char **text)
{
    char *bytes = malloc(PEM_MAX + 1);
    size_t len;

    if (!bytes)
        return -ENOMEM;
    len = fread(bytes, 1, PEM_MAX + 1, file);
    if (ferror(file) || len > PEM_MAX || memchr(bytes, '\0', len)) {
        free(bytes);
        return ferror(file) ? -EIO : -EINVAL;
    }
    bytes[len] = '\0';
    *text = bytes;
    return 0;
}

static int check_mode(FILE *file, const char *path, char **error)
{
    struct stat st;

    if (fstat(fileno(file), &st) < 0)
        return refuse(error, "key", path, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode) || !(st.st_mode & KEY_MODE_BAD))
        return 0;
    return refuse(error, "key", path,
                  "its mode %04o lets others %s it; chmod 0600 (or 0640 with a group of its own)",
                  st.st_mode & 07777, st.st_mode & 0004 ? "read" : "use");
}

static void text_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* The whole file as a string. */
static int pem_read(const char *setting, const char *path, char **text, char **error)
{
    FILE *file;
    int rc = 0;

    if (!path || !*path) {
        if (asprintf(error, "tls.%s is needed for tls+tcp addresses", setting) < 0)
            *error = NULL;
        return -EINVAL;
    }
    file = fopen(path, "re");
    if (!file) {
        rc = -errno;
        refuse(error, setting, path, "%s", strerror(-rc));
        return rc;
    }
    if (strcmp(setting, "key") == 0)
        rc = check_mode(file, path, error);
    if (rc == 0) {
        rc = text_read(file, text);
        if (rc < 0)
            refuse(error, setting, path, "%s", strerror(-rc));
    }
    fclose(file);
    return rc;
}

/* An encrypted key must not make a daemon ask for its password. */
static int no_password(char *text, int size, int writing, void *arg)
{
    return -1;
}

/* ---- rules ---- */

/* Whether `name` is one of OpenSSL's for TLS 1.2, and of those that keep anything secret. */
static bool is_cipher_1_2(SSL_CTX *context, const char *name)
{
    const STACK_OF(SSL_CIPHER) * ciphers;

    if (!SSL_CTX_set_cipher_list(context, name))
        return false;
    ciphers = SSL_CTX_get_ciphers(context);
    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(ciphers, i);

        if (strcmp(SSL_CIPHER_get_name(cipher), name) == 0)
            return SSL_CIPHER_get_auth_nid(cipher) != NID_auth_null &&
                   SSL_CIPHER_get_cipher_nid(cipher) != NID_undef;
    }
    return false;
}

/* The two lists that OpenSSL has, from the one of the setting. */
struct ciphers {
    char *for_1_2, *for_1_3; /* as long as the setting; empty: none */
};

static int ciphers_sort(SSL_CTX *context, char *names, struct ciphers *ciphers, char **error)
{
    char *rest, *name;

    for (name = strtok_r(names, ":, ", &rest); name; name = strtok_r(NULL, ":, ", &rest)) {
        const bool new = strncmp(name, "TLS_", 4) == 0;
        char *list = new ? ciphers->for_1_3 : ciphers->for_1_2;

        if (new ? !SSL_CTX_set_ciphersuites(context, name) : !is_cipher_1_2(context, name))
            return refuse(error, "ciphers", name,
                          "unknown, or none that keeps a secret; `openssl ciphers -s -v' lists "
                          "them");
        if (*list)
            strcat(list, ":");
        strcat(list, name);
    }
    if (!*ciphers->for_1_2 && !*ciphers->for_1_3)
        return refuse(error, "ciphers", "empty", "give names, with colons between");
    return 0;
}

/* A version for which the list has nothing is not spoken. */
static int ciphers_set(SSL_CTX *context, const struct ciphers *ciphers, int64_t min_version,
                       char **error)
{
    if (min_version == TLS_MIN_1_3 && !*ciphers->for_1_3)
        return refuse(error, "ciphers", ciphers->for_1_2,
                      "none of TLS 1.3 (their names begin with TLS_), which min_version demands");
    if (!*ciphers->for_1_2)
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    else
        SSL_CTX_set_cipher_list(context, ciphers->for_1_2);
    if (!*ciphers->for_1_3)
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    else
        SSL_CTX_set_ciphersuites(context, ciphers->for_1_3);
    return 0;
}

static int set_ciphers(SSL_CTX *context, const struct tls_files *files, char **error)
{
    const size_t size = strlen(files->ciphers) + 1;
    char *names = strdup(files->ciphers);
    struct ciphers ciphers = {calloc(1, size), calloc(1, size)};
    int rc = names && ciphers.for_1_2 && ciphers.for_1_3 ? 0 : -ENOMEM;

    if (rc == 0)
        rc = ciphers_sort(context, names, &ciphers, error);
    if (rc == 0)
        rc = ciphers_set(context, &ciphers, files->min_version, error);
    free(ciphers.for_1_2);
    free(ciphers.for_1_3);
    free(names);
    return rc;
}

static int set_rules(SSL_CTX *context, const struct tls_files *files, char **error)
{
    const int min = files->min_version == TLS_MIN_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

    /* No resumption: it would go past a certificate that was revoked meanwhile. */
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_max_send_fragment(context, RECORD_MAX);
    SSL_CTX_set_default_passwd_cb(context, no_password);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_peer_check);
    if (!SSL_CTX_set_min_proto_version(context, min) ||
        !SSL_CTX_set_max_proto_version(context, 0) ||
        !SSL_CTX_set_cipher_list(context, CIPHERS_1_2) ||
        !SSL_CTX_set_ciphersuites(context, CIPHERS_1_3))
        return refuse_ssl(error, "min_version", "OpenSSL", "the system's policy has no such TLS");
    return files->ciphers && *files->ciphers ? set_ciphers(context, files, error) : 0;
}

/* ---- certificates ---- */

static time_t time_of(const ASN1_TIME *asn1)
{
    struct tm tm;

    return asn1 && ASN1_TIME_to_tm(asn1, &tm) ? timegm(&tm) : 0;
}

static int add_cas(SSL_CTX *context, const char *text, const char *path, char **error)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *cert;
    int n = 0;

    while (bio && (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        n += X509_STORE_add_cert(store, cert);
        X509_free(cert);
    }
    BIO_free(bio);
    /* What is in the file is believed, be it the root or not. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    ERR_clear_error();
    return n > 0 ? 0 : refuse(error, "ca", path, "no certificates in PEM form");
}

static int add_crls(SSL_CTX *context, const char *text, const char *path, struct tls_facts *facts,
                    char **error)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509_CRL *crl;
    int n = 0;

    while (bio && (crl = PEM_read_bio_X509_CRL(bio, NULL, no_password, NULL))) {
        const time_t end = time_of(X509_CRL_get0_nextUpdate(crl));

        n += X509_STORE_add_crl(store, crl);
        if (end && end < facts->end) {
            facts->begin = time_of(X509_CRL_get0_lastUpdate(crl));
            facts->end = end;
            snprintf(facts->what, sizeof(facts->what), "the revocation list in tls.crl %s", path);
        }
        X509_CRL_free(crl);
    }
    BIO_free(bio);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    ERR_clear_error();
    return n > 0 ? 0 : refuse(error, "crl", path, "no revocation list in PEM form");
}

static void note_cert(const X509 *cert, const char *path, struct tls_facts *facts)
{
    char name[128];

    tls_name(X509_get_subject_name(cert), name, sizeof(name));
    snprintf(facts->own, sizeof(facts->own), "the certificate %s in tls.cert %s", name, path);
    snprintf(facts->what, sizeof(facts->what), "%s", facts->own);
    facts->begin = time_of(X509_get0_notBefore(cert));
    facts->end = time_of(X509_get0_notAfter(cert));
}

static int set_cert(SSL_CTX *context, const char *text, const char *path, struct tls_facts *facts,
                    char **error)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL, *more;
    int rc = 0;

    if (!cert)
        rc = refuse(error, "cert", path, "no certificate in PEM form");
    else if (!SSL_CTX_use_certificate(context, cert))
        rc = refuse_ssl(error, "cert", path, "not good enough for TLS");
    if (rc == 0)
        note_cert(cert, path, facts);
    while (rc == 0 && (more = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        if (!SSL_CTX_add0_chain_cert(context, more)) {
            X509_free(more);
            rc = refuse_ssl(error, "cert", path, "a certificate of its chain is not good enough");
        }
    }
    X509_free(cert);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}

static int set_key(SSL_CTX *context, const char *text, const char *path, char **error)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    int rc = 0;

    ERR_clear_error();
    if (!key)
        rc = refuse(error, "key", path, "no private key in PEM form, without password");
    else if (!X509_check_private_key(SSL_CTX_get0_certificate(context), key))
        rc = refuse(error, "key", path,
                    "not the key of the certificate in tls.cert; they are made together");
    else if (!SSL_CTX_use_PrivateKey(context, key))
        rc = refuse_ssl(error, "key", path, "not good enough for TLS");
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}

struct texts {
    char *ca, *cert, *key, *crl;
};

static int texts_read(const struct tls_files *files, struct texts *texts, char **error)
{
    int rc = pem_read("ca", files->ca, &texts->ca, error);

    if (rc == 0)
        rc = pem_read("cert", files->cert, &texts->cert, error);
    if (rc == 0)
        rc = pem_read("key", files->key, &texts->key, error);
    if (rc == 0 && files->crl && *files->crl)
        rc = pem_read("crl", files->crl, &texts->crl, error);
    return rc;
}

static void texts_free(struct texts *texts)
{
    text_free(texts->ca);
    text_free(texts->cert);
    text_free(texts->key);
    text_free(texts->crl);
}

static int context_fill(SSL_CTX *context, const struct tls_files *files, const struct texts *texts,
                        struct tls_facts *facts, char **error)
{
    int rc = set_rules(context, files, error);

    if (rc == 0)
        rc = add_cas(context, texts->ca, files->ca, error);
    if (rc == 0)
        rc = set_cert(context, texts->cert, files->cert, facts, error);
    if (rc == 0)
        rc = set_key(context, texts->key, files->key, error);
    if (rc == 0 && texts->crl)
        rc = add_crls(context, texts->crl, files->crl, facts, error);
    return rc;
}

/* OpenSSL would take itself down at exit(), under the threads of a socket that hangs. */
static void init_once(void)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
}

static SSL_CTX *context_alloc(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, init_once);
    ERR_clear_error();
    return SSL_CTX_new(TLS_method());
}

int tls_context_new(const struct tls_files *files, SSL_CTX **made, struct tls_facts *facts,
                    char **error)
{
    struct texts texts = {0};
    SSL_CTX *context = NULL;
    int rc = texts_read(files, &texts, error);

    *facts = (struct tls_facts){0};
    if (rc == 0) {
        context = context_alloc();
        rc = context ? context_fill(context, files, &texts, facts, error) : -ENOMEM;
    }
    texts_free(&texts);
    if (rc < 0)
        SSL_CTX_free(context);
    else
        *made = context;
    return rc;
}

int tls_rules_check(const struct tls_files *files, char **error)
{
    SSL_CTX *context = context_alloc();
    int rc;

    *error = NULL;
    rc = context ? set_rules(context, files, error) : -ENOMEM;
    SSL_CTX_free(context);
    ERR_clear_error();
    return rc;
}
