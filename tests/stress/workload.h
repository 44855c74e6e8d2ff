/*
 * The users: writers that put numbered items and note what was acknowledged, readers that take
 * items, each a thread doing plain open, write, fsync, read and close on its mount. They go on
 * whatever happens to it. The seed decides what each does, the machine when.
 */
#ifndef QUEUEFS_TESTS_STRESS_WORKLOAD_H
#define QUEUEFS_TESTS_STRESS_WORKLOAD_H

#include "tests/stress/cluster.h"
#include "tests/stress/history.h"

struct workload;

struct workload_options {
    struct cluster *cluster;
    struct history *history;
    uint64_t seed;
    int n_writers, n_readers;
    bool mounts_die; /* mounts are killed, so that their calls may fail */
};

struct workload *workload_start(const struct workload_options *options);
/* Tell them to stop, wait for `seconds`; how many have not: they hang. */
unsigned workload_stop(struct workload *w, int seconds);
/* Calls that failed with an errno that no disturbance explains; each kind is said on stderr. */
unsigned workload_wrong_errors(struct workload *w);
void workload_free(struct workload *w); /* all stopped */

/* Read everything from the queue through the first mount, alone, until nothing is there or
 * `seconds` are over (false). */
bool workload_drain(struct workload *w, enum queue_index queue, int seconds);
/* flush of the queue through a mount; 0 or negative errno. */
int workload_flush(const struct cluster *c, int mount, enum queue_index queue);

#endif
