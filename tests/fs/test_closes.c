#include "fs/closes.h"

#include <criterion/criterion.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(closes, .timeout = 120);

static struct closes closes;

static void setup_plain(void)
{
    closes_init(&closes);
}

/* No wait ends by its bound, however slow the machine. */
static void setup(void)
{
    closes_init(&closes);
    closes.wait_us = 20000000;
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

/* Another session thread, from its read(2) on. It is slow to come back, and slow to end. */
struct slow {
    pthread_t thread;
    sem_t reads, come, came, end;
    uint64_t number;
    uint32_t opcode;
    atomic_bool done;
};

static void *slow_run(void *arg)
{
    struct slow *slow = arg;

    closes_reading(&closes);
    sem_post(&slow->reads);
    sem_wait(&slow->come);
    usleep(50000);
    read_one(slow->number, slow->opcode);
    sem_post(&slow->came);
    sem_wait(&slow->end);
    usleep(50000);
    atomic_store(&slow->done, true);
    closes_done(&closes);
    return NULL;
}

static void *looker_run(void *arg)
{
    struct slow *slow = arg;

    closes_reading(&closes);
    read_one(slow->number, slow->opcode);
    sem_post(&slow->reads);
    closes_await(&closes);
    atomic_store(&slow->done, true);
    return NULL;
}

static void start(struct slow *slow, void *(*run)(void *), uint64_t number, uint32_t opcode)
{
    *slow = (struct slow){.number = number, .opcode = opcode};
    sem_init(&slow->reads, 0, 0);
    sem_init(&slow->come, 0, 0);
    sem_init(&slow->came, 0, 0);
    sem_init(&slow->end, 0, 0);
    cr_assert_eq(pthread_create(&slow->thread, NULL, run, slow), 0);
    sem_wait(&slow->reads);
}

static void slow_start(struct slow *slow, uint64_t number, uint32_t opcode)
{
    start(slow, slow_run, number, opcode);
}

/* It comes back in 50 ms, and ends after as long again. */
static void slow_go(struct slow *slow)
{
    sem_post(&slow->come);
    sem_post(&slow->end);
}

static void slow_join(struct slow *slow)
{
    pthread_join(slow->thread, NULL);
    sem_destroy(&slow->reads);
    sem_destroy(&slow->come);
    sem_destroy(&slow->came);
    sem_destroy(&slow->end);
}

static void *idle_run(void *arg)
{
    closes_reading(&closes);
    return NULL;
}

/* A session thread that goes to read and does not come back. */
static void idle_start(void)
{
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, idle_run, NULL), 0);
    pthread_join(thread, NULL);
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
    slow_go(&slow);
    cr_assert_lt(await_us(), closes.wait_us);
    cr_assert(atomic_load(&slow.done));
    cr_assert_not(closes_under_way(&closes));
    slow_join(&slow);
}

Test(closes, any_other_request_only_until_it_is_seen, .init = setup, .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 2, FUSE_WRITE);
    read_one(3, FUSE_READ);
    sem_post(&slow.come);
    cr_assert_lt(await_us(), closes.wait_us);
    cr_assert_not(atomic_load(&slow.done));
    sem_post(&slow.end);
    slow_join(&slow);
}

Test(closes, a_later_release_is_not_waited_for, .init = setup, .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 3, FUSE_RELEASE);
    read_one(2, FUSE_READ);
    sem_post(&slow.come);
    sem_wait(&slow.came);
    cr_assert_not(closes_under_way(&closes));
    sem_post(&slow.end);
    slow_join(&slow);
    cr_assert_not(closes_under_way(&closes));
}

Test(closes, a_request_that_never_comes_is_given_up_once, .init = setup_plain, .fini = teardown)
{
    int64_t waited_us;

    read_one(1, FUSE_INIT);
    idle_start();
    read_one(5, FUSE_READ);
    waited_us = await_us();
    cr_assert_geq(waited_us, CLOSES_WAIT_US);
    cr_assert_not(closes_under_way(&closes));
    read_one(6, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
    read_one(8, FUSE_READ);
    cr_assert(closes_under_way(&closes), "the next one is waited for again");
}

Test(closes, a_withdrawn_number_is_given_up_when_each_thread_has_come_back, .init = setup,
     .fini = teardown)
{
    struct slow one, two;

    read_one(1, FUSE_INIT);
    slow_start(&one, 5, FUSE_READ);
    slow_start(&two, 4, FUSE_WRITE);
    read_one(3, FUSE_READ);
    cr_assert(closes_under_way(&closes), "2 may be with either");
    slow_go(&one);
    slow_go(&two);
    cr_assert_lt(await_us(), closes.wait_us);
    cr_assert_not(closes_under_way(&closes));
    slow_join(&one);
    slow_join(&two);
}

Test(closes, what_has_no_number_is_something_that_a_thread_came_back_with, .init = setup,
     .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 0, FUSE_INTERRUPT);
    read_one(3, FUSE_READ);
    slow_go(&slow);
    cr_assert_lt(await_us(), closes.wait_us);
    slow_join(&slow);
}

Test(closes, a_number_is_with_nobody_who_read_only_later, .init = setup, .fini = teardown)
{
    read_one(1, FUSE_INIT);
    read_one(5, FUSE_READ);
    read_one(3, FUSE_READ);
    idle_start();
    read_one(6, FUSE_READ);
    cr_assert_not(closes_under_way(&closes));
    read_one(8, FUSE_READ);
    cr_assert(closes_under_way(&closes), "that one may have 7");
}

