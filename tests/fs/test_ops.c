/* Each operation of the tree, as the kernel asks for it, and the errors it gives (session_rig.h).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/name.h"
#include "tests/fs/jobs_rig.h"

#define ROOT FUSE_ROOT_ID

TestSuite(ops, .init = jobs_setup, .fini = jobs_teardown, .timeout = 120);

/* ---- names ---- */

static const char *const words[] = {"in",     "out",  "next",  "claim",     "ready",
                                    "leased", "dead", "stats", "flush",     "config",
                                    "purge",  "help", "out@5", "next@10ms", "claim@3@1s"};

#define N_WORDS (sizeof(words) / sizeof(words[0]))

Test(ops, lookup_finds_what_there_is_and_nothing_else)
{
    static const char *const wrong[] = {"nothing", "out@0", "in@3", "next@3", "out@5@", "READY"};
    uint64_t node;

    for (size_t i = 0; i < N_WORDS; i++)
        cr_assert_eq(rig_lookup(&rig, jobs, words[i], &node), 0, "%s", words[i]);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert_eq(rig_lookup(&rig, jobs, wrong[i], &node), -ENOENT, "%s", wrong[i]);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(
            rig_lookup(&rig, ROOT, (const char *const[]){"help", "stats", "flush"}[i], &node), 0);
    cr_assert_eq(rig_lookup(&rig, ROOT, "no-queue", &node), -ENOENT);
    cr_assert_eq(rig_lookup(&rig, ROOT, "in", &node), -ENOENT);
    cr_assert_eq(rig_lookup(&rig, node_of_name(jobs, "ready"), "0000000001000000", &node), -ENOENT);
    cr_assert_eq(rig_lookup(&rig, node_of_name(jobs, "ready"), "not an id", &node), -ENOENT);
}

Test(ops, mkdir_and_rmdir)
{
    uint64_t node;

    cr_assert_eq(rig_mkdir(&rig, "jobs", &node), -EEXIST);
    cr_assert_eq(rig_mkdir(&rig, "_x", &node), -EINVAL);
    cr_assert_eq(rig_mkdir(&rig, "a b", &node), -EINVAL);
    cr_assert_eq(rig_mkdir(&rig, "other", &node), 0);
    cr_assert_eq(rig_name(&rig, FUSE_RMDIR, ROOT, NULL, 0, "other", NULL, NULL, 0), 0);
    cr_assert_eq(rig_name(&rig, FUSE_RMDIR, ROOT, NULL, 0, "other", NULL, NULL, 0), -ENOENT);
    cr_assert_eq(rig_lookup(&rig, ROOT, "other", &node), -ENOENT);
    rig_put(&rig, jobs, "one\n");
    cr_assert_eq(rig_name(&rig, FUSE_RMDIR, ROOT, NULL, 0, "jobs", NULL, NULL, 0), -ENOTEMPTY);
    cr_assert_eq(rig_name(&rig, FUSE_RMDIR, jobs, NULL, 0, "ready", NULL, NULL, 0), -EPERM);
}

Test(ops, what_nobody_may_is_eperm)
{
    const struct fuse_mknod_in mknod = {.mode = S_IFREG | 0600};
    const struct fuse_create_in create = {.mode = 0600};
    const struct fuse_mkdir_in mkdir = {.mode = 0700};
    const struct fuse_link_in link = {.oldnodeid = node_of_name(jobs, "in")};
    const struct fuse_rename2_in rename = {.newdir = ROOT};
    uint64_t dirs[] = {ROOT, jobs};

    for (size_t i = 0; i < 2; i++) {
        uint64_t dir = dirs[i];

        cr_assert_eq(rig_name(&rig, FUSE_MKNOD, dir, &mknod, sizeof(mknod), "x", NULL, NULL, 0),
                     -EPERM);
        cr_assert_eq(rig_name(&rig, FUSE_CREATE, dir, &create, sizeof(create), "x", NULL, NULL, 0),
                     -EPERM);
        cr_assert_eq(rig_name(&rig, FUSE_SYMLINK, dir, NULL, 0, "x", "to", NULL, 0), -EPERM);
        cr_assert_eq(rig_name(&rig, FUSE_LINK, dir, &link, sizeof(link), "x", NULL, NULL, 0),
                     -EPERM);
        cr_assert_eq(rig_name(&rig, FUSE_UNLINK, dir, NULL, 0, "flush", NULL, NULL, 0), -EPERM);
        cr_assert_eq(
            rig_name(&rig, FUSE_RENAME2, dir, &rename, sizeof(rename), "jobs", "x", NULL, 0),
            -EPERM);
    }
    cr_assert_eq(rig_name(&rig, FUSE_MKDIR, jobs, &mkdir, sizeof(mkdir), "x", NULL, NULL, 0),
                 -EPERM);
}

