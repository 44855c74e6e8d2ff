/* Gathering, cutting and taking items out, for each framing; what a cut slice looks like. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/batch.h"
#include "core/put/batcher.h"
#include "core/clock.h"
#include "core/name.h"

TestSuite(batcher, .timeout = 60);

#define MIB ((size_t)1 << 20)

static size_t append(struct batcher *b, const char *text, size_t batch_bytes)
{
    return batcher_append(b, FRAMING_LINE, (const uint8_t *)text, strlen(text), batch_bytes, 10);
}

static void append_file(struct batcher *b, const char *text)
{
    size_t half = strlen(text) / 2;
    int error = batcher_append_item(b, FRAMING_FILE, (const uint8_t *)text, half,
                                    (const uint8_t *)text + half, strlen(text) - half, MIB, 10);

    cr_assert_eq(error, 0);
}

/* Cut, and it is these items, '|' after each. */
static void expect_slice(const struct slice *slice, uint64_t base, const char *items)
{
    const struct batch_view *view = &slice->view;
    struct batch_index index;
    size_t from, len;

    cr_assert_eq(slice->base, base);
    cr_assert_eq(batch_verify(view), 0);
    cr_assert_eq(batch_index_init(&index, view), 0);
    for (uint32_t i = 0; i < view->n_items; i++) {
        from = batch_offset(&index, view, i);
        len = batch_offset(&index, view, i + 1) - from - (view->framing != FRAMING_FILE);
        cr_assert_eq(len, strcspn(items, "|"));
        cr_assert(len == 0 || memcmp(view->data + from, items, len) == 0);
        items += len + 1;
    }
    cr_assert_str_empty(items);
    batch_index_fini(&index);
}

static void cut_and_expect(struct batcher *b, bool single, uint64_t base, const char *items)
{
    struct slice slice;

    cr_assert_not(batcher_empty(b));
    batcher_cut(b, single, &slice);
    expect_slice(&slice, base, items);
    batcher_done(b, &slice);
}

Test(batcher, gathers_runs_and_items_into_one_blob)
{
    struct batcher b;

    batcher_init(&b);
    cr_assert(batcher_empty(&b));
    cr_assert_eq(append(&b, "a\n\nbc\n", MIB), 6);
    cr_assert_eq(batcher_append_item(&b, FRAMING_LINE, (const uint8_t *)"d", 1,
                                     (const uint8_t *)"e", 1, MIB, 11),
                 0);
    cr_assert_eq(batcher_append_item(&b, FRAMING_LINE, NULL, 0, NULL, 0, MIB, 11), 0);
    cr_assert_eq(b.last, 5);
    cut_and_expect(&b, false, 1, "a||bc|de||");
    cr_assert(batcher_empty(&b));
    batcher_fini(&b);
}

Test(batcher, files_get_a_table_of_lengths)
{
    struct batcher b;

    batcher_init(&b);
    append_file(&b, "one");
    cut_and_expect(&b, false, 1, "one|");
    append_file(&b, "two");
    append_file(&b, "x");
    append_file(&b, "three");
    cut_and_expect(&b, true, 2, "two|");
    cut_and_expect(&b, false, 3, "x|three|");
    cr_assert(batcher_empty(&b));
    batcher_fini(&b);
}

Test(batcher, batch_bytes_caps_a_batch_but_not_an_item)
{
    struct batcher b;

    batcher_init(&b);
    cr_assert_eq(append(&b, "123\n567\n1\n123456789\nab\n", 8), 23);
    cut_and_expect(&b, false, 1, "123|567|");
    cut_and_expect(&b, false, 3, "1|");
    cut_and_expect(&b, false, 4, "123456789|");
    cut_and_expect(&b, false, 5, "ab|");
    batcher_fini(&b);
}

Test(batcher, a_batch_has_one_framing)
{
    struct batcher b;

    batcher_init(&b);
    append(&b, "a\n", MIB);
    cr_assert_eq(batcher_append(&b, FRAMING_NUL, (const uint8_t *)"b\0", 2, MIB, 10), 2);
    append_file(&b, "c");
    cut_and_expect(&b, false, 1, "a|");
    cut_and_expect(&b, false, 2, "b|");
    cut_and_expect(&b, false, 3, "c|");
    batcher_fini(&b);
}

Test(batcher, what_is_lent_out_grows_no_more)
{
    struct batcher b;
    struct slice first;

    batcher_init(&b);
    append(&b, "a\nb\n", MIB);
    batcher_cut(&b, true, &first);
    append(&b, "c\n", MIB);
    expect_slice(&first, 1, "a|");
    cut_and_expect(&b, true, 2, "b|");
    cut_and_expect(&b, false, 3, "c|");
    expect_slice(&first, 1, "a|");
    batcher_done(&b, &first);
    batcher_fini(&b);
}

Test(batcher, a_batch_never_has_too_many_items)
{
    size_t len = (size_t)40 << 20;
    uint8_t *data = malloc(len);
    struct batcher b;
    struct slice slice;
    uint64_t n_items = 0;

    memset(data, '\n', len);
    batcher_init(&b);
    cr_assert_eq(batcher_append(&b, FRAMING_LINE, data, len, (size_t)64 << 20, 10), len);
    while (!batcher_empty(&b)) {
        batcher_cut(&b, false, &slice);
        cr_assert_leq(slice.view.n_items, BATCH_ITEMS_MAX);
        n_items += slice.view.n_items;
        batcher_done(&b, &slice);
    }
    cr_assert_eq(n_items, len);
    batcher_fini(&b);
    free(data);
}

