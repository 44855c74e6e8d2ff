#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "core/batch.h"
#include "core/crc32c.h"
#include "core/name.h"

static struct batch_view lines(const char *text, uint32_t n_items)
{
    return (struct batch_view){
        .framing = FRAMING_LINE,
        .n_items = n_items,
        .data = (const uint8_t *)text,
        .len = strlen(text),
        .crc = crc32c(text, strlen(text)),
    };
}

static struct batch_view of_bytes(enum framing framing, uint32_t n_items, const void *data,
                                  size_t len)
{
    return (struct batch_view){
        .framing = framing, .n_items = n_items, .data = data, .len = len, .crc = crc32c(data, len)};
}

/* n items whose lengths are those of length_of(), as one batch. The caller frees the data. */
static struct batch_view made(enum framing framing, uint32_t n, size_t (*length_of)(uint32_t i))
{
    size_t frame = framing == FRAMING_FILE ? 4 : 1, len = 0;
    uint8_t *data, *at;

    for (uint32_t i = 0; i < n; i++)
        len += length_of(i) + frame;
    data = malloc(len);
    cr_assert_not_null(data);
    at = framing == FRAMING_FILE ? data + 4 * (size_t)n : data;
    for (uint32_t i = 0; i < n; i++) {
        size_t length = length_of(i);

        memset(at, 'a' + (int)(i % 26), length);
        at += length;
        if (framing != FRAMING_FILE)
            *at++ = framing_separator(framing);
        else
            for (int byte = 0; byte < 4; byte++)
                data[4 * (size_t)i + (size_t)byte] = (uint8_t)(length >> 8 * byte);
    }
    return of_bytes(framing, n, data, len);
}

static size_t length_none(uint32_t i)
{
    (void)i;
    return 0;
}

static size_t length_mixed(uint32_t i)
{
    return i % 97 == 5 ? 3000 : i * 7 % 40;
}

static size_t length_hundred(uint32_t i)
{
    (void)i;
    return 100;
}

Test(batch, separators, .timeout = 10)
{
    cr_assert_eq(framing_separator(FRAMING_LINE), '\n');
    cr_assert_eq(framing_separator(FRAMING_NUL), '\0');
}

Test(batch, count_byte_of_every_length, .timeout = 20)
{
    size_t len = 3 * 255 * 32 + 70;
    uint8_t *data = malloc(len);

    cr_assert_not_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * i % 5);
    for (size_t start = 0; start < 3; start++) {
        size_t expected = 0, counted = start;

        for (size_t end = start; end <= len; end += 1 + end / 50) {
            for (; counted < end; counted++)
                expected += data[counted] == 4;
            cr_assert_eq(count_byte(data + start, end - start, 4), expected);
        }
    }
    free(data);
}

Test(batch, count_byte_where_all_are, .timeout = 10)
{
    size_t len = 1000000;
    uint8_t *data = malloc(len);

    cr_assert_not_null(data);
    memset(data, 0xff, len);
    cr_assert_eq(count_byte(data, len, 0xff), len);
    cr_assert_eq(count_byte(data, len, 0), 0);
    cr_assert_eq(count_byte(data, 0, 0xff), 0);
    free(data);
}

Test(batch, check_counts_lines, .timeout = 10)
{
    struct batch_view good = lines("a\n\nc\r\n", 3), few = lines("a\nb\n", 3);
    struct batch_view many = lines("a\nb\n", 1), open_end = lines("a\nb", 1);

    cr_assert_eq(batch_check(&good), 0);
    cr_assert_eq(batch_check(&few), -EINVAL);
    cr_assert_eq(batch_check(&many), -EINVAL);
    cr_assert_eq(batch_check(&open_end), -EINVAL);
}

Test(batch, check_counts_nuls, .timeout = 10)
{
    struct batch_view good = of_bytes(FRAMING_NUL, 2, "a\nb\0c", 6);
    struct batch_view open_end = of_bytes(FRAMING_NUL, 1, "a\0b", 3);

    cr_assert_eq(batch_check(&good), 0);
    cr_assert_eq(batch_check(&open_end), -EINVAL);
}

