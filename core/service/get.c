/*
 * Gets. Those of claims lease at once and wait for the commit; those of streams change memory only:
 * where something is ready they are answered before it, else they are run after it, so that they
 * find what it has stored. A claim that would find just that is
 * run after it too, and waits for the next commit.
 */
#include "core/service/service_state.h"

#include <errno.h>

/* Lease, and arm where nothing is ready. */
static int get(struct reply *reply, struct queue *q)
{
    const struct request *request = reply->request;
    int rc = queue_lease(q, request, &reply->session->lessee, &reply->result.lease);

    if (rc < 0)
        return service_status(rc);
    if (reply->result.lease.n_parts == 0 && request->in.get.arm && !request->in.get.item)
        return session_stand_in_line(reply->session, q);
    return 0;
}

static bool found_nothing(const struct reply *reply)
{
    return reply->status == 0 && reply->result.lease.n_parts == 0;
}

void service_get(struct service *s, struct reply *reply)
{
    struct queue *q = service_find(s, reply->queue);

    if (!request_get_valid(reply->request)) {
        service_finish(s, reply, -EPROTO);
        return;
    }
    if (reply->request->in.get.kind == GET_STREAM) {
        TAILQ_INSERT_TAIL(&s->streams, reply, link);
        return;
    }
    reply->status = q ? get(reply, q) : -ENOENT;
    if (q && found_nothing(reply) && q->staged.n_items > 0)
        TAILQ_INSERT_TAIL(&s->claims, reply, link);
    else
        TAILQ_INSERT_TAIL(&s->waiting, reply, link);
}

void service_run_claims(struct service *s)
{
    struct reply *reply;

    while ((reply = TAILQ_FIRST(&s->claims)) != NULL) {
        struct queue *q = service_find(s, reply->queue);

        TAILQ_REMOVE(&s->claims, reply, link);
        reply->status = q ? get(reply, q) : -ENOENT;
        if (reply->status < 0 || found_nothing(reply))
            service_finish(s, reply, reply->status);
        else
            TAILQ_INSERT_TAIL(&s->waiting, reply, link);
    }
}

bool service_get_again(struct service *s, struct reply *reply)
{
    struct queue *q = service_find(s, reply->queue);
    struct lease *lease = &reply->result.lease;

    if (reply->kind != REQUEST_GET || reply->status < 0 || !q || lease->n_parts == 0 ||
        lease->kind != GET_CLAIM || queue_lends(q, lease))
        return false;
    lease_fini(lease);
    service_get(s, reply);
    return true;
}

/* What the answer takes, apart from the request. */
static size_t filled(const struct request *get)
{
    return get->out.get.n_grants * sizeof(struct grant) + get->out.get.len;
}

/* -EBADMSG: as of queue_fill(). */
static int fill(struct service *s, struct queue *q, struct reply *reply)
{
    int rc;

    if (s->filled_bytes > SERVICE_FILLED_MAX)
        service_give(s);
    rc = queue_fill(q, &reply->result.lease, reply->request);
    s->filled_bytes += filled(reply->request);
    if (rc == -ENOMEM && reply->given)
        return -ETIMEDOUT; /* they may be in somebody's hands */
    reply->given = rc == 0;
    if (rc < 0)
        queue_unlease(q, &reply->result.lease);
    return rc;
}

int service_fill_get(struct service *s, struct reply *reply)
{
    struct queue *q = service_find(s, reply->queue);

    return q ? service_status(fill(s, q, reply)) : -ENOENT;
}

/* What is damaged is found when it is read, and then the next ones are looked for. */
static int get_stream(struct service *s, struct reply *reply)
{
    struct queue *q = service_find(s, reply->queue);
    int rc = -EBADMSG;

    reply->status = q ? 0 : -ENOENT;
    while (q && rc == -EBADMSG) {
        lease_fini(&reply->result.lease);
        reply->status = get(reply, q);
        rc = reply->status ? reply->status : fill(s, q, reply);
    }
    return q ? service_status(rc) : -ENOENT;
}

void service_run_ready_streams(struct service *s)
{
    struct answers others = s->answers;
    struct reply *reply, *next;

    if (s->failed || s->retry_us != TIME_FOREVER)
        return; /* what is in memory is not all in the store, and may not be soon */
    answers_init(&s->answers);
    for (reply = TAILQ_FIRST(&s->streams); reply; reply = next) {
        struct queue *q = service_find(s, reply->queue);

        next = TAILQ_NEXT(reply, link);
        if (!q || queue_n_ready(q) == 0)
            continue;
        TAILQ_REMOVE(&s->streams, reply, link);
        reply_end(reply, get_stream(s, reply), &s->answers);
        service_renew(s, q); /* what the answer says of it is newer than what was said before */
    }
    service_give(s);
    answers_append(&s->answers, &others);
}

void service_run_streams(struct service *s)
{
    struct answers others = s->answers;
    struct reply *reply;

    answers_init(&s->answers);
    while ((reply = TAILQ_FIRST(&s->streams)) != NULL) {
        TAILQ_REMOVE(&s->streams, reply, link);
        reply_end(reply, get_stream(s, reply), &s->answers);
    }
    answers_append(&s->answers, &others);
}

static bool is_stream_get(const struct request *request)
{
    return request->kind == REQUEST_GET && request->in.get.kind == GET_STREAM;
}

struct request *service_late_gets(struct service *s)
{
    struct answers gets, others;
    struct request *request, *next;

    answers_init(&gets);
    answers_init(&others);
    pthread_mutex_lock(&s->lock);
    for (request = s->inbox.first; request; request = next) {
        next = request->next;
        answers_add(is_stream_get(request) ? &gets : &others, request, 0);
    }
    answers_init(&s->inbox);
    answers_append(&s->inbox, &others);
    pthread_mutex_unlock(&s->lock);
    return gets.first;
}
