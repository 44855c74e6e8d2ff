#include "core/random.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

/* So few come whole, or not at all. */
int random_bytes(void *to, size_t len)
{
    ssize_t n;

    assert(len <= 256);
    do
        n = getrandom(to, len, 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}
