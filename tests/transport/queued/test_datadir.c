#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "transport/queued/datadir.h"

static char base[] = "/tmp/queuefs-test-XXXXXX";
static char said[1024];

static void sink(enum log_level level, const char *message)
{
    snprintf(said, sizeof(said), "%s", message);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(base));
    log_set_sink("test", sink);
    unsetenv("STATE_DIRECTORY");
    unsetenv("XDG_DATA_HOME");
}

static void remove_file(const char *path)
{
    char full[256];

    snprintf(full, sizeof(full), "%s/%s", base, path);
    remove(full);
}

static void teardown(void)
{
    remove_file("a/b/data.mdb");
    remove_file("a/b/lock");
    remove_file("a/b");
    remove_file("a");
    remove(base);
}

TestSuite(main_datadir, .init = setup, .fini = teardown, .timeout = 15);

static void chosen(const char *given, const char *stored, const char *expected)
{
    char *path = datadir_choose(given, stored, "queuefs");

    cr_assert_not_null(path);
    cr_assert_str_eq(path, expected);
    free(path);
}

Test(main_datadir, choice_in_order)
{
    setenv("HOME", "/home/u", 1);
    chosen(NULL, NULL, geteuid() == 0 ? "/var/lib/queuefs" : "/home/u/.local/share/queuefs");
    setenv("XDG_DATA_HOME", "/x", 1);
    chosen(NULL, NULL, "/x/queuefs");
    setenv("STATE_DIRECTORY", "/s:/t", 1);
    chosen(NULL, NULL, "/s");
    chosen(NULL, "/stored", "/stored");
    chosen("/given", "/stored", "/given");
}

Test(main_datadir, a_relative_environment_counts_not)
{
    setenv("HOME", "/home/u", 1);
    setenv("STATE_DIRECTORY", "s", 1);
    setenv("XDG_DATA_HOME", "", 1);
    chosen(NULL, NULL, geteuid() == 0 ? "/var/lib/queuefs" : "/home/u/.local/share/queuefs");
}

Test(main_datadir, within)
{
    cr_assert(path_is_within("/a/b", "/a"));
    cr_assert(path_is_within("/a", "/a"));
    cr_assert(path_is_within("/a/b", "/a/"));
    cr_assert(path_is_within("/a", "/"));
    cr_assert_not(path_is_within("/ab", "/a"));
    cr_assert_not(path_is_within("/a", "/a/b"));
}

Test(main_datadir, filesystems)
{
    cr_assert(filesystem_unfit(NFS_SUPER_MAGIC));
    cr_assert(filesystem_unfit(FUSE_SUPER_MAGIC));
    cr_assert(filesystem_unfit(SMB_SUPER_MAGIC));
    cr_assert(filesystem_unfit(0xFF534D42));
    cr_assert(filesystem_unfit((uint64_t)(int64_t)(int32_t)0xFF534D42));
    cr_assert_not(filesystem_unfit(EXT4_SUPER_MAGIC));
    cr_assert_not(filesystem_unfit(TMPFS_MAGIC));
}

Test(main_datadir, made_with_what_is_above_and_locked)
{
    char path[64], text[128] = "", expected[64];
    struct datadir datadir;
    struct stat st;

    snprintf(path, sizeof(path), "%s/a/b", base);
    cr_assert_eq(datadir_open(&datadir, path, "/mnt/q", NULL), 0);
    cr_assert_str_eq(datadir.path, path);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0700);
    cr_assert_gt(pread(datadir.lock_fd, text, sizeof(text) - 1, 0), 0);
    snprintf(expected, sizeof(expected), "%d\n/mnt/q\n\n", (int)getpid());
    cr_assert_str_eq(text, expected);
    datadir_close(&datadir);
    cr_assert_eq(datadir_open(&datadir, path, "/mnt/q", NULL), 0);
    datadir_close(&datadir);
}

