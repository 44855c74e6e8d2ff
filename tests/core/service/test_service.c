/* Puts, queues, SYNC, the end and the thread. */
#include "tests/core/service/service_rig.h"

#include <stdatomic.h>
#include <unistd.h>

static struct rig rig;
static uint64_t queue;

static void setup(void)
{
    rig_init(&rig);
    queue = rig_make(&rig, "q", NULL);
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(service, .init = setup, .fini = teardown, .timeout = 20);

static void set_maxsize(int64_t maxsize)
{
    struct queue_settings settings = rig_settings();

    settings.maxsize = maxsize;
    cr_assert_eq(
        service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN),
        0);
}

static void drain_expect(const char *expected)
{
    struct call get;

    call_get(&get, GET_STREAM, queue, 1, 1000);
    get_expect(&rig, &get, expected);
    rig_settle(&rig, &get, SETTLE_ACK);
}

/* ---- puts ---- */

Test(service, repeated_put_is_stored_once)
{
    struct call put;

    cr_assert_eq(rig_put(&rig, queue, 1, 1, "a\nb\n"), 0);
    call_put(&put, queue, 1, 1, "a\nb\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.last, 2);
    cr_assert_eq(put.request.out.put.n_repeats, 2);
    call_put(&put, queue, 1, 2, "b\nc\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.n_repeats, 1);
    cr_assert_eq(put.request.out.put.last, 3);
    cr_assert_eq(put.request.state.total_puts, 3);
    cr_assert_eq(put.request.state.batch_puts, 2);
    drain_expect("a\nb\nc\n");
}

Test(service, repeated_put_after_a_restart_is_stored_once)
{
    struct call put;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    rig_restart(&rig, SECOND);
    call_put(&put, queue, 1, 1, "a\nb\nc\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.n_repeats, 2);
    drain_expect("a\nb\nc\n");
}

Test(service, puts_out_of_order_are_stored_in_order)
{
    struct call puts[3];

    call_put_after(&puts[2], queue, 1, 4, "a\nb\nc\n", "d\n");
    call_put_after(&puts[1], queue, 1, 3, "a\nb\n", "c\n");
    call_put(&puts[0], queue, 1, 1, "a\nb\n");
    call_submit(&rig, &puts[2]);
    service_round(rig.service);
    call_submit(&rig, &puts[1]);
    service_round(rig.service);
    cr_assert(puts[2].n_done == 0 && puts[1].n_done == 0);
    call_submit(&rig, &puts[0]);
    service_round(rig.service);
    for (int i = 0; i < 3; i++)
        cr_assert(puts[i].n_done == 1 && puts[i].request.status == 0);
    cr_assert_eq(puts[2].request.out.put.last, 4);
    drain_expect("a\nb\nc\nd\n");
}

Test(service, put_behind_a_gap_is_answered_after_a_second)
{
    struct call put;

    rig_put(&rig, queue, 1, 1, "a\n");
    call_put(&put, queue, 1, 3, "c\n");
    call_submit(&rig, &put);
    service_round(rig.service);
    cr_assert_eq(service_deadline(rig.service), rig.now_us + SECOND);
    rig_advance(&rig, SECOND - 1);
    cr_assert_eq(put.n_done, 0);
    rig_advance(&rig, 1);
    cr_assert_eq(put.n_done, 1);
    cr_assert_eq(put.request.status, 0);
    cr_assert_eq(put.request.out.put.last, 1);
    cr_assert_not(put.request.out.put.full);
}

Test(service, older_epoch_is_refused_and_a_newer_one_begins_at_its_base)
{
    struct call put;

    call_put(&put, queue, 1, 1, "a\n");
    put.request.in.put.epoch = 2;
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(rig_put(&rig, queue, 1, 2, "x\n"), -ESTALE);
    call_put(&put, queue, 1, 50, "b\n");
    put.request.in.put.epoch = 3;
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.last, 50);
    drain_expect("a\nb\n");
}

Test(service, full_queue_takes_what_fits_and_uses_up_nothing)
{
    struct call put, get, late;

    set_maxsize(3);
    call_put(&put, queue, 1, 1, "a\nb\nc\nd\ne\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert(put.request.out.put.full);
    cr_assert_eq(put.request.out.put.last, 3);
    cr_assert_eq(put.request.state.depth, 3);
    call_put(&late, queue, 1, 6, "f\n"); /* behind the gap: answered at once */
    cr_assert_eq(call_run(&rig, &late), 0);
    cr_assert(late.request.out.put.full);
    cr_assert_eq(late.request.out.put.last, 3);

    stream_expect(&rig, &get, queue, 1, "a\n");
    rig_settle(&rig, &get, SETTLE_ACK);
    call_put(&put, queue, 1, 1, "a\nb\nc\nd\ne\n"); /* a retry of the whole */
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.n_repeats, 3);
    cr_assert_eq(put.request.out.put.last, 4);
    drain_expect("b\nc\nd\n");
    call_put(&put, queue, 1, 5, "e\nf\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_not(put.request.out.put.full);
    drain_expect("e\nf\n");
}

Test(service, full_queue_cuts_a_length_table)
{
    static const uint8_t blob[] = "\x02\0\0\0\x01\0\0\0\x03\0\0\0aabccc";
    struct call put, get;

    set_maxsize(2);
    call_put(&put, queue, 1, 1, "x\n");
    put.request.in.put.batch = (struct batch_view){FRAMING_FILE, 3, blob, 18, crc32c(blob, 18), 0};
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.last, 2);
    call_get(&get, GET_STREAM, queue, 1, 9);
    cr_assert_eq(call_run(&rig, &get), 0);
    cr_assert_eq(get.request.out.get.len, 11);
    cr_assert_eq(memcmp(get.request.out.get.data, "\x02\0\0\0\x01\0\0\0aab", 11), 0);
    rig_settle(&rig, &get, SETTLE_ACK);
}

Test(service, bad_puts_are_refused_whole)
{
    struct queue_settings settings = rig_settings();
    struct call put;

    settings.max_item_size = 2;
    service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN);
    cr_assert_eq(rig_put(&rig, queue, 1, 1, "aa\nbbb\n"), -EMSGSIZE);
    cr_assert_eq(rig_put(&rig, queue, 1, 1, "aa\nbb\n"), 0);
    call_put(&put, queue, 1, 3, "a\n");
    put.request.in.put.batch.crc++;
    cr_assert_eq(call_run(&rig, &put), -EBADMSG);
    call_put(&put, queue, 1, 3, "a\n");
    put.request.in.put.batch.n_items = 2;
    cr_assert_eq(call_run(&rig, &put), -EPROTO);
    cr_assert_eq(rig_put(&rig, queue, 1, 0, "a\n"), -EPROTO);
    cr_assert_eq(rig_put(&rig, queue, 1, UINT64_MAX, "a\n"), -EPROTO);
    cr_assert_eq(rig_put(&rig, queue + 9, 1, 3, "a\n"), -ENOENT);
    drain_expect("aa\nbb\n");
}

Test(service, puts_of_a_round_share_one_commit)
{
    struct call puts[20];
    unsigned commits;

    for (uint8_t i = 0; i < 20; i++) {
        call_put(&puts[i], queue, i, 1, "a\n");
        call_submit(&rig, &puts[i]);
    }
    commits = rig.faulty.n_commits;
    service_round(rig.service);
    cr_assert_eq(rig.faulty.n_commits, commits + 1);
    for (int i = 0; i < 20; i++)
        cr_assert(puts[i].n_done == 1 && puts[i].request.status == 0);
    cr_assert_eq(rig_state(&rig, queue).depth, 20);
}

Test(service, producers_unused_for_a_day_of_service_are_forgotten)
{
    struct queue *q = service_find(rig.service, queue);

    rig_put(&rig, queue, 1, 1, "a\n");
    cr_assert_not(RB_EMPTY(&q->sequences));
    rig_advance(&rig, SEQUENCE_KEEP_US - SECOND);
    cr_assert_not(RB_EMPTY(&q->sequences));
    rig_advance(&rig, 2 * SECOND + SERVICE_SWEEP_US);
    cr_assert(RB_EMPTY(&q->sequences));
    drain_expect("a\n");
}

/* A clock that is set forward, or a service that was down, makes nobody old. */
Test(service, retry_after_three_days_on_the_clock_is_stored_once)
{
    struct call put;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    rig_restart(&rig, 3 * SEQUENCE_KEEP_US);
    call_put(&put, queue, 1, 1, "a\nb\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.n_repeats, 2);
    rig.wall_us += 3 * SEQUENCE_KEEP_US;
    rig_advance(&rig, 2 * SERVICE_SWEEP_US);
    call_put(&put, queue, 1, 1, "a\nb\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.n_repeats, 2);
    drain_expect("a\nb\n");
}

Test(service, nobody_is_forgotten_for_hours_after_a_start)
{
    struct queue *q;

    rig_put(&rig, queue, 1, 1, "a\n");
    for (int i = 0; i < 23; i++)
        rig_advance(&rig, SERVICE_SWEEP_US);
    rig_restart(&rig, SECOND);
    q = service_find(rig.service, queue);
    rig_advance(&rig, 3 * SERVICE_SWEEP_US);
    cr_assert_not(RB_EMPTY(&q->sequences));
    rig_advance(&rig, SERVICE_AMNESTY_US);
    rig_advance(&rig, SERVICE_SWEEP_US);
    cr_assert(RB_EMPTY(&q->sequences), "what has run before a start counts");
    drain_expect("a\n");
}

/* A full store has what it has. */
Test(service, retry_of_what_a_full_store_has_is_answered)
{
    struct call put;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    rig.faulty.full = true;
    call_put(&put, queue, 1, 1, "a\nb\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    cr_assert_eq(put.request.out.put.last, 2);
    cr_assert_eq(rig_put(&rig, queue, 1, 2, "b\nc\n"), -ENOSPC);
    rig.faulty.full = false;
    cr_assert_eq(rig_put(&rig, queue, 1, 2, "b\nc\n"), 0);
    drain_expect("a\nb\nc\n");
}

/* ---- queues ---- */

static int make(const char *name, const struct queue_settings *settings, bool may_exist)
{
    struct call call;

    call_init(&call, REQUEST_MAKE, 0, 1);
    call.request.in.make.name = name;
    call.request.in.make.settings = settings;
    call.request.in.make.may_exist = may_exist;
    return call_run(&rig, &call);
}

Test(service, make_checks_name_settings_and_existence)
{
    struct queue_settings settings = rig_settings();

    cr_assert_eq(make("q", &settings, false), -EEXIST);
    cr_assert_eq(make("q", &settings, true), 0);
    cr_assert_eq(make("stats", &settings, true), -EINVAL);
    cr_assert_eq(make("-", &settings, true), -EINVAL);
    settings.lease_max_us = settings.lease_us - 1;
    cr_assert_eq(make("r", &settings, false), -EINVAL);
}

Test(service, remove_needs_an_empty_queue_and_numbers_are_not_used_again)
{
    struct call call, get;

    rig_put(&rig, queue, 1, 1, "a\n");
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), -ENOTEMPTY);
    stream_expect(&rig, &get, queue, 1, "a\n");
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), -ENOTEMPTY);
    rig_settle(&rig, &get, SETTLE_ACK);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
    rig_restart(&rig, 0);
    cr_assert_null(service_find_name(rig.service, "q"));
    cr_assert_gt(rig_make(&rig, "q", NULL), queue);
}

