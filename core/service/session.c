/* Sessions come with their first request and go when they have been silent for too long, or when
 * others want a place and they hold nothing. */
#include "core/service/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/refused.h"

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
    TAILQ_INIT(&all->looking);
    TAILQ_INIT(&all->ending);
}

struct session *sessions_find(struct sessions *all, const struct producer_id *id)
{
    struct session wanted = {.id = *id};

    return RB_FIND(session_tree, &all->by_id, &wanted);
}

/* ---- a place for a new one ---- */

/* Who was heard of in this round may wait for something that is not noted yet. */
static bool holds_nothing(const struct session *s, int64_t now_us)
{
    return s->last_us < now_us && LIST_EMPTY(&s->lessee.loans) && RB_EMPTY(&s->replies) &&
           RB_EMPTY(&s->interests) && s->n_working == 0 && !s->watch && !s->looks.first;
}

/* Looks on where the last search ended, so that it finds one however many hold something. */
static bool make_place(struct sessions *all, int64_t now_us, struct answers *answers)
{
    for (int i = 0; i < SESSIONS_LOOK; i++) {
        struct session *s = all->hand ? all->hand : TAILQ_FIRST(&all->all);

        all->hand = s ? TAILQ_NEXT(s, link) : NULL;
        if (s && holds_nothing(s, now_us)) {
            session_end(s, 0, answers);
            return true;
        }
    }
    return false;
}

static struct session *session_new(struct sessions *all, const struct producer_id *id,
                                   int64_t now_us, struct answers *answers)
{
    struct session *s;

    if (all->n >= SESSIONS_MAX && !make_place(all, now_us, answers)) {
        refused_add();
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->sessions = all;
    s->id = *id;
    s->service = all->service++;
    s->mount_us = -1;
    LIST_INIT(&s->lessee.loans);
    memcpy(&s->lessee.seal, id, sizeof(s->lessee.seal)); /* as random as the id */
    RB_INIT(&s->interests);
    TAILQ_INIT(&s->pending);
    RB_INIT(&s->replies);
    answers_init(&s->looks);
    RB_INSERT(session_tree, &all->by_id, s);
    TAILQ_INSERT_TAIL(&all->all, s, link);
    all->n++;
    return s;
}

/* To the end of those who were heard of. */
static void move_last(struct session *s, int64_t now_us)
{
    struct sessions *all = s->sessions;

    if (all->hand == s)
        all->hand = TAILQ_NEXT(s, link);
    TAILQ_REMOVE(&all->all, s, link);
    TAILQ_INSERT_TAIL(&all->all, s, link);
    s->last_us = now_us;
}

struct session *sessions_touch(struct sessions *all, const struct request *request, int64_t now_us,
                               struct answers *answers)
{
    struct session *s = sessions_find(all, &request->session);

    if (!s)
        s = session_new(all, &request->session, now_us, answers);
    if (!s)
        return NULL;
    move_last(s, now_us);
    if (request->kind == REQUEST_SYNC || request->kind == REQUEST_WATCH) {
        s->mount_us = now_us;
        all->counted = false;
    }
    return s;
}

/* ---- all of them ---- */

/* Once for all SYNCs that came together. */
uint32_t sessions_count_mounts(struct sessions *all, int64_t now_us)
{
    const struct session *s;

    if (all->counted)
        return all->n_mounts;
    all->n_mounts = 0;
    TAILQ_FOREACH (s, &all->all, link)
        all->n_mounts += s->mount_us >= 0 && now_us - s->mount_us < SESSION_LIFE_US;
    all->counted = true;
    return all->n_mounts;
}

struct session *sessions_expired(struct sessions *all, int64_t now_us)
{
    struct session *s;

    while ((s = TAILQ_FIRST(&all->all)) != NULL && now_us - s->last_us >= SESSION_LIFE_US) {
        if (s->n_working == 0)
            return s;
        move_last(s, now_us);
    }
    return NULL;
}

void session_end(struct session *s, int status, struct answers *answers)
{
    struct sessions *all = s->sessions;

    assert(s->n_working == 0);
    if (s->watch) {
        s->watch->out.watch.service = s->service;
        s->watch->out.watch.sequence = s->sequence;
        answers_add(answers, s->watch, status);
    }
    if (s->due)
        TAILQ_REMOVE(&all->due, s, due_link);
    session_end_looks(s, status, answers);
    session_free_interests(s);
    session_free_replies(s);
    RB_REMOVE(session_tree, &all->by_id, s);
    if (all->hand == s)
        all->hand = TAILQ_NEXT(s, link);
    TAILQ_REMOVE(&all->all, s, link);
    TAILQ_INSERT_TAIL(&all->ending, s, link);
    all->n--;
    all->counted = false;
}

bool sessions_reap(struct sessions *all)
{
    struct session *s = TAILQ_FIRST(&all->ending);

    if (!s)
        return false;
    if (!LIST_EMPTY(&s->lessee.loans)) {
        lessee_end_leases(&s->lessee);
        return true;
    }
    TAILQ_REMOVE(&all->ending, s, link);
    free(s);
    return true;
}

int64_t sessions_deadline(const struct sessions *all)
{
    const struct session *s = TAILQ_FIRST(&all->all);
    int64_t expiry_us = s ? time_after(s->last_us, SESSION_LIFE_US) : TIME_FOREVER;

    return time_min(expiry_us, all->watch_us);
}
