/* Numbers of what is stored or sent: little-endian, at any address. Pure, any thread. */
#ifndef QUEUEFS_CORE_BYTES_H
#define QUEUEFS_CORE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* Each put returns the address behind what it wrote. */
static inline uint8_t *put_le32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof(value));
    return to + sizeof(value);
}

static inline uint8_t *put_le64(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof(value));
    return to + sizeof(value);
}

static inline uint32_t get_le32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return le32toh(value);
}

static inline uint64_t get_le64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return le64toh(value);
}

#endif
