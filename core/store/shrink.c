#include "core/store/shrink.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/stored_mark.h"

#define WORTH   16                /* such a part of it must be done, and more than its mark has */
#define LARGEST ((size_t)8 << 20) /* bytes of a batch: more takes longer than a put may wait */

static size_t frame_size(enum framing framing)
{
    return framing == FRAMING_FILE ? 4 : 1;
}

/* What the items that are not done have, frames apart; false: this is no mark of the batch. */
static bool payload_left(const struct batch_view *batch, const uint8_t *mark, size_t len,
                         uint64_t *left)
{
    struct stored_span span;
    uint64_t n_items = 0;
    size_t at = 0;

    *left = 0;
    if (stored_mark_items(mark, len) != batch->n_items)
        return false;
    while (stored_mark_next(mark, len, &at, &span)) {
        n_items += span.n_items;
        *left += span.state == ITEM_DONE ? 0 : span.n_bytes;
    }
    return at == len && n_items == batch->n_items;
}

uint64_t shrink_left(const struct batch_view *batch, const uint8_t *mark, size_t len)
{
    uint64_t left, least = batch->len / WORTH > len ? batch->len / WORTH : len;

    if (batch->len > LARGEST || !payload_left(batch, mark, len, &left))
        return batch->len;
    left += (uint64_t)batch->n_items * frame_size(batch->framing);
    return left < batch->len && batch->len - left > least ? left : batch->len;
}

/* Where a batch is read, and where it is written: never further. */
struct shrinking {
    const struct batch_view *batch;
    uint8_t *data;
    uint32_t item;
    size_t from, to;
};

/* So many items stay. */
static void keep(struct shrinking *s, uint32_t n_items)
{
    size_t end = s->from;

    for (uint32_t i = 0; i < n_items; i++)
        end = batch_item_end(s->batch, end, s->item++);
    memmove(s->data + s->to, s->data + s->from, end - s->from);
    s->to += end - s->from;
    s->from = end;
}

/* Of so many nothing but the frame does. */
static void leave(struct shrinking *s, uint32_t n_items)
{
    for (uint32_t i = 0; i < n_items; i++, s->item++) {
        s->from = batch_item_end(s->batch, s->from, s->item);
        if (s->batch->framing == FRAMING_FILE)
            put_le32(s->data + (size_t)s->item * 4, 0);
        else
            s->data[s->to++] = framing_separator(s->batch->framing);
    }
}

int shrink_batch(struct batch_view *batch, uint8_t *data, const uint8_t *mark, size_t len)
{
    struct shrinking s = {.batch = batch, .data = data};
    struct stored_span span;
    uint64_t left;
    size_t at = 0;

    if (batch_verify(batch) < 0 || !payload_left(batch, mark, len, &left))
        return -EBADMSG;
    if (batch->framing == FRAMING_FILE)
        s.from = s.to = (size_t)batch->n_items * 4;
    while (stored_mark_next(mark, len, &at, &span)) {
        if (span.state == ITEM_DONE)
            leave(&s, span.n_items);
        else
            keep(&s, span.n_items);
    }
    batch->len = s.to;
    batch->crc = crc32c(data, s.to);
    return 0;
}
