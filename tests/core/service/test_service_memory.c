/*
 * A day in the life of a service, with each allocation failing once: every request either succeeds
 * or is -ENOMEM and succeeds when it comes again, and in the end all is as if nothing had failed.
 * Linked with --wrap for the allocator.
 */
#include "tests/core/service/service_rig.h"

#include "core/clock.h"

static long left = -1; /* allocations until one fails; -1: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool fails(void)
{
    return left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

static struct rig rig;
static uint64_t number;

/* Submit until it is answered something else than -ENOMEM, as a client does. */
static void run(struct call *call, bool numbered)
{
    for (int i = 0; i < 3; i++) {
        call->request.number = numbered ? ++number : 0;
        call->n_done = 0;
        call_submit(&rig, call);
        service_round(rig.service);
        for (int k = 0; k < 5 && call->n_done == 0; k++)
            rig_advance(&rig, SERVICE_RETRY_US);
        cr_assert_eq(call->n_done, 1);
        if (call->request.status != -ENOMEM)
            break;
        call_fini(call);
    }
    cr_assert_eq(call->request.status, 0);
}

static uint64_t make_queue(const struct queue_settings *settings)
{
    struct call call;

    call_init(&call, REQUEST_MAKE, 0, 1);
    call.request.in.make.name = "q";
    call.request.in.make.settings = settings;
    run(&call, true);
    return call.request.out.make.entry.number;
}

static void put(uint64_t queue, uint64_t base, const char *text)
{
    struct call call;

    call_put(&call, queue, 1, base, text);
    run(&call, false);
}

static void get(struct call *call, enum get_kind kind, uint64_t queue, uint32_t max_items,
                const char *expected)
{
    call_get(call, kind, queue, 1, max_items);
    call->request.in.get.arm = true;
    run(call, true);
    cr_assert_eq(call->request.out.get.len, strlen(expected));
    if (*expected)
        cr_assert_eq(memcmp(call->request.out.get.data, expected, strlen(expected)), 0);
}

static void settle(struct call *got, enum settle_verb verb)
{
    struct settlement s = settlement_of(verb, &got->request.out.get.grants[0]);
    struct call call;

    call_fini(got);
    call_init(&call, REQUEST_SETTLE, got->request.queue, 1);
    call.request.in.settle.items = &s;
    call.request.in.settle.n_items = 1;
    run(&call, true);
    cr_assert_eq(call.request.out.settle.n_late, 0);
}

static void sync_and_watch(void)
{
    struct call call;

    call_init(&call, REQUEST_SYNC, 0, 1);
    run(&call, false);
    cr_assert_eq(call.request.out.sync.n_entries, 1);
    call_fini(&call);
    call_init(&call, REQUEST_WATCH, 0, 1);
    run(&call, false);
    cr_assert_eq(call.request.out.watch.n_events, 1);
    call_fini(&call);
}

static void purge_and_remove(uint64_t queue)
{
    struct call call;

    call_init(&call, REQUEST_PURGE, queue, 1);
    run(&call, true);
    cr_assert_geq(call.request.out.purge.n_items, 1); /* one that failed may have done the other */
    call_init(&call, REQUEST_REMOVE, queue, 1);
    run(&call, true);
}

static void settle_free(uint64_t queue, enum settle_verb verb, uint64_t id)
{
    uint32_t from = item_index(id);
    struct settlement s = {verb, item_batch(id), from, from + 1, 0};
    struct call call;

    call_init(&call, REQUEST_SETTLE, queue, 1);
    call.request.in.settle.items = &s;
    call.request.in.settle.n_items = 1;
    run(&call, true);
    cr_assert_eq(call.request.out.settle.n_late, 0);
}

static void list(uint64_t queue, uint32_t states, uint64_t from, uint32_t n, const char *first)
{
    struct call call;

    call_init(&call, REQUEST_LIST, queue, 1);
    call.request.in.list.states = states;
    call.request.in.list.from = from;
    call.request.in.list.max_items = 100;
    call.request.in.list.bytes = true;
    run(&call, false);
    cr_assert_eq(call.request.out.list.n_items, n);
    cr_assert_eq(call.request.out.list.len, strlen(first));
    if (*first)
        cr_assert_eq(memcmp(call.request.out.list.data, first, strlen(first)), 0);
    call_fini(&call);
}

/* By id, in batches that nobody has touched. */
static void some_items(uint64_t queue)
{
    struct call call;

    put(queue, 1, "a\nb\nc\nd\n");
    put(queue, 5, "ee\nff\ngg\nhh\n");
    list(queue, 1 << ITEM_READY, item_id(2, 1), 3, "ff");
    settle_free(queue, SETTLE_DROP, item_id(2, 2));
    call_get(&call, GET_CLAIM, queue, 1, 1);
    call.request.in.get.item = item_id(1, 2);
    run(&call, true);
    cr_assert_eq(memcmp(call.request.out.get.data, "c\n", 2), 0);
    settle(&call, SETTLE_BURY);
    list(queue, 1 << ITEM_READY, 0, 6, "a");
    list(queue, 1 << ITEM_DEAD, 0, 1, "c");
    settle_free(queue, SETTLE_REVIVE, item_id(1, 2));
    list(queue, 1 << ITEM_DEAD, 0, 0, "");
    list(queue, 1 << ITEM_READY, item_id(1, 2), 5, "c");
}

static void restart(void)
{
    struct service_options options = {
        .store = &rig.faulty.base, .clock = &rig.clock, .id = ++rig.lives * 1000};
    int rc;

    service_free(rig.service);
    rc = service_new(&options, &rig.service);
    if (rc == -ENOMEM)
        rc = service_new(&options, &rig.service);
    cr_assert_eq(rc, 0);
}

static void day(void)
{
    struct queue_settings settings = rig_settings();
    struct call first, second;
    uint64_t queue;

    settings.maxsize = 5;
    queue = make_queue(&settings);
    get(&first, GET_STREAM, queue, 1, "");
    put(queue, 1, "a\nb\nc\nd\n");
    sync_and_watch();
    put(queue, 4, "d\ne\nf\n"); /* one a repeat, one too many */
    get(&first, GET_STREAM, queue, 2, "a\nb\n");
    get(&second, GET_CLAIM, queue, 1, "c\n");
    settle(&first, SETTLE_ACK);
    settle(&second, SETTLE_NACK);
    restart();
    cr_assert_eq(rig_state(&rig, queue).depth, 3);
    cr_assert_eq(rig_state(&rig, queue).depth_bytes, 3);
    get(&second, GET_CLAIM, queue, 1, "c\n");
    cr_assert_eq(second.request.out.get.grants[0].deliveries, 1);
    settle(&second, SETTLE_ACK);
    purge_and_remove(queue);
    settings.maxsize = 0;
    queue = make_queue(&settings);
    cr_assert_eq(rig_state(&rig, queue).depth, 0);
    some_items(queue);
    cr_assert_eq(rig_state(&rig, queue).depth, 7);
}

Test(service_memory, each_allocation_fails_once_and_nothing_is_lost, .timeout = 100)
{
    long n = 0;
    bool failed = true;

    for (; failed; n++) {
        rig_init(&rig);
        number = 0;
        left = n;
        day();
        failed = left < 0;
        left = -1;
        rig_fini(&rig);
    }
    cr_assert_gt(n, 50);
}
