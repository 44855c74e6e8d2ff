/* How often this process has refused something because of a limit: a connection, a request, an
 * answer that is kept. Shown in the root's `stats`. Any thread. */
#ifndef QUEUEFS_CORE_REFUSED_H
#define QUEUEFS_CORE_REFUSED_H

#include <stdint.h>

void refused_add(void);
uint64_t refused_count(void);

#endif
