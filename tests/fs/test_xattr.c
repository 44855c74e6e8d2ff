#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "fs/xattr.h"

TestSuite(xattr, .timeout = 5);

static const struct item_info leased = {
    .state = ITEM_LEASED,
    .deliveries = 3,
    .put_time_us = INT64_C(1777636800000000),
    .until_us = INT64_C(1777636830000042),
};
static const struct item_info ready = {.state = ITEM_READY, .put_time_us = 1};

static void expect(const struct item_info *info, const char *name, const char *value)
{
    char got[XATTR_VALUE_MAX] = {0};
    int len = xattr_value(info, name, got);

    cr_assert_eq(len, (int)strlen(value), "%s: %d", name, len);
    cr_assert_eq(memcmp(got, value, strlen(value)), 0, "%s: %s", name, got);
}

Test(xattr, values)
{
    expect(&leased, "user.deliveries", "3");
    expect(&leased, "user.enqueued", "2026-05-01T12:00:00.000000Z");
    expect(&leased, "user.lease_expires", "2026-05-01T12:00:30.000042Z");
    expect(&ready, "user.deliveries", "0");
    expect(&ready, "user.enqueued", "1970-01-01T00:00:00.000001Z");
}

Test(xattr, extreme_times_fit)
{
    const int64_t times[] = {INT64_MIN, -1, 0, INT64_MAX};
    char value[XATTR_VALUE_MAX];

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct item_info info = {.put_time_us = times[i]};
        int len = xattr_value(&info, "user.enqueued", value);

        cr_assert(len > 0 && len < XATTR_VALUE_MAX);
    }
    expect(&(struct item_info){.put_time_us = -1}, "user.enqueued", "1969-12-31T23:59:59.999999Z");
}

Test(xattr, there_are_no_others)
{
    char value[XATTR_VALUE_MAX];

    cr_assert_eq(xattr_value(&ready, "user.lease_expires", value), -ENODATA);
    cr_assert_eq(xattr_value(&leased, "user.deliverie", value), -ENODATA);
    cr_assert_eq(xattr_value(&leased, "security.capability", value), -ENODATA);
    cr_assert_eq(xattr_value(&leased, "", value), -ENODATA);
}

Test(xattr, names)
{
    static const char all[] = "user.deliveries\0user.enqueued\0user.lease_expires";
    static const char two[] = "user.deliveries\0user.enqueued";
    char names[XATTR_NAMES_MAX];

    cr_assert_eq(xattr_names(&leased, names), sizeof(all));
    cr_assert_eq(memcmp(names, all, sizeof(all)), 0);
    cr_assert_eq(xattr_names(&ready, names), sizeof(two));
    cr_assert_eq(memcmp(names, two, sizeof(two)), 0);
}
