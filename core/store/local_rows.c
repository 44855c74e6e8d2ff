/* The tables of the local engine: see local_state.h. Changes are gathered, reads ask the index. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/log.h"
#include "core/store/local_state.h"

#define SAID_MAX 20                  /* lines about damaged batches */
#define PIECE    ((size_t)128 << 10) /* read at a time */

static struct index_key key_of(enum index_table table, uint64_t queue, uint64_t batch)
{
    return (struct index_key){.table = table, .queue = queue, .batch = batch};
}

/* Where a change may be made 0; or why the transaction has failed. */
static int writer(const struct local_store *s)
{
    assert(s->transaction != LOCAL_NONE);
    return s->transaction == LOCAL_OPEN ? 0 : s->error;
}

static int fail(struct local_store *s, int rc)
{
    s->transaction = LOCAL_FAILED;
    s->error = rc;
    return rc;
}

/* Reads of the index, which is made anew where a row of it is damaged. */
static int row_get(struct local_store *s, struct index_key key, struct index_row *row)
{
    int rc = local_apply_last(s);

    if (rc == 0)
        rc = index_get(s->index, key, row);
    if (rc == -EBADMSG)
        rc = local_reindex(s);
    else
        return rc;
    return rc == 0 ? index_get(s->index, key, row) : rc;
}

static int row_next(struct local_store *s, struct index_key key, bool after, bool same_queue,
                    struct index_row *row)
{
    int rc = local_apply_last(s);

    if (rc == 0)
        rc = index_next(s->index, key, after, same_queue, row);
    if (rc == -EBADMSG)
        rc = local_reindex(s);
    else
        return rc;
    return rc == 0 ? index_next(s->index, key, after, same_queue, row) : rc;
}

static int row_put(struct local_store *s, struct index_key key, const void *data, size_t len)
{
    int rc = writer(s);

    if (rc < 0)
        return rc;
    rc = changes_put(&s->changes, key, data, len);
    return rc < 0 ? fail(s, rc) : 0;
}

static int row_remove(struct local_store *s, struct index_key key)
{
    int rc = writer(s);

    if (rc < 0)
        return rc;
    rc = changes_remove(&s->changes, key);
    return rc < 0 ? fail(s, rc) : 0;
}

/* ---- queues ---- */

int local_queue_last_number(struct store *store, uint64_t *number)
{
    struct local_store *s = local_of(store);
    struct index_row row;
    int rc = row_get(s, key_of(INDEX_META, LOCAL_META_LAST_QUEUE, 0), &row);

    if (rc == 0 && row.len != 8)
        rc = -EBADMSG;
    if (rc == 0 || rc == -ENOENT)
        *number = rc == 0 ? get_le64(row.data) : 0;
    return rc == -ENOENT ? 0 : rc;
}

int local_queue_put(struct store *store, const struct queue_record *record)
{
    struct local_store *s = local_of(store);
    uint8_t row[RECORD_QUEUE_BYTES], number[8];
    int rc;

    record_queue_encode(record, row);
    rc = row_put(s, key_of(INDEX_QUEUES, record->number, 0), row, sizeof(row));
    if (rc < 0 || record->number <= s->last_queue)
        return rc;
    s->last_queue = record->number;
    put_le64(number, record->number);
    return row_put(s, key_of(INDEX_META, LOCAL_META_LAST_QUEUE, 0), number, sizeof(number));
}

int local_queue_remove(struct store *store, uint64_t queue)
{
    struct local_store *s = local_of(store);
    struct index_key key = key_of(INDEX_QUEUES, queue, 0);
    struct index_row row;
    int rc = row_get(s, key, &row);

    return rc == 0 || rc == -EBADMSG ? row_remove(s, key) : rc;
}

int local_queue_next(struct store *store, uint64_t from, struct queue_record *record)
{
    struct local_store *s = local_of(store);
    struct index_row row;
    int rc = row_next(s, key_of(INDEX_QUEUES, from, 0), false, false, &row);

    if (rc < 0 && rc != -EBADMSG)
        return rc;
    if (rc == 0)
        rc = record_queue_decode(record, row.data, row.len);
    record->number = row.key.queue;
    return rc;
}

/* ---- batches ---- */

