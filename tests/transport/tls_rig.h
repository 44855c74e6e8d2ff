/* A CA, certificates of it and revocation lists, as files in a directory of one test. */
#ifndef QUEUEFS_TESTS_TRANSPORT_TLS_RIG_H
#define QUEUEFS_TESTS_TRANSPORT_TLS_RIG_H

#include <openssl/ssl.h>

#include "transport/tls.h"

struct rig_ca {
    X509 *cert;
    EVP_PKEY *key;
    char *path; /* its certificate */
};

struct rig_pair {
    char *cert, *key; /* files */
    X509 *made;
};

void rig_init(void);
void rig_fini(void);

/* A path in the directory of the test; and a file with that text there, of mode 0600. */
char *rig_path(const char *name);
char *rig_write(const char *name, const void *bytes, size_t len);

struct rig_ca rig_ca(const char *name);
/* `alt`: its subjectAltName, or NULL; begin_s and end_s from now. */
struct rig_pair rig_issue(const struct rig_ca *ca, const char *name, const char *alt, long begin_s,
                          long end_s);
/* A list that ends in end_s with that certificate on it, or (NULL) empty. */
char *rig_revoke(const struct rig_ca *ca, const struct rig_pair *revoked, long end_s);
/* The key of the pair again, with a password. */
char *rig_encrypted(const char *name);

#endif
