/* Which store a service works on: a restored or a fresh one is another to whoever knew it before.
 */
#ifndef QUEUEFS_CORE_STORE_ID_H
#define QUEUEFS_CORE_STORE_ID_H

#include <stdint.h>

struct store_id {
    uint8_t bytes[16]; /* random, from when the store was made */
};

#define STORE_ID_DIGITS 32

/* As it is shown: hexadecimal, and a NUL. */
static inline void store_id_format(const struct store_id *id, char text[STORE_ID_DIGITS + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        text[2 * i] = digits[id->bytes[i] >> 4];
        text[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    text[STORE_ID_DIGITS] = '\0';
}

#endif
