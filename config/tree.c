/*
 * Builds the tree from libyaml's events. `open` is the stack of maps and lists that have begun; a
 * scalar in a map is in turn a key, which waits in the builder, and a value. A node hangs in the
 * tree from the moment it is made, so tree_free() of the root cleans up after any fault.
 */
#include "config/tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#define NODE_PATH_MAX 256

struct builder {
    const struct source *source;
    struct node *root;
    struct node *open[TREE_DEPTH_MAX];
    size_t depth;
    char *key; /* the key whose value comes next */
    struct place key_at;
    bool document_seen;
};

static struct place place_of(yaml_mark_t mark)
{
    struct place place = {mark.line + 1, mark.column + 1};
    return place;
}

void tree_free(struct node *root)
{
    if (!root)
        return;
    for (struct node *child = root->first; child;) {
        struct node *next = child->next;
        tree_free(child);
        child = next;
    }
    free(root->text);
    free(root->key);
    free(root);
}

/* "queues.jobs.lease"; entries of a list have their list's. Cut to the size. */
static void node_path(const struct node *node, char path[NODE_PATH_MAX])
{
    const struct node *keyed[TREE_DEPTH_MAX + 1];
    size_t n = 0;
    for (; node; node = node->parent) {
        if (node->key)
            keyed[n++] = node;
    }
    size_t len = 0;
    path[0] = '\0';
    while (n-- > 0 && len < NODE_PATH_MAX)
        len += (size_t)snprintf(path + len, NODE_PATH_MAX - len, "%s%.*s", len ? "." : "",
                                FAULT_QUOTED_MAX, keyed[n]->key);
}

static int fault_at(const struct source *source, const struct node *node, struct place at,
                    const char *format, va_list args)
{
    char wrong[2048];
    char path[NODE_PATH_MAX];
    vsnprintf(wrong, sizeof wrong, format, args);
    node_path(node, path);
    return fault(source, at, path[0] ? path : NULL, "%s", wrong);
}

int node_fault(const struct source *source, const struct node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int error = fault_at(source, node, node->at, format, args);
    va_end(args);
    return error;
}

int node_key_fault(const struct source *source, const struct node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int error = fault_at(source, node, node->key ? node->key_at : node->at, format, args);
    va_end(args);
    return error;
}

const struct node *node_child(const struct node *map, const char *key)
{
    for (const struct node *child = map->first; child; child = child->next) {
        if (child->key && strcmp(child->key, key) == 0)
            return child;
    }
    return NULL;
}

const char *node_kind_name(const struct node *node)
{
    static const char *const names[] = {[NODE_NULL] = "nothing",
                                        [NODE_TEXT] = "a value",
                                        [NODE_MAP] = "a map",
                                        [NODE_LIST] = "a list"};
    return names[node->kind];
}

/* ---- from events to nodes ---- */

static void hang(struct builder *b, struct node *node)
{
    struct node *parent = b->depth > 0 ? b->open[b->depth - 1] : NULL;
    node->parent = parent;
    node->key = b->key;
    node->key_at = b->key_at;
    b->key = NULL;
    if (!parent) {
        b->root = node;
        return;
    }
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->n_children++;
}

static struct node *node_add(struct builder *b, enum node_kind kind, yaml_mark_t mark)
{
    struct node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    node->kind = kind;
    node->at = place_of(mark);
    hang(b, node);
    return node;
}

static bool wants_key(const struct builder *b)
{
    return b->depth > 0 && b->open[b->depth - 1]->kind == NODE_MAP && !b->key;
}

static bool is_null(const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static int refuse(struct builder *b, const yaml_event_t *event, const char *wrong)
{
    return fault(b->source, place_of(event->start_mark), b->key, "%s", wrong);
}

static int add_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    if (event->data.scalar.anchor)
        return refuse(b, event, "an anchor; values written out are allowed");
    if (event->data.scalar.tag)
        return refuse(b, event, "a tag; values without tags are allowed");
    if (strlen(text) != event->data.scalar.length)
        return refuse(b, event, "a NUL byte; text without NUL bytes is allowed");
    if (wants_key(b)) {
        b->key_at = place_of(event->start_mark);
        b->key = strdup(text);
        return b->key ? 0 : -ENOMEM;
    }
    struct node *node = node_add(b, is_null(event) ? NODE_NULL : NODE_TEXT, event->start_mark);
    if (!node)
        return -ENOMEM;
    if (node->kind == NODE_NULL)
        return 0;
    node->text = strdup(text);
    return node->text ? 0 : -ENOMEM;
}

