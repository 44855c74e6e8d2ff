/*
 * Bounds on how long a request of the kernel may wait; what waits longer is ended by the ticker.
 *
 * KERNEL: where fs.fuse.max_request_timeout or default_request_timeout is set, the kernel aborts
 * the whole mount when one request is not answered in that time; so what would wait longer is ended
 * before. Every request has this one, where it is set.
 * SECOND, MOMENT: from now on no longer than that, of a request whose caller has got a signal.
 */
#ifndef QUEUEFS_FS_LIMIT_H
#define QUEUEFS_FS_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/mount/ticker.h"

#define LIMIT_SECOND_US INT64_C(1000000)
#define LIMIT_MOMENT_US INT64_C(250000)

enum limit_bound { LIMIT_NONE, LIMIT_KERNEL, LIMIT_SECOND, LIMIT_MOMENT, LIMIT_BOUNDS };

struct limited {
    struct ticker_entry entry;
    void (*end)(struct limited *limited); /* on the ticker's thread, no lock held */
    bool bounded;                         /* ever; written before limit_remove() is called */
    atomic_int bound, over; /* of enum limit_bound: by which it waits; by which it was ended */
};

struct limit {
    struct ticker *ticker;
    const struct clock *clock;
    int64_t after_us[LIMIT_BOUNDS]; /* of KERNEL 0: there is none; fixed once started */
};

/* The bound that the kernel's two settings (in seconds, 0: not set) leave; 0: none. */
int64_t limit_of_kernel_us(unsigned long default_s, unsigned long max_s);

/* That of this machine, now. */
int64_t limit_of_machine_us(void);

void limit_init(struct limit *limit, struct ticker *ticker, const struct clock *clock);
/* kernel_us: the bound of the kernel, 0: none. Before the first request. */
void limit_set_kernel(struct limit *limit, int64_t kernel_us);

/* A request that begins to wait. */
void limit_add(struct limit *limit, struct limited *limited, void (*end)(struct limited *limited));

/* It may wait by this bound too, from now on; the earlier end holds. Not beside limit_remove(). */
void limit_hurry(struct limit *limit, struct limited *limited, enum limit_bound bound);

/* Takes it out, and waits for an end() of it that is running, unless this is on the ticker's
 * thread. The bound that ended it, or LIMIT_NONE. */
enum limit_bound limit_remove(struct limit *limit, struct limited *limited);

#endif