Test(main_datadir, in_use_is_refused_by_name)
{
    char path[64];
    struct datadir first, second;

    snprintf(path, sizeof(path), "%s/a/b", base);
    cr_assert_eq(datadir_open(&first, path, "/mnt/q", NULL), 0);
    cr_assert_eq(datadir_open(&second, path, "/mnt/r", NULL), -EBUSY);
    cr_assert_not_null(strstr(said, path));
    cr_assert_not_null(strstr(said, "mounted on /mnt/q;"));
    cr_assert_not_null(strstr(said, "queuefs -s ipc:///tmp/queuefs-test-"));
    datadir_close(&second);
    datadir_close(&first);
}

Test(main_datadir, below_the_mount_point)
{
    char path[64];
    struct datadir datadir;
    struct stat st;

    snprintf(path, sizeof(path), "%s/a/b", base);
    cr_assert_eq(datadir_open(&datadir, path, base, NULL), -EINVAL);
    datadir_close(&datadir);
    cr_assert_lt(stat(path, &st), 0);
}

Test(main_datadir, a_file_is_in_the_way)
{
    char path[64], file[64];
    struct datadir datadir;

    snprintf(file, sizeof(file), "%s/a", base);
    snprintf(path, sizeof(path), "%s/a/b", base);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    cr_assert_eq(datadir_open(&datadir, path, "/mnt/q", NULL), -ENOTDIR);
    datadir_close(&datadir);
}

Test(main_datadir, a_service_without_a_mount_says_where_it_is)
{
    struct datadir first, second;
    char path[64];

    snprintf(path, sizeof(path), "%s/a/b", base);
    cr_assert_eq(datadir_open(&first, path, NULL, "tcp://127.0.0.1:7440"), 0);
    cr_assert_eq(datadir_open(&second, path, "/mnt/r", NULL), -EBUSY);
    cr_assert_not_null(strstr(said, "a queue service"), "%s", said);
    cr_assert_not_null(strstr(said, "queuefs -s tcp://127.0.0.1:7440 "), "%s", said);
    datadir_close(&first);
    datadir_close(&second);
}

/* ---- who else may write ---- */

static int open_it(const char *path)
{
    struct datadir datadir;
    int rc = datadir_open(&datadir, path, NULL, NULL);

    datadir_close(&datadir);
    return rc;
}

static void refused_until_mended(const char *path, const char *bad, mode_t good)
{
    cr_assert_eq(open_it(path), -EPERM);
    cr_assert_not_null(strstr(said, bad), "%s", said);
    cr_assert_not_null(strstr(said, "chmod go-w"), "%s", said);
    cr_assert_eq(chmod(bad, good), 0);
    cr_assert_eq(open_it(path), 0);
}

Test(main_datadir, others_who_may_write_are_refused)
{
    char path[64], file[80];
    int fd;

    snprintf(path, sizeof(path), "%s/a/b", base);
    snprintf(file, sizeof(file), "%s/log", path);
    cr_assert_eq(open_it(path), 0);
    cr_assert_eq(chmod(path, 0757), 0);
    refused_until_mended(path, path, 0755);
    cr_assert_eq(chmod(path, 01777), 0);
    refused_until_mended(path, path, 0750);

    fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert_eq(open_it(path), 0);
    cr_assert_eq(chmod(file, 0646), 0);
    refused_until_mended(path, file, 0644);
}

Test(main_datadir, a_group_that_may_write_is_refused_unless_it_is_ours)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/a/b", base);
    cr_assert_eq(open_it(path), 0);
    cr_assert_eq(chmod(path, 0770), 0);
    cr_assert_eq(open_it(path), 0);
    if (geteuid() != 0)
        return; /* it takes root to give a file away */
    cr_assert_eq(chown(path, 0, 54321), 0);
    cr_assert_eq(chmod(path, 0770), 0);
    refused_until_mended(path, path, 0750);
}

Test(main_datadir, another_owner_is_refused)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/a/b", base);
    cr_assert_eq(open_it(path), 0);
    if (geteuid() != 0)
        return;
    cr_assert_eq(chown(path, 54321, 0), 0);
    cr_assert_eq(open_it(path), -EPERM);
    cr_assert_not_null(strstr(said, "54321"), "%s", said);
    cr_assert_not_null(strstr(said, "chown"), "%s", said);
}
