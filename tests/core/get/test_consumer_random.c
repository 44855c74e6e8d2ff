/*
 * Readers that do anything, a service that answers in any order, late, or fails before or after it
 * has done what was asked: each item is given whole to exactly one reader and then acknowledged, or
 * it is ready again at the end. Where no item is larger than a read, items are given in order.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/get/consumer_rig.h"

#define READERS 6
#define STEPS   6000

struct user {
    struct reader *r;
    struct call read, close, peek;
    bool reading, closing, peeking;
    ssize_t size; /* that it was told and that holds; 0: none */
    int64_t pos;  /* before the read */
    char *text;   /* what it was given, from the offset 0 on */
    size_t len;
};

struct world {
    struct rig rig;
    struct user users[READERS];
    uint64_t next_batch;
    unsigned *given; /* times each item was given whole, by its number in rig.items */
    bool large;      /* there are items larger than some reads */
    size_t last;     /* the item given last */
    unsigned n_told; /* sizes */
    uint64_t seed;
};

static unsigned chance(struct world *w, unsigned n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->seed >> 33) % n;
}

/* ---- what was given ---- */

static size_t item_of(struct world *w, const char *line)
{
    unsigned long batch;
    unsigned index;
    size_t i;

    cr_assert_eq(sscanf(line, "%lu:%u", &batch, &index), 2);
    for (i = 0; i < w->rig.n_items; i++)
        if (w->rig.items[i].batch == batch && w->rig.items[i].index == index)
            return i;
    cr_assert_fail("an item that never was");
    return 0;
}

static void take_line(struct world *w, const char *line, size_t len)
{
    size_t i = item_of(w, line);

    cr_assert_eq(w->rig.items[i].len, len, "an item in pieces");
    cr_assert_eq(memcmp(w->rig.items[i].data, line, len), 0);
    w->given[i]++;
}

static void count_given(struct world *w, struct user *u)
{
    char *line = u->text, *end;

    while (line && (end = memchr(line, '\n', (size_t)(u->text + u->len - line)))) {
        take_line(w, line, (size_t)(end + 1 - line));
        line = end + 1;
    }
    free(u->text);
    u->text = NULL;
    u->len = 0;
    u->size = 0;
}

static void check_order(struct world *w, const struct call *call)
{
    const char *line;

    for (line = call->bytes; *line; line = strchr(line, '\n') + 1) {
        size_t i = item_of(w, line);

        cr_assert(i >= w->last, "item %zu after %zu", i, w->last);
        w->last = i + 1;
    }
}

static void read_ended(struct world *w, struct user *u)
{
    struct call *call = &u->read;

    u->reading = false;
    if (call->result > 0 && call->op.offset < u->pos) {
        cr_assert_eq(memcmp(u->text + call->op.offset, call->bytes, (size_t)call->result), 0);
    } else if (call->result > 0) {
        u->text = realloc(u->text, u->len + (size_t)call->result + 1);
        cr_assert_not_null(u->text);
        memcpy(u->text + u->len, call->bytes, (size_t)call->result);
        u->len += (size_t)call->result;
        u->text[u->len] = '\0';
        cr_assert(u->size == 0 || (ssize_t)u->len <= u->size, "more than was told");
    } else {
        cr_assert(call->result < 0 || u->size == 0 || (ssize_t)u->len == u->size,
                  "less than was told");
        cr_assert(call->result == 0 || call->result == -EINTR || call->result == -EAGAIN ||
                      call->result == -ETIMEDOUT || call->result == -EIO,
                  "got %zd", call->result);
    }
    call_fini(call);
}

static void peek_ended(struct world *w, struct user *u)
{
    u->peeking = false;
    if (u->peek.result > 0) {
        cr_assert(u->size == 0 || u->size == u->peek.result, "another size");
        cr_assert_geq(u->peek.result, (ssize_t)u->len);
        u->size = u->peek.result;
        w->n_told++;
    }
    call_fini(&u->peek);
}

/* In the order in which they ended. */
static void reap(struct world *w)
{
    for (;;) {
        struct user *first = NULL;
        size_t i;

        for (i = 0; i < READERS; i++) {
            struct user *u = &w->users[i];

            if (u->reading && u->read.done && (!first || u->read.serial < first->read.serial))
                first = u;
        }
        for (i = 0; i < READERS; i++)
            if (w->users[i].peeking && w->users[i].peek.done &&
                (!first || w->users[i].peek.serial < first->read.serial))
                peek_ended(w, &w->users[i]);
        if (!first)
            return;
        if (!w->large && first->read.op.offset == first->pos && first->read.result > 0)
            check_order(w, &first->read);
        read_ended(w, first);
    }
}

/* ---- what happens ---- */

static void put(struct world *w)
{
    uint32_t n = 1 + chance(w, 40);
    size_t len = w->large && chance(w, 4) == 0 ? 200 + chance(w, 300) : 12 + chance(w, 60);

    if (w->rig.n_items > 3000)
        return;
    rig_put_many(&w->rig, w->next_batch++, n, len);
    if (chance(w, 2))
        rig_tell(&w->rig);
}

static void begin_read(struct world *w, struct user *u)
{
    static const size_t small[] = {100, 128, 4096};
    size_t back = u->r->last ? u->r->last->len : 0;

    call_init(&u->read, &w->rig);
    u->read.op.nonblock = chance(w, 4) == 0;
    u->pos = u->r->pos;
    u->reading = true;
    rig_read(&w->rig, u->r, &u->read, chance(w, 2) ? BULK : small[chance(w, 3)],
             back > 0 && chance(w, 6) == 0 ? u->pos - 1 - chance(w, (unsigned)back) : u->pos);
}

