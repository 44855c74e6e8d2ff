/* What only a store on disk has to show: it is there again after a reopen, damage is noticed and
 * costs what it hit, limits hold, the log is used again, the index is a cache. */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <criterion/criterion.h>

#include "core/log.h"
#include "tests/core/store/store_fixture.h"

/* Of one test: each runs in a process of its own. */
static struct store *store;
static char dir[] = "/tmp/test-store-XXXXXX";
static struct local_options options = {.dir = dir, .max_bytes = 64 * MIB};
static int n_logged;
static const char *expected_last; /* an end of the process that says so */
#define SAID 42
static char last_logged[512], last_warned[512];

static void on_log(enum log_level level, const char *message)
{
    if (level == LOG_LEVEL_WARNING)
        snprintf(last_warned, sizeof(last_warned), "%s", message);
    if (level != LOG_LEVEL_ERROR)
        return;
    if (expected_last && strstr(message, expected_last) && strstr(message, dir)) {
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
    cr_assert_eq(store_local_open(&options, &store), 0);
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
    cr_assert_eq(store_local_open(&options, &store), 0);
}

static void teardown(void)
{
    close_store();
    remove_tree(dir);
}

#define FILE_TEST(condition)                                                                       \
    Test(store_local_file, condition, .init = setup, .fini = teardown, .timeout = 60)

/* ---- files ---- */

static const char *path_of(const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static const char first_segment[] = "log/0000000000000000.log";

/* All of a file; the caller frees it. */
static uint8_t *read_file(const char *name, size_t *len)
{
    struct stat stat;
    uint8_t *bytes;
    int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &stat), 0);
    *len = (size_t)stat.st_size;
    bytes = malloc(*len);
    cr_assert_eq(read(fd, bytes, *len), (ssize_t)*len);
    close(fd);
    return bytes;
}

static void write_file(const char *name, const void *bytes, size_t len, off_t at)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

/* Where the text lies in the first segment. */
static size_t find(const char *text)
{
    size_t len, at;
    uint8_t *bytes = read_file(first_segment, &len),
            *found = memmem(bytes, len, text, strlen(text));

    cr_assert_not_null(found);
    at = (size_t)(found - bytes);
    free(bytes);
    return at;
}

static void turn_bit(const char *name, size_t at)
{
    size_t len;
    uint8_t *bytes = read_file(name, &len);

    cr_assert_lt(at, len);
    bytes[at] ^= 4;
    write_file(name, bytes + at, 1, (off_t)at);
    free(bytes);
}

static void remove_index(void)
{
    unlink(path_of("index/data.mdb"));
    cr_assert_eq(rmdir(path_of("index")), 0);
}

static uint64_t n_damaged(void)
{
    struct store_space space;

    cr_assert_eq(store->ops->space(store, &space), 0);
    return space.damaged_rows;
}

static void put_one(uint64_t batch, const char *text)
{
    begin(store);
    put_text(store, 1, batch, text);
    commit(store);
}

/* ---- there again ---- */

static void expect_whole(void)
{
    struct sequence_record sequence;
    struct queue_record record;
    uint64_t number;

    cr_assert_eq(store->ops->queue_next(store, 0, &record), 0);
    cr_assert_eq(record.number, 7);
    cr_assert_str_eq(record.name, "jobs");
    cr_assert_eq(store->ops->queue_next(store, 8, &record), -ENOENT);
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 9);
    expect_text(store, 7, 1, "a\n");
    expect_next(store, 7, 2, 0);
    expect_mark(store, 7, 0, 1, "mark");
    cr_assert_eq(store->ops->sequence_next(store, 7, NULL, &sequence), 0);
    cr_assert_eq(sequence.last, 5);
}

FILE_TEST(reopen_sees_what_was_committed)
{
    begin(store);
    put_queue(store, 9, "gone");
    commit(store);
    begin(store);
    put_queue(store, 7, "jobs");
    put_text(store, 7, 1, "a\n");
    put_text(store, 9, 1, "with its queue\n");
    put_mark(store, 7, 1, "mark");
    put_sequence(store, 7, 1, 5);
    commit(store);
    begin(store);
    cr_assert_eq(store->ops->queue_remove(store, 9), 0);
    commit(store);
    begin(store);
    put_queue(store, 8, "more");
    put_text(store, 7, 2, "b\n");
    put_mark(store, 7, 1, "changed");
    put_sequence(store, 7, 1, 6);
    reopen();
    expect_whole();
    close_store();
    remove_index();
    reopen();
    expect_whole();
    expect_no_batch(store, 9, 1);
    cr_assert_eq(n_logged, 0);
}

