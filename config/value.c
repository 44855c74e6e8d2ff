/*
 * Values by their rule: one function per type in each direction.
 */
#include "config/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/fault.h"
#include "config/text.h"
#include "config/units.h"
#include "config/users.h"
#include "core/clock.h"

struct value_rule setting_rule(const struct setting *row)
{
    struct value_rule rule = {row->type, row->min, row->max, row->forever, row->choices};
    return rule;
}

static void number_print(const struct value_rule *rule, int64_t value, char text[UNIT_TEXT_MAX])
{
    if (rule->type == SETTING_SIZE)
        size_print(value, text);
    else if (rule->type == SETTING_TIME)
        time_print(value, text);
    else if (rule->type == SETTING_MODE)
        mode_print(value, text);
    else
        count_print(value, text);
}

static void choices_print(const char *const *choices, char allowed[VALUE_WHY_MAX])
{
    size_t len = 0;
    for (size_t i = 0; choices[i] && len < VALUE_WHY_MAX; i++) {
        const char *between = i == 0 ? "" : choices[i + 1] ? ", " : " or ";
        int n = snprintf(allowed + len, VALUE_WHY_MAX - len, "%s%s", between, choices[i]);
        len += (size_t)n;
    }
}

static void range_print(const struct value_rule *rule, char allowed[VALUE_WHY_MAX])
{
    char min[UNIT_TEXT_MAX], max[UNIT_TEXT_MAX];
    number_print(rule, rule->min, min);
    number_print(rule, rule->max, max);
    const char *forever = rule->forever ? ", or forever" : "";
    snprintf(allowed, VALUE_WHY_MAX, "%s to %s%s", min, max, forever);
}

void value_allowed(const struct value_rule *rule, char allowed[VALUE_WHY_MAX])
{
    switch (rule->type) {
    case SETTING_BOOL:
        snprintf(allowed, VALUE_WHY_MAX, "true or false");
        return;
    case SETTING_CHOICE:
        choices_print(rule->choices, allowed);
        return;
    case SETTING_USER:
        snprintf(allowed, VALUE_WHY_MAX, "a user of this machine or a number");
        return;
    case SETTING_GROUP:
        snprintf(allowed, VALUE_WHY_MAX, "a group of this machine or a number");
        return;
    case SETTING_COUNT:
    case SETTING_SIZE:
    case SETTING_TIME:
    case SETTING_MODE:
        range_print(rule, allowed);
        return;
    }
}

static const char *fault_text(const struct value_rule *rule, enum unit_fault fault)
{
    switch (fault) {
    case UNIT_TOO_LARGE:
        return "is out of range";
    case UNIT_MISSING:
        return "has no unit (" UNITS_OF_TIME ")";
    case UNIT_UNKNOWN:
        return rule->type == SETTING_TIME ? "has no unit of time (" UNITS_OF_TIME ")"
                                          : "has no unit of size (" UNITS_OF_SIZE ", or none)";
    case UNIT_NOT_A_NUMBER:
    case UNIT_OK:
        break;
    }
    switch (rule->type) {
    case SETTING_SIZE:
        return "is not a size (a whole number, then " UNITS_OF_SIZE " or none)";
    case SETTING_TIME:
        return "is not a time (a whole number, then " UNITS_OF_TIME ")";
    case SETTING_MODE:
        return "is not an octal number";
    default:
        return "is not a whole number";
    }
}

static int refuse(const struct value_rule *rule, const char *text, const char *wrong,
                  char why[VALUE_WHY_MAX])
{
    char allowed[VALUE_WHY_MAX];
    value_allowed(rule, allowed);
    struct quoted quoted = fault_quote(text);
    snprintf(why, VALUE_WHY_MAX, "%s %s; allowed: %.100s", quoted.text, wrong, allowed);
    return -EINVAL;
}

