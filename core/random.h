/* Random bytes of the kernel, for ids and tokens that nobody may guess. */
#ifndef QUEUEFS_CORE_RANDOM_H
#define QUEUEFS_CORE_RANDOM_H

#include <stddef.h>

/* At most 256 bytes. 0 or a negative errno. Any thread. */
int random_bytes(void *to, size_t len);

#endif