/* ---- attributes ---- */

static int setattr(uint64_t node, struct fuse_setattr_in in)
{
    return rig_call(&rig, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0);
}

static struct fuse_attr attributes(uint64_t node)
{
    const struct fuse_getattr_in in = {0};
    struct fuse_attr_out out = {0};

    cr_assert_eq(rig_call(&rig, FUSE_GETATTR, node, &in, sizeof(in), &out, sizeof(out)), 0);
    return out.attr;
}

Test(ops, modes_follow_the_queues)
{
    cr_assert_eq(attributes(jobs).mode, S_IFDIR | 0700);
    cr_assert_eq(attributes(node_of_name(jobs, "in")).mode, S_IFREG | 0600);
    cr_assert_eq(attributes(node_of_name(jobs, "out")).mode, S_IFREG | 0400);
    cr_assert_eq(attributes(node_of_name(jobs, "ready")).mode, S_IFDIR | 0700);
    cr_assert_eq(setattr(jobs, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0640}), 0);
    cr_assert_eq(attributes(node_of_name(jobs, "out")).mode, S_IFREG | 0440);
    cr_assert_eq(attributes(node_of_name(jobs, "in")).mode & 0020, 0);
}

Test(ops, what_is_fixed_cannot_be_set)
{
    uint64_t in = node_of_name(jobs, "in"), stats = node_of_name(jobs, "stats");

    cr_assert_eq(setattr(in, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0666}), -EPERM);
    cr_assert_eq(setattr(in, (struct fuse_setattr_in){.valid = FATTR_UID, .uid = 12345}), -EPERM);
    cr_assert_eq(setattr(in, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0600}), 0);
    cr_assert_eq(setattr(in, (struct fuse_setattr_in){.valid = FATTR_SIZE}), 0);
    cr_assert_eq(setattr(stats, (struct fuse_setattr_in){.valid = FATTR_SIZE}), -EPERM);
    cr_assert_eq(setattr(ROOT, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0}), -EPERM);
}

Test(ops, extended_attributes)
{
    const struct fuse_getxattr_in size = {.size = 0}, some = {.size = 256};
    const struct fuse_setxattr_in set = {.size = 1};
    uint64_t in = node_of_name(jobs, "in");
    struct fuse_getxattr_out out = {.size = 99};

    cr_assert_eq(rig_name(&rig, FUSE_GETXATTR, in, &some, sizeof(some), "security.capability", NULL,
                          NULL, 0),
                 -ENODATA);
    cr_assert_eq(rig_call(&rig, FUSE_LISTXATTR, in, &size, sizeof(size), &out, sizeof(out)), 0);
    cr_assert_eq(out.size, 0);
    cr_assert_eq(rig_call(&rig, FUSE_LISTXATTR, in, &some, sizeof(some), NULL, 0), 0);
    cr_assert_eq(rig_name(&rig, FUSE_REMOVEXATTR, in, NULL, 0, "user.x", NULL, NULL, 0), -ENODATA);
    cr_assert_eq(rig_name(&rig, FUSE_SETXATTR, in, &set, FUSE_COMPAT_SETXATTR_IN_SIZE, "user.x",
                          "v", NULL, 0),
                 -ENOTSUP);
}

Test(ops, statfs)
{
    struct fuse_statfs_out out = {0};

    cr_assert_eq(rig_call(&rig, FUSE_STATFS, ROOT, NULL, 0, &out, sizeof(out)), 0);
    cr_assert_eq(out.st.namelen, QUEUE_NAME_MAX);
    cr_assert_gt(out.st.bfree, 0);
    cr_assert_gt(out.st.ffree, 0);
}

