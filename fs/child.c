/*
 * Names in a queue's directory. A name is a word and up to two arguments, each after an '@': how
 * many, then how long. Each argument has one spelling that is a count and one that is a time, so
 * they cannot be taken for each other; numbers have no leading zeros.
 */
#include "fs/child.h"

#include "core/clock.h"
#include "core/get/consumer.h"

#include <string.h>

#define WORD(kind, number, ops, mode, traits, name, help)   {name, NODE_##kind, help},
#define TRAITS(kind, number, ops, mode, traits, name, help) [NODE_##kind] = (traits),

static const struct child_word words[] = {NODES_NAMED(WORD)};
static const unsigned traits_of[NODE_KINDS] = {NODES(TRAITS)};

#define N_WORDS (sizeof(words) / sizeof(words[0]))

static const struct {
    const char *name;
    int64_t us;
} units[] = {
    {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000},
};

#define N_UNITS (sizeof(units) / sizeof(units[0]))

bool child_has(enum node_kind kind, enum node_trait trait)
{
    return traits_of[kind] & trait;
}

/* Digits at *text, at most `max`; *text then stands behind them. */
static bool parse_number(const char **text, uint64_t max, uint64_t *number)
{
    const char *at = *text;
    uint64_t n = 0;

    if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        n = n * 10 + (uint64_t)(*at - '0');
        if (n > max)
            return false;
    }
    *text = at;
    *number = n;
    return true;
}

/* "forever" or a number and a unit, up to the end of the text. */
static bool parse_timeout(const char *text, int64_t *timeout_us)
{
    uint64_t n;

    if (strcmp(text, "forever") == 0) {
        *timeout_us = TIME_FOREVER;
        return true;
    }
    if (!parse_number(&text, CHILD_TIMEOUT_MAX_US, &n))
        return false;
    for (size_t i = 0; i < N_UNITS; i++) {
        if (strcmp(text, units[i].name) != 0)
            continue;
        if (n > (uint64_t)(CHILD_TIMEOUT_MAX_US / units[i].us))
            return false;
        *timeout_us = (int64_t)n * units[i].us;
        return true;
    }
    return false;
}

/* "@N", "@T" or "@N@T"; `text` stands at the first '@'. */
static bool parse_arguments(const char *text, struct child *child)
{
    uint64_t n;
    const char *at = text + 1;

    if (child_has(child->kind, NODE_LIMIT) && parse_number(&at, CHILD_LIMIT_MAX, &n) &&
        (*at == '\0' || *at == '@')) {
        if (n == 0)
            return false;
        child->limit = n;
        text = at;
    }
    if (*text == '\0')
        return true;
    return parse_timeout(text + 1, &child->timeout_us);
}

bool child_parse(const char *name, struct child *child)
{
    size_t len = strcspn(name, "@");
    struct child found = {.timeout_us = -1};

    for (size_t i = 0; i < N_WORDS; i++) {
        if (strlen(words[i].name) != len || memcmp(words[i].name, name, len) != 0)
            continue;
        found.kind = words[i].kind;
        found.limit = child_usual_limit(found.kind);
        if (name[len] == '@' &&
            (!child_has(found.kind, NODE_TIMEOUT) || !parse_arguments(name + len, &found)))
            return false;
        *child = found;
        return true;
    }
    return false;
}

const struct child_word *child_word(unsigned i)
{
    return i < N_WORDS ? &words[i] : NULL;
}

bool child_takes(enum node_kind kind)
{
    return child_has(kind, NODE_TAKES);
}

bool child_gives_one(const struct child *child)
{
    return (child->kind == NODE_OUT || child->kind == NODE_NEXT) && child->limit == 1;
}

struct child child_of_item(uint64_t id)
{
    return (struct child){.kind = NODE_ITEM, .limit = id, .timeout_us = -1};
}

bool child_lists_items(enum node_kind kind)
{
    return child_has(kind, NODE_ITEMS);
}

uint64_t child_usual_limit(enum node_kind kind)
{
    return child_has(kind, NODE_ONE) ? 1 : READER_UNLIMITED;
}
