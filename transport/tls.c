#include "transport/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "transport/error.h"

#define PEM_MAX ((size_t)1 << 20)

static int fail(char **error, const char *what, const char *path, int rc)
{
    if (asprintf(error, "tls.%s: %s: %s", what, path, strerror(-rc)) < 0)
        *error = NULL;
    return rc;
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

static int config_fill(nng_tls_config *config, const struct tls_files *files, const char *ca,
                       const char *cert, const char *key, const char *name, char **error)
{
    int rv = nng_tls_config_ca_chain(config, ca, NULL);

    if (rv)
        return fail(error, "ca", files->ca, error_from_nng(rv));
    rv = nng_tls_config_own_cert(config, cert, key, NULL);
    if (rv)
        return fail(error, "cert", files->cert, error_from_nng(rv));
    rv = nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED);
    if (rv == 0 && name)
        rv = nng_tls_config_server_name(config, name);
    return rv ? fail(error, "server_name", name ? name : "", error_from_nng(rv)) : 0;
}

int tls_config_new(const struct tls_files *files, bool listener, const char *host,
                   struct nng_tls_config **config, char **error)
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
    rc = error_from_nng(
        nng_tls_config_alloc(&made, listener ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT));
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