Test(service, remove_answers_puts_that_are_held)
{
    struct call put, call;

    call_put(&put, queue, 1, 5, "a\n");
    call_submit(&rig, &put);
    service_round(rig.service);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
    cr_assert_eq(put.n_done, 1);
    cr_assert_eq(put.request.status, -ENOENT);
}

Test(service, set_is_checked_stored_and_told)
{
    struct queue_settings settings = rig_settings();
    struct call call;

    settings.maxsize = 77;
    call_init(&call, REQUEST_SET, queue, 1);
    call.request.in.set.settings = &settings;
    call.request.in.set.fields = SETTINGS_OWN;
    cr_assert_eq(call_run(&rig, &call), 0);
    cr_assert_eq(call.request.out.make.entry.settings.maxsize, 77);
    settings.max_deliveries = 0;
    call.n_done = 0;
    cr_assert_eq(call_run(&rig, &call), -EINVAL);
    rig_restart(&rig, 0);
    cr_assert_eq(service_find(rig.service, queue)->record.settings.maxsize, 77);
    cr_assert_eq(service_find(rig.service, queue)->record.settings.max_deliveries, 5);
}

/* What is not named stays, whatever the one who asks believes it to be; all of it is judged. */
Test(service, set_changes_what_it_names)
{
    struct queue_settings settings = rig_settings();
    struct call call;

    settings.mode = 0640;
    settings.lease_us = 100;
    call_init(&call, REQUEST_SET, queue, 1);
    call.request.in.set.settings = &settings;
    call.request.in.set.fields = setting_bit(setting_find("mode"));
    cr_assert_eq(call_run(&rig, &call), 0);
    cr_assert_eq(call.request.out.make.entry.settings.mode, 0640);
    cr_assert_eq(call.request.out.make.entry.settings.lease_us, rig_settings().lease_us);
    settings.lease_us = rig_settings().lease_max_us + 1;
    settings.lease_max_us = 2 * settings.lease_us;
    call.request.in.set.fields = setting_bit(setting_find("lease"));
    call.n_done = 0;
    cr_assert_eq(call_run(&rig, &call), -EINVAL);
    call.request.in.set.fields |= setting_bit(setting_find("lease_max"));
    call.n_done = 0;
    cr_assert_eq(call_run(&rig, &call), 0);
    call.request.in.set.fields = SETTINGS_OWN + 1;
    call.n_done = 0;
    cr_assert_eq(call_run(&rig, &call), -EINVAL);
}

