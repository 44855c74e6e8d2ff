/* How much of the disk a store takes: what is done of batches goes, segments have their size. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <criterion/criterion.h>

#include "core/bytes.h"
#include "core/store/local_state.h"
#include "core/stored_mark.h"
#include "tests/core/store/store_fixture.h"

/* Of one test: each runs in a process of its own. */
static struct store *store;
static char dir[] = "/tmp/test-store-XXXXXX";
static struct local_options options = {.dir = dir, .max_bytes = 64 * MIB};

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(store_local_open(&options, &store), 0);
}

static void close_store(void)
{
    if (store)
        store->ops->close(store);
    store = NULL;
}

static void reopen(void)
{
    close_store();
    cr_assert_eq(store_local_open(&options, &store), 0);
}

static void teardown(void)
{
    close_store();
    remove_tree(dir);
}

TestSuite(store_segments, .init = setup, .fini = teardown, .timeout = 60);

static const char *path_of(const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void commit_something(unsigned n)
{
    while (n-- > 0) {
        begin(store);
        put_queue(store, 1, "q");
        commit(store);
    }
}

/* Of 100 items of a batch so many are left, the first ones. */
static uint32_t n_left_of_100 = 2;

/* A mark that says so, of a batch of put_len(), whose items have 100 bytes. */
static void put_done(uint64_t batch, uint32_t n_items)
{
    uint32_t n_spans = 0, n;
    size_t len = STORED_MARK_HEAD;
    uint8_t *mark = calloc(1, len + (2 * n_items / 100 + 2) * (size_t)STORED_SPAN_HEAD);

    cr_assert_not_null(mark);
    mark[0] = STORED_MARK_VERSION;
    put_le32(mark + 4, n_items);
    for (uint32_t i = 0; i < n_items; i += n, n_spans++) {
        n = i % 100 == 0 ? n_left_of_100 : 100 - n_left_of_100;
        n = n < n_items - i ? n : n_items - i;
        mark[len] = i % 100 == 0 ? ITEM_READY : ITEM_DONE;
        put_le32(mark + len + 1, n);
        put_le32(mark + len + 5, 100 * n);
        len += STORED_SPAN_HEAD;
    }
    put_le32(mark + 16, n_spans);
    cr_assert_eq(store->ops->mark_put(store, 1, batch, mark, len), 0);
    free(mark);
}

/* What is left is what it was. */
static void expect_left(uint64_t batch, size_t len)
{
    uint8_t *data = lines_new(len, (uint32_t)batch);
    struct batch_view view, whole = view_of_bytes(data, len);
    struct batch_index index, whole_index;

    cr_assert_eq(store->ops->batch_get(store, 1, batch, &view), 0);
    cr_assert_eq(view.n_items, whole.n_items);
    cr_assert_eq(batch_verify(&view), 0);
    cr_assert_eq(batch_index_init(&index, &view), 0);
    cr_assert_eq(batch_index_init(&whole_index, &whole), 0);
    for (uint32_t i = 0; i < view.n_items; i += i % 100 == 0 ? 1 : 99)
        cr_assert_eq(memcmp(view.data + batch_offset(&index, &view, i),
                            data + batch_offset(&whole_index, &whole, i), 101),
                     0);
    batch_index_fini(&index);
    batch_index_fini(&whole_index);
    free(data);
}

/* Of 400 batches of 1,000 items 20 each are left: the log does not keep the others for ever. */
Test(store_segments, batches_of_which_most_is_done_shrink)
{
    enum { N = 400, LEN = 101000 };
    struct store_space space;
    off_t bytes;

    for (uint64_t batch = 1; batch <= N; batch++) {
        begin(store);
        cr_assert_eq(put_len(store, 1, batch, LEN), 0);
        commit(store);
        begin(store);
        put_done(batch, LEN / 101);
        commit(store);
    }
    commit_something(4000);
    log_files(dir, ".log", &bytes);
    cr_assert_leq(bytes, (off_t)(12 * MIB), "%lld", (long long)bytes);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(store->ops->space(store, &space), 0);
        cr_assert_leq(space.used_bytes, 8 * MIB);
        for (uint64_t batch = 1; batch <= N; batch++)
            expect_left(batch, LEN);
        close_store();
        if (i == 1)
            remove_tree(path_of("index"));
        reopen();
    }
    begin(store);
    for (uint64_t batch = 1; batch <= N; batch++)
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
    commit(store);
    cr_assert_eq(store->ops->space(store, &space), 0);
    cr_assert_leq(space.used_bytes, MIB);
}