Test(closes, a_number_in_slow_hands_is_waited_for_whatever_others_bring, .init = setup,
     .fini = teardown)
{
    struct slow slow, other;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 2, FUSE_RELEASE);
    slow_start(&other, 4, FUSE_WRITE);
    for (uint64_t n = 5; n < 9; n++) {
        closes_reading(&closes);
        read_one(n, FUSE_READ);
    }
    slow_go(&other);
    sem_wait(&other.came);
    slow_go(&slow);
    cr_assert_lt(await_us(), closes.wait_us);
    cr_assert(atomic_load(&slow.done));
    slow_join(&slow);
    slow_join(&other);
}

Test(closes, a_release_in_hand_is_waited_for_whatever_others_bring, .init = setup, .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    slow_start(&slow, 2, FUSE_RELEASE);
    sem_post(&slow.come);
    sem_wait(&slow.came);
    for (uint64_t n = 3; n < 3 * CLOSES_KNOWN; n++) {
        closes_reading(&closes);
        read_one(n, FUSE_READ);
    }
    cr_assert(closes_under_way(&closes));
    sem_post(&slow.end);
    cr_assert_lt(await_us(), closes.wait_us);
    cr_assert(atomic_load(&slow.done));
    cr_assert_not(closes_under_way(&closes));
    slow_join(&slow);
}

Test(closes, where_all_others_wait_nothing_is_in_anybodys_hands, .init = setup, .fini = teardown)
{
    struct slow looker;

    read_one(1, FUSE_INIT);
    closes_reading(&closes);
    start(&looker, looker_run, 3, FUSE_READ);
    usleep(50000);
    cr_assert_not(atomic_load(&looker.done), "2 may be with this thread");
    read_one(5, FUSE_READ);
    cr_assert_lt(await_us(), closes.wait_us);
    slow_join(&looker);
}

Test(closes, a_forget_says_nothing_of_what_is_queued, .init = setup, .fini = teardown)
{
    struct slow slow;

    read_one(1, FUSE_INIT);
    read_one(4, FUSE_BATCH_FORGET);
    slow_start(&slow, 2, FUSE_RELEASE);
    read_one(3, FUSE_READ);
    slow_go(&slow);
    cr_assert_lt(await_us(), closes.wait_us);
    cr_assert(atomic_load(&slow.done));
    slow_join(&slow);
}

Test(closes, the_window_forgets_what_is_far_back, .init = setup, .fini = teardown)
{
    read_one(1, FUSE_INIT);
    idle_start();
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
    idle_start();
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

/* ---- in a model of the kernel's queue ---- */

#define MODEL_REQUESTS 20000
#define MODEL_BELOW    1000 /* how far below its own number a look checks */

static struct {
    pthread_mutex_t lock;
    uint64_t head, tail;                  /* lock; of what is queued */
    uint32_t opcodes[MODEL_REQUESTS + 2]; /* 0: withdrawn, or a FORGET's number */
    atomic_bool done[MODEL_REQUESTS + 2];
    atomic_int early, late; /* looks that did not wait, and that waited for nothing */
} model = {.lock = PTHREAD_MUTEX_INITIALIZER, .head = 1, .tail = 1};

static void model_queue(unsigned int *seed)
{
    static const uint32_t opcodes[] = {FUSE_RELEASE, FUSE_READ, FUSE_WRITE};
    uint64_t killed;

    for (int n = rand_r(seed) % 3; n > 0; n--)
        model.opcodes[model.tail++] = opcodes[rand_r(seed) % 3];
    killed = model.head + (uint64_t)rand_r(seed) % 8;
    if (killed < model.tail && model.opcodes[killed] != FUSE_RELEASE)
        model.opcodes[killed] = 0;
    while (model.head < model.tail && model.opcodes[model.head] == 0)
        model.head++;
}

/* read(2); 0: that was all. */
static uint64_t model_read(unsigned int *seed, uint32_t *opcode)
{
    uint64_t number = 0;

    pthread_mutex_lock(&model.lock);
    if (model.tail < MODEL_REQUESTS)
        model_queue(seed);
    if (model.tail < MODEL_REQUESTS && (model.head == model.tail || rand_r(seed) % 8 == 0)) {
        number = model.tail++;
        *opcode = FUSE_FORGET;
    } else if (model.head < model.tail) {
        number = model.head++;
        *opcode = model.opcodes[number];
    }
    pthread_mutex_unlock(&model.lock);
    return number;
}

static void model_look(uint64_t number)
{
    uint64_t below = number > MODEL_BELOW ? number - MODEL_BELOW : 1;

    if (await_us() >= closes.wait_us)
        model.late++;
    for (; below < number; below++)
        if (model.opcodes[below] == FUSE_RELEASE && !atomic_load(&model.done[below]))
            model.early++;
}

static void pause_sometimes(unsigned int *seed)
{
    if (rand_r(seed) % 16 == 0)
        usleep((useconds_t)rand_r(seed) % 200);
}

static void *model_run(void *arg)
{
    unsigned int seed = (unsigned int)(uintptr_t)arg;
    uint32_t opcode;
    uint64_t number;

    for (;;) {
        closes_reading(&closes);
        pause_sometimes(&seed);
        number = model_read(&seed, &opcode);
        if (number == 0)
            break;
        pause_sometimes(&seed);
        read_one(number, opcode);
        pause_sometimes(&seed);
        if (opcode == FUSE_READ)
            model_look(number);
        atomic_store(&model.done[number], true);
        closes_done(&closes);
    }
    closes_read(&closes, NULL, 0);
    return NULL;
}

Test(closes, looks_wait_for_what_is_in_hand_and_for_nothing_else, .init = setup, .fini = teardown)
{
    pthread_t threads[4];

    for (uintptr_t i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, model_run, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(model.early, 0, "%d looks came before a close was done", (int)model.early);
    cr_assert_eq(model.late, 0, "%d looks waited for what was withdrawn", (int)model.late);
}
