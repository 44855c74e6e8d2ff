#include "core/crc32c.h"

#include <assert.h>
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

/* ---- joining ---- */

#define POLYNOMIAL UINT32_C(0x82f63b78) /* its highest power is the lowest bit */
#define X_TO_THE_0 (UINT32_C(1) << 31)

/* x to the power of 2^i, modulo the polynomial. */
static const uint32_t x_to_the_2_to_the[32] = {
    0x40000000, 0x20000000, 0x08000000, 0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18,
    0x510ac59a, 0xb82be955, 0xb8fdb1e7, 0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62,
    0x28461564, 0xbf455269, 0xe2ea32dc, 0xfe7740e6, 0xf946610b, 0x3c204f8f, 0x538586e3, 0x59726915,
    0x734d5309, 0xbc1ac763, 0x7d0722cc, 0xd289cabe, 0xe94ca9bc, 0x05b74f3f, 0xa51e1f42, 0x40000000,
};

/* The product of two polynomials, modulo that one. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (uint32_t bit = X_TO_THE_0; a != 0; bit >>= 1) {
        if (a & bit)
            product ^= b;
        a &= ~bit;
        b = b & 1 ? b >> 1 ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

/* Each byte that follows is x^8. */
uint32_t crc32c_shift(uint32_t crc, size_t len)
{
    assert(len < (size_t)1 << 28);
    for (unsigned i = 3; len > 0 && crc != 0; i++, len >>= 1) {
        if (len & 1)
            crc = multiply(x_to_the_2_to_the[i], crc);
    }
    return crc;
}
