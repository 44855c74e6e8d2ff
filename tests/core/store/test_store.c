/* What every store promises of its rows and transactions; of its space: test_store_space.c. */
#include <errno.h>
#include <stddef.h>

#include <criterion/criterion.h>

#include "tests/core/store/store_engines.h"

STORE_TEST(empty_store_has_no_rows)
{
    struct queue_record record;
    struct sequence_record sequence;
    uint64_t number = 7;

    cr_assert_eq(store->ops->queue_next(store, 0, &record), -ENOENT);
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 0);
    expect_next(store, 1, 0, 0);
    expect_no_batch(store, 1, 1);
    expect_mark(store, 1, 0, 0, NULL);
    cr_assert_eq(store->ops->sequence_next(store, 1, NULL, &sequence), -ENOENT);
    cr_assert_not(is_full(store));
}

STORE_TEST(queue_record_comes_back_whole)
{
    struct queue_record record = {
        .number = 5,
        .name = "a-name_1",
        .settings = {.maxsize = 1,
                     .max_item_size = 2,
                     .framing = FRAMING_FILE,
                     .lease_us = 3,
                     .lease_max_us = 4,
                     .retry_delay_us = 5,
                     .max_deliveries = 6,
                     .mode = 0660,
                     .owner = 4294967294,
                     .group = INT64_MAX},
        .next_batch = BATCH_NUMBER_MAX,
        .n_items = UINT64_MAX,
        .n_bytes = 10,
        .made_us = INT64_MIN,
        .total_puts = 11,
        .total_gets = 12,
        .batch_puts = 13,
        .batch_gets = 14,
        .redelivered = 15,
        .expired = 16,
    };
    const size_t tail = sizeof(record) - offsetof(struct queue_record, next_batch);
    struct queue_record found;

    memset(&found, 0xaa, sizeof(found));
    begin(store);
    cr_assert_eq(store->ops->queue_put(store, &record), 0);
    commit(store);
    cr_assert_eq(store->ops->queue_next(store, 0, &found), 0);
    cr_assert_eq(found.number, 5);
    cr_assert_str_eq(found.name, record.name);
    cr_assert_eq(memcmp(&found.settings, &record.settings, sizeof(found.settings)), 0);
    cr_assert_eq(memcmp(&found.next_batch, &record.next_batch, tail), 0);
}

STORE_TEST(queue_name_of_the_longest_kind_comes_back)
{
    struct queue_record found;
    char name[QUEUE_NAME_MAX + 1] = "";

    memset(name, 'n', QUEUE_NAME_MAX);
    begin(store);
    put_queue(store, 1, name);
    commit(store);
    cr_assert_eq(store->ops->queue_next(store, 1, &found), 0);
    cr_assert_str_eq(found.name, name);
}

STORE_TEST(queues_come_in_order_of_number)
{
    struct queue_record found;

    begin(store);
    put_queue(store, 256, "c");
    put_queue(store, 1, "a");
    put_queue(store, 255, "b");
    commit(store);
    cr_assert_eq(store->ops->queue_next(store, 0, &found), 0);
    cr_assert_eq(found.number, 1);
    cr_assert_eq(store->ops->queue_next(store, 2, &found), 0);
    cr_assert_eq(found.number, 255);
    cr_assert_eq(store->ops->queue_next(store, 256, &found), 0);
    cr_assert_str_eq(found.name, "c");
    cr_assert_eq(store->ops->queue_next(store, 257, &found), -ENOENT);
}

STORE_TEST(queue_put_replaces)
{
    struct queue_record found;

    begin(store);
    put_queue(store, 1, "old");
    put_queue(store, 1, "new");
    commit(store);
    cr_assert_eq(store->ops->queue_next(store, 0, &found), 0);
    cr_assert_str_eq(found.name, "new");
    cr_assert_eq(store->ops->queue_next(store, 2, &found), -ENOENT);
}

