#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "core/bytes.h"
#include "core/store/record.h"
#include "tests/core/store/store_fixture.h"

static int decode_queue(const void *row, size_t len)
{
    struct queue_record record;

    return record_queue_decode(&record, row, len);
}

static int decode_sequence(const void *row, size_t len)
{
    struct sequence_record record;

    return record_sequence_decode(&record, row, len);
}

static int decode_batch(const void *row, size_t len)
{
    struct batch_view view;

    return record_batch_decode(&view, row, len);
}

/* The row decodes as it is, but no shorter or longer. */
static void expect_checked(const uint8_t *row, size_t len, int (*decode)(const void *, size_t))
{
    uint8_t *copy = malloc(len + 1);

    cr_assert_not_null(copy);
    memcpy(copy, row, len);
    copy[len] = 0;
    cr_assert_eq(decode(copy, len), 0);
    cr_assert_eq(decode(copy, len + 1), -EBADMSG);
    free(copy);
    for (size_t shorter = 0; shorter < len; shorter++) {
        copy = malloc(shorter + 1);
        cr_assert_not_null(copy);
        memcpy(copy + 1, row, shorter);
        cr_assert_eq(decode(copy + 1, shorter), -EBADMSG);
        free(copy);
    }
}

Test(record, a_queue_is_checked, .timeout = 10)
{
    struct queue_record record = record_of(1, "jobs");
    uint8_t row[RECORD_QUEUE_BYTES];

    record_queue_encode(&record, row);
    expect_checked(row, sizeof(row), decode_queue);
}

Test(record, a_sequence_is_checked, .timeout = 10)
{
    struct sequence_record record = sequence_of(1, 77);
    uint8_t row[RECORD_SEQUENCE_BYTES];

    record_sequence_encode(&record, row);
    expect_checked(row, sizeof(row), decode_sequence);
}

Test(record, a_batch_header_is_checked, .timeout = 10)
{
    struct batch_view view = {.framing = FRAMING_LINE, .n_items = 1, .len = 0, .put_time_us = 9};
    uint8_t row[RECORD_BATCH_BYTES];

    record_batch_encode(&view, row);
    expect_checked(row, sizeof(row), decode_batch);
}

Test(record, bytes_on_disk_are_little_endian, .timeout = 10)
{
    struct batch_view view = {.framing = FRAMING_NUL,
                              .n_items = 0x01020304,
                              .len = 0x05060708,
                              .crc = 0x090a0b0c,
                              .put_time_us = 0x1112131415161718};
    static const uint8_t expected[] = {1,    1,    0,    0,    4,    3,    2,    1,
                                       8,    7,    6,    5,    0xc,  0xb,  0xa,  9,
                                       0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};
    uint8_t row[RECORD_BATCH_BYTES];

    record_batch_encode(&view, row);
    cr_assert_eq(memcmp(row, expected, sizeof(expected)), 0);
}

Test(record, name_that_no_queue_may_have_is_damage, .timeout = 10)
{
    static const char *const names[] = {"", "a/b", "_x", "stats", "a b"};
    uint8_t row[RECORD_QUEUE_BYTES];

    for (size_t i = 0; i < 5; i++) {
        struct queue_record record = record_of(1, names[i]);

        record_queue_encode(&record, row);
        cr_assert_eq(decode_queue(row, sizeof(row)), -EBADMSG);
    }
}

/* A row by hand: so many settings and counters, numbers from 1 on. */
static size_t queue_row(uint8_t *row, uint8_t version, uint8_t n_settings, uint8_t n_counters)
{
    uint8_t *at = row + 2 + QUEUE_NAME_MAX;

    memset(row, 0, 2 + QUEUE_NAME_MAX);
    row[0] = version;
    row[1] = 4;
    memcpy(row + 2, "jobs", 4);
    *at++ = n_settings;
    *at++ = n_counters;
    for (unsigned i = 1; i <= n_settings + 4u + n_counters; i++)
        at = put_le64(at, i);
    return (size_t)(at - row);
}

Test(record, what_a_queue_of_an_earlier_program_lacks_is_the_default, .timeout = 10)
{
    struct queue_record record;
    uint8_t row[512];
    size_t len = queue_row(row, RECORD_VERSION, 3, 1);

    cr_assert_eq(record_queue_decode(&record, row, len), 0);
    cr_assert_eq(record.settings.framing, 3);
    cr_assert_eq(record.settings.lease_us, setting_find("lease")->fallback);
    cr_assert_eq(record.settings.mode, 0600);
    cr_assert_eq(record.next_batch, 4);
    cr_assert_eq(record.total_puts, 8);
    cr_assert_eq(record.total_gets, 0);
    expect_checked(row, len, decode_queue);
}

Test(record, queue_of_a_later_program_is_refused, .timeout = 10)
{
    uint8_t row[2048];
    uint8_t v = RECORD_VERSION;

    cr_assert_eq(decode_queue(row, queue_row(row, v, QUEUE_N_SETTINGS + 1, 1)), -EBADMSG);
    cr_assert_eq(decode_queue(row, queue_row(row, v, 1, QUEUE_N_COUNTERS + 1)), -EBADMSG);
    cr_assert_eq(decode_queue(row, queue_row(row, v + 1, 10, 6)), -EBADMSG);
}
