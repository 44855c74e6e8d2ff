#include "core/service/answers.h"

void answers_init(struct answers *answers)
{
    answers->first = NULL;
    answers->end = &answers->first;
}

void answers_add(struct answers *answers, struct request *request, int status)
{
    request->status = status;
    request->next = NULL;
    *answers->end = request;
    answers->end = &request->next;
}

void answers_append(struct answers *answers, const struct answers *others)
{
    if (!others->first)
        return;
    *answers->end = others->first;
    answers->end = others->end;
}

void answers_run(struct answers *answers)
{
    struct request *request = answers->first;

    answers_init(answers);
    while (request) {
        struct request *next = request->next;

        request->next = NULL;
        request->done(request);
        request = next;
    }
}
