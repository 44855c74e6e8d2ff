/*
 * TLS for NNG: an engine of ours on Mbed TLS, in the place of NNG's own one, which keeps to itself
 * why a handshake failed and knows no certificates for IP addresses. TLS 1.2; both sides show and
 * check certificates as the config says.
 */
#ifndef QUEUEFS_TRANSPORT_TLS_ENGINE_H
#define QUEUEFS_TRANSPORT_TLS_ENGINE_H

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "transport/tls_report.h"

/* nng_tls_config_alloc() with this engine; failures go to `report`, of which it keeps a reference.
 * 0 or an error of NNG. After the last fork. */
int tls_engine_config_alloc(nng_tls_mode mode, struct tls_report *report, nng_tls_config **config);

#endif
