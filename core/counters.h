/*
 * What a queue counts over its whole life, kept by the service and shown in `stats`: a row each, of
 * its field in struct queue_record and struct queue_state and its name in `stats`. The store, the
 * wire and `stats` follow. New ones at the end, and only there: rows of the store are read by
 * position.
 */
#ifndef QUEUEFS_CORE_COUNTERS_H
#define QUEUEFS_CORE_COUNTERS_H

#include <stdint.h>

#define QUEUE_COUNTERS(COUNTER)                                                                    \
    COUNTER(total_puts, "service_total_puts")                                                      \
    COUNTER(total_gets, "service_total_gets")                                                      \
    COUNTER(batch_puts, "service_batch_puts")                                                      \
    COUNTER(batch_gets, "service_batch_gets")                                                      \
    COUNTER(redelivered, "redelivered")                                                            \
    COUNTER(expired, "expired")                                                                    \
    COUNTER(refused_by_access, "refused_by_access")

#define QUEUE_COUNTER_FIELD(name, shown) uint64_t name;
#define QUEUE_COUNTER_ONE(name, shown)   +1

/* The fields, within a struct. */
#define QUEUE_COUNTER_FIELDS QUEUE_COUNTERS(QUEUE_COUNTER_FIELD)

enum { QUEUE_N_COUNTERS = 0 QUEUE_COUNTERS(QUEUE_COUNTER_ONE) };

#endif
