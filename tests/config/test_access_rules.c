#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static const char GOOD[] = "access:\n"
                           "  - {cn: batch-*, queues: [jobs, img-*], may: [put]}\n"
                           "  - {cn: \"A, Inc\", queues: \"*\", may: manage}\n"
                           "  - uid: 0\n"
                           "    queues: [logs]\n"
                           "    may: [manage, get]\n";

static void load(struct config *config, const char *text)
{
    char *error = NULL;
    cr_assert_eq(config_init(config), 0);
    cr_assert_eq(config_load_text(config, "f", text, strlen(text), &error), 0, "%s", error);
}

static void check(const struct access *access)
{
    const struct access_rule *rule = access->rules;
    cr_assert_eq(access->n_rules, 3);
    cr_assert_eq(rule[0].kind, IDENTITY_CERTIFICATE);
    cr_assert_str_eq(rule[0].cn, "batch-*");
    cr_assert_eq(rule[0].n_queues, 2);
    cr_assert_str_eq(rule[0].queues[1], "img-*");
    cr_assert_eq(rule[0].may, ACCESS_PUT);
    cr_assert_str_eq(rule[1].cn, "A, Inc");
    cr_assert_str_eq(rule[1].queues[0], "*");
    cr_assert_eq(rule[1].may, ACCESS_MANAGE);
    cr_assert_eq(rule[2].kind, IDENTITY_USER);
    cr_assert_eq(rule[2].uid, 0);
    cr_assert_eq(rule[2].may, ACCESS_GET | ACCESS_MANAGE);
}

static void note(void *arg, const char *key)
{
    strcat(strcat(arg, key), " ");
}

Test(access_rules, are_read_printed_and_read_again, .timeout = 5)
{
    struct config config, again;
    char *text = NULL, differs[100] = "";
    size_t len;
    FILE *out = open_memstream(&text, &len);
    load(&config, GOOD);
    check(&config.access);
    cr_assert_eq(config_print(&config, out), 0);
    fclose(out);
    load(&again, text);
    check(&again.access);
    config_compare(&config, &again, note, differs);
    cr_assert_null(strstr(differs, "access"));
    differs[0] = '\0';
    again.access.rules[2].may = ACCESS_GET;
    config_compare(&config, &again, note, differs);
    cr_assert_not_null(strstr(differs, "access "));
    config_fini(&config);
    config_fini(&again);
    free(text);
}

Test(access_rules, faults_are_named_with_what_is_allowed, .timeout = 5)
{
    static const struct {
        const char *text, *place, *words;
    } wrong[] = {
        {"access: []\n", "f:1:9: access:", "leave the key out"},
        {"access: all\n", "f:1:9: access:", "a list of rules"},
        {"access:\n  - all\n", "f:2:5: access", "a map"},
        {"access:\n  - {cn: a, queues: [q]}\n", "f:2:5: access", "may: [put, get, manage]"},
        {"access:\n  - {cn: a, may: [put]}\n", "f:2:5: access", "queues: [names]"},
        {"access:\n  - {queues: [q], may: [put]}\n", "f:2:5: access", "one of the two"},
        {"access:\n  - {cn: a, uid: 0, queues: [q], may: [put]}\n", "f:2:5: access", "one of the"},
        {"access:\n  - {cn: a, queues: [q], may: [puts]}\n", "f:2:32: access", "put, get, manage"},
        {"access:\n  - {cn: a, queues: [q], may: []}\n", "f:2:31: access", "an empty list"},
        {"access:\n  - {cn: a, queues: [a.b], may: [put]}\n", "f:2:22: access", "fits no queue"},
        {"access:\n  - {cn: a, queues: {}, may: [put]}\n", "f:2:21: access", "names of queues"},
        {"access:\n  - {cn: a, queue: [q], may: [put]}\n", "f:2:13: access", "cn, uid, queues"},
        {"access:\n  - {cn: \"\", queues: [q], may: [put]}\n", "f:2:10: access", "common name"},
        {"access:\n  - {uid: no-such-user-here, queues: [q], may: [put]}\n", "f:2:11: access",
         "a user of this machine or a number"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct config config;
        char *error = NULL;
        cr_assert_eq(config_init(&config), 0);
        cr_assert_eq(config_load_text(&config, "f", wrong[i].text, strlen(wrong[i].text), &error),
                     -EINVAL, "%s", wrong[i].text);
        cr_assert_eq(strncmp(error, wrong[i].place, strlen(wrong[i].place)), 0, "%s", error);
        cr_assert_not_null(strstr(error, wrong[i].words), "%s", error);
        free(error);
        config_fini(&config);
    }
}