/* ---- what has no meaning ---- */

Test(ops, fallocate_and_ioctl)
{
    const struct fuse_fallocate_in some = {.length = 4096};
    const struct fuse_ioctl_in ioctl = {.cmd = 0x5401};
    uint64_t in = node_of_name(jobs, "in");

    cr_assert_eq(rig_call(&rig, FUSE_FALLOCATE, in, &some, sizeof(some), NULL, 0), 0);
    cr_assert_eq(
        rig_call(&rig, FUSE_FALLOCATE, node_of_name(jobs, "out"), &some, sizeof(some), NULL, 0),
        -EPERM);
    cr_assert_eq(rig_call(&rig, FUSE_IOCTL, in, &ioctl, sizeof(ioctl), NULL, 0), -ENOTTY);
}

/* ---- open, read, write ---- */

Test(ops, a_put_and_the_ways_to_get_it)
{
    rig_put(&rig, jobs, "one\ntwo\nthree\n");
    rig_expect(&rig, jobs, "next", "one\n");
    rig_expect(&rig, jobs, "out@1", "two\n");
    rig_expect(&rig, jobs, "out", "three\n");
    rig_expect(&rig, jobs, "out", "");
}

Test(ops, only_the_last_close_ends_an_item)
{
    uint64_t in = node_of_name(jobs, "in"), fh;

    cr_assert_eq(rig_open(&rig, in, O_WRONLY, &fh), 0);
    cr_assert_eq(rig_write(&rig, in, fh, "half"), 4);
    cr_assert_eq(rig_flush(&rig, in, fh), 0); /* a descriptor of several was closed */
    rig_expect(&rig, jobs, "out", "");
    cr_assert_eq(rig_write(&rig, in, fh, " and half"), 9);
    cr_assert_eq(rig_flush(&rig, in, fh), 0);
    cr_assert_eq(rig_release(&rig, in, fh), 0);
    rig_expect(&rig, jobs, "out", "half and half\n");
}

Test(ops, read_goes_on_or_again_and_nowhere_else)
{
    uint64_t out = node_of_name(jobs, "out"), fh;
    char text[64];

    rig_put(&rig, jobs, "one\ntwo\n");
    cr_assert_eq(rig_open(&rig, out, O_RDONLY, &fh), 0);
    cr_assert_eq(rig_read(&rig, out, fh, 0, text, 64), 4);
    cr_assert_eq(rig_read(&rig, out, fh, 0, text, 64), 4, "the same again");
    cr_assert_eq(rig_read(&rig, out, fh, 2, text, 64), 2);
    cr_assert_eq(memcmp(text, "e\n", 2), 0);
    cr_assert_eq(rig_read(&rig, out, fh, 100, text, 64), -EINVAL);
    cr_assert_eq(rig_read(&rig, out, fh, 4, text, 64), 4);
    cr_assert_eq(memcmp(text, "two\n", 4), 0);
    cr_assert_eq(rig_read(&rig, out, fh, 8, text, 64), 0);
    cr_assert_eq(rig_flush(&rig, out, fh), 0);
    cr_assert_eq(rig_release(&rig, out, fh), 0);
}

/* splice(2) reads pages, which it names by no lock owner. */
Test(ops, a_page_is_never_read_as_an_end_of_file)
{
    struct fuse_read_in in = {.size = 4096, .read_flags = FUSE_READ_LOCKOWNER};
    uint64_t out = node_of_name(jobs, "out");

    rig_put(&rig, jobs, "one\n");
    cr_assert_eq(rig_open(&rig, out, O_RDONLY, &in.fh), 0);
    cr_assert_eq(rig_call(&rig, FUSE_READ, out, &in, sizeof(in), NULL, 0), -ENOSYS);
    cr_assert_eq(rig_release(&rig, out, in.fh), 0);
    rig_expect(&rig, jobs, "out", "one\n");
}

