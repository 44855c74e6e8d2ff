/* The command line of queued. */
#include "transport/queued/options.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"

static struct queued_options options;
static int status;

static void setup(void)
{
    log_set_sink("queued", NULL);
    cr_redirect_stdout();
    cr_redirect_stderr();
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
}

static void teardown(void)
{
    queued_options_fini(&options);
}

TestSuite(main_queued_options, .init = setup, .fini = teardown, .timeout = 10);

/* Words, the last one NULL. */
static int read_line(const char *const *words)
{
    char *argv[16] = {"queued"};
    int argc = 1;

    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    optind = 0;
    status = 0;
    return queued_options_read(&options, argc, argv, &status);
}

#define READ(...) read_line((const char *const[]){__VA_ARGS__, NULL})

static void refused(int result, int expected_status)
{
    fflush(stderr);
    cr_assert_eq(result, -EINVAL);
    cr_assert_eq(status, expected_status);
}

Test(main_queued_options, nothing_given_listens_where_mounts_look)
{
    cr_assert_eq(READ(NULL), 0);
    cr_assert_eq(options.config.n_listen, 1);
    cr_assert_str_eq(options.config.listen[0], geteuid() == 0 ? "ipc:///run/queued/queued.sock"
                                                              : "ipc:///run/user/7/queued.sock");
    cr_assert_null(options.data);
    cr_assert_not(options.check);
    cr_assert_eq(options.config.socket_mode, 0660);
    cr_assert_eq(options.config.socket_owner, CONFIG_NOBODY);
}

Test(main_queued_options, all_of_them)
{
    cr_assert_eq(READ("-l", "tcp://127.0.0.1:1", "--listen=ipc:///s", "-d", "/d", "--check"), 0);
    cr_assert_eq(options.config.n_listen, 2);
    cr_assert_str_eq(options.config.listen[1], "ipc:///s");
    cr_assert_str_eq(options.data, "/d");
    cr_assert(options.check);
}

Test(main_queued_options, listen_replaces_the_addresses_of_the_file)
{
    char path[] = "/tmp/queuefs-test-XXXXXX";
    static const char text[] = "listen: [ipc:///a, ipc:///b]\nsocket: {group: 7, mode: 0600}\n";
    int fd = mkstemp(path);

    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    cr_assert_eq(READ("-c", path, "-l", "ipc:///c"), 0);
    unlink(path);
    cr_assert_eq(options.config.n_listen, 1);
    cr_assert_str_eq(options.config.listen[0], "ipc:///c");
    cr_assert_eq(options.config.socket_group, 7);
    cr_assert_eq(options.config.socket_mode, 0600);
}

Test(main_queued_options, an_unknown_option_is_wrong_usage)
{
    refused(READ("--frob"), STATUS_USAGE);
    cr_assert_stderr_eq_str("queued: unknown option --frob; see queued --help\n");
}

Test(main_queued_options, an_argument_is_wrong_usage)
{
    refused(READ("/mnt/q"), STATUS_USAGE);
}

Test(main_queued_options, an_option_without_its_value_is_wrong_usage)
{
    refused(READ("-d"), STATUS_USAGE);
}

Test(main_queued_options, two_data_directories_are_wrong_usage)
{
    refused(READ("-d", "/a", "-d", "/b"), STATUS_USAGE);
}

Test(main_queued_options, a_wrong_address_is_wrong_usage)
{
    refused(READ("-l", "local"), STATUS_USAGE);
}

Test(main_queued_options, an_open_address_fails)
{
    refused(READ("--check", "-l", "tcp://0.0.0.0:7440"), STATUS_FAILED);
}

Test(main_queued_options, help_and_version_are_all)
{
    cr_assert_eq(READ("--help"), OPTIONS_DONE);
    queued_options_fini(&options);
    cr_assert_eq(READ("--version"), OPTIONS_DONE);
    cr_assert_eq(status, 0);
}
