#include <criterion/criterion.h>

#include "fs/told.h"

TestSuite(told, .timeout = 5);

static struct told told;

Test(told, taken_once)
{
    told_init(&told);
    cr_assert_not(told_take(&told, 7));
    told_add(&told, 7);
    cr_assert_not(told_take(&told, 8));
    cr_assert_not(told_take(&told, 7 + TOLD_ROWS));
    cr_assert(told_take(&told, 7));
    cr_assert_not(told_take(&told, 7));
}

Test(told, a_full_row_forgets_the_oldest)
{
    told_init(&told);
    for (int i = 0; i <= TOLD_WAYS; i++)
        told_add(&told, 5 + i * TOLD_ROWS);
    cr_assert_not(told_take(&told, 5));
    for (int i = TOLD_WAYS; i >= 1; i--)
        cr_assert(told_take(&told, 5 + i * TOLD_ROWS));
}

Test(told, taking_from_the_middle_keeps_the_others)
{
    told_init(&told);
    for (int i = 0; i < TOLD_WAYS; i++)
        told_add(&told, 9 + i * TOLD_ROWS);
    cr_assert(told_take(&told, 9 + 3 * TOLD_ROWS));
    for (int i = 0; i < TOLD_WAYS; i++)
        cr_assert_eq(told_take(&told, 9 + i * TOLD_ROWS), i != 3);
}

Test(told, as_many_as_it_holds)
{
    told_init(&told);
    for (int i = 1; i <= TOLD_ROWS * TOLD_WAYS; i++)
        told_add(&told, i);
    for (int i = 1; i <= TOLD_ROWS * TOLD_WAYS; i++)
        cr_assert(told_take(&told, i));
}
