/* A list of requests that a round of the service has answered. The service's thread. */
#ifndef QUEUEFS_CORE_SERVICE_ANSWERS_H
#define QUEUEFS_CORE_SERVICE_ANSWERS_H

#include "core/request.h"

/* Requests that are answered: done() is called when the round is over, with no lock held. */
struct answers {
    struct request *first, **end;
};

void answers_init(struct answers *answers);
void answers_add(struct answers *answers, struct request *request, int status);
/* `others` must be initialised before it is used again. */
void answers_append(struct answers *answers, const struct answers *others);
void answers_run(struct answers *answers); /* leaves it empty */

#endif