STORE_TEST(last_queue_number_survives_removal)
{
    struct queue_record found;
    uint64_t number;

    begin(store);
    put_queue(store, 9, "a");
    put_queue(store, 3, "b");
    commit(store);
    begin(store);
    cr_assert_eq(store->ops->queue_remove(store, 9), 0);
    commit(store);
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 9);
    cr_assert_eq(store->ops->queue_next(store, 4, &found), -ENOENT);
}

static void fill_queue(uint64_t queue, const char *name)
{
    put_queue(store, queue, name);
    for (uint64_t batch = 1; batch <= 300; batch++)
        put_text(store, queue, batch, "one\ntwo\n");
    put_mark(store, queue, 2, "mark");
    put_sequence(store, queue, 1, 10);
    put_sequence(store, queue, 0xff, 11);
}

STORE_TEST(queue_remove_takes_its_rows_and_no_others)
{
    struct sequence_record sequence;
    struct queue_record record;

    begin(store);
    fill_queue(1, "a");
    fill_queue(2, "b");
    fill_queue(3, "c");
    commit(store);
    begin(store);
    cr_assert_eq(store->ops->queue_remove(store, 2), 0);
    commit(store);

    cr_assert_eq(store->ops->queue_next(store, 2, &record), 0);
    cr_assert_eq(record.number, 3);
    expect_next(store, 2, 0, 0);
    expect_mark(store, 2, 0, 0, NULL);
    cr_assert_eq(store->ops->sequence_next(store, 2, NULL, &sequence), -ENOENT);
    for (uint64_t queue = 1; queue <= 3; queue += 2) {
        expect_text(store, queue, 300, "one\ntwo\n");
        expect_mark(store, queue, 0, 2, "mark");
        cr_assert_eq(store->ops->sequence_next(store, queue, NULL, &sequence), 0);
    }
}

STORE_TEST(removing_what_is_not_there_leaves_the_transaction)
{
    struct producer_id producer = {{1}};

    begin(store);
    put_queue(store, 1, "a");
    cr_assert_eq(store->ops->queue_remove(store, 2), -ENOENT);
    cr_assert_eq(store->ops->batch_remove(store, 1, 1), -ENOENT);
    cr_assert_eq(store->ops->mark_remove(store, 1, 1), 0);
    cr_assert_eq(store->ops->sequence_remove(store, 1, &producer), -ENOENT);
    put_text(store, 1, 1, "x\n");
    commit(store);
    expect_text(store, 1, 1, "x\n");
}

STORE_TEST(batch_comes_back_whole)
{
    static const uint8_t table[] = {3, 0, 0, 0, 0, 0, 0, 0, 'x', 0, '\n'};
    struct batch_view line = view_of("first\n\nthird\r\n"), view;
    struct batch_view nul = {.framing = FRAMING_NUL, .n_items = 2, .len = 4};
    struct batch_view file = {.framing = FRAMING_FILE, .n_items = 2, .len = sizeof(table)};

    nul.data = (const uint8_t *)"a\0b";
    nul.crc = crc32c(nul.data, nul.len);
    file.data = table;
    file.crc = crc32c(table, sizeof(table));
    file.put_time_us = INT64_MIN;
    begin(store);
    cr_assert_eq(store->ops->batch_put(store, 1, 1, &line), 0);
    cr_assert_eq(store->ops->batch_put(store, 1, 2, &nul), 0);
    cr_assert_eq(store->ops->batch_put(store, 1, 3, &file), 0);
    commit(store);

    expect_text(store, 1, 1, "first\n\nthird\r\n");
    cr_assert_eq(store->ops->batch_get(store, 1, 1, &view), 0);
    cr_assert_eq(view.n_items, 3);
    cr_assert_eq(view.crc, line.crc);
    cr_assert_eq(view.put_time_us, line.put_time_us);
    cr_assert_eq(store->ops->batch_get(store, 1, 2, &view), 0);
    cr_assert_eq(view.framing, FRAMING_NUL);
    cr_assert_eq(store->ops->batch_get(store, 1, 3, &view), 0);
    cr_assert_eq(view.framing, FRAMING_FILE);
    cr_assert_eq(view.n_items, 2);
    cr_assert_eq(view.len, sizeof(table));
    cr_assert_eq(memcmp(view.data, table, sizeof(table)), 0);
    cr_assert_eq(view.put_time_us, INT64_MIN);
}

