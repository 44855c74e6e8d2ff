#include "fs/closes.h"

#include "core/cond.h"
#include "fs/session_threads.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <string.h>

/* Requests are numbered in steps of two; the lowest bit tells an INTERRUPT from what it interrupts,
 * the highest a request that is sent again. */
#define NUMBER_STEP  2
#define OTHER_NUMBER (UINT64_C(1) | UINT64_C(1) << 63)

/* Of the request that this thread handles; 0: it has none. */
static _Thread_local uint64_t current;

/* This thread's place; NULL: it has never read. */
static _Thread_local struct closes_thread *self;

void closes_init(struct closes *c)
{
    *c = (struct closes){.ordered = 1, .wait_us = CLOSES_WAIT_US};
    pthread_mutex_init(&c->lock, NULL);
    cond_init(&c->changed);
}

void closes_fini(struct closes *c)
{
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
}

/* ---- the numbers ---- */

static uint64_t *word_of(struct closes *c, uint64_t number)
{
    return &c->missing[number / 64 % (CLOSES_KNOWN / 64)];
}

static uint64_t oldest(const struct closes *c)
{
    return c->next > CLOSES_KNOWN ? c->next - CLOSES_KNOWN : 1;
}

/* Also takes the place of the number CLOSES_KNOWN below. */
static void set_missing(struct closes *c, uint64_t number, bool missing)
{
    uint64_t *word = word_of(c, number), bit = UINT64_C(1) << number % 64;

    c->n_missing -= (*word & bit) != 0;
    c->n_missing += missing;
    *word = missing ? *word | bit : *word & ~bit;
}

/* All numbers below this one have been seen or are missing. */
static void advance(struct closes *c, uint64_t to)
{
    if (c->next == 0 || to - c->next > CLOSES_KNOWN) { /* the first, or no order is to be seen */
        memset(c->missing, 0, sizeof(c->missing));
        c->n_missing = 0;
        c->next = to;
    }
    for (; c->next < to; c->next++)
        set_missing(c, c->next, true);
}

/* The lowest missing number from `from` on, below `before`; or `before`. */
static uint64_t next_missing(struct closes *c, uint64_t from, uint64_t before)
{
    for (; from < before && !(*word_of(c, from) >> from % 64 & 1); from++)
        if (*word_of(c, from) == 0)
            from |= 63;
    return from < before ? from : before;
}

static void give_up(struct closes *c, uint64_t before)
{
    uint64_t number = oldest(c);

    while ((number = next_missing(c, number, before)) < before)
        set_missing(c, number, false);
}

/* ---- the threads ---- */

static_assert(CLOSES_THREADS >= SESSION_THREADS_MAX, "a place for each session thread");

static void join(struct closes *c)
{
    pthread_mutex_lock(&c->lock);
    assert(c->n_threads < CLOSES_THREADS);
    self = &c->threads[c->n_threads++];
    pthread_mutex_unlock(&c->lock);
}

/* Whether a thread has a RELEASE below this number in hand. */
static bool release_in_hand(const struct closes *c, uint64_t before)
{
    for (size_t i = 0; c->n_releases > 0 && i < c->n_threads; i++)
        if (c->threads[i].release && c->threads[i].release < before)
            return true;
    return false;
}

/* No thread in read(2) brings a number below this one; `before` at most. */
static uint64_t lowest_to_come(const struct closes *c, uint64_t before)
{
    uint64_t lowest = before, from;

    for (size_t i = 0; i < c->n_threads; i++) {
        from = atomic_load(&c->threads[i].reads_from);
        if (from && from < lowest)
            lowest = from;
    }
    return lowest;
}

/* Whether there is a RELEASE to wait for, known or possible, before the request of this thread. */
static bool under_way_locked(struct closes *c)
{
    if (release_in_hand(c, current))
        return true;
    if (c->n_missing == 0)
        return false;
    give_up(c, lowest_to_come(c, current));
    return next_missing(c, oldest(c), current) < current;
}

/* ---- requests ---- */

/* Without the lock: only who looks with a later request than this thread brings has to see it, and
 * the kernel's lock is between the two reads. An old `ordered` is too low, which is no harm. */
void closes_reading(struct closes *c)
{
    if (!self)
        join(c);
    atomic_store(&self->reads_from, atomic_load(&c->ordered));
}

/* Its number; 0: it has none of its own. */
static uint64_t number_of(const struct fuse_in_header *header)
{
    if (header->unique & OTHER_NUMBER || header->opcode == FUSE_NOTIFY_REPLY)
        return 0;
    return header->unique / NUMBER_STEP;
}

static void see(struct closes *c, uint64_t number, uint32_t opcode)
{
    if (number >= c->next)
        advance(c, number + 1);
    if (number >= oldest(c))
        set_missing(c, number, false);
    if (opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && number >= c->ordered)
        c->ordered = number + 1;
}

static void set_release(struct closes *c, uint64_t number)
{
    c->n_releases -= self->release != 0;
    c->n_releases += number != 0;
    self->release = number;
}

void closes_read(struct closes *c, const void *request, size_t len)
{
    struct fuse_in_header header = {.unique = 0};

    if (len >= sizeof(header))
        memcpy(&header, request, sizeof(header));
    current = number_of(&header);
    if (!self)
        join(c);
    pthread_mutex_lock(&c->lock);
    atomic_store(&self->reads_from, 0);
    set_release(c, header.opcode == FUSE_RELEASE ? current : 0);
    if (current)
        see(c, current, header.opcode);
    if (c->n_waiting > 0)
        pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void closes_done(struct closes *c)
{
    if (!self || !self->release)
        return;
    pthread_mutex_lock(&c->lock);
    set_release(c, 0);
    if (c->n_waiting > 0)
        pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

bool closes_under_way(struct closes *c)
{
    bool any;

    pthread_mutex_lock(&c->lock);
    any = under_way_locked(c);
    pthread_mutex_unlock(&c->lock);
    return any;
}

void closes_await(struct closes *c)
{
    int64_t until_us = cond_in_ms(c->wait_us / 1000);
    bool in_time = true;

    pthread_mutex_lock(&c->lock);
    c->n_waiting++;
    while (in_time && under_way_locked(c))
        in_time = cond_wait_until(&c->changed, &c->lock, until_us);
    c->n_waiting--;
    if (!in_time)
        give_up(c, current);
    pthread_mutex_unlock(&c->lock);
}
