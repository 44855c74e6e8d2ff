/*
 * The volatile engine: one ordered map of rows, whose key is (table, queue, 16 bytes), with an
 * undo log. A change inside a transaction is made at once and noted in the log; a row that was
 * replaced or removed stays allocated until commit, so that abort can put it back and so that what
 * a read lent is never freed before its time. Structs are kept as they are; nothing here
 * outlives the process.
 */
#include "core/store/store.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

enum table { TABLE_META, TABLE_QUEUES, TABLE_BATCHES, TABLE_MARKS, TABLE_SEQUENCES };

struct key {
    enum table table;
    uint64_t queue;
    uint64_t high, low; /* batch number and 0, or a producer id as two big-endian halves */
};

struct row {
    RB_ENTRY(row) node;
    struct key key;
    size_t len;
    /* Of a batch only. */
    struct batch_view view;
    _Alignas(16) uint8_t data[];
};

/* One entry of the undo log: what the change put into the map and what it took out. */
struct change {
    SLIST_ENTRY(change) link;
    struct row *added, *removed;
};

enum transaction { TRANSACTION_NONE, TRANSACTION_OPEN, TRANSACTION_FAILED };

struct memory_store {
    struct store base;
    RB_HEAD(row_map, row) rows;
    SLIST_HEAD(, change) changes; /* newest first */
    enum transaction transaction;
    int error; /* why it failed */
    uint64_t used_bytes, max_bytes;
    uint64_t position; /* commits */
};

static int key_compare(const struct key *a, const struct key *b)
{
    if (a->table != b->table)
        return a->table < b->table ? -1 : 1;
    if (a->queue != b->queue)
        return a->queue < b->queue ? -1 : 1;
    if (a->high != b->high)
        return a->high < b->high ? -1 : 1;
    return (a->low > b->low) - (a->low < b->low);
}

static int row_compare(const struct row *a, const struct row *b)
{
    return key_compare(&a->key, &b->key);
}

/* RB_GENERATE_STATIC asks for a macro that libbsd leaves out on Linux. */
RB_GENERATE_INTERNAL(row_map, row, node, row_compare, __attribute__((unused)) static)

static struct memory_store *memory_of(struct store *store)
{
    return (struct memory_store *)store;
}

static struct key key_of_batch(enum table table, uint64_t queue, uint64_t batch)
{
    return (struct key){.table = table, .queue = queue, .high = batch};
}

static struct key key_of_producer(uint64_t queue, const struct producer_id *producer)
{
    struct key key = {.table = TABLE_SEQUENCES, .queue = queue};

    memcpy(&key.high, producer->bytes, 8);
    memcpy(&key.low, producer->bytes + 8, 8);
    key.high = be64toh(key.high);
    key.low = be64toh(key.low);
    return key;
}

static struct row *row_find(struct memory_store *memory, struct key key)
{
    struct row wanted = {.key = key};

    return RB_FIND(row_map, &memory->rows, &wanted);
}

/* The first row at or after `key` that is of the same table and queue, or NULL. */
static struct row *row_next_of_queue(struct memory_store *memory, struct key key)
{
    struct row wanted = {.key = key};
    struct row *row = RB_NFIND(row_map, &memory->rows, &wanted);

    if (!row || row->key.table != key.table || row->key.queue != key.queue)
        return NULL;
    return row;
}

static void map_add(struct memory_store *memory, struct row *row)
{
    RB_INSERT(row_map, &memory->rows, row);
    memory->used_bytes += sizeof(*row) + row->len;
}

static void map_take(struct memory_store *memory, struct row *row)
{
    RB_REMOVE(row_map, &memory->rows, row);
    memory->used_bytes -= sizeof(*row) + row->len;
}

static void undo_all(struct memory_store *memory)
{
    struct change *change;

    while ((change = SLIST_FIRST(&memory->changes)) != NULL) {
        SLIST_REMOVE_HEAD(&memory->changes, link);
        if (change->added)
            map_take(memory, change->added);
        if (change->removed)
            map_add(memory, change->removed);
        free(change->added);
        free(change);
    }
}

static int transaction_fail(struct memory_store *memory, int error)
{
    undo_all(memory);
    memory->transaction = TRANSACTION_FAILED;
    memory->error = error;
    return error;
}

/* 0 where changes may be made, or why the transaction has failed before. */
static int transaction_check(const struct memory_store *memory)
{
    assert(memory->transaction != TRANSACTION_NONE);
    return memory->transaction == TRANSACTION_OPEN ? 0 : memory->error;
}

static int memory_begin(struct store *store)
{
    struct memory_store *memory = memory_of(store);

    assert(memory->transaction != TRANSACTION_OPEN);
    memory->transaction = TRANSACTION_OPEN;
    return 0;
}

