/* Each way to be wrong: the whole line, with its place. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/fault.h"
#include "config/options.h"
#include "config/units.h"

#define SETTINGS                                                                                   \
    "maxsize, max_item_size, framing, lease, lease_max, retry_delay, max_deliveries, mode, "       \
    "owner, group, batch_size, batch_bytes, linger, max_in_flight, buffer_bytes, put_timeout, "    \
    "sync_on_close, on_full, get_timeout"

static char *refusal(const char *text, size_t len)
{
    struct config config;
    char *error = NULL;
    cr_assert_eq(config_init(&config), 0);
    int result = config_load_text(&config, "f.yaml", text, len, &error);
    cr_assert_eq(result, -EINVAL, "%s", text);
    cr_assert_not_null(error);
    cr_assert_null(strchr(error, '\n'));
    config_fini(&config);
    return error;
}

static void expect(const char *text, const char *message)
{
    char *error = refusal(text, strlen(text));
    cr_assert_str_eq(error, message);
    free(error);
}

static void expect_start(const char *text, size_t len, const char *start)
{
    char *error = refusal(text, len);
    cr_assert_eq(strncmp(error, start, strlen(start)), 0, "%s\nnot: %s", error, start);
    free(error);
}

Test(faults, unknown_keys_are_named_with_what_is_known, .timeout = 5)
{
    expect("log:\n  levle: info\n",
           "f.yaml:2:3: log.levle: unknown key, did you mean level?; allowed: level");
    expect("log: {}\nfoo: 1\n",
           "f.yaml:2:1: foo: unknown key; allowed: service, listen, socket, tls, access, "
           "store, mount, log, defaults, queues");
    expect("queues:\n  jobs: {batchsize: 1}\n",
           "f.yaml:2:10: queues.jobs.batchsize: unknown key, did you mean batch_size?; "
           "allowed: " SETTINGS);
    expect("defaults: {<<: {linger: 1ms}}", "f.yaml:1:12: defaults.<<: unknown key; "
                                            "allowed: " SETTINGS);
    expect("{~: 1}", "f.yaml:1:2: ~: unknown key; allowed: service, listen, socket, tls, access, "
                     "store, mount, log, defaults, queues");
}

Test(faults, strange_keys_stay_on_one_line, .timeout = 5)
{
    expect_start("\"a\\nb\\e[2J\": 1", 14, "f.yaml:1:1: a?b?[2J: unknown key; ");
    char text[3000];
    memset(text, 'k', sizeof text);
    memcpy(text, "? ", 2);
    char *error = refusal(text, sizeof text);
    cr_assert_lt(strlen(error), 400);
    free(error);
}

Test(faults, duplicate_keys_are_found_at_every_level, .timeout = 5)
{
    expect("log: {}\nmount: {}\nlog: {}\n",
           "f.yaml:3:1: log: given twice, first in line 1; once is allowed");
    expect("queues:\n  jobs:\n    linger: 1ms\n    mode: 0600\n    linger: 2ms\n",
           "f.yaml:5:5: queues.jobs.linger: given twice, first in line 3; once is allowed");
    expect("queues: {a: , b: , a: , b: }",
           "f.yaml:1:20: queues.a: given twice, first in line 1; once is allowed");
    expect("log: {level: info, 'level': info, level: info}",
           "f.yaml:1:20: log.level: given twice, first in line 1; once is allowed");
}

Test(faults, wrong_types_say_what_may_stand_there, .timeout = 5)
{
    expect("just text", "f.yaml:1:1: a value stands here; a map of `key: value` is allowed");
    expect("- a\n", "f.yaml:1:1: a list stands here; a map of `key: value` is allowed");
    expect("log: info\n", "f.yaml:1:6: log: a value stands here; a map of `key: value` is allowed");
    expect("log:\n  level: {a: b}\n", "f.yaml:2:10: log.level: a map stands where a value must; "
                                      "allowed: error, warning, info or debug");
    expect("defaults:\n  batch_size: [1]\n",
           "f.yaml:2:15: defaults.batch_size: a list stands where a value must; "
           "allowed: 1 to 16777216");
    expect("defaults:\n  batch_size:\n  linger: 1ms\n",
           "f.yaml:2:14: defaults.batch_size: nothing stands where a value must; "
           "allowed: 1 to 16777216");
    expect("defaults: 5", "f.yaml:1:11: defaults: a value stands here; "
                          "a map of `setting: value` is allowed");
    expect("queues: [jobs]", "f.yaml:1:9: queues: a list stands here; "
                             "a map of queues by name is allowed");
    expect("queues: {jobs: 1}", "f.yaml:1:16: queues.jobs: a value stands here; "
                                "a map of `setting: value` is allowed");
    expect("store: {path: [/a]}",
           "f.yaml:1:15: store.path: a list stands where text must; allowed: a path");
    expect("store: {path: ''}", "f.yaml:1:15: store.path: \"\": empty; text is allowed");
    expect("listen: {a: b}", "f.yaml:1:9: listen: a map stands here; allowed: an address or a list "
                             "of them: inproc://, ipc://, tcp://, tls+tcp://");
    expect("listen: []", "f.yaml:1:9: listen: an empty list; allowed: an address or a list of "
                         "them: inproc://, ipc://, tcp://, tls+tcp://, or leave the key out");
    expect("listen:\n  - inproc://a\n  -\n  - inproc://b\n",
           "f.yaml:3:4: listen: nothing stands where text must; allowed: an address or a list of "
           "them: inproc://, ipc://, tcp://, tls+tcp://");
    expect("listen: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]",
           "f.yaml:1:9: listen: 17 entries; at most 16 are allowed");
}

Test(faults, bad_values_are_quoted, .timeout = 5)
{
    expect("defaults:\n  linger: 5\n",
           "f.yaml:2:11: defaults.linger: \"5\" has no unit (us, ms, s, "
           "m, h); allowed: 0s to 1h");
    expect("defaults: {linger: 5d}",
           "f.yaml:1:20: defaults.linger: \"5d\" has no unit of time (us, "
           "ms, s, m, h); allowed: 0s to 1h");
    expect("defaults: {linger: fast}",
           "f.yaml:1:20: defaults.linger: \"fast\" is not a time (a whole number, then us, ms, s, "
           "m, h); allowed: 0s to 1h");
    expect("defaults: {linger: forever}",
           "f.yaml:1:20: defaults.linger: \"forever\" is not a time (a whole number, then us, ms, "
           "s, m, h); allowed: 0s to 1h");
    expect("defaults: {get_timeout: 8761h}",
           "f.yaml:1:25: defaults.get_timeout: \"8761h\" is out of range; "
           "allowed: 0s to 8760h, or forever");
    expect("store: {max_bytes: 16GB}",
           "f.yaml:1:20: store.max_bytes: \"16GB\" has no unit of size (KiB, MiB, GiB, or none); "
           "allowed: 1MiB to 65536GiB");
    expect("store: {max_bytes: -1}",
           "f.yaml:1:20: store.max_bytes: \"-1\" is not a size (a whole number, then KiB, MiB, GiB "
           "or none); allowed: 1MiB to 65536GiB");
    expect("store: {max_bytes: 99999999999999999999}",
           "f.yaml:1:20: store.max_bytes: \"99999999999999999999\" is out of range; "
           "allowed: 1MiB to 65536GiB");
    expect("store: {engine: sqlite}",
           "f.yaml:1:17: store.engine: \"sqlite\" is none of them; allowed: local, memory or nats");
    expect("mount: {allow_other: yes}",
           "f.yaml:1:22: mount.allow_other: \"yes\" is neither; allowed: true or false");
    expect("defaults: {mode: 0888}", "f.yaml:1:18: defaults.mode: \"0888\" is not an octal number; "
                                     "allowed: 0000 to 0777");
    expect("defaults: {mode: 01777}",
           "f.yaml:1:18: defaults.mode: \"01777\" is out of range; allowed: 0000 to 0777");
    expect("defaults: {batch_size: 1.5}",
           "f.yaml:1:24: defaults.batch_size: \"1.5\" is not a whole number; "
           "allowed: 1 to 16777216");
    expect("defaults: {owner: 4294967295}",
           "f.yaml:1:19: defaults.owner: \"4294967295\" is out of range; "
           "allowed: a user of this machine or a number");
}

Test(faults, unknown_users_and_groups_are_named, .timeout = 10)
{
    expect("queues:\n  a:\n    owner: nobody-here\n",
           "f.yaml:3:12: queues.a.owner: \"nobody-here\" is no user; "
           "allowed: a user of this machine or a number");
    expect("defaults: {group: nobody-here}",
           "f.yaml:1:19: defaults.group: \"nobody-here\" is no group; "
           "allowed: a group of this machine or a number");
}

Test(faults, bad_names_of_queues_are_refused, .timeout = 5)
{
    static const char *const bad[] = {
        "stats",
        "_a",
        "a.b",
        "'a b'",
        "''",
        "null.",
        "a234567890123456789012345678901234567890123456789012345678901234x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[128];
        sprintf(text, "queues:\n  %s: {}\n", bad[i]);
        char *error = refusal(text, strlen(text));
        cr_assert_eq(strncmp(error, "f.yaml:2:3: queues", 18), 0, "%s", error);
        cr_assert_not_null(strstr(error, ": not a name for a queue; 1 to 64 letters"), "%s", error);
        free(error);
    }
}

Test(faults, a_lease_over_lease_max_is_at_the_key_given, .timeout = 5)
{
    expect("queues:\n  a:\n    lease: 13h\n",
           "f.yaml:3:5: queues.a.lease: 13h is longer than lease_max; at most 12h is allowed");
    expect("queues:\n  a:\n    lease_max: 10s\n",
           "f.yaml:3:5: queues.a.lease_max: 10s is shorter than lease; at least 30s is allowed");
    expect("defaults:\n  lease_max: 1m\n  lease: 2m\n",
           "f.yaml:3:3: defaults.lease: 2m is longer than lease_max; at most 1m is allowed");
    expect("queues: {a: {lease: 2m}}\ndefaults: {lease_max: 1m}\n",
           "f.yaml:1:14: queues.a.lease: 2m is longer than lease_max; at most 1m is allowed");
}

Test(faults, anchors_aliases_tags_and_documents_are_refused, .timeout = 5)
{
    expect("log: &a {level: info}", "f.yaml:1:6: log: an anchor; values written out are allowed");
    expect("log: {level: &a info}",
           "f.yaml:1:14: level: an anchor; values written out are allowed");
    expect("log: {level: *a}", "f.yaml:1:14: level: an alias; values written out are allowed");
    expect("listen: &a [x]", "f.yaml:1:9: listen: an anchor; values written out are allowed");
    expect("log: !x {}", "f.yaml:1:6: log: a tag; values without tags are allowed");
    expect("listen: !!seq []", "f.yaml:1:9: listen: a tag; values without tags are allowed");
    expect("log: {level: !!str info}",
           "f.yaml:1:14: level: a tag; values without tags are allowed");
    expect("log: {}\n---\nlog: {}\n", "f.yaml:2:1: a second document; one is allowed");
    expect("? [a]\n: b\n",
           "f.yaml:1:3: a key that is a map or a list; keys of plain text are allowed");
    expect("log: {level: \"a\\0b\"}",
           "f.yaml:1:14: level: a NUL byte; text without NUL bytes is allowed");
}

Test(faults, deep_nesting_is_refused, .timeout = 5)
{
    expect("[[[[[[[[x]]]]]]]]", "f.yaml:1:1: a list stands here; a map of `key: value` is allowed");
    expect("[[[[[[[[[x]]]]]]]]]", "f.yaml:1:9: nested too deeply; at most 8 levels are allowed");
    char text[4096];
    memset(text, '{', sizeof text);
    expect_start(text, sizeof text, "f.yaml:1:");
}

static void expect_at(const char *text, const char *place)
{
    char *error = refusal(text, strlen(text));
    char start[64];
    sprintf(start, "%s: not YAML: ", place);
    cr_assert_eq(strncmp(error, start, strlen(start)), 0, "%s", error);
    free(error);
}

Test(faults, what_is_no_yaml_has_its_place, .timeout = 5)
{
    expect_at("log:\n\tlevel: info\n", "f.yaml:2:1");
    expect_at("a: b: c\n", "f.yaml:1:5");
    expect_at("log: {level: info\n", "f.yaml:2:1");
    expect_at("log: 'x\n", "f.yaml:2:1");
    expect_at("log:\n  level: info\n bad: 1\n", "f.yaml:3:2");
    expect_at("# \xc3\xa4\xc3\xb6\nlog: \xff\n", "f.yaml:2:6");
    expect_at("# \xc3\xa4\xc3\xb6 \x01\n", "f.yaml:1:6");
    expect_at("%YAML 3.0\n---\na: b\n", "f.yaml:1:1");
    expect_at("log: @x\n", "f.yaml:1:6");
}

Test(faults, addresses_are_checked, .timeout = 5)
{
    expect("service: {address: http://x:1}",
           "f.yaml:1:20: service.address: \"http://x:1\": not an address; inproc://, ipc://, "
           "tcp://, tls+tcp:// and local are allowed");
    expect("listen:\n  - inproc://a\n  - local\n",
           "f.yaml:3:5: listen: \"local\": not an address; inproc://, ipc://, tcp:// and "
           "tls+tcp:// are allowed");
    expect("store: {nats: {servers: tcp://a:1}}",
           "f.yaml:1:25: store.nats.servers: \"tcp://a:1\": not a NATS server; nats://HOST:PORT "
           "and tls://HOST:PORT are allowed");
}

Test(faults, more_than_1_mib_is_refused, .timeout = 5)
{
    size_t len = (1 << 20) + 1;
    char *text = malloc(len);
    memset(text, '#', len);
    char *error = refusal(text, len);
    cr_assert_str_eq(error, "f.yaml:1:1: more than 1MiB of text; at most 1MiB is allowed");
    free(error);
    free(text);
}

/* ---- both sides of each limit ---- */

