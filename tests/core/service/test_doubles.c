/* Two that put and ask under one id: neither gets lost, and no item is given to both. */
#include "tests/core/service/service_rig.h"

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

TestSuite(doubles, .init = setup, .fini = teardown, .timeout = 10);

/* Items `text` from `base` on, of one whose items before were `before`. */
static int send(uint64_t base, const char *before, const char *text, bool repeat,
                struct request *answer)
{
    struct call call;
    int rc;

    call_put_after(&call, queue, 1, base, before, text);
    call.request.repeat = repeat;
    rc = call_run(&rig, &call);
    call_fini(&call);
    if (answer)
        *answer = call.request;
    return rc;
}

static void stored(const char *expected)
{
    struct call get;

    stream_expect(&rig, &get, queue, 1000, expected);
    call_fini(&get);
}

Test(doubles, first_send_of_what_is_stored_is_refused)
{
    cr_assert_eq(send(1, "", "a\nb\n", false, NULL), 0);
    cr_assert_eq(send(1, "", "a\nb\n", false, NULL), -ENOTUNIQ, "whole");
    cr_assert_eq(send(1, "", "a\nb\nc\n", false, NULL), -ENOTUNIQ, "in part");
    cr_assert_eq(send(2, "a\n", "x\n", false, NULL), -ENOTUNIQ, "other bytes");
    stored("a\nb\n");
}

Test(doubles, other_bytes_under_stored_numbers_are_refused_to_a_repeat_too)
{
    cr_assert_eq(send(1, "", "a\nb\n", false, NULL), 0);
    cr_assert_eq(send(1, "", "a\nx\n", true, NULL), -ENOTUNIQ, "whole");
    cr_assert_eq(send(1, "", "a\nx\nc\n", true, NULL), -ENOTUNIQ, "in part");
    cr_assert_eq(send(2, "x\n", "b\nc\n", true, NULL), -ENOTUNIQ, "what was before is another's");
    cr_assert_eq(send(1, "", "a\nb\n", true, NULL), 0);
    cr_assert_eq(send(2, "a\n", "b\nc\n", true, NULL), 0);
    stored("a\nb\nc\n");
}

/* The second one's next batch fits behind the first one's, and is not its continuation. */
Test(doubles, what_continues_other_items_is_not_stored)
{
    cr_assert_eq(send(1, "", "a\n", false, NULL), 0);
    cr_assert_eq(send(2, "x\n", "y\n", false, NULL), -ENOTUNIQ);
    cr_assert_eq(send(2, "a\n", "b\n", false, NULL), 0);
    stored("a\nb\n");
}

/* A repeat that ends below what is stored is told what that is. */
Test(doubles, answer_tells_the_chain_of_what_is_stored)
{
    struct batch_view all = {.data = (const uint8_t *)"a\nb\nc\n", .len = 6};
    struct request answer;

    all.crc = crc32c(all.data, all.len);
    cr_assert_eq(send(1, "", "a\n", false, NULL), 0);
    cr_assert_eq(send(2, "a\n", "b\nc\n", false, NULL), 0);
    cr_assert_eq(send(1, "", "x\n", true, &answer), 0);
    cr_assert_eq(answer.out.put.last, 3);
    cr_assert_eq(answer.out.put.chain, chain_append(0, &all));
}

Test(doubles, all_of_it_holds_after_a_restart)
{
    struct request answer;

    cr_assert_eq(send(1, "", "a\nb\n", false, NULL), 0);
    rig_restart(&rig, SECOND);
    cr_assert_eq(send(1, "", "a\nx\n", true, NULL), -ENOTUNIQ);
    cr_assert_eq(send(1, "", "a\nb\n", false, NULL), -ENOTUNIQ);
    cr_assert_eq(send(3, "a\nx\n", "c\n", false, NULL), -ENOTUNIQ);
    cr_assert_eq(send(1, "", "a\nb\n", true, &answer), 0);
    cr_assert_eq(answer.out.put.n_repeats, 2);
    stored("a\nb\n");
}

