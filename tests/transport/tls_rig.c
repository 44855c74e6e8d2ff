#include "tests/transport/tls_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static char dir[] = "/tmp/queuefs-tls-XXXXXX";
static long serial;

/* All that was made; freed at the end. */
static X509 *certs[32];
static EVP_PKEY *keys[32];
static char *texts[256];
static size_t n_certs, n_keys, n_texts;

void rig_init(void)
{
    cr_assert_not_null(mkdtemp(dir));
}

void rig_fini(void)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
    while (n_certs > 0)
        X509_free(certs[--n_certs]);
    while (n_keys > 0)
        EVP_PKEY_free(keys[--n_keys]);
    while (n_texts > 0)
        free(texts[--n_texts]);
}

char *rig_path(const char *name)
{
    char *path;

    cr_assert(asprintf(&path, "%s/%s", dir, name) > 0);
    cr_assert_lt(n_texts, sizeof(texts) / sizeof(texts[0]));
    texts[n_texts++] = path;
    return path;
}

char *rig_write(const char *name, const void *bytes, size_t len)
{
    char *path = rig_path(name);
    FILE *file = fopen(path, "w");

    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, len, file), len);
    fclose(file);
    chmod(path, 0600);
    return path;
}

static FILE *create(const char *name, const char *suffix, char **path)
{
    char both[128];
    FILE *file;

    snprintf(both, sizeof(both), "%s%s", name, suffix);
    *path = rig_path(both);
    file = fopen(*path, "w");
    cr_assert_not_null(file);
    chmod(*path, 0600);
    return file;
}

static void add(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    cr_assert_not_null(extension);
    X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
}

static X509 *cert_make(const char *name, EVP_PKEY *key, const struct rig_ca *ca, const char *alt,
                       long begin_s, long end_s)
{
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);

    cr_assert_lt(n_certs, sizeof(certs) / sizeof(certs[0]));
    certs[n_certs++] = cert;
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), begin_s);
    X509_gmtime_adj(X509_getm_notAfter(cert), end_s);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca->cert) : subject);
    add(cert, ca ? ca->cert : cert, NID_basic_constraints, ca ? "CA:FALSE" : "critical,CA:TRUE");
    if (alt)
        add(cert, ca->cert, NID_subject_alt_name, alt);
    cr_assert(X509_sign(cert, ca ? ca->key : key, EVP_sha256()) > 0);
    return cert;
}

struct rig_ca rig_ca(const char *name)
{
    struct rig_ca ca = {.key = EVP_EC_gen("P-256")};
    FILE *file = create(name, ".pem", &ca.path);

    keys[n_keys++] = ca.key;
    ca.cert = cert_make(name, ca.key, NULL, NULL, -100, 1000000);
    PEM_write_X509(file, ca.cert);
    fclose(file);
    return ca;
}

struct rig_pair rig_issue(const struct rig_ca *ca, const char *name, const char *alt, long begin_s,
                          long end_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct rig_pair pair = {.made = cert_make(name, key, ca, alt, begin_s, end_s)};
    FILE *file = create(name, ".pem", &pair.cert);

    PEM_write_X509(file, pair.made);
    fclose(file);
    file = create(name, ".key", &pair.key);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    EVP_PKEY_free(key);
    return pair;
}

char *rig_encrypted(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    char *path;
    FILE *file = create(name, ".key", &path);

    PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), (const unsigned char *)"word", 4, NULL,
                         NULL);
    fclose(file);
    EVP_PKEY_free(key);
    return path;
}

char *rig_revoke(const struct rig_ca *ca, const struct rig_pair *revoked, long end_s)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *at = ASN1_TIME_new();
    char *path;
    FILE *file = create("crl", ".pem", &path);

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert));
    X509_gmtime_adj(at, -1000);
    X509_CRL_set1_lastUpdate(crl, at);
    if (revoked) {
        X509_REVOKED *entry = X509_REVOKED_new();

        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->made));
        X509_REVOKED_set_revocationDate(entry, at);
        X509_CRL_add0_revoked(crl, entry);
    }
    X509_gmtime_adj(at, end_s);
    X509_CRL_set1_nextUpdate(crl, at);
    cr_assert(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0);
    PEM_write_X509_CRL(file, crl);
    fclose(file);
    X509_CRL_free(crl);
    ASN1_TIME_free(at);
    return path;
}
