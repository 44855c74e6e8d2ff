/* What only a store on disk has to show: it is there again after a reopen, damage is noticed,
 * limits hold, the file is used again. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <criterion/criterion.h>
#include <lmdb.h>

#include "core/bytes.h"
#include "core/log.h"
#include "core/store/record.h"
#include "tests/core/store/store_fixture.h"

/* Of one test: each runs in a process of its own. */
static struct store *store;
static char dir[] = "/tmp/test-store-XXXXXX";
static struct lmdb_options options = {.dir = dir, .max_bytes = 64 * MIB};
static int n_logged;
static const char *expected_last; /* an end of the process that says so */
#define SAID 42
static char last_logged[512];

static void on_log(enum log_level level, const char *message)
{
    if (level != LOG_LEVEL_ERROR)
        return;
    if (expected_last && strstr(message, expected_last) && strstr(message, dir) &&
        strstr(message, "backup")) {
        remove_tree(dir);
        _exit(SAID);
    }
    n_logged++;
    snprintf(last_logged, sizeof(last_logged), "%s", message);
}

static void setup(void)
{
    log_set_sink("test", on_log);
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(store_lmdb_open(&options, &store), 0);
}

static void close_store(void)
{
    if (store)
        store->ops->close(store);
    store = NULL;
}

static void reopen(void)
{
    close_store();
    cr_assert_eq(store_lmdb_open(&options, &store), 0);
}

static void teardown(void)
{
    close_store();
    remove_tree(dir);
}

#define LMDB_TEST(condition)                                                                       \
    Test(store_lmdb_file, condition, .init = setup, .fini = teardown, .timeout = 60)

/* Replace a row of the closed store by other means; data NULL: turn a bit of its last byte. */
static void patch(const char *table, const void *key, size_t key_len, const void *data, size_t len)
{
    MDB_val at = {key_len, (void *)(uintptr_t)key}, value = {len, (void *)(uintptr_t)data};
    uint8_t copy[4096];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(env, 8), 0);
    cr_assert_eq(mdb_env_open(env, dir, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, table, MDB_CREATE, &dbi), 0);
    if (!data) {
        cr_assert_eq(mdb_get(txn, dbi, &at, &value), 0);
        cr_assert_leq(value.mv_size, sizeof(copy));
        memcpy(copy, value.mv_data, value.mv_size);
        copy[value.mv_size - 1] ^= 1;
        value.mv_data = copy;
    }
    cr_assert_eq(mdb_put(txn, dbi, &at, &value, 0), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

/* The first row of a table once more, under a key that ends in `last`. */
static void copy_row(const char *table, size_t key_len, uint8_t last)
{
    uint8_t other[24] = {0}, copy[4096];
    MDB_val at = {0}, value;
    MDB_cursor *cursor;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    size_t len;

    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(env, 8), 0);
    cr_assert_eq(mdb_env_open(env, dir, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, table, 0, &dbi), 0);
    cr_assert_eq(mdb_cursor_open(txn, dbi, &cursor), 0);
    cr_assert_eq(mdb_cursor_get(cursor, &at, &value, MDB_FIRST), 0);
    cr_assert_eq(at.mv_size, key_len);
    len = value.mv_size;
    cr_assert_leq(len, sizeof(copy));
    memcpy(copy, value.mv_data, len);
    memcpy(other, at.mv_data, key_len);
    other[key_len - 1] = last;
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    patch(table, other, key_len, copy, len);
}

static int mark_next_rc(uint64_t queue, uint64_t from)
{
    const void *data;
    uint64_t batch;
    size_t len;

    return store->ops->mark_next(store, queue, from, &batch, &data, &len);
}

static const uint8_t key_1_2[] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2};

static off_t file_size(void)
{
    char path[64];
    struct stat stat_of;

    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    cr_assert_eq(stat(path, &stat_of), 0);
    return stat_of.st_size;
}