static void number_text(enum setting_type type, int64_t value, char text[UNIT_TEXT_MAX])
{
    if (type == SETTING_MODE)
        mode_print(value, text);
    else
        snprintf(text, UNIT_TEXT_MAX, "%" PRId64 "%s", value, type == SETTING_TIME ? "us" : "");
}

static int try_number(const char *before, const struct value_rule *rule, int64_t value,
                      const char *after)
{
    struct config config;
    char *error = NULL;
    char number[UNIT_TEXT_MAX], text[256];
    number_text(rule->type, value, number);
    snprintf(text, sizeof text, "%s%s%s", before, number, after);
    cr_assert_eq(config_init(&config), 0);
    int result = config_load_text(&config, "f", text, strlen(text), &error);
    if (result)
        cr_assert_not_null(strstr(error, "; allowed: "), "%s", error);
    free(error);
    config_fini(&config);
    return result;
}

static void expect_limits(const char *before, const struct value_rule *rule, const char *after)
{
    if (rule->type == SETTING_BOOL || rule->type == SETTING_CHOICE)
        return;
    cr_assert_eq(try_number(before, rule, rule->min, after), 0, "%s", before);
    cr_assert_eq(try_number(before, rule, rule->max, after), 0, "%s", before);
    cr_assert_eq(try_number(before, rule, rule->max + 1, after), -EINVAL, "%s", before);
    if (rule->type != SETTING_MODE)
        cr_assert_eq(try_number(before, rule, rule->min - 1, after), -EINVAL, "%s", before);
}

