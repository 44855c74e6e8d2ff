#include "config/access_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/text.h"
#include "config/unknown.h"
#include "config/value.h"
#include "core/name.h"

#define UID_MAX INT64_C(4294967294) /* the last one says 'leave it' */

/* In the order of their bits. */
static const char *const rights[] = {"put", "get", "manage"};
static const char *const keys[] = {"cn", "uid", "queues", "may"};
enum { N_RIGHTS = 3, N_KEYS = 4 };

/* ---- reading ---- */

/* Tells `each` the texts of a list, or the one that stands in its place. */
static int each_text(const struct source *source, const struct node *node, const char *what,
                     int (*each)(const struct source *source, const struct node *text,
                                 struct access_rule *rule),
                     struct access_rule *rule)
{
    const bool list = node->kind == NODE_LIST;
    int rc = 0;

    if ((!list && node->kind != NODE_TEXT) || (list && node->n_children == 0))
        return node_fault(source, node, "%s stands here; a list of %s is allowed",
                          list ? "an empty list" : node_kind_name(node), what);
    for (const struct node *text = list ? node->first : node; text && rc == 0;
         text = list ? text->next : NULL) {
        if (text->kind != NODE_TEXT)
            return node_fault(source, text, "%s stands where one of %s must", node_kind_name(text),
                              what);
        rc = each(source, text, rule);
    }
    return rc;
}

static int right_load(const struct source *source, const struct node *text,
                      struct access_rule *rule)
{
    const struct quoted quoted = fault_quote(text->text);

    for (size_t i = 0; i < N_RIGHTS; i++) {
        if (strcmp(text->text, rights[i]) == 0) {
            rule->may |= UINT32_C(1) << i;
            return 0;
        }
    }
    return node_fault(source, text, "%s is no right; allowed: put, get, manage", quoted.text);
}

static bool is_queue_pattern(const char *text)
{
    for (const char *c = text; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');

        if (!letter && !(*c >= '0' && *c <= '9') && *c != '_' && *c != '-' && *c != '*')
            return false;
    }
    return *text && strlen(text) <= QUEUE_NAME_MAX;
}

static int queue_load(const struct source *source, const struct node *text,
                      struct access_rule *rule)
{
    const struct quoted quoted = fault_quote(text->text);

    if (!is_queue_pattern(text->text))
        return node_fault(source, text,
                          "%s fits no queue; names of queues are allowed, with * for "
                          "any text",
                          quoted.text);
    if (rule->n_queues == ACCESS_QUEUES_MAX)
        return node_fault(source, text, "more than %d; write another rule", ACCESS_QUEUES_MAX);
    if (!rule->queues)
        rule->queues = calloc(ACCESS_QUEUES_MAX, sizeof(*rule->queues));
    if (!rule->queues)
        return -ENOMEM;
    rule->queues[rule->n_queues] = strdup(text->text);
    if (!rule->queues[rule->n_queues])
        return -ENOMEM;
    rule->n_queues++;
    return 0;
}

static int cn_load(const struct source *source, const struct node *node, struct access_rule *rule)
{
    if (node->kind != NODE_TEXT || !node->text[0] || strlen(node->text) > IDENTITY_CN_MAX)
        return node_fault(source, node,
                          "the common name of a certificate is allowed, with * for any text, of at "
                          "most %d bytes",
                          IDENTITY_CN_MAX);
    rule->kind = IDENTITY_CERTIFICATE;
    rule->cn = strdup(node->text);
    return rule->cn ? 0 : -ENOMEM;
}

static int uid_load(const struct source *source, const struct node *node, struct access_rule *rule)
{
    const struct value_rule user = {SETTING_USER, 0, UID_MAX, false, NULL};

    rule->kind = IDENTITY_USER;
    return value_load(source, node, &user, &rule->uid);
}

