/* What sessions wait for, and how they are told. */
#include "core/service/session.h"

#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/refused.h"

static int interest_compare(const struct interest *a, const struct interest *b)
{
    return (a->queue > b->queue) - (a->queue < b->queue);
}

RB_GENERATE_INTERNAL(interest_tree, interest, by_queue, interest_compare,
                     __attribute__((unused)) static)

/* NULL: out of memory, or it would wait for more than is left for all others. */
static struct interest *interest_get(struct session *s, uint64_t queue)
{
    struct interest wanted = {.queue = queue};
    struct interest *interest = RB_FIND(interest_tree, &s->interests, &wanted);

    if (interest)
        return interest;
    if (s->n_interests >= INTERESTS_MAX - s->sessions->n_interests) {
        refused_add();
        return NULL;
    }
    interest = calloc(1, sizeof(*interest));
    if (!interest)
        return NULL;
    interest->session = s;
    interest->queue = queue;
    RB_INSERT(interest_tree, &s->interests, interest);
    s->n_interests++;
    s->sessions->n_interests++;
    return interest;
}

static void interest_set_armed(struct interest *interest, struct queue *q, uint32_t armed)
{
    if (!interest->armed && armed)
        LIST_INSERT_HEAD(&q->armed, interest, armed_link);
    if (interest->armed && !armed)
        LIST_REMOVE(interest, armed_link);
    interest->armed = armed;
}

static void session_set_due(struct session *s, bool due)
{
    if (due && !s->due)
        TAILQ_INSERT_TAIL(&s->sessions->due, s, due_link);
    if (!due && s->due)
        TAILQ_REMOVE(&s->sessions->due, s, due_link);
    s->due = due;
}

static void interest_leave_line(struct interest *interest)
{
    if (interest->line)
        TAILQ_REMOVE(&interest->line->line, interest, line_link);
    interest->line = NULL;
}

/* Pending ones that no answer has told stand behind those that one has. */
static void interest_signal(struct interest *interest, uint32_t kinds)
{
    struct session *s = interest->session;

    if (interest->pending)
        TAILQ_REMOVE(&s->pending, interest, pending_link);
    TAILQ_INSERT_TAIL(&s->pending, interest, pending_link);
    interest->pending |= kinds;
    interest->carried = 0;
    session_set_due(s, s->watch != NULL);
}

static void interest_free(struct interest *interest)
{
    struct session *s = interest->session;

    interest_leave_line(interest);
    if (interest->armed)
        LIST_REMOVE(interest, armed_link);
    if (interest->pending)
        TAILQ_REMOVE(&s->pending, interest, pending_link);
    RB_REMOVE(interest_tree, &s->interests, interest);
    s->n_interests--;
    s->sessions->n_interests--;
    free(interest);
}

void session_free_interests(struct session *s)
{
    struct interest *interest;

    while ((interest = RB_ROOT(&s->interests)) != NULL)
        interest_free(interest);
}

int session_arm(struct session *s, struct queue *q, uint32_t kinds)
{
    struct interest *interest;

    if (kinds == 0)
        return 0;
    interest = interest_get(s, q->record.number);
    if (!interest)
        return -ENOMEM;
    interest_set_armed(interest, q, interest->armed | kinds);
    if (kinds & EVENT_READY)
        interest_leave_line(interest);
    return 0;
}

int session_stand_in_line(struct session *s, struct queue *q)
{
    struct interest *interest = interest_get(s, q->record.number);

    if (!interest)
        return -ENOMEM;
    if (interest->line || interest->armed & EVENT_READY)
        return 0;
    interest->line = q;
    TAILQ_INSERT_TAIL(&q->line, interest, line_link);
    return 0;
}

/* The first n learn that the queue has an item. */
static void call_line(struct queue *q, uint64_t n)
{
    struct interest *interest;

    for (; n > 0 && (interest = TAILQ_FIRST(&q->line)) != NULL; n--) {
        interest_leave_line(interest);
        interest_signal(interest, EVENT_READY);
    }
}

void queue_signal(struct queue *q, uint32_t kinds)
{
    struct interest *interest, *next;

    for (interest = LIST_FIRST(&q->armed); interest; interest = next) {
        uint32_t told = interest->armed & kinds;

        next = LIST_NEXT(interest, armed_link);
        if (!told)
            continue;
        interest_set_armed(interest, q, interest->armed & ~told);
        interest_signal(interest, told);
    }
}

void queue_disarm(struct queue *q)
{
    queue_signal(q, EVENT_READY | EVENT_ROOM);
    call_line(q, UINT64_MAX);
}

/* ---- the line for a queue's items ---- */