Test(ops, a_write_of_what_cannot_be_put)
{
    static char large[(1 << 20) + 2];
    uint64_t in = node_of_name(jobs, "in"), config = node_of_name(jobs, "config"), fh, unique;

    memset(large, 'x', sizeof(large) - 1);
    cr_assert_eq(rig_open(&rig, config, O_WRONLY | O_TRUNC, &fh), 0);
    cr_assert_eq(rig_write(&rig, config, fh, "nonsense: 1\n"), -EINVAL);
    cr_assert_eq(rig_write(&rig, config, fh, "maxsize: 3\n"), 11);
    cr_assert_eq(rig_release(&rig, config, fh), 0);

    cr_assert_eq(rig_open(&rig, in, O_WRONLY | O_NONBLOCK, &fh), 0);
    unique = rig_send_write(&rig, in, fh, "1\n2\n3\n", 6);
    cr_assert_eq(rig_wait(&rig, unique, NULL, 0, NULL), 0);
    cr_assert_eq(rig_release(&rig, in, fh), 0);
}

Test(ops, a_write_that_must_not_wait_at_a_full_queue)
{
    const struct fuse_write_in write = {.size = 2, .flags = O_WRONLY | O_NONBLOCK};
    uint64_t in = node_of_name(jobs, "in"), config = node_of_name(jobs, "config"), fh;
    struct fuse_write_in with_fh = write;
    uint64_t unique;

    cr_assert_eq(rig_open(&rig, config, O_WRONLY | O_TRUNC, &fh), 0);
    cr_assert_eq(rig_write(&rig, config, fh, "maxsize: 1\n"), 11);
    cr_assert_eq(rig_release(&rig, config, fh), 0);
    rig_put(&rig, jobs, "a\n");
    cr_assert_eq(rig_open(&rig, in, O_WRONLY | O_NONBLOCK, &with_fh.fh), 0);
    unique = rig_send(&rig, FUSE_WRITE, in, &with_fh, sizeof(with_fh), "b\n", 2, NULL, 0);
    cr_assert_eq(rig_wait(&rig, unique, NULL, 0, NULL), -EAGAIN);
    cr_assert_eq(rig_release(&rig, in, with_fh.fh), 0);
    rig_expect(&rig, jobs, "out", "a\n");
}

Test(ops, reads_and_writes_the_wrong_way)
{
    uint64_t out = node_of_name(jobs, "out"), in = node_of_name(jobs, "in"),
             help = node_of_name(jobs, "help"), stats = node_of_name(jobs, "stats"), fh;
    char text[16];

    cr_assert_eq(rig_open(&rig, out, O_WRONLY, &fh), -EACCES);
    cr_assert_eq(rig_open(&rig, out, O_RDWR, &fh), -EACCES);
    cr_assert_eq(rig_open(&rig, stats, O_RDONLY, &fh), 0);
    cr_assert_eq(rig_write(&rig, stats, fh, "x\n"), -EBADF);
    cr_assert_eq(rig_release(&rig, stats, fh), 0);
    cr_assert_eq(rig_open(&rig, in, O_RDWR, &fh), 0);
    cr_assert_eq(rig_read(&rig, in, fh, 0, text, sizeof(text)), 0);
    cr_assert_eq(rig_release(&rig, in, fh), 0);
    cr_assert_eq(rig_open(&rig, help, O_WRONLY, &fh), -EACCES);
}

Test(ops, purge_wants_the_queues_name)
{
    uint64_t purge = node_of_name(jobs, "purge"), fh;

    rig_put(&rig, jobs, "one\n");
    cr_assert_eq(rig_open(&rig, purge, O_WRONLY, &fh), 0);
    cr_assert_eq(rig_write(&rig, purge, fh, "other\n"), -EINVAL);
    cr_assert_eq(rig_write(&rig, purge, fh, "jobs\n"), 5);
    cr_assert_eq(rig_release(&rig, purge, fh), 0);
    rig_expect(&rig, jobs, "out", "");
}

/* ---- claims ---- */

Test(ops, a_claim_from_its_id_to_its_end)
{
    uint64_t leased = node_of_name(jobs, "leased"), claim = node_of_name(jobs, "claim"), fh, item;
    char id[17 + 1] = "";

    rig_put(&rig, jobs, "job\n");
    cr_assert_eq(rig_open(&rig, claim, O_RDONLY, &fh), 0);
    cr_assert_eq(rig_read(&rig, claim, fh, 0, id, 17), 17);
    cr_assert_eq(rig_release(&rig, claim, fh), 0);
    id[16] = '\0';
    rig_expect(&rig, leased, id, "job");
    item = node_of_name(leased, id);
    cr_assert_eq(attributes(item).size, 3);
    cr_assert_eq(rig_name(&rig, FUSE_UNLINK, leased, NULL, 0, id, NULL, NULL, 0), 0);
    cr_assert_eq(rig_name(&rig, FUSE_UNLINK, leased, NULL, 0, id, NULL, NULL, 0), -ENOENT);
    cr_assert_eq(rig_lookup(&rig, leased, id, &item), -ENOENT);
}

