/* Queues of a mount, their puts, gets, changes and ends. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/mount/world_rig.h"

/* What was read is gone then, and what was not is back; a close waits for that for a second. */
static void close_and_expect(struct mount_queue *mq, struct reader *r, long depth)
{
    int64_t begun_us = clock_system.mono_us(&clock_system);
    bool waited_in_vain;

    close_reader(mq, r);
    waited_in_vain = clock_system.mono_us(&clock_system) - begun_us >= 1000000;
    while (waited_in_vain && (stat_of(mq, "depth") != depth || stat_of(mq, "leased") != 0))
        usleep(1000);
    cr_assert_eq(stat_of(mq, "depth"), depth);
    cr_assert_eq(stat_of(mq, "leased"), 0);
}

Test(mount, what_is_put_is_got, .timeout = 120)
{
    struct world world;
    struct mount_queue *mq;
    struct writer *w;
    struct reader *r;
    char text[4097];

    open_world(&world);
    mq = make(world.mount, "jobs");
    cr_assert_not_null(mq);
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(put(mq, w, "one\ntwo\n"), 8);
    cr_assert_eq(flush(mq), 0);
    cr_assert_eq(stat_of(mq, "total_puts"), 2);
    cr_assert_eq(stat_of(mq, "buffer_size"), 0);
    cr_assert_eq(stat_of(mq, "depth"), 2);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, READER_UNLIMITED, -1, &r), 0);
    cr_assert_eq(get(mq, r, 0, 4096, text), 4);
    cr_assert_str_eq(text, "one\n");
    cr_assert_eq(get(mq, r, 4, 4096, text), 4);
    cr_assert_str_eq(text, "two\n");
    cr_assert_eq(get(mq, r, 8, 4096, text), 0);
    close_and_expect(mq, r, 0);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world);
}

Test(mount, what_was_not_read_is_back_when_close_returns, .timeout = 120)
{
    struct world world;
    struct mount_queue *mq;
    struct writer *w;
    struct reader *r;
    char text[4097];

    open_world(&world);
    mq = make(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(put(mq, w, "1\n2\n3\n4\n5\n"), 10);
    cr_assert_eq(flush(mq), 0);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, READER_UNLIMITED, -1, &r), 0);
    cr_assert_eq(get(mq, r, 0, 100, text), 2);
    close_and_expect(mq, r, 4);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world);
}

Test(mount, a_waiting_reader_wakes_with_a_put, .timeout = 120)
{
    struct world world;
    struct call *call;
    struct mount_queue *mq;
    struct writer *w;
    struct reader *r;

    open_world(&world);
    mq = make(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, TIME_FOREVER, &r), 0);
    call = call_new();
    call->op.len = 4096;
    mount_queue_read(mq, r, &call->op);
    usleep(50000);
    cr_assert_eq(stat_of(mq, "waiting"), 1);
    cr_assert_eq(put(mq, w, "x\n"), 2);
    cr_assert_eq(call_end(call), 2);
    close_reader(mq, r);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world);
}

Test(mount, a_waiting_reader_wakes_with_a_put_of_another_mount, .timeout = 120)
{
    struct world world;
    struct mount_rest rest;
    struct mount_queue *mq, *other;
    struct mount *second;
    struct call *call;
    struct writer *w;
    struct reader *r;
    int i;

    open_world(&world);
    mq = make(world.mount, "jobs");
    second = mount_open(&world, 2);
    other = mount_find(second, "jobs");
    cr_assert_not_null(other);
    cr_assert_eq(mount_queue_writer_open(other, 0, &w), 0);
    for (i = 0; i < 50; i++) {
        cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, TIME_FOREVER, &r), 0);
        call = call_new();
        call->op.len = 4096;
        mount_queue_read(mq, r, &call->op);
        cr_assert_eq(put(other, w, "x\n"), 2);
        cr_assert_eq(call_end(call), 2);
        close_reader(mq, r);
    }
    mount_queue_writer_release(other, w);
    mount_queue_unref(other);
    mount_stop(second, 20000000, &rest);
    mount_queue_unref(mq);
    mount_stop(world.mount, 20000000, &rest);
    service_stop(world.service);
    mount_free(second);
    mount_free(world.mount);
    service_free(world.service);
}

Test(mount, a_waiting_reader_is_interrupted, .timeout = 120)
{
    struct world world;
    struct call *call;
    struct mount_queue *mq;
    struct reader *r;

    open_world(&world);
    mq = make(world.mount, "jobs");
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, TIME_FOREVER, &r), 0);
    call = call_new();
    call->op.len = 4096;
    mount_queue_read(mq, r, &call->op);
    op_cancel(&call->op);
    cr_assert_eq(call_end(call), -EINTR);
    cr_assert_eq(stat_of(mq, "waiting"), 0);
    close_reader(mq, r);
    mount_queue_unref(mq);
    close_world(&world);
}