Test(faults, a_settings_limits_hold_on_both_sides, .timeout = 10)
{
    for (const struct setting *row = settings_table; row->key; row++) {
        struct value_rule rule = setting_rule(row);
        const char *other = "";
        char before[64], after[64];
        if (strcmp(row->key, "lease") == 0)
            other = ", lease_max: 8760h";
        if (strcmp(row->key, "lease_max") == 0)
            other = ", lease: 10ms";
        snprintf(before, sizeof before, "defaults: {%s: ", row->key);
        snprintf(after, sizeof after, "%s}", other);
        expect_limits(before, &rule, after);
        snprintf(before, sizeof before, "queues: {q: {%s: ", row->key);
        snprintf(after, sizeof after, "%s}}", other);
        expect_limits(before, &rule, after);
    }
}

Test(faults, an_options_limits_hold_on_both_sides, .timeout = 10)
{
    for (const struct option *row = options_table; row->key; row++) {
        if (row->kind != OPTION_VALUE)
            continue;
        const char *dot = strchr(row->section, '.');
        char before[128];
        cr_assert_neq(row->section[0], '\0');
        snprintf(before, sizeof before, dot ? "%.*s: {%s: {%s: " : "%.*s: {%s%s: ",
                 dot ? (int)(dot - row->section) : (int)strlen(row->section), row->section,
                 dot ? dot + 1 : "", row->key);
        expect_limits(before, &row->rule, dot ? "}}" : "}");
    }
}

