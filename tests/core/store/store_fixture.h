/* What the suites of the stores share: batches out of text, short forms of common changes. */
#ifndef QUEUEFS_TESTS_CORE_STORE_STORE_FIXTURE_H
#define QUEUEFS_TESTS_CORE_STORE_STORE_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "core/crc32c.h"
#include "core/store/store.h"

#define MIB ((uint64_t)1 << 20)

static inline struct batch_view view_of_bytes(const void *data, size_t len)
{
    return (struct batch_view){
        .framing = FRAMING_LINE,
        .n_items = (uint32_t)count_byte(data, len, '\n'),
        .data = data,
        .len = len,
        .crc = crc32c(data, len),
        .put_time_us = 1700000000000000,
    };
}

static inline struct batch_view view_of(const char *text)
{
    return view_of_bytes(text, strlen(text));
}

/* len bytes of pseudo-random lines of about 100 bytes, or longer where a batch has not as many. The
 * caller frees them. */
static inline uint8_t *lines_new(size_t len, uint32_t seed)
{
    size_t line = len / 101 < BATCH_ITEMS_MAX ? 101 : len / BATCH_ITEMS_MAX + 1;
    uint8_t *data = malloc(len);

    cr_assert_not_null(data);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = i + 1 == len || i % line == line - 1 ? '\n' : (uint8_t)('a' + (seed >> 24) % 26);
    }
    return data;
}

static inline struct queue_record record_of(uint64_t number, const char *name)
{
    struct queue_record record = {.number = number, .next_batch = 1};

    snprintf(record.name, sizeof(record.name), "%s", name);
    return record;
}

static inline void give_back(void);

static inline void begin(struct store *store)
{
    give_back();
    cr_assert_eq(store->ops->begin(store), 0);
}

static inline void commit(struct store *store)
{
    cr_assert_eq(store->ops->commit(store), 0);
}

static inline void put_queue(struct store *store, uint64_t number, const char *name)
{
    struct queue_record record = record_of(number, name);

    cr_assert_eq(store->ops->queue_put(store, &record), 0);
}

static inline void put_text(struct store *store, uint64_t queue, uint64_t batch, const char *text)
{
    struct batch_view view = view_of(text);

    cr_assert_eq(store->ops->batch_put(store, queue, batch, &view), 0);
}

/* Bytes that a transaction borrows; freed by the next begin(). */
struct borrowed {
    struct borrowed *next;
};

static struct borrowed *borrowed;

static inline void give_back(void)
{
    struct borrowed *next;

    for (; borrowed; borrowed = next) {
        next = borrowed->next;
        free(borrowed);
    }
}

static inline int put_len(struct store *store, uint64_t queue, uint64_t batch, size_t len)
{
    struct borrowed *lent = malloc(sizeof(*lent) + len);
    uint8_t *data = lines_new(len, (uint32_t)batch), *to = (uint8_t *)(lent + 1);
    struct batch_view view;

    cr_assert_not_null(lent);
    memcpy(to, data, len);
    free(data);
    lent->next = borrowed;
    borrowed = lent;
    view = view_of_bytes(to, len);
    return store->ops->batch_put(store, queue, batch, &view);
}

static inline void put_mark(struct store *store, uint64_t queue, uint64_t batch, const char *text)
{
    cr_assert_eq(store->ops->mark_put(store, queue, batch, text, strlen(text)), 0);
}

static inline struct sequence_record sequence_of(uint8_t first_byte, uint64_t last)
{
    struct sequence_record record = {.epoch = 3, .last = last, .last_used_us = 1700000000000001};

    record.producer.bytes[0] = first_byte;
    return record;
}

static inline void put_sequence(struct store *store, uint64_t queue, uint8_t first_byte,
                                uint64_t last)
{
    struct sequence_record record = sequence_of(first_byte, last);

    cr_assert_eq(store->ops->sequence_put(store, queue, &record), 0);
}

static inline void expect_text(struct store *store, uint64_t queue, uint64_t batch,
                               const char *text)
{
    struct batch_view view;

    cr_assert_eq(store->ops->batch_get(store, queue, batch, &view), 0);
    cr_assert_eq(view.len, strlen(text));
    cr_assert_eq(memcmp(view.data, text, view.len), 0);
}

static inline void expect_no_batch(struct store *store, uint64_t queue, uint64_t batch)
{
    struct batch_view view;

    cr_assert_eq(store->ops->batch_get(store, queue, batch, &view), -ENOENT);
}

/* The next batch at or after `from` is `batch`; 0: none is. */
static inline void expect_next(struct store *store, uint64_t queue, uint64_t from, uint64_t batch)
{
    struct batch_view view;
    uint64_t found = 0;
    int rc = store->ops->batch_next(store, queue, from, &found, &view);

    cr_assert_eq(rc, batch ? 0 : -ENOENT);
    cr_assert_eq(found, batch);
}

/* The next mark at or after `from` is that of `batch` and says `text`; 0: none is. */
static inline void expect_mark(struct store *store, uint64_t queue, uint64_t from, uint64_t batch,
                               const char *text)
{
    uint64_t found = 0;
    const void *data = NULL;
    size_t len = 0;
    int rc = store->ops->mark_next(store, queue, from, &found, &data, &len);

    cr_assert_eq(rc, batch ? 0 : -ENOENT);
    cr_assert_eq(found, batch);
    if (!batch)
        return;
    cr_assert_eq(len, strlen(text));
    cr_assert(len == 0 || memcmp(data, text, len) == 0);
}

static inline bool is_full(struct store *store)
{
    struct store_space space;

    cr_assert_eq(store->ops->space(store, &space), 0);
    return space.full;
}

static inline int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* How many files of the store's log have this end, and the bytes of all. */
static inline int log_files(const char *dir, const char *end, off_t *bytes)
{
    char path[512];
    struct dirent *entry;
    DIR *files;
    int n = 0;

    snprintf(path, sizeof(path), "%s/log", dir);
    files = opendir(path);
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

#endif