static enum unit_fault number_parse(const struct value_rule *rule, const char *text, int64_t *value)
{
    if (rule->type == SETTING_SIZE)
        return size_parse(text, value);
    if (rule->type == SETTING_TIME)
        return time_parse(text, value);
    if (rule->type == SETTING_MODE)
        return mode_parse(text, value);
    return count_parse(text, value);
}

static int parse_number(const struct value_rule *rule, const char *text, int64_t *value,
                        char why[VALUE_WHY_MAX])
{
    if (rule->forever && strcmp(text, "forever") == 0) {
        *value = TIME_FOREVER;
        return 0;
    }
    int64_t number = 0;
    enum unit_fault fault = number_parse(rule, text, &number);
    if (fault != UNIT_OK)
        return refuse(rule, text, fault_text(rule, fault), why);
    if (number < rule->min || number > rule->max)
        return refuse(rule, text, "is out of range", why);
    *value = number;
    return 0;
}

static int parse_bool(const struct value_rule *rule, const char *text, int64_t *value,
                      char why[VALUE_WHY_MAX])
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return refuse(rule, text, "is neither", why);
    *value = text[0] == 't';
    return 0;
}

static int parse_choice(const struct value_rule *rule, const char *text, int64_t *value,
                        char why[VALUE_WHY_MAX])
{
    for (size_t i = 0; rule->choices[i]; i++) {
        if (strcmp(rule->choices[i], text) == 0) {
            *value = (int64_t)i;
            return 0;
        }
    }
    return refuse(rule, text, "is none of them", why);
}

static int parse_who(const struct value_rule *rule, const char *text, int64_t *value,
                     char why[VALUE_WHY_MAX])
{
    if (text[0] != '\0' && text[strspn(text, "0123456789")] == '\0')
        return parse_number(rule, text, value, why);
    bool user = rule->type == SETTING_USER;
    int error = user ? user_find(text, value) : group_find(text, value);
    if (error == -ENOENT)
        return refuse(rule, text, user ? "is no user" : "is no group", why);
    return error;
}

/* 0; -EINVAL and `why` says what is wrong and what is allowed; -ENOMEM. */
static int value_parse(const struct value_rule *rule, const char *text, int64_t *value,
                       char why[VALUE_WHY_MAX])
{
    switch (rule->type) {
    case SETTING_BOOL:
        return parse_bool(rule, text, value, why);
    case SETTING_CHOICE:
        return parse_choice(rule, text, value, why);
    case SETTING_USER:
    case SETTING_GROUP:
        return parse_who(rule, text, value, why);
    case SETTING_COUNT:
    case SETTING_SIZE:
    case SETTING_TIME:
    case SETTING_MODE:
        break;
    }
    return parse_number(rule, text, value, why);
}

int value_load(const struct source *source, const struct node *node, const struct value_rule *rule,
               int64_t *value)
{
    char why[VALUE_WHY_MAX];
    if (node->kind != NODE_TEXT) {
        value_allowed(rule, why);
        return node_fault(source, node, "%s stands where a value must; allowed: %s",
                          node_kind_name(node), why);
    }
    int error = value_parse(rule, node->text, value, why);
    return error == -EINVAL ? node_fault(source, node, "%s", why) : error;
}

static bool who_print(const struct value_rule *rule, int64_t value, FILE *out)
{
    char *name = rule->type == SETTING_USER ? user_name(value) : group_name(value);
    if (!name)
        return false;
    text_print(name, out);
    free(name);
    return true;
}

void value_print(const struct value_rule *rule, int64_t value, bool names, FILE *out)
{
    bool who = rule->type == SETTING_USER || rule->type == SETTING_GROUP;
    if (who && names && who_print(rule, value, out))
        return;
    char text[UNIT_TEXT_MAX];
    number_print(rule, value, text);
    if (rule->type == SETTING_BOOL)
        fputs(value ? "true" : "false", out);
    else if (rule->type == SETTING_CHOICE)
        fputs(rule->choices[value], out);
    else
        fputs(text, out);
}