static void begin_peek(struct world *w, struct user *u)
{
    call_init(&u->peek, &w->rig);
    u->peeking = true;
    rig_peek(&w->rig, u->r, &u->peek);
}

/* An item that it was only told of goes back. */
static void forget_size(struct user *u)
{
    if (u->r->partial.chunk && !u->r->partial.begun)
        u->size = 0;
}

static void begin_close(struct world *w, struct user *u)
{
    call_init(&u->close, &w->rig);
    u->closing = true;
    u->close.op.sharer = u->size > 0 && chance(w, 2);
    if (!u->close.op.sharer)
        forget_size(u);
    rig_close(&w->rig, u->r, &u->close);
}

static void leave(struct world *w, struct user *u)
{
    static const int64_t timeouts[] = {0, 0, 3000, 1500000, TIME_FOREVER};

    rig_release(&w->rig, u->r);
    count_given(w, u);
    u->r = rig_reader(&w->rig,
                      w->large && chance(w, 2) ? 1
                      : chance(w, 3)           ? READER_UNLIMITED
                                               : 1 + chance(w, 20),
                      timeouts[chance(w, 5)]);
}

static void act(struct world *w, struct user *u)
{
    if (u->closing && u->close.done) {
        u->closing = false;
        call_fini(&u->close);
        if (chance(w, 2))
            leave(w, u);
    } else if (u->reading && chance(w, 20) == 0) {
        op_cancel(&u->read.op);
    } else if (w->large && !u->closing && !u->peeking && chance(w, 3) == 0) {
        begin_peek(w, u);
    } else if (u->peeking && chance(w, 20) == 0) {
        op_cancel(&u->peek.op);
    } else if (w->large && !u->closing && chance(w, 20) == 0) {
        forget_size(u);
        rig_peek_no_more(&w->rig, u->r);
    } else if (!u->reading && !u->closing && chance(w, 12) == 0) {
        begin_close(w, u);
    } else if (!u->reading && !u->closing) {
        begin_read(w, u);
    }
}

static void answer(struct world *w)
{
    static const int failures[] = {-EIO, -ETIMEDOUT, -ESHUTDOWN};
    size_t i;
    int status;

    if (w->rig.n_sent == 0)
        return;
    i = chance(w, (unsigned)w->rig.n_sent);
    status = chance(w, 8) == 0 ? failures[chance(w, 3)] : 0;
    /* What failed was not done: copies of a request are the client's and the service's affair. */
    rig_answer(&w->rig, i, status, status == 0);
}

static void step(struct world *w)
{
    switch (chance(w, 8)) {
    case 0:
        put(w);
        break;
    case 1:
        rig_pass(&w->rig, chance(w, 10) == 0 ? chance(w, 2000000) : chance(w, 8000));
        break;
    case 2:
    case 3:
    case 4:
        answer(w);
        break;
    case 5:
        if (chance(w, 10) == 0)
            rig_changed(&w->rig, false);
        break;
    default:
        act(w, &w->users[chance(w, READERS)]);
        break;
    }
    reap(w);
}

static void finish(struct world *w)
{
    size_t i;

    for (i = 0; i < READERS; i++) {
        struct user *u = &w->users[i];

        if (u->reading)
            op_cancel(&u->read.op);
        if (u->peeking)
            op_cancel(&u->peek.op);
        reap(w);
        rig_release(&w->rig, u->r);
        count_given(w, u);
    }
    for (i = 0; i < 100; i++) {
        rig_settle_down(&w->rig);
        rig_pass(&w->rig, 100000);
    }
    for (i = 0; i < READERS; i++) {
        struct user *u = &w->users[i];

        cr_assert(!u->closing || u->close.done);
        call_fini(&u->close);
    }
}

/* How many sizes were told. */
static unsigned run(uint64_t seed, bool large)
{
    struct world *w = calloc(1, sizeof(*w));
    unsigned n_told;
    size_t i;

    w->seed = seed;
    w->large = large;
    w->next_batch = 1;
    w->given = calloc(4000, sizeof(*w->given));
    rig_init(&w->rig);
    for (i = 0; i < READERS; i++)
        w->users[i].r = rig_reader(&w->rig, READER_UNLIMITED, 0);
    for (i = 0; i < STEPS; i++)
        step(w);
    finish(w);
    for (i = 0; i < w->rig.n_items; i++) {
        cr_assert_eq(w->given[i], w->rig.items[i].state == ITEM_DONE,
                     "seed %lu: item %zu was given %u times, state %d", (unsigned long)seed, i,
                     w->given[i], w->rig.items[i].state);
        cr_assert_neq(w->rig.items[i].state, ITEM_LEASED);
    }
    cr_assert_gt(rig_count(&w->rig, ITEM_DONE), 500);
    cr_assert_eq(w->rig.n_late, 0);
    rig_fini(&w->rig);
    n_told = w->n_told;
    free(w->given);
    free(w);
    return n_told;
}

Test(consumer_random, small_items_are_given_once_and_in_order, .timeout = 120)
{
    uint64_t seed;

    for (seed = 1; seed <= 15; seed++)
        run(seed, false);
}

Test(consumer_random, items_larger_than_reads_are_given_once, .timeout = 120)
{
    unsigned n_told = 0;
    uint64_t seed;

    for (seed = 1; seed <= 15; seed++)
        n_told += run(seed, true);
    cr_assert_gt(n_told, 100);
}
