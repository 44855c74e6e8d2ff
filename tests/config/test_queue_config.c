#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "core/clock.h"

static void expect_taken(struct all_settings *settings, const char *text)
{
    char *error = NULL;
    uint64_t fields;
    int result = config_queue_parse(text, strlen(text), settings, &fields, &error);
    cr_assert_eq(result, 0, "%s: %s", text, error);
    cr_assert_null(error);
}

static void expect_refused(const char *text, const char *message)
{
    struct all_settings before, after;
    uint64_t fields;
    char *error = NULL;
    settings_default(&before);
    after = before;
    cr_assert_eq(config_queue_parse(text, strlen(text), &after, &fields, &error), -EINVAL, "%s",
                 text);
    cr_assert_str_eq(error, message);
    cr_assert_eq(memcmp(&before, &after, sizeof before), 0, "%s", text);
    free(error);
}

Test(queue_config, one_line_changes_one_setting, .timeout = 5)
{
    struct all_settings settings, expected;
    settings_default(&settings);
    expected = settings;
    expected.mount.batch_size = 1;
    expect_taken(&settings, "batch_size: 1\n");
    cr_assert_eq(memcmp(&settings, &expected, sizeof settings), 0);
    expected.mount.linger_us = 2000;
    expect_taken(&settings, "linger: 2ms");
    cr_assert_eq(memcmp(&settings, &expected, sizeof settings), 0);
}

Test(queue_config, tells_what_stands_there, .timeout = 5)
{
    const char *text = "mode: 640\nlinger: 2ms\n";
    struct all_settings settings;
    uint64_t fields = 0;
    char *error;
    settings_default(&settings);
    cr_assert_eq(config_queue_parse(text, strlen(text), &settings, &fields, &error), 0);
    cr_assert_eq(fields, setting_bit(setting_find("mode")) | setting_bit(setting_find("linger")));
    cr_assert_eq(config_queue_parse("", 0, &settings, &fields, &error), 0);
    cr_assert_eq(fields, 0);
}

Test(queue_config, several_lines_and_comments_are_applied_whole, .timeout = 5)
{
    struct all_settings settings;
    settings_default(&settings);
    expect_taken(&settings,
                 "# both\nmaxsize: 10  # few\n\nlease: 24h\nlease_max: 24h\nmode: 640\n");
    cr_assert_eq(settings.own.maxsize, 10);
    cr_assert_eq(settings.own.lease_us, INT64_C(24) * 3600000000);
    cr_assert_eq(settings.own.mode, 0640);
    expect_taken(&settings, "{on_full: fail, get_timeout: forever}");
    cr_assert_eq(settings.mount.on_full, ON_FULL_FAIL);
    cr_assert_eq(settings.mount.get_timeout_us, TIME_FOREVER);
}

Test(queue_config, nothing_changes_nothing, .timeout = 5)
{
    static const char *const texts[] = {"", "\n", "# x\n", "{}", "---\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct all_settings settings, before;
        settings_default(&settings);
        before = settings;
        expect_taken(&settings, texts[i]);
        cr_assert_eq(memcmp(&settings, &before, sizeof settings), 0);
    }
}

Test(queue_config, faults_name_place_and_key_and_change_nothing, .timeout = 5)
{
    expect_refused("batch_size: 5\nlinger: 5\n",
                   "2:9: linger: \"5\" has no unit (us, ms, s, m, h); allowed: 0s to 1h");
    expect_refused("batch_size: 0\n",
                   "1:13: batch_size: \"0\" is out of range; allowed: 1 to 16777216");
    expect_refused("mode: 0600\nmode: 0600\n",
                   "2:1: mode: given twice, first in line 1; once is allowed");
    expect_refused("batch_size=1\n",
                   "1:1: a value stands here; a map of `setting: value` is allowed");
    expect_refused("lease: 13h\n",
                   "1:1: lease: 13h is longer than lease_max; at most 12h is allowed");
    expect_refused("maxsize: 3\nbuffer_total: 1MiB\n",
                   "2:1: buffer_total: unknown key; allowed: maxsize, max_item_size, framing, "
                   "lease, lease_max, retry_delay, max_deliveries, mode, owner, group, batch_size, "
                   "batch_bytes, linger, max_in_flight, buffer_bytes, put_timeout, sync_on_close, "
                   "on_full, get_timeout");
    expect_refused("mode: 0600\n---\nmode: 0600\n", "2:1: a second document; one is allowed");
}

static void expect_round_trip(const struct all_settings *settings)
{
    struct all_settings again;
    settings_default(&again);
    char *text = config_queue_print(settings);
    cr_assert_not_null(text);
    expect_taken(&again, text);
    cr_assert_eq(memcmp(settings, &again, sizeof again), 0, "%s", text);
    free(text);
}

Test(queue_config, what_is_read_can_be_written_back, .timeout = 5)
{
    struct all_settings settings;
    settings_default(&settings);
    expect_round_trip(&settings);
    for (const struct setting *row = settings_table; row->key; row++)
        *setting_value(row, &settings) = row->max;
    expect_round_trip(&settings);
    for (const struct setting *row = settings_table; row->key; row++)
        *setting_value(row, &settings) = row->forever ? TIME_FOREVER : row->min;
    expect_round_trip(&settings);
    settings_default(&settings);
    settings.own.owner = 4123456789;
    settings.mount.linger_us = 1001;
    settings.mount.buffer_bytes = 4097;
    expect_round_trip(&settings);
}

Test(queue_config, lines_are_fit_for_grep_and_awk, .timeout = 5)
{
    struct all_settings settings;
    settings_default(&settings);
    char *text = config_queue_print(&settings);
    cr_assert_not_null(strstr(text, "\nbatch_size: 100\n"));
    cr_assert_not_null(strstr(text, "\nlinger: 5ms\n"));
    cr_assert_not_null(strstr(text, "\nmode: 0600\n"));
    cr_assert_not_null(strstr(text, "\nowner: 0\n"));
    cr_assert_not_null(strstr(text, "\nsync_on_close: false\n"));
    cr_assert_not_null(strstr(text, "\nput_timeout: forever\n"));
    cr_assert_eq(text[strlen(text) - 1], '\n');
    size_t n = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (line[0] == '#')
            continue;
        char *colon = strstr(line, ": ");
        cr_assert_not_null(colon, "%s", line);
        *colon = '\0';
        cr_assert_not_null(setting_find(line), "%s", line);
        cr_assert_null(strchr(colon + 2, ' '), "%s", colon + 2);
        n++;
    }
    cr_assert_eq(n, sizeof(struct all_settings) / sizeof(int64_t));
    free(text);
}