static int memory_commit(struct store *store)
{
    struct memory_store *memory = memory_of(store);
    struct change *change;
    int rc = transaction_check(memory);

    memory->transaction = TRANSACTION_NONE;
    memory->position += rc == 0 && !SLIST_EMPTY(&memory->changes);
    while ((change = SLIST_FIRST(&memory->changes)) != NULL) {
        SLIST_REMOVE_HEAD(&memory->changes, link);
        free(change->removed);
        free(change);
    }
    return rc;
}

static void memory_abort(struct store *store)
{
    struct memory_store *memory = memory_of(store);

    undo_all(memory);
    memory->transaction = TRANSACTION_NONE;
}

/* Make the change `added` for `removed`, either of which may be NULL. Takes `added`. */
static int change_make(struct memory_store *memory, struct row *added, struct row *removed)
{
    struct change *change = malloc(sizeof(*change));

    if (!change) {
        free(added);
        return transaction_fail(memory, -ENOMEM);
    }
    *change = (struct change){.added = added, .removed = removed};
    if (removed)
        map_take(memory, removed);
    if (added)
        map_add(memory, added);
    SLIST_INSERT_HEAD(&memory->changes, change, link);
    return 0;
}

static int row_put(struct memory_store *memory, struct key key, const struct batch_view *view,
                   const void *data, size_t len)
{
    struct row *row, *old;
    int rc = transaction_check(memory);

    if (rc < 0)
        return rc;
    if (memory->used_bytes >= memory->max_bytes ||
        sizeof(*row) + len > memory->max_bytes - memory->used_bytes)
        return transaction_fail(memory, -ENOSPC);
    row = malloc(sizeof(*row) + len);
    if (!row)
        return transaction_fail(memory, -ENOMEM);

    *row = (struct row){.key = key, .len = len};
    if (len > 0)
        memcpy(row->data, data, len);
    if (view) {
        row->view = *view;
        row->view.data = row->data;
    }
    old = row_find(memory, key);
    return change_make(memory, row, old);
}

/* 0 or -ENOENT where there is none, which does not end the transaction. */
static int row_remove(struct memory_store *memory, struct key key)
{
    struct row *row;
    int rc = transaction_check(memory);

    if (rc < 0)
        return rc;
    row = row_find(memory, key);
    return row ? change_make(memory, NULL, row) : -ENOENT;
}

static int remove_of_queue(struct memory_store *memory, enum table table, uint64_t queue)
{
    struct row *row;

    while ((row = row_next_of_queue(memory, key_of_batch(table, queue, 0))) != NULL) {
        int rc = change_make(memory, NULL, row);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int memory_queue_last_number(struct store *store, uint64_t *number)
{
    struct row *row = row_find(memory_of(store), (struct key){.table = TABLE_META});

    *number = 0;
    if (row)
        memcpy(number, row->data, sizeof(*number));
    return 0;
}

static int memory_queue_put(struct store *store, const struct queue_record *record)
{
    struct memory_store *memory = memory_of(store);
    struct key key = {.table = TABLE_QUEUES, .queue = record->number};
    uint64_t last;
    int rc = row_put(memory, key, NULL, record, sizeof(*record));

    if (rc < 0)
        return rc;
    memory_queue_last_number(store, &last);
    if (record->number <= last)
        return 0;
    key = (struct key){.table = TABLE_META};
    return row_put(memory, key, NULL, &record->number, sizeof(record->number));
}

static int memory_queue_remove(struct store *store, uint64_t queue)
{
    static const enum table tables[] = {TABLE_BATCHES, TABLE_MARKS, TABLE_SEQUENCES};
    struct memory_store *memory = memory_of(store);
    int rc = row_remove(memory, (struct key){.table = TABLE_QUEUES, .queue = queue});

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && rc == 0; i++)
        rc = remove_of_queue(memory, tables[i], queue);
    return rc;
}

static int memory_queue_next(struct store *store, uint64_t from, struct queue_record *record)
{
    struct memory_store *memory = memory_of(store);
    struct row wanted = {.key = {.table = TABLE_QUEUES, .queue = from}};
    struct row *row = RB_NFIND(row_map, &memory->rows, &wanted);

    if (!row || row->key.table != TABLE_QUEUES)
        return -ENOENT;
    memcpy(record, row->data, sizeof(*record));
    return 0;
}

static int memory_batch_put(struct store *store, uint64_t queue, uint64_t batch,
                            const struct batch_view *view)
{
    struct memory_store *memory = memory_of(store);
    struct key key = key_of_batch(TABLE_BATCHES, queue, batch);

    if (memory->transaction == TRANSACTION_OPEN && row_find(memory, key))
        return transaction_fail(memory, -EEXIST);
    return row_put(memory, key, view, view->data, view->len);
}

static int memory_mark_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    int rc = row_remove(memory_of(store), key_of_batch(TABLE_MARKS, queue, batch));

    return rc == -ENOENT ? 0 : rc;
}

static int memory_batch_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    int rc = row_remove(memory_of(store), key_of_batch(TABLE_BATCHES, queue, batch));
    int mark_rc = memory_mark_remove(store, queue, batch);

    return rc < 0 ? rc : mark_rc;
}

