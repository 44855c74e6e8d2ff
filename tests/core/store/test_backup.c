/* Copies that are made while the store goes on: core/store/backup.h. */
#include "core/store/backup.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "core/store/verify.h"
#include "tests/core/store/store_fixture.h"

static struct store *store;
static char dir[] = "/var/tmp/queuefs-test-backup-XXXXXX";
static char from[64], to[64];
static uint64_t first, last; /* batches of queue 1 that are there */
static unsigned n_calls, n_turns;

static void setup(void)
{
    struct local_options options = {.dir = from, .max_bytes = 256 * MIB};

    cr_assert_not_null(mkdtemp(dir));
    snprintf(from, sizeof(from), "%s/from", dir);
    snprintf(to, sizeof(to), "%s/to", dir);
    cr_assert_eq(mkdir(from, 0700), 0);
    cr_assert_eq(store_local_open(&options, &store), 0);
    first = 1;
    last = 0;
}

static void teardown(void)
{
    store->ops->close(store);
    give_back();
    remove_tree(dir);
}

TestSuite(backup, .init = setup, .fini = teardown, .timeout = 60);

static void put(unsigned n)
{
    while (n-- > 0) {
        begin(store);
        cr_assert_eq(put_len(store, 1, ++last, MIB), 0);
        commit(store);
    }
}

static void take(unsigned n)
{
    while (n-- > 0) {
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, first++), 0);
        commit(store);
    }
}

/* All comes and goes, so that segments that are being copied are released and written over. */
static void go_on(void *arg, uint64_t done, uint64_t all)
{
    n_calls++;
    if (n_turns == 0)
        return;
    n_turns--;
    for (int i = 0; i < 4; i++) {
        take((unsigned)(last + 1 - first));
        put(12);
    }
}

static void expect_copy(void)
{
    struct local_options options = {.dir = to, .max_bytes = 256 * MIB};
    static struct verify_report report;
    struct store *copy;

    cr_assert_eq(store_verify(to, NULL, NULL, &report), 0);
    cr_assert_eq(report.n_damaged, 0, "%s", report.found[0]);
    cr_assert_eq(store_local_open(&options, &copy), 0);
    for (uint64_t batch = first; batch <= last; batch++) {
        struct batch_view view;

        cr_assert_eq(copy->ops->batch_get(copy, 1, batch, &view), 0, "batch %llu of %llu to %llu",
                     (unsigned long long)batch, (unsigned long long)first,
                     (unsigned long long)last);
    }
    expect_next(copy, 1, 0, first);
    copy->ops->close(copy);
}

Test(backup, segments_released_while_they_are_copied_are_not_missing)
{
    struct backup_report report;

    put(20);
    n_turns = 3;
    cr_assert_eq(store_backup(from, to, go_on, NULL, &report), 0);
    cr_assert_gt(n_calls, 3);
    expect_copy();
}

Test(backup, the_same_where_there_is_an_older_copy)
{
    struct backup_report report;

    put(20);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    take(5);
    put(9);
    n_turns = 2;
    cr_assert_eq(store_backup(from, to, go_on, NULL, &report), 0);
    expect_copy();
}

Test(backup, nothing_new_copies_the_last_segment_alone)
{
    struct backup_report report;

    put(20);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    cr_assert_gt(report.n_copied, 1);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    cr_assert_eq(report.n_copied, 1);
    expect_copy();
}

/* As one leaves it that was cut off, of a store that has gone another way since. */
Test(backup, what_lies_behind_the_end_goes)
{
    struct backup_report report;
    char stray[128];
    FILE *file;

    put(3);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    snprintf(stray, sizeof(stray), "%s/log/%016x.log", to, 0x7fff0000);
    file = fopen(stray, "w");
    cr_assert(file && fclose(file) == 0);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    cr_assert_eq(access(stray, F_OK), -1);
    expect_copy();
}

static const char *path_of(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", to, name);
    return path;
}

/* What came since the older copy has been released in part, so that the newer does not go on from
 * it: until all of it is there the older one is untouched. */
static uint64_t older_first, older_last;
static bool was_aside;

static void look_at_older(void *arg, uint64_t done, uint64_t all)
{
    static struct verify_report report;

    was_aside |= access(path_of("backup.log"), F_OK) == 0;
    cr_assert_eq(store_verify(to, NULL, NULL, &report), 0);
    cr_assert_eq(report.n_damaged, 0, "%s", report.found[0]);
    cr_assert_eq(report.n_batches, older_last + 1 - older_first);
}

Test(backup, the_older_copy_is_there_until_the_newer_one_is)
{
    struct backup_report report;

    put(20);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    older_first = first;
    older_last = last;
    for (int i = 0; i < 6; i++) {
        take((unsigned)(last + 1 - first));
        put(12);
    }
    cr_assert_eq(store_backup(from, to, look_at_older, NULL, &report), 0);
    cr_assert(was_aside);
    cr_assert_eq(access(path_of("backup.log"), F_OK), -1);
    expect_copy();
}

/* Where a filesystem does not exchange names there is a moment without a log. */
Test(backup, a_copy_without_its_log_is_no_empty_store)
{
    struct local_options options = {.dir = to, .max_bytes = 256 * MIB};
    struct backup_report report;
    struct store *copy;
    char log[128];

    put(3);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    snprintf(log, sizeof(log), "%s", path_of("log"));
    cr_assert_eq(rename(log, path_of("backup.old")), 0);
    cr_assert_eq(store_local_open(&options, &copy), -EINVAL);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    cr_assert_eq(report.n_copied, 1);
    expect_copy();
}

Test(backup, one_that_was_cut_off_before_it_said_anything_is_begun_again)
{
    struct backup_report report;
    FILE *file;

    put(3);
    cr_assert_eq(mkdir(to, 0700), 0);
    file = fopen(path_of("backup.part"), "w");
    cr_assert(file && fclose(file) == 0);
    cr_assert_eq(store_backup(from, to, NULL, NULL, &report), 0);
    expect_copy();
}
