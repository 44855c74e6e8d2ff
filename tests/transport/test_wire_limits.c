/* What the fields of a frame may say: both sides of each limit, and lies. */
#include "transport/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/transport/samples.h"
#include "tests/transport/wire_rig.h"

TestSuite(wire_limits, .timeout = 60);

#define POWER(n) (UINT64_C(1) << (n))

/* Where fields lie in a request. */
#define AT_BODY      56
#define AT_PUT_BASE  (AT_BODY + 8)
#define AT_PUT_ITEMS (AT_BODY + 28)
#define AT_PUT_LEN   (AT_BODY + 40)

Test(wire_limits, put_lengths_that_lie_are_refused)
{
    static const uint64_t lies[] = {0,
                                    13,
                                    15,
                                    POWER(31),
                                    POWER(32) + 14,
                                    POWER(63),
                                    UINT64_MAX,
                                    UINT64_MAX - 87,
                                    BATCH_BYTES_MAX,
                                    BATCH_BYTES_MAX + 1};
    struct frame frame = sample_frame(REQUEST_PUT);

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        frame_put64(&frame, AT_PUT_LEN, lies[i]);
        cr_assert_eq(decode_request(&frame), -EPROTO, "length %zu", (size_t)lies[i]);
    }
    free(frame.bytes);
}

Test(wire_limits, put_counts_have_limits)
{
    struct frame frame = sample_frame(REQUEST_PUT);

    frame_put32(&frame, AT_PUT_ITEMS, 0);
    cr_assert_eq(decode_request(&frame), -EPROTO);
    frame_put32(&frame, AT_PUT_ITEMS, BATCH_ITEMS_MAX + 1);
    cr_assert_eq(decode_request(&frame), -EPROTO);
    frame_put32(&frame, AT_PUT_ITEMS, BATCH_ITEMS_MAX);
    cr_assert_eq(decode_request(&frame), 0);
    frame_put64(&frame, AT_PUT_BASE, UINT64_MAX - BATCH_ITEMS_MAX);
    cr_assert_eq(decode_request(&frame), 0);
    frame_put64(&frame, AT_PUT_BASE, UINT64_MAX - BATCH_ITEMS_MAX + 1);
    cr_assert_eq(decode_request(&frame), -EPROTO);
    frame_put64(&frame, AT_PUT_BASE, 0);
    cr_assert_eq(decode_request(&frame), -EPROTO);
    free(frame.bytes);
}

Test(wire_limits, largest_put_comes_back)
{
    struct request request;
    struct wire_request decoded;
    struct frame frame;
    uint8_t *bytes = calloc(1, BATCH_BYTES_MAX);

    sample_request(&request, REQUEST_PUT);
    request.in.put.batch.data = bytes;
    request.in.put.batch.len = BATCH_BYTES_MAX;
    frame = request_frame(&request);
    cr_assert_leq(frame.len, WIRE_FRAME_MAX);
    cr_assert_eq(wire_request_decode(frame.bytes, frame.len, &decoded), 0);
    cr_assert_eq(decoded.request.in.put.batch.len, BATCH_BYTES_MAX);
    wire_request_fini(&decoded);
    free(frame.bytes);
    free(bytes);
}

Test(wire_limits, settle_counts_have_limits)
{
    static const uint32_t lies[] = {0,         4, 6, REQUEST_SETTLEMENTS_MAX + 1, UINT32_C(1) << 31,
                                    UINT32_MAX};
    struct frame frame = sample_frame(REQUEST_SETTLE);

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        frame_put32(&frame, AT_BODY, lies[i]);
        cr_assert_eq(decode_request(&frame), -EPROTO, "count %u", lies[i]);
    }
    free(frame.bytes);
}

Test(wire_limits, most_settlements_come_back)
{
    struct settlement *items = calloc(REQUEST_SETTLEMENTS_MAX, sizeof(*items));
    struct request request;
    struct wire_request decoded;
    struct frame frame;

    for (uint32_t i = 0; i < REQUEST_SETTLEMENTS_MAX; i++)
        items[i] = (struct settlement){SETTLE_NACK, i + 1, i % BATCH_ITEMS_MAX,
                                       i % BATCH_ITEMS_MAX + 1, i};
    sample_request(&request, REQUEST_SETTLE);
    request.in.settle.items = items;
    request.in.settle.n_items = REQUEST_SETTLEMENTS_MAX;
    frame = request_frame(&request);
    cr_assert_eq(wire_request_decode(frame.bytes, frame.len, &decoded), 0);
    cr_assert(sample_same_request(&request, &decoded.request));
    wire_request_fini(&decoded);
    free(frame.bytes);
    free(items);
}

