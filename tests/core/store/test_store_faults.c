/* A disk that cannot read some of the log, or has no room at an awkward moment: core/store/local.c
 * and cleaner.c go on with what there is. */
#include <criterion/criterion.h>
#include <errno.h>

#include "core/log.h"
#include "core/store/local_state.h"
#include "core/store/segment.h"
#include "tests/core/store/store_fixture.h"

#define SEGMENT (MIB / 2)
#define BATCH   ((size_t)50000)

static struct store *store;
static char dir[] = "/var/tmp/queuefs-test-faults-XXXXXX";
static struct local_options options = {
    .dir = dir, .max_bytes = 256 * MIB, .segment_bytes = SEGMENT};
static unsigned n_logged;
static char last_logged[512];
static uint64_t last; /* batch that was put */

/* ---- the disk ---- */

static uint64_t bad, bad_end; /* positions of the log that cannot be read */
static bool no_room;          /* for what is moved */
static unsigned n_full;       /* ends of segments that find no space */

int __real_segment_read(const struct segment *segment, uint64_t position, void *to, size_t len);
int __wrap_segment_read(const struct segment *segment, uint64_t position, void *to, size_t len);
int __real_segment_write(const struct segment *segment, uint64_t position, struct iovec *parts,
                         size_t n_parts);
int __wrap_segment_write(const struct segment *segment, uint64_t position, struct iovec *parts,
                         size_t n_parts);
bool __real_commit_log_fits(struct commit_log *log, uint64_t len);
bool __wrap_commit_log_fits(struct commit_log *log, uint64_t len);

int __wrap_segment_read(const struct segment *segment, uint64_t position, void *to, size_t len)
{
    if (position < bad_end && position + len > bad)
        return -EIO;
    return __real_segment_read(segment, position, to, len);
}

int __wrap_segment_write(const struct segment *segment, uint64_t position, struct iovec *parts,
                         size_t n_parts)
{
    if (n_full > 0 && n_parts == 1 && parts->iov_len == COMMIT_LOG_HEAD) {
        n_full--;
        return -ENOSPC;
    }
    return __real_segment_write(segment, position, parts, n_parts);
}

bool __wrap_commit_log_fits(struct commit_log *log, uint64_t len)
{
    return !no_room && __real_commit_log_fits(log, len);
}

/* ---- the store ---- */

static void on_log(enum log_level level, const char *message)
{
    if (level != LOG_LEVEL_ERROR)
        return;
    n_logged++;
    snprintf(last_logged, sizeof(last_logged), "%s", message);
}

static void setup(void)
{
    log_set_sink("test", on_log);
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(store_local_open(&options, &store), 0);
}

static void teardown(void)
{
    store->ops->close(store);
    give_back();
    remove_tree(dir);
}

TestSuite(store_faults, .init = setup, .fini = teardown, .timeout = 60);

static void reopen(void)
{
    store->ops->close(store);
    cr_assert_eq(store_local_open(&options, &store), 0);
}

static void put(unsigned n)
{
    while (n-- > 0) {
        begin(store);
        cr_assert_eq(put_len(store, 1, ++last, BATCH), 0);
        commit(store);
    }
}

/* Puts and removals at the end, so that more and more of the log is dead. */
static void churn(unsigned n)
{
    while (n-- > 0) {
        put(1);
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, last), 0);
        commit(store);
    }
}

static uint64_t position_of(uint64_t batch)
{
    const struct index_key key = {.table = INDEX_BATCHES, .queue = 1, .batch = batch};
    struct index_row row;

    cr_assert_eq(index_get(local_of(store)->index, key, &row), 0);
    return row.position;
}

static void bad_at(uint64_t position)
{
    bad = position;
    bad_end = position + 512;
}

static void expect_batch(uint64_t batch)
{
    uint8_t *data = lines_new(BATCH, (uint32_t)batch);
    struct batch_view view;

    cr_assert_eq(store->ops->batch_get(store, 1, batch, &view), 0, "batch %u", (unsigned)batch);
    cr_assert(view.len == BATCH && memcmp(view.data, data, BATCH) == 0);
    free(data);
}

static uint64_t first_segment(void)
{
    struct commit_log_segment segment;

    cr_assert(commit_log_next_segment(local_of(store)->log, 0, &segment));
    return segment.first;
}

static uint64_t n_damaged(void)
{
    struct store_space space;

    cr_assert_eq(store->ops->space(store, &space), 0);
    return space.damaged_rows;
}

