/*
 * Who may ask what. A session is its first asker's: of the user, on ipc, or of the certificate.
 * Whoever else asks in its name is refused, so that the number of a session, which stands in each
 * frame, is no key to what it holds. A mount that connects anew, from another port too, is still
 * the same; without TLS a TCP peer has no name, and any other is as good.
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

int service_admit(struct service *s, const struct request *request)
{
    const struct identity *asker = asker_of(request);
    struct session *session;
    char who[IDENTITY_TEXT_MAX], owner[IDENTITY_TEXT_MAX];

    session = sessions_find(&s->sessions, &request->session);
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

void service_bind(struct session *session, const struct request *request)
{
    if (session->bound)
        return;
    session->bound = true;
    session->owner = *asker_of(request);
}