FILE_TEST(files_are_for_the_owner_only)
{
    static const char *const names[] = {first_segment, "index/data.mdb"};
    struct stat stat_of;

    put_one(1, "x\n");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(stat(path_of(names[i]), &stat_of), 0, "%s", names[i]);
        cr_assert_eq(stat_of.st_mode & 0777, 0600);
    }
}

FILE_TEST(second_open_is_refused)
{
    struct store *second = NULL;

    cr_assert_eq(store_local_open(&options, &second), -EBUSY);
    cr_assert_null(second);
    put_one(1, "x\n");
}

FILE_TEST(directory_that_is_not_there)
{
    struct local_options nowhere = {.dir = "/tmp/test-store-none", .max_bytes = MIB};
    struct store *none = NULL;

    cr_assert_eq(store_local_open(&nowhere, &none), -ENOENT);
    cr_assert_null(none);
}

FILE_TEST(a_store_of_the_kind_before_is_refused)
{
    struct store *none = NULL;

    close_store();
    write_file("data.mdb", "x", 1, 0);
    cr_assert_eq(store_local_open(&options, &none), -EINVAL);
    cr_assert_eq(n_logged, 1);
    cr_assert_not_null(strstr(last_logged, "another version"));
    unlink(path_of("data.mdb"));
}

static void *put_for_long(void *arg)
{
    for (uint64_t batch = 1; batch <= 40; batch++) {
        begin(store);
        cr_assert_eq(put_len(store, 1, batch, MIB / 2), 0);
        commit(store);
    }
    return NULL;
}

/* As a service does: over several checkpoints. */
FILE_TEST(another_thread_than_the_one_that_opened_it_goes_on)
{
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, put_for_long, NULL), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    expect_next(store, 1, 40, 40);
}

/* ---- damage ---- */

FILE_TEST(damaged_batch_can_be_passed)
{
    struct batch_view view;
    uint64_t batch = 0;
    uint8_t to[5];

    put_one(1, "first\n");
    put_one(2, "text\n");
    put_one(3, "third\n");
    close_store();
    turn_bit(first_segment, find("text\n"));
    reopen();

    expect_next(store, 1, 0, 1);
    cr_assert_eq(store->ops->batch_get(store, 1, 2, &view), -EBADMSG);
    cr_assert_not_null(strstr(last_logged, "batch 2 of queue 1"));
    cr_assert_eq(store->ops->batch_read(store, 1, 2, to, sizeof(to), &view), -EBADMSG);
    cr_assert_eq(store->ops->batch_next(store, 1, 2, &batch, &view), 0);
    cr_assert_eq(batch, 2);
    cr_assert_eq(view.n_items, 1);
    cr_assert_eq(view.len, 5);
    expect_next(store, 1, 3, 3);

    begin(store);
    cr_assert_eq(store->ops->batch_remove(store, 1, 2), 0);
    commit(store);
    expect_next(store, 1, 2, 3);
}

FILE_TEST(a_damaged_record_costs_what_was_in_it)
{
    put_one(1, "first\n");
    put_one(2, "text\n");
    put_one(3, "third\n");
    close_store();
    turn_bit(first_segment, find("text\n"));
    remove_index();
    reopen();
    cr_assert_eq(n_logged, 1);
    cr_assert_not_null(strstr(last_logged, "0000000000000000.log"));
    cr_assert_not_null(strstr(last_logged, "damaged at"));
    cr_assert_eq(n_damaged(), 1);
    expect_text(store, 1, 1, "first\n");
    expect_next(store, 1, 2, 3);
    expect_text(store, 1, 3, "third\n");
}

/* The last record is cut at each of its bytes: what was before is there, and it itself is not. */
FILE_TEST(a_torn_end_is_cut_off)
{
    static const uint8_t nothing[4096];
    size_t len, from, to;
    uint8_t *whole;

    put_one(1, "first\n");
    from = find("first\n") + 8;
    put_one(2, "second\n");
    to = find("second\n") + 7;
    close_store();
    whole = read_file(first_segment, &len);
    for (size_t at = from / 8 * 8; at < to; at++) {
        write_file(first_segment, whole, len, 0);
        write_file(first_segment, nothing, 512, (off_t)at);
        remove_index();
        reopen();
        expect_text(store, 1, 1, "first\n");
        expect_no_batch(store, 1, 2);
        cr_assert_eq(n_logged, 0, "%s", last_logged);
        put_one(2, "again\n");
        reopen();
        expect_text(store, 1, 2, "again\n");
        close_store();
    }
    free(whole);
}

