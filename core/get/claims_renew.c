/*
 * Renewals of held items: when they are due, and what they are good for once they are answered.
 * The service does a request once, at the first try that reaches it, so that is when a renewal
 * counts from at the latest.
 */
#include "core/get/claims_state.h"

#include <errno.h>

/* A renewal that was asked for waits so long: often the item is settled first. */
#define RENEW_LINGER_US SETTLER_LINGER_US
/* After a renewal that did not count, so often, before it waits for its turn again. */
#define RENEW_AGAIN_US  INT64_C(50000)
#define RENEW_AGAIN_MAX 3
/* Settings of the service take no longer to be known here. */
#define NEWS_US INT64_C(5000000)

/* ---- renewing ---- */

void held_renew_at(struct held_set *s, struct held *h, int64_t at_us)
{
    h->renew_us = time_min(h->renew_us, at_us);
    held_plan(s, h);
}

void held_renew_soon(struct held_set *s, struct held *h, int64_t now_us)
{
    bool short_of_time = h->expires_us - now_us < 4 * RENEW_LINGER_US;

    held_renew_at(s, h, short_of_time ? now_us : now_us + RENEW_LINGER_US);
}

int64_t held_renew_period(const struct held_set *s)
{
    int64_t third_us = s->options.settings->own.lease_us / 3;

    return third_us > 1000 ? third_us : 1000;
}

void held_renew(struct held_set *s, struct held *h, int64_t now_us)
{
    struct settlement range = held_range(h, SETTLE_RENEW);

    h->renew_us = h->n_opens > 0 ? time_after(now_us, held_renew_period(s)) : TIME_FOREVER;
    if (settler_reserve(&s->renewals, 1))
        h->renew_us = now_us + RENEW_AGAIN_US;
    else
        settler_add(&s->renewals, &range, now_us);
    settler_hurry(&s->renewals);
    held_plan(s, h);
}

uint64_t held_hurry(struct held_set *s, int64_t now_us)
{
    struct held *h, *after;

    for (h = RB_MIN(held_by_due, &s->by_due); h; h = after) {
        after = RB_NEXT(held_by_due, &s->by_due, h);
        if (h->due_us > now_us + RENEW_LINGER_US)
            break;
        if (h->renew_us <= now_us + RENEW_LINGER_US && h->expires_us > now_us)
            held_renew(s, h, now_us);
    }
    return settler_mark(&s->renewals);
}

bool held_reached(const struct held_set *s, uint64_t mark)
{
    return settler_reached(&s->renewals, mark);
}

/* ---- renewed ---- */

static int64_t renewed_until(const struct held_set *s, const struct held *h, int64_t sent_us)
{
    const struct queue_settings *own = &s->options.settings->own;

    return time_min(time_after(sent_us, own->lease_us), time_after(h->first_us, own->lease_max_us));
}

static void extend(struct held_set *s, struct held *h, int64_t sent_us)
{
    h->n_again = 0;
    if (sent_us <= h->granted_us)
        return;
    h->renewed = true;
    h->granted_us = sent_us;
    h->expires_us = renewed_until(s, h, sent_us);
    held_plan(s, h);
}

/* Something of its request was late, most likely settled meanwhile, and it is not known what. */
static void renew_again(struct held_set *s, struct held *h, int64_t now_us)
{
    if (h->n_again++ < RENEW_AGAIN_MAX)
        held_renew_at(s, h, now_us + RENEW_AGAIN_US);
}

void held_renewal_done(struct held_set *s, struct request *request, int64_t now_us)
{
    const struct settle *settle = (const struct settle *)request;
    bool answered = request->status == 0, good = answered && request->out.settle.n_late == 0;
    int64_t sent_us = settle_sent_us(settle);
    uint32_t index;
    size_t i;

    for (i = 0; answered && i < settle->n; i++)
        for (index = settle->ranges[i].from; index < settle->ranges[i].to; index++) {
            struct held *h = held_get(s, item_id(settle->ranges[i].batch, index));

            if (!h || h->token != settle->ranges[i].token)
                continue;
            if (good)
                extend(s, h, sent_us);
            else
                renew_again(s, h, now_us);
        }
    settler_answered(&s->renewals, request, now_us);
}

/*
 * The settings have changed. A lease that was renewed shortly before may have been renewed by the
 * new ones already.
 */
void held_follow_settings(struct held_set *s, int64_t now_us)
{
    const struct queue_settings *own = &s->options.settings->own;
    struct held *h;

    if (own->lease_us == s->lease_us && own->lease_max_us == s->lease_max_us)
        return;
    s->lease_us = own->lease_us;
    s->lease_max_us = own->lease_max_us;
    RB_FOREACH (h, held_by_id, &s->by_id) {
        if (h->renewed && now_us - h->granted_us < NEWS_US)
            h->expires_us = time_min(h->expires_us, renewed_until(s, h, h->granted_us));
        if (h->n_opens > 0)
            h->renew_us = time_min(h->renew_us, time_after(now_us, held_renew_period(s)));
        held_plan(s, h);
    }
}