LMDB_TEST(reopen_sees_what_was_committed)
{
    struct sequence_record sequence;
    struct queue_record record;
    uint64_t number;

    begin(store);
    put_queue(store, 7, "jobs");
    put_text(store, 7, 1, "a\n");
    put_mark(store, 7, 1, "mark");
    put_sequence(store, 7, 1, 5);
    commit(store);
    begin(store);
    put_queue(store, 8, "more");
    put_text(store, 7, 2, "b\n");
    put_mark(store, 7, 1, "changed");
    put_sequence(store, 7, 1, 6);
    reopen();

    cr_assert_eq(store->ops->queue_next(store, 0, &record), 0);
    cr_assert_eq(record.number, 7);
    cr_assert_str_eq(record.name, "jobs");
    cr_assert_eq(store->ops->queue_next(store, 8, &record), -ENOENT);
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 7);
    expect_text(store, 7, 1, "a\n");
    expect_next(store, 7, 2, 0);
    expect_mark(store, 7, 0, 1, "mark");
    cr_assert_eq(store->ops->sequence_next(store, 7, NULL, &sequence), 0);
    cr_assert_eq(sequence.last, 5);
}

LMDB_TEST(last_queue_number_survives_removal_and_reopen)
{
    uint64_t number;

    begin(store);
    put_queue(store, 4, "a");
    cr_assert_eq(store->ops->queue_remove(store, 4), 0);
    commit(store);
    reopen();
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 4);
}

LMDB_TEST(files_are_for_the_owner_only)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    struct stat stat_of;
    char path[64];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        cr_assert_eq(stat(path, &stat_of), 0);
        cr_assert_eq(stat_of.st_mode & 0777, 0600);
    }
}

LMDB_TEST(second_open_is_refused)
{
    struct store *second = NULL;

    cr_assert_eq(store_lmdb_open(&options, &second), -EBUSY);
    cr_assert_null(second);
    begin(store);
    put_text(store, 1, 1, "x\n");
    commit(store);
}

LMDB_TEST(directory_that_is_not_there)
{
    struct lmdb_options nowhere = {.dir = "/tmp/test-store-none", .max_bytes = MIB};
    struct store *none = NULL;

    cr_assert_eq(store_lmdb_open(&nowhere, &none), -ENOENT);
    cr_assert_null(none);
}

LMDB_TEST(damaged_batch_can_be_passed)
{
    struct batch_view view;
    uint64_t batch = 0;

    begin(store);
    for (uint64_t i = 1; i <= 3; i++)
        put_text(store, 1, i, "text\n");
    commit(store);
    close_store();
    patch("batches", key_1_2, 16, NULL, 0);
    reopen();

    expect_next(store, 1, 0, 1);
    cr_assert_eq(store->ops->batch_get(store, 1, 2, &view), -EBADMSG);
    cr_assert_eq(store->ops->batch_next(store, 1, 2, &batch, &view), -EBADMSG);
    cr_assert_eq(batch, 2);
    cr_assert_eq(view.n_items, 1);
    cr_assert_eq(view.len, 5);
    expect_next(store, 1, 3, 3);

    begin(store);
    cr_assert_eq(store->ops->batch_get(store, 1, 2, &view), -EBADMSG);
    cr_assert_eq(store->ops->batch_remove(store, 1, 2), 0);
    commit(store);
    expect_next(store, 1, 2, 3);
}

LMDB_TEST(batch_row_that_is_no_batch)
{
    static const uint8_t odd_key[] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 1};
    struct batch_view view;

    begin(store);
    put_text(store, 1, 1, "text\n");
    put_text(store, 1, (uint64_t)1 << 50, "behind\n");
    commit(store);
    close_store();
    patch("batches", key_1_2, 16, "short", 5);
    patch("batches", odd_key, sizeof(odd_key), "odd key", 7);
    reopen();
    cr_assert_eq(store->ops->batch_get(store, 1, 2, &view), -EBADMSG);
    expect_next(store, 1, 0, 1);
    expect_next(store, 1, 3, (uint64_t)1 << 50);
}

LMDB_TEST(damaged_queue_and_sequence)
{
    uint8_t producer[24] = {0, 0, 0, 0, 0, 0, 0, 1, 1};
    struct sequence_record sequence;
    struct queue_record record;

    begin(store);
    put_queue(store, 1, "a");
    put_queue(store, 2, "b");
    put_sequence(store, 1, 1, 5);
    commit(store);
    close_store();
    patch("queues", key_1_2, 8, NULL, 0);
    patch("sequences", producer, 24, NULL, 0);
    reopen();
    cr_assert_eq(store->ops->queue_next(store, 0, &record), -EBADMSG);
    cr_assert_eq(record.number, 1);
    cr_assert_eq(store->ops->sequence_next(store, 1, NULL, &sequence), -EBADMSG);
    cr_assert_eq(sequence.producer.bytes[0], 1);
    cr_assert_eq(store->ops->queue_next(store, 2, &record), 0);
}

