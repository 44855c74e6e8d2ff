/* What is read of certificates and keys, what is refused and in which words; what a handshake of
 * two ends in memory comes to; and when new files are taken. */
#include "transport/tls.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "core/log.h"
#include "tests/transport/tls_rig.h"
#include "transport/tls_why.h"

static struct rig_ca ca;
static char said[4096];

static void sink(enum log_level level, const char *message)
{
    snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s\n", message);
}

static void setup(void)
{
    said[0] = '\0';
    log_set_sink("test", sink);
    rig_init();
    ca = rig_ca("ca");
}

TestSuite(tls, .init = setup, .fini = rig_fini, .timeout = 60);

static struct tls_files files_of(const struct rig_pair *pair)
{
    return (struct tls_files){.ca = ca.path, .cert = pair->cert, .key = pair->key};
}

static void expect_refused(const struct tls_files *files, const char *words)
{
    struct tls *tls = NULL;
    char *error;

    cr_assert(tls_new(files, &tls, &error) < 0, "%s", words);
    cr_assert_not_null(error);
    cr_assert_not_null(strstr(error, words), "'%s' is not in '%s'", words, error);
    cr_assert_null(strchr(error, '\n'));
    free(error);
}

static struct tls *made(const struct tls_files *files)
{
    struct tls *tls = NULL;
    char *error = NULL;

    cr_assert_eq(tls_new(files, &tls, &error), 0, "%s", error ? error : "");
    return tls;
}

static void expect_rules(const char *ciphers, enum tls_version min, const char *refused)
{
    const struct tls_files files = {.ciphers = ciphers, .min_version = min};
    char *error = NULL;
    int rc = tls_rules_check(&files, &error);

    cr_assert_eq(rc, refused ? -EINVAL : 0, "%s: %s", ciphers, error ? error : "no error");
    if (refused)
        cr_assert_not_null(strstr(error, refused), "'%s' is not in '%s'", refused, error);
    free(error);
}

Test(tls, rules_that_can_be_kept)
{
    expect_rules(NULL, TLS_MIN_1_2, NULL);
    expect_rules(NULL, TLS_MIN_1_3, NULL);
    expect_rules("ECDHE-RSA-AES256-GCM-SHA384", TLS_MIN_1_2, NULL);
    expect_rules("TLS_AES_128_GCM_SHA256", TLS_MIN_1_2, NULL);
    expect_rules("TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES256-GCM-SHA384", TLS_MIN_1_3, NULL);
    expect_rules("ECDHE-RSA-AES256-GCM-SHA384", TLS_MIN_1_3, "none of TLS 1.3");
    expect_rules("TLS_AES_128_GCM", TLS_MIN_1_2, "tls.ciphers: TLS_AES_128_GCM: unknown");
    expect_rules("HIGH", TLS_MIN_1_2, "tls.ciphers: HIGH: unknown");
    expect_rules("ECDHE-RSA-AES256-GCM-SHA384:X", TLS_MIN_1_2, "tls.ciphers: X: unknown");
    expect_rules("AECDH-AES128-SHA", TLS_MIN_1_2, "keeps a secret");
    expect_rules("ECDHE-RSA-NULL-SHA", TLS_MIN_1_2, "keeps a secret");
    expect_rules(":", TLS_MIN_1_2, "empty");
}

Test(tls, files_that_are_missing_or_wrong_are_named)
{
    struct rig_pair pair = rig_issue(&ca, "a", NULL, -10, 1000),
                    other = rig_issue(&ca, "b", NULL, -10, 1000);
    struct tls_files files = files_of(&pair), wrong = files;
    char *junk = rig_write("junk", "junk\n", 5), *zero = rig_write("zero", "a\0b", 3);
    char *large = malloc((1 << 20) + 1);

    wrong.key = other.key;
    expect_refused(&wrong, "not the key of the certificate in tls.cert");
    wrong.key = rig_encrypted("secret");
    expect_refused(&wrong, "no private key in PEM form, without password");
    wrong.key = junk;
    expect_refused(&wrong, "no private key in PEM form");
    wrong = files;
    wrong.ca = junk;
    expect_refused(&wrong, "no certificates in PEM form");
    wrong.ca = zero;
    expect_refused(&wrong, "Invalid argument");
    wrong.ca = NULL;
    expect_refused(&wrong, "tls.ca is needed");
    wrong = files;
    wrong.cert = junk;
    expect_refused(&wrong, "no certificate in PEM form");
    wrong.cert = "/nonexistent";
    expect_refused(&wrong, "tls.cert: /nonexistent: No such file");
    wrong = files;
    wrong.crl = junk;
    expect_refused(&wrong, "no revocation list in PEM form");
    memset(large, '\n', (1 << 20) + 1);
    wrong.crl = rig_write("large", large, (1 << 20) + 1);
    expect_refused(&wrong, "Invalid argument");
    free(large);
    tls_unref(made(&files));
}

