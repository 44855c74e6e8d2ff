/* Whose the bytes of the buffer are, who goes on beyond the limits, and whose writes wait. */
#include "producer_rig.h"

#define LIMIT 1000

static void begin(struct rig *rig, bool by_uid, int64_t limit_bytes)
{
    rig_init(rig);
    rig->budget.by_uid = by_uid;
    rig->budget.limit_bytes[BUDGET_BUFFERED] = limit_bytes;
    rig->settings.mount.linger_us = 1000;
}

/* Part of an item, as often as it is taken. How many bytes. */
static size_t fill(struct rig *rig, struct writer *w, size_t most)
{
    char part[500];
    size_t taken = 0;
    ssize_t n;

    memset(part, 'a', sizeof(part));
    while (taken < most && (n = rig_write(rig, w, part, sizeof(part))) > 0)
        taken += (size_t)n;
    return taken;
}

static void start_text(struct rig *rig, struct writer *w, struct call *call, size_t len)
{
    char *text = malloc(len);

    memset(text, '\n', len);
    call_init(rig, call);
    rig_start_write(rig, w, call, text, len);
    free(text);
}

/* ---- beyond the limits ---- */

Test(share, one_unfinished_item_goes_on_beyond_the_limit)
{
    struct rig rig;
    struct writer first, second;

    begin(&rig, false, LIMIT);
    rig_open(&rig, &first);
    rig_open(&rig, &second);
    cr_assert_eq(fill(&rig, &first, 100 * LIMIT), 100 * LIMIT);
    cr_assert_eq(fill(&rig, &second, LIMIT), 0);
    cr_assert(producer_writable(rig.p, &first));
    cr_assert_not(producer_writable(rig.p, &second));
    cr_assert_eq(rig_puts(&rig, &first, "\n"), 1);
    rig_drain(&rig);
    cr_assert_eq(fill(&rig, &second, 100 * LIMIT), 100 * LIMIT);
    rig_release(&rig, &first);
    rig_release(&rig, &second);
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(share, whose_item_is_dropped_leaves_it_to_the_next)
{
    struct rig rig;
    struct writer first, second;

    begin(&rig, false, LIMIT);
    rig.settings.own.max_item_size = 2 * LIMIT;
    rig_open(&rig, &first);
    rig_open(&rig, &second);
    cr_assert_eq(fill(&rig, &first, 2 * LIMIT), 2 * LIMIT);
    cr_assert_eq(fill(&rig, &second, LIMIT), 0);
    cr_assert_eq(rig_puts(&rig, &first, "one too many"), -EMSGSIZE);
    cr_assert_eq(fill(&rig, &second, 2 * LIMIT), 2 * LIMIT);
    rig_release(&rig, &first);
    rig_release(&rig, &second);
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(share, there_is_a_limit_to_that_too)
{
    struct rig rig;
    struct writer w;

    begin(&rig, false, LIMIT);
    rig.budget.limit_bytes[BUDGET_FLOOR] = 2 * LIMIT;
    rig_open(&rig, &w);
    cr_assert_eq(fill(&rig, &w, 100 * LIMIT), 3 * LIMIT);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_fini(&rig);
}

/* ---- users ---- */

Test(share, of_one_queues_buffer_a_user_leaves_half)
{
    struct rig rig;
    struct writer one, two, root;

    begin(&rig, true, 1 << 20);
    rig.settings.mount.buffer_bytes = 8 * LIMIT;
    rig.budget.limit_bytes[BUDGET_FLOOR] = 0;
    rig_open_as(&rig, &one, 1000);
    rig_open_as(&rig, &two, 1001);
    rig_open(&rig, &root);
    cr_assert_eq(fill(&rig, &one, 100 * LIMIT), 4 * LIMIT);
    cr_assert_eq(fill(&rig, &two, 100 * LIMIT), 2 * LIMIT);
    cr_assert_eq(fill(&rig, &root, 100 * LIMIT), 2 * LIMIT);
    rig_release(&rig, &one);
    rig_release(&rig, &two);
    rig_release(&rig, &root);
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(share, whoever_waits_does_not_hold_up_another_user)
{
    struct rig rig;
    struct writer one, two;
    struct call waits, goes;

    begin(&rig, true, 4 * LIMIT);
    rig_open_as(&rig, &one, 1000);
    rig_open_as(&rig, &two, 1001);
    start_text(&rig, &one, &waits, 100 * LIMIT);
    cr_assert_eq(waits.n_done, 0);
    start_text(&rig, &two, &goes, 10);
    cr_assert_eq(goes.result, 10);
    for (int i = 0; i < 1000 && waits.n_done == 0; i++) {
        rig_sleep(&rig, 10000);
        rig_store_all(&rig);
    }
    cr_assert_eq(waits.result, 100 * LIMIT);
    cr_assert_eq(producer_counters(rig.p)->room_waits, 1);
    rig_release(&rig, &one);
    rig_release(&rig, &two);
    rig_drain(&rig);
    rig_fini(&rig);
}

/* ---- the copies of those that wait ---- */

Test(share, a_write_that_waits_may_be_answered_short)
{
    struct rig rig;
    struct writer w;
    struct call first, second;

    begin(&rig, false, LIMIT);
    rig.budget.limit_bytes[BUDGET_PARKED] = 100000;
    rig_open(&rig, &w);
    start_text(&rig, &w, &first, LIMIT);
    start_text(&rig, &w, &second, 1 << 20);
    cr_assert_eq(second.n_done, 0);
    cr_assert_lt(rig.budget.used_bytes[BUDGET_PARKED], 10000);
    for (int i = 0; i < 100 && second.n_done == 0; i++) {
        rig_sleep(&rig, 10000);
        rig_store_all(&rig);
    }
    cr_assert_eq(second.result, 4096);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_fini(&rig);
}

Test(share, too_many_that_wait_are_refused)
{
    struct rig rig;
    struct writer w;
    struct call fits, waits[20], refused;
    int n = 0;

    begin(&rig, false, LIMIT);
    rig.budget.limit_bytes[BUDGET_PARKED] = 20000;
    rig_open(&rig, &w);
    start_text(&rig, &w, &fits, LIMIT);
    for (; n < 20; n++) {
        start_text(&rig, &w, &waits[n], 5000);
        if (waits[n].n_done > 0)
            break;
    }
    cr_assert_eq(n, 3);
    cr_assert_eq(waits[n].result, -ENOBUFS);
    start_text(&rig, &w, &refused, 5000);
    cr_assert_eq(refused.result, -ENOBUFS);
    cr_assert_eq(rig.budget.n_refused, 2);
    op_cancel(&waits[0].op);
    cr_assert_eq(waits[0].result, -EINTR);
    start_text(&rig, &w, &refused, 100);
    cr_assert_eq(refused.n_done, 0, "there is room for one again");
    rig_release(&rig, &w);
    cr_assert_eq(refused.result, -EINTR);
    rig_drain(&rig);
    rig_fini(&rig);
}
