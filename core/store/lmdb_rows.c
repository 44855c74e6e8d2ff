/*
 * The tables of the LMDB engine. Keys are big-endian, so that LMDB's order of bytes is the order
 * of numbers: (queue) of queues, (queue, batch) of batches and marks, (queue, producer) of
 * sequences. A batch's key is usually above all others, which LMDB can be told (MDB_APPEND): it
 * then fills its pages and does not search.
 */
#include "core/store/lmdb_private.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/store/record.h"

#define KEY_MAX (8 + sizeof(struct producer_id))

struct row_key {
    uint8_t bytes[KEY_MAX];
    size_t len;
};

static void key_add(struct row_key *key, uint64_t number)
{
    number = htobe64(number);
    memcpy(key->bytes + key->len, &number, sizeof(number));
    key->len += sizeof(number);
}

static struct row_key key_of_queue(uint64_t queue)
{
    struct row_key key = {.len = 0};

    key_add(&key, queue);
    return key;
}

static struct row_key key_of_batch(uint64_t queue, uint64_t batch)
{
    struct row_key key = key_of_queue(queue);

    key_add(&key, batch);
    return key;
}

static struct row_key key_of_producer(uint64_t queue, const struct producer_id *producer)
{
    struct row_key key = key_of_queue(queue);

    memcpy(key.bytes + key.len, producer->bytes, sizeof(producer->bytes));
    key.len += sizeof(producer->bytes);
    return key;
}

static MDB_val key_value(struct row_key *key)
{
    return (MDB_val){.mv_size = key->len, .mv_data = key->bytes};
}

static uint64_t key_number(const MDB_val *key, size_t at)
{
    uint64_t number;

    memcpy(&number, (const uint8_t *)key->mv_data + at, sizeof(number));
    return be64toh(number);
}

static int row_put(struct lmdb_store *lmdb, enum lmdb_table table, struct row_key key,
                   const void *data, size_t len)
{
    MDB_val at = key_value(&key);
    int rc = lmdb_writer(lmdb);

    if (rc < 0)
        return rc;
    rc = lmdb_sealed_put(lmdb, lmdb->write, table, &at, data, len);
    return rc == 0 ? 0 : lmdb_fail(lmdb, rc);
}

/* 0 or -ENOENT where there is none, which does not end the transaction. */
static int row_remove(struct lmdb_store *lmdb, enum lmdb_table table, struct row_key key)
{
    MDB_val at = key_value(&key);
    int rc = lmdb_writer(lmdb);

    if (rc < 0)
        return rc;
    rc = mdb_del(lmdb->write, lmdb->tables[table], &at, NULL);
    if (rc == MDB_NOTFOUND)
        return -ENOENT;
    return rc == 0 ? 0 : lmdb_fail(lmdb, rc);
}

/*
 * The first row at or after key, or the first after it. A row whose key is not as long cannot be
 * one of this table: it is passed over.
 */
static int row_next(struct lmdb_store *lmdb, enum lmdb_table table, struct row_key key, bool after,
                    MDB_val *found, MDB_val *value)
{
    MDB_cursor *cursor;
    MDB_txn *txn;
    int rc = lmdb_reader(lmdb, &txn);

    if (rc < 0)
        return rc;
    rc = mdb_cursor_open(txn, lmdb->tables[table], &cursor);
    if (rc != 0)
        return lmdb_error(rc);
    *found = key_value(&key);
    rc = mdb_cursor_get(cursor, found, value, MDB_SET_RANGE);
    if (rc == 0 && after && found->mv_size == key.len &&
        memcmp(found->mv_data, key.bytes, key.len) == 0)
        rc = mdb_cursor_get(cursor, found, value, MDB_NEXT);
    while (rc == 0 && found->mv_size != key.len)
        rc = mdb_cursor_get(cursor, found, value, MDB_NEXT);
    mdb_cursor_close(cursor);
    return lmdb_error(rc);
}

/* As row_next(), but -ENOENT where the row is another queue's. */
static int row_next_of_queue(struct lmdb_store *lmdb, enum lmdb_table table, struct row_key key,
                             bool after, MDB_val *found, MDB_val *value)
{
    int rc = row_next(lmdb, table, key, after, found, value);

    if (rc < 0)
        return rc;
    return memcmp(found->mv_data, key.bytes, sizeof(uint64_t)) == 0 ? 0 : -ENOENT;
}

int lmdb_queue_last_number(struct store *store, uint64_t *number)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    MDB_txn *txn;
    int rc = lmdb_reader(lmdb, &txn);

    return rc < 0 ? rc : lmdb_meta_get(lmdb, txn, "last queue", number);
}