Test(tls, a_key_for_others_is_refused)
{
    struct rig_pair pair = rig_issue(&ca, "a", NULL, -10, 1000);
    struct tls_files files = files_of(&pair);
    static const mode_t bad[] = {0644, 0604, 0602, 0601, 0620, 0610, 0660},
                        good[] = {0600, 0400, 0640, 0700};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        chmod(pair.key, bad[i]);
        expect_refused(&files, "chmod 0600");
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        chmod(pair.key, good[i]);
        tls_unref(made(&files));
    }
    chmod(pair.cert, 0644);
    tls_unref(made(&files));
}

/* ---- handshakes ---- */

struct end {
    SSL *ssl;
    struct tls_peer peer;
    char why[TLS_WHY_MAX];
};

static void end_init(struct end *end, const struct tls_files *files, bool server)
{
    struct tls *tls = made(files);
    SSL_CTX *context = tls_context(tls);

    memset(end, 0, sizeof(*end));
    end->ssl = SSL_new(context);
    SSL_CTX_free(context);
    tls_unref(tls);
    SSL_set_app_data(end->ssl, &end->peer);
    if (server)
        SSL_set_accept_state(end->ssl);
    else
        SSL_set_connect_state(end->ssl);
}

/* One step; whether there is more to do. */
static bool step(struct end *end, bool server)
{
    char byte;
    int n;

    if (end->why[0])
        return false;
    ERR_clear_error();
    n = SSL_is_init_finished(end->ssl) ? SSL_read(end->ssl, &byte, 1) : SSL_do_handshake(end->ssl);
    if (n <= 0 && SSL_get_error(end->ssl, n) == SSL_ERROR_SSL)
        tls_why(&end->peer, server, end->why);
    return !end->why[0];
}

static void shake(struct end *server, struct end *client)
{
    BIO *one, *other;

    cr_assert_eq(BIO_new_bio_pair(&one, 0, &other, 0), 1);
    SSL_set_bio(server->ssl, one, one);
    SSL_set_bio(client->ssl, other, other);
    for (int i = 0; i < 20; i++) {
        step(client, false);
        step(server, true);
    }
}

static void ends_free(struct end *server, struct end *client)
{
    SSL_free(server->ssl);
    SSL_free(client->ssl);
}

static void expect_why(struct end *server, struct end *client, const char *at_server,
                       const char *at_client)
{
    shake(server, client);
    cr_assert_not_null(strstr(server->why, at_server), "'%s' is not in '%s'", at_server,
                       server->why);
    cr_assert_not_null(strstr(client->why, at_client), "'%s' is not in '%s'", at_client,
                       client->why);
    ends_free(server, client);
}

/* The client's certificate, over TLS 1.3 and 1.2. */
static void expect_client(const struct tls_files *server_files, const struct tls_files *files,
                          const char *at_server, const char *at_client)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct end server, client;

        end_init(&server, server_files, true);
        end_init(&client, files, false);
        SSL_set_max_proto_version(client.ssl, version);
        expect_why(&server, &client, at_server, at_client);
    }
}

