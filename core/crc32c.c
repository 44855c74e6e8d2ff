#include "core/crc32c.h"

#include <limits.h>

#include <isa-l/crc.h>

/* ISA-L's function takes its length as an int and inverts neither at the start nor at the end. */
uint32_t crc32c_more(uint32_t crc, const void *data, size_t len)
{
    unsigned char *bytes = (unsigned char *)(uintptr_t)data; /* it only reads, but is not const */

    crc = ~crc;
    while (len > 0) {
        int n = len > INT_MAX ? INT_MAX : (int)len;

        crc = crc32_iscsi(bytes, n, crc);
        bytes += n;
        len -= (size_t)n;
    }
    return ~crc;
}

uint32_t crc32c(const void *data, size_t len)
{
    return crc32c_more(CRC32C_NOTHING, data, len);
}
