/* Which files TLS uses, of listeners and of dialers, and what NNG makes of them. */
#ifndef QUEUEFS_TRANSPORT_TLS_H
#define QUEUEFS_TRANSPORT_TLS_H

#include <stdbool.h>

struct tls_files {
    const char *ca, *cert, *key; /* PEM files; NULL: not given */
    const char *server_name;     /* dialers only */
};

struct nng_tls_config;
struct tls_report;

/*
 * Read the files. Both ends must show a certificate of this CA: all three files are needed.
 * Dialers check that the server's is for `host` or, where given, server_name. 0, or negative errno:
 * then *error is one line that names the file (malloc'ed; NULL where memory is short). The config
 * is for nng_tls_config_free(); why handshakes fail is told to `report`.
 */
int tls_config_new(const struct tls_files *files, bool listener, const char *host,
                   struct tls_report *report, struct nng_tls_config **config, char **error);

#endif
