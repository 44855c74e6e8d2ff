/* Sessions come with their first request and go when they have been silent for too long. */
#include "core/service/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/siphash.h"

static int session_compare(const struct session *a, const struct session *b)
{
    return memcmp(&a->id, &b->id, sizeof(a->id));
}

RB_GENERATE_INTERNAL(session_tree, session, by_id, session_compare, __attribute__((unused)) static)

void sessions_init(struct sessions *all, uint64_t service)
{
    *all = (struct sessions){.service = service, .watch_us = TIME_FOREVER};
    RB_INIT(&all->by_id);
    TAILQ_INIT(&all->all);
    TAILQ_INIT(&all->due);
}

struct session *sessions_find(struct sessions *all, const struct producer_id *id)
{
    struct session wanted = {.id = *id};

    return RB_FIND(session_tree, &all->by_id, &wanted);
}

static struct session *session_new(struct sessions *all, const struct producer_id *id)
{
    struct session *s;

    if (all->n >= SESSIONS_MAX)
        return NULL;
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->sessions = all;
    s->id = *id;
    s->service = all->service++;
    s->mount_us = -1;
    s->lessee.seal = siphash(&(struct siphash_key){0}, id, sizeof(*id));
    RB_INIT(&s->interests);
    TAILQ_INIT(&s->pending);
    RB_INIT(&s->replies);
    RB_INSERT(session_tree, &all->by_id, s);
    TAILQ_INSERT_TAIL(&all->all, s, link);
    all->n++;
    return s;
}

struct session *sessions_touch(struct sessions *all, const struct request *request, int64_t now_us)
{
    struct session *s = sessions_find(all, &request->session);

    if (!s)
        s = session_new(all, &request->session);
    if (!s)
        return NULL;
    TAILQ_REMOVE(&all->all, s, link);
    TAILQ_INSERT_TAIL(&all->all, s, link);
    s->last_us = now_us;
    if (request->kind == REQUEST_SYNC || request->kind == REQUEST_WATCH)
        s->mount_us = now_us;
    return s;
}

uint32_t sessions_count_mounts(const struct sessions *all, int64_t now_us)
{
    const struct session *s;
    uint32_t n = 0;

    TAILQ_FOREACH (s, &all->all, link)
        n += s->mount_us >= 0 && now_us - s->mount_us < SESSION_LIFE_US;
    return n;
}

struct session *sessions_expired(struct sessions *all, int64_t now_us)
{
    struct session *s;

    while ((s = TAILQ_FIRST(&all->all)) != NULL && now_us - s->last_us >= SESSION_LIFE_US) {
        if (s->n_working == 0)
            return s;
        s->last_us = now_us;
        TAILQ_REMOVE(&all->all, s, link);
        TAILQ_INSERT_TAIL(&all->all, s, link);
    }
    return NULL;
}

void session_free(struct sessions *all, struct session *s, int status, struct answers *answers)
{
    assert(s->lessee.n_leased == 0 && s->n_working == 0);
    if (s->watch) {
        s->watch->out.watch.service = s->service;
        s->watch->out.watch.sequence = s->sequence;
        answers_add(answers, s->watch, status);
    }
    if (s->due)
        TAILQ_REMOVE(&all->due, s, due_link);
    session_free_interests(s);
    session_free_replies(s);
    RB_REMOVE(session_tree, &all->by_id, s);
    TAILQ_REMOVE(&all->all, s, link);
    all->n--;
    free(s);
}

int64_t sessions_deadline(const struct sessions *all)
{
    const struct session *s = TAILQ_FIRST(&all->all);
    int64_t expiry_us = s ? time_after(s->last_us, SESSION_LIFE_US) : TIME_FOREVER;

    return time_min(expiry_us, all->watch_us);
}
