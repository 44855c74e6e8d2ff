#include "core/put/batcher.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/crc32c.h"
#include "core/name.h"

#define BUFFER_SMALLEST ((size_t)4 << 10)
#define LENGTH_BYTES    4

#define COUNT_BLOCK ((size_t)4 << 10)

/* Smaller buffers are cheap to malloc. */
#define SPARE_SMALLEST  ((size_t)64 << 10)
#define SPARES_MAX      16
#define SPARE_BYTES_MAX ((size_t)16 << 20)

static size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- batches and their buffers ---- */

static void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    free(batch->data);
    free(batch);
}

static struct batch *batch_new(struct batcher *b, enum framing framing, int64_t now_us)
{
    struct batch *batch = b->spares;

    if (batch) {
        b->spares = batch->next;
        b->n_spares--;
        b->spare_bytes -= batch->cap;
    } else {
        batch = calloc(1, sizeof(*batch));
        if (!batch)
            return NULL;
    }
    *batch = (struct batch){
        .framing = framing,
        .data = batch->data,
        .cap = batch->cap,
        .oldest_us = now_us,
        .n_users = 1,
    };
    return batch;
}

static void batch_drop(struct batcher *b, struct batch *batch)
{
    if (--batch->n_users > 0)
        return;
    if (batch->cap < SPARE_SMALLEST || b->n_spares >= SPARES_MAX ||
        b->spare_bytes + batch->cap > SPARE_BYTES_MAX) {
        batch_free(batch);
        return;
    }
    batch->next = b->spares;
    b->spares = batch;
    b->n_spares++;
    b->spare_bytes += batch->cap;
}

/* Room for `more` bytes. 0 or -ENOMEM. */
static int batch_reserve(struct batch *batch, size_t more)
{
    size_t need = batch->len + more;
    size_t cap = batch->cap < BUFFER_SMALLEST ? BUFFER_SMALLEST : batch->cap;
    uint8_t *data;

    if (need <= batch->cap)
        return 0;
    while (cap < need)
        cap *= 2;
    if (batch->len == 0) { /* nothing to be copied along */
        free(batch->data);
        batch->data = NULL;
        batch->cap = 0;
    }
    data = realloc(batch->data, cap);
    if (!data)
        return -ENOMEM;
    batch->data = data;
    batch->cap = cap;
    return 0;
}

static int batch_add_item(struct batch *batch, const uint8_t *first, size_t first_len,
                          const uint8_t *second, size_t second_len)
{
    size_t bytes = batcher_item_bytes(batch->framing, first_len + second_len);
    uint8_t *to;

    if (batch_reserve(batch, bytes) < 0)
        return -ENOMEM;
    to = batch->data + batch->len;
    if (batch->framing == FRAMING_FILE) {
        put_le32(to, (uint32_t)(first_len + second_len));
        to += LENGTH_BYTES;
    }
    if (first_len > 0)
        memcpy(to, first, first_len);
    if (second_len > 0)
        memcpy(to + first_len, second, second_len);
    if (batch->framing != FRAMING_FILE)
        to[first_len + second_len] = framing_separator(batch->framing);
    batch->len += bytes;
    batch->n_items++;
    return 0;
}

/* ---- gathering ---- */

void batcher_init(struct batcher *b)
{
    *b = (struct batcher){0};
}

void batcher_fini(struct batcher *b)
{
    batcher_clear(b);
    batcher_trim(b);
}

size_t batcher_item_bytes(enum framing framing, size_t len)
{
    return len + (framing == FRAMING_FILE ? LENGTH_BYTES : 1);
}

bool batcher_empty(const struct batcher *b)
{
    return !b->head;
}

/* The batch that items may be appended to, or NULL. */
static struct batch *open_tail(const struct batcher *b, enum framing framing)
{
    struct batch *tail = b->tail;

    if (!tail || tail->framing != framing || tail->n_items >= BATCH_ITEMS_MAX)
        return NULL;
    return tail == b->head && b->cut_items > 0 ? NULL : tail;
}

/* An empty batch after the tail, not in the list before it has an item. */
static struct batch *begin(struct batcher *b, enum framing framing, int64_t now_us)
{
    struct batch *batch = batch_new(b, framing, now_us);

    if (batch)
        batch->base = b->last + 1;
    return batch;
}

static void link_tail(struct batcher *b, struct batch *batch)
{
    if (b->tail)
        b->tail->next = batch;
    else
        b->head = batch;
    b->tail = batch;
}

static size_t room_in(const struct batch *batch, size_t batch_bytes)
{
    return batch_bytes > batch->len ? batch_bytes - batch->len : 0;
}

/* Whole items at the beginning of a write. */
struct run {
    size_t len;
    uint32_t n_items;
};