Test(tls, good_ones_get_in)
{
    struct rig_pair a = rig_issue(&ca, "a", "DNS:a.example, IP:10.0.0.1", -10, 1000);
    struct tls_files files = files_of(&a);

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct end server, client;

        end_init(&server, &files, true);
        end_init(&client, &files, false);
        SSL_set_max_proto_version(client.ssl, version);
        if (version == TLS1_2_VERSION)
            SSL_set1_host(client.ssl, "a.example");
        else
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(client.ssl), "10.0.0.1");
        shake(&server, &client);
        cr_assert_str_empty(server.why);
        cr_assert_str_empty(client.why);
        cr_assert_eq(SSL_version(server.ssl), version);
        cr_assert(SSL_is_init_finished(server.ssl) && SSL_is_init_finished(client.ssl));
        cr_assert_eq(SSL_get_verify_result(server.ssl), X509_V_OK);
        ends_free(&server, &client);
    }
}

Test(tls, refusals_of_clients)
{
    struct rig_ca stranger_ca = rig_ca("other");
    struct rig_pair good = rig_issue(&ca, "good", NULL, -10, 1000000);
    struct rig_pair stranger = rig_issue(&stranger_ca, "stranger", NULL, -10, 1000);
    struct rig_pair old = rig_issue(&ca, "old", NULL, -1000, -10);
    struct rig_pair early = rig_issue(&ca, "early", NULL, 1000, 2000);
    struct tls_files server = files_of(&good), client = server;

    client = files_of(&stranger);
    expect_client(&server, &client, "CN=stranger is not from the CA in tls.ca but from CN=other",
                  "does not know the CA of this certificate");
    client = files_of(&old);
    expect_client(&server, &client, "CN=old has expired on 2", "this certificate has expired");
    client = files_of(&early);
    expect_client(&server, &client, "CN=early is not valid yet, but from 2",
                  "does not accept this certificate");
    client = files_of(&good);
    server.crl = rig_revoke(&ca, &good, 1000);
    expect_client(&server, &client, "CN=good has been revoked", "has been revoked");
    server.crl = rig_revoke(&ca, NULL, -10);
    expect_client(&server, &client, "the revocation list in tls.crl has expired", "other side");
    server.crl = rig_revoke(&stranger_ca, NULL, 1000);
    expect_client(&server, &client, "there is no revocation list in tls.crl", "other side");
    cr_assert_not_null(strstr(said, "the revocation list in tls.crl"), "%s", said);
    cr_assert_not_null(strstr(said, "CN=old in tls.cert"), "%s", said);
}

Test(tls, no_certificate)
{
    struct rig_pair pair = rig_issue(&ca, "a", NULL, -10, 1000);
    struct tls_files files = files_of(&pair);

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct end server, client;

        end_init(&server, &files, true);
        end_init(&client, &files, false);
        SSL_certs_clear(client.ssl);
        SSL_set_max_proto_version(client.ssl, version);
        expect_why(&server, &client, "it showed no certificate: it needs one",
                   "wants a certificate");
    }
}

Test(tls, wrong_names)
{
    struct rig_pair pair = rig_issue(&ca, "a", "DNS:a.example, IP:10.0.0.1, IP:::1", -10, 1000);
    struct rig_pair bare = rig_issue(&ca, "bare", NULL, -10, 1000);
    struct tls_files files = files_of(&pair);
    struct end server, client;

    end_init(&server, &files, true);
    end_init(&client, &files, false);
    client.peer.expected = "b.example";
    SSL_set1_host(client.ssl, "b.example");
    expect_why(&server, &client, "does not accept this certificate",
               "CN=a is for another name than b.example; it is for a.example, 10.0.0.1, ::1");
    end_init(&server, &files, true);
    end_init(&client, &files, false);
    client.peer.expected = "10.0.0.2";
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(client.ssl), "10.0.0.2");
    expect_why(&server, &client, "does not accept this certificate",
               "CN=a is for another IP address than 10.0.0.2; it is for a.example");
    files = files_of(&bare);
    end_init(&server, &files, true);
    end_init(&client, &files, false);
    client.peer.expected = "10.0.0.2";
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(client.ssl), "10.0.0.2");
    expect_why(&server, &client, "does not accept this certificate", "it has no subjectAltName");
}

