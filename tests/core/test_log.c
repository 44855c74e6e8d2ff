#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"

static char last[4096];
static enum log_level last_level;
static int n_messages;

static void sink(enum log_level level, const char *message)
{
    snprintf(last, sizeof last, "%s", message);
    last_level = level;
    n_messages++;
}

Test(log, levels_above_the_set_one_are_dropped, .timeout = 5)
{
    log_set_sink("test", sink);
    log_debug("quiet");
    cr_assert_eq(n_messages, 0);
    log_info("number %d", 7);
    cr_assert_str_eq(last, "number 7");
    cr_assert_eq(last_level, LOG_LEVEL_INFO);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("loud");
    cr_assert_str_eq(last, "loud");
    log_set_level(LOG_LEVEL_ERROR);
    log_warning("quiet");
    cr_assert_eq(n_messages, 2);
    log_error("bad");
    cr_assert_eq(last_level, LOG_LEVEL_ERROR);
    log_set_level(LOG_LEVEL_WARNING);
    log_warning("so so");
    cr_assert_eq(last_level, LOG_LEVEL_WARNING);
}

Test(log, control_characters_are_made_harmless, .timeout = 5)
{
    log_set_sink("test", sink);
    log_info("a\nb\tc\r\x1b[2Jd\x7f\xc2\x9bz\xc3\xa4\xc2\xb5");
    cr_assert_str_eq(last, "a\\nb\\tc\\x0d\\x1b[2Jd\\x7f\\xc2\x9bz\xc3\xa4\xc2\xb5");
}

Test(log, long_messages_are_cut_with_dots, .timeout = 5)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_set_sink("test", sink);
    log_info("%s", text);
    cr_assert_lt(strlen(last), 2048);
    cr_assert_gt(strlen(last), 2000);
    cr_assert_str_eq(last + strlen(last) - 3, "...");
    memset(text, 1, sizeof text - 1);
    log_info("%s", text);
    cr_assert_lt(strlen(last), 2048);
    cr_assert_str_eq(last + strlen(last) - 3, "...");
}

Test(log, leaves_errno_alone, .timeout = 5)
{
    log_set_sink("test", sink);
    errno = ENOSPC;
    log_error("%m");
    cr_assert_eq(errno, ENOSPC);
    cr_assert_str_eq(last, "No space left on device");
}

/* stderr is a pipe from here on. */
static FILE *catch_stderr(void)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    return fdopen(ends[0], "r");
}

Test(log, a_line_has_the_programs_name, .timeout = 5)
{
    FILE *in = catch_stderr();
    char line[256];
    log_info("first");
    cr_assert_not_null(fgets(line, sizeof line, in));
    cr_assert_str_eq(line, "queuefs: first\n");
    log_set_sink("queued", NULL);
    log_info("one\ntwo");
    cr_assert_not_null(fgets(line, sizeof line, in));
    cr_assert_str_eq(line, "queued: one\\ntwo\n");
    fclose(in);
}

#define THREADS 4
#define LINES   100

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info("%s %s", (const char *)arg, "and the rest of the line");
    return NULL;
}

Test(log, lines_of_several_threads_do_not_mix, .timeout = 20)
{
    static char names[THREADS][8] = {"aaaa", "bbbb", "cccc", "dddd"};
    pthread_t threads[THREADS];
    FILE *in = catch_stderr();
    char line[256];
    int seen[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (int i = 0; i < THREADS * LINES; i++) {
        cr_assert_not_null(fgets(line, sizeof line, in));
        int who = line[strlen("queuefs: ")] - 'a';
        char expected[256];
        cr_assert(who >= 0 && who < THREADS, "%s", line);
        snprintf(expected, sizeof expected, "queuefs: %s and the rest of the line\n", names[who]);
        cr_assert_str_eq(line, expected);
        seen[who]++;
    }
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(seen[i], LINES);
    }
    fclose(in);
}
