/* Batches of which part is done shrink, and what is left of them is what it was. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/store/shrink.h"
#include "core/stored_mark.h"

#define ITEMS_MAX 40
#define SPANS_MAX ITEMS_MAX
#define LEN_MAX   30

static uint32_t seed;

static uint32_t any(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

/* A batch, item by item, and its mark. */
struct sample {
    enum framing framing;
    uint32_t n;
    uint8_t items[ITEMS_MAX][LEN_MAX];
    size_t lens[ITEMS_MAX];
    enum item_state states[ITEMS_MAX];
    uint8_t bytes[ITEMS_MAX * (LEN_MAX + 4)];
    uint8_t mark[STORED_MARK_HEAD + SPANS_MAX * (STORED_SPAN_HEAD + STORED_SPAN_EXTRA)];
    size_t mark_len;
};

static struct batch_view build(struct sample *s, bool without_done)
{
    bool table = s->framing == FRAMING_FILE;
    uint8_t *at = s->bytes + (table ? 4 * s->n : 0);
    struct batch_view view = {.framing = s->framing, .n_items = s->n, .data = s->bytes};

    for (uint32_t i = 0; i < s->n; i++) {
        size_t len = without_done && s->states[i] == ITEM_DONE ? 0 : s->lens[i];

        memcpy(at, s->items[i], len);
        at += len;
        if (table)
            put_le32(s->bytes + 4 * (size_t)i, (uint32_t)len);
        else
            *at++ = framing_separator(s->framing);
    }
    view.len = (size_t)(at - s->bytes);
    view.crc = crc32c(s->bytes, view.len);
    return view;
}

static void build_mark(struct sample *s)
{
    uint8_t *at = s->mark + STORED_MARK_HEAD;
    uint32_t n_spans = 0;

    memset(s->mark, 0, STORED_MARK_HEAD);
    s->mark[0] = STORED_MARK_VERSION;
    put_le32(s->mark + 4, s->n);
    for (uint32_t i = 0, to; i < s->n; i = to, n_spans++) {
        uint32_t n_bytes = 0;

        for (to = i; to < s->n && s->states[to] == s->states[i]; to++)
            n_bytes += (uint32_t)s->lens[to];
        memset(at, 0, STORED_SPAN_HEAD + STORED_SPAN_EXTRA);
        at[0] = (uint8_t)s->states[i];
        put_le32(at + 1, to - i);
        put_le32(at + 5, n_bytes);
        at += stored_span_size(s->states[i]);
    }
    put_le32(s->mark + 16, n_spans);
    s->mark_len = (size_t)(at - s->mark);
}

static struct batch_view sample_init(struct sample *s, enum framing framing)
{
    memset(s, 0, sizeof(*s));
    s->framing = framing;
    s->n = 1 + any(ITEMS_MAX);
    for (uint32_t i = 0; i < s->n; i++) {
        s->lens[i] = any(LEN_MAX);
        s->states[i] = any(2) ? ITEM_DONE : any(ITEM_STATES);
        for (size_t at = 0; at < s->lens[i]; at++)
            s->items[i][at] = (uint8_t)('a' + any(26));
    }
    build_mark(s);
    return build(s, false);
}

Test(shrink, what_is_not_done_is_left_under_its_number, .timeout = 20)
{
    for (seed = 1; seed < 3000; seed++) {
        static struct sample s, wanted;
        struct batch_view view = sample_init(&s, seed % 3), expected;
        uint64_t left = shrink_left(&view, s.mark, s.mark_len);

        wanted = s;
        expected = build(&wanted, true);
        cr_assert_eq(left, expected.len);
        cr_assert_eq(shrink_batch(&view, s.bytes, s.mark, s.mark_len), 0);
        cr_assert_eq(view.len, expected.len);
        cr_assert_eq(memcmp(s.bytes, wanted.bytes, view.len), 0);
        cr_assert_eq(batch_verify(&view), 0);
        cr_assert_eq(shrink_left(&view, s.mark, s.mark_len), view.len);
        cr_assert_eq(shrink_batch(&view, s.bytes, s.mark, s.mark_len), 0); /* again */
        cr_assert_eq(view.crc, expected.crc);
    }
}

/* A damaged batch is not given a checksum that is right. */
Test(shrink, damage_stays_damage, .timeout = 20)
{
    static struct sample s, before;
    struct batch_view view, same;

    seed = 7;
    view = sample_init(&s, FRAMING_LINE);
    s.bytes[0] ^= 1;
    before = s;
    same = view;
    cr_assert_lt(shrink_batch(&view, s.bytes, s.mark, s.mark_len), 0);
    cr_assert_eq(memcmp(before.bytes, s.bytes, sizeof(s.bytes)), 0);
    cr_assert(view.len == same.len && view.crc == same.crc);
}

/* Whatever a mark's bytes are: either they are a mark of this batch, or it stays as it is. */
Test(shrink, no_mark_takes_more_than_it_says, .timeout = 60)
{
    for (seed = 1; seed < 3000; seed++) {
        static struct sample s;
        struct batch_view view = sample_init(&s, seed % 3);
        size_t cut = any((uint32_t)s.mark_len);
        uint8_t *mark = malloc(cut + 1);

        memcpy(mark, s.mark, cut);
        cr_assert_eq(shrink_left(&view, mark, cut), view.len); /* the end is missing */
        cr_assert_lt(shrink_batch(&view, s.bytes, mark, cut), 0);
        free(mark);
        s.mark[any((uint32_t)s.mark_len)] ^= (uint8_t)(1 << any(8));
        cr_assert_leq(shrink_left(&view, s.mark, s.mark_len), view.len);
        if (shrink_batch(&view, s.bytes, s.mark, s.mark_len) == 0)
            cr_assert_eq(batch_verify(&view), 0);
    }
}