Test(service, ensured_queue_is_made_or_set)
{
    const uint64_t maxsize = setting_bit(setting_find("maxsize"));
    struct queue_settings settings = rig_settings();
    const int64_t mode = settings.mode;

    settings.maxsize = 5;
    cr_assert_eq(service_ensure_queue(rig.service, "q", &settings, maxsize), 0);
    cr_assert_eq(service_ensure_queue(rig.service, "r", &settings, maxsize), 0);
    settings.maxsize = 6;
    settings.mode = 0;
    cr_assert_eq(service_ensure_queue(rig.service, "r", &settings, maxsize), 0);
    cr_assert_eq(service_ensure_queue(rig.service, "config", &settings, 0), -EINVAL);
    rig_restart(&rig, 0);
    cr_assert_eq(service_find_name(rig.service, "q")->record.settings.maxsize, 5);
    cr_assert_eq(service_find_name(rig.service, "r")->record.settings.maxsize, 6);
    cr_assert_eq(service_find_name(rig.service, "r")->record.settings.mode, mode);
}

/* ---- SYNC ---- */

static void sync_run(struct call *call, uint64_t since)
{
    call_init(call, REQUEST_SYNC, 0, 1);
    call->request.in.sync.since = since;
    cr_assert_eq(call_run(&rig, call), 0);
}

