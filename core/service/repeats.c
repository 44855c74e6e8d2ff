/* Answers that are kept, so that a request that comes twice is done once. */
#include "core/service/session.h"

#include <errno.h>
#include <stdlib.h>

#include "core/refused.h"

static int reply_compare(const struct reply *a, const struct reply *b)
{
    return (a->number > b->number) - (a->number < b->number);
}

RB_GENERATE_INTERNAL(reply_tree, reply, by_number, reply_compare, __attribute__((unused)) static)

/* What is kept of it. */
static size_t reply_bytes(const struct reply *reply)
{
    size_t parts = reply->kind == REQUEST_GET ? reply->result.lease.cap : 0;

    return sizeof(*reply) + parts * sizeof(struct lease_part);
}

static void count_kept(struct session *s, size_t before, size_t after)
{
    s->kept_bytes += after - before;
    s->sessions->kept_bytes += after - before;
}

static void reply_free(struct reply *reply)
{
    struct session *s = reply->session;

    if (reply->is_kept)
        count_kept(s, reply_bytes(reply), 0);

    if (reply->number > 0) {
        RB_REMOVE(reply_tree, &s->replies, reply);
        s->n_replies--;
    }
    if (reply->kind == REQUEST_GET)
        lease_fini(&reply->result.lease);
    free(reply);
}

/* Whether it has more than may be kept for it: as much as is left for all others. */
static bool keeps_too_much(const struct session *s)
{
    return s->n_replies >= SESSION_REPLIES_MAX ||
           (s->kept_bytes > 0 && s->kept_bytes + s->sessions->kept_bytes > SESSION_KEPT_MAX);
}

/* Forget what is answered below the number, and the oldest ones where there are too many. */
static void forget(struct session *s, uint64_t below)
{
    struct reply *reply, *next;

    for (reply = RB_MIN(reply_tree, &s->replies); reply; reply = next) {
        next = RB_NEXT(reply_tree, &s->replies, reply);
        if (reply->number >= below && !keeps_too_much(s))
            break;
        if (reply->request)
            continue;
        if (reply->number >= below)
            refused_add();
        reply_free(reply);
    }
}

static int reply_new(struct session *s, struct request *request, struct reply **reply)
{
    struct reply *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->session = s;
    r->number = request->number;
    r->kind = request->kind;
    r->queue = request->queue;
    r->request = request;
    if (r->number > 0) {
        RB_INSERT(reply_tree, &s->replies, r);
        s->n_replies++;
    }
    s->n_working++;
    *reply = r;
    return 0;
}

int reply_begin(struct session *s, struct request *request, struct answers *answers,
                enum reply_news *news, struct reply **reply)
{
    struct reply wanted = {.number = request->number}, *known = NULL;

    if (request->answered_below > s->answered_below || keeps_too_much(s)) {
        if (request->answered_below > s->answered_below)
            s->answered_below = request->answered_below;
        forget(s, s->answered_below);
    }
    if (request->number > 0)
        known = RB_FIND(reply_tree, &s->replies, &wanted);
    *news = REPLY_NEW;
    if (request->number > 0 && !request->repeat && (known || request->number < s->answered_below))
        return -ENOTUNIQ;
    if (!known && request->number > 0 && request->number < s->answered_below)
        return -ETIMEDOUT;
    if (!known)
        return reply_new(s, request, reply);
    if (known->kind != request->kind || known->queue != request->queue)
        return -EPROTO;

    *reply = known;
    *news = known->request ? REPLY_WORKED_ON : REPLY_REPEATED;
    if (known->request)
        answers_add(answers, known->request, -ETIMEDOUT);
    else
        s->n_working++;
    if (known->is_kept)
        count_kept(s, reply_bytes(known), 0); /* it may be worked on anew */
    known->is_kept = false;
    known->request = request;
    return 0;
}

void reply_end(struct reply *reply, int status, struct answers *answers)
{
    struct request *request = reply->request;

    reply->request = NULL;
    reply->session->n_working--;
    if (status != -ETIMEDOUT)
        reply->status = status;
    answers_add(answers, request, status);
    if (reply->number == 0) {
        reply_free(reply);
        return;
    }
    reply->is_kept = true;
    count_kept(reply->session, 0, reply_bytes(reply));
}

void session_free_replies(struct session *s)
{
    struct reply *reply;

    while ((reply = RB_ROOT(&s->replies)) != NULL)
        reply_free(reply);
}
