#include "fs/closes.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <time.h>

/* Requests are numbered in steps of two; the lowest bit tells an INTERRUPT from what it interrupts,
 * the highest a request that is sent again. */
#define NUMBER_STEP  2
#define OTHER_NUMBER (UINT64_C(1) | UINT64_C(1) << 63)

/* Of the request that this thread handles; 0: it has none. */
static _Thread_local uint64_t current;

void closes_init(struct closes *c)
{
    pthread_condattr_t monotonic;

    *c = (struct closes){.next = 0};
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->handled, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void closes_fini(struct closes *c)
{
    pthread_cond_destroy(&c->handled);
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

static bool any_missing(struct closes *c, uint64_t before)
{
    return c->n_missing > 0 && next_missing(c, oldest(c), before) < before;
}

static void give_up(struct closes *c, uint64_t before)
{
    uint64_t number = oldest(c);

    while ((number = next_missing(c, number, before)) < before)
        set_missing(c, number, false);
}

/* ---- requests ---- */

void closes_read(struct closes *c, const void *request, size_t len)
{
    struct fuse_in_header header;

    current = 0;
    if (len < sizeof(header))
        return;
    memcpy(&header, request, sizeof(header));
    if (header.unique & OTHER_NUMBER || header.opcode == FUSE_NOTIFY_REPLY)
        return;
    current = header.unique / NUMBER_STEP;
    pthread_mutex_lock(&c->lock);
    if (current >= c->next) {
        advance(c, current);
        c->next = current + 1;
        set_missing(c, current, header.opcode == FUSE_RELEASE);
    } else if (header.opcode != FUSE_RELEASE && current >= oldest(c)) {
        set_missing(c, current, false);
        pthread_cond_broadcast(&c->handled);
    }
    pthread_mutex_unlock(&c->lock);
}

void closes_done(struct closes *c)
{
    pthread_mutex_lock(&c->lock);
    if (current >= oldest(c) && current < c->next) {
        set_missing(c, current, false);
        pthread_cond_broadcast(&c->handled);
    }
    pthread_mutex_unlock(&c->lock);
}

bool closes_under_way(struct closes *c)
{
    bool any;

    pthread_mutex_lock(&c->lock);
    any = any_missing(c, current);
    pthread_mutex_unlock(&c->lock);
    return any;
}

void closes_await(struct closes *c)
{
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += CLOSES_WAIT_US * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&c->lock);
    while (error == 0 && any_missing(c, current))
        error = pthread_cond_timedwait(&c->handled, &c->lock, &until);
    if (error == ETIMEDOUT)
        give_up(c, current);
    pthread_mutex_unlock(&c->lock);
}