Test(service, sync_tells_what_has_changed_since)
{
    uint64_t other = rig_make(&rig, "other", NULL), until;
    struct call sync, call;

    sync_run(&sync, 0);
    cr_assert_eq(sync.request.out.sync.n_entries, 2);
    cr_assert_not(sync.request.out.sync.full);
    until = sync.request.out.sync.until;
    call_fini(&sync);
    sync_run(&sync, until);
    cr_assert_eq(sync.request.out.sync.n_entries, 0);

    rig_put(&rig, other, 1, 1, "a\n");
    sync_run(&sync, until);
    cr_assert_eq(sync.request.out.sync.n_entries, 1);
    cr_assert_eq(sync.request.out.sync.entries[0].number, other);
    cr_assert_eq(sync.request.out.sync.entries[0].state.depth, 1);
    until = sync.request.out.sync.until;
    call_fini(&sync);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
    sync_run(&sync, until);
    cr_assert_eq(sync.request.out.sync.n_entries, 1);
    cr_assert(sync.request.out.sync.entries[0].gone);
    cr_assert_str_eq(sync.request.out.sync.entries[0].name, "q");
    call_fini(&sync);
}

Test(service, sync_of_what_is_not_remembered_asks_for_everything)
{
    struct call sync, call;
    uint64_t until;

    sync_run(&sync, 0);
    until = sync.request.out.sync.until;
    call_fini(&sync);
    sync_run(&sync, until + 1);
    cr_assert(sync.request.out.sync.full);
    cr_assert_eq(sync.request.out.sync.n_entries, 0);

    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
    rig_advance(&rig, SERVICE_TOMBSTONE_US);
    queue = rig_make(&rig, "r", NULL);
    call_init(&call, REQUEST_REMOVE, queue, 1);
    cr_assert_eq(call_run(&rig, &call), 0);
    sync_run(&sync, until);
    cr_assert(sync.request.out.sync.full);
    rig_restart(&rig, SECOND);
    sync_run(&sync, until);
    cr_assert(sync.request.out.sync.full);
}

