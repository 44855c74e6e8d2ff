/* One round of the service: see service_state.h. */
#include "core/service/service_state.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/clock.h"

/* ---- replies ---- */

static void start_purge(struct service *s, struct reply *reply)
{
    struct queue *q = service_find(s, reply->queue);

    if (!q) {
        service_finish(s, reply, -ENOENT);
        return;
    }
    reply->result.purge.below = q->record.next_batch;
    TAILQ_INSERT_TAIL(&s->purges, reply, link);
}

static int fill_purge(struct service *s, struct reply *reply)
{
    reply->request->out.purge.n_items = reply->result.purge.n_items;
    return 0;
}

/* As it is now, also where it is asked for again. */
static int fill_entry(struct service *s, struct reply *reply)
{
    struct queue_entry *entry = &reply->request->out.make.entry;
    struct queue *q = service_find(s, reply->result.made);

    if (!q)
        return -ENOENT;
    queue_entry(q, entry);
    entry->may = service_rights(s, reply->request, entry->name);
    return 0;
}

/* ---- those without a reply ---- */

static void take_look(struct service *s, struct session *session, struct request *request)
{
    session_look(session, request);
}

static void take_watch(struct service *s, struct session *session, struct request *request)
{
    session_watch(&s->sessions, session, request, s->shared.now_us, &s->answers);
}

static void take_arm(struct service *s, struct session *session, struct request *request)
{
    answers_add(&s->arms, request, 0);
}

/* ---- the kinds ---- */

/* What is done with a request: it is taken as it is, or it is given a reply, which is started and,
 * where that went well, filled in at the end of the round (0, or the status that it has instead).
 */
static const struct {
    void (*take)(struct service *s, struct session *session, struct request *request);
    void (*start)(struct service *s, struct reply *reply);
    int (*fill)(struct service *s, struct reply *reply);
} kinds[REQUEST_KINDS] = {
    [REQUEST_SYNC] = {.take = take_look},
    [REQUEST_WATCH] = {.take = take_watch},
    [REQUEST_ARM] = {.take = take_arm},
    [REQUEST_PUT] = {.take = service_put},
    [REQUEST_LIST] = {.take = take_look},
    [REQUEST_GET] = {.start = service_get, .fill = service_fill_get},
    [REQUEST_SETTLE] = {.start = service_settle, .fill = service_fill_settle},
    [REQUEST_MAKE] = {.start = service_make, .fill = fill_entry},
    [REQUEST_REMOVE] = {.start = service_remove},
    [REQUEST_SET] = {.start = service_set, .fill = fill_entry},
    [REQUEST_PURGE] = {.start = start_purge, .fill = fill_purge},
};

static_assert(REQUEST_KINDS == 11, "each kind has a row here");

static void take_replied(struct service *s, struct session *session, struct request *request)
{
    enum reply_news news;
    struct reply *reply;
    int rc = reply_begin(session, request, &s->answers, &news, &reply);

    if (rc < 0)
        answers_add(&s->answers, request, rc);
    else if (news == REPLY_NEW)
        kinds[reply->kind].start(s, reply);
    else if (news == REPLY_REPEATED && !service_get_again(s, reply))
        TAILQ_INSERT_TAIL(&s->finished, reply, link);
}

static void take(struct service *s, struct request *request)
{
    struct session *session;
    int rc;

    memset(&request->out, 0, sizeof(request->out));
    memset(&request->state, 0, sizeof(request->state));
    request->position = 0;
    /* First: it is another life's queue that it names. */
    rc = request->kind == REQUEST_SYNC || request->life == s->options.id ? 0 : -EREMCHG;
    if (rc == 0)
        rc = service_admit(s, request);
    if (rc < 0) {
        answers_add(&s->answers, request, rc);
        return;
    }
    session =
        s->failed ? NULL : sessions_touch(&s->sessions, request, s->shared.now_us, &s->answers);
    if (!session) {
        answers_add(&s->answers, request, s->failed ? -EIO : -ENOMEM);
        return;
    }
    service_bind(session, request);
    if (request->kind >= REQUEST_KINDS)
        answers_add(&s->answers, request, -EPROTO);
    else if (kinds[request->kind].take)
        kinds[request->kind].take(s, session, request);
    else
        take_replied(s, session, request);
}

