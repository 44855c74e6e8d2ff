/* Spans against a model that keeps each item by itself, and the stored form. */
#include "core/queue/item_states.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "core/clock.h"

#define ITEMS 200

static const struct mark_times times = {.mono_us = 5000000, .wall_us = 900000000};
static const struct mark_head head = {.framing = FRAMING_NUL, .n_items = ITEMS, .put_time_us = 7};

static struct mark mark_of(uint32_t n_items)
{
    struct mark mark;

    cr_assert_eq(mark_init(&mark, n_items, n_items * 10), 0);
    return mark;
}

/* Items [from, to) become what `value` says; each has 10 bytes. */
static void set_range(struct mark *mark, uint32_t from, uint32_t to, const struct span *value)
{
    uint32_t first, pos;

    cr_assert_eq(mark_reserve(mark, 2), 0);
    if (mark_needs_cut(mark, from))
        mark_cut(mark, from, (from - mark->spans[mark_find(mark, from)].from) * 10);
    if (mark_needs_cut(mark, to))
        mark_cut(mark, to, (to - mark->spans[mark_find(mark, to)].from) * 10);
    first = mark_find(mark, from);
    for (pos = first; pos < mark->n_spans && mark->spans[pos].from < to; pos++)
        mark_change(mark, pos, value);
    mark_merge(mark, first, pos - 1);
}

/* Everything the mark says of itself fits together. */
static void check(const struct mark *mark)
{
    uint64_t items[ITEM_STATES] = {0}, bytes[ITEM_STATES] = {0};
    uint32_t at = 0, ready = mark->n_items;

    for (uint32_t i = 0; i < mark->n_spans; i++) {
        const struct span *span = &mark->spans[i];

        cr_assert_eq(span->from, at);
        cr_assert_gt(span->to, at);
        items[span->state] += span->to - span->from;
        bytes[span->state] += span->n_bytes;
        if (span->state == ITEM_READY && ready == mark->n_items)
            ready = span->from;
        at = span->to;
    }
    cr_assert_eq(at, mark->n_items);
    cr_assert_eq(memcmp(items, mark->items, sizeof(items)), 0);
    cr_assert_eq(memcmp(bytes, mark->bytes, sizeof(bytes)), 0);
    cr_assert_eq(mark->first_ready, ready);
}

Test(mark, new_one_is_all_ready_in_one_span, .timeout = 10)
{
    struct mark mark = mark_of(ITEMS);

    cr_assert_eq(mark.n_spans, 1);
    cr_assert_eq(mark.items[ITEM_READY], ITEMS);
    cr_assert_eq(mark.bytes[ITEM_READY], ITEMS * 10);
    cr_assert(mark_is_plain(&mark));
    cr_assert_eq(mark_next_us(&mark), TIME_FOREVER);
    check(&mark);
    mark_fini(&mark);
    mark_fini(&mark);
}

Test(mark, find_is_exact_at_both_ends_of_a_span, .timeout = 10)
{
    struct mark mark = mark_of(ITEMS);
    struct span leased = {.state = ITEM_LEASED, .token = 1, .when_us = TIME_FOREVER};

    set_range(&mark, 10, 20, &leased);
    cr_assert_eq(mark.n_spans, 3);
    cr_assert_eq(mark_find(&mark, 9), 0);
    cr_assert_eq(mark_find(&mark, 10), 1);
    cr_assert_eq(mark_find(&mark, 19), 1);
    cr_assert_eq(mark_find(&mark, 20), 2);
    cr_assert_not(mark_needs_cut(&mark, 10));
    cr_assert(mark_needs_cut(&mark, 11));
    cr_assert_not(mark_needs_cut(&mark, 0));
    cr_assert_not(mark_needs_cut(&mark, ITEMS));
    check(&mark);
    mark_fini(&mark);
}

