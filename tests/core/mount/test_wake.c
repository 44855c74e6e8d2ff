/* A put of a mount in which somebody waits: who waits asks right behind it, once. */
#include "tests/core/mount/mount_rig.h"

#include <errno.h>
#include <string.h>

static struct mount_rig rig;
static struct reader *reader;
static struct rig_call call;

static void setup(void)
{
    rig_open(&rig);
    /* No SYNC is answered, which comes every 2 s: who waits asks again after each. */
    rig_keep(&rig, KEEP(REQUEST_PUT) | KEEP(REQUEST_GET) | KEEP(REQUEST_SYNC));
    call_init(&call);
}

TestSuite(wake, .init = setup, .timeout = 120);

/* A read that has found nothing, and stands in line at the service. */
static void begin_wait(enum get_kind kind)
{
    struct request *get;

    cr_assert_eq(mount_queue_reader_open(rig.mq, 0, kind, READER_UNLIMITED, TIME_FOREVER, &reader),
                 0);
    call.op.len = 4096;
    mount_queue_read(rig.mq, reader, &call.op);
    get = rig_take(&rig, REQUEST_GET);
    cr_assert(get->in.get.arm);
    rig_answer_empty(get);
    cr_assert_not(call_ended(&call));
    cr_assert_eq(rig_seen(&rig, REQUEST_GET), 1);
}

static void answer_put(struct request *put)
{
    uint64_t last = put->in.put.base + put->in.put.batch.n_items - 1;

    put->status = 0;
    memset(&put->state, 0, sizeof(put->state));
    memset(&put->out, 0, sizeof(put->out));
    put->out.put.last = last;
    put->done(put);
}

/* What ends with the mount is answered by it. */
static void end(void)
{
    rig_keep(&rig, 0);
    mount_queue_reader_release(rig.mq, reader);
    rig_close(&rig);
}

Test(wake, the_get_does_not_wait_for_the_answer_of_the_put)
{
    struct request *put;

    begin_wait(GET_STREAM);
    rig_put(&rig, "a\n");
    put = rig_take(&rig, REQUEST_PUT);
    rig_answer_grant(rig_take(&rig, REQUEST_GET), 1 << 24, 7, "a\n");
    cr_assert_eq(call_end(&call), 2);
    answer_put(put);
    cr_assert_eq(rig_seen(&rig, REQUEST_GET), 2);
    end();
}

Test(wake, so_does_a_claim)
{
    struct request *put;

    begin_wait(GET_CLAIM);
    rig_put(&rig, "a\n");
    put = rig_take(&rig, REQUEST_PUT);
    rig_answer_grant(rig_take(&rig, REQUEST_GET), 1 << 24, 7, "a\n");
    cr_assert_eq(call_end(&call), ITEM_ID_DIGITS + 1);
    answer_put(put);
    end();
}

Test(wake, a_get_that_overtook_the_put_is_sent_again)
{
    struct request *put;

    begin_wait(GET_STREAM);
    rig_put(&rig, "a\n");
    put = rig_take(&rig, REQUEST_PUT);
    rig_answer_empty(rig_take(&rig, REQUEST_GET));
    cr_assert_not(call_ended(&call));
    cr_assert_eq(rig_seen(&rig, REQUEST_GET), 2, "it is in line, and asks when it is told");
    answer_put(put);
    rig_answer_grant(rig_take(&rig, REQUEST_GET), 1 << 24, 7, "a\n");
    cr_assert_eq(call_end(&call), 2);
    end();
}

Test(wake, one_get_for_puts_that_follow_one_another)
{
    struct request *first, *second;

    begin_wait(GET_STREAM);
    rig_put(&rig, "a\n");
    first = rig_take(&rig, REQUEST_PUT);
    rig_put(&rig, "b\n");
    second = rig_take(&rig, REQUEST_PUT);
    cr_assert_eq(rig_seen(&rig, REQUEST_GET), 2);
    answer_put(first);
    answer_put(second);
    cr_assert_eq(rig_seen(&rig, REQUEST_GET), 2);
    rig_answer_grant(rig_take(&rig, REQUEST_GET), 1 << 24, 7, "a\n");
    cr_assert_eq(call_end(&call), 2);
    end();
}

Test(wake, nobody_asks_where_nobody_waits)
{
    cr_assert_eq(
        mount_queue_reader_open(rig.mq, 0, GET_STREAM, READER_UNLIMITED, TIME_FOREVER, &reader), 0);
    rig_put(&rig, "a\n");
    answer_put(rig_take(&rig, REQUEST_PUT));
    cr_assert_eq(rig_seen(&rig, REQUEST_GET), 0);
    end();
}
