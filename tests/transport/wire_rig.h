/* Frames under test: made of samples, changed at an offset, decoded. Each is decoded from a block
 * of exactly its size, so that a sanitizer sees every byte read beyond it. */
#ifndef QUEUEFS_TESTS_TRANSPORT_WIRE_RIG_H
#define QUEUEFS_TESTS_TRANSPORT_WIRE_RIG_H

#include <stddef.h>
#include <stdint.h>

#include "core/request.h"

struct frame {
    uint8_t *bytes; /* the test frees them */
    size_t len;
};

struct frame request_frame(const struct request *request);
struct frame reply_frame(const struct request *request);
/* That of sample_request(). */
struct frame sample_frame(enum request_kind kind);

/* Little-endian, over what was there. */
void frame_put32(struct frame *frame, size_t at, uint32_t value);
void frame_put64(struct frame *frame, size_t at, uint64_t value);

/* What wire_request_decode() says; what was decoded is gone. */
int decode_request(const struct frame *frame);
/* Decode a copy of the first `len` bytes, as the answer to `asked` or, without, as a request. */
int decode_copy(const uint8_t *bytes, size_t len, const struct request *asked);

#endif