/* Batches come and go behind it, so that what lives is moved. */
static void churn(unsigned n)
{
    static uint64_t batch = 1000;

    while (n-- > 0) {
        begin(store);
        cr_assert_eq(put_len(store, 1, ++batch, MIB / 10), 0);
        commit(store);
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
        commit(store);
    }
}

/* Opened anew, with one bit of the log turned and without an index. */
static void damage(uint64_t position)
{
    DIR *files = opendir(path_of("log"));
    struct dirent *entry;

    close_store();
    cr_assert_not_null(files);
    while ((entry = readdir(files)) != NULL) {
        uint64_t first = strtoull(entry->d_name, NULL, 16);
        struct stat stat;
        uint8_t byte;
        int fd;

        if (!strstr(entry->d_name, ".log") || first > position)
            continue;
        fd = openat(dirfd(files), entry->d_name, O_RDWR);
        cr_assert(fd >= 0 && fstat(fd, &stat) == 0);
        if (position < first + (uint64_t)stat.st_size) {
            cr_assert_eq(pread(fd, &byte, 1, (off_t)(position - first)), 1);
            byte ^= 1;
            cr_assert_eq(pwrite(fd, &byte, 1, (off_t)(position - first)), 1);
        }
        close(fd);
    }
    closedir(files);
    remove_tree(path_of("index"));
    reopen();
}

static void small_segments(uint64_t max_bytes, uint64_t segment_bytes)
{
    close_store();
    remove_tree(dir);
    cr_assert_eq(mkdir(dir, 0700), 0);
    options.max_bytes = max_bytes;
    options.segment_bytes = segment_bytes;
    reopen();
    begin(store);
    put_queue(store, 1, "q");
    commit(store);
}

static uint64_t position_of(enum index_table table, uint64_t batch)
{
    const struct index_key key = {.table = table, .queue = 1, .batch = batch};
    struct index_row row;

    cr_assert_eq(index_get(local_of(store)->index, key, &row), 0);
    return row.position;
}

/* Without one its empty items would be given. */
Test(store_segments, a_batch_that_has_shrunk_has_a_mark_whatever_is_damaged)
{
    enum { LEN = 101000 };
    struct batch_view view;
    const void *mark;
    uint64_t batch, n_moves = 0;
    size_t len;

    small_segments(256 * MIB, MIB);
    begin(store);
    cr_assert_eq(put_len(store, 1, 1, LEN), 0);
    commit(store);
    begin(store);
    put_done(1, LEN / 101);
    commit(store);
    churn(215);                                       /* it shrinks, and is moved again */
    for (batch = 1000000; batch < 1000008; batch++) { /* others live behind it */
        begin(store);
        cr_assert_eq(put_len(store, 1, batch, MIB / 10), 0);
        commit(store);
    }
    begin(store);
    put_done(1, LEN / 101);
    commit(store);
    for (int i = 0; i < 500; i++) {
        uint64_t before = position_of(INDEX_BATCHES, 1), now;

        churn(2);
        now = position_of(INDEX_BATCHES, 1);
        n_moves += now != before;
        cr_assert(now == before || position_of(INDEX_MARKS, 1) > now);
    }
    cr_assert_gt(n_moves, 3);
    expect_left(1, LEN);
    damage(position_of(INDEX_MARKS, 1) + 30);
    if (store->ops->batch_get(store, 1, 1, &view) == 0 && view.len < LEN)
        cr_assert_eq(store->ops->mark_next(store, 1, 1, &batch, &mark, &len), 0);
}

/* It is given back for all that, and nothing is searched for ever. */
Test(store_segments, a_log_whose_first_segment_is_damaged_does_not_grow)
{
    off_t bytes;

    small_segments(256 * MIB, MIB);
    for (uint64_t batch = 1; batch <= 5; batch++) {
        begin(store);
        cr_assert_eq(put_len(store, 1, batch, 1000), 0);
        commit(store);
    }
    damage(4098);
    churn(600);
    cr_assert_leq(log_files(dir, ".log", &bytes), 12);
}

/* A row that a later program has written costs itself alone. */
Test(store_segments, a_batch_of_an_unknown_kind_is_passed)
{
    struct batch_view odd = view_of("a\nb\n"), view;

    odd.framing = 7;
    begin(store);
    put_queue(store, 1, "q");
    put_text(store, 1, 1, "x\n");
    cr_assert_eq(store->ops->batch_put(store, 1, 2, &odd), 0);
    put_text(store, 1, 3, "y\n");
    commit(store);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(store->ops->batch_get(store, 1, 1, &view), 0);
        cr_assert_eq(store->ops->batch_get(store, 1, 2, &view), -EBADMSG);
        cr_assert_eq(store->ops->batch_get(store, 1, 3, &view), 0);
        reopen();
    }
}

