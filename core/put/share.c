/*
 * Shares: whose the bytes of the buffer are, and whose writes wait. One user's writes wait for each
 * other, and for nobody else's.
 */
#include <assert.h>
#include <stdlib.h>

#include "core/put/producer_state.h"

/* ---- life ---- */

static struct share *share_new(struct producer *p, struct budget_user *user)
{
    struct share *share = calloc(1, sizeof(*share));

    if (!share)
        return NULL;
    share->user = budget_user_ref(user);
    op_list_init(&share->parked);
    TAILQ_INSERT_TAIL(&p->shares, share, link);
    return share;
}

static void share_free(struct producer *p, struct share *share)
{
    if (share->waits)
        TAILQ_REMOVE(&p->waiting, share, waiting);
    TAILQ_REMOVE(&p->shares, share, link);
    budget_user_unref(share->user);
    free(share);
}

static void free_unused(struct producer *p, struct share *share)
{
    if (share->n_writers == 0 && share->bytes == 0)
        share_free(p, share);
}

struct share *share_open(struct producer *p, struct budget_user *user)
{
    struct share *share;

    TAILQ_FOREACH (share, &p->shares, link) {
        if (share->user == user)
            break;
    }
    if (!share)
        share = share_new(p, user);
    if (share)
        share->n_writers++;
    return share;
}

void share_close(struct producer *p, struct share *share)
{
    share->n_writers--;
    free_unused(p, share);
}

/* ---- bytes ---- */

void share_add(struct producer *p, struct share *share, size_t bytes)
{
    share->bytes += bytes;
    p->counters.buffered_bytes += bytes;
}

/* What was taken beyond the limits goes back first. */
static void give_back(struct producer *p, struct share *share, size_t bytes)
{
    size_t floor = 0;

    assert(bytes <= share->bytes);
    if (share == p->floor_share)
        floor = bytes < p->floor_bytes ? bytes : p->floor_bytes;
    if (floor > 0)
        budget_give_back(share->user, BUDGET_FLOOR, floor);
    p->floor_bytes -= floor;
    budget_give_back(share->user, BUDGET_BUFFERED, bytes - floor);
    share->bytes -= bytes;
    p->counters.buffered_bytes -= bytes;
}

void share_give_back(struct producer *p, struct share *share, size_t bytes)
{
    if (bytes > 0)
        give_back(p, share, bytes);
    free_unused(p, share);
}

void shares_give_back(struct producer *p, size_t bytes)
{
    struct share *share, *next;
    size_t whole;

    TAILQ_FOREACH_SAFE (share, &p->shares, link, next) {
        if (bytes == 0)
            return;
        whole = share->bytes - share->unfinished_bytes;
        if (whole > bytes)
            whole = bytes;
        bytes -= whole;
        if (whole > 0 && next) {
            TAILQ_REMOVE(&p->shares, share, link);
            TAILQ_INSERT_TAIL(&p->shares, share, link);
        }
        share_give_back(p, share, whole);
    }
    assert(bytes == 0);
}

void shares_free(struct producer *p)
{
    struct share *share;

    while ((share = TAILQ_FIRST(&p->shares))) {
        give_back(p, share, share->bytes);
        share_free(p, share);
    }
}

/* ---- writes that wait ---- */

bool share_park(struct producer *p, struct share *share, struct op *op)
{
    if (!op_park_locked(op, &share->parked))
        return false;
    if (!share->waits)
        TAILQ_INSERT_TAIL(&p->waiting, share, waiting);
    share->waits = true;
    return true;
}

bool shares_wait(const struct producer *p)
{
    const struct share *share;

    TAILQ_FOREACH (share, &p->waiting, waiting) {
        if (share->parked.n > 0)
            return true;
    }
    return false;
}
