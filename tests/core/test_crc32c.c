#include <stdlib.h>

#include <criterion/criterion.h>

#include "core/crc32c.h"

/* Bit by bit, as the polynomial says. */
static uint32_t by_definition(const uint8_t *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

Test(crc32c, check_value, .timeout = 10)
{
    cr_assert_eq(crc32c("123456789", 9), 0xe3069283);
}

Test(crc32c, nothing, .timeout = 10)
{
    cr_assert_eq(crc32c("", 0), 0);
    cr_assert_eq(crc32c(NULL, 0), 0);
}

/* RFC 3720 appendix B.4. */
Test(crc32c, vectors_of_the_rfc, .timeout = 10)
{
    uint8_t data[32] = {0};

    cr_assert_eq(crc32c(data, 32), 0x8a9136aa);
    for (int i = 0; i < 32; i++)
        data[i] = 0xff;
    cr_assert_eq(crc32c(data, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    cr_assert_eq(crc32c(data, 32), 0x46dd794e);
}

Test(crc32c, every_length_and_alignment, .timeout = 20)
{
    uint8_t data[600];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 31 + i / 7);
    for (size_t start = 0; start < 16; start++)
        for (size_t len = 0; start + len <= sizeof(data); len += 1 + len / 64)
            cr_assert_eq(crc32c(data + start, len), by_definition(data + start, len));
}
