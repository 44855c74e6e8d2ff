#include "fs/closes.h"

#include <criterion/criterion.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(closes, .timeout = 30);

static struct closes closes;

static void setup(void)
{
    closes_init(&closes);
}

static void teardown(void)
{
    closes_fini(&closes);
}

/* The kernel's n-th request comes to this thread. */
static void read_one(uint64_t n, uint32_t opcode)
{
    struct fuse_in_header header = {.len = sizeof(header), .opcode = opcode, .unique = 2 * n};

    closes_read(&closes, &header, sizeof(header));
}

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int64_t await_us(void)
{
    int64_t since_us = now_us();

    closes_await(&closes);
    return now_us() - since_us;
}

/* A thread that has taken a request from the kernel, and comes to it only later. */
struct slow {
    pthread_t thread;
    uint64_t number;
    uint32_t opcode;
    atomic_bool done;
};

static void *slow_run(void *arg)
{
    struct slow *slow = arg;

    usleep(50000);
    read_one(slow->number, slow->opcode);
    usleep(50000);
    atomic_store(&slow->done, true);
    if (slow->opcode == FUSE_RELEASE)
        closes_done(&closes);
    return NULL;
}

static void slow_start(struct slow *slow, uint64_t number, uint32_t opcode)
{
    *slow = (struct slow){.number = number, .opcode = opcode};
    cr_assert_eq(pthread_create(&slow->thread, NULL, slow_run, slow), 0);
}

Test(closes, nothing_is_waited_for_where_all_has_come, .init = setup, .fini = teardown)
{
    for (uint64_t n = 1; n < 20000; n++)
        read_one(n, n % 2 ? FUSE_WRITE : FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
}

Test(closes, a_release_is_waited_for_until_it_is_done, .init = setup, .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 2, FUSE_RELEASE);
    read_one(3, FUSE_READ);
    cr_assert(closes_under_way(&closes));
    cr_assert_lt(await_us(), CLOSES_WAIT_US);
    cr_assert(atomic_load(&slow.done));
    cr_assert_not(closes_under_way(&closes));
    pthread_join(slow.thread, NULL);
}

Test(closes, any_other_request_only_until_it_is_seen, .init = setup, .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 2, FUSE_WRITE);
    read_one(3, FUSE_READ);
    cr_assert_lt(await_us(), CLOSES_WAIT_US);
    cr_assert_not(atomic_load(&slow.done));
    pthread_join(slow.thread, NULL);
}

Test(closes, a_later_release_is_not_waited_for, .init = setup, .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 3, FUSE_RELEASE);
    read_one(2, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
    pthread_join(slow.thread, NULL);
    read_one(2, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
}

Test(closes, a_request_that_never_comes_is_given_up_once, .init = setup, .fini = teardown)
{
    int64_t waited_us;

    read_one(1, FUSE_INIT);
    read_one(5, FUSE_READ);
    waited_us = await_us();
    cr_assert_geq(waited_us, CLOSES_WAIT_US);
    cr_assert_not(closes_under_way(&closes));
    read_one(6, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
    read_one(8, FUSE_READ);
    cr_assert(closes_under_way(&closes), "the next one is waited for again");
}

Test(closes, the_window_forgets_what_is_far_back, .init = setup, .fini = teardown)
{
    read_one(1, FUSE_INIT);
    read_one(3, FUSE_READ);
    for (uint64_t n = 4; n < 3 + CLOSES_KNOWN - 1; n++)
        read_one(n, FUSE_READ);
    cr_assert(closes_under_way(&closes));
    read_one(3 + CLOSES_KNOWN - 1, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
    cr_assert_eq(closes.n_missing, 0);
    read_one(2, FUSE_READ); /* now it comes */
    cr_assert_eq(closes.n_missing, 0);
}

Test(closes, numbers_without_an_order_hold_nobody_up, .init = setup, .fini = teardown)
{
    read_one(1, FUSE_INIT);
    read_one(UINT64_C(1) << 40, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
    read_one(17, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
}

Test(closes, interrupts_and_short_reads_have_no_number, .init = setup, .fini = teardown)
{
    struct fuse_in_header header = {.opcode = FUSE_INTERRUPT, .unique = 2 * 9 + 1};

    read_one(1, FUSE_INIT);
    closes_read(&closes, &header, sizeof(header));
    closes_read(&closes, &header, sizeof(header) - 1);
    header.opcode = FUSE_NOTIFY_REPLY;
    header.unique = 40;
    closes_read(&closes, &header, sizeof(header));
    closes_done(&closes);
    read_one(2, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
}
