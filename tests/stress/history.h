/*
 * What the checker knows: every item that a writer attempted, what was acknowledged, and each read
 * of it. Two queues: readers take from `work` during the run; `keep` is only drained at the end,
 * so that there each copy and the order of all that is stored can be seen.
 *
 * An item is a line `QUEUE WRITER NUMBER PADDING`, which follows from the seed: any byte that is
 * not the writer's makes it unexpected. Reads of one open are a delivery, known by its mount and
 * the time from its open to the flush that confirmed its acknowledgement. An item that was read
 * comes again rightly only if an outage of the service or of that mount touched that time.
 *
 * Any thread; one lock.
 */
#ifndef QUEUEFS_TESTS_STRESS_HISTORY_H
#define QUEUEFS_TESTS_STRESS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ITEM_MAX    65536 /* bytes, with the newline */
#define WRITERS_MAX 64
#define ALL_MOUNTS  (-1)

enum queue_index { QUEUE_WORK, QUEUE_KEEP, N_QUEUES };

extern const char *const queue_names[N_QUEUES];

struct history;

struct totals {
    uint64_t attempted, acknowledged, ok, lost, recovered;
    uint64_t unexpected, redelivered, redelivered_without_cause;
    uint64_t copies;          /* of items in `keep` beyond the first */
    uint64_t found[N_QUEUES]; /* different items read */
    uint64_t order_violations;
};

int64_t now_us(void);
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t n);

struct history *history_new(uint64_t seed);
void history_free(struct history *h);

/* Writes the item to `text` (ITEM_MAX); its length. */
size_t item_print(uint64_t seed, enum queue_index queue, int writer, uint64_t number, char *text);

/* The next n items of a writer will be written; the number of the first. Before write(2). */
uint64_t history_attempt(struct history *h, enum queue_index queue, int writer, uint64_t n);
/* Items [from, to) are acknowledged. */
void history_acknowledge(struct history *h, enum queue_index queue, int writer, uint64_t from,
                         uint64_t to);

/* An open of `out` or `next` begins; before the open. */
uint32_t history_delivery(struct history *h, int mount);
/* What it and the mount's earlier ones in [first, last] gave is acknowledged: a flush says so. */
void history_confirm(struct history *h, uint32_t first, uint32_t last);
/* One whole line (with its newline) was read. */
void history_read(struct history *h, uint32_t delivery, const char *text, size_t len,
                  bool draining);

/* The service (ALL_MOUNTS) or a mount is disturbed, and is well again. */
void history_outage_begins(struct history *h, int mount);
void history_outages_end(struct history *h);

/* Until now, or (last) at the end, when what was not read is lost. */
void history_totals(struct history *h, bool last, struct totals *totals);
/* The first few faults, a line each. */
void history_print_faults(struct history *h, FILE *out);

#endif