Test(service, sync_of_many_queues_comes_in_parts)
{
    char name[16];
    struct call sync;
    uint64_t until;

    for (int i = 0; i < REQUEST_ENTRIES_MAX; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        rig_make(&rig, name, NULL);
    }
    sync_run(&sync, 0);
    cr_assert_eq(sync.request.out.sync.n_entries, REQUEST_ENTRIES_MAX);
    cr_assert(sync.request.out.sync.more);
    until = sync.request.out.sync.until;
    call_fini(&sync);
    sync_run(&sync, until);
    cr_assert_eq(sync.request.out.sync.n_entries, 1);
    cr_assert_not(sync.request.out.sync.more);
    call_fini(&sync);
}

/* ---- the end ---- */

Test(service, stop_answers_what_is_parked_and_refuses_what_comes)
{
    struct call watch, held, put;

    call_init(&watch, REQUEST_WATCH, 0, 1);
    watch.request.in.watch.wait_us = 10 * SECOND;
    call_submit(&rig, &watch);
    call_put(&held, queue, 1, 9, "x\n");
    call_submit(&rig, &held);
    service_round(rig.service);
    call_put(&put, queue, 1, 1, "a\n");
    call_submit(&rig, &put);
    service_stop(rig.service);
    cr_assert(put.n_done == 1 && put.request.status == 0);
    cr_assert(watch.n_done == 1 && watch.request.status == -ESHUTDOWN);
    cr_assert(held.n_done == 1 && held.request.status == -ESHUTDOWN);
    call_put(&put, queue, 1, 2, "b\n");
    call_submit(&rig, &put);
    cr_assert(put.n_done == 1 && put.request.status == -ESHUTDOWN);
    service_stop(rig.service);
}

Test(service, counters_outlive_a_stop)
{
    struct call get;

    rig_put(&rig, queue, 1, 1, "a\nb\n");
    stream_expect(&rig, &get, queue, 1, "a\n");
    call_fini(&get);
    service_free(rig.service);
    rig_start(&rig);
    cr_assert_eq(rig_state(&rig, queue).total_gets, 1);
    cr_assert_eq(rig_state(&rig, queue).depth, 2);
}

/* ---- the thread ---- */

static atomic_uint n_answered;

static void threaded_done(struct request *request)
{
    request_release(request);
    atomic_fetch_add(&n_answered, 1);
}

/* Puts to and gets from a running service: one of eight such threads. */
static void *client_run(void *arg)
{
    static const char text[] = "a\nb\n";
    struct backend *backend = service_backend(rig.service);
    struct call *calls = arg;
    uint64_t chain = 0;

    for (uint64_t i = 0; i < 500; i++) {
        struct call *call = &calls[i];

        if (i % 2 == 0)
            call_put(call, queue, calls[0].request.session.bytes[0], i + 1, text);
        else
            call_get(call, GET_STREAM, queue, 9, 3);
        call->request.life = rig.service->options.id;
        if (i % 2 == 0) {
            call->request.in.put.chain = chain;
            chain = chain_append(chain, &call->request.in.put.batch);
        }
        call->request.done = threaded_done;
        backend->submit(backend, &call->request);
    }
    return NULL;
}

Test(service, thread_answers_every_request_of_many_threads_once)
{
    static struct call calls[8][500];
    pthread_t threads[8];

    rig_fini(&rig);
    rig_init(&rig);
    rig.service->options.clock = &clock_system;
    queue = rig_make(&rig, "q", NULL);
    cr_assert_eq(service_start(rig.service), 0);
    for (uint8_t i = 0; i < 8; i++) {
        calls[i][0].request.session = session_of((uint8_t)(i + 1));
        cr_assert_eq(pthread_create(&threads[i], NULL, client_run, calls[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    while (atomic_load(&n_answered) < 8 * 500)
        usleep(1000);
    service_stop(rig.service);
    cr_assert_eq(atomic_load(&n_answered), 8 * 500);
    cr_assert_eq(service_find(rig.service, queue)->record.total_puts, 8 * 500);
}

Test(service, thread_wakes_at_deadlines)
{
    struct call watch;

    rig.service->options.clock = &clock_system;
    service_round(rig.service);
    cr_assert_eq(service_start(rig.service), 0);
    call_init(&watch, REQUEST_WATCH, 0, 1);
    watch.request.in.watch.wait_us = 20000;
    watch.request.done = threaded_done;
    call_submit(&rig, &watch);
    while (atomic_load(&n_answered) == 0)
        usleep(1000);
    cr_assert_eq(watch.request.status, 0);
}