Test(batch, check_refuses_empty_and_unknown, .timeout = 10)
{
    struct batch_view none = lines("", 0), empty = lines("", 1), zero = lines("a\n", 0);
    struct batch_view unknown = lines("a\n", 1);

    unknown.framing = (enum framing)3;
    cr_assert_eq(batch_check(&none), -EINVAL);
    cr_assert_eq(batch_check(&empty), -EINVAL);
    cr_assert_eq(batch_check(&zero), -EINVAL);
    cr_assert_eq(batch_check(&unknown), -EINVAL);
}

Test(batch, check_of_item_count_limit, .timeout = 30)
{
    size_t len = (size_t)BATCH_ITEMS_MAX + 1;
    uint8_t *data = malloc(len);
    struct batch_view most, over;

    cr_assert_not_null(data);
    memset(data, '\n', len);
    most = of_bytes(FRAMING_LINE, BATCH_ITEMS_MAX, data, len - 1);
    over = of_bytes(FRAMING_LINE, BATCH_ITEMS_MAX + 1, data, len);
    cr_assert_eq(batch_check(&most), 0);
    cr_assert_eq(batch_check(&over), -EINVAL);
    free(data);
}

Test(batch, check_of_byte_limit, .timeout = 30)
{
    uint8_t *data = calloc(1, BATCH_BYTES_MAX + 1);
    struct batch_view most, over;

    cr_assert_not_null(data);
    data[BATCH_BYTES_MAX - 1] = '\n';
    most = of_bytes(FRAMING_LINE, 1, data, BATCH_BYTES_MAX);
    cr_assert_eq(batch_check(&most), 0);
    data[BATCH_BYTES_MAX - 1] = 0;
    data[BATCH_BYTES_MAX] = '\n';
    over = of_bytes(FRAMING_LINE, 1, data, BATCH_BYTES_MAX + 1);
    cr_assert_eq(batch_check(&over), -EINVAL);
    free(data);
}

Test(batch, check_adds_up_a_length_table, .timeout = 10)
{
    static const uint8_t table[] = {2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b'};
    struct batch_view good = of_bytes(FRAMING_FILE, 2, table, 10);
    struct batch_view shorter = of_bytes(FRAMING_FILE, 2, table, 9);
    struct batch_view no_room = of_bytes(FRAMING_FILE, 3, table, 10);
    struct batch_view longer = of_bytes(FRAMING_FILE, 1, table, 10);

    cr_assert_eq(batch_check(&good), 0);
    cr_assert_eq(batch_check(&shorter), -EINVAL);
    cr_assert_eq(batch_check(&no_room), -EINVAL);
    cr_assert_eq(batch_check(&longer), -EINVAL);
}

Test(batch, check_of_a_table_that_would_overflow, .timeout = 10)
{
    uint8_t table[9];
    struct batch_view view;

    memset(table, 0xff, sizeof(table));
    view = of_bytes(FRAMING_FILE, 2, table, sizeof(table));
    cr_assert_eq(batch_check(&view), -EINVAL);
    view.n_items = UINT32_MAX;
    cr_assert_eq(batch_check(&view), -EINVAL);
}

Test(batch, verify_finds_damage, .timeout = 10)
{
    struct batch_view good = lines("a\nb\n", 2), damaged = lines("a\nb\n", 2);
    struct batch_view miscounted = lines("a\nb\n", 1);

    damaged.data = (const uint8_t *)"a\nc\n";
    cr_assert_eq(batch_verify(&good), 0);
    cr_assert_eq(batch_verify(&damaged), -EBADMSG);
    cr_assert_eq(batch_verify(&miscounted), -EINVAL);
}

Test(batch, longest_item, .timeout = 10)
{
    struct batch_view text = lines("a\nbcd\n\nef\n", 4), empty = lines("\n", 1);
    struct batch_view file = made(FRAMING_FILE, 10, length_mixed);

    cr_assert_eq(batch_longest(&text), 3);
    cr_assert_eq(batch_longest(&empty), 0);
    cr_assert_eq(batch_longest(&file), 3000);
    free((void *)(uintptr_t)file.data);
}

/* Every offset and payload of `view` is what adding up says. */
static void expect_index(const struct batch_view *view, size_t (*length_of)(uint32_t i))
{
    size_t frame = view->framing == FRAMING_FILE ? 0 : 1;
    size_t offset = view->framing == FRAMING_FILE ? 4 * (size_t)view->n_items : 0, payload = 0;
    struct batch_index index;

    cr_assert_eq(batch_check(view), 0);
    cr_assert_eq(batch_index_init(&index, view), 0);
    for (uint32_t i = 0; i < view->n_items; i++) {
        cr_assert_eq(batch_offset(&index, view, i), offset);
        cr_assert_eq(batch_payload(&index, view, 0, i), payload);
        cr_assert_eq(batch_item_end(view, offset, i), offset + length_of(i) + frame);
        offset += length_of(i) + frame;
        payload += length_of(i);
    }
    cr_assert_eq(offset, view->len);
    cr_assert_eq(batch_offset(&index, view, view->n_items), view->len);
    cr_assert_eq(batch_payload(&index, view, 0, view->n_items), payload);
    batch_index_fini(&index);
    batch_index_fini(&index);
}

Test(batch, index_finds_every_item, .timeout = 30)
{
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 129, 1000, 5000};
    static size_t (*const lengths[])(uint32_t) = {length_none, length_mixed, length_hundred};

    for (int framing = FRAMING_LINE; framing <= FRAMING_FILE; framing++)
        for (size_t s = 0; s < 10; s++)
            for (size_t l = 0; l < 3; l++) {
                struct batch_view view = made((enum framing)framing, sizes[s], lengths[l]);

                expect_index(&view, lengths[l]);
                free((void *)(uintptr_t)view.data);
            }
}

