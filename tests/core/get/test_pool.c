#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/get/pool.h"

static struct pool pool;
static struct cut cut;
static unsigned n_freed;

static void setup(void)
{
    pool_init(&pool);
    n_freed = 0;
}

static void teardown(void)
{
    pool_fini(&pool);
}

TestSuite(pool, .init = setup, .fini = teardown, .timeout = 20);

static void reply_free(struct request *request)
{
    (void)request;
    n_freed++;
}

/* The grants and the bytes stay the caller's. */
static struct chunk *chunk_of(const struct grant *grants, size_t n, const void *data, size_t len)
{
    struct chunk *chunk = chunk_new();

    cr_assert_not_null(chunk);
    chunk->request.out.get.grants = grants;
    chunk->request.out.get.n_grants = n;
    chunk->request.out.get.data = data;
    chunk->request.out.get.len = len;
    chunk->request.reply_free = reply_free;
    return chunk;
}

static void add(const struct grant *grants, size_t n, const char *text)
{
    struct chunk *chunk = chunk_of(grants, n, text, strlen(text));

    cr_assert_eq(chunk_open(chunk), 0);
    pool_add(&pool, chunk);
}

static void let_go(void)
{
    size_t i;

    for (i = 0; i < cut.n_pieces; i++)
        chunk_unref(cut.pieces[i].chunk);
}

static void expect(size_t room, uint64_t max, const char *text, uint64_t n_items, size_t n_ranges)
{
    char bytes[256];
    size_t i, len = 0;

    pool_cut(&pool, room, max, &cut);
    for (i = 0; i < cut.n_pieces; i++) {
        memcpy(bytes + len, cut.pieces[i].data, cut.pieces[i].len);
        len += cut.pieces[i].len;
    }
    bytes[len] = '\0';
    cr_assert_str_eq(bytes, text);
    cr_assert_eq(cut.len, len);
    cr_assert_eq(cut.n_items, n_items);
    cr_assert_eq(cut.n_ranges, n_ranges);
}

static const struct grant three[] = {
    {.batch = 1, .from = 4, .to = 6, .token = 7, .offset = 0, .len = 4},
    {.batch = 2, .from = 0, .to = 1, .token = 7, .offset = 4, .len = 2},
    {.batch = 3, .from = 2, .to = 5, .token = 7, .offset = 6, .len = 7},
};
#define THREE "a\nb\nc\nd\nee\nf\n"

Test(pool, empty_pool_gives_nothing)
{
    pool_cut(&pool, 100, 100, &cut);
    cr_assert_eq(cut.n_items, 0);
    cr_assert_eq(cut.n_pieces, 0);
}

Test(pool, cut_ends_where_the_room_ends_on_both_sides_of_it)
{
    add(three, 3, THREE);
    cr_assert_eq(pool.len, 13);
    expect(13, 1000, THREE, 6, 3);
    expect(12, 1000, "a\nb\nc\nd\nee\n", 5, 3);
    expect(11, 1000, "a\nb\nc\nd\nee\n", 5, 3);
    expect(10, 1000, "a\nb\nc\nd\n", 4, 3);
    expect(6, 1000, "a\nb\nc\n", 3, 2);
    expect(5, 1000, "a\nb\n", 2, 1);
    expect(3, 1000, "a\n", 1, 1);
}

Test(pool, cut_ends_where_the_items_end)
{
    add(three, 3, THREE);
    expect(100, 1, "a\n", 1, 1);
    expect(100, 2, "a\nb\n", 2, 1);
    expect(100, 3, "a\nb\nc\n", 3, 2);
    expect(100, 5, "a\nb\nc\nd\nee\n", 5, 3);
    expect(100, 6, THREE, 6, 3);
    expect(100, UINT64_MAX, THREE, 6, 3);
}

Test(pool, item_larger_than_the_room_is_given_alone)
{
    add(three, 3, THREE);
    expect(1, 100, "a\n", 1, 1);
    cr_assert_gt(cut.len, 1);
}

