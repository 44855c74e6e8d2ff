#include <criterion/criterion.h>

#include "core/clock.h"
#include "core/consumer.h"
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
    };
    const size_t n = sizeof(all) / sizeof(all[0]);

    for (size_t i = 0; i < n; i++) {
        cr_assert_neq(all[i], 0);
        for (size_t k = i + 1; k < n; k++)
            cr_assert_neq(all[i], all[k], "%zu and %zu", i, k);
    }
}