Test(mark, equal_neighbours_merge_and_different_ones_do_not, .timeout = 10)
{
    struct mark mark = mark_of(ITEMS);
    struct span done = {.state = ITEM_DONE, .when_us = TIME_FOREVER};
    struct span once = {.state = ITEM_READY, .deliveries = 1, .when_us = TIME_FOREVER};

    set_range(&mark, 0, 5, &done);
    set_range(&mark, 5, 10, &done);
    cr_assert_eq(mark.n_spans, 2);
    set_range(&mark, 20, 30, &done);
    set_range(&mark, 10, 20, &done);
    cr_assert_eq(mark.n_spans, 2);
    cr_assert_eq(mark.first_ready, 30);
    set_range(&mark, 30, 40, &once);
    cr_assert_eq(mark.n_spans, 3);
    check(&mark);
    set_range(&mark, 0, ITEMS, &done);
    cr_assert_eq(mark.n_spans, 1);
    cr_assert_eq(mark.first_ready, ITEMS);
    check(&mark);
    mark_fini(&mark);
}

Test(mark, stream_leases_are_plain_and_counted_ones_are_not, .timeout = 10)
{
    struct mark mark = mark_of(ITEMS);
    struct span stream = {.state = ITEM_LEASED, .token = 3, .when_us = TIME_FOREVER};
    struct span claim = {.state = ITEM_LEASED, .kind = GET_CLAIM, .deliveries = 1, .when_us = 9};
    struct span ready = {.state = ITEM_READY, .when_us = TIME_FOREVER};

    set_range(&mark, 0, 7, &stream);
    cr_assert(mark_is_plain(&mark));
    set_range(&mark, 3, 4, &claim);
    cr_assert_not(mark_is_plain(&mark));
    cr_assert_eq(mark_next_us(&mark), 9);
    set_range(&mark, 3, 4, &ready);
    cr_assert(mark_is_plain(&mark));
    ready.deliveries = 1;
    set_range(&mark, 3, 4, &ready);
    cr_assert_not(mark_is_plain(&mark));
    mark_fini(&mark);
}

Test(mark, random_changes_agree_with_a_model_of_single_items, .timeout = 60)
{
    struct mark mark = mark_of(ITEMS);
    uint64_t tokens[ITEMS] = {0};
    enum item_state states[ITEMS] = {ITEM_READY};

    srandom(7);
    for (int round = 0; round < 20000; round++) {
        uint32_t from = (uint32_t)random() % ITEMS;
        uint32_t to = from + 1 + (uint32_t)random() % (ITEMS - from);
        struct span value = {.state = (enum item_state)(random() % ITEM_STATES),
                             .token = (uint64_t)random() % 2,
                             .when_us = TIME_FOREVER};

        if (round % 3)
            to = from + 1;
        set_range(&mark, from, to, &value);
        for (uint32_t i = from; i < to; i++) {
            states[i] = value.state;
            tokens[i] = value.token;
        }
        check(&mark);
        for (uint32_t i = 0; i < ITEMS; i++) {
            const struct span *span = &mark.spans[mark_find(&mark, i)];

            cr_assert(span->state == states[i] && span->token == tokens[i]);
        }
    }
    mark_fini(&mark);
}

/* ---- very many spans ---- */

#define MANY 20000

static void check_merged(const struct mark *mark)
{
    for (uint32_t i = 1; i < mark->n_spans; i++) {
        const struct span *a = &mark->spans[i - 1], *b = &mark->spans[i];

        cr_assert(a->state != b->state || a->token != b->token, "spans %u and %u", i - 1, i);
    }
}

Test(mark, very_many_spans_are_merged_many_at_a_time, .timeout = 60)
{
    struct mark mark = mark_of(MANY);
    struct span done = {.state = ITEM_DONE, .when_us = TIME_FOREVER};
    uint32_t most = 0;

    for (uint32_t i = 0; i < MANY; i++) {
        struct span leased = {.state = ITEM_LEASED, .token = i + 1, .when_us = TIME_FOREVER};

        set_range(&mark, i, i + 1, &leased);
    }
    cr_assert_eq(mark.n_spans, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        set_range(&mark, i, i + 1, &done);
        most = mark.n_equal > most ? mark.n_equal : most;
        cr_assert_leq(mark.n_spans, MANY - i + MANY / 4);
    }
    cr_assert_gt(most, 100);
    cr_assert_eq(mark.n_spans, 1);
    check(&mark);
    mark_fini(&mark);
}

