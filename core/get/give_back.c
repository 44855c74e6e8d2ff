/* What was fetched and nobody takes goes back, uncounted. */
#include "core/get/consumer_state.h"

void consumer_return_pool(struct consumer *c, int64_t now_us)
{
    size_t i;

    if (!pool_empty(&c->pool))
        c->discard = true;
    while (!pool_empty(&c->pool)) {
        struct cut_piece rest = chunk_rest(TAILQ_FIRST(&c->pool.chunks));

        if (ack_queue_reserve(&c->acks, piece_n_ranges(&rest)))
            break;
        for (i = 0; i < piece_n_ranges(&rest); i++) {
            struct settlement range = piece_range(&rest, i, SETTLE_RETURN);

            ack_queue_add(&c->acks, &range, now_us);
        }
        pool_drop_chunk(&c->pool);
        c->given_back = ack_queue_mark(&c->acks);
        c->armed = false;
        c->growth = 1;
    }
    c->returning = !pool_empty(&c->pool);
    c->touched_us = now_us;
    c->streaming = false;
    ack_queue_hurry(&c->acks);
}

void consumer_yield(struct consumer *c, int64_t now_us)
{
    if (consumer_is_claims(c) && c->waiting.n == 0 && !pool_empty(&c->pool))
        consumer_return_pool(c, now_us);
}