static void format_row(uint8_t row[12], uint8_t format)
{
    memset(row, 0, 12);
    row[0] = format;
    put_le32(row + 8, record_seal(0, "format", 6, row, 8));
}

LMDB_TEST(other_formats_are_refused)
{
    static const uint8_t first[8] = {1};
    struct store *none = NULL;
    uint8_t row[12];

    close_store();
    format_row(row, 3);
    patch("meta", "format", 6, row, sizeof(row));
    cr_assert_eq(store_lmdb_open(&options, &none), -EINVAL);
    cr_assert_null(none);
    cr_assert_not_null(strstr(last_logged, "format 3"));
    patch("meta", "format", 6, first, sizeof(first));
    cr_assert_eq(store_lmdb_open(&options, &none), -EINVAL);
    cr_assert_not_null(strstr(last_logged, "format 1"));
}

LMDB_TEST(damaged_format_is_mended)
{
    uint64_t number;

    begin(store);
    put_queue(store, 7, "a");
    commit(store);
    close_store();
    patch("meta", "format", 6, NULL, 0);
    reopen();
    cr_assert_eq(n_logged, 1);
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 7);
    reopen();
    cr_assert_eq(n_logged, 1);
}

LMDB_TEST(damaged_last_number_is_told_until_the_next_queue)
{
    uint64_t number;

    begin(store);
    put_queue(store, 7, "a");
    commit(store);
    close_store();
    patch("meta", "last queue", 10, NULL, 0);
    reopen();
    cr_assert_eq(store->ops->queue_last_number(store, &number), -EBADMSG);
    begin(store);
    put_queue(store, 9, "b");
    commit(store);
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 9);
}

/* A row at another's place is damaged there. */
LMDB_TEST(rows_are_bound_to_their_keys)
{
    struct queue_record record = {0};
    struct batch_view view;
    uint64_t batch = 0;

    begin(store);
    put_queue(store, 1, "a");
    put_text(store, 1, 1, "text\n");
    put_mark(store, 1, 1, "mark");
    commit(store);
    close_store();
    copy_row("queues", 8, 2);
    copy_row("batches", 16, 2);
    copy_row("marks", 16, 2);
    reopen();
    cr_assert_eq(store->ops->queue_next(store, 2, &record), -EBADMSG);
    cr_assert_eq(store->ops->batch_next(store, 1, 2, &batch, &view), -EBADMSG);
    cr_assert_eq(view.n_items, 0);
    cr_assert_eq(mark_next_rc(1, 2), -EBADMSG);
    cr_assert_eq(mark_next_rc(1, 1), 0);
}

LMDB_TEST(another_programs_file_is_refused)
{
    struct store *none = NULL;

    close_store();
    remove_tree(dir);
    cr_assert_eq(mkdir(dir, 0700), 0);
    patch("theirs", "key", 3, "value", 5);
    cr_assert_eq(store_lmdb_open(&options, &none), -EINVAL);
    cr_assert_eq(n_logged, 1);
}

static void overwrite(off_t at, size_t len)
{
    uint8_t *junk = lines_new(len, 99);
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    fd = open(path, O_WRONLY);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, junk, len, at), (ssize_t)len);
    close(fd);
    free(junk);
}

LMDB_TEST(file_that_is_no_store_is_refused)
{
    struct store *none = NULL;

    close_store();
    overwrite(0, 8192);
    cr_assert_eq(store_lmdb_open(&options, &none), -EBADMSG);
    cr_assert_eq(n_logged, 1);
    cr_assert_not_null(strstr(last_logged, dir));
}

LMDB_TEST(damage_within_a_large_batch_is_found)
{
    struct batch_view view;

    begin(store);
    cr_assert_eq(put_len(store, 1, 1, 4 * MIB), 0);
    commit(store);
    close_store();
    overwrite(2 * MIB, 1);
    reopen();
    cr_assert_eq(store->ops->batch_get(store, 1, 1, &view), -EBADMSG);
}

