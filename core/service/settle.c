/*
 * Settlements. A request has thousands of them, and each may go through all that is known of its
 * batch: what a round has no time for goes on in the next ones, and others are served in between.
 */
#include "core/service/service_state.h"

#include <errno.h>

static bool settlements_valid(const struct request *request)
{
    const struct settlement *items = request->in.settle.items;

    if (request->in.settle.n_items < 1 || request->in.settle.n_items > REQUEST_SETTLEMENTS_MAX)
        return false;
    for (size_t i = 0; i < request->in.settle.n_items; i++) {
        if (!settlement_valid(&items[i]))
            return false;
    }
    return true;
}

/* Until that time, one at least. True: no more is to be done. */
static bool settle_until(struct service *s, struct reply *reply, int64_t until_us)
{
    const struct request *request = reply->request;
    size_t *n_done = &reply->result.settle.n_done;
    struct queue *q = service_find(s, reply->queue);
    int rc = q ? 0 : -ENOENT;

    while (rc == 0 && *n_done < request->in.settle.n_items) {
        rc = queue_settle(q, &request->in.settle.items[(*n_done)++], &reply->session->lessee,
                          &reply->result.settle.n_late);
        if (s->options.clock->mono_us(s->options.clock) >= until_us)
            break;
    }
    reply->status = service_status(rc);
    if (!q)
        reply->status = -ENOENT;
    return rc < 0 || *n_done >= request->in.settle.n_items;
}

void service_settle(struct service *s, struct reply *reply)
{
    reply->status = settlements_valid(reply->request) ? 0 : -EPROTO;
    if (reply->status < 0 || settle_until(s, reply, s->settle_until_us))
        TAILQ_INSERT_TAIL(&s->waiting, reply, link);
    else
        TAILQ_INSERT_TAIL(&s->settles, reply, link);
}

/* Each has a part of the time, so that none of them keeps the others. */
void service_settle_on(struct service *s)
{
    int64_t now_us = s->options.clock->mono_us(s->options.clock), n = 0;
    struct reply *reply, *next;

    TAILQ_FOREACH (reply, &s->settles, link)
        n++;
    s->settle_until_us = now_us + SERVICE_SLICE_US;
    for (reply = TAILQ_FIRST(&s->settles); reply; reply = next) {
        next = TAILQ_NEXT(reply, link);
        now_us = s->options.clock->mono_us(s->options.clock);
        if (!settle_until(s, reply, now_us + SERVICE_SLICE_US / n))
            continue;
        TAILQ_REMOVE(&s->settles, reply, link);
        TAILQ_INSERT_TAIL(&s->waiting, reply, link);
    }
}

int service_fill_settle(struct service *s, struct reply *reply)
{
    reply->request->out.settle.n_late = reply->result.settle.n_late;
    return 0;
}
