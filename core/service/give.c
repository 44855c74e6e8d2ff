/* Answers leave. */
#include "core/service/service_state.h"

/* How far the store has come, and what the queue is like after the request. */
static void fill_states(struct service *s)
{
    uint64_t position = s->options.store->ops->position(s->options.store);

    for (struct request *request = s->answers.first; request; request = request->next) {
        bool made = request->kind == REQUEST_MAKE && request->status == 0;
        uint64_t number = made ? request->out.make.entry.number : request->queue;
        struct queue *q = number > 0 ? service_find(s, number) : NULL;

        if (request->status == -EREMCHG)
            continue; /* both would be taken for another life's */
        request->position = position;
        if (!q || request->status == -EPERM || request->status == -EACCES)
            continue; /* it is not for them to know */
        queue_state(q, &request->state);
        if ((made || request->kind == REQUEST_SET) && request->status == 0)
            request->out.make.entry.state = request->state;
    }
}

void service_give(struct service *s)
{
    fill_states(s);
    answers_run(&s->answers);
    s->filled_bytes = 0;
}