int local_batch_put(struct store *store, uint64_t queue, uint64_t batch,
                    const struct batch_view *view)
{
    struct local_store *s = local_of(store);
    uint8_t head[RECORD_BATCH_BYTES];
    int rc = writer(s);

    if (rc < 0)
        return rc;
    record_batch_encode(view, head);
    rc = changes_put_batch(&s->changes, key_of(INDEX_BATCHES, queue, batch), head, sizeof(head),
                           view);
    s->puts = true;
    return rc < 0 ? fail(s, rc) : 0;
}

int local_mark_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    struct local_store *s = local_of(store);
    struct index_key key = key_of(INDEX_MARKS, queue, batch);
    struct index_row row;
    int rc = row_get(s, key, &row);

    if (rc == -ENOENT && !s->marks)
        return writer(s);
    return rc == 0 || rc == -ENOENT ? row_remove(s, key) : rc;
}

int local_batch_remove(struct store *store, uint64_t queue, uint64_t batch)
{
    struct local_store *s = local_of(store);
    struct index_key key = key_of(INDEX_BATCHES, queue, batch);
    struct index_row row;
    int rc = row_get(s, key, &row);

    if (rc < 0 && rc != -EBADMSG)
        return rc;
    rc = row_remove(s, key);
    return rc < 0 ? rc : local_mark_remove(store, queue, batch);
}

/* What the index knows of a batch. -EBADMSG: that much is not right, and n_items is 0. */
static int batch_head(const struct index_row *row, struct batch_view *view)
{
    int rc = -EBADMSG;

    *view = (struct batch_view){.n_items = 0};
    if (row->len == RECORD_BATCH_BYTES)
        rc = record_batch_decode(view, row->data, RECORD_BATCH_BYTES + get_le32(row->data + 8));
    view->data = NULL;
    return rc;
}

/* Its data, out of the log, a piece at a time, which is still in the processor's cache when its
 * checksum is taken. */
static int batch_load(struct local_store *s, const struct index_row *row,
                      const struct batch_view *view, uint8_t *to)
{
    uint64_t position = row->position + RECORD_BATCH_BYTES;
    uint32_t crc = CRC32C_NOTHING;

    for (size_t at = 0, n; at < view->len; at += n) {
        int rc;

        n = view->len - at < PIECE ? view->len - at : PIECE;
        rc = commit_log_read(s->log, position + at, to + at, n);
        if (rc < 0)
            return rc == -EIO ? -EBADMSG : rc; /* the disk has lost it: so have we */
        crc = crc32c_more(crc, to + at, n);
    }
    return crc == view->crc ? 0 : -EBADMSG;
}

static int batch_lend(struct local_store *s, const struct index_row *row, struct batch_view *view)
{
    const uint8_t *data = batch_cache_find(&s->cache, row->position);
    uint8_t *to;
    int rc;

    if (!data) {
        data = to = batch_cache_room(&s->cache, row->position, view->len);
        if (!to)
            return -ENOMEM;
        rc = batch_load(s, row, view, to);
        if (rc < 0) {
            batch_cache_drop(&s->cache, row->position);
            return rc;
        }
    }
    view->data = data;
    return 0;
}

static int batch_copy(struct local_store *s, const struct index_row *row, uint8_t *to, size_t len,
                      struct batch_view *view)
{
    const uint8_t *data = batch_cache_find(&s->cache, row->position);
    int rc = 0;

    if (len != view->len)
        return -EBADMSG;
    if (data)
        memcpy(to, data, len);
    else
        rc = batch_load(s, row, view, to);
    if (rc == 0)
        view->data = to;
    return rc;
}

static void say_damaged(struct local_store *s, const struct index_row *row)
{
    if (s->n_said++ < SAID_MAX)
        log_error("%s: batch %llu of queue %llu is damaged, in the log at %llu",
                  s->dir ? s->dir : "memory", (unsigned long long)row->key.batch,
                  (unsigned long long)row->key.queue, (unsigned long long)row->position);
}

/* Lent where `to` is NULL. */
static int batch_data(struct store *store, uint64_t queue, uint64_t batch, uint8_t *to, size_t len,
                      struct batch_view *view)
{
    struct local_store *s = local_of(store);
    struct index_row row;
    int rc = row_get(s, key_of(INDEX_BATCHES, queue, batch), &row);

    if (rc < 0)
        return rc;
    rc = batch_head(&row, view);
    if (rc == 0)
        rc = to ? batch_copy(s, &row, to, len, view) : batch_lend(s, &row, view);
    if (rc == -EBADMSG && s->reading && !commit_log_is_there(s->log, row.position))
        return -EAGAIN;
    if (rc == -EBADMSG)
        say_damaged(s, &row);
    return rc;
}

