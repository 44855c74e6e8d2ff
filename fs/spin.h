/*
 * A moment of looking for the next request before a session thread sleeps until it comes. Who makes
 * one call after another has the next one ready within microseconds; to be put to sleep and woken
 * by another processor in between takes longer than all the rest. Where looking does not pay,
 * because requests come seldom or another processor is not to be had, it is left off, but for a try
 * now and then: a request costs at most SPIN_US of a processor, and where looking does not pay a
 * SPIN_EVERYth of that.
 *
 * One thread at a time looks; any thread may ask.
 */
#ifndef QUEUEFS_FS_SPIN_H
#define QUEUEFS_FS_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>

#define SPIN_US    20
#define SPIN_LUCK  16 /* half as many looks in vain, after all that paid, end it */
#define SPIN_EVERY 32

struct spin {
    bool alone;      /* there is one processor: whoever makes the next call needs it */
    atomic_int luck; /* 0: looking does not pay */
    atomic_uint n_skipped;
    atomic_flag looking;
};

void spin_init(struct spin *spin);

/* Return when the descriptor is readable or has ended, after SPIN_US at most. */
void spin_wait(struct spin *spin, int fd);

#endif