static int settle_range(uint64_t batch, uint32_t from, uint32_t to)
{
    struct settlement item = {SETTLE_ACK, batch, from, to, 1};
    struct request request;
    struct frame frame;
    int rc;

    sample_request(&request, REQUEST_SETTLE);
    request.in.settle.items = &item;
    request.in.settle.n_items = 1;
    frame = request_frame(&request);
    rc = decode_request(&frame);
    free(frame.bytes);
    return rc;
}

Test(wire_limits, ranges_of_items_have_limits)
{
    cr_assert_eq(settle_range(1, 0, 1), 0);
    cr_assert_eq(settle_range(BATCH_NUMBER_MAX, 0, BATCH_ITEMS_MAX), 0);
    cr_assert_eq(settle_range(0, 0, 1), -EPROTO);
    cr_assert_eq(settle_range(BATCH_NUMBER_MAX + 1, 0, 1), -EPROTO);
    cr_assert_eq(settle_range(1, 1, 1), -EPROTO);
    cr_assert_eq(settle_range(1, 0, BATCH_ITEMS_MAX + 1), -EPROTO);
}

static int settle_verb(enum settle_verb verb, uint64_t token)
{
    struct settlement item = {verb, 1, 0, 1, token};
    struct request request;
    struct frame frame;
    int rc;

    sample_request(&request, REQUEST_SETTLE);
    request.in.settle.items = &item;
    request.in.settle.n_items = 1;
    frame = request_frame(&request);
    rc = decode_request(&frame);
    free(frame.bytes);
    return rc;
}

Test(wire_limits, settlements_of_what_nobody_holds_have_no_token)
{
    for (enum settle_verb verb = SETTLE_ACK; verb <= SETTLE_FORGET; verb++) {
        cr_assert_eq(settle_verb(verb, 0), 0, "verb %d", verb);
        cr_assert_eq(settle_verb(verb, 1), verb < SETTLE_DROP ? 0 : -EPROTO, "verb %d", verb);
    }
}

static int get_item(enum get_kind kind, uint64_t item)
{
    struct request request;
    struct frame frame;
    int rc;

    sample_request(&request, REQUEST_GET);
    request.in.get.kind = kind;
    request.in.get.item = item;
    frame = request_frame(&request);
    rc = decode_request(&frame);
    free(frame.bytes);
    return rc;
}

Test(wire_limits, only_a_claim_names_an_item)
{
    cr_assert_eq(get_item(GET_STREAM, 0), 0);
    cr_assert_eq(get_item(GET_STREAM, item_id(1, 0)), -EPROTO);
    cr_assert_eq(get_item(GET_CLAIM, 0), 0);
    cr_assert_eq(get_item(GET_CLAIM, item_id(1, 0)), 0);
    cr_assert_eq(get_item(GET_CLAIM, item_id(1, 0) - 1), -EPROTO);
    cr_assert_eq(get_item(GET_CLAIM, INT64_MAX), 0);
    cr_assert_eq(get_item(GET_CLAIM, (uint64_t)INT64_MAX + 1), -EPROTO);
}

static int list_of(uint32_t states, uint32_t max_items, uint64_t from, uint64_t to)
{
    struct request request;
    struct frame frame;
    int rc;

    sample_request(&request, REQUEST_LIST);
    request.in.list.states = states;
    request.in.list.max_items = max_items;
    request.in.list.from = from;
    request.in.list.to = to;
    frame = request_frame(&request);
    rc = decode_request(&frame);
    free(frame.bytes);
    return rc;
}

Test(wire_limits, lists_have_limits)
{
    const uint64_t end = (uint64_t)INT64_MAX + 1;

    cr_assert_eq(list_of(1 << ITEM_READY, 1, 0, 0), 0);
    cr_assert_eq(list_of(0, 1, 0, 0), -EPROTO);
    cr_assert_eq(list_of(1 << ITEM_DEAD, 1, 0, 0), 0);
    cr_assert_eq(list_of(1 << ITEM_DONE, 1, 0, 0), -EPROTO);
    cr_assert_eq(list_of(1 << ITEM_READY, 0, 0, 0), -EPROTO);
    cr_assert_eq(list_of(1 << ITEM_READY, REQUEST_ITEMS_MAX, 0, 0), 0);
    cr_assert_eq(list_of(1 << ITEM_READY, REQUEST_ITEMS_MAX + 1, 0, 0), -EPROTO);
    cr_assert_eq(list_of(1 << ITEM_READY, 1, end - 1, end), 0);
    cr_assert_eq(list_of(1 << ITEM_READY, 1, end, 0), -EPROTO);
    cr_assert_eq(list_of(1 << ITEM_READY, 1, 0, end + 1), -EPROTO);
    cr_assert_eq(list_of(1 << ITEM_READY, 1, 5, 6), 0);
    cr_assert_eq(list_of(1 << ITEM_READY, 1, 5, 5), -EPROTO);
}