int local_batch_get(struct store *store, uint64_t queue, uint64_t batch, struct batch_view *view)
{
    return batch_data(store, queue, batch, NULL, 0, view);
}

int local_batch_read(struct store *store, uint64_t queue, uint64_t batch, void *to, size_t len,
                     struct batch_view *view)
{
    return batch_data(store, queue, batch, to, len, view);
}

int local_batch_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                     struct batch_view *view)
{
    struct local_store *s = local_of(store);
    struct index_row row;
    int rc = row_next(s, key_of(INDEX_BATCHES, queue, from), false, true, &row);

    if (rc < 0 && rc != -EBADMSG)
        return rc;
    *batch = row.key.batch;
    *view = (struct batch_view){.n_items = 0};
    return rc == 0 ? batch_head(&row, view) : rc;
}

/* ---- marks ---- */

int local_mark_put(struct store *store, uint64_t queue, uint64_t batch, const void *data,
                   size_t len)
{
    local_of(store)->marks = true;
    return row_put(local_of(store), key_of(INDEX_MARKS, queue, batch), data, len);
}

int local_mark_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                    const void **data, size_t *len)
{
    struct local_store *s = local_of(store);
    struct index_row row;
    int rc = row_next(s, key_of(INDEX_MARKS, queue, from), false, true, &row);

    if (rc < 0 && rc != -EBADMSG)
        return rc;
    *batch = row.key.batch;
    *data = rc == 0 ? row.data : NULL;
    *len = rc == 0 ? row.len : 0;
    return rc;
}

/* ---- producers ---- */

int local_sequence_put(struct store *store, uint64_t queue, const struct sequence_record *record)
{
    uint8_t row[RECORD_SEQUENCE_BYTES];

    record_sequence_encode(record, row);
    return row_put(local_of(store), index_key_of_producer(queue, &record->producer), row,
                   sizeof(row));
}

int local_sequence_remove(struct store *store, uint64_t queue, const struct producer_id *producer)
{
    struct local_store *s = local_of(store);
    struct index_key key = index_key_of_producer(queue, producer);
    struct index_row row;
    int rc = row_get(s, key, &row);

    return rc == -ENOENT ? rc : row_remove(s, key);
}

int local_sequence_next(struct store *store, uint64_t queue, const struct producer_id *after,
                        struct sequence_record *record)
{
    static const struct producer_id lowest;
    struct local_store *s = local_of(store);
    struct index_row row;
    int rc = row_next(s, index_key_of_producer(queue, after ? after : &lowest), after != NULL, true,
                      &row);

    if (rc < 0 && rc != -EBADMSG)
        return rc;
    if (rc == 0)
        rc = record_sequence_decode(record, row.data, row.len);
    record->producer = index_producer(&row.key);
    return rc;
}

/* ---- which store this is ---- */

int local_identity_put(struct store *store, const void *data, size_t len)
{
    return row_put(local_of(store), key_of(INDEX_META, LOCAL_META_IDENTITY, 0), data, len);
}

int local_identity_get(struct store *store, const void **data, size_t *len)
{
    struct index_row row;
    int rc = row_get(local_of(store), key_of(INDEX_META, LOCAL_META_IDENTITY, 0), &row);

    if (rc < 0)
        return rc;
    *data = row.data;
    *len = row.len;
    return 0;
}

/* ---- an import ---- */

int local_import_begin(struct store *store, uint64_t queue, uint64_t batch)
{
    uint8_t row[16];

    put_le64(put_le64(row, queue), batch);
    return row_put(local_of(store), key_of(INDEX_META, LOCAL_META_IMPORT, 0), row, sizeof(row));
}

int local_import_end(struct store *store)
{
    return row_remove(local_of(store), key_of(INDEX_META, LOCAL_META_IMPORT, 0));
}

int local_import_get(struct store *store, uint64_t *queue, uint64_t *batch)
{
    struct index_row row;
    int rc = row_get(local_of(store), key_of(INDEX_META, LOCAL_META_IMPORT, 0), &row);

    if (rc == 0 && row.len != 16)
        rc = -EBADMSG;
    if (rc < 0)
        return rc;
    *queue = get_le64(row.data);
    *batch = get_le64(row.data + 8);
    return 0;
}