Test(batcher, large_items_share_a_batch_as_before)
{
    const size_t item = 2 * (size_t)BATCH_ITEMS_MAX;
    uint8_t *data = malloc(3 * item);
    struct batcher b;
    struct slice slice;

    cr_assert_not_null(data);
    memset(data, 'x', 3 * item);
    for (size_t i = 1; i <= 3; i++)
        data[i * item - 1] = '\n';
    batcher_init(&b);
    cr_assert_eq(batcher_append(&b, FRAMING_LINE, data, 3 * item, 2 * item, 10), 3 * item);
    batcher_cut(&b, false, &slice);
    cr_assert_eq(slice.view.n_items, 2);
    batcher_done(&b, &slice);
    batcher_cut(&b, false, &slice);
    cr_assert_eq(slice.view.n_items, 1);
    batcher_done(&b, &slice);
    cr_assert(batcher_empty(&b));
    batcher_fini(&b);
    free(data);
}

Test(batcher, is_due_when_there_is_reason_to_send)
{
    struct mount_settings settings = {.batch_size = 3, .batch_bytes = 100, .linger_us = 5000};
    struct batcher b;

    batcher_init(&b);
    cr_assert_eq(batcher_due_us(&b, &settings, UINT64_MAX), TIME_FOREVER);
    append(&b, "a\n", 100);
    cr_assert_eq(batcher_due_us(&b, &settings, 0), 5010);      /* linger */
    cr_assert_eq(batcher_due_us(&b, &settings, 1), INT64_MIN); /* hurry */
    append(&b, "b\n", 100);
    cr_assert_eq(batcher_due_us(&b, &settings, 0), 5010);
    append(&b, "c\n", 100);
    cr_assert_eq(batcher_due_us(&b, &settings, 0), INT64_MIN); /* batch_size */
    settings.batch_size = 100;
    cr_assert_eq(batcher_due_us(&b, &settings, 0), 5010);
    settings.batch_bytes = 7;
    cr_assert_eq(batcher_due_us(&b, &settings, 0), 5010);
    settings.batch_bytes = 6;
    cr_assert_eq(batcher_due_us(&b, &settings, 0), INT64_MIN); /* batch_bytes */
    settings.batch_bytes = 100;
    settings.linger_us = TIME_FOREVER;
    cr_assert_eq(batcher_due_us(&b, &settings, 0), TIME_FOREVER);
    append(&b, "d\n", 6); /* does not fit any more */
    cr_assert_eq(batcher_due_us(&b, &settings, 0), INT64_MIN);
    batcher_fini(&b);
}

Test(batcher, filter_takes_items_out_and_keeps_the_highest_numbers)
{
    uint32_t n_dropped;
    struct batcher b;
    struct slice slice;

    batcher_init(&b);
    append(&b, "a\nlong\n\nb\nc\n", MIB);
    batcher_cut(&b, false, &slice);
    cr_assert_eq(batcher_filter(&b, &slice, 1, 2, &n_dropped), 0);
    cr_assert_eq(n_dropped, 2);
    expect_slice(&slice, 3, "|b|c|");
    cr_assert_eq(batcher_filter(&b, &slice, 0, SIZE_MAX, &n_dropped), 0);
    cr_assert_eq(n_dropped, 0);
    cr_assert_eq(batcher_filter(&b, &slice, 3, SIZE_MAX, &n_dropped), 0);
    cr_assert_eq(n_dropped, 3);
    cr_assert_eq(slice.view.n_items, 0);
    cr_assert_eq(slice.view.len, 0);
    batcher_done(&b, &slice);
    batcher_fini(&b);
}

Test(batcher, filter_of_files)
{
    uint32_t n_dropped;
    struct batcher b;
    struct slice slice;

    batcher_init(&b);
    append_file(&b, "long");
    append_file(&b, "ab");
    append_file(&b, "long");
    append_file(&b, "c");
    batcher_cut(&b, false, &slice);
    cr_assert_eq(batcher_filter(&b, &slice, 0, 3, &n_dropped), 0);
    cr_assert_eq(n_dropped, 2);
    expect_slice(&slice, 3, "ab|c|");
    cr_assert_eq(batcher_filter(&b, &slice, 1, 3, &n_dropped), 0);
    expect_slice(&slice, 4, "c|");
    batcher_done(&b, &slice);
    batcher_fini(&b);
}

Test(batcher, clear_drops_what_is_not_cut)
{
    struct batcher b;
    struct slice slice;

    batcher_init(&b);
    append(&b, "a\nbc\n", MIB);
    append_file(&b, "d");
    batcher_cut(&b, true, &slice);
    cr_assert_eq(batcher_clear(&b), 3 + 5);
    cr_assert(batcher_empty(&b));
    expect_slice(&slice, 1, "a|");
    batcher_done(&b, &slice);
    append(&b, "e\n", MIB);
    cut_and_expect(&b, false, 4, "e|"); /* numbers are never used twice */
    batcher_fini(&b);
}

Test(batcher, large_buffers_are_used_again)
{
    size_t len = 100000;
    uint8_t *data = malloc(len);
    const uint8_t *used;
    struct batcher b;
    struct slice slice;

    memset(data, 'x', len);
    for (size_t i = 99; i < len; i += 100)
        data[i] = '\n';
    batcher_init(&b);
    batcher_append(&b, FRAMING_LINE, data, len, MIB, 10);
    batcher_cut(&b, false, &slice);
    used = slice.view.data;
    batcher_done(&b, &slice);
    batcher_append(&b, FRAMING_LINE, data, len, MIB, 10);
    batcher_cut(&b, false, &slice);
    cr_assert_eq(slice.view.data, used);
    batcher_done(&b, &slice);
    cr_assert_eq(b.n_spares, 1);
    batcher_trim(&b);
    cr_assert_eq(b.n_spares, 0);
    cr_assert_eq(b.spare_bytes, 0);
    batcher_fini(&b);
    free(data);
}
