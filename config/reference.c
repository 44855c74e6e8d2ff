/*
 * The reference of all keys for the man pages, in roff: a heading a section, a .TP entry a key
 * with what is allowed, the default and the meaning, straight from the two tables.
 */
#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "config/options.h"

/* roff takes a bare - for a hyphen, \ for an escape, and . or ' at a line's head for a request. */
static void roff_print(const char *text, FILE *out)
{
    if (text[0] == '.' || text[0] == '\'')
        fputs("\\&", out);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
    }
}

static void heading_print(const char *text, FILE *out)
{
    fputs(".SS ", out);
    roff_print(text, out);
    fputc('\n', out);
}

static void entry_print(const char *key, const char *allowed, const char *help, FILE *out)
{
    fputs(".TP\n.BR ", out);
    roff_print(key, out);
    fputs(" :\n", out);
    fputc(toupper((unsigned char)help[0]), out);
    roff_print(help + 1, out);
    fputs(".\nAllowed: ", out);
    roff_print(allowed, out);
    fputs(".\n", out);
}

static void default_print(const char *text, FILE *out)
{
    fputs("Default: ", out);
    roff_print(text, out);
    fputs(".\n", out);
}

static void value_default_print(const struct value_rule *rule, int64_t fallback, FILE *out)
{
    bool who = rule->type == SETTING_USER || rule->type == SETTING_GROUP;
    fputs("Default: ", out);
    if (who && fallback == CONFIG_NOBODY)
        fputs("absent", out);
    else if (who)
        fputs("of whoever makes the queue", out);
    else
        value_print(rule, fallback, false, out);
    fputs(".\n", out);
}

static void value_entry_print(const char *key, const struct value_rule *rule, int64_t fallback,
                              const char *help, FILE *out)
{
    char allowed[VALUE_WHY_MAX];
    value_allowed(rule, allowed);
    entry_print(key, allowed, help, out);
    value_default_print(rule, fallback, out);
}

static void option_entry_print(const struct option *row, FILE *out)
{
    char key[128];
    const char *section = row->section;
    snprintf(key, sizeof key, "%s%s%s", section, section[0] ? "." : "", row->key);
    if (row->kind == OPTION_VALUE) {
        value_entry_print(key, &row->rule, row->fallback, row->help, out);
        return;
    }
    bool text = row->kind == OPTION_TEXT || row->kind == OPTION_LIST || row->kind == OPTION_ACCESS;
    entry_print(key, text ? row->allowed : "a map", row->help, out);
    if (text)
        default_print(row->fallback_text ? row->fallback_text : "absent", out);
}

static void settings_entries_print(enum setting_whose whose, FILE *out)
{
    for (const struct setting *row = settings_table; row->key; row++) {
        struct value_rule rule = setting_rule(row);
        if (row->whose == whose)
            value_entry_print(row->key, &rule, row->fallback, row->help, out);
    }
}

int config_print_reference(FILE *out)
{
    heading_print("Settings of the program", out);
    for (const struct option *row = options_table; row->key; row++)
        option_entry_print(row, out);
    heading_print("Settings of a queue, kept by the service, the same for every mount", out);
    settings_entries_print(SETTING_OWN, out);
    heading_print("Settings of a queue in one mount", out);
    settings_entries_print(SETTING_MOUNT, out);
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}
