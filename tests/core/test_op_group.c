#include "core/op_group.h"

#include <criterion/criterion.h>
#include <errno.h>

static int n_done, last_error;
static void *last_owner;

static void done(struct op_group *group, int error)
{
    n_done++;
    last_error = error;
    last_owner = group->owner;
}

Test(op_group, one_of_none_is_done_at_once, .timeout = 10)
{
    struct op_group group;

    op_group_init(&group, done, &n_done);
    cr_assert_eq(n_done, 0);
    op_group_end(&group);
    cr_assert_eq(n_done, 1);
    cr_assert_eq(last_error, 0);
    cr_assert_eq(last_owner, &n_done);
}

Test(op_group, it_waits_for_the_last_and_tells_the_first_error, .timeout = 10)
{
    struct op_group group;
    struct op ops[4];

    op_group_init(&group, done, NULL);
    for (int i = 0; i < 4; i++)
        op_group_add(&group, &ops[i]);
    op_finish(&ops[2], 5); /* before no more is added, and a result that is no error */
    op_group_end(&group);
    op_finish(&ops[3], -ENOSPC);
    op_finish(&ops[0], -ETIMEDOUT);
    cr_assert_eq(n_done, 0);
    op_finish(&ops[1], 0);
    cr_assert_eq(n_done, 1);
    cr_assert_eq(last_error, -ENOSPC);
}
