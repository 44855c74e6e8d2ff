/* Frames there and back; foreign, cut and mutated frames. What their fields may say is in
 * test_wire_limits.c. */
#include "transport/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/transport/samples.h"
#include "tests/transport/wire_rig.h"

TestSuite(wire, .timeout = 60);

#define FUZZ_ROUNDS 100000
#define AT_KIND     4

Test(wire, request_of_each_kind_comes_back)
{
    for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++) {
        struct request request;
        struct wire_request decoded;
        struct frame frame;

        sample_request(&request, kind);
        frame = request_frame(&request);
        cr_assert_eq(wire_request_decode(frame.bytes, frame.len, &decoded), 0, "kind %d", kind);
        cr_assert(sample_same_request(&request, &decoded.request), "kind %d", kind);
        wire_request_fini(&decoded);
        free(frame.bytes);
    }
}

Test(wire, answer_of_each_kind_comes_back)
{
    for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++) {
        struct request request, decoded;
        struct frame frame;
        void *memory;

        sample_request(&request, kind);
        decoded = request;
        sample_answer(&request);
        frame = reply_frame(&request);
        cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), 0, "kind %d",
                     kind);
        cr_assert(sample_same_answer(&request, &decoded), "kind %d", kind);
        free(memory);
        free(frame.bytes);
    }
}

Test(wire, empty_answers_come_back)
{
    for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++) {
        struct request request, decoded;
        struct frame frame;
        void *memory;

        if (kind == REQUEST_MAKE || kind == REQUEST_SET)
            continue;
        sample_request(&request, kind);
        decoded = request;
        frame = reply_frame(&request);
        cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), 0);
        cr_assert(sample_same_answer(&request, &decoded));
        cr_assert_null(memory);
        free(frame.bytes);
    }
}

Test(wire, every_status_comes_back)
{
    static const int statuses[] = {0,       -ENOENT, -ETIMEDOUT, -ESHUTDOWN, -ENOMEM, -EPROTO,
                                   -EIO,    -ENOSPC, -EMSGSIZE,  -EBADMSG,   -ESTALE, -EEXIST,
                                   -EINVAL, -EAGAIN, -ENOTEMPTY, -EBUSY,     -EPERM,  -EACCES};

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct request request, decoded;
        struct frame frame;
        void *memory;

        sample_request(&request, REQUEST_PUT);
        decoded = request;
        sample_answer(&request);
        request.status = statuses[i];
        frame = reply_frame(&request);
        cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), 0);
        cr_assert_eq(decoded.status, statuses[i]);
        cr_assert_eq(decoded.out.put.last, request.out.put.last);
        free(frame.bytes);
    }
}

Test(wire, status_without_a_number_is_eio)
{
    struct request request, decoded;
    struct frame frame;
    void *memory;

    sample_request(&request, REQUEST_REMOVE);
    decoded = request;
    request.status = -EXDEV;
    frame = reply_frame(&request);
    cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), 0);
    cr_assert_eq(decoded.status, -EIO);
    frame_put32(&frame, 16, 1000);
    cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), -EPROTO);
    free(frame.bytes);
}

Test(wire, failed_answer_has_no_lists)
{
    struct request request, decoded;
    struct frame frame;
    void *memory;

    sample_request(&request, REQUEST_GET);
    decoded = request;
    sample_answer(&request);
    request.status = -ENOENT;
    frame = reply_frame(&request);
    cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), 0);
    cr_assert_eq(decoded.status, -ENOENT);
    cr_assert_eq(decoded.out.get.n_grants, 0);
    cr_assert_null(decoded.out.get.data);
    free(frame.bytes);
}

Test(wire, data_laid_before_is_left_there)
{
    struct request request, decoded;
    struct frame frame;
    void *memory;

    sample_request(&request, REQUEST_GET);
    decoded = request;
    sample_answer(&request);
    frame.len = wire_reply_size(&request);
    frame.bytes = malloc(frame.len);
    memcpy(frame.bytes + WIRE_REPLY_DATA, request.out.get.data, request.out.get.len);
    wire_reply_encode(&request, frame.bytes, true);
    cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), 0);
    cr_assert(sample_same_answer(&request, &decoded));
    cr_assert_eq(decoded.out.get.data, frame.bytes + WIRE_REPLY_DATA);
    free(memory);
    free(frame.bytes);
}