Test(pool, ranges_say_which_items_of_which_batch)
{
    struct settlement range;

    add(three, 3, THREE);
    expect(3, 100, "a\n", 1, 1);
    pool_take(&pool, &cut);
    let_go();
    expect(100, 4, "b\nc\nd\nee\n", 4, 3);
    range = piece_range(&cut.pieces[0], 0, SETTLE_ACK);
    cr_assert_eq(range.batch, 1);
    cr_assert_eq(range.from, 5);
    cr_assert_eq(range.to, 6);
    cr_assert_eq(range.token, 7);
    range = piece_range(&cut.pieces[0], 2, SETTLE_RETURN);
    cr_assert_eq(range.verb, SETTLE_RETURN);
    cr_assert_eq(range.batch, 3);
    cr_assert_eq(range.from, 2);
    cr_assert_eq(range.to, 4);
    pool_take(&pool, &cut);
    let_go();
    expect(100, 100, "f\n", 1, 1);
    range = piece_range(&cut.pieces[0], 0, SETTLE_ACK);
    cr_assert_eq(range.from, 4);
    cr_assert_eq(range.to, 5);
}

Test(pool, cut_goes_over_several_answers)
{
    size_t i;

    for (i = 0; i < CUT_PIECES_MAX + 1; i++)
        add(three, 3, THREE);
    pool_cut(&pool, 1000, 1000, &cut);
    cr_assert_eq(cut.n_pieces, CUT_PIECES_MAX);
    cr_assert_eq(cut.n_items, CUT_PIECES_MAX * 6);
    pool_take(&pool, &cut);
    cr_assert_eq(n_freed, 0);
    let_go();
    cr_assert_eq(n_freed, CUT_PIECES_MAX);
    cr_assert_eq(pool.len, 13);
    expect(14, 1000, THREE, 6, 3);
}

Test(pool, nothing_is_begun_of_an_answer_that_does_not_fit)
{
    add(three, 3, THREE);
    add(three, 3, THREE);
    expect(14, 1000, THREE, 6, 3);
    cr_assert_eq(cut.n_pieces, 1);
}

Test(pool, large_grant_is_cut_at_its_last_whole_item)
{
    static struct grant grant = {.batch = 1, .from = 0, .to = 1000, .len = 3000};
    static char text[3001];
    size_t i;

    for (i = 0; i < 3000; i += 3)
        memcpy(text + i, "xy\n", 4);
    add(&grant, 1, text);
    pool_cut(&pool, 2000, UINT64_MAX, &cut);
    cr_assert_eq(cut.n_items, 666);
    cr_assert_eq(cut.len, 1998);
    pool_cut(&pool, 2000, 500, &cut);
    cr_assert_eq(cut.n_items, 500);
    cr_assert_eq(cut.len, 1500);
    pool_cut(&pool, 4000, 999, &cut);
    cr_assert_eq(cut.n_items, 999);
    cr_assert_eq(cut.len, 2997);
}

Test(pool, bytes_of_grants_that_do_not_touch_are_two_pieces)
{
    struct grant grants[] = {{.batch = 1, .to = 1, .offset = 4, .len = 2},
                             {.batch = 2, .to = 1, .offset = 0, .len = 2}};

    add(grants, 2, "b\n??a\n");
    expect(100, 100, "a\nb\n", 2, 2);
    cr_assert_eq(cut.n_pieces, 2);
    pool_take(&pool, &cut);
    let_go();
    cr_assert_eq(n_freed, 1);
    cr_assert(pool_empty(&pool));
    cr_assert_eq(pool.len, 0);
}

static const uint8_t files[] = {2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'a', 'b', 'c'};

Test(pool, files_are_given_one_by_one_without_their_table)
{
    struct grant grant = {.batch = 1, .from = 3, .to = 6, .framing = FRAMING_FILE, .len = 15};
    struct chunk *chunk = chunk_of(&grant, 1, files, sizeof(files));

    cr_assert_eq(chunk_open(chunk), 0);
    pool_add(&pool, chunk);
    cr_assert_eq(pool.len, 3);
    expect(100, 100, "ab", 1, 1);
    cr_assert(cut.file);
    pool_take(&pool, &cut);
    let_go();
    expect(100, 100, "", 1, 1);
    pool_take(&pool, &cut);
    let_go();
    expect(100, 100, "c", 1, 1);
    pool_take(&pool, &cut);
    let_go();
    cr_assert(pool_empty(&pool));
}