Test(mark, what_was_not_merged_is_merged_when_tidied, .timeout = 60)
{
    struct mark mark = mark_of(MANY);
    unsigned n_late = 0;

    srandom(11);
    for (int round = 0; round < 60000; round++) {
        uint32_t from = (uint32_t)random() % MANY;
        struct span value = {.state = (enum item_state)(random() % ITEM_STATES),
                             .token = (uint64_t)random() % 2,
                             .when_us = TIME_FOREVER};

        set_range(&mark, from, from + 1, &value);
        n_late += mark.n_equal > 0;
        if (round % 500)
            continue;
        check(&mark);
        mark_tidy(&mark);
        cr_assert_eq(mark.n_equal, 0);
        check(&mark);
        check_merged(&mark);
    }
    cr_assert_gt(n_late, 1000);
    mark_fini(&mark);
}

/* ---- the stored form ---- */

static size_t encode(const struct mark *mark, uint8_t *out, size_t size)
{
    size_t len = mark_encoded_size(mark);

    cr_assert_leq(len, size);
    mark_encode(mark, &head, &times, out);
    return len;
}

static void mark_with_everything(struct mark *mark)
{
    struct span stream = {
        .state = ITEM_LEASED, .deliveries = 2, .token = 3, .when_us = TIME_FOREVER};
    struct span claim = {.state = ITEM_LEASED,
                         .kind = GET_CLAIM,
                         .deliveries = 1,
                         .token = 99,
                         .lease_us = 60,
                         .when_us = times.mono_us + 5};
    struct span delayed = {.state = ITEM_DELAYED, .deliveries = 3, .when_us = times.mono_us + 1000};
    struct span dead = {.state = ITEM_DEAD, .deliveries = 5, .when_us = TIME_FOREVER};
    struct span done = {.state = ITEM_DONE, .when_us = TIME_FOREVER};

    *mark = mark_of(ITEMS);
    set_range(mark, 0, 10, &stream);
    set_range(mark, 20, 30, &claim);
    set_range(mark, 40, 50, &delayed);
    set_range(mark, 60, 70, &dead);
    set_range(mark, 80, 90, &done);
}

Test(mark, stored_form_keeps_what_outlives_a_restart, .timeout = 10)
{
    struct mark_times later = {.mono_us = 100, .wall_us = times.wall_us + 400};
    struct mark mark, read;
    struct mark_head got;
    uint8_t bytes[1024];
    size_t len;

    mark_with_everything(&mark);
    len = encode(&mark, bytes, sizeof(bytes));
    cr_assert_eq(mark_decode(bytes, len, &later, &got, &read), 0);
    check(&read);
    cr_assert(got.framing == FRAMING_NUL && got.n_items == ITEMS && got.put_time_us == 7);
    cr_assert_eq(read.spans[0].state, ITEM_READY);
    cr_assert_eq(read.spans[0].deliveries, 2);
    cr_assert_eq(read.spans[0].token, 0);

    cr_assert_eq(read.spans[2].state, ITEM_LEASED);
    cr_assert_eq(read.spans[2].kind, GET_CLAIM);
    cr_assert_eq(read.spans[2].token, 99);
    cr_assert_eq(read.spans[2].deliveries, 1);
    cr_assert_eq(read.spans[2].when_us, 100 + 60);
    cr_assert_eq(read.spans[4].state, ITEM_DELAYED);
    cr_assert_eq(read.spans[4].when_us, 100 + 1000 - 400);
    cr_assert_eq(read.spans[6].state, ITEM_DEAD);
    cr_assert_eq(read.spans[6].deliveries, 5);
    cr_assert_eq(read.spans[8].state, ITEM_DONE);
    cr_assert_eq(read.bytes[ITEM_DONE], 100);
    mark_fini(&read);
    mark_fini(&mark);
}