static void queue_call_later(struct queue *q, uint64_t n)
{
    if (q->calling)
        TAILQ_REMOVE(&q->shared->calling, q, calling_link);
    q->calling = n > 0;
    q->n_calls = n;
    if (!q->calling)
        return;
    q->call_us = time_after(q->shared->now_us, SESSION_CALL_US);
    TAILQ_INSERT_TAIL(&q->shared->calling, q, calling_link);
}

void queue_serve_line(struct queue *q)
{
    uint64_t n = TAILQ_EMPTY(&q->line) ? 0 : queue_n_ready(q);

    call_line(q, n);
    if (n == 0 || TAILQ_EMPTY(&q->line))
        queue_call_later(q, 0);
    else if (!q->calling)
        queue_call_later(q, n);
}

void queues_call_again(struct queue_shared *shared)
{
    struct queue *q;

    while ((q = TAILQ_FIRST(&shared->calling)) != NULL && q->call_us <= shared->now_us) {
        uint64_t n = q->n_calls;

        call_line(q, queue_has_ready(q) ? n : 0);
        queue_call_later(q, queue_has_ready(q) && !TAILQ_EMPTY(&q->line) ? 2 * n : 0);
    }
}

int64_t queues_call_us(const struct queue_shared *shared)
{
    const struct queue *q = TAILQ_FIRST(&shared->calling);

    return q ? q->call_us : TIME_FOREVER;
}

void sessions_signal_queues(struct sessions *all)
{
    struct session *s;

    TAILQ_FOREACH (s, &all->all, link) {
        struct interest *interest = s->watches ? interest_get(s, 0) : NULL;

        /* Out of memory: the SYNC of each second tells it a little later. */
        if (interest)
            interest_signal(interest, EVENT_QUEUES);
    }
}

/* ---- WATCH ---- */

static void forget_seen(struct session *s, uint64_t seen)
{
    struct interest *interest;

    while ((interest = TAILQ_FIRST(&s->pending)) != NULL && interest->carried > 0 &&
           interest->carried <= seen) {
        TAILQ_REMOVE(&s->pending, interest, pending_link);
        interest->pending = 0;
        interest->carried = 0;
        if (!interest->armed && !interest->line)
            interest_free(interest);
    }
}

static void watch_free(struct request *watch)
{
    free(watch->reply_memory);
}

/* At most REQUEST_EVENTS_MAX, the oldest first; the rest is for the next WATCH. */
static size_t list_events(struct session *s, struct event *events)
{
    struct interest *interest;
    size_t n = 0;

    TAILQ_FOREACH (interest, &s->pending, pending_link) {
        if (n == REQUEST_EVENTS_MAX)
            break;
        if (events) {
            events[n] = (struct event){interest->queue, interest->pending};
            interest->carried = s->sequence;
        }
        n++;
    }
    return n;
}

static void watch_end(struct session *s, bool events, struct answers *answers)
{
    struct request *watch = s->watch;
    size_t n = events ? list_events(s, NULL) : 0;
    struct event *list = n > 0 ? calloc(n, sizeof(*list)) : NULL;

    s->watch = NULL;
    session_set_due(s, false);
    if (list) {
        s->sequence++;
        list_events(s, list);
        watch->out.watch.events = list;
        watch->out.watch.n_events = n;
        watch->reply_memory = list;
        watch->reply_free = watch_free;
    }
    watch->out.watch.service = s->service;
    watch->out.watch.sequence = s->sequence;
    answers_add(answers, watch, n > 0 && !list ? -ENOMEM : 0);
}

void session_watch(struct sessions *all, struct session *s, struct request *watch, int64_t now_us,
                   struct answers *answers)
{
    int64_t wait_us = time_min(watch->in.watch.wait_us, SESSION_WATCH_US);

    if (s->watch)
        watch_end(s, false, answers);
    forget_seen(s, watch->in.watch.seen);
    if (s->sequence < watch->in.watch.seen)
        s->sequence = watch->in.watch.seen; /* of an earlier life: new events come after it */
    s->watches = true;
    s->watch = watch;
    s->watch_until_us = time_after(now_us, wait_us > 0 ? wait_us : 0);
    all->watch_us = time_min(all->watch_us, s->watch_until_us);
    session_set_due(s, !TAILQ_EMPTY(&s->pending));
}

void sessions_answer_watches(struct sessions *all, int64_t now_us, struct answers *answers)
{
    struct session *s;

    while ((s = TAILQ_FIRST(&all->due)) != NULL)
        watch_end(s, true, answers);
    if (all->watch_us > now_us)
        return;
    all->watch_us = TIME_FOREVER;
    TAILQ_FOREACH (s, &all->all, link) {
        if (s->watch && s->watch_until_us <= now_us)
            watch_end(s, true, answers);
        else if (s->watch)
            all->watch_us = time_min(all->watch_us, s->watch_until_us);
    }
}
