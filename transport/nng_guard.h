/*
 * Two faults of NNG before 1.9, kept from happening: see nng_guard.c.
 */
#ifndef QUEUEFS_TRANSPORT_NNG_GUARD_H
#define QUEUEFS_TRANSPORT_NNG_GUARD_H

#include <stdbool.h>

/* To be called before NNG is used. False: its system calls do not come by here, though this version
 * of it needs that. Any thread. */
bool nng_guard_init(void);

/* Whether NNG of this version has the faults. */
bool nng_guard_needed(const char *version);

#endif