/* A damaged number is right again from the first queue on that is made after the start. */
static int note_last_number(struct lmdb_store *lmdb, uint64_t number)
{
    uint64_t last = 0;
    int rc = lmdb_queue_last_number(&lmdb->base, &last);

    if (rc == -EBADMSG)
        rc = 0;
    if (rc == 0 && number > last)
        rc = lmdb_meta_put(lmdb, lmdb->write, "last queue", number);
    return rc;
}

int lmdb_queue_put(struct store *store, const struct queue_record *record)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    uint8_t row[RECORD_QUEUE_BYTES];
    int rc;

    record_queue_encode(record, row);
    rc = row_put(lmdb, LMDB_QUEUES, key_of_queue(record->number), row, sizeof(row));
    if (rc < 0)
        return rc;
    rc = note_last_number(lmdb, record->number);
    return rc < 0 ? lmdb_fail(lmdb, -rc) : 0;
}

static int remove_of_queue(struct lmdb_store *lmdb, enum lmdb_table table, uint64_t queue)
{
    struct row_key prefix = key_of_queue(queue);
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(lmdb->write, lmdb->tables[table], &cursor);

    if (rc != 0)
        return lmdb_fail(lmdb, rc);
    for (;;) {
        key = key_value(&prefix);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc != 0 || key.mv_size < prefix.len ||
            memcmp(key.mv_data, prefix.bytes, prefix.len) != 0)
            break;
        rc = mdb_cursor_del(cursor, 0);
        if (rc != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : lmdb_fail(lmdb, rc);
}

int lmdb_queue_remove(struct store *store, uint64_t queue)
{
    static const enum lmdb_table tables[] = {LMDB_BATCHES, LMDB_MARKS, LMDB_SEQUENCES};
    struct lmdb_store *lmdb = lmdb_of(store);
    int rc = row_remove(lmdb, LMDB_QUEUES, key_of_queue(queue));

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && rc == 0; i++)
        rc = remove_of_queue(lmdb, tables[i], queue);
    return rc;
}

int lmdb_queue_next(struct store *store, uint64_t from, struct queue_record *record)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    MDB_val key, value;
    int rc = row_next(lmdb, LMDB_QUEUES, key_of_queue(from), false, &key, &value);

    if (rc < 0)
        return rc;
    rc = lmdb_unseal(LMDB_QUEUES, &key, &value);
    if (rc == 0)
        rc = record_queue_decode(record, value.mv_data, value.mv_size);
    record->number = key_number(&key, 0);
    return rc;
}

/* The seal of the header at `row`, all of which but the seal is there. */
static uint32_t batch_seal(const MDB_val *key, const uint8_t *row)
{
    return record_seal(LMDB_BATCHES, key->mv_data, key->mv_size, row,
                       RECORD_BATCH_BYTES - RECORD_SEAL_BYTES);
}

static int batch_decode(const MDB_val *key, const MDB_val *value, struct batch_view *view)
{
    const uint8_t *row = value->mv_data;

    if (value->mv_size < RECORD_BATCH_BYTES ||
        get_le32(row + RECORD_BATCH_BYTES - RECORD_SEAL_BYTES) != batch_seal(key, row))
        return -EBADMSG;
    return record_batch_decode(view, row, value->mv_size);
}

int lmdb_batch_put(struct store *store, uint64_t queue, uint64_t batch,
                   const struct batch_view *view)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    struct row_key key = key_of_batch(queue, batch);
    MDB_dbi table = lmdb->tables[LMDB_BATCHES];
    MDB_val at = key_value(&key), value = {.mv_size = RECORD_BATCH_BYTES + view->len};
    uint8_t *row;
    int rc = lmdb_writer(lmdb);

    if (rc < 0)
        return rc;
    rc = lmdb_space_reserve(lmdb, view->len);
    if (rc < 0)
        return lmdb_fail(lmdb, -rc);
    rc = mdb_put(lmdb->write, table, &at, &value, MDB_RESERVE | MDB_APPEND);
    if (rc == MDB_KEYEXIST) { /* which only says that there are higher keys */
        value.mv_size = RECORD_BATCH_BYTES + view->len;
        rc = mdb_put(lmdb->write, table, &at, &value, MDB_RESERVE | MDB_NOOVERWRITE);
    }
    if (rc != 0)
        return lmdb_fail(lmdb, rc);
    row = value.mv_data;
    record_batch_encode(view, row);
    put_le32(row + RECORD_BATCH_BYTES - RECORD_SEAL_BYTES, batch_seal(&at, row));
    memcpy(row + RECORD_BATCH_BYTES, view->data, view->len);
    return 0;
}

