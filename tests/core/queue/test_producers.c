/* Item numbers of producers: what is new, repeated, too early or too old. */
#include "core/queue/producers.h"

#include <string.h>

#include <criterion/criterion.h>

#include "core/chain.h"
#include "core/crc32c.h"

static struct queue_shared shared;
static struct queue *queue;
static struct sequence *seq;

static void setup(void)
{
    struct queue_record record = {.number = 1, .name = "q", .next_batch = 1};
    struct producer_id producer = {.bytes = {1}};

    queue_shared_init(&shared, NULL);
    shared.now_us = 1000;
    cr_assert_eq(queue_new(&shared, &record, &queue), 0);
    seq = sequence_get(queue, &producer);
    cr_assert_not_null(seq);
}

static void teardown(void)
{
    while (sequence_release(seq, true))
        continue;
    sequence_revert(seq);
    queue_free(queue);
}

TestSuite(sequence, .init = setup, .fini = teardown, .timeout = 10);

/* So many items that are all the same. */
static struct batch_view items(uint32_t n)
{
    static char text[2048];
    struct batch_view view = {.n_items = n, .data = (const uint8_t *)text, .len = 2 * (size_t)n};

    for (size_t i = 0; i < sizeof(text); i += 2)
        memcpy(text + i, "x\n", 2);
    view.crc = crc32c(view.data, view.len);
    return view;
}

static uint64_t chain_below(uint64_t base)
{
    struct batch_view view = items((uint32_t)(base - 1));

    return base > 1 ? chain_append(0, &view) : 0;
}

static enum sequence_verdict check(uint64_t epoch, uint64_t base, uint32_t n, uint32_t *skip)
{
    struct request put = {.kind = REQUEST_PUT, .repeat = true};

    put.in.put.epoch = epoch;
    put.in.put.base = base;
    put.in.put.chain = chain_below(base);
    put.in.put.batch = items(n);
    return sequence_check(seq, &put, skip);
}

static void stage(uint32_t n)
{
    struct batch_view view = items(n);

    sequence_stage(seq, &view);
}

static void store(uint64_t epoch, uint64_t base, uint32_t n)
{
    uint32_t skip = 0;

    cr_assert_eq(check(epoch, base, n, &skip), SEQUENCE_STORE);
    cr_assert_eq(skip, 0);
    stage(n);
    sequence_commit(seq, 77);
}

static struct request put_of(uint64_t base, size_t len)
{
    struct request put = {.kind = REQUEST_PUT};

    put.in.put.epoch = 1;
    put.in.put.base = base;
    put.in.put.batch.n_items = 1;
    put.in.put.batch.len = len;
    return put;
}

Test(sequence, first_item_of_a_producer_is_1)
{
    uint32_t skip = 9;

    cr_assert_eq(check(1, 2, 1, &skip), SEQUENCE_GAP);
    cr_assert_eq(check(1, 1, 5, &skip), SEQUENCE_STORE);
    cr_assert_eq(skip, 0);
}

Test(sequence, first_put_says_the_epoch_and_starts_at_1_all_the_same)
{
    uint32_t skip;

    cr_assert_eq(check(7, 101, 5, &skip), SEQUENCE_GAP);
    store(7, 1, 100);
    cr_assert_eq(check(7, 101, 5, &skip), SEQUENCE_STORE);
}

Test(sequence, overlap_is_skipped_and_a_whole_repeat_is_told)
{
    uint32_t skip = 0;

    store(1, 1, 10);
    cr_assert_eq(seq->record.last, 10);
    cr_assert_eq(seq->record.last_used_us, 77);
    cr_assert_eq(check(1, 1, 10, &skip), SEQUENCE_REPEAT);
    cr_assert_eq(check(1, 3, 2, &skip), SEQUENCE_REPEAT);
    cr_assert_eq(check(1, 10, 2, &skip), SEQUENCE_STORE);
    cr_assert_eq(skip, 1);
    cr_assert_eq(check(1, 11, 2, &skip), SEQUENCE_STORE);
    cr_assert_eq(skip, 0);
    cr_assert_eq(check(1, 12, 2, &skip), SEQUENCE_GAP);
}

Test(sequence, older_epoch_is_stale_and_a_newer_one_starts_at_its_base)
{
    uint32_t skip = 9;

    store(5, 1, 10);
    cr_assert_eq(check(4, 11, 1, &skip), SEQUENCE_STALE);
    cr_assert_eq(check(6, 500, 3, &skip), SEQUENCE_STORE);
    cr_assert_eq(skip, 0);
    cr_assert_eq(check(5, 11, 1, &skip), SEQUENCE_STALE);
    cr_assert_eq(seq->last, 499);
}

Test(sequence, what_was_staged_and_failed_is_new_again)
{
    uint32_t skip = 9;

    store(1, 1, 4);
    stage(6);
    cr_assert_eq(seq->last, 10);
    cr_assert_eq(check(1, 5, 6, &skip), SEQUENCE_REPEAT);
    sequence_revert(seq);
    cr_assert_eq(check(1, 5, 6, &skip), SEQUENCE_STORE);
    cr_assert(TAILQ_EMPTY(&shared.staged));
}

Test(sequence, held_puts_come_out_by_number_when_the_gap_fills)
{
    struct request c = put_of(3, 1), b = put_of(2, 1), d = put_of(5, 1);

    cr_assert(sequence_hold(seq, &c));
    cr_assert(sequence_hold(seq, &b));
    cr_assert(sequence_hold(seq, &d));
    cr_assert_eq(seq->held_until_us, 1000 + SEQUENCE_HOLD_US);
    cr_assert_eq(TAILQ_FIRST(&shared.holding), seq);
    seq->epoch = 1;
    cr_assert_null(sequence_release(seq, false));
    seq->last = 1;
    cr_assert_eq(sequence_release(seq, false), &b);
    seq->last = 2;
    cr_assert_eq(sequence_release(seq, false), &c);
    seq->last = 3;
    cr_assert_null(sequence_release(seq, false));
    cr_assert_eq(sequence_release(seq, true), &d);
    cr_assert_null(sequence_release(seq, true));
    cr_assert(TAILQ_EMPTY(&shared.holding));
    cr_assert_eq(seq->held_bytes, 0);
}

Test(sequence, held_puts_are_bounded_in_number_and_bytes)
{
    static struct request puts[SEQUENCE_HOLD_REQUESTS + 1];
    struct request large = put_of(9, SEQUENCE_HOLD_BYTES), small = put_of(9, 1);

    cr_assert(sequence_hold(seq, &large));
    cr_assert_not(sequence_hold(seq, &small));
    cr_assert_eq(sequence_release(seq, true), &large);
    for (int i = 0; i < SEQUENCE_HOLD_REQUESTS; i++) {
        puts[i] = put_of(9, 1);
        cr_assert(sequence_hold(seq, &puts[i]));
    }
    cr_assert_not(sequence_hold(seq, &small));
}

Test(sequence, is_old_after_a_day_without_a_put)
{
    store(1, 1, 1);
    cr_assert_not(sequence_is_old(seq, 77 + SEQUENCE_KEEP_US));
    cr_assert(sequence_is_old(seq, 77 + SEQUENCE_KEEP_US + 1));
    stage(1);
    cr_assert_not(sequence_is_old(seq, 77 + SEQUENCE_KEEP_US + 1));
}