STORE_TEST(batches_of_any_size_come_back)
{
    static const size_t sizes[] = {1, 100, 1900, 2000, 2100, 4096, 100000, 5000000};
    uint8_t *to = malloc(5000000);

    begin(store);
    for (uint64_t i = 0; i < 8; i++)
        cr_assert_eq(put_len(store, 1, i + 1, sizes[i]), 0);
    commit(store);
    for (uint64_t i = 0; i < 8; i++) {
        uint8_t *expected = lines_new(sizes[i], (uint32_t)i + 1);
        struct batch_view view;

        cr_assert_eq(store->ops->batch_get(store, 1, i + 1, &view), 0);
        cr_assert_eq(view.len, sizes[i]);
        cr_assert_eq(memcmp(view.data, expected, sizes[i]), 0);
        cr_assert_eq(batch_verify(&view), 0);
        memset(to, 0, sizes[i]);
        cr_assert_eq(store->ops->batch_read(store, 1, i + 1, to, sizes[i], &view), 0);
        cr_assert_eq(view.data, to);
        cr_assert_eq(memcmp(to, expected, sizes[i]), 0);
        cr_assert_eq(store->ops->batch_read(store, 1, i + 1, to, sizes[i] - 1, &view), -EBADMSG);
        free(expected);
    }
    free(to);
}

STORE_TEST(batches_come_in_order_of_number_over_gaps)
{
    static const uint64_t numbers[] = {1, 255, 256, 257, 65535, 65536, BATCH_NUMBER_MAX};

    begin(store);
    put_text(store, 3, 1, "other\n");
    for (size_t i = 0; i < 7; i++)
        put_text(store, 2, numbers[i], "x\n");
    put_text(store, 1, 1, "other\n");
    commit(store);
    expect_next(store, 2, 0, 1);
    for (size_t i = 1; i < 7; i++)
        expect_next(store, 2, numbers[i - 1] + 1, numbers[i]);
    expect_next(store, 2, BATCH_NUMBER_MAX + 1, 0);
    expect_next(store, 2, UINT64_MAX, 0);
    expect_next(store, 1, 2, 0);
    expect_next(store, 0, 0, 0);
}

STORE_TEST(batches_of_many_queues_interleave)
{
    for (uint64_t batch = 1; batch <= 100; batch++) {
        begin(store);
        for (uint64_t queue = 1; queue <= 5; queue++)
            put_text(store, queue, batch, queue == 3 ? "three\n" : "x\n");
        commit(store);
    }
    for (uint64_t batch = 1; batch <= 100; batch++)
        expect_text(store, 3, batch, "three\n");
    expect_next(store, 3, 101, 0);
}

STORE_TEST(aborted_transaction_may_be_aborted_again)
{
    begin(store);
    put_text(store, 1, 1, "x\n");
    store->ops->abort(store);
    begin(store);
    store->ops->abort(store);
    store->ops->abort(store);
    expect_no_batch(store, 1, 1);
}

STORE_TEST(batch_remove_takes_its_mark)
{
    begin(store);
    put_text(store, 1, 1, "a\n");
    put_text(store, 1, 2, "b\n");
    put_mark(store, 1, 1, "one");
    put_mark(store, 1, 2, "two");
    commit(store);
    begin(store);
    cr_assert_eq(store->ops->batch_remove(store, 1, 1), 0);
    commit(store);
    expect_no_batch(store, 1, 1);
    expect_next(store, 1, 0, 2);
    expect_mark(store, 1, 0, 2, "two");
}