/* Wherever a bit of the index is wrong, it is made anew, by itself. */
FILE_TEST(a_damaged_index_is_made_anew)
{
    size_t len;
    uint8_t *whole;

    begin(store);
    put_queue(store, 1, "jobs");
    for (uint64_t batch = 1; batch <= 300; batch++)
        put_text(store, 1, batch, "text\n");
    put_mark(store, 1, 7, "mark");
    commit(store);
    close_store();
    whole = read_file("index/data.mdb", &len);
    srandom(3);
    for (int i = 0; i < 200; i++) {
        size_t at = (size_t)random() % len;

        write_file("index/data.mdb", whole, len, 0);
        turn_bit("index/data.mdb", at);
        reopen();
        for (uint64_t batch = 1; batch <= 300; batch++)
            expect_text(store, 1, batch, "text\n");
        expect_mark(store, 1, 0, 7, "mark");
        expect_next(store, 1, 301, 0);
        cr_assert_eq(n_logged, 0, "%zu: %s", at, last_logged);
        close_store();
    }
    write_file("index/data.mdb", whole, len, 0);
    cr_assert_eq(truncate(path_of("index/data.mdb"), (off_t)len / 2), 0);
    last_warned[0] = '\0';
    reopen();
    cr_assert_not_null(strstr(last_warned, "made anew"));
    expect_text(store, 1, 300, "text\n");
    free(whole);
}

/* The key of a row in the index, its first number another. */
static void turn_key(uint64_t queue, uint64_t batch, uint8_t mask)
{
    const uint64_t key[2] = {htobe64(queue), htobe64(batch)};
    size_t len, n = 0;
    uint8_t *bytes = read_file("index/data.mdb", &len);

    for (uint8_t *at = bytes; (at = memmem(at, len - (size_t)(at - bytes), key, 16)); at++) {
        at[7] ^= mask;
        n++;
    }
    cr_assert_gt(n, 0);
    write_file("index/data.mdb", bytes, len, 0);
    free(bytes);
}

/* The last mark of a queue looks like one of a queue that is not there. */
FILE_TEST(a_row_under_another_queue_is_not_missed)
{
    begin(store);
    put_queue(store, 4, "jobs");
    put_text(store, 4, 2, "text\n");
    put_mark(store, 4, 77, "mark");
    commit(store);
    close_store();
    turn_key(4, 77, 1);
    reopen();
    expect_mark(store, 4, 0, 77, "mark");
    expect_mark(store, 5, 0, 0, "");
    cr_assert_eq(n_logged, 0, "%s", last_logged);
}

/* So with those that are asked for one by one: the highest number of a queue. */
FILE_TEST(a_row_of_the_stores_own_is_not_missed)
{
    size_t len, n = 0;
    uint64_t number;
    uint8_t *bytes;

    begin(store);
    put_queue(store, 9, "gone");
    commit(store);
    begin(store);
    cr_assert_eq(store->ops->queue_remove(store, 9), 0);
    commit(store);
    close_store();
    bytes = read_file("index/data.mdb", &len);
    for (size_t at = 0; at + 28 <= len; at++) { /* length of the key, key, position, sum, number */
        if (memcmp(bytes + at, "\x08\0\0\0\0\0\0\0\0\x03", 10) == 0 && bytes[at + 22] == 9) {
            bytes[at + 9] = 7;
            n++;
        }
    }
    cr_assert_gt(n, 0);
    write_file("index/data.mdb", bytes, len, 0);
    free(bytes);
    reopen();
    cr_assert_eq(store->ops->queue_last_number(store, &number), 0);
    cr_assert_eq(number, 9);
    cr_assert_eq(n_logged, 0, "%s", last_logged);
}

Test(store_local_file, what_is_cut_off_under_it_ends_it_with_a_line, .init = setup,
     .fini = teardown, .timeout = 60, .exit_code = SAID)
{
    begin(store);
    for (uint64_t batch = 1; batch <= 3000; batch++)
        put_text(store, 1, batch, "text\n");
    commit(store);
    reopen();
    cr_assert_eq(truncate(path_of("index/data.mdb"), 8192), 0);
    expected_last = "cannot be read";
    expect_text(store, 1, 1000, "text\n");
    expect_text(store, 1, 3000, "text\n");
}

/* ---- space ---- */

FILE_TEST(min_free_makes_it_full)
{
    cr_assert_not(is_full(store));
    close_store();
    options.min_free_bytes = UINT64_MAX;
    reopen();
    cr_assert(is_full(store));
}

FILE_TEST(lowered_limit_is_full_and_drains)
{
    for (uint64_t batch = 1; batch <= 40; batch++) {
        begin(store);
        cr_assert_eq(put_len(store, 1, batch, MIB), 0);
        commit(store);
    }
    close_store();
    options.max_bytes = 16 * MIB;
    reopen();
    cr_assert(is_full(store));
    begin(store);
    cr_assert_eq(put_len(store, 1, 41, 100), 0);
    cr_assert_eq(store->ops->commit(store), -ENOSPC);
    for (uint64_t batch = 1; batch <= 40; batch++) {
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
        commit(store);
    }
    cr_assert_not(is_full(store));
    begin(store);
    cr_assert_eq(put_len(store, 1, 41, 6 * MIB), 0);
    commit(store);
}