Test(wire, data_of_a_list_laid_before_is_left_there)
{
    struct request request, decoded;
    struct frame frame;
    void *memory;

    sample_request(&request, REQUEST_LIST);
    decoded = request;
    sample_answer(&request);
    frame.len = wire_reply_size(&request);
    frame.bytes = malloc(frame.len);
    memcpy(frame.bytes + WIRE_REPLY_DATA, request.out.list.data, request.out.list.len);
    wire_reply_encode(&request, frame.bytes, true);
    cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &decoded, &memory), 0);
    cr_assert(sample_same_answer(&request, &decoded));
    cr_assert_eq(decoded.out.list.data, frame.bytes + WIRE_REPLY_DATA);
    free(memory);
    free(frame.bytes);
}

Test(wire, answer_to_another_request_is_refused)
{
    struct request request, other;
    struct frame frame;
    void *memory;

    sample_request(&request, REQUEST_PURGE);
    sample_answer(&request);
    frame = reply_frame(&request);
    sample_request(&other, REQUEST_PURGE);
    other.number++;
    cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &other, &memory), -EPROTO);
    sample_request(&other, REQUEST_SETTLE);
    cr_assert_eq(wire_reply_decode(frame.bytes, frame.len, &other, &memory), -EPROTO);
    free(frame.bytes);
}

Test(wire, request_cut_at_any_length_is_refused)
{
    for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++) {
        struct frame frame = sample_frame(kind);

        for (size_t len = 0; len < frame.len; len++)
            cr_assert_neq(decode_copy(frame.bytes, len, NULL), 0, "kind %d len %zu", kind, len);
        free(frame.bytes);
    }
}

Test(wire, answer_cut_at_any_length_is_refused)
{
    for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++) {
        struct request request;
        struct frame frame;

        sample_request(&request, kind);
        sample_answer(&request);
        frame = reply_frame(&request);
        for (size_t len = 0; len < frame.len; len++)
            cr_assert_neq(decode_copy(frame.bytes, len, &request), 0, "kind %d len %zu", kind, len);
        free(frame.bytes);
    }
}

Test(wire, frame_with_a_tail_is_refused)
{
    for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++) {
        struct frame frame = sample_frame(kind);

        frame.bytes = realloc(frame.bytes, frame.len + 1);
        frame.bytes[frame.len] = 0;
        cr_assert_eq(decode_copy(frame.bytes, frame.len + 1, NULL), -EPROTO, "kind %d", kind);
        free(frame.bytes);
    }
}

Test(wire, other_version_and_foreign_frames_are_told_apart)
{
    struct frame frame = sample_frame(REQUEST_PURGE);

    frame.bytes[3] = WIRE_VERSION + 1;
    cr_assert_eq(decode_request(&frame), WIRE_OTHER_VERSION);
    cr_assert_eq(wire_version(frame.bytes), WIRE_VERSION + 1);
    cr_assert_eq(decode_copy(frame.bytes, 4, NULL), WIRE_OTHER_VERSION);
    frame.bytes[0] = 'Q';
    cr_assert_eq(decode_request(&frame), WIRE_FOREIGN);
    free(frame.bytes);
}

Test(wire, unknown_kind_is_refused)
{
    struct frame frame = sample_frame(REQUEST_PURGE);

    frame.bytes[AT_KIND] = REQUEST_KINDS;
    cr_assert_eq(decode_request(&frame), -EPROTO);
    frame.bytes[AT_KIND] = 255;
    cr_assert_eq(decode_request(&frame), -EPROTO);
    free(frame.bytes);
}

/* Change some bytes, and now and then the length. */
static size_t mutate(uint8_t *bytes, size_t len)
{
    int n = 1 + rand() % 4;

    while (n-- > 0)
        bytes[(size_t)rand() % len] = (uint8_t)rand();
    return rand() % 4 == 0 ? (size_t)rand() % (len + 1) : len;
}

Test(wire, mutated_requests_harm_nothing)
{
    srand(20240229);
    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        struct frame frame = sample_frame((enum request_kind)(rand() % REQUEST_KINDS));
        size_t len = mutate(frame.bytes, frame.len);
        int rc = decode_copy(frame.bytes, len, NULL);

        cr_assert(rc == 0 || rc == -EPROTO || rc == -EINVAL || rc > 0, "rc %d", rc);
        free(frame.bytes);
    }
}

Test(wire, mutated_answers_harm_nothing)
{
    srand(20250301);
    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        struct request request;
        struct frame frame;
        size_t len;
        int rc;

        sample_request(&request, (enum request_kind)(rand() % REQUEST_KINDS));
        sample_answer(&request);
        frame = reply_frame(&request);
        len = mutate(frame.bytes, frame.len);
        rc = decode_copy(frame.bytes, len, &request);
        cr_assert(rc == 0 || rc == -EPROTO || rc > 0, "rc %d", rc);
        free(frame.bytes);
    }
}
