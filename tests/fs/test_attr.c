#include <criterion/criterion.h>

#include <stdlib.h>

#include "core/clock.h"
#include "core/get/consumer.h"
#include "fs/attr.h"

TestSuite(attr, .timeout = 5);

static void expect(mode_t queue, mode_t dir, mode_t in, mode_t out, mode_t stats, mode_t flush,
                   mode_t config)
{
    cr_assert_eq(attr_mode(NODE_DIR, queue), S_IFDIR | dir, "dir of %o", queue);
    cr_assert_eq(attr_mode(NODE_IN, queue), S_IFREG | in, "in of %o", queue);
    cr_assert_eq(attr_mode(NODE_OUT, queue), S_IFREG | out, "out of %o", queue);
    cr_assert_eq(attr_mode(NODE_NEXT, queue), S_IFREG | out, "next of %o", queue);
    cr_assert_eq(attr_mode(NODE_STATS, queue), S_IFREG | stats, "stats of %o", queue);
    cr_assert_eq(attr_mode(NODE_FLUSH, queue), S_IFREG | flush, "flush of %o", queue);
    cr_assert_eq(attr_mode(NODE_CONFIG, queue), S_IFREG | config, "config of %o", queue);
    cr_assert_eq(attr_mode(NODE_PURGE, queue), S_IFREG | 0200, "purge of %o", queue);
}

Test(attr, modes_follow_the_queue)
{
    /*     queue  dir   in    out   stats flush config */
    expect(0600, 0700, 0600, 0400, 0400, 0200, 0600);
    expect(0660, 0770, 0660, 0440, 0440, 0220, 0640);
    expect(0640, 0750, 0600, 0440, 0440, 0200, 0640);
    expect(0620, 0730, 0660, 0400, 0440, 0220, 0640);
    expect(0666, 0777, 0666, 0444, 0444, 0222, 0644);
    expect(0602, 0703, 0606, 0400, 0404, 0202, 0604);
    expect(0000, 0000, 0000, 0000, 0000, 0000, 0600);
    expect(0777, 0777, 0666, 0444, 0444, 0222, 0644);
}

static void expect_items(mode_t queue, mode_t dir, mode_t item)
{
    const enum node_kind dirs[] = {NODE_READY, NODE_LEASED, NODE_DEAD};

    for (int i = 0; i < 3; i++)
        cr_assert_eq(attr_mode(dirs[i], queue), S_IFDIR | dir, "directory of %o", queue);
    cr_assert_eq(attr_mode(NODE_ITEM, queue), S_IFREG | item, "item of %o", queue);
    cr_assert_eq(attr_mode(NODE_CLAIM, queue), attr_mode(NODE_OUT, queue), "claim of %o", queue);
}

Test(attr, who_may_get_may_do_all_with_items)
{
    expect_items(0600, 0700, 0600);
    expect_items(0660, 0770, 0660);
    expect_items(0640, 0770, 0660);
    expect_items(0622, 0700, 0600);
    expect_items(0222, 0000, 0000);
    expect_items(0644, 0777, 0666);
}

Test(attr, what_a_directory_shows_is_what_chmod_sets)
{
    for (mode_t mode = 0; mode <= 0777; mode++)
        cr_assert_eq(attr_queue_mode(attr_mode(NODE_DIR, mode)), mode & 0666);
}

static ino_t ino(uint64_t queue, enum node_kind kind, uint64_t limit, int64_t timeout_us)
{
    const struct child child = {kind, limit, timeout_us};

    return attr_ino(queue, &child);
}

Test(attr, inode_numbers_differ)
{
    const ino_t all[] = {
        ino(0, NODE_ROOT, READER_UNLIMITED, -1),
        ino(0, NODE_STATS, READER_UNLIMITED, -1),
        ino(0, NODE_FLUSH, READER_UNLIMITED, -1),
        ino(1, NODE_DIR, READER_UNLIMITED, -1),
        ino(1, NODE_IN, READER_UNLIMITED, -1),
        ino(1, NODE_OUT, READER_UNLIMITED, -1),
        ino(1, NODE_NEXT, 1, -1),
        ino(2, NODE_DIR, READER_UNLIMITED, -1),
        ino(1, NODE_OUT, 1, -1),
        ino(1, NODE_OUT, 2, -1),
        ino(1, NODE_OUT, READER_UNLIMITED, 0),
        ino(1, NODE_OUT, READER_UNLIMITED, 1),
        ino(1, NODE_NEXT, 1, TIME_FOREVER),
        ino(1, NODE_OUT, 1, 1),
        ino(2, NODE_OUT, 1, 1),
        ino(1, NODE_OUT, READER_UNLIMITED, TIME_FOREVER),
        ino(1, NODE_CLAIM, 1, -1),
        ino(1, NODE_CLAIM, 8, -1),
        ino(1, NODE_READY, READER_UNLIMITED, -1),
        ino(1, NODE_LEASED, READER_UNLIMITED, -1),
        ino(1, NODE_DEAD, READER_UNLIMITED, -1),
        ino(1, NODE_ITEM, 1 << 24, -1),
        ino(1, NODE_ITEM, (1 << 24) + 1, -1),
        ino(1, NODE_ITEM, 2 << 24, -1),
        ino(2, NODE_ITEM, 1 << 24, -1),
    };
    const size_t n = sizeof(all) / sizeof(all[0]);

    for (size_t i = 0; i < n; i++) {
        cr_assert_neq(all[i], 0);
        for (size_t k = i + 1; k < n; k++)
            cr_assert_neq(all[i], all[k], "%zu and %zu", i, k);
    }
}

static int by_value(const void *a, const void *b)
{
    ino_t left = *(const ino_t *)a, right = *(const ino_t *)b;

    return left < right ? -1 : left > right;
}

Test(attr, inode_numbers_of_many_items_differ)
{
    enum { QUEUES = 4, ITEMS = 50000 };
    static ino_t all[QUEUES * ITEMS];
    size_t n = 0;

    for (uint64_t queue = 1; queue <= QUEUES; queue++)
        for (uint64_t i = 0; i < ITEMS; i++)
            all[n++] = ino(queue, NODE_ITEM, (i / 100 + 1) << 24 | i % 100, -1);
    qsort(all, n, sizeof(all[0]), by_value);
    for (size_t i = 1; i < n; i++)
        cr_assert_neq(all[i], all[i - 1]);
}