static int open_node(struct builder *b, const yaml_event_t *event, enum node_kind kind)
{
    bool map = kind == NODE_MAP;
    if (map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor)
        return refuse(b, event, "an anchor; values written out are allowed");
    if (map ? event->data.mapping_start.tag : event->data.sequence_start.tag)
        return refuse(b, event, "a tag; values without tags are allowed");
    if (wants_key(b))
        return refuse(b, event, "a key that is a map or a list; keys of plain text are allowed");
    if (b->depth == TREE_DEPTH_MAX)
        return refuse(b, event, "nested too deeply; at most 8 levels are allowed");
    struct node *node = node_add(b, kind, event->start_mark);
    if (!node)
        return -ENOMEM;
    b->open[b->depth++] = node;
    return 0;
}

static int by_key_and_place(const void *a, const void *b)
{
    const struct node *x = *(const struct node *const *)a, *y = *(const struct node *const *)b;
    int order = strcmp(x->key, y->key);
    if (order != 0)
        return order;
    if (x->key_at.line != y->key_at.line)
        return x->key_at.line < y->key_at.line ? -1 : 1;
    return x->key_at.column < y->key_at.column ? -1 : x->key_at.column > y->key_at.column;
}

static bool earlier(const struct node *a, const struct node *b)
{
    return a->key_at.line < b->key_at.line ||
           (a->key_at.line == b->key_at.line && a->key_at.column < b->key_at.column);
}

/* Sorted, as a map may have a hundred thousand keys. */
static int check_duplicates(struct builder *b, const struct node *map)
{
    if (map->n_children < 2)
        return 0;
    const struct node **sorted = malloc(map->n_children * sizeof *sorted);
    if (!sorted)
        return -ENOMEM;
    size_t n = 0;
    for (const struct node *child = map->first; child; child = child->next)
        sorted[n++] = child;
    qsort(sorted, n, sizeof *sorted, by_key_and_place);

    const struct node *first = NULL, *again = NULL;
    for (size_t i = 1; i < n; i++) {
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) != 0)
            continue;
        if (again && !earlier(sorted[i], again))
            continue;
        first = sorted[i - 1];
        again = sorted[i];
    }
    free(sorted);
    if (!again)
        return 0;
    return node_key_fault(b->source, again, "given twice, first in line %zu; once is allowed",
                          first->key_at.line);
}

static int close_node(struct builder *b)
{
    const struct node *node = b->open[--b->depth];
    return node->kind == NODE_MAP ? check_duplicates(b, node) : 0;
}

static int take_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->document_seen)
            return refuse(b, event, "a second document; one is allowed");
        b->document_seen = true;
        return 0;
    case YAML_ALIAS_EVENT:
        return refuse(b, event, "an alias; values written out are allowed");
    case YAML_SCALAR_EVENT:
        return add_scalar(b, event);
    case YAML_MAPPING_START_EVENT:
        return open_node(b, event, NODE_MAP);
    case YAML_SEQUENCE_START_EVENT:
        return open_node(b, event, NODE_LIST);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return close_node(b);
    default:
        return 0;
    }
}

/* ---- faults of the text itself ---- */

/* libyaml's reader says only which byte; columns count characters. */
static struct place place_of_byte(const char *text, size_t len, size_t offset)
{
    struct place place = {1, 1};
    for (size_t i = 0; i < offset && i < len; i++) {
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            place.column++;
        }
    }
    return place;
}

static int syntax_fault(const struct builder *b, const yaml_parser_t *parser, const char *text,
                        size_t len)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return -ENOMEM;
    const char *problem = parser->problem ? parser->problem : "unreadable";
    if (parser->error == YAML_READER_ERROR)
        return fault(b->source, place_of_byte(text, len, parser->problem_offset), NULL,
                     "not YAML: %s; text in UTF-8 is allowed", problem);
    struct place at = place_of(parser->problem_mark);
    if (!parser->context)
        return fault(b->source, at, NULL, "not YAML: %s; `key: value` lines are allowed", problem);
    return fault(b->source, at, NULL,
                 "not YAML: %s %s that began in line %zu; `key: value` lines indented by spaces "
                 "are allowed",
                 problem, parser->context, parser->context_mark.line + 1);
}

static int build(struct builder *b, yaml_parser_t *parser, const char *text, size_t len)
{
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return syntax_fault(b, parser, text, len);
        end = event.type == YAML_STREAM_END_EVENT;
        int error = take_event(b, &event);
        yaml_event_delete(&event);
        if (error)
            return error;
    }
    yaml_mark_t start = {0, 0, 0};
    if (!b->root && !node_add(b, NODE_NULL, start))
        return -ENOMEM;
    return 0;
}

int tree_read(const struct source *source, const char *text, size_t len, struct node **root)
{
    struct place start = {1, 1};
    if (len > TREE_TEXT_MAX)
        return fault(source, start, NULL, "more than 1MiB of text; at most 1MiB is allowed");
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);

    struct builder builder = {.source = source};
    int error = build(&builder, &parser, text, len);
    yaml_parser_delete(&parser);
    free(builder.key);
    if (error)
        tree_free(builder.root);
    else
        *root = builder.root;
    return error;
}
