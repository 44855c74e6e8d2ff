/* SYNCs and LISTs stand in a line of their session, and the sessions with such a line take turns:
 * so whoever asks for very much waits for himself. */
#include "core/service/session.h"

void session_look(struct session *s, struct request *look)
{
    if (!s->looks.first)
        TAILQ_INSERT_TAIL(&s->sessions->looking, s, look_link);
    answers_add(&s->looks, look, 0);
}

/* Out of the line of its session. */
static struct request *take(struct session *s, enum request_kind kind)
{
    struct request **at = &s->looks.first, *look;

    while (*at && kind != REQUEST_KINDS && (*at)->kind != kind)
        at = &(*at)->next;
    look = *at;
    if (!look)
        return NULL;
    *at = look->next;
    if (s->looks.end == &look->next)
        s->looks.end = at;
    return look;
}

bool sessions_has_look(const struct sessions *all, enum request_kind kind)
{
    const struct session *s;

    TAILQ_FOREACH (s, &all->looking, look_link) {
        const struct request *look = s->looks.first;

        while (look && kind != REQUEST_KINDS && look->kind != kind)
            look = look->next;
        if (look)
            return true;
    }
    return false;
}

struct request *sessions_next_look(struct sessions *all, enum request_kind kind)
{
    struct session *s;

    TAILQ_FOREACH (s, &all->looking, look_link) {
        struct request *look = take(s, kind);

        if (!look)
            continue;
        TAILQ_REMOVE(&all->looking, s, look_link);
        if (s->looks.first)
            TAILQ_INSERT_TAIL(&all->looking, s, look_link);
        return look;
    }
    return NULL;
}

void session_end_looks(struct session *s, int status, struct answers *answers)
{
    struct request *look;

    if (s->looks.first)
        TAILQ_REMOVE(&s->sessions->looking, s, look_link);
    while ((look = take(s, REQUEST_KINDS)) != NULL)
        answers_add(answers, look, status);
}
