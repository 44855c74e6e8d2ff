/*
 * Whom TLS believes and what it shows: certificates, key, revocation list and rules, of all
 * listeners of a server or all addresses of a client. The files are read at the start, on demand
 * (tls_reload), and by themselves when they have changed on disk (tls_refresh; with tls_watch()
 * that is looked for every minute, and more often the sooner what is in use ends). Connections that
 * stand keep what they began with; new ones get what is in use then. A bad file changes nothing.
 *
 * Counted references. Any thread.
 */
#ifndef QUEUEFS_TRANSPORT_TLS_H
#define QUEUEFS_TRANSPORT_TLS_H

#include <stdbool.h>
#include <stdint.h>

enum tls_version { TLS_MIN_1_2, TLS_MIN_1_3 };

struct tls_files {
    const char *ca, *cert, *key; /* PEM files; NULL: not given */
    const char *crl;             /* PEM file; NULL: nothing is revoked */
    const char *ciphers;         /* OpenSSL's names, with colons between; NULL: those of today */
    int64_t min_version;         /* enum tls_version */
    const char *server_name;     /* dialers only: where it is not the address's host */
};

struct tls;

/*
 * Read the files; ca, cert and key are needed, as both ends show a certificate. 0, or negative
 * errno: then *error is one line that names setting, file and why (malloc'ed; NULL where memory is
 * short). What is about to end is logged.
 */
int tls_new(const struct tls_files *files, struct tls **tls, char **error);
/* Whether min_version and ciphers can be kept: 0, or -EINVAL and *error as above. Reads no file. */
int tls_rules_check(const struct tls_files *files, char **error);

struct tls *tls_ref(struct tls *tls);
void tls_unref(struct tls *tls); /* takes NULL */

/* Read them anew, other files or by other rules where `files` is not NULL. 0, logged, or negative
 * errno and *error as above: then all is as it was. */
int tls_reload(struct tls *tls, const struct tls_files *files, char **error);

/* Read them anew if one has changed, and not within the last 2 s: whoever renews several is given
 * the time. Logs what it does. */
void tls_refresh(struct tls *tls);

/* Begin to look by itself, after the last fork; and end that, which waits for the thread. 0 or
 * negative errno. */
int tls_watch(struct tls *tls);
void tls_unwatch(struct tls *tls); /* harmless without tls_watch(); takes NULL */

/* What new connections are made of; for SSL_CTX_free(). */
struct ssl_ctx_st;
struct ssl_ctx_st *tls_context(struct tls *tls);

#endif
