#include "core/access.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool identity_same(const struct identity *a, const struct identity *b)
{
    return a->kind == b->kind && (a->kind != IDENTITY_USER || a->uid == b->uid) &&
           (a->kind != IDENTITY_CERTIFICATE || strcmp(a->cn, b->cn) == 0);
}

void identity_text(const struct identity *who, char text[IDENTITY_TEXT_MAX])
{
    switch (who->kind) {
    case IDENTITY_INSIDE:
        snprintf(text, IDENTITY_TEXT_MAX, "this program");
        break;
    case IDENTITY_ANYBODY:
        snprintf(text, IDENTITY_TEXT_MAX, "a peer without a name (tcp)");
        break;
    case IDENTITY_USER:
        snprintf(text, IDENTITY_TEXT_MAX, "user %" PRId64, who->uid);
        break;
    case IDENTITY_CERTIFICATE:
        snprintf(text, IDENTITY_TEXT_MAX, "certificate %s",
                 who->cn[0] ? who->cn : "without a name");
        break;
    }
}

/* The last `*` takes as little as will do, and more where the rest does not fit. */
bool access_fits(const char *pattern, const char *text)
{
    const char *star = NULL, *from = text;

    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            from = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool is_of(const struct access_rule *rule, const struct identity *who)
{
    if (rule->kind != who->kind)
        return false;
    if (who->kind == IDENTITY_USER)
        return who->uid >= 0 && rule->uid == who->uid;
    return who->cn[0] && access_fits(rule->cn, who->cn);
}

static bool is_for(const struct access_rule *rule, const char *queue)
{
    for (size_t i = 0; i < rule->n_queues; i++) {
        if (access_fits(rule->queues[i], queue))
            return true;
    }
    return false;
}

uint32_t access_of(const struct access *access, const struct identity *who, const char *queue)
{
    uint32_t may = 0;

    if (!access || who->kind == IDENTITY_INSIDE)
        return ACCESS_ALL;
    for (size_t i = 0; i < access->n_rules; i++) {
        if (is_of(&access->rules[i], who) && is_for(&access->rules[i], queue))
            may |= access->rules[i].may;
    }
    return may;
}

void access_fini(struct access *access)
{
    for (size_t i = 0; i < access->n_rules; i++) {
        struct access_rule *rule = &access->rules[i];

        while (rule->n_queues > 0)
            free(rule->queues[--rule->n_queues]);
        free(rule->queues);
        free(rule->cn);
    }
    free(access->rules);
    *access = (struct access){0};
}
