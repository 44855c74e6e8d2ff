/*
 * Who asks a service, as its listener has found out, and what they may do with which queues: the
 * rules of `access`. Pure; any thread.
 *
 * Without rules whoever gets in may everything. With them what no rule allows is refused, but for
 * the program that runs the service inside itself.
 */
#ifndef QUEUEFS_CORE_ACCESS_H
#define QUEUEFS_CORE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum identity_kind {
    IDENTITY_INSIDE,      /* the program that runs the service */
    IDENTITY_ANYBODY,     /* TCP without TLS: nothing is known */
    IDENTITY_USER,        /* ipc: the uid that the kernel tells */
    IDENTITY_CERTIFICATE, /* TLS: the common name of a certificate that was verified */
};

/* A longer name, or one that is none, is "", which no rule fits. */
#define IDENTITY_CN_MAX 128

struct identity {
    enum identity_kind kind;
    int64_t uid; /* IDENTITY_USER; -1: it can't be told */
    char cn[IDENTITY_CN_MAX + 1];
};

bool identity_same(const struct identity *a, const struct identity *b);

/* "user 1000", "certificate batch-7", for a message. */
#define IDENTITY_TEXT_MAX (IDENTITY_CN_MAX + 32)
void identity_text(const struct identity *who, char text[IDENTITY_TEXT_MAX]);

enum {
    ACCESS_PUT = 1,    /* PUT */
    ACCESS_GET = 2,    /* GET, SETTLE, LIST: take, settle and look */
    ACCESS_MANAGE = 4, /* MAKE, REMOVE, SET, PURGE */
    ACCESS_ALL = 7
};

struct access_rule {
    enum identity_kind kind; /* of whom: IDENTITY_USER or IDENTITY_CERTIFICATE */
    int64_t uid;
    char *cn;      /* a pattern */
    char **queues; /* patterns of names */
    size_t n_queues;
    uint32_t may; /* ACCESS_*, or'ed */
};

struct access {
    struct access_rule *rules; /* owned, with all that they point to */
    size_t n_rules;
};

/* What `who` may do with a queue of this name. `access` NULL: there are no rules. */
uint32_t access_of(const struct access *access, const struct identity *who, const char *queue);

/* A `*` in a pattern is for any text, of none too; all else for itself. */
bool access_fits(const char *pattern, const char *text);

void access_fini(struct access *access); /* takes a zeroed one */

#endif
