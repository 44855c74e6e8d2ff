#include "tests/transport/wire_rig.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "tests/transport/samples.h"
#include "transport/wire.h"

struct frame request_frame(const struct request *request)
{
    struct frame frame = {.len = wire_request_size(request)};

    frame.bytes = malloc(frame.len);
    wire_request_encode(request, frame.bytes);
    return frame;
}

struct frame reply_frame(const struct request *request)
{
    struct frame frame = {.len = wire_reply_size(request)};

    frame.bytes = malloc(frame.len);
    wire_reply_encode(request, frame.bytes, false);
    return frame;
}

struct frame sample_frame(enum request_kind kind)
{
    struct request request;

    sample_request(&request, kind);
    return request_frame(&request);
}

void frame_put32(struct frame *frame, size_t at, uint32_t value)
{
    put_le32(frame->bytes + at, value);
}

void frame_put64(struct frame *frame, size_t at, uint64_t value)
{
    put_le64(frame->bytes + at, value);
}

int decode_request(const struct frame *frame)
{
    struct wire_request decoded;
    int rc = wire_request_decode(frame->bytes, frame->len, &decoded);

    wire_request_fini(&decoded);
    return rc;
}

int decode_copy(const uint8_t *bytes, size_t len, const struct request *asked)
{
    struct frame copy = {malloc(len ? len : 1), len};
    struct request request;
    void *memory = NULL;
    int rc;

    memcpy(copy.bytes, bytes, len);
    if (asked) {
        request = *asked;
        rc = wire_reply_decode(copy.bytes, len, &request, &memory);
        free(memory);
    } else {
        rc = decode_request(&copy);
    }
    free(copy.bytes);
    return rc;
}
