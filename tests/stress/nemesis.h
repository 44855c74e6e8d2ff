/*
 * What disturbs: it kills (-9), stops (SIGSTOP) and cuts, at times and in an order that follow from
 * the seed. On the main thread, whose children the programs are.
 */
#ifndef QUEUEFS_TESTS_STRESS_NEMESIS_H
#define QUEUEFS_TESTS_STRESS_NEMESIS_H

#include "tests/stress/cluster.h"
#include "tests/stress/history.h"

enum harm {
    HARM_KILL_SERVICE, /* and start it again after a moment */
    HARM_KILL_MOUNT,
    HARM_STOP_SERVICE, /* for longer than the mounts' timeout */
    HARM_STOP_MOUNT,
    HARM_CUT,   /* a connection, at a random byte */
    HARM_HALF,  /* one direction of it */
    HARM_DELAY, /* it passes nothing for a while */
    N_HARMS
};

extern const char *const harm_names[N_HARMS];

struct nemesis {
    struct cluster *cluster;
    struct history *history;
    uint64_t random;
    unsigned kinds;          /* 1 << enum harm */
    int pause_ms;            /* at most, between two */
    unsigned count[N_HARMS]; /* that happened */
};

/* "kill-service,cut"; false: one of them is none. */
bool nemesis_parse(const char *list, unsigned *kinds);

/* A pause, and one disturbance, from its beginning until all is started again. */
void nemesis_step(struct nemesis *n);

unsigned nemesis_total(const struct nemesis *n);

#endif
