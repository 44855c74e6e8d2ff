/* Acknowledgement before commit, for a test that must see what it costs: see ack_early.h. */
#include "core/service/ack_early.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/service/service_state.h"

/* The batches lie in their requests, which are gone once they are answered. */
static bool own_staged(struct service *s)
{
    for (struct staged_put *put = s->staged; put; put = put->next) {
        if (put->owned)
            continue;
        put->owned = malloc(put->view.len);
        if (!put->owned)
            return false;
        memcpy(put->owned, put->view.data, put->view.len);
        put->view.data = put->owned;
    }
    return true;
}

void ack_early(struct service *s)
{
    const char *wanted = getenv("QUEUEFS_TEST_ACK_EARLY");
    long ms = wanted ? strtol(wanted, NULL, 10) : 0;
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    if (ms <= 0 || !own_staged(s))
        return;
    answers_run(&s->puts);
    nanosleep(&pause, NULL);
}
