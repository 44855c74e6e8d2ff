/*
 * The service against a model that keeps every item by itself and does the obvious: random puts,
 * gets, claims of one item, settlements, lists, pauses, restarts. After each step the counters must
 * be the model's, each get must bring exactly the lowest ready items, a list shows every item as it
 * is, and in the end nothing is lost or doubled.
 */
#include "tests/core/service/service_model.h"

#define GRANTS_KEPT 64
#define STEPS       6000

static unsigned n_serials;
static uint64_t next_batch = 1, last_of[SESSIONS];
static struct settlement kept[GRANTS_KEPT];
static uint8_t kept_by[GRANTS_KEPT]; /* sessions */

static unsigned rnd(unsigned below)
{
    return (unsigned)random() % below;
}

static void check_counters(void)
{
    uint64_t n[ITEM_STATES] = {0}, bytes[ITEM_STATES] = {0};
    struct queue_state state = rig_state(&rig, queue);
    struct queue *q = service_find(rig.service, queue);

    for (unsigned i = first_live; i < n_items; i++) {
        n[items[i].state]++;
        bytes[items[i].state] += items[i].len;
    }
    cr_assert_eq(state.depth, n[ITEM_READY]);
    cr_assert_eq(state.depth_bytes, bytes[ITEM_READY]);
    cr_assert_eq(state.leased, n[ITEM_LEASED]);
    cr_assert_eq(state.delayed, n[ITEM_DELAYED]);
    cr_assert_eq(state.dead, n[ITEM_DEAD]);
    cr_assert_eq(queue_has_ready(q), n[ITEM_READY] > 0);
    cr_assert_eq(q->n_unreachable, 0);
}

/* ---- steps ---- */

static void heard(uint8_t session)
{
    heard_us[session] = rig.now_us;
}

static size_t print_item(char *out, unsigned serial)
{
    return (size_t)sprintf(out, "%0*u", (int)(5 + serial % 7), serial);
}

/* By session and number, the latest ones: some of the text may be a repeat of them. */
static unsigned serials[SESSIONS][64];

static void step_put(void)
{
    uint8_t session = (uint8_t)rnd(SESSIONS);
    unsigned n = 1 + rnd(20), repeats = rnd(4) == 0 ? rnd(5) : 0, stored, live = 0;
    char text[512], *at = text;
    struct call put;

    if (repeats > last_of[session])
        repeats = (unsigned)last_of[session];
    for (unsigned i = 0; i < n; i++) {
        uint64_t at_number = (last_of[session] + 1 - repeats + i) % 64;

        if (i >= repeats)
            serials[session][at_number] = n_serials + i - repeats;
        at += print_item(at, serials[session][at_number]);
        *at++ = '\n';
    }
    *at = '\0';
    call_put(&put, queue, session, last_of[session] + 1 - repeats, text);
    rig.faulty.put_error = rnd(10) == 0 ? -ENOSPC : 0;
    model_tick();
    heard(session);
    call_run(&rig, &put);

    for (unsigned i = first_live; i < n_items; i++)
        live += items[i].state < ITEM_DEAD;
    stored = repeats < n ? n - repeats : 0;
    if (settings.maxsize && live + stored > settings.maxsize)
        stored = live < settings.maxsize ? (unsigned)settings.maxsize - live : 0;
    if (stored && rig.faulty.put_error) {
        cr_assert_eq(put.request.status, -ENOSPC);
        stored = 0;
    } else {
        cr_assert_eq(put.request.status, 0);
        cr_assert_eq(put.request.out.put.last, last_of[session] + stored);
    }
    rig.faulty.put_error = 0;
    for (unsigned i = 0; i < stored; i++, n_serials++) {
        char printed[32];

        cr_assert_lt(n_items, ITEMS_MAX);
        items[n_items++] = (struct item){.batch = next_batch,
                                         .index = i,
                                         .serial = n_serials,
                                         .len = print_item(printed, n_serials),
                                         .put_us = rig.wall_us};
    }
    next_batch += stored > 0;
    last_of[session] += stored;
}