/* ---- the round ---- */

/* Is a slice of a round over that began then? */
static bool slice_over(const struct service *s, int64_t began_us)
{
    return s->options.clock->mono_us(s->options.clock) - began_us >= SERVICE_SLICE_US;
}

static void end_sessions(struct service *s)
{
    int64_t began_us = s->options.clock->mono_us(s->options.clock);
    struct session *session;

    while ((session = sessions_expired(&s->sessions, s->shared.now_us)) != NULL) {
        session_end(session, 0, &s->answers);
        if (slice_over(s, began_us))
            break;
    }
    while (sessions_reap(&s->sessions) && !slice_over(s, began_us))
        continue;
}

static void tick(struct service *s)
{
    if (s->failed)
        return;
    queue_tick(&s->shared);
    damage_tell_rest(&s->shared, false);
    queues_call_again(&s->shared);
    end_sessions(s);
    service_end_holds(s, false, 0);
    if (s->sweep_us <= s->shared.now_us)
        service_sweep(s);
}

/* A piece of each purge. None while the store has no space, as each piece must be committed. */
static void purge(struct service *s)
{
    struct reply *reply, *next;

    for (reply = TAILQ_FIRST(&s->purges); reply && s->retry_us == TIME_FOREVER; reply = next) {
        struct queue *q = service_find(s, reply->queue);
        int rc = -ENOENT;

        next = TAILQ_NEXT(reply, link);
        if (q)
            rc = queue_purge(q, reply->result.purge.below, &reply->result.purge.n_items);
        if (rc == PURGE_MORE)
            continue;
        reply->status = q ? service_status(rc) : rc;
        TAILQ_REMOVE(&s->purges, reply, link);
        TAILQ_INSERT_TAIL(&s->waiting, reply, link);
    }
}

static int arm(struct service *s, struct request *request)
{
    struct session *session = sessions_find(&s->sessions, &request->session);
    struct queue *q = service_find(s, request->queue);
    uint32_t wanted = request->in.arm.kinds & (EVENT_READY | EVENT_ROOM);
    int rc;

    if (!q || !session)
        return -ENOENT;
    rc = queue_peek(q); /* batches that cannot be read are not ready */
    if (rc < 0)
        return service_status(rc);
    if (queue_has_ready(q))
        request->out.arm.kinds |= EVENT_READY & wanted;
    if (queue_has_room(q))
        request->out.arm.kinds |= EVENT_ROOM & wanted;
    return session_arm(session, q, wanted & ~request->out.arm.kinds);
}

static int list(struct service *s, struct request *request)
{
    struct queue *q = service_find(s, request->queue);

    if (!request_list_valid(request))
        return -EPROTO;
    return q ? service_status(queue_list(q, request)) : -ENOENT;
}

static void run_each(struct service *s, struct answers *list,
                     int (*run)(struct service *s, struct request *request))
{
    struct request *request = list->first, *next;

    answers_init(list);
    for (; request; request = next) {
        next = request->next;
        answers_add(&s->answers, request, run(s, request));
    }
}

/* ---- answers ---- */

/* The status. */
static int fill_reply(struct service *s, struct reply *reply)
{
    if (reply->status < 0 || !kinds[reply->kind].fill)
        return reply->status;
    return kinds[reply->kind].fill(s, reply);
}

static void end_replies(struct service *s, struct reply_list *list)
{
    struct reply *reply;

    while ((reply = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, reply, link);
        reply_end(reply, fill_reply(s, reply), &s->answers);
    }
}

static void fail(struct service *s)
{
    service_answer_all(s, -EIO);
    if (!s->fatal_told && s->options.fatal)
        s->options.fatal(s->options.fatal_arg, s->failed);
    s->fatal_told = true;
}

static void finish_round(struct service *s)
{
    service_run_streams(s);
    service_run_claims(s);
    run_each(s, &s->arms, arm);
    end_replies(s, &s->finished);
    service_publish(s);
    service_give(s);
    sessions_answer_watches(&s->sessions, s->shared.now_us, &s->answers);
}

/* The kind of looks that may be answered; REQUEST_KINDS: all. What is in memory is not always in
 * the store, and then nobody is shown items. */
static enum request_kind looks_now(const struct service *s)
{
    return s->retry_us == TIME_FOREVER ? REQUEST_KINDS : REQUEST_SYNC;
}

