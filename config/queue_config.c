/*
 * A queue's `config` file. What it shows is what it takes, so reading it, changing a line and
 * writing it back is how a queue's settings are edited.
 */
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>

#include "config/settings_map.h"
#include "config/tree.h"
#include "config/value.h"

static const char *const headings[] = {
    [SETTING_OWN] = "# Of the queue: kept by the service, the same for every mount.\n",
    [SETTING_MOUNT] = "# Of this mount: until it ends.\n",
};

static void row_print(const struct setting *row, struct all_settings *settings, FILE *out)
{
    struct value_rule rule = setting_rule(row);
    char allowed[VALUE_WHY_MAX];
    value_allowed(&rule, allowed);
    fprintf(out, "# %s (%s)\n%s: ", row->help, allowed, row->key);
    value_print(&rule, *setting_value(row, settings), false, out);
    fputc('\n', out);
}

static void whose_print(enum setting_whose whose, struct all_settings *settings, FILE *out)
{
    fputs(headings[whose], out);
    for (const struct setting *row = settings_table; row->key; row++) {
        if (row->whose == whose)
            row_print(row, settings, out);
    }
}

char *config_queue_print(const struct all_settings *settings)
{
    struct all_settings copy = *settings;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    whose_print(SETTING_OWN, &copy, out);
    whose_print(SETTING_MOUNT, &copy, out);
    int failed = ferror(out);
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

int config_queue_parse(const char *text, size_t len, struct all_settings *settings,
                       uint64_t *fields, char **error)
{
    *error = NULL;
    struct source source = {NULL, error};
    struct node *root = NULL;
    int result = tree_read(&source, text, len, &root);
    if (result)
        return result;
    result = settings_map_load(&source, root, settings, fields);
    tree_free(root);
    return result;
}
