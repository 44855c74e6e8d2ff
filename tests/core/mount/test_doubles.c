/*
 * Two mounts with one id, as of a machine that was started twice from one snapshot, at one service:
 * what each has put is there once, and what each was given the other was not.
 */
#include "tests/core/mount/world_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 200

TestSuite(mount_doubles, .timeout = 60);

static char seen[2][ROUNDS];
static unsigned n_given;

static void note(const char *lines)
{
    for (const char *line = lines; *line; line = strchr(line, '\n') + 1) {
        int who = *line == 'b', at = atoi(line + 1);

        cr_assert(at >= 0 && at < ROUNDS);
        cr_assert_eq(seen[who][at]++, 0, "%.10s was given twice", line);
        n_given++;
    }
}

static void read_all(struct mount_queue *mq)
{
    struct reader *r;
    char text[8192];
    ssize_t n;

    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, READER_UNLIMITED, 0, &r), 0);
    for (int64_t at = 0; (n = get(mq, r, at, 4096, text)) > 0; at += n)
        note(text);
    cr_assert_eq(n, 0);
    close_reader(mq, r);
}

Test(mount_doubles, what_both_put_is_there_once)
{
    struct world world;
    struct mount *other;
    struct mount_queue *a, *b;
    struct writer *wa, *wb;
    struct mount_rest rest;
    char text[32];

    open_world(&world);
    a = make(world.mount, "jobs");
    other = mount_open(&world, 1); /* the same id */
    b = mount_find(other, "jobs");
    cr_assert_not_null(b);
    cr_assert_eq(mount_queue_writer_open(a, 0, &wa), 0);
    cr_assert_eq(mount_queue_writer_open(b, 0, &wb), 0);
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(text, sizeof(text), "a%d\n", i);
        cr_assert_eq(put(a, wa, text), (ssize_t)strlen(text));
        snprintf(text, sizeof(text), "b%d\n", i);
        cr_assert_eq(put(b, wb, text), (ssize_t)strlen(text));
        if (i % 7 == 0)
            cr_assert_eq(flush(a), 0);
        if (i % 5 == 0)
            cr_assert_eq(flush(b), 0);
    }
    cr_assert_eq(flush(a), 0);
    cr_assert_eq(flush(b), 0);
    read_all(a);
    read_all(b);
    cr_assert_eq(n_given, 2 * ROUNDS);
    mount_queue_writer_release(a, wa);
    mount_queue_writer_release(b, wb);
    mount_queue_unref(a);
    mount_queue_unref(b);
    mount_stop(other, INT64_C(20000000), &rest);
    close_world(&world);
    mount_free(other);
}