static void keep(const struct grant *grant, uint8_t session)
{
    unsigned at = rnd(GRANTS_KEPT);

    kept[at] = settlement_of(SETTLE_ACK, grant);
    kept_by[at] = session;
}

/* All that fits was given; a stream's batch that does not fit is left whole where less than half of
 * the room is left. */
static void expect_no_more(const struct item *next, enum get_kind kind, unsigned given, size_t room,
                           size_t all)
{
    if (next && kind == GET_STREAM && given > 0 && next->index == 0 && room < all / 2)
        return;
    cr_assert_null(next);
}

static void step_get(void)
{
    uint8_t session = (uint8_t)rnd(SESSIONS);
    uint32_t max_items = 1 + rnd(40);
    size_t room = rnd(2) ? rnd(200) : 100000;
    enum get_kind kind = rnd(2) ? GET_STREAM : GET_CLAIM;
    unsigned at, given = 0;
    struct call get;

    call_get(&get, kind, queue, session, max_items);
    get.request.in.get.max_bytes = room;
    model_tick();
    heard(session);
    cr_assert_eq(call_run(&rig, &get), 0);
    at = first_live;
    for (size_t g = 0; g < get.request.out.get.n_grants; g++) {
        const struct grant *grant = &get.request.out.get.grants[g];
        const char *bytes = (const char *)get.request.out.get.data + grant->offset;

        for (uint32_t i = grant->from; i < grant->to; i++, given++) {
            struct item *item = model_next(&at, given, max_items, &room);
            char printed[32];

            cr_assert(item && item->batch == grant->batch && item->index == i);
            print_item(printed, item->serial);
            cr_assert_eq(memcmp(bytes, printed, item->len), 0);
            cr_assert_eq(bytes[item->len], '\n');
            bytes += item->len + 1;
            model_lease(item, grant, kind, session);
        }
        keep(grant, session);
    }
    expect_no_more(model_next(&at, given, max_items, &room), kind, given, room,
                   get.request.in.get.max_bytes);
    call_fini(&get);
}

/* One that there is, or was, or (sometimes) never will be. */
static uint64_t random_id(void)
{
    const struct item *item = &items[n_items > 0 ? first_live + rnd(n_items - first_live + 1) : 0];

    if (rnd(20) == 0 || item >= items + n_items)
        return item_id(1 + rnd((unsigned)next_batch + 1), rnd(30));
    return item_id(item->batch, item->index);
}

static void step_claim(void)
{
    uint64_t id = random_id();
    uint8_t session = (uint8_t)rnd(SESSIONS);
    struct item *item;
    struct call get;

    call_get(&get, GET_CLAIM, queue, session, 1 + rnd(3));
    get.request.in.get.item = id;
    model_tick();
    heard(session);
    cr_assert_eq(call_run(&rig, &get), 0);
    item = find_item(item_batch(id), item_index(id));
    if (item && (item->state == ITEM_READY || item->state == ITEM_DELAYED)) {
        const struct grant *grant = get.request.out.get.grants;

        cr_assert_eq(get.request.out.get.n_grants, 1);
        cr_assert_eq(item_id(grant->batch, grant->from), id);
        cr_assert_eq(grant->to, grant->from + 1);
        cr_assert_eq(get.request.out.get.len, item->len + 1);
        model_lease(item, grant, GET_CLAIM, session);
        keep(grant, session);
    } else {
        cr_assert_eq(get.request.out.get.n_grants, 0);
    }
    call_fini(&get);
}

static void settle_and_compare(const struct settlement *s, uint8_t session)
{
    int64_t n_late = 0;

    model_tick();
    heard(session);
    for (uint32_t i = s->from; i < s->to; i++) {
        struct item *item = find_item(s->batch, i);

        if (item && model_concerns(s, item) && (s->verb > SETTLE_BURY || item->session == session))
            model_settle(item, s->verb);
        else
            n_late++;
    }
    cr_assert_eq(rig_settle_as(&rig, queue, session, *s), n_late);
}