STORE_TEST(marks_are_replaced_and_come_in_order)
{
    begin(store);
    put_mark(store, 1, 300, "c");
    put_mark(store, 1, 2, "short");
    put_mark(store, 1, 2, "quite a bit longer than before");
    put_mark(store, 1, 255, "");
    put_mark(store, 2, 1, "other");
    commit(store);
    expect_mark(store, 1, 0, 2, "quite a bit longer than before");
    expect_mark(store, 1, 3, 255, "");
    expect_mark(store, 1, 256, 300, "c");
    expect_mark(store, 1, 301, 0, NULL);

    begin(store);
    cr_assert_eq(store->ops->mark_remove(store, 1, 255), 0);
    put_mark(store, 1, 2, "s");
    commit(store);
    expect_mark(store, 1, 0, 2, "s");
    expect_mark(store, 1, 3, 300, "c");
}

STORE_TEST(mark_of_as_many_spans_as_items_comes_back)
{
    size_t len = 40 * BATCH_ITEMS_MAX;
    uint8_t *bitmap = lines_new(len, 1);
    const void *data;
    uint64_t batch;
    size_t found;

    begin(store);
    cr_assert_eq(store->ops->mark_put(store, 1, 1, bitmap, len), 0);
    commit(store);
    cr_assert_eq(store->ops->mark_next(store, 1, 1, &batch, &data, &found), 0);
    cr_assert_eq(found, len);
    cr_assert_eq(memcmp(data, bitmap, len), 0);
    free(bitmap);
}

STORE_TEST(sequences_come_in_order_of_producer)
{
    static const uint8_t order[] = {0x00, 0x7f, 0x80, 0xff};
    struct sequence_record found;
    const struct producer_id *after = NULL;

    begin(store);
    put_sequence(store, 1, 0x80, 3);
    put_sequence(store, 1, 0x00, 1);
    put_sequence(store, 1, 0xff, 4);
    put_sequence(store, 1, 0x7f, 1);
    put_sequence(store, 1, 0x7f, 2);
    put_sequence(store, 2, 0x81, 9);
    commit(store);
    for (uint64_t i = 0; i < 4; i++) {
        struct sequence_record expected = sequence_of(order[i], i + 1);

        cr_assert_eq(store->ops->sequence_next(store, 1, after, &found), 0);
        if (order[i] == 0)
            expected.last = 1;
        cr_assert_eq(memcmp(&found, &expected, sizeof(found)), 0);
        after = &found.producer;
    }
    cr_assert_eq(store->ops->sequence_next(store, 1, after, &found), -ENOENT);
}

STORE_TEST(sequence_next_takes_an_absent_producer_as_start)
{
    struct producer_id low = {{0x10}}, high = {{0x30}};
    struct sequence_record found;

    begin(store);
    put_sequence(store, 1, 0x20, 5);
    commit(store);
    cr_assert_eq(store->ops->sequence_next(store, 1, &low, &found), 0);
    cr_assert_eq(found.last, 5);
    cr_assert_eq(store->ops->sequence_next(store, 1, &high, &found), -ENOENT);
    begin(store);
    cr_assert_eq(store->ops->sequence_remove(store, 1, &found.producer), 0);
    commit(store);
    cr_assert_eq(store->ops->sequence_next(store, 1, NULL, &found), -ENOENT);
}

STORE_TEST(abort_leaves_nothing)
{
    struct producer_id producer = {{1}};
    struct sequence_record sequence;
    struct queue_record record;
    uint64_t number;

    begin(store);
    fill_queue(1, "kept");
    commit(store);
    begin(store);
    fill_queue(2, "gone");
    put_queue(store, 1, "renamed");
    put_text(store, 1, 301, "new\n");
    put_mark(store, 1, 2, "changed");
    put_mark(store, 1, 3, "new");
    put_sequence(store, 1, 1, 99);
    cr_assert_eq(store->ops->batch_remove(store, 1, 2), 0);
    cr_assert_eq(store->ops->sequence_remove(store, 1, &producer), 0);
    cr_assert_eq(store->ops->queue_remove(store, 1), 0);
    store->ops->abort(store);

    cr_assert_eq(store->ops->queue_next(store, 0, &record), 0);
    cr_assert_str_eq(record.name, "kept");
    cr_assert_eq(store->ops->queue_next(store, 2, &record), -ENOENT);
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 1);
    expect_text(store, 1, 2, "one\ntwo\n");
    expect_next(store, 1, 301, 0);
    expect_next(store, 2, 0, 0);
    expect_mark(store, 1, 0, 2, "mark");
    expect_mark(store, 1, 3, 0, NULL);
    cr_assert_eq(store->ops->sequence_next(store, 1, NULL, &sequence), 0);
    cr_assert_eq(sequence.last, 10);
}