static int memory_batch_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                             struct batch_view *view)
{
    struct row *row = row_next_of_queue(memory_of(store), key_of_batch(TABLE_BATCHES, queue, from));

    if (!row)
        return -ENOENT;
    *batch = row->key.high;
    *view = row->view;
    return 0;
}

static int memory_batch_get(struct store *store, uint64_t queue, uint64_t batch,
                            struct batch_view *view)
{
    struct row *row = row_find(memory_of(store), key_of_batch(TABLE_BATCHES, queue, batch));

    if (!row)
        return -ENOENT;
    *view = row->view;
    return 0;
}

static int memory_mark_put(struct store *store, uint64_t queue, uint64_t batch, const void *data,
                           size_t len)
{
    return row_put(memory_of(store), key_of_batch(TABLE_MARKS, queue, batch), NULL, data, len);
}

static int memory_mark_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                            const void **data, size_t *len)
{
    struct row *row = row_next_of_queue(memory_of(store), key_of_batch(TABLE_MARKS, queue, from));

    if (!row)
        return -ENOENT;
    *batch = row->key.high;
    *data = row->data;
    *len = row->len;
    return 0;
}

static int memory_sequence_put(struct store *store, uint64_t queue,
                               const struct sequence_record *record)
{
    return row_put(memory_of(store), key_of_producer(queue, &record->producer), NULL, record,
                   sizeof(*record));
}

static int memory_sequence_remove(struct store *store, uint64_t queue,
                                  const struct producer_id *producer)
{
    return row_remove(memory_of(store), key_of_producer(queue, producer));
}

static int memory_sequence_next(struct store *store, uint64_t queue,
                                const struct producer_id *after, struct sequence_record *record)
{
    struct key key = key_of_batch(TABLE_SEQUENCES, queue, 0);
    struct row *row;

    if (after)
        key = key_of_producer(queue, after);
    row = row_next_of_queue(memory_of(store), key);
    if (row && after && key_compare(&row->key, &key) == 0)
        row = RB_NEXT(row_map, , row);
    if (!row || row->key.table != TABLE_SEQUENCES || row->key.queue != queue)
        return -ENOENT;
    memcpy(record, row->data, sizeof(*record));
    return 0;
}

/* Beside the last number, which is the other row of this table. */
static struct key key_of_identity(void)
{
    return (struct key){.table = TABLE_META, .queue = 1};
}

static int memory_identity_put(struct store *store, const void *data, size_t len)
{
    return row_put(memory_of(store), key_of_identity(), NULL, data, len);
}

static int memory_identity_get(struct store *store, const void **data, size_t *len)
{
    struct row *row = row_find(memory_of(store), key_of_identity());

    if (!row)
        return -ENOENT;
    *data = row->data;
    *len = row->len;
    return 0;
}

static uint64_t memory_position(struct store *store)
{
    return memory_of(store)->position;
}

static int memory_space(struct store *store, struct store_space *space)
{
    const struct memory_store *memory = memory_of(store);

    space->used_bytes = memory->used_bytes;
    space->limit_bytes = memory->max_bytes;
    space->full = memory->used_bytes > memory->max_bytes - memory->max_bytes / 10;
    space->damaged_rows = 0;
    space->gone = false;
    return 0;
}

static void memory_close(struct store *store)
{
    struct memory_store *memory = memory_of(store);
    struct row *row, *next;

    memory_abort(store);
    RB_FOREACH_SAFE (row, row_map, &memory->rows, next) {
        RB_REMOVE(row_map, &memory->rows, row);
        free(row);
    }
    free(memory);
}

static const struct store_ops memory_ops = {
    .begin = memory_begin,
    .commit = memory_commit,
    .abort = memory_abort,
    .queue_put = memory_queue_put,
    .queue_remove = memory_queue_remove,
    .queue_next = memory_queue_next,
    .queue_last_number = memory_queue_last_number,
    .batch_put = memory_batch_put,
    .batch_remove = memory_batch_remove,
    .batch_get = memory_batch_get,
    .batch_next = memory_batch_next,
    .mark_put = memory_mark_put,
    .mark_remove = memory_mark_remove,
    .mark_next = memory_mark_next,
    .sequence_put = memory_sequence_put,
    .sequence_remove = memory_sequence_remove,
    .sequence_next = memory_sequence_next,
    .identity_put = memory_identity_put,
    .identity_get = memory_identity_get,
    .position = memory_position,
    .space = memory_space,
    .close = memory_close,
};

int store_memory_open(uint64_t max_bytes, struct store **store)
{
    struct memory_store *memory = calloc(1, sizeof(*memory));

    if (!memory)
        return -ENOMEM;
    memory->base.ops = &memory_ops;
    memory->max_bytes = max_bytes;
    RB_INIT(&memory->rows);
    SLIST_INIT(&memory->changes);
    *store = &memory->base;
    return 0;
}
