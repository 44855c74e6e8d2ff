/* SipHash-2-4: a keyed hash whose values nobody can compute, or tell from random ones, without the
 * key. Pure; any thread. */
#ifndef QUEUEFS_CORE_SIPHASH_H
#define QUEUEFS_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint8_t bytes[16];
};

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif
