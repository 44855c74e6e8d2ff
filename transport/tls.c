#include "transport/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/error.h"
#include "transport/tls_engine.h"

#define PEM_MAX ((size_t)1 << 20)

static int fail(char **error, const char *what, const char *path, int rc)
{
    if (asprintf(error, "tls.%s: %s: %s", what, path, strerror(-rc)) < 0)
        *error = NULL;
    return rc;
}

static int fail_text(char **error, const char *what, const char *path, const char *why)
{
    if (asprintf(error, "tls.%s: %s: %s", what, path, why) < 0)
        *error = NULL;
    return -EINVAL;
}

static int file_read(FILE *file, char **text)
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

/* The whole file as a string. */
static int pem_read(const char *what, const char *path, char **text, char **error)
{
    FILE *file;
    int rc;

    if (!path || !*path) {
        if (asprintf(error, "tls.%s is needed for tls+tcp addresses", what) < 0)
            *error = NULL;
        return -EINVAL;
    }
    file = fopen(path, "re");
    if (!file)
        return fail(error, what, path, -errno);
    rc = file_read(file, text);
    fclose(file);
    return rc ? fail(error, what, path, rc) : 0;
}

static void pem_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* What the engine (tls_engine.c) makes of a certificate and its key. */
static int own_cert_fail(int rv, const struct tls_files *files, char **error)
{
    switch (rv) {
    case NNG_EINVAL:
        return fail_text(error, "cert", files->cert, "no certificate in PEM form");
    case NNG_ECRYPTO:
        return fail_text(error, "key", files->key, "no private key in PEM form, without password");
    case NNG_EPEERAUTH:
        return fail_text(error, "key", files->key, "not the key of the certificate in tls.cert");
    default:
        return fail(error, "cert", files->cert, error_from_nng(rv));
    }
}

static int config_fill(nng_tls_config *config, const struct tls_files *files, const char *ca,
                       const char *cert, const char *key, const char *name, char **error)
{
    int rv = nng_tls_config_ca_chain(config, ca, NULL);

    if (rv)
        return fail_text(error, "ca", files->ca, "no certificates in PEM form");
    rv = nng_tls_config_own_cert(config, cert, key, NULL);
    if (rv)
        return own_cert_fail(rv, files, error);
    rv = nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED);
    if (rv == 0 && name)
        rv = nng_tls_config_server_name(config, name);
    return rv ? fail(error, "server_name", name ? name : "", error_from_nng(rv)) : 0;
}

int tls_config_new(const struct tls_files *files, bool listener, const char *host,
                   struct tls_report *report, struct nng_tls_config **config, char **error)
{
    char *ca = NULL, *cert = NULL, *key = NULL;
    const char *name = files->server_name && *files->server_name ? files->server_name : host;
    nng_tls_config *made = NULL;
    int rc;

    rc = pem_read("ca", files->ca, &ca, error);
    if (rc == 0)
        rc = pem_read("cert", files->cert, &cert, error);
    if (rc == 0)
        rc = pem_read("key", files->key, &key, error);
    if (rc < 0)
        goto texts;
    rc = error_from_nng(tls_engine_config_alloc(
        listener ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT, report, &made));
    if (rc < 0) {
        fail(error, "ca", files->ca, rc);
        goto texts;
    }
    rc = config_fill(made, files, ca, cert, key, listener ? NULL : name, error);
    if (rc < 0)
        nng_tls_config_free(made);
    else
        *config = made;
texts:
    pem_free(ca);
    pem_free(cert);
    pem_free(key);
    return rc;
}
