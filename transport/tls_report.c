#include "transport/tls_report.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"

#define REPORT_EVERY_US INT64_C(10000000)
#define REPORT_REASONS  8 /* different ones that are told apart */

struct reason {
    char why[TLS_WHY_MAX];
    int64_t due_us; /* when it may be logged again */
};

struct tls_report {
    atomic_uint n_refs;
    char *url;
    pthread_mutex_t lock;
    struct reason reasons[REPORT_REASONS]; /* of a listener; empty: unused */
    unsigned long n_silent;                /* refused since the last line */
    char last[TLS_WHY_MAX];                /* of a dialer; empty: none */
};

struct tls_report *tls_report_new(const char *url)
{
    struct tls_report *report = calloc(1, sizeof(*report));

    if (!report)
        return NULL;
    report->url = url ? strdup(url) : NULL;
    if ((url && !report->url) || pthread_mutex_init(&report->lock, NULL) != 0) {
        free(report->url);
        free(report);
        return NULL;
    }
    atomic_init(&report->n_refs, 1);
    return report;
}

struct tls_report *tls_report_ref(struct tls_report *report)
{
    atomic_fetch_add(&report->n_refs, 1);
    return report;
}

void tls_report_unref(struct tls_report *report)
{
    if (!report || atomic_fetch_sub(&report->n_refs, 1) > 1)
        return;
    pthread_mutex_destroy(&report->lock);
    free(report->url);
    free(report);
}

/* The place of `why`: its own, or that which was quiet for longest. NULL: all were logged of late,
 * and it must wait, as who connects may choose what is said of him. */
static struct reason *reason_find_locked(struct tls_report *report, const char *why, int64_t now_us)
{
    struct reason *oldest = &report->reasons[0];

    for (size_t i = 0; i < REPORT_REASONS; i++) {
        struct reason *reason = &report->reasons[i];

        if (strcmp(reason->why, why) == 0)
            return reason;
        if (reason->due_us < oldest->due_us)
            oldest = reason;
    }
    if (now_us < oldest->due_us)
        return NULL;
    snprintf(oldest->why, sizeof(oldest->why), "%s", why);
    return oldest;
}

static void report_log(struct tls_report *report, const char *peer, const char *why)
{
    int64_t now_us = clock_system.mono_us(&clock_system);
    unsigned long more;
    struct reason *reason;
    bool due;

    pthread_mutex_lock(&report->lock);
    reason = reason_find_locked(report, why, now_us);
    due = reason && now_us >= reason->due_us;
    more = report->n_silent;
    report->n_silent = due ? 0 : more + 1;
    if (due)
        reason->due_us = now_us + REPORT_EVERY_US;
    pthread_mutex_unlock(&report->lock);
    if (due && more > 0)
        log_warning("%s: refused a connection from %s (and %lu before it): %s", report->url, peer,
                    more, why);
    else if (due)
        log_warning("%s: refused a connection from %s: %s", report->url, peer, why);
}

void tls_report_add(struct tls_report *report, const char *peer, const char *why)
{
    if (report->url) {
        report_log(report, peer, why);
        return;
    }
    pthread_mutex_lock(&report->lock);
    snprintf(report->last, sizeof(report->last), "%s", why);
    pthread_mutex_unlock(&report->lock);
}

bool tls_report_take(struct tls_report *report, char why[TLS_WHY_MAX])
{
    bool there;

    pthread_mutex_lock(&report->lock);
    there = report->last[0] != '\0';
    memcpy(why, report->last, TLS_WHY_MAX);
    report->last[0] = '\0';
    pthread_mutex_unlock(&report->lock);
    return there;
}
