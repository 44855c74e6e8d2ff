#include <criterion/criterion.h>
#include <criterion/redirect.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/queuefs/options.h"

static struct options options;
static int status;

static int read_words(int argc, const char *const *words)
{
    char *argv[20] = {"queuefs"};

    for (int i = 0; i < argc; i++)
        argv[i + 1] = (char *)words[i];
    status = 0;
    return options_read(&options, argc + 1, argv, &status);
}

#define READ(...)                                                                                  \
    read_words((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                      \
               (const char *[]){__VA_ARGS__})

static void teardown(void)
{
    options_fini(&options);
}

TestSuite(main_options, .init = cr_redirect_stderr, .fini = teardown, .timeout = 5);

static void assert_refused(void)
{
    char text[1024] = "";
    FILE *err = cr_get_redirected_stderr();
    size_t n;

    fflush(stderr);
    cr_assert_eq(status, STATUS_USAGE);
    n = fread(text, 1, sizeof(text) - 1, err);
    cr_assert_gt(n, 0);
    cr_assert_eq(strncmp(text, "queuefs: ", 9), 0);
    cr_assert_eq(strchr(text, '\n'), text + n - 1, "one line");
}

Test(main_options, a_mount_point_is_enough)
{
    cr_assert_eq(READ("/m"), 0);
    cr_assert_str_eq(options.mountpoint, "/m");
    cr_assert_null(options.source);
    cr_assert_null(options.data);
    cr_assert_eq(options.config.n_service_addresses, 0);
    cr_assert_not(options.config.foreground);
}

Test(main_options, short_ones)
{
    cr_assert_eq(READ("-f", "-d", "/d", "/m"), 0);
    cr_assert(options.config.foreground);
    cr_assert_str_eq(options.data, "/d");
}

Test(main_options, long_ones)
{
    cr_assert_eq(READ("--foreground", "--service=tcp://h:1", "--service", "local", "/m"), 0);
    cr_assert_eq(options.config.n_service_addresses, 2);
    cr_assert_str_eq(options.config.service_addresses[0], "tcp://h:1");
    cr_assert_str_eq(options.config.service_addresses[1], "local");
}

Test(main_options, listen)
{
    cr_assert_eq(READ("--listen=ipc:///x", "--listen", "tcp://127.0.0.1:7440", "/m"), 0);
    cr_assert_eq(options.config.n_listen, 2);
    cr_assert_str_eq(options.config.listen[0], "ipc:///x");
}

Test(main_options, source_is_an_address)
{
    cr_assert_eq(READ("ipc:///s", "/m"), 0);
    cr_assert_str_eq(options.source, "ipc:///s");
    cr_assert_str_eq(options.mountpoint, "/m");
    cr_assert_str_eq(options.config.service_addresses[0], "ipc:///s");
}

Test(main_options, source_is_none)
{
    cr_assert_eq(READ("none", "/m", "-o", "rw,data=/d,noauto,x-systemd.automount"), 0);
    cr_assert_str_eq(options.source, "none");
    cr_assert_eq(options.config.n_service_addresses, 0);
    cr_assert_str_eq(options.data, "/d");
}

Test(main_options, what_o_says)
{
    cr_assert_eq(READ("/m", "-o", "service=tcp://h:1,allow_other,max_read=5"), 0);
    cr_assert(options.config.allow_other);
    cr_assert_str_eq(options.config.service_addresses[0], "tcp://h:1");
    cr_assert_eq(options.fuse.argc, 3);
    cr_assert_str_eq(options.fuse.argv[2], "max_read=5");
}

Test(main_options, a_file_gives_the_mount_point)
{
    char path[] = "/tmp/queuefs-test-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");

    fputs("mount: {path: /from/file}\nservice: {address: 'tcp://file:1'}\n", file);
    fclose(file);
    cr_assert_eq(READ("-c", path, "-s", "tcp://line:1"), 0);
    unlink(path);
    cr_assert_str_eq(options.mountpoint, "/from/file");
    cr_assert_eq(options.config.n_service_addresses, 1);
    cr_assert_str_eq(options.config.service_addresses[0], "tcp://line:1");
}

Test(main_options, a_file_as_source)
{
    char path[] = "/tmp/queuefs-test-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");

    fputs("defaults: {batch_size: 7}\n", file);
    fclose(file);
    cr_assert_eq(READ(path, "/m"), 0);
    unlink(path);
    cr_assert_eq(options.config.defaults.mount.batch_size, 7);
}

Test(main_options, a_file_that_is_not_there)
{
    cr_assert_lt(READ("-c", "/no/such/file", "/m"), 0);
    cr_assert_eq(status, STATUS_FAILED);
}

Test(main_options, check_needs_no_mount_point)
{
    cr_assert_eq(READ("--check"), 0);
    cr_assert(options.check);
}

Test(main_options, no_mount_point)
{
    cr_assert_lt(READ("-f"), 0);
    assert_refused();
}

Test(main_options, an_empty_mount_point)
{
    cr_assert_lt(READ(""), 0);
    assert_refused();
}

Test(main_options, too_many_arguments)
{
    cr_assert_lt(READ("none", "/m", "/n"), 0);
    assert_refused();
}

Test(main_options, an_unknown_option)
{
    cr_assert_lt(READ("--colour", "/m"), 0);
    assert_refused();
}

Test(main_options, a_missing_value)
{
    cr_assert_lt(READ("/m", "-c"), 0);
    assert_refused();
}

Test(main_options, a_wrong_address)
{
    cr_assert_lt(READ("-s", "http://x", "/m"), 0);
    assert_refused();
}

Test(main_options, two_settings_files)
{
    cr_assert_lt(READ("-c", "/a", "-o", "config=/b", "/m"), 0);
    assert_refused();
}

Test(main_options, data_of_another_service)
{
    cr_assert_lt(READ("-s", "tcp://h:1", "-d", "/d", "/m"), 0);
    assert_refused();
}

Test(main_options, listening_for_another_service)
{
    cr_assert_lt(READ("-s", "tcp://h:1", "--listen=ipc:///x", "/m"), 0);
    assert_refused();
}

Test(main_options, too_many_addresses)
{
    char *argv[2 * CONFIG_ADDRESSES_MAX + 5] = {"queuefs"};
    int n = 1;

    for (int i = 0; i <= CONFIG_ADDRESSES_MAX; i++) {
        argv[n++] = "-s";
        argv[n++] = "tcp://h:1";
    }
    cr_assert_lt(options_read(&options, n, argv, &status), 0);
    assert_refused();
}

Test(main_options, version, .init = cr_redirect_stdout)
{
    cr_assert_eq(READ("--version"), OPTIONS_DONE);
    fflush(stdout);
    cr_assert_stdout_eq_str("queuefs " QUEUEFS_VERSION "\n");
}

Test(main_options, help_is_one_screen, .init = cr_redirect_stdout)
{
    char line[256];
    int n_lines = 0;
    FILE *out = cr_get_redirected_stdout();

    cr_assert_eq(READ("--help"), OPTIONS_DONE);
    fflush(stdout);
    while (fgets(line, sizeof(line), out)) {
        cr_assert_leq(strlen(line), 80 + 1);
        n_lines++;
    }
    cr_assert(n_lines > 10 && n_lines < 40, "%d", n_lines);
}
