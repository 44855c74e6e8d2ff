#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core/clock.h"
#include "core/settings.h"

Test(settings, has_a_row_for_each_field_once, .timeout = 5)
{
    struct all_settings all;
    size_t n = 0;
    for (const struct setting *row = settings_table; row->key; row++, n++) {
        memset(&all, 0, sizeof all);
        *setting_value(row, &all) = 1;
        for (const struct setting *other = settings_table; other->key; other++) {
            cr_assert_eq(*setting_value(other, &all), other == row, "%s, %s", row->key, other->key);
            cr_assert_eq(strcmp(other->key, row->key) == 0, other == row);
        }
        cr_assert_eq(setting_bit(row), UINT64_C(1) << row->offset / sizeof(int64_t), "%s",
                     row->key);
        bool own = row->offset < offsetof(struct all_settings, mount);
        cr_assert_eq(row->whose == SETTING_OWN, own, "%s", row->key);
    }
    cr_assert_eq(n, sizeof all / sizeof(int64_t));
    cr_assert_leq(n, 64, "a bit for each in a uint64_t");
}

Test(settings, rows_are_complete, .timeout = 5)
{
    for (const struct setting *row = settings_table; row->key; row++) {
        cr_assert_leq(row->min, row->max, "%s", row->key);
        bool forever = row->forever && row->fallback == TIME_FOREVER;
        cr_assert(forever || (row->fallback >= row->min && row->fallback <= row->max), "%s",
                  row->key);
        cr_assert_eq(row->type == SETTING_CHOICE, row->choices != NULL, "%s", row->key);
        for (int64_t i = 0; row->choices && i <= row->max; i++)
            cr_assert_not_null(row->choices[i], "%s", row->key);
        if (row->choices)
            cr_assert_null(row->choices[row->max + 1], "%s", row->key);
        cr_assert(row->help[0] != '\0' && row->help[strlen(row->help) - 1] != '.');
        cr_assert_null(strchr(row->help, '\n'));
    }
}

Test(settings, defaults_are_those_of_the_manual, .timeout = 5)
{
    struct all_settings all;
    settings_default(&all);
    cr_assert_eq(all.own.maxsize, 0);
    cr_assert_eq(all.own.max_item_size, 1 << 20);
    cr_assert_eq(all.own.framing, FRAMING_LINE);
    cr_assert_eq(all.own.lease_us, 30 * 1000000);
    cr_assert_eq(all.own.lease_max_us, INT64_C(12) * 3600 * 1000000);
    cr_assert_eq(all.own.retry_delay_us, 1000000);
    cr_assert_eq(all.own.max_deliveries, 5);
    cr_assert_eq(all.own.mode, 0600);
    cr_assert_eq(all.own.owner, 0);
    cr_assert_eq(all.own.group, 0);
    cr_assert_eq(all.mount.batch_size, 100);
    cr_assert_eq(all.mount.batch_bytes, 1 << 20);
    cr_assert_eq(all.mount.linger_us, 5000);
    cr_assert_eq(all.mount.max_in_flight, 8);
    cr_assert_eq(all.mount.buffer_bytes, 64 << 20);
    cr_assert_eq(all.mount.put_timeout_us, TIME_FOREVER);
    cr_assert_eq(all.mount.sync_on_close, 0);
    cr_assert_eq(all.mount.on_full, ON_FULL_BLOCK);
    cr_assert_eq(all.mount.get_timeout_us, 0);
}

Test(settings, find_knows_each_key_and_no_other, .timeout = 5)
{
    for (const struct setting *row = settings_table; row->key; row++)
        cr_assert_eq(setting_find(row->key), row);
    cr_assert_null(setting_find(""));
    cr_assert_null(setting_find("lease_"));
    cr_assert_null(setting_find("Lease"));
}

/* The other of lease and lease_max is moved out of the way. */
static int check_with(const struct setting *row, int64_t value, const struct setting **bad)
{
    struct all_settings all;
    settings_default(&all);
    all.own.lease_max_us = setting_find("lease_max")->max;
    if (strcmp(row->key, "lease_max") == 0)
        all.own.lease_us = setting_find("lease")->min;
    *setting_value(row, &all) = value;
    return queue_settings_check(&all.own, bad);
}

Test(settings, check_holds_both_sides_of_each_limit, .timeout = 5)
{
    for (const struct setting *row = settings_table; row->key; row++) {
        if (row->whose != SETTING_OWN)
            continue;
        const struct setting *bad = NULL;
        cr_assert_eq(check_with(row, row->min, &bad), 0, "%s", row->key);
        cr_assert_eq(check_with(row, row->max, &bad), 0, "%s", row->key);
        cr_assert_null(bad);
        cr_assert_eq(check_with(row, row->min - 1, &bad), -EINVAL, "%s", row->key);
        cr_assert_eq(bad, row);
        bad = NULL;
        cr_assert_eq(check_with(row, row->max + 1, &bad), -EINVAL, "%s", row->key);
        cr_assert_eq(bad, row);
        cr_assert_eq(check_with(row, INT64_MIN, NULL), -EINVAL);
        cr_assert_eq(check_with(row, INT64_MAX, NULL), -EINVAL);
    }
}

Test(settings, a_lease_is_at_most_lease_max, .timeout = 5)
{
    struct all_settings all;
    const struct setting *bad = NULL;
    settings_default(&all);
    all.own.lease_us = all.own.lease_max_us;
    cr_assert_eq(queue_settings_check(&all.own, &bad), 0);
    all.own.lease_us++;
    cr_assert_eq(queue_settings_check(&all.own, &bad), -EINVAL);
    cr_assert_eq(bad, setting_find("lease"));
}