LMDB_TEST(file_cut_short_is_damage_not_a_crash)
{
    struct batch_view view;
    char path[64];

    begin(store);
    cr_assert_eq(put_len(store, 1, 1, 4 * MIB), 0);
    commit(store);
    close_store();
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    cr_assert_eq(truncate(path, 2 * MIB), 0);
    if (store_lmdb_open(&options, &store) == 0)
        cr_assert_eq(store->ops->batch_get(store, 1, 1, &view), -EBADMSG);
}

/* What grows and shrinks for long, with batches of all sizes, is found right at each start. */
LMDB_TEST(a_large_store_that_is_whole_is_taken_as_it_is)
{
    static uint64_t low[8], high[8];
    char kept[64];

    options.max_bytes = 512 * MIB;
    srandom(9);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 150; i++) {
            uint64_t queue = (uint64_t)(random() % 8);
            int n = (int)(random() % 60);

            begin(store);
            for (int k = 0; k < n; k++) {
                uint64_t batch = ++high[queue];

                put_len(store, queue + 1, batch,
                        random() % 50 ? 60 : (size_t)(random() % 30000 + 1));
                if (random() % 3 == 0)
                    put_mark(store, queue + 1, batch, "a mark of some length");
            }
            for (int k = 0; k < n && round % 2 && low[queue] < high[queue]; k++)
                cr_assert_eq(store->ops->batch_remove(store, queue + 1, ++low[queue]), 0);
            put_sequence(store, queue + 1, (uint8_t)random(), (uint64_t)i);
            put_queue(store, queue + 1, "jobs");
            commit(store);
        }
        reopen();
        cr_assert_eq(n_logged, 0, "%s", last_logged);
    }
    snprintf(kept, sizeof(kept), "%s/data.mdb.damaged", dir);
    cr_assert_neq(access(kept, F_OK), 0);
}

static void cut_open_file(off_t size)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    cr_assert_eq(truncate(path, size), 0);
}

Test(store_lmdb_file, what_is_cut_off_under_it_ends_it_with_a_line, .init = setup, .fini = teardown,
     .timeout = 60, .exit_code = SAID)
{
    struct batch_view view;

    begin(store);
    cr_assert_eq(put_len(store, 1, 1, 4 * MIB), 0);
    commit(store);
    cut_open_file(2 * MIB);
    expected_last = "cannot be read";
    store->ops->batch_get(store, 1, 1, &view);
}

LMDB_TEST(nothing_is_written_into_a_file_that_was_cut)
{
    struct store_space space;

    begin(store);
    cr_assert_eq(put_len(store, 1, 1, 4 * MIB), 0);
    commit(store);
    cr_assert_eq(store->ops->space(store, &space), 0);
    cut_open_file(3 * MIB);
    cr_assert_eq(store->ops->begin(store), -EIO);
    cr_assert_not_null(strstr(last_logged, "cut short"));
    cr_assert_not_null(strstr(last_logged, dir));
    cr_assert_eq(store->ops->begin(store), -EIO);
}

LMDB_TEST(min_free_makes_it_full)
{
    cr_assert_not(is_full(store));
    close_store();
    options.min_free_bytes = UINT64_MAX;
    reopen();
    cr_assert(is_full(store));
    begin(store);
    put_queue(store, 1, "still");
    commit(store);
}

LMDB_TEST(lowered_limit_is_full_and_drains)
{
    begin(store);
    for (uint64_t batch = 1; batch <= 40; batch++)
        cr_assert_eq(put_len(store, 1, batch, MIB), 0);
    commit(store);
    close_store();
    options.max_bytes = 16 * MIB;
    reopen();
    cr_assert(is_full(store));
    begin(store);
    cr_assert_eq(put_len(store, 1, 41, 100), -ENOSPC);
    store->ops->abort(store);
    for (uint64_t batch = 1; batch <= 40; batch++) {
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
        commit(store);
    }
    cr_assert_not(is_full(store));
    begin(store);
    cr_assert_eq(put_len(store, 1, 41, 10 * MIB), 0);
    commit(store);
}

LMDB_TEST(a_directory_that_is_another_or_none_is_told_once)
{
    static char moved[sizeof(dir) + 4];
    struct store_space space;

    snprintf(moved, sizeof(moved), "%s.old", dir);
    cr_assert_eq(store->ops->space(store, &space), 0);
    cr_assert_not(space.gone);
    cr_assert_eq(rename(dir, moved), 0);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(store->ops->space(store, &space), 0);
        cr_assert(space.gone);
        cr_assert_eq(n_logged, 1);
        mkdir(dir, 0700);
    }
    cr_assert_not_null(strstr(last_logged, dir));
    cr_assert_eq(rmdir(dir), 0);
    cr_assert_eq(rename(moved, dir), 0);
    cr_assert_eq(store->ops->space(store, &space), 0);
    cr_assert_not(space.gone);
}

