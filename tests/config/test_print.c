#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/options.h"
#include "core/clock.h"

#ifndef SOURCE_DIR
#define SOURCE_DIR NULL
#endif

static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    cr_assert_eq(config_print(config, out), 0);
    fclose(out);
    return text;
}

static void load(struct config *config, const char *text)
{
    char *error = NULL;
    cr_assert_eq(config_init(config), 0);
    int result = config_load_text(config, "f", text, strlen(text), &error);
    cr_assert_eq(result, 0, "%s\n%s", error ? error : "out of memory", text);
}

static void expect_same_texts(char **a, size_t n_a, char **b, size_t n_b)
{
    cr_assert_eq(n_a, n_b);
    for (size_t i = 0; i < n_a; i++)
        cr_assert(a[i] == b[i] || strcmp(a[i], b[i]) == 0, "%s, %s", a[i], b[i]);
}

static void expect_same(struct config *a, struct config *b)
{
    for (const struct option *row = options_table; row->key; row++) {
        if (row->kind == OPTION_VALUE)
            cr_assert_eq(*option_value(row, a), *option_value(row, b), "%s", row->key);
        if (row->kind == OPTION_TEXT)
            expect_same_texts(option_text(row, a), 1, option_text(row, b), 1);
        if (row->kind == OPTION_LIST)
            expect_same_texts(option_text(row, a), *option_count(row, a), option_text(row, b),
                              *option_count(row, b));
    }
    cr_assert_eq(memcmp(&a->defaults, &b->defaults, sizeof a->defaults), 0);
    cr_assert_eq(a->n_queues, b->n_queues);
    uint64_t who = UINT64_C(1) << (setting_find("owner") - settings_table) |
                   UINT64_C(1) << (setting_find("group") - settings_table);
    for (size_t i = 0; i < a->n_queues; i++) {
        struct config_queue *x = &a->queues[i], *y = &b->queues[i];
        cr_assert_str_eq(x->name, y->name);
        cr_assert_eq(memcmp(&x->settings, &y->settings, sizeof x->settings), 0, "%s", x->name);
        cr_assert_eq(x->given & who, y->given & who, "%s", x->name);
    }
}

static void expect_round_trip(const char *text)
{
    struct config first, second;
    load(&first, text);
    char *once = printed(&first);
    load(&second, once);
    char *twice = printed(&second);
    expect_same(&first, &second);
    cr_assert_str_eq(once, twice);
    free(once);
    free(twice);
    config_fini(&first);
    config_fini(&second);
}

Test(print, reads_back_to_the_same, .timeout = 10)
{
    expect_round_trip("");
    expect_round_trip(
        "service: {address: local, timeout: 12345us}\nlisten: [inproc://a, tcp://:0]");
    expect_round_trip(
        "store: {engine: memory, path: \"a \\\"b\\\\\\u2028 c\", max_bytes: 1048577}");
    expect_round_trip("store: {nats: {servers: [nats://a:1, tls://b:2], prefix: 'no'}}\n"
                      "mount: {allow_other: true, path: '#x'}\nlog: {level: debug}");
    expect_round_trip(
        "defaults: {get_timeout: forever, put_timeout: 0, mode: 0, on_full: fail}\n"
        "queues: {null: , 12: , on: , 1e3: {owner: root, mode: 0007}, b: {group: 7}}");
    expect_round_trip("defaults: {owner: 4294967294, group: 4123456789, framing: file}\n"
                      "queues: {a: {maxsize: 1099511627776, lease: 8760h, lease_max: 8760h}}");
}

Test(print, what_is_absent_is_a_comment, .timeout = 5)
{
    struct config config;
    load(&config, "queues: {a: {group: root}}");
    char *text = printed(&config);
    cr_assert_not_null(strstr(text, "\n  # address: (absent)\n"));
    cr_assert_not_null(strstr(text, "\n# listen: (absent)\n"));
    cr_assert_not_null(strstr(text, "\n    # owner: (absent)\n    group: root\n"));
    cr_assert_not_null(strstr(text, "\n  # owner: (absent)\n  # group: (absent)\n"));
    cr_assert_not_null(strstr(text, "\n    mode: 0600\n"));
    cr_assert_not_null(strstr(text, "\n  max_bytes: 16GiB\n"));
    free(text);
    config_fini(&config);
}

Test(print, has_every_key, .timeout = 5)
{
    struct config config;
    cr_assert_eq(config_init(&config), 0);
    char *text = printed(&config);
    for (const struct option *row = options_table; row->key; row++) {
        char key[64];
        snprintf(key, sizeof key, "%s:", row->key);
        cr_assert_not_null(strstr(text, key), "%s", key);
    }
    for (const struct setting *row = settings_table; row->key; row++) {
        char key[64];
        snprintf(key, sizeof key, " %s: ", row->key);
        cr_assert_not_null(strstr(text, key), "%s", key);
    }
    free(text);
    config_fini(&config);
}

