/* What a LIST shows: which items, in what pages, their bytes; and that it costs no more than that.
 */
#include "tests/core/service/service_rig.h"

#include "core/clock.h"

static struct rig rig;
static uint64_t queue;

#define READY   (UINT32_C(1) << ITEM_READY)
#define LEASED  (UINT32_C(1) << ITEM_LEASED)
#define DELAYED (UINT32_C(1) << ITEM_DELAYED)
#define DEAD    (UINT32_C(1) << ITEM_DEAD)

static void setup(void)
{
    rig_init(&rig);
    queue = rig_make(&rig, "q", NULL);
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(queue_list, .init = setup, .fini = teardown, .timeout = 20);

static void call_list(struct call *call, uint32_t states, uint64_t from, uint64_t to, uint32_t max)
{
    call_init(call, REQUEST_LIST, queue, 1);
    call->request.in.list.states = states;
    call->request.in.list.from = from;
    call->request.in.list.to = to;
    call->request.in.list.max_items = max;
}

/* Compare with batch and index of each item as "1.0 1.1 2.0 ". The call stays good. */
static void list_expect(struct call *call, const char *expected)
{
    char shown[256] = "", *at = shown;

    cr_assert_eq(call_run(&rig, call), 0);
    for (size_t i = 0; i < call->request.out.list.n_items; i++) {
        uint64_t id = call->request.out.list.items[i].id;

        at += sprintf(at, "%u.%u ", (unsigned)item_batch(id), (unsigned)item_index(id));
    }
    cr_assert_str_eq(shown, expected);
}

static void ids_expect(uint32_t states, uint64_t from, uint64_t to, const char *expected)
{
    struct call call;

    call_list(&call, states, from, to, 100);
    list_expect(&call, expected);
    cr_assert_eq(call.request.out.list.next, 0);
    call_fini(&call);
}

/* Claims it: {batch, index, index + 1, token}. */
static struct settlement claim(enum settle_verb verb, uint64_t id)
{
    struct settlement s;
    struct call get;

    call_get(&get, GET_CLAIM, queue, 1, 1);
    get.request.in.get.item = id;
    cr_assert_eq(call_run(&rig, &get), 0);
    cr_assert_eq(get.request.out.get.n_grants, 1);
    s = settlement_of(verb, get.request.out.get.grants);
    call_fini(&get);
    return s;
}

static void claim_and(enum settle_verb verb, uint64_t id)
{
    cr_assert_eq(rig_settle_one(&rig, queue, claim(verb, id)), 0);
}

static void put_three(void)
{
    rig_put(&rig, queue, 1, 1, "a\nbb\nccc\n");
    rig_put(&rig, queue, 1, 4, "\ndd\n");
    rig_put(&rig, queue, 1, 6, "eeeee\n");
}

Test(queue_list, of_an_empty_queue_is_empty)
{
    ids_expect(READY | LEASED | DELAYED | DEAD, 0, 0, "");
    put_three();
    ids_expect(LEASED | DELAYED | DEAD, 0, 0, "");
}

Test(queue_list, shows_untouched_items_with_size_and_time_of_put)
{
    static const uint64_t sizes[] = {1, 2, 3, 0, 2, 5};
    const struct item_info *items;
    struct call call;

    put_three();
    call_list(&call, READY, 0, 0, 100);
    list_expect(&call, "1.0 1.1 1.2 2.0 2.1 3.0 ");
    items = call.request.out.list.items;
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(items[i].size, sizes[i]);
        cr_assert_eq(items[i].put_time_us, rig.wall_us);
        cr_assert_eq(items[i].state, ITEM_READY);
        cr_assert_eq(items[i].deliveries, 0);
        cr_assert_eq(items[i].until_us, 0);
    }
    cr_assert_eq(call.request.out.list.next, 0);
    cr_assert_eq(call.request.out.list.len, 0);
    cr_assert_eq(call.request.state.depth, 6);
    call_fini(&call);
}