static void step_settle(void)
{
    unsigned at = rnd(GRANTS_KEPT);
    struct settlement s = kept[at];

    if (s.batch == 0)
        return;
    s.verb = rnd(3) ? SETTLE_ACK : (enum settle_verb)rnd(SETTLE_BURY + 1);
    if (rnd(3) == 0) {
        s.from += rnd(s.to - s.from);
        s.to = s.from + 1 + rnd(s.to - s.from);
    }
    /* Whoever holds it, and now and then somebody else. */
    settle_and_compare(&s, rnd(8) ? kept_by[at] : (uint8_t)rnd(SESSIONS));
}

static bool in_one_batch(const struct settlement *s)
{
    return find_item(s->batch, s->to - 1) != NULL;
}

/* Of items that nobody has leased: any batch, also one that was never touched. */
static void step_settle_free(void)
{
    uint64_t id = random_id();
    struct settlement s = {.verb = SETTLE_DROP + rnd(3), .batch = item_batch(id)};

    if (s.verb != SETTLE_DROP && first_live < n_items) {
        for (unsigned i = first_live; i < n_items; i++) {
            if (items[i].state == ITEM_DEAD && rnd(3) == 0)
                id = item_id(items[i].batch, items[i].index);
        }
        s.batch = item_batch(id);
    }
    s.from = item_index(id);
    s.to = s.from + 1 + (rnd(3) ? 0 : rnd(6));
    if (!in_one_batch(&s)) /* a range that goes beyond its batch is late as a whole */
        s.to = s.from + 1;
    settle_and_compare(&s, 1);
}

static void check_info(const struct item_info *info, const struct item *item)
{
    bool claim = item->state == ITEM_LEASED && item->kind == GET_CLAIM;
    int64_t until_us = 0;

    if (claim || item->state == ITEM_DELAYED)
        until_us = item->when_us - rig.now_us + rig.wall_us;
    cr_assert_eq(info->id, item_id(item->batch, item->index));
    cr_assert_eq(info->size, item->len);
    cr_assert_eq(info->state, item->state);
    cr_assert_eq(info->deliveries, item->deliveries + claim);
    cr_assert_eq(info->put_time_us, item->put_us);
    cr_assert_eq(info->until_us, until_us);
}

static void check_bytes(const struct request *list, const struct item *first)
{
    char printed[32];

    print_item(printed, first->serial);
    cr_assert_eq(list->out.list.len, first->len);
    cr_assert_eq(memcmp(list->out.list.data, printed, first->len), 0);
}

/* Page by page, to the end. */
static void step_list(void)
{
    uint64_t from = rnd(2) ? random_id() : 0, to = rnd(2) ? from + 1 + rnd(1 << 26) : 0;
    uint32_t max = 1 + rnd(rnd(2) ? 20 : 4000);
    unsigned at = first_live;
    bool bytes = rnd(2), more = true;
    uint32_t states = 1 + rnd((1u << ITEM_DONE) - 1);

    model_tick();
    for (int page = 0; more; page++) {
        struct call list;
        const struct item_info *infos;

        call_init(&list, REQUEST_LIST, queue, 1);
        list.request.in.list.states = states;
        list.request.in.list.from = from;
        list.request.in.list.to = to;
        list.request.in.list.max_items = max;
        list.request.in.list.bytes = bytes;
        heard(1);
        cr_assert_eq(call_run(&rig, &list), 0);
        cr_assert_leq(list.request.out.list.n_items, max);
        infos = list.request.out.list.items;
        for (size_t i = 0; i < list.request.out.list.n_items; i++) {
            const struct item *item = model_listed(&at, &list.request);

            cr_assert_not_null(item);
            check_info(&infos[i], item);
            if (i == 0 && bytes)
                check_bytes(&list.request, item);
        }
        more = list.request.out.list.next != 0;
        if (more)
            cr_assert_gt(list.request.out.list.next, from);
        else
            cr_assert_null(model_listed(&at, &list.request));
        from = list.request.out.list.next;
        call_fini(&list);
        if (page == 30)
            return;
    }
}

