/*
 * A thread for what may block for long, so that no thread of the session does: to read and to print
 * `config`, where the name service is asked for owner and group. It is started with the first work
 * and does one at a time; who waits can be interrupted meanwhile. Any thread may call.
 */
#ifndef QUEUEFS_FS_ASIDE_H
#define QUEUEFS_FS_ASIDE_H

#include "core/op.h"

/* That many at most wait; one that comes then is refused. */
#define ASIDE_WORKS_MAX 64

struct aside;

/* The beginning of what the caller allocates for one work. */
struct aside_work {
    ssize_t (*run)(struct aside_work *work); /* what its op ends with; no lock held */
    void (*free)(struct aside_work *work);
    TAILQ_ENTRY(aside_work) link;
};

struct aside *aside_new(void); /* NULL: no memory */

/* Ends those that wait with -ESHUTDOWN. A work that blocks is left to itself after a second, and
 * freed when it comes back. Takes NULL. No call beside it or after. */
void aside_end(struct aside *aside);

/*
 * Takes the work, which is freed once it has run and its op has ended, or when nobody waits for it
 * any more: what it has found is there until op->done() returns, unless the op was cancelled. The
 * op ends with what run() gives, -ENOBUFS where too many wait, -EAGAIN where there can be no
 * thread, or as an interrupted one.
 */
void aside_do(struct aside *aside, struct aside_work *work, struct op *op);

#endif
