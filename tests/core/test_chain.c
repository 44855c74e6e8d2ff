/* The chain of items is the same however they are cut, and another with any other byte. */
#include "core/chain.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"

TestSuite(chain, .timeout = 20);

static struct batch_view view(enum framing framing, const uint8_t *data, size_t len, uint32_t n)
{
    return (struct batch_view){framing, n, data, len, crc32c(data, len), 0};
}

Test(chain, checksums_join_at_any_place)
{
    uint8_t bytes[3000];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t cut = 0; cut <= sizeof(bytes); cut += 13) {
        uint32_t first = crc32c(bytes, cut), second = crc32c(bytes + cut, sizeof(bytes) - cut);

        cr_assert_eq(crc32c_shift(first, sizeof(bytes) - cut) ^ second,
                     crc32c(bytes, sizeof(bytes)));
    }
}

Test(chain, lines_cut_anywhere_have_one_chain)
{
    const uint8_t *text = (const uint8_t *)"a\nbc\n\ndefg\nh\n";
    size_t len = strlen((const char *)text);
    struct batch_view all = view(FRAMING_LINE, text, len, 5);
    uint64_t whole = chain_append(0, &all);

    for (uint32_t n = 1; n < 5; n++) {
        size_t at = 0;
        struct batch_view rest;

        for (uint32_t i = 0; i < n; i++)
            at = batch_item_end(&all, at, i);
        rest = view(FRAMING_LINE, text + at, len - at, 5 - n);
        cr_assert_eq(chain_append(chain_append_some(0, &all, n), &rest), whole);
    }
    cr_assert_eq(chain_append_some(0, &all, 5), whole);
    cr_assert_neq(chain_append(whole, &all), whole);
}

/* The items [from, to) of "a", "bc", "", "defg" as a batch of framing file. */
static struct batch_view files(uint8_t *to, uint32_t from, uint32_t end)
{
    static const char *const items[] = {"a", "bc", "", "defg"};
    uint8_t *at = to;

    for (uint32_t i = from; i < end; i++)
        at = put_le32(at, (uint32_t)strlen(items[i]));
    for (uint32_t i = from; i < end; i++) {
        memcpy(at, items[i], strlen(items[i]));
        at += strlen(items[i]);
    }
    return view(FRAMING_FILE, to, (size_t)(at - to), end - from);
}

Test(chain, files_cut_anywhere_have_one_chain)
{
    uint8_t whole_bytes[64], first_bytes[64], rest_bytes[64];
    struct batch_view all = files(whole_bytes, 0, 4);
    uint64_t whole = chain_append(0, &all);

    for (uint32_t n = 1; n < 4; n++) {
        struct batch_view first = files(first_bytes, 0, n), rest = files(rest_bytes, n, 4);

        cr_assert_eq(chain_append(chain_append(0, &first), &rest), whole);
        cr_assert_eq(chain_append_some(0, &all, n), chain_append(0, &first));
    }
}

Test(chain, each_byte_and_each_boundary_counts)
{
    struct batch_view one = view(FRAMING_LINE, (const uint8_t *)"ab\nc\n", 5, 2);
    struct batch_view two = view(FRAMING_LINE, (const uint8_t *)"a\nbc\n", 5, 2);
    uint8_t bytes[64], other[64];
    struct batch_view file = files(bytes, 0, 2), same = files(other, 0, 2);

    cr_assert_neq(chain_append(0, &one), chain_append(0, &two));
    other[0] = 2;
    other[4] = 1;
    same.crc = crc32c(same.data, same.len);
    cr_assert_neq(chain_append(0, &file), chain_append(0, &same));
}