LMDB_TEST(used_space_falls_when_batches_go)
{
    struct store_space before, after;

    begin(store);
    for (uint64_t batch = 1; batch <= 40; batch++)
        cr_assert_eq(put_len(store, 1, batch, MIB), 0);
    commit(store);
    cr_assert_eq(store->ops->space(store, &before), 0);
    begin(store);
    for (uint64_t batch = 1; batch <= 39; batch++)
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
    commit(store);
    cr_assert_eq(store->ops->space(store, &after), 0);
    cr_assert_geq(before.used_bytes, 40 * MIB);
    cr_assert_leq(after.used_bytes, 2 * MIB);
}

/* Many small batches fill it as well, and go again, a hundred a transaction. */
LMDB_TEST(limit_holds_for_small_batches)
{
    uint64_t last = 0, from = 1;

    options.max_bytes = 8 * MIB;
    reopen();
    while (!is_full(store)) {
        begin(store);
        for (int i = 0; i < 100; i++)
            cr_assert_eq(put_len(store, 1, ++last, 150), 0);
        commit(store);
    }
    cr_assert_gt(last, 20000);
    cr_assert_leq(file_size(), (off_t)(8 * MIB));
    while (from <= last) {
        begin(store);
        for (int i = 0; i < 100; i++)
            cr_assert_eq(store->ops->batch_remove(store, 1, from++), 0);
        commit(store);
    }
    cr_assert_not(is_full(store));
}

LMDB_TEST(sizes_that_vary_do_not_let_the_file_grow)
{
    uint64_t number = 0, oldest = 1;
    uint32_t seed = 1;
    off_t early = 0;

    while (number < 20000) {
        begin(store);
        for (int i = 0; i < 20; i++) {
            seed = seed * 1664525 + 1013904223;
            cr_assert_eq(put_len(store, 1, ++number, 1 + (seed >> 16) % 60000), 0);
        }
        for (; number - oldest >= 100; oldest++)
            cr_assert_eq(store->ops->batch_remove(store, 1, oldest), 0);
        commit(store);
        if (number == 2000)
            early = file_size();
    }
    cr_assert_leq(file_size(), 2 * early);
    expect_next(store, 1, 0, oldest);
}

LMDB_TEST(commit_that_the_disk_refuses_changes_nothing)
{
    struct rlimit limit = {2 * MIB, RLIM_INFINITY};

    begin(store);
    put_text(store, 1, 1, "kept\n");
    commit(store);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    begin(store);
    cr_assert_eq(store->ops->batch_remove(store, 1, 1), 0);
    cr_assert_eq(put_len(store, 1, 2, 4 * MIB), 0);
    cr_assert_eq(store->ops->commit(store), -EIO);
    cr_assert_eq(n_logged, 1);
    cr_assert_not_null(strstr(last_logged, dir));
    reopen();
    expect_text(store, 1, 1, "kept\n");
    expect_next(store, 1, 2, 0);
}

/* A disk of 8 MiB over the test's directory, seen by this process alone; false: not allowed. */
static bool small_disk(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    return mount("none", dir, "tmpfs", 0, "size=8m") == 0;
}

LMDB_TEST(full_disk_is_enospc_and_passes)
{
    uint64_t batch = 0;
    int rc = 0;

    close_store();
    if (!small_disk())
        cr_skip_test("may not mount a small disk");
    reopen();
    while (rc == 0) {
        cr_assert_lt(batch, 9);
        begin(store);
        cr_assert_eq(put_len(store, 1, ++batch, MIB), 0);
        rc = store->ops->commit(store);
    }
    cr_assert_eq(rc, -ENOSPC);
    cr_assert_eq(n_logged, 0);
    expect_next(store, 1, batch, 0);
    for (uint64_t i = 1; i < batch; i++) {
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, i), 0);
        commit(store);
    }
    begin(store);
    cr_assert_eq(put_len(store, 1, batch, MIB), 0);
    commit(store);
    close_store();
    umount2(dir, MNT_DETACH);
}
