/* Items into a queue of a store, all or none: see import.h. */
#include "core/queue/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/queue/export.h"
#include "core/queue/queue.h"

#define BATCH_BYTES ((size_t)1 << 20) /* of a batch, but for one larger item */
#define COMMIT_BYTES                                                                               \
    ((size_t)2 << 20) /* of the batches of a commit, as soon as there are so many */
#define MIB       ((size_t)1 << 20)
#define STILL_MAX 20 /* transactions that clean nothing, until there is nothing */
#define PIECES    16 /* batches of a commit, at most */

struct piece {
    uint8_t *bytes; /* owned */
    size_t len, cap;
};

struct import {
    struct store *store;
    struct queue_shared shared;
    struct queue *queue;
    int64_t wall_us;
    enum framing framing;
    bool is_new, grows; /* max_item_size, with the largest item */
    size_t max_item_size;
    uint64_t room; /* items, by maxsize */
    struct piece
        pieces[PIECES + 1]; /* the batches of the open transaction, and the one being filled */
    size_t n_pieces;        /* in the transaction */
    size_t staged_bytes;
    uint64_t to_clean;       /* bytes, and 1; 0: not known yet */
    bool open, begun, ended; /* a transaction; the import, in the store */
    uint32_t n_items;        /* of the one being filled */
    uint32_t lengths[BATCH_ITEMS_MAX];
};

/* ---- batches ---- */

static int reserve(struct piece *piece, size_t len)
{
    size_t cap = piece->cap > 0 ? piece->cap : BATCH_BYTES + BATCH_BYTES / 4;
    uint8_t *bytes;

    if (len <= piece->cap)
        return 0;
    while (cap < len)
        cap *= 2;
    bytes = realloc(piece->bytes, cap);
    if (!bytes)
        return -ENOMEM;
    piece->bytes = bytes;
    piece->cap = cap;
    return 0;
}

static int begin(struct import *import)
{
    const struct queue_record *record = &import->queue->record;
    int rc = import->open ? 0 : import->store->ops->begin(import->store);

    if (rc < 0)
        return rc;
    import->open = true;
    if (import->begun)
        return 0;
    import->begun = true;
    return import->store->ops->import_begin(import->store, record->number, record->next_batch);
}

/* The batch that is being filled is kept. */
static int commit(struct import *import)
{
    struct piece filled = import->pieces[import->n_pieces];
    int rc = import->store->ops->commit(import->store);

    import->open = false;
    import->staged_bytes = 0;
    for (size_t i = 0; i < import->n_pieces; i++) {
        import->pieces[i].len = 0;
        if (import->pieces[i].cap <= 2 * BATCH_BYTES)
            continue;
        free(import->pieces[i].bytes);
        import->pieces[i] = (struct piece){.bytes = NULL};
    }
    import->pieces[import->n_pieces] = import->pieces[0];
    import->pieces[0] = filled;
    import->n_pieces = 0;
    return rc;
}

/* Of framing file: the table of lengths before the items. */
static int lay_table(struct import *import, struct piece *piece)
{
    size_t table = (size_t)import->n_items * 4;
    int rc = reserve(piece, piece->len + table);

    if (rc < 0)
        return rc;
    memmove(piece->bytes + table, piece->bytes, piece->len);
    for (uint32_t i = 0; i < import->n_items; i++)
        put_le32(piece->bytes + (size_t)i * 4, import->lengths[i]);
    piece->len += table;
    return 0;
}

/* As a put is refused where the store is full. */
static int check_space(struct import *import)
{
    struct store_space space;
    int rc = import->store->ops->space(import->store, &space);

    if (rc == 0 && import->to_clean == 0)
        import->to_clean = 1 + space.used_bytes;
    return rc == 0 && space.full ? -ENOSPC : rc;
}

/*
 * What was removed of a full store, by an import that was taken back or by a purge, is room only
 * once the log was cleaned, of which each transaction does a piece. That is written as much as the
 * store had at the beginning, and no more: what lives can be moved round for ever.
 */
static int clean(struct import *import)
{
    struct store *store = import->store;
    int rc = -ENOSPC;

    for (int still = 0; rc == -ENOSPC && still < STILL_MAX && import->to_clean > 1;) {
        uint64_t before = store->ops->position(store), moved;

        rc = store->ops->begin(store);
        if (rc == 0)
            rc = store->ops->commit(store);
        if (rc == 0)
            rc = check_space(import);
        moved = store->ops->position(store) - before;
        still = moved == 0 ? still + 1 : 0;
        import->to_clean -= moved < import->to_clean - 1 ? moved : import->to_clean - 1;
    }
    return rc;
}

static int make_room(struct import *import)
{
    int rc = check_space(import);

    if (rc == -ENOSPC && import->open) {
        rc = commit(import);
        rc = rc == 0 ? check_space(import) : rc;
    }
    return rc == -ENOSPC ? clean(import) : rc;
}

static int stage(struct import *import, const struct piece *piece, size_t n_bytes)
{
    const struct queue_front front = {
        .batch = import->queue->record.next_batch,
        .n_items = import->n_items,
        .n_bytes = n_bytes,
        .framing = import->framing,
        .put_time_us = import->wall_us,
    };
    const struct batch_view view = {
        .framing = import->framing,
        .n_items = import->n_items,
        .data = piece->bytes,
        .len = piece->len,
        .crc = crc32c(piece->bytes, piece->len),
        .put_time_us = import->wall_us,
    };
    int rc = begin(import);

    if (rc == 0)
        rc = import->store->ops->batch_put(import->store, import->queue->record.number, front.batch,
                                           &view);
    if (rc == 0)
        queue_take_batch(import->queue, &front);
    return rc;
}