/* How far the log goes with so many small commits on a store that is full of such batches. */
static uint64_t moved_when_full(size_t len, bool done)
{
    struct store_space space = {.full = false};
    uint64_t batch = 0, full_at;

    while (!space.full) {
        begin(store);
        cr_assert_eq(put_len(store, 1, ++batch, len), 0);
        commit(store);
        if (done) {
            begin(store);
            put_done(batch, (uint32_t)(len / 101));
            commit(store);
        }
        cr_assert_eq(store->ops->space(store, &space), 0);
    }
    full_at = store->ops->position(store);
    commit_something(3000);
    return store->ops->position(store) - full_at;
}

/* All of it is as small as it can be, but for the ends of segments. */
Test(store_segments, a_full_store_is_not_moved_for_nothing)
{
    struct store_space space;

    small_segments(64 * MIB, 2 * MIB);
    cr_assert_leq(moved_when_full(MIB * 7 / 10, false), 2 * 64 * MIB);
    begin(store);
    for (uint64_t batch = 30; batch < 40; batch++) /* what goes is found wherever it lies */
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
    commit(store);
    commit_something(500);
    cr_assert_eq(store->ops->space(store, &space), 0);
    cr_assert_not(space.full);
}

/* A batch of which little is done is not written again for that little. */
Test(store_segments, what_is_not_to_be_had_is_not_looked_for)
{
    n_left_of_100 = 96;
    small_segments(64 * MIB, MIB);
    cr_assert_leq(moved_when_full(101000, true), 2 * 64 * MIB);
}

/* Every second item of so many is done: the mark is larger than the batch. */
static void put_pepper(uint64_t batch, uint32_t n_items)
{
    uint8_t *mark = calloc(1, STORED_MARK_HEAD + n_items * (size_t)STORED_SPAN_HEAD);

    cr_assert_not_null(mark);
    mark[0] = STORED_MARK_VERSION;
    put_le32(mark + 4, n_items);
    put_le32(mark + 16, n_items);
    for (uint32_t i = 0; i < n_items; i++) {
        uint8_t *span = mark + STORED_MARK_HEAD + i * (size_t)STORED_SPAN_HEAD;

        span[0] = i % 2 ? ITEM_DONE : ITEM_READY;
        put_le32(span + 1, 1);
        put_le32(span + 5, 1);
    }
    cr_assert_eq(store->ops->mark_put(store, 1, batch, mark,
                                      STORED_MARK_HEAD + n_items * (size_t)STORED_SPAN_HEAD),
                 0);
    free(mark);
}

/* What is moved with a commit is a piece, whatever it is that is moved: others wait meanwhile. */
Test(store_segments, a_piece_is_small_with_its_marks)
{
    enum { ITEMS = 2000 };
    static char text[2 * ITEMS + 1];
    uint64_t most = 0, before;

    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = i % 2 ? '\n' : 'x';
    small_segments(256 * MIB, MIB);
    for (uint64_t batch = 1; batch <= 300; batch++) {
        begin(store);
        put_text(store, 1, batch, text);
        put_pepper(batch, ITEMS);
        commit(store);
    }
    for (int i = 0; i < 300; i++) {
        churn(1);
        before = store->ops->position(store);
        commit_something(1);
        before = store->ops->position(store) - before;
        most = before > most ? before : most;
    }
    cr_assert_geq(most, MIB / 5, "%llu", (unsigned long long)most); /* something is moved */
    cr_assert_leq(most, MIB / 2, "%llu", (unsigned long long)most);
}

static bool no_larger(const char *end, off_t most)
{
    off_t bytes;

    return log_files(dir, end, &bytes) * most >= bytes;
}

Test(store_segments, they_are_of_the_size_that_is_set)
{
    close_store();
    remove_tree(dir);
    cr_assert_eq(mkdir(dir, 0700), 0);
    options.max_bytes = 2048 * MIB;
    options.segment_bytes = 2 * MIB;
    reopen();
    for (uint64_t batch = 1; batch <= 40; batch++) {
        begin(store);
        cr_assert_eq(put_len(store, 1, batch, MIB), 0);
        commit(store);
    }
    cr_assert(no_larger(".log", (off_t)(2 * MIB)));
    cr_assert(no_larger(".spare", (off_t)(2 * MIB)));
}