Test(doubles, two_gets_of_one_number_are_not_given_one_item)
{
    struct call first, second, again;

    cr_assert_eq(send(1, "", "a\nb\n", false, NULL), 0);
    call_get(&first, GET_CLAIM, queue, 1, 1);
    first.request.number = 7;
    first.speaks = true;
    get_expect(&rig, &first, "a\n");
    call_get(&second, GET_CLAIM, queue, 1, 1);
    second.request.number = 7;
    second.speaks = true;
    cr_assert_eq(call_run(&rig, &second), -ENOTUNIQ);
    cr_assert_eq(second.request.out.get.n_grants, 0);
    call_fini(&second);
    call_get(&again, GET_CLAIM, queue, 1, 1);
    again.request.number = 7;
    again.request.repeat = again.speaks = true;
    get_expect(&rig, &again, "a\n");
    call_fini(&first);
    call_fini(&again);
}

Test(doubles, request_for_another_life_does_nothing)
{
    struct call call;
    struct queue_settings settings = rig_settings();

    call_put(&call, queue, 1, 1, "a\n");
    call.request.life = rig.service->options.id + 1;
    cr_assert_eq(call_run(&rig, &call), -EREMCHG);
    cr_assert_eq(call.request.position, 0);
    cr_assert_eq(call.request.state.revision, 0);
    call_init(&call, REQUEST_MAKE, 0, 1);
    call.request.life = rig.service->options.id + 1;
    call.request.in.make.name = "other";
    call.request.in.make.settings = &settings;
    cr_assert_eq(call_run(&rig, &call), -EREMCHG);
    cr_assert_null(service_find_name(rig.service, "other"));
    stored("");
}

static void sync_with(uint64_t life, struct request *answer)
{
    struct call call;

    call_init(&call, REQUEST_SYNC, 0, 1);
    call.request.life = life;
    cr_assert_eq(call_run(&rig, &call), 0);
    *answer = call.request;
    call_fini(&call);
}

Test(doubles, sync_tells_store_life_and_how_far_the_one_before_came)
{
    struct request first, then, unknown;
    uint64_t life = rig.service->options.id, position;
    struct call put;

    sync_with(life, &first);
    cr_assert_eq(first.out.sync.life, life);
    call_put(&put, queue, 1, 1, "a\n");
    cr_assert_eq(call_run(&rig, &put), 0);
    position = put.request.position;
    cr_assert_gt(position, first.position);
    rig_restart(&rig, SECOND);
    sync_with(life, &then);
    cr_assert_eq(memcmp(&then.out.sync.store, &first.out.sync.store, sizeof(struct store_id)), 0);
    cr_assert_neq(then.out.sync.life, life);
    cr_assert_eq(then.out.sync.reached, position);
    cr_assert_gt(then.position, position);
    sync_with(12345, &unknown);
    cr_assert_eq(unknown.out.sync.reached, 0);
}

Test(doubles, lives_are_kept_up_to_a_limit)
{
    uint64_t life = rig.service->options.id;
    struct request answer;

    for (int i = 1; i < LINEAGE_LIVES; i++)
        rig_restart(&rig, 0);
    sync_with(life, &answer);
    cr_assert_gt(answer.out.sync.reached, 0);
    rig_restart(&rig, 0);
    sync_with(life, &answer);
    cr_assert_eq(answer.out.sync.reached, 0);
}

Test(doubles, damaged_identity_is_a_new_one)
{
    struct store *store = rig.faulty.real;
    struct request before, after;
    uint8_t bytes[4096];
    const void *row;
    size_t len;

    sync_with(1, &before);
    cr_assert_eq(store->ops->identity_get(store, &row, &len), 0);
    memcpy(bytes, row, len);
    bytes[9] ^= 1;
    cr_assert_eq(store->ops->begin(store), 0);
    cr_assert_eq(store->ops->identity_put(store, bytes, len), 0);
    cr_assert_eq(store->ops->commit(store), 0);
    rig_restart(&rig, 0);
    sync_with(before.out.sync.life, &after);
    cr_assert_neq(memcmp(&before.out.sync.store, &after.out.sync.store, sizeof(struct store_id)),
                  0);
    cr_assert_eq(after.out.sync.reached, 0);
}
