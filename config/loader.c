/*
 * The settings file into a struct config: a walk over the tree, each key by its row of
 * options_table. `defaults:` is applied before `queues:`, wherever they stand in the file.
 */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/access_rules.h"
#include "config/options.h"
#include "config/settings_map.h"
#include "config/tree.h"
#include "config/unknown.h"

struct loader {
    const struct source *source;
    struct config *config;
    const struct node *queues; /* met on the way, loaded at the end */
};

static int section_load(struct loader *l, const char *section, const struct node *map);

static int unknown_option(const struct loader *l, const char *section, const struct node *node)
{
    struct unknown unknown;
    unknown_init(&unknown, node);
    for (const struct option *row = options_table; row->key; row++) {
        if (strcmp(row->section, section) == 0)
            unknown_offer(&unknown, row->key);
    }
    return unknown_fault(l->source, &unknown);
}

/* One text, checked, as the caller's own copy. */
static int text_take(const struct loader *l, const struct node *node, const struct option *row,
                     char **copy)
{
    if (node->kind != NODE_TEXT)
        return node_fault(l->source, node, "%s stands where text must; allowed: %s",
                          node_kind_name(node), row->allowed);
    const char *wrong = node->text[0] ? row->check(node->text) : "empty; text is allowed";
    if (wrong) {
        struct quoted quoted = fault_quote(node->text);
        return node_fault(l->source, node, "%s: %s", quoted.text, wrong);
    }
    *copy = strdup(node->text);
    return *copy ? 0 : -ENOMEM;
}

static int text_load(struct loader *l, const struct node *node, const struct option *row)
{
    if (node->kind == NODE_NULL)
        return 0;
    char *copy = NULL;
    int error = text_take(l, node, row, &copy);
    if (error)
        return error;
    char **text = option_text(row, l->config);
    free(*text);
    *text = copy;
    return 0;
}

/* Grows *count with each text, so that config_fini() finds what a fault leaves behind. */
static int list_fill(struct loader *l, const struct node *node, const struct option *row)
{
    char **texts = option_text(row, l->config);
    size_t *count = option_count(row, l->config);
    while (*count > 0)
        free(texts[--*count]);
    bool list = node->kind == NODE_LIST;
    for (const struct node *entry = list ? node->first : node; entry; entry = entry->next) {
        int error = text_take(l, entry, row, &texts[*count]);
        if (error)
            return error;
        ++*count;
        if (!list)
            break;
    }
    return 0;
}

static int list_load(struct loader *l, const struct node *node, const struct option *row)
{
    if (node->kind == NODE_NULL)
        return 0;
    if (node->kind == NODE_MAP)
        return node_fault(l->source, node, "a map stands here; allowed: %s", row->allowed);
    if (node->kind == NODE_LIST && node->n_children == 0)
        return node_fault(l->source, node, "an empty list; allowed: %s, or leave the key out",
                          row->allowed);
    if (node->kind == NODE_LIST && node->n_children > CONFIG_ADDRESSES_MAX)
        return node_fault(l->source, node, "%zu entries; at most %d are allowed", node->n_children,
                          CONFIG_ADDRESSES_MAX);
    return list_fill(l, node, row);
}

static int option_load(struct loader *l, const struct node *node, const struct option *row)
{
    switch (row->kind) {
    case OPTION_SECTION:
        return section_load(l, row->inside, node);
    case OPTION_VALUE:
        return value_load(l->source, node, &row->rule, option_value(row, l->config));
    case OPTION_TEXT:
        return text_load(l, node, row);
    case OPTION_LIST:
        return list_load(l, node, row);
    case OPTION_ACCESS:
        return access_rules_load(l->source, node, &l->config->access);
    case OPTION_DEFAULTS:
        return settings_map_load(l->source, node, &l->config->defaults, &l->config->defaults_given);
    case OPTION_QUEUES:
        l->queues = node;
        return 0;
    }
    return -EINVAL;
}

static int section_load(struct loader *l, const char *section, const struct node *map)
{
    if (map->kind == NODE_NULL)
        return 0;
    if (map->kind != NODE_MAP)
        return node_fault(l->source, map, "%s stands here; a map of `key: value` is allowed",
                          node_kind_name(map));
    for (const struct node *node = map->first; node; node = node->next) {
        const struct option *row = option_find(section, node->key);
        int error = row ? option_load(l, node, row) : unknown_option(l, section, node);
        if (error)
            return error;
    }
    return 0;
}

static int queue_load(const struct loader *l, const struct node *node, struct config_queue *queue)
{
    const struct config *config = l->config;
    if (!queue_name_may_be_made(node->key))
        return node_key_fault(l->source, node,
                              "not a name for a queue; 1 to 64 letters, digits, _ and -, the first "
                              "a letter or digit, and not stats, flush, config, metrics, help or "
                              "new, are allowed");
    memcpy(queue->name, node->key, strlen(node->key) + 1);
    queue->settings = config->defaults;
    int error = settings_map_load(l->source, node, &queue->settings, &queue->given);
    queue->given |= config->defaults_given;
    return error;
}

static int queues_load(const struct loader *l)
{
    const struct node *map = l->queues;
    if (!map || map->kind == NODE_NULL || (map->kind == NODE_MAP && map->n_children == 0))
        return 0;
    if (map->kind != NODE_MAP)
        return node_fault(l->source, map, "%s stands here; a map of queues by name is allowed",
                          node_kind_name(map));
    struct config *config = l->config;
    config->queues = calloc(map->n_children, sizeof *config->queues);
    if (!config->queues)
        return -ENOMEM;
    for (const struct node *node = map->first; node; node = node->next) {
        int error = queue_load(l, node, &config->queues[config->n_queues]);
        if (error)
            return error;
        config->n_queues++;
    }
    return 0;
}

int config_load_text(struct config *config, const char *name, const char *text, size_t len,
                     char **error)
{
    *error = NULL;
    struct source source = {name, error};
    struct loader loader = {.source = &source, .config = config};
    struct node *root = NULL;
    int result = tree_read(&source, text, len, &root);
    if (result)
        return result;
    result = section_load(&loader, "", root);
    if (result == 0)
        result = queues_load(&loader);
    tree_free(root);
    return result;
}

/* Reads to the end, as a pipe has no size. -EFBIG above the limit. */
static int read_all(int fd, char **text, size_t *len)
{
    char *buffer = malloc(TREE_TEXT_MAX + 1);
    if (!buffer)
        return -ENOMEM;
    size_t done = 0;
    ssize_t n = 1;
    while (n != 0 && done <= TREE_TEXT_MAX) {
        n = read(fd, buffer + done, TREE_TEXT_MAX + 1 - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    int error = n < 0 ? -errno : done > TREE_TEXT_MAX ? -EFBIG : 0;
    if (error) {
        free(buffer);
        return error;
    }
    *text = buffer;
    *len = done;
    return 0;
}

static int file_read(const char *path, char **text, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = read_all(fd, text, len);
    close(fd);
    return error;
}

int config_load(struct config *config, const char *path, char **error)
{
    *error = NULL;
    struct source source = {path, error};
    char *text = NULL;
    size_t len = 0;
    int result = file_read(path, &text, &len);
    if (result == -ENOMEM)
        return result;
    if (result)
        return fault_file(&source, -result,
                          result == -EFBIG ? "more than 1MiB of settings; at most 1MiB is allowed"
                                           : strerror(-result));
    result = config_load_text(config, path, text, len, error);
    free(text);
    if (result)
        return result;
    char *file = strdup(path);
    if (!file)
        return -ENOMEM;
    free(config->file);
    config->file = file;
    return 0;
}
