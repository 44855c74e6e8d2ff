#include <criterion/criterion.h>

#include "core/siphash.h"

/* Of the paper's reference: key 00 to 0f, the first n bytes of 00 to 3f. */
Test(siphash, is_that_of_the_reference, .timeout = 5)
{
    static const struct {
        size_t len;
        uint64_t value;
    } known[] = {{0, UINT64_C(0x726fdb47dd0e0e31)},
                 {1, UINT64_C(0x74f839c593dc67fd)},
                 {7, UINT64_C(0xab0200f58b01d137)},
                 {8, UINT64_C(0x93f5f5799a932462)},
                 {15, UINT64_C(0xa129ca6149be45e5)}};
    struct siphash_key key;
    uint8_t data[64];

    for (uint8_t i = 0; i < 64; i++)
        data[i] = i;
    for (uint8_t i = 0; i < 16; i++)
        key.bytes[i] = i;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        cr_assert_eq(siphash(&key, data, known[i].len), known[i].value, "%zu bytes", known[i].len);
}