/* As many of these bytes as are whole items, `most` at most. */
static struct run whole_items(const uint8_t *data, size_t len, uint8_t separator, uint32_t most)
{
    struct run run = {0};
    const uint8_t *end;
    size_t at, n;

    for (at = 0; at < len; at += n) {
        n = size_min(len - at, COUNT_BLOCK);
        uint32_t n_items = (uint32_t)count_byte(data + at, n, separator);

        if (n_items > most - run.n_items)
            break;
        run.n_items += n_items;
    }
    while (at < len && run.n_items < most) {
        at = (size_t)((const uint8_t *)memchr(data + at, separator, len - at) - data) + 1;
        run.n_items++;
    }
    end = memrchr(data, separator, at);
    run.len = end ? (size_t)(end - data) + 1 : 0;
    return run;
}

/* What the batch takes of whole items: nothing where the first would pass the cap. */
static struct run run_for(const struct batch *batch, const uint8_t *data, size_t len,
                          size_t batch_bytes)
{
    uint8_t separator = framing_separator(batch->framing);
    struct run run = whole_items(data, size_min(len, room_in(batch, batch_bytes)), separator,
                                 BATCH_ITEMS_MAX - batch->n_items);

    if (run.len > 0 || batch->n_items > 0)
        return run;
    /* A large one has a batch to itself. */
    run.len = (size_t)((const uint8_t *)memchr(data, separator, len) - data) + 1;
    run.n_items = 1;
    return run;
}

static int add_run(struct batcher *b, struct batch *batch, const uint8_t *data, struct run run)
{
    if (batch_reserve(batch, run.len) < 0)
        return -ENOMEM;
    memcpy(batch->data + batch->len, data, run.len);
    batch->len += run.len;
    batch->n_items += run.n_items;
    b->last += run.n_items;
    return 0;
}

size_t batcher_append(struct batcher *b, enum framing framing, const uint8_t *data, size_t len,
                      size_t batch_bytes, int64_t now_us)
{
    struct batch *batch;
    struct run run = {0};
    size_t taken = 0;

    while (taken < len) {
        batch = open_tail(b, framing);
        if (batch)
            run = run_for(batch, data + taken, len - taken, batch_bytes);
        if (!batch || run.len == 0) {
            batch = begin(b, framing, now_us);
            if (!batch)
                break;
            run = run_for(batch, data + taken, len - taken, batch_bytes);
        }
        if (add_run(b, batch, data + taken, run) < 0) {
            if (batch->n_items == 0)
                batch_drop(b, batch);
            break;
        }
        if (batch != b->tail)
            link_tail(b, batch);
        taken += run.len;
    }
    return taken;
}

int batcher_append_item(struct batcher *b, enum framing framing, const uint8_t *first,
                        size_t first_len, const uint8_t *second, size_t second_len,
                        size_t batch_bytes, int64_t now_us)
{
    struct batch *batch = open_tail(b, framing);
    size_t bytes = batcher_item_bytes(framing, first_len + second_len);

    if (!batch || batch->len + bytes > batch_bytes)
        batch = begin(b, framing, now_us);
    if (!batch)
        return -ENOMEM;
    if (batch_add_item(batch, first, first_len, second, second_len) < 0) {
        if (batch->n_items == 0)
            batch_drop(b, batch);
        return -ENOMEM;
    }
    if (batch != b->tail)
        link_tail(b, batch);
    b->last++;
    return 0;
}

/* ---- cutting ---- */

int64_t batcher_due_us(const struct batcher *b, const struct mount_settings *settings,
                       uint64_t send_up_to)
{
    const struct batch *head = b->head;

    if (!head)
        return TIME_FOREVER;
    if (head->next || b->cut_items > 0 || head->base <= send_up_to ||
        head->n_items >= settings->batch_size || head->len >= (size_t)settings->batch_bytes)
        return INT64_MIN;
    return time_after(head->oldest_us, settings->linger_us);
}

/* Of framing file: the records of a batch as a table of lengths, then the items, in a batch of its
 * own. NULL: out of memory. */
static struct batch *lay_out(struct batcher *b, const uint8_t *records, size_t len,
                             uint32_t n_items)
{
    struct batch *batch = batch_new(b, FRAMING_FILE, 0);
    uint8_t *table, *items;
    size_t item_len;

    if (!batch || batch_reserve(batch, len) < 0) {
        if (batch)
            batch_drop(b, batch);
        return NULL;
    }
    table = batch->data;
    items = table + (size_t)n_items * LENGTH_BYTES;
    for (uint32_t i = 0; i < n_items; i++) {
        item_len = get_le32(records);
        memcpy(table + (size_t)i * LENGTH_BYTES, records, LENGTH_BYTES);
        memcpy(items, records + LENGTH_BYTES, item_len);
        items += item_len;
        records += LENGTH_BYTES + item_len;
    }
    batch->len = len;
    batch->n_items = n_items;
    return batch;
}