/* ---- the helpers of a message ---- */

Test(faults, quotes_are_cut_between_characters, .timeout = 5)
{
    struct quoted quoted = fault_quote("short");
    cr_assert_str_eq(quoted.text, "\"short\"");
    char text[301] = "";
    for (int i = 0; i < 100; i++)
        strcat(text, "\xe2\x82\xac");
    for (int lead = 0; lead < 3; lead++) {
        char shifted[310];
        sprintf(shifted, "%.*s%s", lead, "xx", text);
        quoted = fault_quote(shifted);
        size_t len = strlen(quoted.text);
        cr_assert_lt(len, FAULT_QUOTED_MAX);
        cr_assert_str_eq(quoted.text + len - 4, "...\"");
        cr_assert_eq((unsigned char)quoted.text[len - 5], 0xac);
    }
}

Test(faults, distance_counts_edits_up_to_the_limit, .timeout = 5)
{
    cr_assert_eq(fault_distance("lease", "lease", 2), 0);
    cr_assert_eq(fault_distance("leas", "lease", 2), 1);
    cr_assert_eq(fault_distance("laese", "lease", 2), 2);
    cr_assert_eq(fault_distance("", "ab", 2), 2);
    cr_assert_eq(fault_distance("linger", "mode", 2), 3);
    char longest[33], longer[34];
    memset(longest, 'x', 32);
    longest[32] = '\0';
    memset(longer, 'x', 33);
    longer[33] = '\0';
    cr_assert_eq(fault_distance(longest, longest, 2), 0);
    cr_assert_eq(fault_distance(longer, longest, 2), 3);
}

Test(faults, of_the_socket, .timeout = 5)
{
    expect("socket: {mode: 0667}", "f.yaml:1:16: socket.mode: \"0667\" is out of range; allowed: "
                                   "0000 to 0666");
    expect("socket: {owner: -1}",
           "f.yaml:1:17: socket.owner: \"-1\" is no user; allowed: a user of "
           "this machine or a number");
}
