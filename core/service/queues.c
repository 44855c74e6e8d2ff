/* All queues of a service, by number and by name. */
#include "core/service/service_state.h"

#include <string.h>

static int queue_number_compare(const struct queue *a, const struct queue *b)
{
    return (a->record.number > b->record.number) - (a->record.number < b->record.number);
}

static int queue_name_compare(const struct queue *a, const struct queue *b)
{
    return strcmp(a->record.name, b->record.name);
}

RB_GENERATE(queue_by_number, queue, by_number, queue_number_compare)
RB_GENERATE(queue_by_name, queue, by_name, queue_name_compare)

struct queue *service_find(struct service *s, uint64_t number)
{
    struct queue wanted = {.record.number = number};

    return RB_FIND(queue_by_number, &s->by_number, &wanted);
}

struct queue *service_find_name(struct service *s, const char *name)
{
    struct queue wanted = {0};

    if (strlen(name) > QUEUE_NAME_MAX)
        return NULL;
    strcpy(wanted.record.name, name);
    return RB_FIND(queue_by_name, &s->by_name, &wanted);
}

void service_list_queue(struct service *s, struct queue *q)
{
    RB_INSERT(queue_by_number, &s->by_number, q);
    RB_INSERT(queue_by_name, &s->by_name, q);
    TAILQ_INSERT_TAIL(&s->listed, &q->listed, link);
    q->listed.revision = ++s->revision;
    if (s->last_number < q->record.number)
        s->last_number = q->record.number;
}
