/* See store_model.h. */
#include "tests/stress/store_model.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/crc32c.h"

#define LARGE  ((size_t)5 << 20)
#define LARGER ((size_t)64 << 10) /* than a segment of a store that is looked at */
#define LIVING 24                 /* batches that stay for a while, and */
#define LEFT   6                  /* those that stay for long, in the way of releasing segments */

struct model model;
struct report *report;

void wrong(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(report->text, sizeof(report->text), format, args);
    va_end(args);
    _exit(1);
}

void must(int rc, const char *what)
{
    if (rc < 0)
        wrong("%s: %s; %s", what, strerror(-rc), report->line);
}

/* ---- what a store holds after so many commits ---- */

/* The bytes of a batch; the caller frees them. */
static uint8_t *bytes_of(uint64_t batch, size_t len)
{
    uint8_t *bytes = malloc(len + 32);

    memset(bytes, (int)('a' + batch % 26), len);
    bytes[snprintf((char *)bytes, 32, "%llu", (unsigned long long)batch)] = ' ';
    bytes[len - 1] = '\n';
    return bytes;
}

static struct batch_view view_of(const uint8_t *bytes, size_t len)
{
    return (struct batch_view){.framing = FRAMING_LINE,
                               .n_items = 1,
                               .data = bytes,
                               .len = len,
                               .crc = crc32c(bytes, len),
                               .put_time_us = 1700000000000000};
}