Test(tls, versions_and_ciphers)
{
    struct rig_pair pair = rig_issue(&ca, "a", NULL, -10, 1000);
    struct tls_files new = files_of(&pair), old = new;

    struct end server, client;

    new.min_version = TLS_MIN_1_3;
    old.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    end_init(&server, &new, true);
    end_init(&client, &old, false);
    expect_why(&server, &client, "no version of TLS in common",
               "does not speak a version of TLS that this one does");
    new.min_version = TLS_MIN_1_2;
    new.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
    end_init(&server, &new, true);
    end_init(&client, &old, false);
    expect_why(&server, &client, "no cipher in common", "no cipher in common");
}

/* ---- new files ---- */

static void copy(const char *from, const char *to)
{
    char command[256];

    snprintf(command, sizeof(command), "cp %s %s", from, to);
    cr_assert_eq(system(command), 0);
}

static void expect_use(struct tls *tls, const char *name)
{
    SSL_CTX *context = tls_context(tls);
    char text[64] = "";

    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_CTX_get0_certificate(context)),
                              NID_commonName, text, sizeof(text));
    cr_assert_str_eq(text, name);
    SSL_CTX_free(context);
}

Test(tls, reload_takes_good_files_only)
{
    struct rig_pair a = rig_issue(&ca, "a", NULL, -10, 1000),
                    b = rig_issue(&ca, "b", NULL, -10, 1000);
    struct tls_files files = files_of(&a), other = files_of(&b);
    struct tls *tls = made(&files);
    char *error;

    expect_use(tls, "a");
    cr_assert_eq(tls_reload(tls, &other, &error), 0);
    expect_use(tls, "b");
    other.key = a.key;
    cr_assert_eq(tls_reload(tls, &other, &error), -EINVAL);
    cr_assert_not_null(strstr(error, "not the key"));
    free(error);
    expect_use(tls, "b");
    copy(a.cert, b.cert);
    cr_assert_eq(tls_reload(tls, NULL, &error), -EINVAL);
    free(error);
    expect_use(tls, "b");
    copy(a.key, b.key);
    cr_assert_eq(tls_reload(tls, NULL, &error), 0);
    expect_use(tls, "a");
    tls_unref(tls);
}

Test(tls, refresh_takes_what_has_changed_and_settled)
{
    struct rig_pair a = rig_issue(&ca, "a", NULL, -10, 1000000),
                    b = rig_issue(&ca, "b", NULL, -10, 1000000);
    struct tls_files files = files_of(&a);
    struct tls *tls = made(&files);

    tls_refresh(tls);
    cr_assert_null(strstr(said, "new connections"), "%s", said);
    copy(b.cert, a.cert);
    tls_refresh(tls);
    expect_use(tls, "a");
    sleep(3);
    tls_refresh(tls);
    cr_assert_not_null(strstr(said, "not the key of the certificate in tls.cert; they are made "
                                    "together; what was read before stays in use"),
                       "%s", said);
    said[0] = '\0';
    tls_refresh(tls);
    cr_assert_str_empty(said); /* once */
    copy(b.key, a.key);
    sleep(3);
    tls_refresh(tls);
    expect_use(tls, "b");
    tls_unref(tls);
}

Test(tls, the_watch_renews_before_the_end)
{
    struct rig_pair a = rig_issue(&ca, "a", NULL, -10, 12),
                    b = rig_issue(&ca, "b", NULL, -10, 1000);
    struct tls_files files = files_of(&a);
    struct tls *tls = made(&files);
    time_t begin = time(NULL);

    cr_assert_eq(tls_watch(tls), 0);
    copy(b.cert, a.cert);
    copy(b.key, a.key);
    while (!strstr(said, "new connections use the certificate CN=b") && time(NULL) < begin + 9)
        usleep(100000);
    tls_unwatch(tls);
    expect_use(tls, "b");
    tls_unref(tls);
}

Test(tls, references_are_counted)
{
    struct rig_pair a = rig_issue(&ca, "a", NULL, -10, 1000);
    struct tls_files files = files_of(&a);
    struct tls *tls = made(&files);

    tls_unref(tls_ref(tls));
    expect_use(tls, "a");
    tls_unwatch(tls);
    tls_unref(tls);
    tls_unref(NULL);
    tls_unwatch(NULL);
}
