/* Text that nobody means well with: no crash, no leak, one line or success. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static const char sample[] =
    "# settings\n"
    "service:\n"
    "  address: [tcp://10.0.0.5:7440, ipc:///run/q.sock, local]\n"
    "  tls: {ca: /a, cert: \"/b\", key: , server_name: 'q'}\n"
    "listen:\n"
    "  - ipc:///run/queued/queued.sock\n"
    "store: {engine: local, max_bytes: 16GiB, nats: {servers: [nats://127.0.0.1:4222]}}\n"
    "mount: {path: /mnt/q, allow_other: false}\n"
    "defaults: {batch_size: 100, linger: 5ms, put_timeout: forever}\n"
    "queues:\n"
    "  jobs: {maxsize: 10000, lease: 1m, mode: 0660, owner: 0}\n"
    "  logs:\n"
    "    framing: |-\n"
    "      nul\n";

static uint32_t state = 12345;

static uint32_t next_random(void)
{
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

static int feed(const char *text, size_t len)
{
    struct config config;
    struct all_settings settings;
    char *error = NULL;
    cr_assert_eq(config_init(&config), 0);
    int result = config_load_text(&config, "f", text, len, &error);
    cr_assert(result == 0 ? !error : result == -EINVAL && error);
    if (error)
        cr_assert(strncmp(error, "f:", 2) == 0 && !strchr(error, '\n'), "%s", error);
    free(error);
    config_fini(&config);
    settings_default(&settings);
    uint64_t fields;
    config_queue_parse(text, len, &settings, &fields, &error);
    free(error);
    return result;
}

Test(robust, the_sample_is_good, .timeout = 5)
{
    cr_assert_eq(feed(sample, sizeof sample - 1), 0);
}

Test(robust, every_prefix, .timeout = 30)
{
    for (size_t len = 0; len < sizeof sample; len++) {
        char *copy = malloc(len + 1);
        memcpy(copy, sample, len);
        feed(copy, len);
        free(copy);
    }
}

Test(robust, mutations, .timeout = 60)
{
    static const char spice[] = "{}[]:,#&*!|>'\"%@`~-?\\\n\t \0\x80\xff\xc3\x28<=0";
    for (int round = 0; round < 3000; round++) {
        char copy[sizeof sample];
        memcpy(copy, sample, sizeof sample);
        for (uint32_t i = 1 + next_random() % 4; i > 0; i--) {
            char c = next_random() % 2 ? spice[next_random() % (sizeof spice - 1)]
                                       : (char)(next_random() % 256);
            copy[next_random() % (sizeof sample - 1)] = c;
        }
        feed(copy, sizeof sample - 1);
    }
}

Test(robust, pieces_moved_about, .timeout = 60)
{
    for (int round = 0; round < 1000; round++) {
        char copy[3 * sizeof sample];
        size_t len = 0;
        for (int i = 0; i < 3; i++) {
            size_t from = next_random() % sizeof sample;
            size_t n = next_random() % (sizeof sample - from);
            memcpy(copy + len, sample + from, n);
            len += n;
        }
        feed(copy, len);
    }
}

#define LARGE (1024 * 1024)

static void feed_large(const char *pattern, int expected)
{
    char *text = malloc(LARGE);
    size_t n = strlen(pattern);
    for (size_t i = 0; i < LARGE; i++)
        text[i] = pattern[i % n];
    cr_assert_eq(feed(text, LARGE), expected, "%s", pattern);
    free(text);
}

Test(robust, a_megabyte_of_one_thing, .timeout = 120)
{
    feed_large("{", -EINVAL);
    feed_large("[", -EINVAL);
    feed_large("- ", -EINVAL);
    feed_large("? ", -EINVAL);
    feed_large("a: ", -EINVAL);
    feed_large("a\n", -EINVAL);
    feed_large("a: b\n", -EINVAL);
    feed_large("'", -EINVAL);
    feed_large("\"", -EINVAL);
    feed_large("&a ", -EINVAL);
    feed_large("---\n", -EINVAL);
    feed_large("!", -EINVAL);
    feed_large("|\n", -EINVAL);
    feed_large("\t", -EINVAL);
    feed_large("\n", 0);
    feed_large("# \n", 0);
}

Test(robust, a_megabyte_of_noise, .timeout = 60)
{
    char *text = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++)
        text[i] = (char)next_random();
    cr_assert_eq(feed(text, LARGE), -EINVAL);
    for (size_t i = 0; i < LARGE; i++)
        text[i] = (char)(' ' + next_random() % 95);
    cr_assert_eq(feed(text, LARGE), -EINVAL);
    free(text);
}

Test(robust, many_queues_are_no_square, .timeout = 60)
{
    char *text = malloc(LARGE);
    size_t len = (size_t)sprintf(text, "queues:\n");
    for (int i = 0; len < LARGE - 32; i++)
        len += (size_t)sprintf(text + len, " q%d:\n", i);
    cr_assert_eq(feed(text, len), 0);
    len += (size_t)sprintf(text + len, " q7:\n");
    cr_assert_eq(feed(text, len), -EINVAL);
    free(text);
}