static void next_head(struct batcher *b)
{
    struct batch *head = b->head;

    b->head = head->next;
    if (!b->head)
        b->tail = NULL;
    b->cut_len = 0;
    b->cut_items = 0;
    batch_drop(b, head);
}

static size_t first_item_bytes(enum framing framing, const uint8_t *data, size_t len)
{
    const uint8_t *end;

    if (framing == FRAMING_FILE)
        return LENGTH_BYTES + get_le32(data);
    end = memchr(data, framing_separator(framing), len);
    assert(end);
    return (size_t)(end - data) + 1;
}

void batcher_cut(struct batcher *b, bool single, struct slice *slice)
{
    struct batch *head = b->head, *laid = NULL;
    const uint8_t *data = head->data + b->cut_len;
    size_t len = head->len - b->cut_len;
    uint32_t n_items = head->n_items - b->cut_items;

    if (!single && n_items > 1 && head->framing == FRAMING_FILE) {
        laid = lay_out(b, data, len, n_items);
        single = !laid; /* one at a time needs no memory */
    }
    if (single) {
        len = first_item_bytes(head->framing, data, len);
        n_items = 1;
    }
    slice->batch = laid ? laid : head;
    slice->base = head->base + b->cut_items;
    slice->view = (struct batch_view){
        .framing = head->framing, .n_items = n_items, .data = laid ? laid->data : data, .len = len};
    slice->view.crc = crc32c(slice->view.data, len);
    if (laid)
        laid->oldest_us = head->oldest_us;
    else
        head->n_users++;
    b->cut_len += len;
    b->cut_items += n_items;
    if (b->cut_items == head->n_items)
        next_head(b);
}

void batcher_done(struct batcher *b, struct slice *slice)
{
    batch_drop(b, slice->batch);
    slice->batch = NULL;
}

/* ---- taking items out ---- */

/* Append to `to` the items from `skip` on that are not longer than max. */
static int copy_some(const struct batch_view *from, uint32_t skip, size_t max, struct batch *to)
{
    bool file = from->framing == FRAMING_FILE;
    const uint8_t *item = from->data + (file ? (size_t)from->n_items * LENGTH_BYTES : 0);
    size_t left = from->len - (size_t)(item - from->data), len;

    for (uint32_t i = 0; i < from->n_items; i++) {
        if (file)
            len = get_le32(from->data + (size_t)i * LENGTH_BYTES);
        else
            len = first_item_bytes(from->framing, item, left) - 1;
        if (i >= skip && len <= max && batch_add_item(to, item, len, NULL, 0) < 0)
            return -ENOMEM;
        item += file ? len : len + 1;
        left -= file ? len : len + 1;
    }
    return 0;
}

/* What copy_some() leaves, as a batch of its own that is ready to be sent. NULL: no memory. */
static struct batch *filtered(struct batcher *b, const struct slice *slice, uint32_t skip,
                              size_t max)
{
    struct batch *kept = batch_new(b, slice->view.framing, slice->batch->oldest_us), *laid;

    if (!kept)
        return NULL;
    if (copy_some(&slice->view, skip, max, kept) < 0) {
        batch_drop(b, kept);
        return NULL;
    }
    if (kept->framing != FRAMING_FILE || kept->n_items < 2)
        return kept;
    laid = lay_out(b, kept->data, kept->len, kept->n_items);
    batch_drop(b, kept);
    if (laid)
        laid->oldest_us = slice->batch->oldest_us;
    return laid;
}

int batcher_filter(struct batcher *b, struct slice *slice, uint32_t skip, size_t max,
                   uint32_t *n_dropped)
{
    struct batch *kept = filtered(b, slice, skip, max);

    if (!kept)
        return -ENOMEM;
    *n_dropped = slice->view.n_items - kept->n_items;
    batch_drop(b, slice->batch);
    slice->batch = kept;
    slice->base += *n_dropped;
    slice->view.n_items = kept->n_items;
    slice->view.data = kept->data;
    slice->view.len = kept->len;
    slice->view.crc = crc32c(kept->data, kept->len);
    return 0;
}

size_t batcher_clear(struct batcher *b)
{
    size_t bytes = 0;

    while (b->head) {
        bytes += b->head->len - b->cut_len;
        next_head(b);
    }
    return bytes;
}

void batcher_trim(struct batcher *b)
{
    struct batch *spare;

    while ((spare = b->spares)) {
        b->spares = spare->next;
        batch_free(spare);
    }
    b->n_spares = 0;
    b->spare_bytes = 0;
}
