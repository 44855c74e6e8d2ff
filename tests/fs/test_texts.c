/* stats, help, config and flush, of a queue and of the mount, as the kernel asks for them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fs/jobs_rig.h"

#define ROOT FUSE_ROOT_ID

TestSuite(texts, .init = jobs_setup, .fini = jobs_teardown, .timeout = 60);

/* What an open of the name gives, in two reads; its text until the next call. */
static const char *text_of(uint64_t dir, const char *name)
{
    static char text[16384];
    uint64_t node = node_of_name(dir, name), fh;
    int first, rest;

    cr_assert_eq(rig_open(&rig, node, O_RDONLY, &fh), 0);
    first = rig_read(&rig, node, fh, 0, text, 16);
    cr_assert_eq(first, 16);
    rest = rig_read(&rig, node, fh, 16, text + 16, sizeof(text) - 17);
    cr_assert_gt(rest, 0);
    cr_assert_eq(rig_read(&rig, node, fh, (uint64_t)(first + rest), text, 0), 0);
    cr_assert_eq(rig_release(&rig, node, fh), 0);
    text[first + rest] = '\0';
    return text;
}

static void expect_within(uint64_t dir, const char *name, const char *part)
{
    cr_assert_not_null(strstr(text_of(dir, name), part), "%s has no %s", name, part);
}

Test(texts, stats_tell_of_what_was_put_before)
{
    rig_put(&rig, jobs, "one\ntwo\n");
    expect_within(jobs, "stats", "total_puts: 2\n");
    expect_within(ROOT, "stats", "queues: 1\n");
}

Test(texts, stats_are_of_the_moment_of_the_open)
{
    uint64_t stats = node_of_name(jobs, "stats"), fh;
    char before[16384], after[16384];
    int n;

    cr_assert_eq(rig_open(&rig, stats, O_RDONLY, &fh), 0);
    n = rig_read(&rig, stats, fh, 0, before, sizeof(before));
    rig_put(&rig, jobs, "one\n");
    cr_assert_eq(rig_read(&rig, stats, fh, 0, after, sizeof(after)), n);
    cr_assert_eq(memcmp(before, after, (size_t)n), 0);
    cr_assert_eq(rig_release(&rig, stats, fh), 0);
    cr_assert_eq(rig_open(&rig, stats, O_WRONLY, &fh), -EACCES);
}

Test(texts, help_names_what_is_there)
{
    static const char *const names[] = {"in", "out", "next", "claim", "leased", "config", "purge"};
    uint64_t fh;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect_within(jobs, "help", names[i]);
    expect_within(ROOT, "help", "mkdir");
    cr_assert_eq(rig_open(&rig, node_of_name(ROOT, "help"), O_WRONLY, &fh), -EACCES);
}

static uint64_t total_of(const char *counter)
{
    const char *at = strstr(text_of(jobs, "stats"), counter);

    cr_assert_not_null(at);
    return strtoull(at + strlen(counter), NULL, 10);
}

static void flush_by_truncating(uint64_t dir)
{
    uint64_t flush = node_of_name(dir, "flush"), fh;

    cr_assert_eq(rig_open(&rig, flush, O_WRONLY | O_TRUNC, &fh), 0);
    cr_assert_eq(rig_release(&rig, flush, fh), 0);
}

static void flush_by_writing(uint64_t dir)
{
    uint64_t flush = node_of_name(dir, "flush"), fh;

    cr_assert_eq(rig_open(&rig, flush, O_WRONLY, &fh), 0);
    cr_assert_eq(rig_write(&rig, flush, fh, "now\n"), 4);
    cr_assert_eq(rig_release(&rig, flush, fh), 0);
}

static void flush_by_syncing(uint64_t dir)
{
    uint64_t flush = node_of_name(dir, "flush");
    struct fuse_fsync_in in = {0};

    cr_assert_eq(rig_open(&rig, flush, O_WRONLY, &in.fh), 0);
    cr_assert_eq(rig_call(&rig, FUSE_FSYNC, flush, &in, sizeof(in), NULL, 0), 0);
    cr_assert_eq(rig_release(&rig, flush, in.fh), 0);
}

static void flush_by_touching(uint64_t dir)
{
    const struct fuse_setattr_in in = {.valid = FATTR_MTIME | FATTR_MTIME_NOW};

    cr_assert_eq(rig_call(&rig, FUSE_SETATTR, node_of_name(dir, "flush"), &in, sizeof(in), NULL, 0),
                 0);
}

Test(texts, flush_sends_what_is_buffered_however_it_is_asked)
{
    static void (*const ways[])(uint64_t dir) = {flush_by_truncating, flush_by_writing,
                                                 flush_by_syncing, flush_by_touching};
    const size_t n = sizeof(ways) / sizeof(ways[0]);

    for (size_t i = 0; i < 2 * n; i++) {
        rig_put(&rig, jobs, "one\n"); /* it lingers */
        ways[i % n](i < n ? jobs : ROOT);
        cr_assert_eq(total_of("\ndepth: "), i + 1, "way %zu", i);
    }
}

Test(texts, config_takes_whole_writes_and_no_nonsense)
{
    uint64_t config = node_of_name(jobs, "config"), fh;

    cr_assert_eq(rig_open(&rig, config, O_WRONLY | O_APPEND, &fh), 0);
    cr_assert_eq(rig_write(&rig, config, fh, "maxsize: 2\n"), 11);
    cr_assert_eq(rig_write(&rig, config, fh, "maxsize: 2\n"), 11, "the same again");
    cr_assert_eq(rig_write(&rig, config, fh, "maxsize: -1\n"), -EINVAL);
    cr_assert_eq(rig_release(&rig, config, fh), 0);
    cr_assert_eq(rig_name(&rig, FUSE_RMDIR, ROOT, NULL, 0, "jobs", NULL, NULL, 0), 0);
    cr_assert_eq(rig_open(&rig, config, O_RDONLY, &fh), -ENOENT);
}
