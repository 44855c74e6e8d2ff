/*
 * TLS for NNG: an engine of ours on OpenSSL, in the place of NNG's own one, which keeps to itself
 * why a handshake failed, lets one last for ever, and knows no certificates for IP addresses. Both
 * sides show and check certificates, as struct tls says.
 */
#ifndef QUEUEFS_TRANSPORT_TLS_ENGINE_H
#define QUEUEFS_TRANSPORT_TLS_ENGINE_H

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "core/access.h"
#include "transport/tls.h"
#include "transport/tls_report.h"

#define TLS_HANDSHAKE_MS 10000 /* from the connection on */
#define TLS_HANDSHAKES_MAX                                                                         \
    1024 /* of listeners, under way at a time; a quarter of the descriptors */

/*
 * A config of NNG's whose connections use `tls` (of which it keeps a reference) as it is when they
 * begin; why they fail is told to `report` (the same). `expected`: the name or IP address the other
 * side's certificate must be for; copied; NULL: any. 0 or an error of NNG. After the last fork.
 */
int tls_engine_config(nng_tls_mode mode, struct tls *tls, struct tls_report *report,
                      const char *expected, nng_tls_config **config);

/*
 * Whether the pipe, of a listener with TLS, has shown a certificate that was verified; and the
 * common name in it: "" where there is none, or several, or none that fits. NNG is asked: hold no
 * lock of ours.
 */
bool tls_engine_verified(nng_pipe pipe, char cn[IDENTITY_CN_MAX + 1]);

#endif