static int key_load(const struct source *source, const struct node *node, struct access_rule *rule)
{
    struct unknown unknown;

    if (strcmp(node->key, "cn") == 0)
        return cn_load(source, node, rule);
    if (strcmp(node->key, "uid") == 0)
        return uid_load(source, node, rule);
    if (strcmp(node->key, "queues") == 0)
        return each_text(source, node, "names of queues", queue_load, rule);
    if (strcmp(node->key, "may") == 0)
        return each_text(source, node, "put, get, manage", right_load, rule);
    unknown_init(&unknown, node);
    for (size_t i = 0; i < N_KEYS; i++)
        unknown_offer(&unknown, keys[i]);
    return unknown_fault(source, &unknown);
}

static int rule_load(const struct source *source, const struct node *map, struct access_rule *rule)
{
    int rc = 0;

    if (map->kind != NODE_MAP)
        return node_fault(source, map,
                          "%s stands here; a map {cn: or uid:, queues:, may:} is "
                          "allowed",
                          node_kind_name(map));
    for (const struct node *node = map->first; node && rc == 0; node = node->next)
        rc = key_load(source, node, rule);
    if (rc < 0)
        return rc;
    if (!node_child(map, "cn") == !node_child(map, "uid"))
        return node_fault(source, map,
                          "a rule is for a cn (of a certificate) or for a uid (on "
                          "ipc), one of the two");
    if (!node_child(map, "queues") || !node_child(map, "may"))
        return node_fault(source, map, "a rule needs queues: [names] and may: [put, get, manage]");
    return 0;
}

int access_rules_load(const struct source *source, const struct node *list, struct access *access)
{
    if (list->kind == NODE_NULL)
        return 0;
    if (list->kind != NODE_LIST || list->n_children == 0)
        return node_fault(source, list,
                          "%s stands here; a list of rules {cn: or uid:, queues:, "
                          "may:} is allowed, or leave the key out",
                          list->kind == NODE_LIST ? "an empty list" : node_kind_name(list));
    if (list->n_children > ACCESS_RULES_MAX)
        return node_fault(source, list, "%zu rules; at most %d are allowed", list->n_children,
                          ACCESS_RULES_MAX);
    access->rules = calloc(list->n_children, sizeof(*access->rules));
    if (!access->rules)
        return -ENOMEM;
    for (const struct node *node = list->first; node; node = node->next) {
        int rc = rule_load(source, node, &access->rules[access->n_rules++]);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- printing and comparing ---- */

static void rule_print(const struct access_rule *rule, FILE *out)
{
    const struct value_rule user = {SETTING_USER, 0, UID_MAX, false, NULL};
    const char *between = "";

    fputs(rule->kind == IDENTITY_USER ? "{uid: " : "{cn: ", out);
    if (rule->kind == IDENTITY_USER)
        value_print(&user, rule->uid, true, out);
    else
        text_print(rule->cn, out);
    fputs(", queues: [", out);
    for (size_t i = 0; i < rule->n_queues; i++, between = ", ") {
        fputs(between, out);
        text_print(rule->queues[i], out);
    }
    fputs("], may: [", out);
    between = "";
    for (size_t i = 0; i < N_RIGHTS; i++) {
        if (!(rule->may >> i & 1))
            continue;
        fprintf(out, "%s%s", between, rights[i]);
        between = ", ";
    }
    fputs("]}\n", out);
}

void access_rules_print(const struct access *access, int indent, FILE *out)
{
    for (size_t i = 0; i < access->n_rules; i++) {
        fprintf(out, "%*s- ", indent, "");
        rule_print(&access->rules[i], out);
    }
}

static bool same_rule(const struct access_rule *a, const struct access_rule *b)
{
    if (a->kind != b->kind || a->may != b->may || a->uid != b->uid || a->n_queues != b->n_queues ||
        strcmp(a->cn ? a->cn : "", b->cn ? b->cn : "") != 0)
        return false;
    for (size_t i = 0; i < a->n_queues; i++) {
        if (strcmp(a->queues[i], b->queues[i]) != 0)
            return false;
    }
    return true;
}

bool access_rules_same(const struct access *one, const struct access *other)
{
    if (one->n_rules != other->n_rules)
        return false;
    for (size_t i = 0; i < one->n_rules; i++) {
        if (!same_rule(&one->rules[i], &other->rules[i]))
            return false;
    }
    return true;
}
