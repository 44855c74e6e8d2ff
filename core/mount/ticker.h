/*
 * Deadlines: one thread that calls each entry's function when its time has come. Entries stand in
 * a tree by time. Any thread may arm; the function runs on the ticker's thread with no lock held
 * and may arm again, but must not block.
 */
#ifndef QUEUEFS_CORE_MOUNT_TICKER_H
#define QUEUEFS_CORE_MOUNT_TICKER_H

#include <bsd/sys/tree.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/clock.h"

struct ticker;

struct ticker_entry {
    void (*tick)(struct ticker_entry *entry, int64_t now_us);
    void *owner;
    /* The ticker's. */
    RB_ENTRY(ticker_entry) link;
    _Atomic int64_t due_us; /* TIME_FOREVER: not armed */
};

void ticker_entry_init(struct ticker_entry *entry,
                       void (*tick)(struct ticker_entry *entry, int64_t now_us), void *owner);

/* The clock must be CLOCK_MONOTONIC's. 0 or -ENOMEM. */
int ticker_new(const struct clock *clock, struct ticker **ticker);
int ticker_start(struct ticker *ticker);
void ticker_stop(struct ticker *ticker); /* waits for the thread; harmless the second time */
void ticker_free(struct ticker *ticker); /* stops it; takes NULL */

/* Call the entry at due_us, or when it is due already if that is earlier. True where the entry
 * was not armed before. A caller that counts a reference for an armed entry takes it before and
 * gives it back where the answer is false: the function may run before this returns. */
bool ticker_arm(struct ticker *ticker, struct ticker_entry *entry, int64_t due_us);

/* No longer, and not at this moment either: waits for its function if that runs, unless this is
 * called on the ticker's thread. */
void ticker_cancel(struct ticker *ticker, struct ticker_entry *entry);

/* Whether this is the thread of a ticker. */
bool ticker_is_here(void);

/* After ticker_stop(): an entry that is still armed, disarmed now, or NULL. */
struct ticker_entry *ticker_take(struct ticker *ticker);

#endif
