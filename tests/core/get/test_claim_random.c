/*
 * Claimers that do anything, and a service that answers late, in any order, after it was asked
 * twice, or only after it has failed. At every moment what the mount holds is leased to it by the
 * service, for at least as long as the mount believes; each item that was acknowledged in time is
 * gone, and none is lost.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/get/consumer_rig.h"

#define READERS  6
#define STEPS    20000
#define REQUESTS 65536

struct user {
    struct reader *r;
    struct call read, close;
    bool reading, closing;
};

struct world {
    struct rig rig;
    struct user users[READERS];
    struct claim *open; /* one item that is being read; NULL: none */
    uint64_t next_batch;
    bool executed[REQUESTS];   /* by number */
    uint64_t n_late[REQUESTS]; /* what a settlement was answered */
    uint64_t n_given, n_settled, n_renewed;
    uint64_t seed;
};

static unsigned chance(struct world *w, unsigned n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->seed >> 33) % n;
}

/* ---- the service ---- */

static void execute(struct world *w, struct request *request)
{
    cr_assert_lt(request->number, REQUESTS);
    if (request->kind == REQUEST_SETTLE && w->executed[request->number]) {
        request->out.settle.n_late = w->n_late[request->number];
        return;
    }
    rig_execute(&w->rig, request);
    w->executed[request->number] = true;
    if (request->kind == REQUEST_SETTLE)
        w->n_late[request->number] = request->out.settle.n_late;
}

static void serve(struct world *w, bool kindly)
{
    size_t i = kindly ? 0 : chance(w, (unsigned)w->rig.n_sent);
    struct request *request = w->rig.sent[i];

    if (!kindly && chance(w, 8) == 0) {
        execute(w, request); /* and the answer was lost: the client asks once more */
        request_release(request);
        request->n_retries++;
        request->sent_us = w->rig.now_us;
        return;
    }
    if (!kindly && chance(w, 10) == 0) {
        rig_answer(&w->rig, i, -EIO, false);
        return;
    }
    execute(w, request);
    rig_answer(&w->rig, i, 0, false);
}

/* ---- the users ---- */

static void read_some(struct world *w, struct user *u)
{
    if (!u->r)
        u->r = rig_reader(&w->rig, 1 + chance(w, 20), chance(w, 3) ? 0 : TIME_FOREVER);
    call_init(&u->read, &w->rig);
    u->reading = true;
    rig_read(&w->rig, u->r, &u->read, chance(w, 2) ? BULK : 4096, u->r->pos);
}

static void end_read(struct world *w, struct user *u)
{
    u->reading = false;
    if (u->read.result > 0)
        w->n_given += (uint64_t)u->read.result / CLAIM_LINE;
    call_fini(&u->read);
}

static void begin_leave(struct world *w, struct user *u)
{
    call_init(&u->close, &w->rig);
    u->closing = true;
    rig_close(&w->rig, u->r, &u->close);
}

static void leave(struct world *w, struct user *u)
{
    if (u->closing)
        op_cancel(&u->close.op);
    call_fini(&u->close);
    u->closing = false;
    rig_release(&w->rig, u->r);
    u->r = NULL;
}

static void use(struct world *w, struct user *u)
{
    if (u->closing) {
        if (u->close.done || chance(w, 4) == 0)
            leave(w, u);
        return;
    }
    if (u->reading && !u->read.done && chance(w, 4) == 0)
        op_cancel(&u->read.op);
    if (u->reading && u->read.done)
        end_read(w, u);
    else if (!u->reading && u->r && chance(w, 3) == 0)
        begin_leave(w, u);
    else if (!u->reading)
        read_some(w, u);
}

/* The id of any item that is held, or 0. */
static uint64_t any_held(struct world *w)
{
    struct item_info info;
    uint64_t from = item_id(1 + chance(w, (unsigned)w->next_batch + 1), 0);

    if (claims_list(consumer_claims(w->rig.c), from, w->rig.now_us, 0, &info, 1) == 1)
        return info.id;
    return 0;
}

