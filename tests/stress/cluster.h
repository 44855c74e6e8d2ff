/*
 * The programs under test, below one directory: the service, its mounts, and a proxy between them.
 * The service is `queued`, or without it the first mount's embedded one: then the two are one
 * process. The main thread alone starts and ends them; they die with it.
 */
#ifndef QUEUEFS_TESTS_STRESS_CLUSTER_H
#define QUEUEFS_TESTS_STRESS_CLUSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "tests/stress/starter.h"

#define MOUNTS_MAX   16
#define CLUSTER_PATH 512

struct cluster_options {
    const char *dir;     /* exists */
    const char *queuefs; /* programs */
    const char *queued;  /* NULL: the first mount has the service in it */
    const char *proxy;   /* NULL: mounts reach the service directly */
    bool ipc;            /* not TCP; without a proxy only */
    uint64_t seed;
    int n_mounts;
    int timeout_ms; /* `service: timeout:` of the mounts */
};

struct daemon {
    pid_t pid; /* 0: not running */
    char name[16];
    char settings[CLUSTER_PATH];
    char path[CLUSTER_PATH]; /* its mount point; "" for queued and the proxy */
    atomic_uint life;        /* rises before each kill */
};

struct cluster {
    struct cluster_options options;
    struct starter starter;
    struct daemon service; /* not used where it is embedded */
    struct daemon mounts[MOUNTS_MAX];
    pid_t proxy;
    int proxy_in;    /* its commands; -1: none */
    FILE *proxy_out; /* its answers */
    int port;        /* of the service */
    unsigned n_crashes;
};

/* Start everything and make the queues; false: it did not come up (said on stderr). */
bool cluster_start(struct cluster *c, const struct cluster_options *options);
/* SIGTERM to everything; how many ended otherwise than with 0. */
unsigned cluster_stop(struct cluster *c);
/* SIGKILL to everything, unmount. */
void cluster_kill(struct cluster *c);

struct daemon *cluster_service(struct cluster *c);
bool cluster_embedded(const struct cluster *c);

void daemon_start(struct cluster *c, struct daemon *d);
void daemon_kill(struct cluster *c, struct daemon *d);
/* Wait until it answers its callers; false: not in `ms`. */
bool daemon_answers(struct cluster *c, struct daemon *d, int ms);
/* Programs that ended by themselves are counted in n_crashes, said on stderr, and started again. */
void cluster_check_alive(struct cluster *c);

/* A counter in a queue's stats as a mount has it; -1: it cannot be read. */
int64_t cluster_stat(const struct cluster *c, int mount, const char *queue, const char *name);
/* One command of the proxy; false: it did nothing. */
bool proxy_command(struct cluster *c, const char *command);

void sleep_ms(int64_t ms);

#endif