Test(queue_list, shows_each_item_under_its_state)
{
    static const uint32_t deliveries[] = {1, 0, 0, 2, 1};
    static const int64_t in_us[] = {0, 0, 0, SECOND, 30 * SECOND};
    struct call call, stream;

    put_three();
    claim_and(SETTLE_ACK, item_id(1, 0));
    claim_and(SETTLE_BURY, item_id(1, 1));
    claim_and(SETTLE_NACK, item_id(2, 1));
    claim_and(SETTLE_NACK, item_id(2, 1));
    claim(SETTLE_ACK, item_id(3, 0));
    stream_expect(&rig, &stream, queue, 1, "ccc\n");
    ids_expect(READY, 0, 0, "2.0 ");
    ids_expect(DELAYED, 0, 0, "2.1 ");
    ids_expect(READY | DELAYED, 0, 0, "2.0 2.1 ");
    ids_expect(DEAD, 0, 0, "1.1 ");

    call_list(&call, READY | LEASED | DELAYED | DEAD, 0, 0, 100);
    list_expect(&call, "1.1 1.2 2.0 2.1 3.0 ");
    for (int i = 0; i < 5; i++) {
        const struct item_info *info = &call.request.out.list.items[i];

        cr_assert_eq(info->deliveries, deliveries[i]);
        cr_assert_eq(info->until_us, in_us[i] ? rig.wall_us + in_us[i] : 0);
    }
    call_fini(&call);
    rig_settle(&rig, &stream, SETTLE_ACK);
}

Test(queue_list, keeps_to_its_range)
{
    put_three();
    claim_and(SETTLE_NACK, item_id(2, 0)); /* touched */
    ids_expect(READY, item_id(1, 1), 0, "1.1 1.2 2.0 2.1 3.0 ");
    ids_expect(READY, item_id(1, 2), item_id(2, 1), "1.2 2.0 ");
    ids_expect(READY, item_id(1, 3), item_id(2, 0), "");
    ids_expect(READY, item_id(2, 1), item_id(3, 0), "2.1 ");
    ids_expect(READY, item_id(3, 1), 0, "");
    ids_expect(READY, item_id(BATCH_NUMBER_MAX, 0), 0, "");
    for (uint64_t batch = 1; batch <= 2; batch++) {
        ids_expect(READY, item_id(batch, 1), item_id(batch, 2), batch == 1 ? "1.1 " : "2.1 ");
        ids_expect(READY, item_id(batch, 7), item_id(batch, 8), "");
    }
}

Test(queue_list, goes_on_where_the_page_before_ended)
{
    static const char *const pages[] = {"1.0 1.1 ", "1.2 2.0 ", "2.1 3.0 ", ""};
    struct call call;
    uint64_t from = 0;

    put_three();
    claim_and(SETTLE_NACK, item_id(2, 0));
    for (int i = 0; i < 4; i++) {
        call_list(&call, READY, from, 0, 2);
        list_expect(&call, pages[i]);
        cr_assert_eq(call.request.out.list.next == 0, i == 3);
        from = call.request.out.list.next;
        call_fini(&call);
    }
}

Test(queue_list, brings_the_bytes_of_the_first_item)
{
    struct call call;

    put_three();
    for (int tracked = 0; tracked < 2; tracked++) {
        call_list(&call, READY, item_id(1, 1), 0, 3);
        call.request.in.list.bytes = true;
        list_expect(&call, "1.1 1.2 2.0 ");
        cr_assert_eq(call.request.out.list.len, 2);
        cr_assert_eq(memcmp(call.request.out.list.data, "bb", 2), 0);
        call_fini(&call);

        call_list(&call, READY, item_id(2, 0), item_id(2, 1), 1); /* an empty one */
        call.request.in.list.bytes = true;
        list_expect(&call, "2.0 ");
        cr_assert_eq(call.request.out.list.len, 0);
        call_fini(&call);
        claim_and(SETTLE_NACK, item_id(1, 0));
        claim_and(SETTLE_NACK, item_id(2, 0));
    }
    call_list(&call, DEAD, 0, 0, 1);
    call.request.in.list.bytes = true;
    list_expect(&call, "");
    cr_assert_eq(call.request.out.list.len, 0);
    call_fini(&call);
}

static uint8_t reply_bytes[16];
static bool no_buffer;

static uint8_t *reply_buffer(struct request *request, size_t size)
{
    (void)request;
    cr_assert_eq(size, 3);
    return no_buffer ? NULL : reply_bytes;
}

