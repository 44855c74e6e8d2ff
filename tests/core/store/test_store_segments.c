/* How much of the disk a store takes: what is done of batches goes, segments have their size. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <criterion/criterion.h>

#include "core/bytes.h"
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

/* How many there are with this end, and the bytes of all. */
static int n_files(const char *end, off_t *bytes)
{
    DIR *files = opendir(path_of("log"));
    struct dirent *entry;
    int n = 0;

    cr_assert_not_null(files);
    *bytes = 0;
    while ((entry = readdir(files)) != NULL) {
        struct stat stat;

        if (!strstr(entry->d_name, end))
            continue;
        cr_assert_eq(fstatat(dirfd(files), entry->d_name, &stat, 0), 0);
        *bytes += stat.st_size;
        n++;
    }
    closedir(files);
    return n;
}

static void commit_something(unsigned n)
{
    while (n-- > 0) {
        begin(store);
        put_queue(store, 1, "q");
        commit(store);
    }
}

/* A mark of a batch of put_len(): all is done, but every 50th item, of 100 bytes as all are. */
static void put_done(uint64_t batch, uint32_t n_items)
{
    uint32_t n_spans = 0, n;
    size_t len = STORED_MARK_HEAD;
    uint8_t *mark = calloc(1, len + 2 * n_items * (size_t)STORED_SPAN_HEAD);

    cr_assert_not_null(mark);
    mark[0] = STORED_MARK_VERSION;
    put_le32(mark + 4, n_items);
    for (uint32_t i = 0; i < n_items; i += n, n_spans++) {
        n = i % 50 == 0 || n_items - i < 49 ? 1 : 49;
        mark[len] = i % 50 == 0 ? ITEM_READY : ITEM_DONE;
        put_le32(mark + len + 1, n);
        put_le32(mark + len + 5, 100 * n);
        len += STORED_SPAN_HEAD;
    }
    put_le32(mark + 16, n_spans);
    cr_assert_eq(store->ops->mark_put(store, 1, batch, mark, len), 0);
    free(mark);
}

/* Every 50th item is what it was. */
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
    for (uint32_t i = 0; i < view.n_items; i += 50)
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
    n_files(".log", &bytes);
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
        cr_assert_eq(put_len(store, 1, ++batch, MIB), 0);
        commit(store);
        begin(store);
        cr_assert_eq(store->ops->batch_remove(store, 1, batch), 0);
        commit(store);
    }
}

static void turn_a_bit(uint64_t position)
{
    DIR *files = opendir(path_of("log"));
    struct dirent *entry;

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
}

/* Without one its empty items would be given. */
Test(store_segments, a_batch_that_has_shrunk_has_a_mark_whatever_is_damaged)
{
    enum { LEN = 101000 };
    uint64_t newest, batch = 0;
    const void *mark;
    size_t len;

    begin(store);
    put_queue(store, 1, "q");
    cr_assert_eq(put_len(store, 1, 1, LEN), 0);
    commit(store);
    begin(store);
    put_done(1, LEN / 101);
    commit(store);
    churn(150); /* it shrinks, and is moved again and again */
    newest = store->ops->position(store);
    begin(store);
    put_done(1, LEN / 101);
    commit(store);
    churn(2);
    close_store();
    turn_a_bit(newest + 60);
    remove_tree(path_of("index"));
    reopen();
    cr_assert_eq(store->ops->mark_next(store, 1, 1, &batch, &mark, &len), 0);
    cr_assert_eq(batch, 1);
    cr_assert_eq(stored_mark_items(mark, len), LEN / 101);
    expect_left(1, LEN);
}

/* All of it is as small as it can be: to move it round and round would gain nothing. */
Test(store_segments, a_full_store_is_not_moved_for_nothing)
{
    struct store_space space = {.full = false};
    uint64_t batch = 0, full_at;

    while (!space.full) {
        begin(store);
        cr_assert_eq(put_len(store, 1, ++batch, MIB * 7 / 10), 0); /* ends of segments are lost */
        commit(store);
        cr_assert_eq(store->ops->space(store, &space), 0);
    }
    full_at = store->ops->position(store);
    commit_something(3000);
    cr_assert_leq(store->ops->position(store) - full_at, 2 * 64 * MIB);
    begin(store);
    for (uint64_t old = batch - 20; old <= batch; old++) /* what lies last goes: it is found */
        cr_assert_eq(store->ops->batch_remove(store, 1, old), 0);
    commit(store);
    commit_something(500);
    cr_assert_eq(store->ops->space(store, &space), 0);
    cr_assert_not(space.full);
}

static bool no_larger(const char *end, off_t most)
{
    off_t bytes;

    return n_files(end, &bytes) * most >= bytes;
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