Test(batch, payload_of_a_middle_range, .timeout = 10)
{
    struct batch_view view = lines("a\nbcd\n\nef\n", 4);
    struct batch_index index;

    cr_assert_eq(batch_index_init(&index, &view), 0);
    cr_assert_eq(batch_payload(&index, &view, 1, 3), 3);
    cr_assert_eq(batch_payload(&index, &view, 2, 2), 0);
    cr_assert_eq(batch_payload(&index, &view, 3, 4), 2);
    batch_index_fini(&index);
}

Test(batch, index_fini_takes_a_zeroed_one, .timeout = 10)
{
    struct batch_index index = {0};

    batch_index_fini(&index);
    cr_assert_null(index.offsets);
}

/* What batch_fit() is to say, found by trying one item after the other. */
static uint32_t fit_by_trying(const struct batch_index *index, const struct batch_view *view,
                              uint32_t from, uint32_t max_items, size_t room)
{
    size_t start = batch_offset(index, view, from);
    uint32_t n = 1;

    while (n < max_items && from + n < view->n_items &&
           batch_offset(index, view, from + n + 1) - start <= room)
        n++;
    return n;
}

Test(batch, fit_agrees_with_trying, .timeout = 60)
{
    static const size_t rooms[] = {0, 1, 39, 40, 41, 3000, 3001, 10000, 1000000, SIZE_MAX};
    static const uint32_t most[] = {1, 2, 64, 100, UINT32_MAX};

    for (int framing = FRAMING_LINE; framing <= FRAMING_FILE; framing++) {
        struct batch_view view = made((enum framing)framing, 700, length_mixed);
        struct batch_index index;

        cr_assert_eq(batch_index_init(&index, &view), 0);
        for (uint32_t from = 0; from < 700; from += 1 + from / 9)
            for (size_t r = 0; r < 10; r++)
                for (size_t m = 0; m < 5; m++) {
                    uint32_t expected = fit_by_trying(&index, &view, from, most[m], rooms[r]);
                    size_t start = batch_offset(&index, &view, from), bytes;

                    cr_assert_eq(batch_fit(&index, &view, from, most[m], rooms[r], &bytes),
                                 expected);
                    cr_assert_eq(bytes, batch_offset(&index, &view, from + expected) - start);
                }
        batch_index_fini(&index);
        free((void *)(uintptr_t)view.data);
    }
}

Test(batch, fit_gives_one_item_however_large, .timeout = 10)
{
    struct batch_view view = lines("abcdef\nx\n", 2);
    struct batch_index index;
    size_t bytes;

    cr_assert_eq(batch_index_init(&index, &view), 0);
    cr_assert_eq(batch_fit(&index, &view, 0, 10, 1, &bytes), 1);
    cr_assert_eq(bytes, 7);
    cr_assert_eq(batch_fit(&index, &view, 0, 10, 8, &bytes), 1);
    cr_assert_eq(batch_fit(&index, &view, 0, 10, 9, &bytes), 2);
    cr_assert_eq(bytes, 9);
    batch_index_fini(&index);
}
