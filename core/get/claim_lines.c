/*
 * Claims: a consumer of kind GET_CLAIM gives ids instead of items, and what it has given is held
 * (claims.h) until it is settled or its lease ends. Reading on and closing settle nothing.
 */
#include <errno.h>
#include <string.h>

#include "core/get/consumer_state.h"

/* ---- the ids that a read is given ---- */

static struct claim_item item_of(const struct request *get, const struct got_item *got)
{
    return (struct claim_item){
        .id = item_id(got->grant->batch, got->index),
        .token = got->grant->token,
        .deliveries = got->grant->deliveries + 1,
        .put_time_us = got->grant->put_time_us,
        .sent_us = get->sent_us,
        .lease_us = got->grant->lease_us,
        .data = got->data,
        .len = got->len,
    };
}

/* Where there is no room to give it back, its lease runs out. */
static void give_back(struct consumer *c, const struct got_item *got, int64_t now_us)
{
    struct settlement range = {
        .verb = SETTLE_RETURN,
        .batch = got->grant->batch,
        .from = got->index,
        .to = got->index + 1,
        .token = got->grant->token,
    };

    if (ack_queue_reserve(&c->acks, 1))
        return;
    ack_queue_add(&c->acks, &range, now_us);
    c->given_back = ack_queue_mark(&c->acks);
    c->armed = false;
}

/* Hold the first item of the pool, past those whose lease has ended. 0, -ENOENT: the pool is empty,
 * or as claims_add(). */
static int hold_first(struct consumer *c, uint64_t *id, int64_t now_us)
{
    struct claim_item item;
    struct got_item got;
    int error;

    while (pool_first(&c->pool, &got)) {
        item = item_of(&TAILQ_FIRST(&c->pool.chunks)->request, &got);
        error = claims_add(c->claims, &item, now_us);
        if (error && error != -ESTALE)
            return error;
        if (error) {
            give_back(c, &got, now_us);
            ack_queue_hurry(&c->acks);
        }
        *id = item.id;
        chunk_unref(pool_take_first(&c->pool));
        if (!error)
            return 0;
    }
    return -ENOENT;
}

ssize_t claim_fill(struct consumer *c, char *lines, size_t max, int64_t now_us)
{
    char text[ITEM_ID_DIGITS + 1];
    uint64_t id;
    size_t n;
    int error;

    for (n = 0; n < max; n++) {
        error = hold_first(c, &id, now_us);
        if (error)
            return n > 0 ? (ssize_t)n : error;
        item_id_format(id, text);
        text[ITEM_ID_DIGITS] = '\n';
        memcpy(lines + n * CLAIM_LINE, text, CLAIM_LINE);
    }
    return (ssize_t)n;
}

int claim_all(struct consumer *c, const struct request *get, int64_t now_us)
{
    int error = c->ended == -ENOENT ? -ENOENT : grants_check(get), failed;
    struct claim_item item;
    struct got_item got;
    struct cursor at;

    if (error)
        return error;
    grants_begin(get, &at);
    while (grants_next(get, &at, &got)) {
        item = item_of(get, &got);
        failed = c->ended ? c->ended : claims_add(c->claims, &item, now_us);
        if (failed)
            give_back(c, &got, now_us);
        error = error ? error : failed;
    }
    return error;
}
