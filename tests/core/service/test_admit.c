/* Who may ask what: sessions and leases are of whoever began them. */
#include "tests/core/service/service_rig.h"

static struct rig rig;
static uint64_t queue;

static const struct identity alice = {.kind = IDENTITY_USER, .uid = 1000};
static const struct identity mallory = {.kind = IDENTITY_USER, .uid = 1001};
static const struct identity batch = {.kind = IDENTITY_CERTIFICATE, .cn = "batch"};
static const struct identity anybody = {.kind = IDENTITY_ANYBODY};

static void setup(void)
{
    rig_init(&rig);
    queue = rig_make(&rig, "q", NULL);
    rig_put(&rig, queue, 9, 1, "a\nb\nc\n");
}

static void teardown(void)
{
    rig_fini(&rig);
}

TestSuite(admit, .init = setup, .fini = teardown, .timeout = 20);

/* ---- leases ---- */

static struct settlement lend(enum get_kind kind, uint8_t session)
{
    struct settlement ack;
    struct call get;

    call_get(&get, kind, queue, session, 1);
    cr_assert_eq(call_run(&rig, &get), 0);
    cr_assert_eq(get.request.out.get.n_grants, 1);
    ack = settlement_of(SETTLE_ACK, &get.request.out.get.grants[0]);
    call_fini(&get);
    return ack;
}

/* How many were late. */
static uint64_t settle_as(uint8_t session, struct settlement settlement)
{
    struct call call;

    call_init(&call, REQUEST_SETTLE, queue, session);
    call.request.in.settle.items = &settlement;
    call.request.in.settle.n_items = 1;
    cr_assert_eq(call_run(&rig, &call), 0);
    call_fini(&call);
    return call.request.out.settle.n_late;
}

/* What SYNC tells of the service's life, and a token of one's own, tell nothing of the others. */
Test(admit, tokens_are_not_computed)
{
    struct settlement first = lend(GET_CLAIM, 1), guess = lend(GET_CLAIM, 2), own = guess;

    for (uint64_t i = 0; i < 1000; i++) {
        guess = first;
        guess.token = own.token + i - 500;
        cr_assert_eq(settle_as(2, guess), 1);
        guess.token = own.token ^ i;
        cr_assert_eq(settle_as(2, guess), 1);
    }
    cr_assert_eq(rig_state(&rig, queue).leased, 2);
    cr_assert_eq(settle_as(1, first), 0);
    cr_assert_eq(settle_as(2, own), 0);
}

static void only_the_holder_settles(enum get_kind kind, bool restart)
{
    static const enum settle_verb verbs[] = {SETTLE_ACK, SETTLE_RETURN, SETTLE_NACK, SETTLE_RENEW,
                                             SETTLE_BURY};
    struct settlement ack = lend(kind, 1), stolen = ack;

    if (restart)
        rig_restart(&rig, 0);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        stolen.verb = verbs[i];
        cr_assert_eq(settle_as(2, stolen), 1, "verb %d", verbs[i]);
    }
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    cr_assert_eq(settle_as(1, ack), 0);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
}

Test(admit, only_the_holder_settles_a_stream)
{
    only_the_holder_settles(GET_STREAM, false);
}

Test(admit, only_the_holder_settles_a_claim)
{
    only_the_holder_settles(GET_CLAIM, false);
}

Test(admit, only_the_holder_settles_a_claim_after_a_kill)
{
    only_the_holder_settles(GET_CLAIM, true);
}

/* ---- sessions ---- */

static int look_as(const struct identity *who, uint8_t session)
{
    struct call call;
    int rc;

    call_init(&call, REQUEST_SYNC, 0, session);
    call.request.asker = who;
    rc = call_run(&rig, &call);
    call_fini(&call);
    return rc;
}

Test(admit, a_session_is_its_first_askers)
{
    static const struct identity *const who[] = {&alice, &mallory, &batch, &anybody, NULL};

    for (uint8_t owner = 0; owner < 5; owner++) {
        cr_assert_eq(look_as(who[owner], 10 + owner), 0);
        for (uint8_t other = 0; other < 5; other++)
            cr_assert_eq(look_as(who[other], 10 + owner),
                         !who[other] || other == owner ? 0 : -EPERM, "%d as %d", other, owner);
    }
}

/* Whoever is refused keeps no session alive. */
Test(admit, a_session_that_has_ended_is_nobodys)
{
    cr_assert_eq(look_as(&alice, 10), 0);
    for (int64_t us = 0; us < SESSION_LIFE_US; us += SESSION_LIFE_US / 4) {
        cr_assert_eq(look_as(&mallory, 10), -EPERM);
        rig_advance(&rig, SESSION_LIFE_US / 4);
    }
    rig_advance(&rig, SESSION_LIFE_US / 4);
    cr_assert_eq(look_as(&mallory, 10), 0);
    cr_assert_eq(look_as(&alice, 10), -EPERM);
}

/* With the right session and the right token, but not the right name. */
Test(admit, nobody_acknowledges_in_anothers_name)
{
    struct settlement ack;
    struct call call;

    cr_assert_eq(look_as(&alice, 10), 0);
    call_get(&call, GET_STREAM, queue, 10, 1);
    call.request.asker = &alice;
    cr_assert_eq(call_run(&rig, &call), 0);
    ack = settlement_of(SETTLE_ACK, &call.request.out.get.grants[0]);
    call_fini(&call);
    call_init(&call, REQUEST_SETTLE, queue, 10);
    call.request.in.settle.items = &ack;
    call.request.in.settle.n_items = 1;
    call.request.asker = &mallory;
    cr_assert_eq(call_run(&rig, &call), -EPERM);
    cr_assert_eq(rig_state(&rig, queue).leased, 1);
    call_fini(&call);
    call.request.asker = &alice;
    call.n_done = 0;
    cr_assert_eq(call_run(&rig, &call), 0);
    cr_assert_eq(rig_state(&rig, queue).leased, 0);
    call_fini(&call);
}