/* The answer to a request for items 10 to 19 of batch 1 that are ready or dead, with bytes. */
static int list_answer(const struct item_info *items, size_t n, uint64_t next, size_t len)
{
    static const uint8_t bytes[8];
    struct request request;
    struct frame frame;
    int rc;

    sample_request(&request, REQUEST_LIST);
    sample_answer(&request);
    request.in.list.states = 1 << ITEM_READY | 1 << ITEM_DEAD;
    request.in.list.from = item_id(1, 10);
    request.in.list.to = item_id(1, 20);
    request.in.list.max_items = 2;
    request.out.list.items = items;
    request.out.list.n_items = n;
    request.out.list.next = next;
    request.out.list.data = bytes;
    request.out.list.len = len;
    frame = reply_frame(&request);
    rc = decode_copy(frame.bytes, frame.len, &request);
    free(frame.bytes);
    return rc;
}

Test(wire_limits, listed_items_are_what_was_asked_for)
{
    const struct item_info good = {.id = item_id(1, 10), .size = 3, .state = ITEM_READY};
    struct item_info items[3] = {good, good, good};

    items[1].id++;
    items[2].id += 2;
    cr_assert_eq(list_answer(items, 2, 0, 3), 0);
    cr_assert_eq(list_answer(items, 3, 0, 3), -EPROTO);
    cr_assert_eq(list_answer(items, 2, 0, 4), -EPROTO);
    cr_assert_eq(list_answer(items, 2, 0, 0), -EPROTO);
    cr_assert_eq(list_answer(items, 2, items[2].id, 3), 0);
    cr_assert_eq(list_answer(items, 2, items[1].id, 3), -EPROTO);
    cr_assert_eq(list_answer(NULL, 0, 0, 0), 0);
    cr_assert_eq(list_answer(NULL, 0, 0, 1), -EPROTO);
    cr_assert_eq(list_answer(NULL, 0, item_id(1, 10), 0), -EPROTO);
    cr_assert_eq(list_answer(NULL, 0, item_id(1, 11), 0), 0);
    items[1].id--;
    cr_assert_eq(list_answer(items, 2, 0, 3), -EPROTO);
    items[1].id = item_id(1, 20);
    cr_assert_eq(list_answer(items, 2, 0, 3), -EPROTO);
    items[1] = good;
    items[1].id++;
    items[1].state = ITEM_DEAD;
    cr_assert_eq(list_answer(items, 2, 0, 3), 0);
    items[1].state = ITEM_LEASED;
    cr_assert_eq(list_answer(items, 2, 0, 3), -EPROTO);
    items[0].id--;
    cr_assert_eq(list_answer(items, 1, 0, 3), -EPROTO);
}

static int make_named(const char *name)
{
    struct request request;
    struct frame frame;
    int rc;

    sample_request(&request, REQUEST_MAKE);
    request.in.make.name = name;
    frame = request_frame(&request);
    rc = decode_request(&frame);
    free(frame.bytes);
    return rc;
}

Test(wire_limits, names_that_are_not_allowed_are_einval)
{
    char longest[QUEUE_NAME_MAX + 1] = {0};
    struct frame frame = sample_frame(REQUEST_MAKE);

    memset(longest, 'x', QUEUE_NAME_MAX);
    cr_assert_eq(make_named(longest), 0);
    cr_assert_eq(make_named("a/b"), -EINVAL);
    cr_assert_eq(make_named(""), -EINVAL);
    cr_assert_eq(make_named("stats"), -EINVAL);
    frame.bytes[AT_BODY + 3] = '\0';
    cr_assert_eq(decode_request(&frame), -EINVAL);
    frame.bytes[AT_BODY + 1] = QUEUE_NAME_MAX + 1;
    cr_assert_eq(decode_request(&frame), -EPROTO);
    free(frame.bytes);
}

Test(wire_limits, settings_that_are_not_allowed_are_einval)
{
    const size_t settings = AT_BODY + 2 + strlen("a-new_Queue9");
    struct frame frame = sample_frame(REQUEST_MAKE);

    frame_put64(&frame, settings + 16, 3);
    cr_assert_eq(decode_request(&frame), -EINVAL);
    frame_put64(&frame, settings + 16, UINT64_MAX);
    cr_assert_eq(decode_request(&frame), -EINVAL);
    free(frame.bytes);
}

