/*
 * Who may ask what. A session is its first asker's: of the user, on ipc, or of the certificate.
 * Whoever else asks in its name is refused, so that the number of a session, which stands in each
 * frame, is no key to what it holds. A mount that connects anew, from another port too, is still
 * the same; without TLS a TCP peer has no name, and any other is as good.
 *
 * What may be asked of a queue is for `access` to say, which holds as long as the service. Whoever
 * may do nothing with a queue is not told of it.
 *
 * A refused request is not the session's: it keeps nothing alive.
 */
#include "core/service/service_state.h"

#include "core/log.h"

static const struct identity inside = {.kind = IDENTITY_INSIDE};

static const struct identity *asker_of(const struct request *request)
{
    return request->asker ? request->asker : &inside;
}

/* ---- sessions ---- */

static int check_session(struct session *session, const struct identity *asker)
{
    char who[IDENTITY_TEXT_MAX], owner[IDENTITY_TEXT_MAX];

    if (!session || identity_same(&session->owner, asker))
        return 0;
    if (!session->warned) {
        identity_text(asker, who);
        identity_text(&session->owner, owner);
        log_warning("%s asks in the name of a mount of %s, and is refused", who, owner);
    }
    session->warned = true;
    return -EPERM;
}

/* ---- rights ---- */

uint32_t service_rights(const struct service *s, const struct request *request, const char *name)
{
    return access_of(s->options.access, asker_of(request), name);
}

/* The rights that it takes; 0: none. */
static uint32_t needed(const struct request *request)
{
    switch (request->kind) {
    case REQUEST_PUT:
        return ACCESS_PUT;
    case REQUEST_GET:
    case REQUEST_SETTLE:
    case REQUEST_LIST:
        return ACCESS_GET;
    case REQUEST_MAKE:
    case REQUEST_REMOVE:
    case REQUEST_SET:
    case REQUEST_PURGE:
        return ACCESS_MANAGE;
    case REQUEST_ARM:
        return (request->in.arm.kinds & EVENT_READY ? ACCESS_GET : 0) |
               (request->in.arm.kinds & EVENT_ROOM ? ACCESS_PUT : 0);
    case REQUEST_SYNC:
    case REQUEST_WATCH:
    case REQUEST_KINDS:
        break;
    }
    return 0;
}

static void deny(struct queue *q, struct session *session, const struct request *request)
{
    char who[IDENTITY_TEXT_MAX];

    if (q) {
        q->record.refused_by_access++;
        q->counters_dirty = true;
        queue_changed(q);
    }
    if (!session || session->denied)
        return;
    session->denied = true;
    identity_text(asker_of(request), who);
    log_warning(
        "%s asks of queue %s what `access` does not allow, and is refused: counted in stats "
        "as refused_by_access",
        who, q ? q->record.name : request->in.make.name);
}

static int check_rights(struct service *s, struct session *session, const struct request *request)
{
    const bool make = request->kind == REQUEST_MAKE;
    const uint32_t need = needed(request);
    struct queue *q;
    uint32_t may;

    if (need == 0)
        return 0;
    q = make ? service_find_name(s, request->in.make.name) : service_find(s, request->queue);
    if (!q && !make)
        return 0; /* there is none: -ENOENT */
    may = service_rights(s, request, q ? q->record.name : request->in.make.name);
    /* A mount that finds the queues of its settings file there makes none. */
    if ((may & need) == need || (q && make && may && request->in.make.may_exist))
        return 0;
    deny(q, session, request);
    return -EACCES;
}

int service_admit(struct service *s, const struct request *request)
{
    struct session *session;
    int rc;

    if (!request->asker)
        return 0;
    session = sessions_find(&s->sessions, &request->session);
    rc = check_session(session, request->asker);
    return rc == 0 && s->options.access ? check_rights(s, session, request) : rc;
}

void service_bind(struct session *session, const struct request *request)
{
    if (session->bound)
        return;
    session->bound = true;
    session->owner = *asker_of(request);
}