Test(print, a_full_disk_is_an_error, .timeout = 5)
{
    struct config config;
    cr_assert_eq(config_init(&config), 0);
    FILE *full = fopen("/dev/full", "w");
    cr_assert_eq(config_print(&config, full), -EIO);
    fclose(full);
    full = fopen("/dev/full", "w");
    cr_assert_eq(config_print_reference(full), -EIO);
    fclose(full);
    config_fini(&config);
}

static char *reference(void)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    cr_assert_eq(config_print_reference(out), 0);
    fclose(out);
    return text;
}

Test(print, the_reference_has_every_key_and_clean_roff, .timeout = 5)
{
    char *text = reference();
    for (const struct option *row = options_table; row->key; row++) {
        char entry[128];
        const char *section = row->section;
        snprintf(entry, sizeof entry, ".TP\n.BR %s%s%s :\n", section, section[0] ? "." : "",
                 row->key);
        cr_assert_not_null(strstr(text, entry), "%s", entry);
    }
    for (const struct setting *row = settings_table; row->key; row++) {
        char entry[128];
        snprintf(entry, sizeof entry, ".TP\n.BR %s :\n%c%s.\n", row->key, toupper(row->help[0]),
                 row->help + 1);
        if (!strchr(row->help, '-'))
            cr_assert_not_null(strstr(text, entry), "%s", entry);
    }
    cr_assert_not_null(strstr(text, "Allowed: 1 to 16777216.\nDefault: 100.\n"));
    cr_assert_not_null(strstr(text, "Default: of whoever makes the queue.\n"));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        bool request = line[0] == '.';
        bool known = strncmp(line, ".TP", 3) == 0 || strncmp(line, ".BR ", 4) == 0 ||
                     strncmp(line, ".SS ", 4) == 0;
        cr_assert(!request || known, "%s", line);
        cr_assert_neq(line[0], '\'', "%s", line);
    }
    free(text);
}

/* ---- the examples ---- */

static char *example(const char *name)
{
    if (!SOURCE_DIR)
        cr_skip_test("SOURCE_DIR is not defined");
    char path[1024];
    snprintf(path, sizeof path, "%s/dist/%s", SOURCE_DIR, name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    char *text = calloc(1, 65536);
    cr_assert_gt(fread(text, 1, 65535, file), 0);
    fclose(file);
    return text;
}

/* "#key" and "#  key" are settings, "# Word" is prose: take the # off the former. */
static char *uncomment(const char *text)
{
    char *out = calloc(1, strlen(text) + 1);
    bool line_start = true;
    size_t len = 0;
    for (; *text != '\0'; text++) {
        bool prose = text[1] == '\n' || text[1] == '#' || (text[1] == ' ' && text[2] != ' ');
        if (!(line_start && *text == '#' && !prose))
            out[len++] = *text;
        line_start = *text == '\n';
    }
    return out;
}

static void expect_example(const char *name, bool all_keys)
{
    struct config config;
    char *text = example(name);
    load(&config, text);
    config_fini(&config);
    char *open = uncomment(text);
    load(&config, open);
    config_fini(&config);
    for (const struct setting *row = settings_table; all_keys && row->key; row++)
        cr_assert_not_null(strstr(open, row->key), "%s", row->key);
    for (const struct option *row = options_table; all_keys && row->key; row++)
        cr_assert_not_null(strstr(open, row->key), "%s", row->key);
    free(open);
    free(text);
}

Test(print, the_examples_load_as_they_are_and_uncommented, .timeout = 10)
{
    expect_example("queuefs.yaml", true);
    expect_example("queued.yaml", false);
}

Test(print, the_example_of_queuefs_changes_nothing, .timeout = 10)
{
    struct config config, fresh;
    char *text = example("queuefs.yaml");
    load(&config, text);
    cr_assert_eq(config_init(&fresh), 0);
    expect_same(&config, &fresh);
    cr_assert_eq(config.defaults_given, 0);
    config_fini(&config);
    config_fini(&fresh);
    free(text);
}

Test(print, owners_of_sockets_that_are_not_given_are_absent, .timeout = 5)
{
    struct config config;
    load(&config, "socket: {owner: 4294967294}");
    char *text = printed(&config);
    cr_assert_not_null(strstr(text, "socket:\n  mode: 0660\n  owner: 4294967294\n"
                                    "  # group: (absent)\n"));
    free(text);
    config_fini(&config);
}
