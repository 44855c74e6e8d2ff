/* How many connections a process may have, so that the descriptors that it may open are enough. */
#ifndef QUEUEFS_TRANSPORT_DESCRIPTORS_H
#define QUEUEFS_TRANSPORT_DESCRIPTORS_H

#include <stddef.h>

/* Of those that there are when it is asked, apart from what a service needs for itself, so many of
 * `parts`; at most `most`, at least 8. Any thread. */
size_t descriptors_for(size_t most, size_t parts, size_t of);

#endif
