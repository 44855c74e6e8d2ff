/*
 * What the programs peer_x have in common: each measures one other queue with the same items, the
 * same clock and the same output.
 *
 *   peer_x --mode MODE [--items N] [--bytes B] [--port P] [--workers W] [--window N] [--fill N]
 *
 * --items are put or taken in all, shared evenly by --workers threads with a connection each.
 * --bytes is an item's length. --window is how many puts are under way unanswered where the mode
 * says pipelined. --fill puts items first that stay: a backlog. Modes that take items put them
 * first; only the mode itself is timed, from when all connections stand to the last answer.
 *
 * Prints `name: value` lines: n, seconds, rate (items a second), and of the time that a step takes,
 * in microseconds, p10, p25, p50, p75, p90, p99, p99.9, max. A step is what a worker waits for at
 * once: an item put and acknowledged, a hundred taken, an item claimed and finished. The pipelined
 * modes have none. Any error ends the program with 1.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PEER_BATCH 100 /* items a command, in put-100 and get-100 */

struct peer_options {
    const char *mode;
    size_t n_items, n_fill, n_workers, n_window;
    size_t item_bytes;
    int port;
};

/* What one worker does, on a connection of its own, in a thread of its own. */
struct peer_job {
    const struct peer_options *options;
    void *connection;
    size_t first, n_items; /* its items: first, first + 1, ... */
    int64_t *step_ns;      /* room for n_items */
    size_t n_steps;
    int64_t untimed_ns; /* spent on what is not measured; with one worker only */
};

struct peer_mode {
    const char *name; /* NULL ends the table */
    int takes;        /* items must be there before */
    void (*run)(struct peer_job *job);
};

struct peer {
    void *(*open)(const struct peer_options *options, size_t worker);
    void (*close)(void *connection);
    void (*fill)(struct peer_job *job); /* puts its items as fast as it can, untimed */
    struct peer_mode modes[8];
};

/* The whole program; gives its status. */
int peer_main(const struct peer *peer, int argc, char **argv);

int64_t peer_now_ns(void);

/* Notes a step that began then and ends now. */
void peer_step(struct peer_job *job, int64_t begin_ns);

/* Writes item number `number`, all printable, item_bytes long, at `item`. */
void peer_item(const struct peer_options *options, size_t number, char *item);