int lmdb_mark_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    int rc = row_remove(lmdb_of(store), LMDB_MARKS, key_of_batch(queue, batch));

    return rc == -ENOENT ? 0 : rc;
}

int lmdb_batch_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    int rc = row_remove(lmdb_of(store), LMDB_BATCHES, key_of_batch(queue, batch));
    int mark_rc = lmdb_mark_remove(store, queue, batch);

    return rc < 0 ? rc : mark_rc;
}

/* Decode the batch at `key`; its data is verified the first time it is seen. With -EBADMSG the view
 * is what a right header says, without data. */
static int batch_read(struct lmdb_store *lmdb, const MDB_val *key, const MDB_val *value,
                      struct batch_view *view)
{
    uint64_t queue = key_number(key, 0), batch = key_number(key, sizeof(uint64_t));
    size_t slot = (queue * 31 + batch) % LMDB_VERIFIED;
    struct batch_view found;

    *view = (struct batch_view){0};
    if (batch_decode(key, value, &found) < 0)
        return -EBADMSG;
    if (lmdb->verified[slot].queue != queue || lmdb->verified[slot].batch != batch) {
        if (batch_verify(&found) < 0) {
            view->n_items = found.n_items;
            view->framing = found.framing;
            view->len = found.len;
            return -EBADMSG;
        }
        lmdb->verified[slot].queue = queue;
        lmdb->verified[slot].batch = batch;
    }
    *view = found;
    return 0;
}

int lmdb_batch_get(struct store *store, uint64_t queue, uint64_t batch, struct batch_view *view)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    struct row_key key = key_of_batch(queue, batch);
    MDB_val at = key_value(&key), value;
    MDB_txn *txn;
    int rc = lmdb_reader(lmdb, &txn);

    if (rc == 0)
        rc = lmdb_error(mdb_get(txn, lmdb->tables[LMDB_BATCHES], &at, &value));
    return rc < 0 ? rc : batch_read(lmdb, &at, &value, view);
}

int lmdb_batch_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                    struct batch_view *view)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    MDB_val key, value;
    int rc = row_next_of_queue(lmdb, LMDB_BATCHES, key_of_batch(queue, from), false, &key, &value);

    if (rc < 0)
        return rc;
    *batch = key_number(&key, sizeof(uint64_t));
    return batch_read(lmdb, &key, &value, view);
}

int lmdb_mark_put(struct store *store, uint64_t queue, uint64_t batch, const void *data, size_t len)
{
    return row_put(lmdb_of(store), LMDB_MARKS, key_of_batch(queue, batch), data, len);
}

int lmdb_mark_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                   const void **data, size_t *len)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    MDB_val key, value;
    int rc = row_next_of_queue(lmdb, LMDB_MARKS, key_of_batch(queue, from), false, &key, &value);

    if (rc < 0)
        return rc;
    *batch = key_number(&key, sizeof(uint64_t));
    rc = lmdb_unseal(LMDB_MARKS, &key, &value);
    if (rc < 0)
        return rc;
    *data = value.mv_data;
    *len = value.mv_size;
    return 0;
}

int lmdb_sequence_put(struct store *store, uint64_t queue, const struct sequence_record *record)
{
    uint8_t row[RECORD_SEQUENCE_BYTES];

    record_sequence_encode(record, row);
    return row_put(lmdb_of(store), LMDB_SEQUENCES, key_of_producer(queue, &record->producer), row,
                   sizeof(row));
}

int lmdb_sequence_remove(struct store *store, uint64_t queue, const struct producer_id *producer)
{
    return row_remove(lmdb_of(store), LMDB_SEQUENCES, key_of_producer(queue, producer));
}

int lmdb_sequence_next(struct store *store, uint64_t queue, const struct producer_id *after,
                       struct sequence_record *record)
{
    static const struct producer_id lowest;
    struct lmdb_store *lmdb = lmdb_of(store);
    struct row_key from = key_of_producer(queue, after ? after : &lowest);
    MDB_val key, value;
    int rc = row_next_of_queue(lmdb, LMDB_SEQUENCES, from, after != NULL, &key, &value);

    if (rc < 0)
        return rc;
    memcpy(record->producer.bytes, (const uint8_t *)key.mv_data + sizeof(uint64_t),
           sizeof(record->producer.bytes));
    rc = lmdb_unseal(LMDB_SEQUENCES, &key, &value);
    return rc < 0 ? rc : record_sequence_decode(record, value.mv_data, value.mv_size);
}
