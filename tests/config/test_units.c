#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "config/units.h"
#include "core/clock.h"

struct sample {
    const char *text;
    enum unit_fault fault;
    int64_t value;
};

static void expect(enum unit_fault (*parse)(const char *, int64_t *), const struct sample *samples)
{
    for (const struct sample *sample = samples; sample->text; sample++) {
        int64_t value = -1;
        cr_assert_eq(parse(sample->text, &value), sample->fault, "'%s'", sample->text);
        cr_assert_eq(value, sample->fault == UNIT_OK ? sample->value : -1, "'%s'", sample->text);
    }
}

Test(units, counts_are_strict_decimals, .timeout = 5)
{
    static const struct sample samples[] = {
        {"0", UNIT_OK, 0},
        {"16777216", UNIT_OK, 16777216},
        {"9223372036854775807", UNIT_OK, INT64_MAX},
        {"9223372036854775808", UNIT_TOO_LARGE, 0},
        {"99999999999999999999999999", UNIT_TOO_LARGE, 0},
        {"", UNIT_NOT_A_NUMBER, 0},
        {"-1", UNIT_NOT_A_NUMBER, 0},
        {"+1", UNIT_NOT_A_NUMBER, 0},
        {" 1", UNIT_NOT_A_NUMBER, 0},
        {"1 ", UNIT_NOT_A_NUMBER, 0},
        {"1.0", UNIT_NOT_A_NUMBER, 0},
        {"1e3", UNIT_NOT_A_NUMBER, 0},
        {"1_000", UNIT_NOT_A_NUMBER, 0},
        {"0x10", UNIT_NOT_A_NUMBER, 0},
        {"010", UNIT_NOT_A_NUMBER, 0},
        {"ten", UNIT_NOT_A_NUMBER, 0},
        {"5ms", UNIT_NOT_A_NUMBER, 0},
        {NULL, UNIT_OK, 0},
    };
    expect(count_parse, samples);
}

Test(units, sizes_take_three_units_or_none, .timeout = 5)
{
    static const struct sample samples[] = {
        {"0", UNIT_OK, 0},
        {"100", UNIT_OK, 100},
        {"4KiB", UNIT_OK, 4096},
        {"1MiB", UNIT_OK, 1 << 20},
        {"64GiB", UNIT_OK, INT64_C(64) << 30},
        {"8589934591GiB", UNIT_OK, INT64_C(8589934591) << 30},
        {"8589934592GiB", UNIT_TOO_LARGE, 0},
        {"1KB", UNIT_UNKNOWN, 0},
        {"1kib", UNIT_UNKNOWN, 0},
        {"1M", UNIT_UNKNOWN, 0},
        {"1TiB", UNIT_UNKNOWN, 0},
        {"1KiBx", UNIT_UNKNOWN, 0},
        {"1 KiB", UNIT_NOT_A_NUMBER, 0},
        {"1.5MiB", UNIT_NOT_A_NUMBER, 0},
        {"KiB", UNIT_NOT_A_NUMBER, 0},
        {"08KiB", UNIT_NOT_A_NUMBER, 0},
        {NULL, UNIT_OK, 0},
    };
    expect(size_parse, samples);
}

Test(units, times_need_a_unit, .timeout = 5)
{
    static const struct sample samples[] = {
        {"0", UNIT_OK, 0},
        {"0s", UNIT_OK, 0},
        {"7us", UNIT_OK, 7},
        {"5ms", UNIT_OK, 5000},
        {"30s", UNIT_OK, 30000000},
        {"2m", UNIT_OK, 120000000},
        {"12h", UNIT_OK, INT64_C(43200000000)},
        {"5", UNIT_MISSING, 0},
        {"5d", UNIT_UNKNOWN, 0},
        {"5sec", UNIT_UNKNOWN, 0},
        {"5S", UNIT_UNKNOWN, 0},
        {"5 s", UNIT_NOT_A_NUMBER, 0},
        {"1h30m", UNIT_UNKNOWN, 0},
        {"1.5s", UNIT_NOT_A_NUMBER, 0},
        {"-5s", UNIT_NOT_A_NUMBER, 0},
        {"", UNIT_NOT_A_NUMBER, 0},
        {"s", UNIT_NOT_A_NUMBER, 0},
        {"9223372036854775807s", UNIT_TOO_LARGE, 0},
        {"forever", UNIT_NOT_A_NUMBER, 0},
        {NULL, UNIT_OK, 0},
    };
    expect(time_parse, samples);
}

Test(units, modes_are_octal, .timeout = 5)
{
    static const struct sample samples[] = {
        {"0660", UNIT_OK, 0660},
        {"660", UNIT_OK, 0660},
        {"0o660", UNIT_OK, 0660},
        {"0", UNIT_OK, 0},
        {"0000", UNIT_OK, 0},
        {"0680", UNIT_NOT_A_NUMBER, 0},
        {"8", UNIT_NOT_A_NUMBER, 0},
        {"rw", UNIT_NOT_A_NUMBER, 0},
        {"0o", UNIT_NOT_A_NUMBER, 0},
        {"", UNIT_NOT_A_NUMBER, 0},
        {"7777777777777777777777777", UNIT_TOO_LARGE, 0},
        {NULL, UNIT_OK, 0},
    };
    expect(mode_parse, samples);
}

Test(units, the_largest_exact_unit_is_printed, .timeout = 5)
{
    char text[UNIT_TEXT_MAX];
    size_print(1536, text);
    cr_assert_str_eq(text, "1536");
    size_print(3 << 20, text);
    cr_assert_str_eq(text, "3MiB");
    size_print(1025 * 1024, text);
    cr_assert_str_eq(text, "1025KiB");
    size_print(0, text);
    cr_assert_str_eq(text, "0");
    time_print(60000000, text);
    cr_assert_str_eq(text, "1m");
    time_print(90000000, text);
    cr_assert_str_eq(text, "90s");
    time_print(INT64_C(12) * 3600000000, text);
    cr_assert_str_eq(text, "12h");
    time_print(0, text);
    cr_assert_str_eq(text, "0s");
    time_print(TIME_FOREVER, text);
    cr_assert_str_eq(text, "forever");
    mode_print(060, text);
    cr_assert_str_eq(text, "0060");
}

static void expect_identity(int64_t value)
{
    char text[UNIT_TEXT_MAX];
    int64_t again = -1;
    size_print(value, text);
    cr_assert_eq(size_parse(text, &again), UNIT_OK);
    cr_assert_eq(again, value, "%s", text);
    count_print(value, text);
    cr_assert_eq(count_parse(text, &again), UNIT_OK);
    cr_assert_eq(again, value, "%s", text);
    if (value == TIME_FOREVER)
        return;
    time_print(value, text);
    cr_assert_eq(time_parse(text, &again), UNIT_OK);
    cr_assert_eq(again, value, "%s", text);
}

Test(units, printing_and_reading_back_is_the_identity, .timeout = 5)
{
    for (int bit = 0; bit < 63; bit++) {
        expect_identity(INT64_C(1) << bit);
        expect_identity((INT64_C(1) << bit) - 1);
        expect_identity((INT64_C(1) << bit) / 1000000 * 1000000);
    }
    expect_identity(INT64_MAX);
    for (int64_t mode = 0; mode <= 0777; mode++) {
        char text[UNIT_TEXT_MAX];
        int64_t again = -1;
        mode_print(mode, text);
        cr_assert_eq(strlen(text), 4);
        cr_assert_eq(mode_parse(text, &again), UNIT_OK);
        cr_assert_eq(again, mode);
    }
}
