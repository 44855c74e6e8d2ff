/* The log of damage: named, but not without end. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "core/log.h"
#include "core/queue/queue.h"

#define SECOND INT64_C(1000000)

static struct queue_shared shared;
static unsigned n_lines;
static char last_line[512];

static void on_log(enum log_level level, const char *message)
{
    n_lines++;
    snprintf(last_line, sizeof(last_line), "%s", message);
}

static void setup(void)
{
    shared = (struct queue_shared){0};
    shared.now_us = 1000 * SECOND;
    log_set_sink("test", on_log);
}

TestSuite(damage, .init = setup, .timeout = 30);

Test(damage, each_is_counted_and_some_are_named)
{
    for (int i = 0; i < 480000; i++)
        damage_found(&shared, "row %d is damaged", i);
    cr_assert_eq(shared.damage.n_rows, 480000);
    cr_assert_leq(n_lines, 20);
    cr_assert_eq(strncmp(last_line, "row ", 4), 0);
    damage_tell_rest(&shared, false);
    cr_assert_leq(n_lines, 20);
    damage_tell_rest(&shared, true);
    cr_assert_not_null(strstr(last_line, "479980 more"), "%s", last_line);
    damage_tell_rest(&shared, true);
    cr_assert_eq(n_lines, 21);
}

Test(damage, what_is_found_later_is_named_again)
{
    for (int i = 0; i < 100; i++)
        damage_found(&shared, "row %d is damaged", i);
    shared.now_us += 60 * SECOND;
    damage_tell_rest(&shared, false);
    cr_assert_not_null(strstr(last_line, "80 more"), "%s", last_line);
    damage_found(&shared, "one more row");
    cr_assert_str_eq(last_line, "one more row");
    cr_assert_eq(n_lines, 22);
}
