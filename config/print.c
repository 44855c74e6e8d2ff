/*
 * All effective settings as YAML: options_table row by row, sections indented, then a queue's
 * settings for `defaults:` and for each queue. Absent is printed as a comment: read back it is
 * absent again.
 */
#include "config/config.h"

#include <errno.h>
#include <string.h>

#include "config/access_rules.h"
#include "config/options.h"
#include "config/text.h"

#define INDENT 2

static void section_print(const struct config *config, const char *section, int indent, FILE *out);

/* The tables' accessors are for filling in; nothing is written through them here. */
static struct config *unconst(const struct config *config)
{
    return (struct config *)(uintptr_t)config;
}

static void key_print(int indent, const char *key, FILE *out)
{
    fprintf(out, "%*s%s:", indent, "", key);
}

static void absent_print(int indent, const char *key, FILE *out)
{
    fprintf(out, "%*s# %s: (absent)\n", indent, "", key);
}

static void texts_print(const struct config *config, const struct option *row, int indent,
                        FILE *out)
{
    char **texts = option_text(row, unconst(config));
    size_t n = row->kind == OPTION_LIST ? *option_count(row, unconst(config)) : texts[0] != NULL;
    if (n == 0) {
        absent_print(indent, row->key, out);
        return;
    }
    key_print(indent, row->key, out);
    for (size_t i = 0; i < n; i++) {
        if (row->kind == OPTION_LIST)
            fprintf(out, "\n%*s-", indent + INDENT, "");
        fputc(' ', out);
        text_print(texts[i], out);
    }
    fputc('\n', out);
}

/* Whoever makes a queue owns it, unless the file says who does. */
static bool has_value(const struct setting *row, uint64_t given)
{
    bool who = row->type == SETTING_USER || row->type == SETTING_GROUP;
    return !who || (given & setting_bit(row)) != 0;
}

static void settings_print(const struct all_settings *settings, uint64_t given, int indent,
                           FILE *out)
{
    struct all_settings copy = *settings;
    for (const struct setting *row = settings_table; row->key; row++) {
        if (!has_value(row, given)) {
            absent_print(indent, row->key, out);
            continue;
        }
        struct value_rule rule = setting_rule(row);
        key_print(indent, row->key, out);
        fputc(' ', out);
        value_print(&rule, *setting_value(row, &copy), true, out);
        fputc('\n', out);
    }
}

static void queues_print(const struct config *config, int indent, FILE *out)
{
    for (size_t i = 0; i < config->n_queues; i++) {
        const struct config_queue *queue = &config->queues[i];
        fprintf(out, "%*s", indent, "");
        text_print(queue->name, out);
        fputs(":\n", out);
        settings_print(&queue->settings, queue->given, indent + INDENT, out);
    }
}

static bool is_nobody(const struct config *config, const struct option *row)
{
    bool who = row->rule.type == SETTING_USER || row->rule.type == SETTING_GROUP;

    return row->kind == OPTION_VALUE && who && *option_value(row, unconst(config)) == CONFIG_NOBODY;
}

static void option_print(const struct config *config, const struct option *row, int indent,
                         FILE *out)
{
    if (row->kind == OPTION_TEXT || row->kind == OPTION_LIST) {
        texts_print(config, row, indent, out);
        return;
    }
    if (is_nobody(config, row) || (row->kind == OPTION_ACCESS && config->access.n_rules == 0)) {
        absent_print(indent, row->key, out);
        return;
    }
    key_print(indent, row->key, out);
    if (row->kind == OPTION_VALUE) {
        fputc(' ', out);
        value_print(&row->rule, *option_value(row, unconst(config)), true, out);
    }
    fputc('\n', out);
    if (row->kind == OPTION_SECTION)
        section_print(config, row->inside, indent + INDENT, out);
    else if (row->kind == OPTION_ACCESS)
        access_rules_print(&config->access, indent + INDENT, out);
    else if (row->kind == OPTION_DEFAULTS)
        settings_print(&config->defaults, config->defaults_given, indent + INDENT, out);
    else if (row->kind == OPTION_QUEUES)
        queues_print(config, indent + INDENT, out);
}

static void section_print(const struct config *config, const char *section, int indent, FILE *out)
{
    for (const struct option *row = options_table; row->key; row++) {
        if (strcmp(row->section, section) == 0)
            option_print(config, row, indent, out);
    }
}

int config_print(const struct config *config, FILE *out)
{
    section_print(config, "", 0, out);
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}