/* ---- what cannot be read ---- */

/* Whoever reads the queue is told which one it is, and goes past it. */
Test(store_faults, a_batch_that_cannot_be_read_is_a_damaged_one)
{
    struct batch_view view;
    uint8_t to[BATCH];

    put(3);
    reopen();
    bad_at(position_of(2) + BATCH / 2);
    cr_assert_eq(store->ops->batch_get(store, 1, 2, &view), -EBADMSG);
    cr_assert_eq(view.n_items, 496);
    cr_assert_eq(store->ops->batch_read(store, 1, 2, to, BATCH, &view), -EBADMSG);
    cr_assert_not_null(strstr(last_logged, "batch 2 of queue 1 is damaged"));
    expect_batch(1);
    expect_batch(3);
    begin(store);
    cr_assert_eq(store->ops->batch_remove(store, 1, 2), 0);
    commit(store);
    expect_next(store, 1, 2, 3);
}

/* The sector with a change's head is lost, as it is cleaned: what the index knows of is moved all
 * the same, and what lay in the sector is said to be lost. */
Test(store_faults, a_bad_sector_in_what_is_cleaned_costs_what_was_in_it)
{
    put(4);
    reopen();
    bad_at(position_of(2) - CHANGE_HEAD);
    churn(80);
    cr_assert_gt(first_segment(), 0);
    cr_assert_eq(n_damaged(), 1);
    cr_assert_eq(n_logged, 1, "%s", last_logged);
    cr_assert_not_null(strstr(last_logged, "queue 1 in a damaged part of the log is lost"));
    expect_batch(1);
    expect_no_batch(store, 1, 2);
    expect_batch(3);
    expect_batch(4);
    reopen();
    expect_batch(4);
}

/* As a sector in the midst of a batch's bytes. */
Test(store_faults, a_bad_sector_of_a_batch_that_is_moved_costs_that_batch)
{
    put(4);
    reopen();
    bad_at(position_of(3) + BATCH / 2);
    churn(80);
    cr_assert_gt(first_segment(), 0);
    cr_assert_eq(n_damaged(), 1);
    expect_batch(1);
    expect_batch(2);
    expect_no_batch(store, 1, 3);
    expect_batch(4);
}

/* ---- what is rescued, a piece at a time, where there is room ---- */

static uint64_t moved_by_begin(void)
{
    uint64_t len;

    cr_assert_eq(store->ops->begin(store), 0);
    len = local_of(store)->changes.len;
    store->ops->abort(store);
    return len;
}

/* The first record's head is lost, so that nothing is found by walking along. */
static void lose_the_walk(void)
{
    put(9);
    reopen();
    bad = COMMIT_LOG_FIRST;
    bad_end = bad + COMMIT_LOG_HEAD;
    no_room = true;
    churn(80);
    cr_assert_eq(first_segment(), 0);
    no_room = false;
    put(1);
}

Test(store_faults, a_rescue_is_no_larger_than_a_piece)
{
    lose_the_walk();
    cr_assert_gt(moved_by_begin(), 4 * BATCH);
    cr_assert_leq(moved_by_begin(), MIB / 4 + 2 * BATCH);
    churn(10);
    cr_assert_gt(first_segment(), 0);
    for (uint64_t batch = 1; batch <= 9; batch++)
        expect_batch(batch);
    cr_assert_eq(n_damaged(), 0);
}

Test(store_faults, a_rescue_waits_for_room)
{
    lose_the_walk();
    no_room = true;
    cr_assert_eq(moved_by_begin(), 0);
    no_room = false;
    cr_assert_gt(moved_by_begin(), 0);
}

/* ---- no space ---- */

Test(store_faults, no_space_to_finish_a_segment_passes)
{
    int rc = 0;

    n_full = 1;
    while (rc == 0) {
        cr_assert_lt(last, 30);
        begin(store);
        cr_assert_eq(put_len(store, 1, ++last, BATCH), 0);
        rc = store->ops->commit(store);
    }
    cr_assert_eq(rc, -ENOSPC);
    cr_assert_eq(n_full, 0);
    last--;
    put(20);
    reopen();
    for (uint64_t batch = 1; batch <= last; batch++)
        expect_batch(batch);
    expect_next(store, 1, last + 1, 0);
    cr_assert_eq(n_logged, 0, "%s", last_logged);
}