static void settle(struct world *w)
{
    const enum settle_verb verbs[] = {SETTLE_ACK, SETTLE_NACK, SETTLE_BURY};
    enum settle_verb verb = chance(w, 4) ? SETTLE_RENEW : verbs[chance(w, 3)];
    uint64_t id = any_held(w);

    if (!id)
        return;
    cr_assert_eq(rig_hold(&w->rig, id, verb), 0);
    w->n_settled++;
    w->n_renewed += verb == SETTLE_RENEW;
}

static void open_or_close(struct world *w)
{
    struct claims *set = (struct claims *)consumer_claims(w->rig.c);
    uint64_t id = any_held(w);

    if (w->open)
        claims_close(set, w->open, w->rig.now_us);
    w->open = NULL;
    if (id)
        cr_assert_eq(claims_open(set, id, w->rig.now_us, &w->open), 0);
}

/* ---- what must be so ---- */

static struct item *item_of(struct world *w, uint64_t id)
{
    size_t i;

    for (i = 0; i < w->rig.n_items; i++)
        if (item_id(w->rig.items[i].batch, w->rig.items[i].index) == id)
            return &w->rig.items[i];
    cr_assert_fail("an item that never was");
    return NULL;
}

static void check(struct world *w)
{
    struct item_info infos[64];
    size_t n, i;

    n = claims_list(consumer_claims(w->rig.c), 0, w->rig.now_us, w->rig.now_us, infos, 64);
    for (i = 0; i < n; i++) {
        const struct item *item = item_of(w, infos[i].id);

        cr_assert_eq(item->state, ITEM_LEASED, "held, and not leased");
        cr_assert_geq(item->until_us, infos[i].until_us, "held for longer than leased");
    }
}

static void step(struct world *w)
{
    unsigned what = chance(w, 20);

    if (what < 7)
        use(w, &w->users[chance(w, READERS)]);
    else if (what < 12 && w->rig.n_sent > 0)
        serve(w, false);
    else if (what < 15)
        settle(w);
    else if (what == 15)
        open_or_close(w);
    else if (what == 16 && chance(w, 2) == 0)
        rig_put_many(&w->rig, w->next_batch++, 1 + chance(w, 5), 8);
    else if (what == 17)
        rig_tell(&w->rig);
    else
        rig_pass(&w->rig, chance(w, 3) ? chance(w, 10000) : chance(w, 300000));
    rig_expire(&w->rig);
    check(w);
}

static void settle_down(struct world *w)
{
    while (w->rig.n_sent > 0)
        serve(w, true);
}

static void finish(struct world *w)
{
    size_t i;

    if (w->open)
        claims_close((struct claims *)consumer_claims(w->rig.c), w->open, w->rig.now_us);
    for (i = 0; i < READERS; i++) {
        struct user *u = &w->users[i];

        if (u->reading && !u->read.done)
            op_cancel(&u->read.op);
        if (u->reading)
            end_read(w, u);
        if (u->r)
            leave(w, u);
    }
    rig_end(&w->rig, -ESHUTDOWN);
    do {
        settle_down(w);
        rig_pass(&w->rig, 3000000);
    } while (w->rig.n_sent > 0);
    rig_expire(&w->rig);
    cr_assert_eq(rig_count(&w->rig, ITEM_LEASED), 0, "all came back");
    cr_assert_eq(rig_count(&w->rig, ITEM_READY) + rig_count(&w->rig, ITEM_DONE) +
                     rig_count(&w->rig, ITEM_DEAD),
                 w->rig.n_items);
}

static void play(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));
    int i;

    cr_assert_not_null(w);
    w->seed = seed;
    w->next_batch = 1;
    rig_init_claims(&w->rig);
    w->rig.settings.own.lease_us = 1000000;
    w->rig.settings.own.lease_max_us = 2500000;
    for (i = 0; i < STEPS; i++)
        step(w);
    finish(w);
    cr_assert_gt(w->n_given, 100);
    cr_assert_gt(w->n_settled, 100);
    cr_assert_gt(w->n_renewed, 100);
    rig_fini(&w->rig);
    free(w);
}

Test(claim_random, what_is_held_is_leased, .timeout = 100)
{
    uint64_t seed;

    for (seed = 1; seed <= 10; seed++)
        play(seed);
}
