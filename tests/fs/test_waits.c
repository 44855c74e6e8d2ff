/* What waits in the tree: reads, writes and polls that are parked, interrupted, or shared by
 * threads (session_rig.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fs/jobs_rig.h"

TestSuite(waits, .init = jobs_setup, .fini = jobs_teardown, .timeout = 120);

static uint64_t open_name(const char *name, int flags, uint64_t *fh)
{
    uint64_t node;

    cr_assert_eq(rig_lookup(&rig, jobs, name, &node), 0);
    cr_assert_eq(rig_open(&rig, node, flags, fh), 0);
    return node;
}

static void close_node(uint64_t node, uint64_t fh)
{
    cr_assert_eq(rig_flush(&rig, node, fh), 0);
    cr_assert_eq(rig_release(&rig, node, fh), 0);
}

static void interrupt(uint64_t unique)
{
    const struct fuse_interrupt_in in = {.unique = unique};

    rig_send(&rig, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0, NULL, 0);
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

Test(waits, a_read_is_answered_by_the_put_it_waits_for)
{
    uint64_t fh, node = open_name("next@forever", O_RDONLY, &fh), unique;
    char text[16] = "";

    unique = rig_send_read(&rig, node, fh, 0, sizeof(text));
    usleep(50000);
    cr_assert_not(rig_answered(&rig, unique));
    rig_put(&rig, jobs, "one\n");
    cr_assert_eq(rig_wait(&rig, unique, text, sizeof(text), NULL), 0);
    cr_assert_str_eq(text, "one\n");
    close_node(node, fh);
}

Test(waits, a_read_of_a_process_that_has_ended_ends_at_once)
{
    uint64_t fh, node = open_name("next@forever", O_RDONLY, &fh), unique;
    pid_t gone = fork();

    if (gone == 0)
        _exit(0);
    cr_assert_eq(waitpid(gone, NULL, 0), gone);
    rig.pid = gone;
    unique = rig_send_read(&rig, node, fh, 0, 16);
    usleep(20000);
    interrupt(unique);
    cr_assert_eq(rig_wait(&rig, unique, NULL, 0, NULL), -EINTR);
    rig.pid = 0;
    close_node(node, fh);
    rig_put(&rig, jobs, "one\n");
    rig_expect(&rig, jobs, "next", "one\n");
}

/* No signal that ends or is handled waits for this thread: as a stop or a tracer looks. */
Test(waits, a_stop_ends_a_read_after_a_moment)
{
    uint64_t fh, node = open_name("next@forever", O_RDONLY, &fh), unique;
    double begin = now_s();

    unique = rig_send_read(&rig, node, fh, 0, 16);
    interrupt(unique);
    cr_assert_eq(rig_wait(&rig, unique, NULL, 0, NULL), -EINTR);
    cr_assert_geq(now_s() - begin, 0.2);
    close_node(node, fh);
}

Test(waits, an_item_comes_within_the_moment)
{
    uint64_t fh, node = open_name("next@forever", O_RDONLY, &fh), unique;
    char text[16] = "";

    rig.tree.limit.after_us[LIMIT_MOMENT] = 20000000; /* the item comes in time */
    unique = rig_send_read(&rig, node, fh, 0, sizeof(text));
    interrupt(unique);
    rig_put(&rig, jobs, "one\n");
    cr_assert_eq(rig_wait(&rig, unique, text, sizeof(text), NULL), 0);
    cr_assert_str_eq(text, "one\n");
    close_node(node, fh);
}

static int poll_node(uint64_t node, uint64_t fh, uint64_t kh, uint32_t events)
{
    const struct fuse_poll_in in = {
        .fh = fh, .kh = kh, .flags = FUSE_POLL_SCHEDULE_NOTIFY, .events = events};
    struct fuse_poll_out out = {0};

    cr_assert_eq(rig_call(&rig, FUSE_POLL, node, &in, sizeof(in), &out, sizeof(out)), 0);
    return (int)out.revents;
}

Test(waits, poll_tells_of_the_item_that_comes)
{
    uint64_t fh, node = open_name("next@forever", O_RDONLY, &fh);

    cr_assert_eq(poll_node(node, fh, 1, POLLIN) & POLLIN, 0);
    rig_put(&rig, jobs, "one\n");
    rig_await_woken(&rig, 1);
    cr_assert_neq(poll_node(node, fh, 2, POLLIN) & POLLIN, 0);
    close_node(node, fh);
    rig_expect(&rig, jobs, "next", "one\n");
}