Test(pool, rest_of_a_chunk_covers_what_was_not_taken)
{
    struct cut_piece rest;

    add(three, 3, THREE);
    expect(3, 100, "a\n", 1, 1);
    pool_take(&pool, &cut);
    let_go();
    rest = chunk_rest(TAILQ_FIRST(&pool.chunks));
    cr_assert_eq(rest.len, 11);
    cr_assert_eq(piece_n_ranges(&rest), 3);
    cr_assert_eq(piece_range(&rest, 0, SETTLE_RETURN).from, 5);
    cr_assert_eq(piece_range(&rest, 2, SETTLE_RETURN).to, 5);
    pool_drop_chunk(&pool);
    cr_assert_eq(pool.len, 0);
    cr_assert_eq(n_freed, 1);
}

/* ---- what comes from outside ---- */

static int open_one(struct grant grant, const void *data, size_t len)
{
    struct chunk *chunk = chunk_of(&grant, 1, data, len);
    int error = chunk_open(chunk);

    chunk_unref(chunk);
    return error;
}

Test(pool, answers_that_make_no_sense_are_refused)
{
    struct grant good = {.batch = 1, .to = 2, .len = 4}, bad;

    cr_assert_eq(open_one(good, "a\nb\n", 4), 0);
    bad = good, bad.from = 2;
    cr_assert_eq(open_one(bad, "a\nb\n", 4), -EPROTO);
    bad = good, bad.len = 5;
    cr_assert_eq(open_one(bad, "a\nb\n", 4), -EPROTO);
    bad = good, bad.offset = 1;
    cr_assert_eq(open_one(bad, "a\nb\n", 4), -EPROTO);
    bad = good, bad.offset = SIZE_MAX;
    cr_assert_eq(open_one(bad, "a\nb\n", 4), -EPROTO);
    bad = good, bad.len = 3;
    cr_assert_eq(open_one(bad, "a\nb\n", 4), -EPROTO, "does not end with a separator");
    bad = good, bad.to = 5;
    cr_assert_eq(open_one(bad, "a\nb\n", 4), -EPROTO, "more items than bytes");
    bad = good, bad.framing = (enum framing)3;
    cr_assert_eq(open_one(bad, "a\nb\n", 4), -EPROTO);
}

Test(pool, length_tables_that_do_not_add_up_are_refused)
{
    struct grant good = {.to = 3, .framing = FRAMING_FILE, .len = 15}, bad;

    cr_assert_eq(open_one(good, files, sizeof(files)), 0);
    bad = good, bad.len = 14;
    cr_assert_eq(open_one(bad, files, sizeof(files)), -EPROTO);
    bad = good, bad.to = 2;
    cr_assert_eq(open_one(bad, files, sizeof(files)), -EPROTO);
    bad = good, bad.to = 4;
    cr_assert_eq(open_one(bad, files, sizeof(files)), -EPROTO);
    bad = good, bad.to = UINT32_MAX;
    cr_assert_eq(open_one(bad, files, sizeof(files)), -EPROTO);
}

/* The count is the service's word; the bytes are what is there. Nothing is read beyond them. */
Test(pool, wrong_counts_stay_within_the_bytes)
{
    char *few = malloc(200), *many = malloc(200);
    struct grant grant = {.batch = 1, .to = 150, .len = 200};
    struct chunk *chunk;
    size_t room;

    memset(few, 'x', 200);
    memset(many, '\n', 200);
    few[199] = '\n';
    few[50] = '\n';
    for (room = 1; room <= 201; room++) {
        chunk = chunk_of(&grant, 1, room % 2 ? few : many, 200);
        cr_assert_eq(chunk_open(chunk), 0);
        pool_add(&pool, chunk);
        while (!pool_empty(&pool)) {
            pool_cut(&pool, room, room % 3 ? UINT64_MAX : room, &cut);
            cr_assert_geq(cut.n_items, 1);
            pool_take(&pool, &cut);
            let_go();
        }
        cr_assert_eq(pool.len, 0);
    }
    free(few);
    free(many);
}