Test(mount, queues_are_made_once_and_removed_when_empty, .timeout = 120)
{
    struct world world;
    struct mount_queue *mq, *again;
    struct writer *w;
    struct call *call;

    open_world(&world);
    mq = make(world.mount, "jobs");
    call = call_new();
    mount_make_queue(world.mount, "jobs", 0600, 0, 0, &call->op);
    cr_assert_eq(call_end(call), -EEXIST);
    call = call_new();
    mount_make_queue(world.mount, "stats", 0600, 0, 0, &call->op);
    cr_assert_eq(call_end(call), -EINVAL);

    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(put(mq, w, "x\n"), 2);
    cr_assert_eq(flush(mq), 0);
    call = call_new();
    mount_remove_queue(world.mount, mq, &call->op);
    cr_assert_eq(call_end(call), -ENOTEMPTY);
    call = call_new();
    mount_queue_purge(mq, &call->op);
    cr_assert_eq(call_end(call), 0);
    cr_assert_eq(stat_of(mq, "depth"), 0);
    call = call_new();
    mount_remove_queue(world.mount, mq, &call->op);
    cr_assert_eq(call_end(call), 0);
    cr_assert_null(mount_find(world.mount, "jobs"));
    cr_assert_eq(put(mq, w, "y\n"), -ENOENT);

    again = make(world.mount, "jobs");
    cr_assert_not_null(again);
    cr_assert_neq(again, mq);
    mount_queue_unref(again);
    mount_queue_writer_release(mq, w);
    mount_queue_unref(mq);
    close_world(&world);
}

Test(mount, settings_change_for_all_mounts, .timeout = 120)
{
    struct world world;
    struct mount_rest rest;
    struct mount_queue_info info;
    struct mount_queue *mq, *other;
    struct mount *second;
    struct call *call;
    int i;

    open_world(&world);
    mq = make(world.mount, "jobs");
    second = mount_open(&world, 2);
    other = mount_find(second, "jobs");
    mount_queue_info(mq, &info);
    info.settings.own.maxsize = 7;
    info.settings.mount.batch_size = 3;
    call = call_new();
    mount_queue_set(mq, &info.settings, UINT64_MAX, &call->op);
    cr_assert_eq(call_end(call), 0);
    mount_queue_info(mq, &info);
    cr_assert_eq(info.settings.own.maxsize, 7);
    cr_assert_eq(info.settings.mount.batch_size, 3);
    for (i = 0; i < 2000; i++) {
        mount_queue_info(other, &info);
        if (info.settings.own.maxsize == 7)
            break;
        usleep(10000);
    }
    cr_assert_lt(i, 2000, "the other mount never heard of it");
    cr_assert_eq(info.settings.mount.batch_size, 100);
    info.settings.own.lease_us = info.settings.own.lease_max_us + 1;
    call = call_new();
    mount_queue_set(mq, &info.settings, UINT64_MAX, &call->op);
    cr_assert_eq(call_end(call), -EINVAL);

    mount_queue_unref(other);
    mount_queue_unref(mq);
    mount_stop(second, 20000000, &rest);
    mount_stop(world.mount, 20000000, &rest);
    service_stop(world.service);
    mount_free(second);
    mount_free(world.mount);
    service_free(world.service);
}

Test(mount, stop_releases_waiters_and_sends_what_is_buffered, .timeout = 120)
{
    struct world world;
    struct mount_rest rest;
    struct call *call;
    struct mount_queue *mq;
    struct writer *w;
    struct reader *r;

    open_world(&world);
    mq = make(world.mount, "jobs");
    cr_assert_eq(mount_queue_writer_open(mq, 0, &w), 0);
    cr_assert_eq(mount_queue_reader_open(mq, 0, GET_STREAM, 1, TIME_FOREVER, &r), 0);
    call = call_new();
    call->op.len = 4096;
    mount_queue_read(mq, r, &call->op);
    mount_stop(world.mount, 20000000, &rest);
    cr_assert_eq(call_end(call), -ESHUTDOWN);
    cr_assert_eq(rest.n_items, 0);
    cr_assert_eq(put(mq, w, "x\n"), -ESHUTDOWN);
    mount_queue_writer_release(mq, w);
    mount_queue_reader_release(mq, r);
    mount_queue_unref(mq);
    service_stop(world.service);
    mount_free(world.mount);
    service_free(world.service);
}

Test(mount, flush_of_the_mount_covers_all_queues, .timeout = 120)
{
    struct world world;
    struct mount_queue *queues[20];
    struct writer *writers[20];
    struct call *call;
    char name[16];
    int i;

    open_world(&world);
    for (i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "q%d", i);
        queues[i] = make(world.mount, name);
        cr_assert_eq(mount_queue_writer_open(queues[i], 0, &writers[i]), 0);
        cr_assert_eq(put(queues[i], writers[i], "x\n"), 2);
    }
    call = call_new();
    mount_flush(world.mount, &call->op);
    cr_assert_eq(call_end(call), 0);
    for (i = 0; i < 20; i++) {
        cr_assert_eq(stat_of(queues[i], "depth"), 1);
        mount_queue_writer_release(queues[i], writers[i]);
        mount_queue_unref(queues[i]);
    }
    close_world(&world);
}

Test(mount, readdir_walks_all_queues_in_order, .timeout = 120)
{
    struct world world;
    struct mount_queue *mq, *next;
    uint64_t after = 0;
    char name[16];
    int i, n = 0;

    open_world(&world);
    for (i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "q%d", i);
        mount_queue_unref(make(world.mount, name));
    }
    for (mq = mount_next(world.mount, 0); mq; mq = next) {
        struct mount_queue_info info;

        mount_queue_info(mq, &info);
        cr_assert_gt(info.number, after);
        after = info.number;
        next = mount_next(world.mount, after);
        mount_queue_unref(mq);
        n++;
    }
    cr_assert_eq(n, 50);
    close_world(&world);
}