/* Each answer is given before the next one is made, as they are long. */
static void run_looks(struct service *s)
{
    int64_t began_us = s->options.clock->mono_us(s->options.clock);
    struct request *look;

    do {
        look = sessions_next_look(&s->sessions, looks_now(s));
        if (!look)
            return;
        answers_add(&s->answers, look,
                    look->kind == REQUEST_SYNC ? service_sync(s, look) : list(s, look));
        service_give(s);
    } while (!slice_over(s, began_us));
}

static struct request *take_inbox(struct service *s)
{
    struct request *first;

    pthread_mutex_lock(&s->lock);
    first = s->inbox.first;
    answers_init(&s->inbox);
    pthread_mutex_unlock(&s->lock);
    return first;
}

static void take_all(struct service *s, struct request *request)
{
    struct request *next;

    for (; request; request = next) {
        next = request->next;
        take(s, request);
    }
}

/* What the store has put off until the answers are given. */
static void catch_up(struct service *s)
{
    struct store *store = s->options.store;
    int rc = s->failed ? 0 : store->ops->catch_up(store);

    if (rc == 0)
        return;
    service_store_failed(s, rc);
    fail(s);
    answers_run(&s->answers);
}

void service_round(struct service *s)
{
    /* Before the clock is read: a lease must not begin before it was asked for. */
    struct request *request = take_inbox(s);

    s->shared.now_us = s->options.clock->mono_us(s->options.clock);
    s->shared.wall_us = s->options.clock->wall_us(s->options.clock);
    s->shared.ran_us = s->ran_before_us + (s->shared.now_us - s->started_us);
    s->space_known = false;
    tick(s);
    service_settle_on(s);
    take_all(s, request);
    purge(s);
    service_run_ready_streams(s);
    service_commit(s);
    take_all(s, service_late_gets(s));
    if (s->failed)
        fail(s);
    else
        finish_round(s);
    answers_run(&s->answers);
    catch_up(s);
    if (!s->failed)
        run_looks(s);
}

static bool looks_are_due(const struct service *s)
{
    return sessions_has_look(&s->sessions, looks_now(s));
}

int64_t service_deadline(const struct service *s)
{
    const struct sequence *seq;
    int64_t deadline_us = time_min(s->retry_us, s->sweep_us);

    if (s->failed)
        return TIME_FOREVER;
    if (!TAILQ_EMPTY(&s->settles) || !TAILQ_EMPTY(&s->sessions.ending) || looks_are_due(s))
        return s->shared.now_us;
    if (s->retry_us == TIME_FOREVER && (!TAILQ_EMPTY(&s->purges) || !TAILQ_EMPTY(&s->shared.dirty)))
        return s->shared.now_us;
    TAILQ_FOREACH (seq, &s->shared.holding, holding_link)
        deadline_us = time_min(deadline_us, seq->held_until_us);
    deadline_us = time_min(deadline_us, queue_deadline(&s->shared));
    deadline_us = time_min(deadline_us, queues_call_us(&s->shared));
    return time_min(deadline_us, sessions_deadline(&s->sessions));
}

/* ---- the end ---- */

static void end_all(struct service *s, struct reply_list *list, int status)
{
    struct reply *reply;

    TAILQ_FOREACH (reply, list, link)
        reply->status = status;
    end_replies(s, list);
}

static int refuse(struct service *s, struct request *request)
{
    return s->failed ? -EIO : -ESHUTDOWN;
}

void service_answer_all(struct service *s, int status)
{
    struct session *session;

    service_end_holds(s, true, status);
    service_drop_puts(s, status);
    end_all(s, &s->streams, status);
    end_all(s, &s->claims, status);
    end_all(s, &s->waiting, status);
    end_all(s, &s->purges, status);
    end_all(s, &s->settles, status);
    end_all(s, &s->finished, status);
    run_each(s, &s->arms, refuse);
    while ((session = TAILQ_FIRST(&s->sessions.all)) != NULL)
        session_end(session, status, &s->answers);
    /* Of a life that ends here: the leases are in memory only. */
    TAILQ_FOREACH (session, &s->sessions.ending, link)
        lessee_forget(&session->lessee);
    while (sessions_reap(&s->sessions))
        continue;
}