Test(queue_list, lays_its_bytes_where_the_caller_says)
{
    struct call call;

    put_three();
    for (int i = 0; i < 2; i++) {
        call_list(&call, READY, item_id(1, 2), 0, 3);
        call.request.in.list.bytes = true;
        call.request.reply_buffer = reply_buffer;
        no_buffer = i == 1;
        if (no_buffer) {
            cr_assert_eq(call_run(&rig, &call), -ENOMEM);
            cr_assert_eq(call.request.out.list.n_items, 0);
            cr_assert_null(call.request.out.list.data);
        } else {
            list_expect(&call, "1.2 2.0 2.1 ");
            cr_assert_eq(call.request.out.list.data, reply_bytes);
            cr_assert_eq(memcmp(reply_bytes, "ccc", 3), 0);
        }
        call_fini(&call);
    }
}

Test(queue_list, shows_items_of_a_length_table)
{
    static const uint8_t blob[] = "\x02\0\0\0\0\0\0\0\x03\0\0\0aaccc";
    struct call put, call;

    call_put(&put, queue, 1, 1, "x\n");
    put.request.in.put.batch = (struct batch_view){FRAMING_FILE, 3, blob, 17, crc32c(blob, 17), 0};
    cr_assert_eq(call_run(&rig, &put), 0);
    for (int tracked = 0; tracked < 2; tracked++) {
        call_list(&call, READY, item_id(1, tracked ? 2 : 0), 0, 9);
        call.request.in.list.bytes = true;
        list_expect(&call, tracked ? "1.2 " : "1.0 1.1 1.2 ");
        cr_assert_eq(memcmp(call.request.out.list.data, tracked ? "ccc" : "aa", tracked ? 3 : 2),
                     0);
        cr_assert_eq(call.request.out.list.items[0].size, tracked ? 3 : 2);
        call_fini(&call);
        claim_and(SETTLE_NACK, item_id(1, 0));
    }
}

Test(queue_list, of_nonsense_is_refused)
{
    struct call call;

    call_list(&call, 0, 0, 0, 1);
    cr_assert_eq(call_run(&rig, &call), -EPROTO);
    call_list(&call, 1 << ITEM_DONE, 0, 0, 1);
    cr_assert_eq(call_run(&rig, &call), -EPROTO);
    call_list(&call, READY, 0, 0, 0);
    cr_assert_eq(call_run(&rig, &call), -EPROTO);
    call_list(&call, READY, 7, 7, 1);
    cr_assert_eq(call_run(&rig, &call), -EPROTO);
    call_list(&call, READY, 0, 0, 1);
    call.request.queue++;
    cr_assert_eq(call_run(&rig, &call), -ENOENT);
}

/* ---- what is committed ---- */

Test(queue_list, waits_for_the_store_to_have_what_it_shows)
{
    struct settlement drop = {SETTLE_DROP, 1, 0, 1, 0};
    struct call call, settle;

    put_three();
    rig.faulty.commit_error = -ENOSPC;
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = &drop;
    settle.request.in.settle.n_items = 1;
    call_submit(&rig, &settle);
    call_list(&call, READY, 0, 0, 2);
    call_submit(&rig, &call);
    service_round(rig.service);
    cr_assert_eq(call.n_done, 0);
    rig.faulty.commit_error = 0;
    rig_advance(&rig, SERVICE_RETRY_US);
    cr_assert_eq(settle.n_done, 1);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.request.out.list.items[0].id, item_id(1, 1));
    call_fini(&call);
}

Test(queue_list, sees_what_came_in_the_same_round)
{
    struct settlement drop = {SETTLE_DROP, 1, 0, 1, 0};
    struct call call, settle, put;

    put_three();
    call_list(&call, READY, 0, 0, 9);
    call_submit(&rig, &call);
    call_put(&put, queue, 1, 7, "f\n");
    call_submit(&rig, &put);
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = &drop;
    settle.request.in.settle.n_items = 1;
    call_submit(&rig, &settle);
    service_round(rig.service);
    cr_assert_eq(call.request.out.list.n_items, 6);
    cr_assert_eq(call.request.out.list.items[5].id, item_id(4, 0));
    call_fini(&call);
}

Test(queue_list, that_still_waits_is_answered_when_the_service_ends)
{
    struct settlement drop = {SETTLE_DROP, 1, 0, 1, 0};
    struct call call, settle;

    put_three();
    rig.faulty.commit_error = -ENOSPC;
    call_init(&settle, REQUEST_SETTLE, queue, 1);
    settle.request.in.settle.items = &drop;
    settle.request.in.settle.n_items = 1;
    call_submit(&rig, &settle);
    call_list(&call, READY, 0, 0, 2);
    call_submit(&rig, &call);
    service_round(rig.service);
    service_stop(rig.service);
    cr_assert_eq(settle.n_done, 1);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.request.status, -ESHUTDOWN);
    call_fini(&call);
}