/* ---- rights ---- */

static char *names[] = {(char *)"q", (char *)"img-*"};

/* One rule, for `who`. */
static void restrict_to(const struct identity *who, uint32_t may)
{
    static struct access_rule rule;
    static const struct access access = {&rule, 1};

    rule = (struct access_rule){.kind = who->kind,
                                .uid = who->uid,
                                .cn = (char *)who->cn,
                                .queues = names,
                                .n_queues = 2,
                                .may = may};
    rig.service->options.access = &access;
}

static int ask(enum request_kind kind, const struct identity *who, uint64_t of, const char *name,
               uint8_t session)
{
    static const struct settlement settlement = {SETTLE_DROP, 1, 0, 1, 0};
    struct queue_settings settings = rig_settings();
    struct call call;

    call_init(&call, kind, of, session);
    if (kind == REQUEST_PUT)
        call_put(&call, of, session, 1, "x\n");
    if (kind == REQUEST_GET)
        call_get(&call, GET_STREAM, of, session, 1);
    call.request.asker = who;
    if (kind == REQUEST_SETTLE)
        call.request.in.settle.items = &settlement;
    if (kind == REQUEST_SETTLE)
        call.request.in.settle.n_items = 1;
    if (kind == REQUEST_MAKE) {
        call.request.in.make.name = name;
        call.request.in.make.settings = &settings;
    }
    if (kind == REQUEST_SET)
        call.request.in.set.settings = &settings;
    if (kind == REQUEST_ARM)
        call.request.in.arm.kinds = EVENT_READY;
    if (kind == REQUEST_LIST) {
        call.request.in.list.states = 1 << ITEM_READY;
        call.request.in.list.max_items = 1;
    }
    call_submit(&rig, &call);
    for (int i = 0; i < 10 && call.n_done == 0; i++)
        service_round(rig.service);
    cr_assert_eq(call.n_done, 1);
    if (call.request.status == -EACCES)
        cr_assert_eq(call.request.state.revision, 0, "it is told how the queue is");
    call_fini(&call);
    return call.request.status;
}

static const struct {
    enum request_kind kind;
    uint32_t need;
} kinds[] = {{REQUEST_PUT, ACCESS_PUT},       {REQUEST_GET, ACCESS_GET},
             {REQUEST_SETTLE, ACCESS_GET},    {REQUEST_LIST, ACCESS_GET},
             {REQUEST_ARM, ACCESS_GET},       {REQUEST_SET, ACCESS_MANAGE},
             {REQUEST_PURGE, ACCESS_MANAGE},  {REQUEST_MAKE, ACCESS_MANAGE},
             {REQUEST_REMOVE, ACCESS_MANAGE}, {REQUEST_SYNC, 0}};

/* Each kind of request with each right, of a user and of a certificate; by whoever has none; and of
 * a queue that the rule is not for. */
Test(admit, each_cell_of_access)
{
    static const struct identity *const whom[] = {&alice, &batch};
    const uint64_t other = rig_make(&rig, "other", NULL);
    uint8_t session = 20;

    for (size_t w = 0; w < 2; w++) {
        for (uint32_t may = 1; may <= ACCESS_MANAGE; may <<= 1) {
            restrict_to(whom[w], may);
            for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++, session++) {
                const enum request_kind kind = kinds[k].kind;
                const bool allowed = !kinds[k].need || kinds[k].need == may;
                uint64_t of = kind == REQUEST_SYNC || kind == REQUEST_MAKE ? 0 : queue;

                cr_assert_eq(ask(kind, whom[w], of, "img-1", session) != -EACCES, allowed,
                             "kind %d with %u", kind, may);
                if (!kinds[k].need)
                    continue;
                cr_assert_eq(ask(kind, whom[w], of ? other : 0, "others", session), -EACCES);
                cr_assert_eq(ask(kind, &mallory, of, "img-2", (uint8_t)(session + 100)), -EACCES);
            }
        }
    }
    cr_assert_gt(rig_state(&rig, queue).refused_by_access, 0);
}

static size_t shown(const struct identity *who, uint8_t session, uint32_t *may)
{
    struct call call;
    size_t n;

    call_init(&call, REQUEST_SYNC, 0, session);
    call.request.asker = who;
    cr_assert_eq(call_run(&rig, &call), 0);
    n = call.request.out.sync.n_entries;
    *may = n > 0 ? call.request.out.sync.entries[0].may : 0;
    call_fini(&call);
    return n;
}

/* The others' names, and how full they are, are not for everybody. */
Test(admit, sync_tells_of_what_one_may)
{
    uint32_t may;

    rig_make(&rig, "other", NULL);
    restrict_to(&batch, ACCESS_PUT | ACCESS_MANAGE);
    cr_assert_eq(shown(&batch, 20, &may), 1);
    cr_assert_eq(may, ACCESS_PUT | ACCESS_MANAGE);
    cr_assert_eq(shown(&alice, 21, &may), 0);
    cr_assert_eq(shown(NULL, 22, &may), 2);
    cr_assert_eq(may, ACCESS_ALL);
}
