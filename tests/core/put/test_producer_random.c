/*
 * Several writers put random items in random pieces while the service answers late, out of order,
 * not at all, short, full or with faults. Whatever happens, each item is stored once, none is
 * mixed with another, and each writer's come in its order.
 */
#include "tests/core/put/producer_rig.h"

#include <stdio.h>

TestSuite(producer_random, .timeout = 120);

#define WRITERS 5

struct source {
    struct writer w;
    unsigned id;
    uint8_t *pending; /* made and not written yet */
    size_t pending_len, written;
    unsigned n_made, n_seen;
    struct call call;
    bool writing;
};

struct run {
    struct rig rig;
    struct source sources[WRITERS];
    uint8_t separator;
    uint64_t random;
};

static uint32_t pick(struct run *run, uint32_t below)
{
    run->random = run->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(run->random >> 33) % below;
}

/* Item n of a source: its name and filling whose length follows from both. */
static size_t item_text(unsigned source, unsigned n, uint8_t *text)
{
    size_t len = (size_t)sprintf((char *)text, "%u:%u:", source, n);
    size_t filling = n % 7 == 0 ? 0 : (size_t)n * 7919 % (n % 97 == 1 ? 20000 : 60);

    memset(text + len, 'a' + (int)(n % 26), filling);
    return len + filling;
}

static void make_items(struct run *run, struct source *source)
{
    unsigned n = 1 + pick(run, 40);

    free(source->pending);
    source->pending = malloc(n * 21000);
    source->pending_len = source->written = 0;
    for (; n > 0; n--) {
        source->pending_len +=
            item_text(source->id, source->n_made++, source->pending + source->pending_len);
        source->pending[source->pending_len++] = run->separator;
    }
}

static void settle_write(struct source *source)
{
    if (!source->writing || source->call.n_done == 0)
        return;
    source->writing = false;
    if (source->call.result > 0)
        source->written += (size_t)source->call.result;
    else
        cr_assert(source->call.result == -EAGAIN || source->call.result == -EINTR ||
                      source->call.result == -EIO || source->call.result == -ENOSPC,
                  "%zd", source->call.result);
}

static void write_some(struct run *run, struct source *source)
{
    static const uint32_t sizes[] = {1, 3, 50, 4096, 70000, 1 << 20};
    size_t left, len;

    settle_write(source);
    if (source->writing) {
        if (pick(run, 8) == 0)
            op_cancel(&source->call.op);
        return;
    }
    if (source->written == source->pending_len)
        make_items(run, source);
    left = source->pending_len - source->written;
    len = 1 + pick(run, sizes[pick(run, 6)]);
    call_init(&run->rig, &source->call);
    source->call.op.nonblock = pick(run, 3) == 0;
    source->writing = true;
    rig_start_write(&run->rig, &source->w, &source->call, source->pending + source->written,
                    len < left ? len : left);
    settle_write(source);
}

static void answer_some(struct run *run)
{
    struct rig *rig = &run->rig;
    struct request *request;
    uint32_t how = pick(run, 40);

    if (rig->n_sent == 0)
        return;
    request = rig_pick(rig, pick(run, (uint32_t)rig->n_sent));
    if (request->kind != REQUEST_PUT || how == 0) {
        request->status = request->kind == REQUEST_PUT ? -ETIMEDOUT : 0; /* not even stored */
        request->out.arm.kinds = rig_is_full(rig) ? 0 : EVENT_ROOM;
    } else {
        rig->full = how == 1;
        rig_apply(rig, request);
        if (how == 2)
            request->status = -EIO; /* stored, but who knows */
    }
    rig->full = false;
    rig_done(rig, request);
}

/* Whose item it is says the item. */
static void check_stored(struct run *run)
{
    static uint8_t text[32768];
    struct rig *rig = &run->rig;
    unsigned id, n;
    uint32_t size;
    char name[40];

    while (rig->n_taken < rig->n_stored) {
        memset(name, 0, sizeof(name));
        memcpy(&size, rig->stored + rig->take_at, 4);
        memcpy(name, rig->stored + rig->take_at + 4, size < 30 ? size : 30);
        cr_assert_eq(sscanf(name, "%u:%u:", &id, &n), 2);
        cr_assert_lt(id, WRITERS);
        cr_assert_eq(n, run->sources[id].n_seen, "writer %u: %u after %u", id, n,
                     run->sources[id].n_seen);
        run->sources[id].n_seen++;
        rig_take(rig, text, item_text(id, n, text));
    }
}

static void shake_settings(struct run *run)
{
    struct all_settings *settings = &run->rig.settings;

    settings->mount.batch_size = pick(run, 4) == 0 ? 1 : 1 + pick(run, 200);
    settings->mount.batch_bytes = 1 + pick(run, 100000);
    settings->mount.max_in_flight = 1 + pick(run, 8);
    settings->mount.buffer_bytes = 4096 + pick(run, 200000);
    settings->own.maxsize = pick(run, 2) ? 0 : 1 + pick(run, 300);
    settings->mount.on_full = pick(run, 4) == 0 ? ON_FULL_FAIL : ON_FULL_BLOCK;
    rig_changed(&run->rig);
}

/* The service forgets the producer, as it does a day after the last put. */
static void forget(struct run *run)
{
    if (run->rig.last == producer_acked(run->rig.p))
        run->rig.last = 0;
}

static void step(struct run *run)
{
    switch (pick(run, 16)) {
    case 0:
        rig_sleep(&run->rig, pick(run, 100000));
        break;
    case 1:
        if (pick(run, 10) == 0)
            shake_settings(run);
        break;
    case 2:
        check_stored(run);
        rig_changed(&run->rig);
        if (pick(run, 20) == 0)
            forget(run);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        answer_some(run);
        break;
    default:
        write_some(run, &run->sources[pick(run, WRITERS)]);
    }
}

/* Everything that was made is written, ended and flushed, the service being well again. */
static void finish(struct run *run)
{
    struct source *source;

    run->rig.settings.own.maxsize = 0;
    rig_changed(&run->rig);
    for (int i = 0; i < WRITERS; i++) {
        source = &run->sources[i];
        settle_write(source);
        while (source->written < source->pending_len || source->writing) {
            if (!source->writing)
                write_some(run, source);
            rig_store_all(&run->rig);
            rig_sleep(&run->rig, 100000);
            settle_write(source);
        }
        rig_release(&run->rig, &source->w);
        free(source->pending);
    }
    run->rig.p->error = 0;
    rig_drain(&run->rig);
    check_stored(run);
}

static void shake(uint64_t seed, enum framing framing, int n_steps)
{
    struct run *run = calloc(1, sizeof(*run));

    run->random = seed;
    rig_init(&run->rig);
    run->rig.settings.own.framing = framing;
    run->separator = framing_separator(framing);
    for (unsigned i = 0; i < WRITERS; i++) {
        run->sources[i].id = i;
        rig_open(&run->rig, &run->sources[i].w);
    }
    for (int i = 0; i < n_steps; i++)
        step(run);
    finish(run);
    for (unsigned i = 0; i < WRITERS; i++)
        cr_assert_eq(run->sources[i].n_seen, run->sources[i].n_made, "seed %lu: %u of %u",
                     (unsigned long)seed, run->sources[i].n_seen, run->sources[i].n_made);
    rig_fini(&run->rig);
    free(run);
}

Test(producer_random, lines_survive_everything)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        shake(seed, FRAMING_LINE, 1500);
}

Test(producer_random, nuls_survive_everything)
{
    for (uint64_t seed = 1000; seed <= 1020; seed++)
        shake(seed, FRAMING_NUL, 1500);
}
