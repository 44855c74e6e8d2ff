#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/queuefs/mountinfo.h"

TestSuite(mountinfo, .timeout = 5);

Test(mountinfo, a_line)
{
    struct mount_entry e;

    cr_assert(
        mount_entry_parse("36 35 98:12 /mnt1 /mnt2 rw,noatime master:1 shared:3 - fuse.queuefs "
                          "/dev/root rw,errors=continue\n",
                          &e));
    cr_assert_eq(e.id, 36);
    cr_assert_eq(e.major, 98);
    cr_assert_eq(e.minor, 12);
    cr_assert_str_eq(e.path, "/mnt2");
    cr_assert_str_eq(e.type, "fuse.queuefs");
}

Test(mountinfo, a_line_without_optional_fields)
{
    struct mount_entry e;

    cr_assert(mount_entry_parse("1 2 3:4 / /a rw - ext4 none rw", &e));
    cr_assert_str_eq(e.type, "ext4");
}

Test(mountinfo, escapes)
{
    struct mount_entry e;

    cr_assert(mount_entry_parse("1 2 3:4 / /a\\040b\\011c\\134d\\012 rw - ext4 none rw", &e));
    cr_assert_str_eq(e.path, "/a b\tc\\d\n");
}

Test(mountinfo, nonsense)
{
    const char *const lines[] = {"",
                                 "\n",
                                 "1 2 3:4 / /a rw ext4 none rw",
                                 "x 2 3:4 / /a rw - e n",
                                 "1 2 3:4 /",
                                 "1 2 3:4 / - e n",
                                 "1 2 34 / /a rw - e n"};
    struct mount_entry e;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        cr_assert_not(mount_entry_parse(lines[i], &e), "%s", lines[i]);
}

Test(mountinfo, a_path_that_is_too_long)
{
    char line[PATH_MAX + 100];
    struct mount_entry e;
    int n = snprintf(line, sizeof(line), "1 2 3:4 / /");

    memset(line + n, 'a', PATH_MAX);
    strcpy(line + n + PATH_MAX, " rw - ext4 none rw");
    cr_assert_not(mount_entry_parse(line, &e));
}

Test(mountinfo, of_this_machine)
{
    struct mount_entry e;

    cr_assert_eq(mount_entry_at("/proc", &e), 0);
    cr_assert_str_eq(e.type, "proc");
    cr_assert(mount_entry_exists(&e));
    e.id += 1000000;
    cr_assert_not(mount_entry_exists(&e));
    cr_assert_eq(mount_entry_at("/no such mount", &e), -ENOENT);
}

Test(mountinfo, quiet_while_nothing_changes)
{
    struct pollfd fd = {.fd = mountinfo_open(), .events = POLLPRI};

    cr_assert_geq(fd.fd, 0);
    cr_assert_geq(poll(&fd, 1, 0), 0);
    close(fd.fd);
}