Test(mark, a_delay_is_never_longer_than_it_was_when_the_time_of_day_has_jumped, .timeout = 10)
{
    struct mark_times past = {.mono_us = 100, .wall_us = 1};
    struct mark_times future = {.mono_us = 100, .wall_us = INT64_MAX / 2};
    struct span delayed = {.state = ITEM_DELAYED, .when_us = times.mono_us + 1000};
    struct mark mark = mark_of(ITEMS), read;
    struct mark_head got;
    uint8_t bytes[1024];
    size_t len;

    set_range(&mark, 0, ITEMS, &delayed);
    len = encode(&mark, bytes, sizeof(bytes));
    cr_assert_eq(mark_decode(bytes, len, &future, &got, &read), 0);
    cr_assert_eq(read.spans[0].when_us, 100);
    mark_fini(&read);
    cr_assert_eq(mark_decode(bytes, len, &past, &got, &read), 0);
    cr_assert_eq(read.spans[0].when_us, 100 + 1000);
    mark_fini(&read);
    mark_fini(&mark);
}

/* One whose end has come and that nobody has looked at since. */
Test(mark, a_delay_that_is_over_is_stored_as_such, .timeout = 10)
{
    struct span delayed = {.state = ITEM_DELAYED, .when_us = times.mono_us - 1};
    struct mark mark = mark_of(ITEMS), read;
    struct mark_head got;
    uint8_t bytes[1024];
    size_t len;

    set_range(&mark, 0, ITEMS, &delayed);
    len = encode(&mark, bytes, sizeof(bytes));
    cr_assert_eq(mark_decode(bytes, len, &times, &got, &read), 0);
    cr_assert_eq(read.spans[0].when_us, times.mono_us);
    mark_fini(&read);
    mark_fini(&mark);
}

Test(mark, another_version_is_refused, .timeout = 10)
{
    struct mark mark, read;
    struct mark_head got;
    uint8_t bytes[1024];
    size_t len;

    mark_with_everything(&mark);
    len = encode(&mark, bytes, sizeof(bytes));
    for (unsigned version = 0; version < 256; version++) {
        bool known = version == bytes[0];
        uint8_t other[sizeof(bytes)];

        memcpy(other, bytes, len);
        other[0] = (uint8_t)version;
        cr_assert_eq(mark_decode(other, len, &times, &got, &read), known ? 0 : -EBADMSG);
        mark_fini(&read);
    }
    mark_fini(&mark);
}

Test(mark, every_shortened_form_is_refused, .timeout = 10)
{
    struct mark mark, read;
    struct mark_head got;
    uint8_t bytes[1024];
    size_t len;

    mark_with_everything(&mark);
    len = encode(&mark, bytes, sizeof(bytes));
    for (size_t i = 0; i < len; i++) {
        uint8_t *exact = malloc(i + 1); /* so that a byte too many is seen */

        memcpy(exact, bytes, i);
        cr_assert_eq(mark_decode(exact, i, &times, &got, &read), -EBADMSG, "%zu of %zu", i, len);
        mark_fini(&read);
        free(exact);
    }
    cr_assert_eq(mark_decode(bytes, len + 1, &times, &got, &read), -EBADMSG);
    mark_fini(&read);
    mark_fini(&mark);
}

Test(mark, damaged_forms_are_refused_or_consistent, .timeout = 60)
{
    struct mark mark, read;
    struct mark_head got;
    uint8_t bytes[1024], damaged[1024];
    size_t len;

    mark_with_everything(&mark);
    len = encode(&mark, bytes, sizeof(bytes));
    srandom(3);
    for (int round = 0; round < 20000; round++) {
        memcpy(damaged, bytes, len);
        damaged[(size_t)random() % len] ^= (uint8_t)(1 + random() % 255);
        if (mark_decode(damaged, len, &times, &got, &read) == 0)
            check(&read);
        mark_fini(&read);
    }
    mark_fini(&mark);
}
