/* What is kept and what is logged of failed handshakes. */
#include "transport/tls_report.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"

static char said[1024];
static int n_said;

static void sink(enum log_level level, const char *message)
{
    snprintf(said, sizeof(said), "%s", message);
    n_said++;
}

static void setup(void)
{
    log_set_sink("test", sink);
}

TestSuite(tls_report, .init = setup, .timeout = 10);

Test(tls_report, a_dialler_takes_the_last_reason_once)
{
    struct tls_report *report = tls_report_new(NULL);
    char why[TLS_WHY_MAX];

    cr_assert_not(tls_report_take(report, why));
    tls_report_add(report, "10.0.0.5:4711", "a");
    tls_report_add(report, "10.0.0.5:4711", "b");
    cr_assert(tls_report_take(report, why));
    cr_assert_str_eq(why, "b");
    cr_assert_not(tls_report_take(report, why));
    cr_assert_eq(n_said, 0);
    tls_report_unref(report);
}

Test(tls_report, a_listener_logs_each_reason_once_in_a_while)
{
    struct tls_report *report = tls_report_new("tls+tcp://h:1");

    tls_report_add(report, "10.0.0.5:4711", "a");
    cr_assert_str_eq(said, "tls+tcp://h:1: refused a connection from 10.0.0.5:4711: a");
    for (int i = 0; i < 100; i++)
        tls_report_add(report, "10.0.0.5:4711", "a");
    cr_assert_eq(n_said, 1);
    tls_report_add(report, "10.0.0.5:4711", "b");
    cr_assert_eq(n_said, 2);
    tls_report_unref(report);
}

Test(tls_report, a_flood_of_different_reasons_stays_bounded)
{
    struct tls_report *report = tls_report_new("tls+tcp://h:1");
    char why[TLS_WHY_MAX + 100];

    memset(why, 'x', sizeof(why) - 1);
    why[sizeof(why) - 1] = '\0';
    for (int i = 0; i < 1000; i++) {
        snprintf(why, 8, "%d", i);
        why[7] = 'x';
        tls_report_add(report, "10.0.0.5:4711", why);
    }
    cr_assert_eq(n_said, 8);
    tls_report_unref(report);
}

Test(tls_report, references_are_counted)
{
    struct tls_report *report = tls_report_new("tls+tcp://h:1");

    tls_report_unref(tls_report_ref(report));
    tls_report_add(report, "10.0.0.5:4711", "still there");
    tls_report_unref(report);
    tls_report_unref(NULL);
}
