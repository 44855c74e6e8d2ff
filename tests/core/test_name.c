#include <criterion/criterion.h>
#include <string.h>

#include "core/name.h"

static void name_of(char *name, size_t len)
{
    memset(name, 'a', len);
    name[len] = '\0';
}

Test(name, accepts_letters_digits_underscore_and_hyphen, .timeout = 5)
{
    const char *const good[] = {"a", "Z", "0", "jobs", "Jobs-2_b", "9-", "a_", "Stats", "stats1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_assert(queue_name_valid(good[i]), "%s", good[i]);
}

Test(name, refuses_a_bad_first_character, .timeout = 5)
{
    const char *const bad[] = {"", "_a", "-a", ".", "..", ".a", "/a", " a"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert(!queue_name_valid(bad[i]), "%s", bad[i]);
}

Test(name, refuses_every_other_byte, .timeout = 5)
{
    for (int c = 1; c < 256; c++) {
        char name[] = {'a', (char)c, 'b', '\0'};
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-';
        cr_assert_eq(queue_name_valid(name), good, "%d", c);
    }
}

Test(name, may_have_64_bytes_and_not_65, .timeout = 5)
{
    char name[QUEUE_NAME_MAX + 2];
    name_of(name, QUEUE_NAME_MAX);
    cr_assert(queue_name_valid(name));
    name_of(name, QUEUE_NAME_MAX + 1);
    cr_assert(!queue_name_valid(name));
}

Test(name, refuses_the_reserved, .timeout = 5)
{
    const char *const bad[] = {"stats", "flush", "config", "metrics", "help"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert(!queue_name_valid(bad[i]), "%s", bad[i]);
}

Test(name, a_reserved_one_that_a_store_may_have_is_valid_and_not_made, .timeout = 5)
{
    cr_assert(queue_name_valid("new"));
    cr_assert(!queue_name_may_be_made("new"));
    cr_assert(queue_name_may_be_made("jobs"));
    cr_assert(queue_name_may_be_made("news"));
    cr_assert(!queue_name_may_be_made("help"));
    cr_assert(!queue_name_may_be_made(""));
}

Test(name, item_ids_hold_both_limits, .timeout = 5)
{
    const uint32_t index = (UINT32_C(1) << ITEM_INDEX_BITS) - 1;
    uint64_t last = item_id(BATCH_NUMBER_MAX, index);

    cr_assert_eq(last, (uint64_t)INT64_MAX);
    cr_assert_eq(item_batch(last), BATCH_NUMBER_MAX);
    cr_assert_eq(item_index(last), index);
    cr_assert_eq(item_id(1, 0), UINT64_C(1) << ITEM_INDEX_BITS);
    cr_assert_lt(item_id(1, BATCH_ITEMS_MAX - 1), item_id(2, 0));
}

Test(name, item_ids_are_valid_from_the_first_batch_to_the_last, .timeout = 5)
{
    cr_assert_not(item_id_valid(0));
    cr_assert_not(item_id_valid(item_id(1, 0) - 1));
    cr_assert(item_id_valid(item_id(1, 0)));
    cr_assert(item_id_valid(INT64_MAX));
    cr_assert_not(item_id_valid((uint64_t)INT64_MAX + 1));
}

Test(name, item_ids_are_written_and_read_the_same, .timeout = 5)
{
    const uint64_t ids[] = {item_id(1, 0), item_id(1, 1), item_id(0x123456789a, 0xbcdef0),
                            INT64_MAX};
    char text[ITEM_ID_DIGITS + 1];

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        uint64_t id = 0;

        item_id_format(ids[i], text);
        cr_assert_eq(strlen(text), ITEM_ID_DIGITS);
        cr_assert(item_id_parse(text, &id), "%s", text);
        cr_assert_eq(id, ids[i]);
    }
    item_id_format(item_id(0x123456789a, 0xbcdef0), text);
    cr_assert_str_eq(text, "123456789abcdef0");
}

Test(name, what_is_no_item_id_is_refused, .timeout = 5)
{
    const char *const bad[] = {"",
                               "1",
                               "000000000100000",
                               "00000000010000000",
                               "0000000000000000",
                               "0000000000ffffff",
                               "8000000000000000",
                               "ffffffffffffffff",
                               "000000000100000g",
                               "000000000100000A",
                               "000000000100000 ",
                               " 00000000100000",
                               "0x00000001000000",
                               "-000000001000000"};
    uint64_t id = 7;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(item_id_parse(bad[i], &id), "%s", bad[i]);
    cr_assert_eq(id, 7);
}
