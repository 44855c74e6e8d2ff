/*
 * Each allocation fails once. Linked with --wrap for malloc, calloc, strdup and open_memstream, so
 * that calls of config/ come here and those of libraries do not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static long left = -1; /* allocations until one fails; -1: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
FILE *__real_open_memstream(char **text, size_t *len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *text);
FILE *__wrap_open_memstream(char **text, size_t *len);

static bool fails(void)
{
    return left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

FILE *__wrap_open_memstream(char **text, size_t *len)
{
    return fails() ? NULL : __real_open_memstream(text, len);
}

static const char good[] = "service: {address: [local, tcp://a:1], tls: {ca: /a}}\n"
                           "listen: inproc://a\n"
                           "store: {nats: {servers: nats://b:1, prefix: p}}\n"
                           "defaults: {linger: 1ms, owner: root}\n"
                           "queues: {a: {mode: 0600, group: root}, b: }\n";
static const char bad[] = "log: {level: info}\nqueues: {a: {mode: 0600}, b: {linger: 5}}\n";

static int load(const char *text)
{
    struct config config;
    char *error = NULL;
    int result = config_init(&config);
    if (result)
        return result;
    result = config_load_text(&config, "f", text, strlen(text), &error);
    cr_assert(result != -ENOMEM || !error);
    free(error);
    config_fini(&config);
    return result;
}

static void expect_each_failing(const char *text, int expected)
{
    int result = -ENOMEM;
    for (long n = 0; result == -ENOMEM; n++) {
        cr_assert_lt(n, 1000);
        left = n;
        result = load(text);
        cr_assert(left >= 0 || result == -ENOMEM, "allocation %ld: %d", n, result);
    }
    left = -1;
    cr_assert_eq(result, expected);
}

Test(memory, loading_survives_each_failing_allocation, .timeout = 60)
{
    expect_each_failing(good, 0);
    expect_each_failing(bad, -EINVAL);
    expect_each_failing("", 0);
    expect_each_failing("a: 'b", -EINVAL);
}

Test(memory, loading_a_file_survives_each_failing_allocation, .timeout = 60)
{
    char path[] = "/tmp/queuefs-memory-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    FILE *file = fdopen(fd, "w");
    fputs(good, file);
    fclose(file);
    int result = -ENOMEM;
    for (long n = 0; result == -ENOMEM; n++) {
        struct config config;
        char *error = NULL;
        left = -1;
        cr_assert_eq(config_init(&config), 0);
        left = n;
        result = config_load(&config, path, &error);
        cr_assert_null(error);
        config_fini(&config);
    }
    left = -1;
    cr_assert_eq(result, 0);
    remove(path);
}

Test(memory, a_missing_file_without_memory_is_enomem, .timeout = 5)
{
    struct config config;
    char *error = NULL;
    cr_assert_eq(config_init(&config), 0);
    left = 0;
    cr_assert_eq(config_load(&config, "/no/such", &error), -ENOMEM);
    left = -1;
    cr_assert_null(error);
    config_fini(&config);
}

Test(memory, config_files_survive_each_failing_allocation, .timeout = 60)
{
    struct all_settings settings;
    uint64_t fields;
    settings_default(&settings);
    left = 0;
    cr_assert_null(config_queue_print(&settings));
    left = -1;
    int result = -ENOMEM;
    for (long n = 0; result == -ENOMEM; n++) {
        char *error = NULL;
        left = n;
        result = config_queue_parse("linger: 5\n", 10, &settings, &fields, &error);
        cr_assert(result != -ENOMEM || !error);
        free(error);
    }
    left = -1;
    cr_assert_eq(result, -EINVAL);
}