/* ---- directories ---- */

static size_t listed(uint64_t dir, const char *name)
{
    struct fuse_read_in in = {.size = 65536};
    const struct fuse_open_in open = {0};
    struct fuse_open_out opened;
    static char text[65536];
    uint64_t unique;
    size_t len, n = 0;

    cr_assert_eq(rig_call(&rig, FUSE_OPENDIR, dir, &open, sizeof(open), &opened, sizeof(opened)),
                 0);
    in.fh = opened.fh;
    unique = rig_send(&rig, FUSE_READDIR, dir, &in, sizeof(in), NULL, 0, NULL, 0);
    cr_assert_eq(rig_wait(&rig, unique, text, sizeof(text), &len), 0);
    for (size_t at = 0; at < len;) {
        const struct fuse_dirent *entry = (const void *)(text + at);

        n += entry->namelen == strlen(name) && memcmp(entry->name, name, entry->namelen) == 0;
        at += FUSE_DIRENT_SIZE(entry);
    }
    cr_assert_eq(rig_call(&rig, FUSE_RELEASEDIR, dir,
                          &(const struct fuse_release_in){.fh = opened.fh},
                          sizeof(struct fuse_release_in), NULL, 0),
                 0);
    return n;
}

/* Just written: the listing waits for that, for a fifth of a second at most. */
static void expect_ready(const char *name)
{
    uint64_t ready = node_of_name(jobs, "ready");
    int64_t begun_us;
    size_t n;

    do {
        begun_us = clock_system.mono_us(&clock_system);
        n = listed(ready, name);
    } while (n == 0 && clock_system.mono_us(&clock_system) - begun_us >= 200000);
    cr_assert_eq(n, 1);
}

Test(ops, listings_have_what_takes_nothing)
{
    rig_put(&rig, jobs, "job\n");
    cr_assert_eq(listed(ROOT, "jobs"), 1);
    cr_assert_eq(listed(ROOT, "help"), 1);
    cr_assert_eq(listed(jobs, "in"), 1);
    cr_assert_eq(listed(jobs, "ready"), 1);
    cr_assert_eq(listed(jobs, "out") + listed(jobs, "next") + listed(jobs, "claim"), 0);
    expect_ready("0000000001000000");
    cr_assert_eq(listed(node_of_name(jobs, "leased"), "0000000001000000"), 0);
}

/* ---- moves ---- */

Test(ops, moves_that_have_a_meaning_and_those_that_have_none)
{
    uint64_t leased = node_of_name(jobs, "leased"), ready = node_of_name(jobs, "ready"),
             dead = node_of_name(jobs, "dead");
    struct fuse_rename2_in in = {.newdir = leased};
    const char *id = "0000000001000000";

    rig_put(&rig, jobs, "job\n");
    expect_ready(id);
    cr_assert_eq(rig_name(&rig, FUSE_RENAME2, ready, &in, sizeof(in), id, "other", NULL, 0),
                 -EPERM);
    cr_assert_eq(rig_name(&rig, FUSE_RENAME2, ready, &in, sizeof(in), id, id, NULL, 0), 0);
    in.newdir = dead;
    cr_assert_eq(rig_name(&rig, FUSE_RENAME2, leased, &in, sizeof(in), id, id, NULL, 0), 0);
    in.newdir = leased;
    cr_assert_eq(rig_name(&rig, FUSE_RENAME2, dead, &in, sizeof(in), id, id, NULL, 0), -EPERM);
    in.newdir = ready;
    cr_assert_eq(rig_name(&rig, FUSE_RENAME2, dead, &in, sizeof(in), id, id, NULL, 0), 0);
    rig_expect(&rig, jobs, "out", "job\n");
}