Test(waits, poll_sends_what_was_buffered_before)
{
    uint64_t fh, node;

    rig_put(&rig, jobs, "one\n");
    node = open_name("next@forever", O_RDONLY, &fh);
    if (!(poll_node(node, fh, 1, POLLIN) & POLLIN))
        rig_await_woken(&rig, 1);
    cr_assert_neq(poll_node(node, fh, 2, POLLIN) & POLLIN, 0);
    close_node(node, fh);
    rig_expect(&rig, jobs, "next", "one\n");
}

Test(waits, poll_of_what_never_waits)
{
    uint64_t fh, node = open_name("stats", O_RDONLY, &fh);

    cr_assert_neq(poll_node(node, fh, 1, POLLIN) & POLLIN, 0);
    cr_assert_eq(rig_release(&rig, node, fh), 0);
    node = open_name("in", O_WRONLY, &fh);
    cr_assert_neq(poll_node(node, fh, 1, POLLOUT) & POLLOUT, 0);
    close_node(node, fh);
}

Test(waits, a_write_waits_for_room)
{
    uint64_t fh, node = open_name("config", O_WRONLY | O_TRUNC, &fh), unique;

    cr_assert_eq(rig_write(&rig, node, fh, "maxsize: 1\n"), 11);
    cr_assert_eq(rig_release(&rig, node, fh), 0);
    rig_put(&rig, jobs, "a\n");
    node = open_name("in", O_WRONLY, &fh);
    unique = rig_send_write(&rig, node, fh, "b\n", 2);
    usleep(50000);
    cr_assert_not(rig_answered(&rig, unique));
    rig_expect(&rig, jobs, "next", "a\n");
    cr_assert_eq(rig_wait(&rig, unique, NULL, 0, NULL), 0);
    close_node(node, fh);
    rig_expect(&rig, jobs, "next@20s", "b\n");
}

#define PUTS 50

static void *put_many(void *arg)
{
    char text[32];

    for (int i = 0; i < PUTS; i++) {
        snprintf(text, sizeof(text), "%d %d\n", (int)(intptr_t)arg, i);
        rig_put(&rig, jobs, text);
    }
    return NULL;
}

Test(waits, opens_of_several_threads_are_in_nobodys_way)
{
    static char text[1 << 17];
    pthread_t threads[4];
    uint64_t fh, node;
    int lines = 0, n, at = 0;

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, put_many, (void *)(intptr_t)i);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    node = open_name("out", O_RDONLY, &fh);
    while ((n = rig_read(&rig, node, fh, (uint64_t)at, text, sizeof(text))) > 0) {
        at += n;
        for (int i = 0; i < n; i++)
            lines += text[i] == '\n';
    }
    cr_assert_eq(n, 0);
    cr_assert_eq(lines, 4 * PUTS);
    close_node(node, fh);
}

static void *share(void *arg)
{
    uint64_t *shared = arg;

    for (int i = 0; i < PUTS; i++)
        cr_assert_eq(rig_write(&rig, shared[0], shared[1], "line\n"), 5);
    return NULL;
}

Test(waits, threads_that_share_one_open_write_whole_items)
{
    uint64_t shared[2];
    pthread_t threads[4];
    char text[1024];
    int n, lines = 0;
    uint64_t fh, node;

    shared[0] = open_name("in", O_WRONLY, &shared[1]);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, share, shared);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close_node(shared[0], shared[1]);
    node = open_name("out", O_RDONLY, &fh);
    for (uint64_t at = 0; (n = rig_read(&rig, node, fh, at, text, sizeof(text))) > 0;
         at += (uint64_t)n) {
        cr_assert_eq(memcmp(text, "line\n", 5), 0);
        lines++;
    }
    cr_assert_eq(lines, 4 * PUTS);
    close_node(node, fh);
}

/* What is open when the mount ends is released, and what waits is told so. */
Test(waits, the_end_of_the_mount_ends_what_waits)
{
    uint64_t fh, node = open_name("next@forever", O_RDONLY, &fh);
    uint64_t unique = rig_send_read(&rig, node, fh, 0, 16);
    struct mount_rest rest;

    usleep(20000);
    mount_stop(rig.mount, 1000000, &rest);
    cr_assert_eq(rig_wait(&rig, unique, NULL, 0, NULL), -ESHUTDOWN);
}