/* ---- damage ---- */

Test(queue_list, leaves_out_what_cannot_be_read)
{
    struct call call;

    put_three();
    rig.faulty.damaged = 2;
    ids_expect(READY, 0, 0, "1.0 1.1 1.2 3.0 ");
    ids_expect(READY, item_id(2, 0), item_id(2, 1), "");
    rig.faulty.damaged = 0;
    claim_and(SETTLE_BURY, item_id(1, 0));
    rig.faulty.damaged = 1;
    rig_restart(&rig, 0);
    ids_expect(READY | DEAD, 0, 0, "2.0 2.1 3.0 ");
    rig.faulty.read_error = -EIO;
    call_list(&call, READY, 0, 0, 9);
    cr_assert_eq(call_run(&rig, &call), -EIO);
    cr_assert_eq(call.request.out.list.n_items, 0);
    call_fini(&call);
}

/* The batch that a page ended in has gone when the next page is asked for. */
Test(queue_list, goes_on_behind_a_batch_that_has_gone)
{
    put_three();
    ids_expect(READY, item_id(2, 0), item_id(2, 1), "2.0 ");
    claim_and(SETTLE_ACK, item_id(2, 0));
    claim_and(SETTLE_ACK, item_id(2, 1));
    ids_expect(READY, item_id(2, 0), 0, "3.0 ");
}

/* ---- what it costs ---- */

static void put_many(unsigned n)
{
    for (unsigned i = 1; i <= n; i++)
        cr_assert_eq(rig_put(&rig, queue, 1, i, "x\n"), 0);
}

Test(queue_list, reads_only_the_batches_it_shows)
{
    struct call call;

    put_many(2000);
    rig.faulty.n_reads = 0;
    call_list(&call, READY, 0, 0, 10);
    cr_assert_eq(call_run(&rig, &call), 0);
    cr_assert_leq(rig.faulty.n_reads, 11);
    call_fini(&call);

    rig.faulty.n_reads = 0;
    ids_expect(READY, item_id(1500, 0), item_id(1500, 1), "1500.0 ");
    cr_assert_leq(rig.faulty.n_reads, 2);
    rig.faulty.n_reads = 0;
    ids_expect(DEAD | DELAYED, 0, 0, "");
    cr_assert_leq(rig.faulty.n_reads, 1); /* the state tells the age of the oldest */
}

Test(queue_list, does_a_bounded_piece_of_work)
{
    struct call call;
    uint64_t from = 0;
    unsigned n = 0, pages = 0;

    put_many(3000);
    do {
        rig.faulty.n_reads = 0;
        call_list(&call, READY, from, 0, REQUEST_ITEMS_MAX);
        cr_assert_eq(call_run(&rig, &call), 0);
        cr_assert_leq(rig.faulty.n_reads, 1100);
        n += (unsigned)call.request.out.list.n_items;
        from = call.request.out.list.next;
        pages++;
        call_fini(&call);
    } while (from);
    cr_assert_eq(n, 3000);
    cr_assert_eq(pages, 3);
}

Test(queue_list, reads_a_bounded_number_of_bytes)
{
    static char text[(4 << 20) + 1];
    struct call call;
    uint64_t from = 0;
    unsigned n = 0, pages = 0;

    memset(text, 'x', sizeof(text) - 2);
    text[sizeof(text) - 2] = '\n';
    for (unsigned i = 1; i <= 9; i++) {
        struct queue_settings settings = rig_settings();

        settings.max_item_size = 8 << 20;
        service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN);
        cr_assert_eq(rig_put(&rig, queue, 1, i, text), 0);
    }
    do {
        call_list(&call, READY, from, 0, 100);
        cr_assert_eq(call_run(&rig, &call), 0);
        cr_assert_leq(call.request.out.list.n_items, 4);
        n += (unsigned)call.request.out.list.n_items;
        from = call.request.out.list.next;
        pages++;
        call_fini(&call);
    } while (from);
    cr_assert_eq(n, 9);
    cr_assert_leq(pages, 4);
}
