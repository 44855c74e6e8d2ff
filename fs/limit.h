/*
 * A bound on how long a request of the kernel may wait. Where fs.fuse.max_request_timeout or
 * default_request_timeout is set, the kernel aborts the whole mount when one request is not
 * answered in that time; so what would wait longer is ended before, with ETIMEDOUT: an error that
 * says "not yet" rather than an end of file that would say "empty".
 *
 * One thread, only where there is a bound. Ends come in order of arrival: all wait equally long.
 */
#ifndef QUEUEFS_FS_LIMIT_H
#define QUEUEFS_FS_LIMIT_H

#include <bsd/sys/queue.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/clock.h"

struct limited {
    void (*end)(struct limited *limited); /* on the limit's thread, no lock held */
    /* limit.lock */
    TAILQ_ENTRY(limited) link;
    int64_t deadline_us;
    bool listed, over;
};

struct limit {
    const struct clock *clock;
    int64_t limit_us; /* 0: none, nothing is done; fixed once started */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    TAILQ_HEAD(, limited) waiting;
    struct limited *ending; /* whose end() runs now */
    bool stopping;
};

/* The bound that the kernel's two settings (in seconds, 0: not set) leave; 0: none. */
int64_t limit_of_kernel_us(unsigned long default_s, unsigned long max_s);

/* That of this machine, now. */
int64_t limit_of_machine_us(void);

void limit_init(struct limit *limit, const struct clock *clock);
/* 0 or negative errno. After the last fork. */
int limit_start(struct limit *limit, int64_t limit_us);
void limit_fini(struct limit *limit); /* nothing is listed any more; stops the thread */

void limit_add(struct limit *limit, struct limited *limited, void (*end)(struct limited *limited));

/* Takes it out, and waits for an end() of it that is running, unless this is within that. True:
 * it was ended for its time. */
bool limit_remove(struct limit *limit, struct limited *limited);

/* Whether the calling thread is within an end(). */
bool limit_is_ending(void);

#endif