static void step_pause(void)
{
    int64_t us = (int64_t)rnd(10) < 9 ? (int64_t)rnd(3000000) : (int64_t)rnd(40) * SECOND;

    rig_advance(&rig, us);
    model_tick();
}

static void step_restart(void)
{
    int64_t before_us = rig.now_us, down_us = (int64_t)rnd(5) * SECOND;

    rig_restart(&rig, down_us);
    memset(heard_us, 0, sizeof(heard_us));
    model_restart(before_us, down_us);
    rig_advance(&rig, 0);
    model_tick();
}

static void step_purge(void)
{
    struct call purge;
    uint64_t n = 0;

    model_tick();
    heard(1);
    for (unsigned i = first_live; i < n_items; i++) {
        if (items[i].state != ITEM_READY)
            continue;
        items[i].state = ITEM_DONE;
        n++;
    }
    call_init(&purge, REQUEST_PURGE, queue, 1);
    call_submit(&rig, &purge);
    while (!purge.n_done)
        service_round(rig.service);
    cr_assert_eq(purge.request.status, 0);
    cr_assert_eq(purge.request.out.purge.n_items, n);
}

static void step_maxsize(void)
{
    settings.maxsize = rnd(2) ? 0 : 300;
    service_set_queue(rig.service, service_find(rig.service, queue), &settings, SETTINGS_OWN);
}

static void step(void)
{
    unsigned what = rnd(1000);

    if (what < 300)
        step_put();
    else if (what < 480)
        step_get();
    else if (what < 530)
        step_claim();
    else if (what < 820)
        step_settle();
    else if (what < 900)
        step_settle_free();
    else if (what < 930)
        step_list();
    else if (what < 980)
        step_pause();
    else if (what < 992)
        step_restart();
    else if (what < 998)
        step_maxsize();
    else
        step_purge();
    check_counters();
}

/* Everything that is not dead comes out, once and in order. */
static void drain(void)
{
    step_restart();
    rig_advance(&rig, 700 * SECOND);
    model_tick();
    rig_advance(&rig, 700 * SECOND);
    model_tick();
    for (unsigned i = 0; i < 20000 && rig_state(&rig, queue).depth > 0; i++) {
        struct call get;
        unsigned at = first_live, given = 0;
        size_t room = 1 << 20;

        call_get(&get, GET_STREAM, queue, 1, 10);
        cr_assert_eq(call_run(&rig, &get), 0);
        for (size_t g = 0; g < get.request.out.get.n_grants; g++) {
            const struct grant *grant = &get.request.out.get.grants[g];

            for (uint32_t k = grant->from; k < grant->to; k++, given++) {
                struct item *item = model_next(&at, given, 10, &room);

                cr_assert(item && item->batch == grant->batch && item->index == k);
                item->state = ITEM_DONE;
            }
        }
        rig_settle(&rig, &get, SETTLE_ACK);
        model_tick();
    }
    check_counters();
}

static void run(unsigned seed)
{
    srandom(seed);
    rig_init(&rig);
    settings = rig_settings();
    settings.lease_us = 2 * SECOND;
    settings.lease_max_us = 2 * SECOND + SECOND / 2;
    queue = rig_make(&rig, "q", &settings);
    for (int i = 0; i < STEPS; i++)
        step();
    drain();
    rig_fini(&rig);
}

Test(service_model, random_steps_agree_seed_1, .timeout = 120)
{
    run(1);
}

Test(service_model, random_steps_agree_seed_2, .timeout = 120)
{
    run(2);
}

Test(service_model, random_steps_agree_seed_3, .timeout = 120)
{
    run(3);
}