STORE_TEST(reads_see_what_is_committed)
{
    begin(store);
    put_text(store, 1, 1, "a\n");
    put_text(store, 1, 2, "b\n");
    commit(store);
    expect_text(store, 1, 1, "a\n");
    begin(store);
    put_text(store, 1, 3, "c\n");
    expect_no_batch(store, 1, 3);
    cr_assert_eq(store->ops->batch_remove(store, 1, 1), 0);
    expect_text(store, 1, 1, "a\n");
    put_mark(store, 1, 2, "m");
    expect_mark(store, 1, 0, 0, NULL);
    commit(store);
    expect_next(store, 1, 0, 2);
    expect_mark(store, 1, 0, 2, "m");
    expect_text(store, 1, 3, "c\n");
}

STORE_TEST(which_store_it_is_comes_back)
{
    const void *data;
    size_t len;

    cr_assert_eq(store->ops->identity_get(store, &data, &len), -ENOENT);
    begin(store);
    cr_assert_eq(store->ops->identity_put(store, "first", 5), 0);
    commit(store);
    begin(store);
    cr_assert_eq(store->ops->identity_put(store, "another", 7), 0);
    commit(store);
    cr_assert_eq(store->ops->identity_get(store, &data, &len), 0);
    cr_assert_eq(len, 7);
    cr_assert_eq(memcmp(data, "another", 7), 0);
}

STORE_TEST(an_import_is_taken_back_until_it_has_ended)
{
    cr_assert_eq(store->ops->import_undo(store), 0);
    begin(store);
    put_text(store, 1, 1, "a\n");
    put_text(store, 2, 1, "b\n");
    commit(store);
    begin(store);
    cr_assert_eq(store->ops->import_begin(store, 1, 2), 0);
    put_text(store, 1, 2, "c\n");
    commit(store);
    for (uint64_t batch = 3; batch < 3000; batch++) {
        begin(store);
        put_text(store, 1, batch, "d\n");
        commit(store);
    }
    cr_assert_eq(store->ops->import_undo(store), 0);
    expect_text(store, 1, 1, "a\n");
    expect_text(store, 2, 1, "b\n");
    expect_next(store, 1, 2, 0);
    begin(store);
    cr_assert_eq(store->ops->import_begin(store, 1, 2), 0);
    put_text(store, 1, 2, "e\n");
    cr_assert_eq(store->ops->import_end(store), 0);
    commit(store);
    cr_assert_eq(store->ops->import_undo(store), 0);
    expect_text(store, 1, 2, "e\n");
}

STORE_TEST(the_position_rises_with_each_change)
{
    uint64_t before = store->ops->position(store);

    begin(store);
    commit(store);
    cr_assert_eq(store->ops->position(store), before);
    begin(store);
    put_text(store, 1, 1, "a\n");
    store->ops->abort(store);
    cr_assert_eq(store->ops->position(store), before);
    for (uint64_t batch = 1; batch < 10; batch++) {
        begin(store);
        put_text(store, 1, batch, "a\n");
        commit(store);
        cr_assert_gt(store->ops->position(store), before);
        before = store->ops->position(store);
    }
}

STORE_TEST(close_ends_an_open_transaction)
{
    begin(store);
    fill_queue(1, "a");
}
