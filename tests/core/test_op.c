#include "core/op.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/request.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int n_done;
static ssize_t last_result;
static bool last_in_cancel;

static void done(struct op *op, ssize_t result)
{
    n_done++;
    last_result = result;
    last_in_cancel = op->in_cancel;
}

Test(op, cancel_takes_a_parked_op_out, .timeout = 10)
{
    struct op_list list;
    struct op op;

    op_list_init(&list);
    op_init(&op, done, NULL);
    atomic_store(&op.lock, &lock);
    cr_assert(op_park_locked(&op, &list));
    cr_assert_eq(list.n, 1);
    op_cancel(&op);
    cr_assert_eq(list.n, 0);
    cr_assert_eq(n_done, 1);
    cr_assert_eq(last_result, -EINTR);
    cr_assert(last_in_cancel);
}

Test(op, cancel_before_the_call_keeps_it_from_parking, .timeout = 10)
{
    struct op_list list;
    struct op op;

    op_list_init(&list);
    op_init(&op, done, NULL);
    op_cancel(&op);
    atomic_store(&op.lock, &lock);
    cr_assert(!op_park_locked(&op, &list));
    cr_assert_eq(n_done, 0);
    cr_assert_eq(op_interrupted(&op), -EINTR);
}

Test(op, cancel_after_it_was_taken_does_nothing, .timeout = 10)
{
    struct op_list list;
    struct op op;

    op_list_init(&list);
    op_init(&op, done, NULL);
    atomic_store(&op.lock, &lock);
    cr_assert(op_park_locked(&op, &list));
    cr_assert(op_take_locked(&op));
    cr_assert(!op_take_locked(&op));
    op_cancel(&op);
    cr_assert_eq(n_done, 0);
}

Test(op, interrupted_with_progress_is_a_short_count, .timeout = 10)
{
    struct op_list list;
    struct op op;

    op_list_init(&list);
    op_init(&op, done, NULL);
    atomic_store(&op.lock, &lock);
    op.progress = 17;
    cr_assert(op_park_locked(&op, &list));
    op_cancel(&op);
    cr_assert_eq(last_result, 17);
}

Test(op, interrupted_and_not_acknowledged_is_not_yet, .timeout = 10)
{
    struct op op;

    op_init(&op, done, NULL);
    op.sync = true;
    cr_assert_eq(op_interrupted(&op), -EINTR);
    op.progress = 17;
    cr_assert_eq(op_interrupted(&op), -ETIMEDOUT);
}

Test(op, effects_keep_order_and_empty_the_list, .timeout = 10)
{
    struct request a = {0}, b = {0};
    struct effects effects;
    struct op_list list;
    struct op ops[3];
    int i;

    effects_init(&effects);
    op_list_init(&list);
    for (i = 0; i < 3; i++) {
        op_init(&ops[i], done, NULL);
        cr_assert(op_park_locked(&ops[i], &list));
    }
    effects_finish_all_locked(&effects, &list, -EIO);
    cr_assert_eq(list.n, 0);
    cr_assert_eq(effects.finished.n, 3);
    cr_assert_eq(TAILQ_FIRST(&effects.finished.ops), &ops[0]);
    cr_assert_eq(ops[2].result, -EIO);
    effects_send(&effects, &a);
    effects_send(&effects, &b);
    cr_assert_eq(effects.requests, &a);
    cr_assert_eq(a.next, &b);
    cr_assert_null(b.next);
}