FILE_TEST(a_directory_that_is_another_or_none_is_told_once)
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

FILE_TEST(used_space_falls_when_batches_go)
{
    struct store_space before, after;

    for (uint64_t batch = 1; batch <= 40; batch++) {
        begin(store);
        cr_assert_eq(put_len(store, 1, batch, MIB), 0);
        commit(store);
    }
    cr_assert_eq(store->ops->space(store, &before), 0);
    begin(store);
    for (uint64_t batch = 1; batch <= 39; batch++)
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
    commit(store);
    cr_assert_eq(store->ops->space(store, &after), 0);
    cr_assert_geq(before.used_bytes, 40 * MIB);
    cr_assert_leq(after.used_bytes, 2 * MIB);
}

/* One batch stays in front of all that come and go: it is moved along, and stays as it is. */
FILE_TEST(the_log_is_at_most_twice_what_lives_and_some_segments)
{
    uint64_t number = 1, oldest = 2;
    uint32_t seed = 1;
    off_t bytes, spare;

    put_one(1, "left alone\n");
    while (number < 20000) {
        begin(store);
        for (int i = 0; i < 20; i++) {
            seed = seed * 1664525 + 1013904223;
            cr_assert_eq(put_len(store, 1, ++number, 1 + (seed >> 16) % 60000), 0);
        }
        for (; number - oldest >= 100; oldest++)
            cr_assert_eq(store->ops->batch_remove(store, 1, oldest), 0);
        commit(store);
    }
    log_files(dir, ".log", &bytes);
    log_files(dir, ".spare", &spare);
    cr_assert_leq(bytes, 2 * (off_t)(3 * MIB) + 6 * (off_t)(4 * MIB), "%lld", (long long)bytes);
    cr_assert_leq(spare, 2 * (off_t)(4 * MIB));
    expect_text(store, 1, 1, "left alone\n");
    expect_next(store, 1, 2, oldest);
    close_store();
    remove_index();
    reopen();
    expect_text(store, 1, 1, "left alone\n");
    expect_next(store, 1, 2, oldest);
}

/* One with little in it takes little of the disk, whatever its limit. */
FILE_TEST(the_log_begins_small_and_its_segments_grow)
{
    uint64_t batch = 0;
    off_t bytes, spare;

    close_store();
    remove_tree(dir);
    cr_assert_eq(mkdir(dir, 0700), 0);
    options.max_bytes = 2048 * MIB;
    reopen();
    put_one(++batch, "x\n");
    reopen();
    log_files(dir, ".log", &bytes);
    log_files(dir, ".spare", &spare);
    cr_assert_leq(bytes + spare, (off_t)(8 * MIB));
    while (batch < 80) {
        begin(store);
        cr_assert_eq(put_len(store, 1, ++batch, MIB), 0);
        commit(store);
    }
    cr_assert_leq(log_files(dir, ".log", &bytes), 16);
    reopen();
    expect_next(store, 1, 80, 80);
    expect_text(store, 1, 1, "x\n");
}

/* A disk of 24 MiB over the test's directory, seen by this process alone; false: not allowed. */
static bool small_disk(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    return mount("none", dir, "tmpfs", 0, "size=24m") == 0;
}

FILE_TEST(full_disk_is_enospc_and_passes)
{
    uint64_t batch = 0;
    int rc;

    close_store();
    if (!small_disk())
        cr_skip_test("may not mount a small disk");
    options.segment_bytes = MIB;
    reopen();
    for (int round = 0; round < 10; round++) {
        uint64_t first = batch + 1;

        do {
            cr_assert_lt(batch - first + 1, 200);
            begin(store);
            cr_assert_eq(put_len(store, 1, ++batch, MIB / 4), 0);
            rc = store->ops->commit(store);
        } while (rc == 0);
        cr_assert_eq(rc, -ENOSPC);
        cr_assert_geq(batch - first, 40, "%llu", (unsigned long long)(batch - first));
        cr_assert_eq(n_logged, 0, "%s", last_logged);
        expect_next(store, 1, batch, 0);
        for (uint64_t i = first; i < batch; i++) {
            begin(store);
            cr_assert_eq(store->ops->batch_remove(store, 1, i), 0);
            commit(store);
        }
        cr_assert_not(is_full(store));
    }
    close_store();
    umount2(dir, MNT_DETACH);
}
