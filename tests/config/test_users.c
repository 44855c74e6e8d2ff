#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "config/users.h"

Test(users, root_is_found_both_ways, .timeout = 10)
{
    int64_t id = -1;
    cr_assert_eq(user_find("root", &id), 0);
    cr_assert_eq(id, 0);
    id = -1;
    cr_assert_eq(group_find("root", &id), 0);
    cr_assert_eq(id, 0);
    char *name = user_name(0);
    cr_assert_str_eq(name, "root");
    free(name);
    name = group_name(0);
    cr_assert_str_eq(name, "root");
    free(name);
}

Test(users, nobody_of_that_name_is_enoent, .timeout = 10)
{
    int64_t id = -1;
    cr_assert_eq(user_find("no such user", &id), -ENOENT);
    cr_assert_eq(group_find("no such group", &id), -ENOENT);
    cr_assert_eq(user_find("", &id), -ENOENT);
    cr_assert_eq(id, -1);
}

Test(users, a_number_without_a_name_has_none, .timeout = 10)
{
    cr_assert_null(user_name(INT64_C(4123456789)));
    cr_assert_null(group_name(INT64_C(4123456789)));
}
