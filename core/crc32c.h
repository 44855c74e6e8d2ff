/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), by ISA-L: of batches on the wire and in stores. */
#ifndef QUEUEFS_CORE_CRC32C_H
#define QUEUEFS_CORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of len bytes; crc32c("123456789", 9) is 0xe3069283. */
uint32_t crc32c(const void *data, size_t len);

/* The checksum of what `crc` is that of, and these bytes behind it. */
#define CRC32C_NOTHING 0 /* the checksum of no bytes */
uint32_t crc32c_more(uint32_t crc, const void *data, size_t len);

/*
 * The checksum of two pieces one behind the other, of which the second is len bytes, is
 * crc32c_shift(first's, len) ^ second's. Looks at no bytes: about 20 ns for each bit of len, which
 * is below 2^28.
 */
uint32_t crc32c_shift(uint32_t crc, size_t len);

#endif