/* The batch that is being filled is full, or the last one. */
static int finish_batch(struct import *import)
{
    int rc = import->queue->record.next_batch > BATCH_NUMBER_MAX ? -ENOSPC : make_room(import);
    struct piece *piece = &import->pieces[import->n_pieces];
    size_t n_bytes = piece->len;

    if (import->framing != FRAMING_FILE)
        n_bytes -= import->n_items;
    else if (rc == 0)
        rc = lay_table(import, piece);
    if (rc == 0)
        rc = stage(import, piece, n_bytes);
    if (rc < 0)
        return rc;
    import->n_items = 0;
    import->n_pieces++;
    import->staged_bytes += piece->len;
    if (import->staged_bytes < COMMIT_BYTES && import->n_pieces < PIECES)
        return 0;
    return commit(import);
}

/* ---- an import ---- */

static int find_queue(struct import *import, const struct import_options *options,
                      struct queue_record *record)
{
    int rc = queue_by_name(import->store, options->name, record);
    uint64_t last;

    if (rc != -ENOENT)
        return rc;
    import->is_new = true;
    rc = import->store->ops->queue_last_number(import->store, &last);
    *record = (struct queue_record){
        .number = last + 1,
        .settings = *options->settings,
        .next_batch = 1,
        .made_us = options->wall_us,
    };
    strcpy(record->name, options->name);
    return rc;
}

static int settle_settings(struct import *import, const struct import_options *options,
                           struct queue_record *record)
{
    const struct all_settings from = {.own = *options->settings};
    struct all_settings to = {.own = record->settings};

    settings_merge(&to, &from, options->fields & SETTINGS_OWN);
    record->settings = to.own;
    import->framing = (enum framing)to.own.framing;
    import->max_item_size = (size_t)to.own.max_item_size;
    import->grows = import->is_new && options->grows;
    return queue_settings_check(&to.own, NULL);
}

static int load(struct import *import, const struct import_options *options)
{
    struct queue_record record;
    uint64_t count, maxsize;
    int rc = find_queue(import, options, &record);

    if (rc == 0)
        rc = settle_settings(import, options, &record);
    if (rc == 0)
        rc = queue_new(&import->shared, &record, &import->queue);
    if (rc == 0)
        rc = queue_load(import->queue);
    if (rc < 0)
        return rc;
    count = queue_count(import->queue);
    maxsize = (uint64_t)record.settings.maxsize;
    import->room = maxsize == 0 ? UINT64_MAX : sub_floor(maxsize, count);
    return 0;
}

int import_new(const struct import_options *options, struct import **out)
{
    struct import *import = calloc(1, sizeof(*import));
    int rc;

    if (!import)
        return -ENOMEM;
    import->store = options->store;
    import->wall_us = options->wall_us;
    queue_shared_init(&import->shared, options->store);
    rc = load(import, options);
    if (rc < 0) {
        import_free(import);
        return rc;
    }
    *out = import;
    return 0;
}

const struct queue_settings *import_settings(const struct import *import)
{
    return &import->queue->record.settings;
}

/* In steps of a MiB. */
static bool grow(struct import *import, size_t len)
{
    size_t size = (len + MIB - 1) / MIB * MIB;

    if (!import->grows || size > (size_t)setting_find("max_item_size")->max)
        return false;
    import->max_item_size = size;
    import->queue->record.settings.max_item_size = (int64_t)size;
    return true;
}

size_t import_max_item_size(const struct import *import)
{
    return import->grows ? (size_t)setting_find("max_item_size")->max : import->max_item_size;
}

int import_item(struct import *import, const void *bytes, size_t len)
{
    size_t frame = import->framing == FRAMING_FILE ? 4 : 1;
    struct piece *piece = &import->pieces[import->n_pieces];
    int rc = 0;

    if (len > import->max_item_size && !grow(import, len))
        return IMPORT_TOO_LARGE;
    if (import->room == 0)
        return IMPORT_FULL;
    if (import->n_items == BATCH_ITEMS_MAX ||
        (import->n_items > 0 && piece->len + len + frame > BATCH_BYTES))
        rc = finish_batch(import);
    piece = &import->pieces[import->n_pieces];
    if (rc == 0)
        rc = reserve(piece, piece->len + len + frame);
    if (rc < 0)
        return rc;
    if (len > 0)
        memcpy(piece->bytes + piece->len, bytes, len);
    piece->len += len;
    if (import->framing == FRAMING_FILE)
        import->lengths[import->n_items] = (uint32_t)len;
    else
        piece->bytes[piece->len++] = framing_separator(import->framing);
    import->n_items++;
    import->room--;
    return 0;
}

int import_end(struct import *import)
{
    struct store *store = import->store;
    int rc = import->n_items > 0 ? finish_batch(import) : 0;

    if (rc == 0 && !import->open) {
        rc = store->ops->begin(store);
        import->open = rc == 0;
    }
    if (rc == 0)
        rc = store->ops->queue_put(store, &import->queue->record);
    if (rc == 0 && import->begun)
        rc = store->ops->import_end(store);
    if (rc == 0)
        rc = commit(import);
    import->ended = rc == 0;
    return rc;
}

void import_free(struct import *import)
{
    if (!import)
        return;
    if (import->open)
        import->store->ops->abort(import->store);
    if (import->begun && !import->ended)
        import->store->ops->import_undo(import->store);
    queue_free(import->queue);
    for (size_t i = 0; i <= PIECES; i++)
        free(import->pieces[i].bytes);
    free(import);
}
