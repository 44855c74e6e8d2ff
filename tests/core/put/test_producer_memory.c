/*
 * Memory runs out: at each allocation in turn. What a write said it took is there, what it did not
 * is not, and the accounts are right. The modules are compiled in, with failing allocators.
 */
#include <stdbool.h>
#include <stdlib.h>

static int allocations_left = -1; /* -1: no limit */

static bool may_allocate(void)
{
    if (allocations_left == 0)
        return false;
    if (allocations_left > 0)
        allocations_left--;
    return true;
}

static void *test_malloc(size_t size)
{
    return may_allocate() ? malloc(size) : NULL;
}

static void *test_calloc(size_t n, size_t size)
{
    return may_allocate() ? calloc(n, size) : NULL;
}

static void *test_realloc(void *old, size_t size)
{
    return may_allocate() ? realloc(old, size) : NULL;
}

#define malloc  test_malloc
#define calloc  test_calloc
#define realloc test_realloc
#include "core/put/batcher.c"
#include "core/put/window.c"
#include "core/put/split.c"
#undef malloc
#undef calloc
#undef realloc

#include "tests/core/put/producer_rig.h"

TestSuite(producer_memory, .timeout = 60);

#define FAILURES 12

static ssize_t write_with(struct rig *rig, struct writer *w, const char *text, int allocations)
{
    ssize_t result;

    allocations_left = allocations;
    result = rig_write(rig, w, text, strlen(text));
    allocations_left = -1;
    return result;
}

/* The whole of `text`, begun with so many allocations and gone on with after each error. */
static void write_all(struct rig *rig, struct writer *w, const char *text, int allocations)
{
    ssize_t n;

    while (*text) {
        n = write_with(rig, w, text, allocations);
        cr_assert(n > 0 || n == -ENOMEM);
        if (n > 0)
            text += n;
        allocations = -1;
    }
}

Test(producer_memory, a_write_takes_what_it_can)
{
    struct rig rig;
    struct writer w;

    for (int n = 0; n < FAILURES; n++) {
        rig_init(&rig);
        rig.settings.mount.batch_bytes = 4;
        rig_open(&rig, &w);
        write_all(&rig, &w, "12", n);
        write_all(&rig, &w, "3\na\nb\nc\nd\n5678901\nx", n);
        rig_release(&rig, &w);
        rig_drain(&rig);
        rig_take_text(&rig, "123");
        rig_take_text(&rig, "a");
        rig_take_text(&rig, "b");
        rig_take_text(&rig, "c");
        rig_take_text(&rig, "d");
        rig_take_text(&rig, "5678901");
        rig_take_text(&rig, "x");
        rig_nothing_more(&rig);
        rig_fini(&rig);
    }
}

Test(producer_memory, an_end_without_memory_is_told_and_counted)
{
    struct rig rig;
    struct writer w;
    struct call call;

    rig_init(&rig);
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "lost");
    allocations_left = 0;
    rig_release(&rig, &w);
    allocations_left = -1;
    cr_assert_eq(producer_counters(rig.p)->put_errors, 1);
    rig_flush(&rig, &call);
    cr_assert_eq(call.result, -ENOMEM);
    rig_fini(&rig);
}

Test(producer_memory, a_write_that_cannot_park_ends)
{
    struct rig rig;
    struct writer w;
    struct call call;
    char data[5000];

    rig_init(&rig);
    rig.settings.mount.buffer_bytes = 4096;
    rig_open(&rig, &w);
    memset(data, '\n', sizeof(data));
    cr_assert_eq(rig_write(&rig, &w, data, 4096), 4096);
    call_init(&rig, &call);
    allocations_left = 0;
    rig_start_write(&rig, &w, &call, data, sizeof(data));
    allocations_left = -1;
    cr_assert_eq(call.result, -ENOMEM);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_memory, a_batch_that_cannot_be_sent_waits)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\n");
    allocations_left = 0;
    rig_sleep(&rig, 5000);
    cr_assert_eq(rig.n_sent, 0);
    allocations_left = -1;
    rig_sleep(&rig, 50000);
    cr_assert_eq(rig.n_sent, 1);
    rig_store_all(&rig);
    rig_take_text(&rig, "a");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer_memory, files_that_cannot_be_laid_out_go_one_by_one)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.own.framing = FRAMING_FILE;
    for (int i = 0; i < 3; i++) {
        rig_open(&rig, &w);
        rig_puts(&rig, &w, "file");
        rig_release(&rig, &w);
    }
    allocations_left = 1; /* the put, not the table */
    rig_sleep(&rig, 5000);
    allocations_left = -1;
    cr_assert_eq(rig.sent[0]->in.put.batch.n_items, 1);
    rig_sleep(&rig, 50000);
    rig_drain(&rig);
    for (int i = 0; i < 3; i++)
        rig_take_text(&rig, "file");
    rig_nothing_more(&rig);
    rig_fini(&rig);
}

Test(producer_memory, a_refused_batch_waits_for_memory)
{
    struct rig rig;
    struct writer w;

    for (int n = 0; n < 4; n++) {
        rig_init(&rig);
        rig_open(&rig, &w);
        rig_puts(&rig, &w, "long\na\nb\n");
        rig_sleep(&rig, 5000);
        rig.settings.own.max_item_size = 2;
        allocations_left = n;
        rig_store(&rig, 0);
        allocations_left = -1;
        rig_release(&rig, &w);
        rig.p->error = 0;
        rig_sleep(&rig, 50000);
        rig_store_all(&rig);
        rig.p->error = 0;
        rig_drain(&rig);
        rig_take_text(&rig, "a");
        rig_take_text(&rig, "b");
        rig_nothing_more(&rig);
        rig_fini(&rig);
    }
}
