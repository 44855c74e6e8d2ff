/*
 * Why TLS handshakes failed. NNG tells nobody, so the engine (tls_engine.h) says it here. A
 * listener's report logs each reason as a warning, the same one at most every 10 s; a dialer's
 * keeps the last one for who dialled. Counted references: connections may outlive their listener.
 * Any thread.
 */
#ifndef QUEUEFS_TRANSPORT_TLS_REPORT_H
#define QUEUEFS_TRANSPORT_TLS_REPORT_H

#include <stdbool.h>

#define TLS_WHY_MAX 256

struct tls_report;

/* `url`: a listener's, named in the log; NULL: of a dialer. NULL: out of memory. */
struct tls_report *tls_report_new(const char *url);
struct tls_report *tls_report_ref(struct tls_report *report);
void tls_report_unref(struct tls_report *report); /* takes NULL */

/* `peer`: who was refused, "10.0.0.5:4711". */
void tls_report_add(struct tls_report *report, const char *peer, const char *why);

/* The last reason since the last call, or false. */
bool tls_report_take(struct tls_report *report, char why[TLS_WHY_MAX]);

#endif