static uint64_t chance(uint64_t n, uint64_t i)
{
    uint64_t x = (n * 64 + i) * UINT64_C(0x9e3779b97f4a7c15);

    return (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 33;
}

static uint8_t *lent[16];
static size_t n_lent;

static void put(struct model *m, struct store *store, size_t len)
{
    struct batch_view view;

    m->len[++m->last] = len;
    if (!store)
        return;
    lent[n_lent] = bytes_of(m->last, len);
    view = view_of(lent[n_lent++], len);
    must(store->ops->batch_put(store, 1, m->last, &view), "put");
}

static void take(struct model *m, struct store *store, uint64_t batch)
{
    m->len[batch] = 0;
    m->mark[batch] = 0;
    if (store)
        must(store->ops->batch_remove(store, 1, batch), "remove");
}

static void take_oldest(struct model *m, struct store *store)
{
    size_t n[2] = {0};

    for (uint64_t batch = m->last; batch > 0; batch--) {
        bool stays = batch % 16 == 3;

        if (m->len[batch] > 0 && ++n[stays] > (stays ? LEFT : LIVING))
            take(m, store, batch);
    }
}

static void mark(struct model *m, struct store *store, uint64_t batch, bool set)
{
    if (m->len[batch] == 0)
        return;
    m->mark[batch] = set ? m->n : 0;
    if (store && set)
        must(store->ops->mark_put(store, 1, batch, &m->n, sizeof(m->n)), "mark");
    else if (store)
        must(store->ops->mark_remove(store, 1, batch), "mark");
}

static void put_record(struct store *store, uint64_t queue, uint64_t n)
{
    struct queue_record record = {.number = queue, .next_batch = n + 1, .n_items = n};

    snprintf(record.name, sizeof(record.name), "q%llu", (unsigned long long)queue);
    must(store->ops->queue_put(store, &record), "queue");
}

/* Another queue is made, with something in it, or the one there is goes with all of that. */
static void turn_other(struct model *m, struct store *store)
{
    uint64_t gone = m->other;
    uint8_t text[] = "text\n";
    struct batch_view view = view_of(text, 5);

    m->other = gone ? 0 : 1 + m->n;
    if (store && gone)
        must(store->ops->queue_remove(store, gone), "queue");
    if (!store || gone)
        return;
    lent[n_lent] = malloc(5);
    view.data = memcpy(lent[n_lent++], text, 5);
    put_record(store, m->other, 1);
    must(store->ops->batch_put(store, m->other, 1, &view), "put");
    must(store->ops->mark_put(store, m->other, 1, "mark", 4), "mark");
}

static void put_producer(struct model *m, struct store *store)
{
    uint64_t which = m->n % 4;
    struct sequence_record record = {.producer = {.bytes = {(uint8_t)which}}, .last = m->n};

    m->producer[which] = m->n;
    if (store)
        must(store->ops->sequence_put(store, 1, &record), "producer");
}

void model_change(struct model *m, struct store *store)
{
    uint64_t n = ++m->n;

    for (uint64_t i = 0; i <= chance(n, 0) % 3; i++)
        put(m, store, 32 + chance(n, 1 + i) % 5000);
    if (n % 19 == 0)
        put(m, store, m->large_ones ? LARGE : LARGER);
    take_oldest(m, store);
    mark(m, store, m->last - chance(n, 4) % 8 % m->last, n % 3 > 0);
    put_producer(m, store);
    if (n % 5 == 0)
        turn_other(m, store);
    if (store)
        put_record(store, 1, n);
}

void model_give_back(void)
{
    while (n_lent > 0)
        free(lent[--n_lent]);
}

void model_at(uint64_t n)
{
    model = (struct model){.n = 0, .large_ones = model.large_ones};
    while (model.n < n)
        model_change(&model, NULL);
}

/* ---- a store is what the model says ---- */

static uint64_t n_commits(struct store *store)
{
    struct queue_record record;
    int rc = store->ops->queue_next(store, 1, &record);

    must(rc == -ENOENT ? 0 : rc, "queue");
    return rc == 0 && record.number == 1 ? record.n_items : 0;
}

static void expect_batches(struct store *store)
{
    uint64_t from = 1, batch = 0;
    struct batch_view view;

    for (uint64_t i = 1; i <= model.last; i++) {
        uint8_t *bytes;

        if (model.len[i] == 0)
            continue;
        must(store->ops->batch_next(store, 1, from, &batch, &view), "next batch");
        if (batch != i)
            wrong("batch %llu is there and not %llu", (unsigned long long)batch,
                  (unsigned long long)i);
        must(store->ops->batch_get(store, 1, i, &view), "batch");
        bytes = bytes_of(i, model.len[i]);
        if (view.len != model.len[i] || memcmp(view.data, bytes, view.len) != 0)
            wrong("batch %llu is another", (unsigned long long)i);
        free(bytes);
        from = i + 1;
    }
    if (store->ops->batch_next(store, 1, from, &batch, &view) != -ENOENT)
        wrong("batch %llu is too many", (unsigned long long)batch);
}

static void expect_marks(struct store *store)
{
    uint64_t from = 1, batch = 0;
    const void *data;
    size_t len;

    for (uint64_t i = 1; i <= model.last; i++) {
        if (model.mark[i] == 0)
            continue;
        must(store->ops->mark_next(store, 1, from, &batch, &data, &len), "next mark");
        if (batch != i || len != 8 || memcmp(data, &model.mark[i], 8) != 0)
            wrong("the mark of %llu is another", (unsigned long long)i);
        from = i + 1;
    }
    if (store->ops->mark_next(store, 1, from, &batch, &data, &len) != -ENOENT)
        wrong("the mark of %llu is too many", (unsigned long long)batch);
}

static void expect_others(struct store *store)
{
    struct queue_record record;
    struct sequence_record sequence;
    struct producer_id *after = NULL;
    int rc = store->ops->queue_next(store, 2, &record);

    if (model.other ? rc < 0 || record.number != model.other : rc != -ENOENT)
        wrong("queue %llu is not as it was", (unsigned long long)model.other);
    for (int i = 0; i < 4; i++) {
        if (model.producer[i] == 0)
            continue;
        must(store->ops->sequence_next(store, 1, after, &sequence), "producer");
        if (sequence.producer.bytes[0] != i || sequence.last != model.producer[i])
            wrong("producer %d is another", i);
        after = &sequence.producer;
    }
}

void model_expect(struct store *store, uint64_t least, uint64_t most)
{
    uint64_t n = n_commits(store);
    struct store_space space;

    if (n < least || n > most)
        wrong("%llu commits are there, of %llu to %llu", (unsigned long long)n,
              (unsigned long long)least, (unsigned long long)most);
    model_at(n);
    expect_batches(store);
    expect_marks(store);
    expect_others(store);
    must(store->ops->space(store, &space), "space");
    if (space.damaged_rows > 0 || report->line[0])
        wrong("damage: %s", report->line);
}