Test(wire_limits, fields_that_are_not_the_queues_own_are_einval)
{
    struct frame frame = sample_frame(REQUEST_SET);

    frame_put64(&frame, AT_BODY, SETTINGS_OWN + 1);
    cr_assert_eq(decode_request(&frame), -EINVAL);
    frame_put64(&frame, AT_BODY, SETTINGS_OWN);
    cr_assert_eq(decode_request(&frame), 0);
    free(frame.bytes);
}

Test(wire_limits, choices_have_limits)
{
    static const struct {
        enum request_kind kind;
        size_t at;
        uint8_t value;
    } wrong[] = {
        {REQUEST_GET, AT_BODY, GET_CLAIM + 1},
        {REQUEST_GET, AT_BODY + 1, 2},
        {REQUEST_GET, AT_BODY + 2, 1},
        {REQUEST_GET, AT_BODY + 15, 1},
        {REQUEST_PUT, AT_BODY + 24, FRAMING_FILE + 1},
        {REQUEST_PUT, AT_BODY + 25, 2},
        {REQUEST_PUT, AT_BODY + 26, 1},
        {REQUEST_PUT, 5, 2},
        {REQUEST_SETTLE, AT_BODY + 4 + 24, SETTLE_FORGET + 1},
        {REQUEST_LIST, AT_BODY + 24, 2},
        {REQUEST_LIST, AT_BODY + 25, 1},
        {REQUEST_LIST, AT_BODY + 27, 1},
        {REQUEST_MAKE, AT_BODY, 2},
        {REQUEST_ARM, AT_BODY, 0},
        {REQUEST_ARM, AT_BODY, EVENT_QUEUES},
        {REQUEST_ARM, AT_BODY + 3, 1},
        {REQUEST_WATCH, AT_BODY + 15, 0x80},
        {REQUEST_PURGE, 6, 1},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct frame frame = sample_frame(wrong[i].kind);

        frame.bytes[wrong[i].at] = wrong[i].value;
        cr_assert_eq(decode_request(&frame), -EPROTO, "row %zu", i);
        free(frame.bytes);
    }
}

Test(wire_limits, get_wants_at_least_one_item)
{
    struct frame frame = sample_frame(REQUEST_GET);

    frame_put32(&frame, AT_BODY + 4, 0);
    cr_assert_eq(decode_request(&frame), -EPROTO);
    free(frame.bytes);
}

Test(wire_limits, get_asks_for_no_more_than_a_frame_holds)
{
    struct request request;
    struct wire_request decoded;
    struct frame frame;

    sample_request(&request, REQUEST_GET);
    request.in.get.max_bytes = SIZE_MAX;
    frame = request_frame(&request);
    cr_assert_eq(wire_request_decode(frame.bytes, frame.len, &decoded), 0);
    cr_assert_eq(decoded.request.in.get.max_bytes, BATCH_BYTES_MAX);
    wire_request_fini(&decoded);
    free(frame.bytes);
}

static int get_answer(size_t offset, size_t len, uint64_t data_len, uint32_t n_grants)
{
    struct grant grant = {1, 0, 1, 1, FRAMING_LINE, 0, offset, len, 0, 0};
    struct request request;
    struct frame frame;
    int rc;

    sample_request(&request, REQUEST_GET);
    sample_answer(&request);
    request.out.get.grants = &grant;
    request.out.get.n_grants = 1;
    frame = reply_frame(&request);
    frame_put64(&frame, WIRE_REPLY_DATA - 16, data_len);
    frame_put32(&frame, WIRE_REPLY_DATA - 8, n_grants);
    rc = decode_copy(frame.bytes, frame.len, &request);
    free(frame.bytes);
    return rc;
}

Test(wire_limits, grants_lie_within_the_data)
{
    cr_assert_eq(get_answer(0, 14, 14, 1), 0);
    cr_assert_eq(get_answer(14, 0, 14, 1), 0);
    cr_assert_eq(get_answer(0, 15, 14, 1), -EPROTO);
    cr_assert_eq(get_answer(15, 0, 14, 1), -EPROTO);
    cr_assert_eq(get_answer(SIZE_MAX, 14, 14, 1), -EPROTO);
    cr_assert_eq(get_answer(14, SIZE_MAX - 13, 14, 1), -EPROTO);
    cr_assert_eq(get_answer(0, 14, 13, 1), -EPROTO);
    cr_assert_eq(get_answer(0, 14, UINT64_MAX, 1), -EPROTO);
    cr_assert_eq(get_answer(0, 14, POWER(63), 1), -EPROTO);
    cr_assert_eq(get_answer(0, 14, POWER(31), 1), -EPROTO);
    cr_assert_eq(get_answer(0, 14, 14, 2), -EPROTO);
    cr_assert_eq(get_answer(0, 14, 14, UINT32_MAX), -EPROTO);
    cr_assert_eq(get_answer(0, 14, 78, 0), 0);
}
