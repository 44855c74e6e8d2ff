/*
 * Batches as bytes. Finding the n-th item means counting separators, which goes at memory speed
 * for whole blocks; only inside the block where a wanted item starts are they looked for one by
 * one. For framing file the length table says it all.
 */
#include "core/batch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/name.h"

/* Bytes compared at once, and how often before a lane of byte counters could run over. */
#define LANES      16
#define ROUNDS_MAX 255

/* Small enough that few items are walked one by one, large enough that counting is cheap. */
#define INDEX_BLOCK 512

typedef uint8_t lanes __attribute__((vector_size(LANES)));

uint8_t framing_separator(enum framing framing)
{
    assert(framing == FRAMING_LINE || framing == FRAMING_NUL);
    return framing == FRAMING_LINE ? '\n' : '\0';
}

/* `rounds` times 2 * LANES bytes; at most ROUNDS_MAX. */
static size_t count_lanes(const uint8_t *data, size_t rounds, uint8_t byte)
{
    lanes wanted, even = {0}, odd = {0};
    size_t total = 0;

    memset(&wanted, byte, sizeof(wanted));
    for (size_t i = 0; i < rounds; i++) {
        lanes first, second;

        memcpy(&first, data + i * 2 * LANES, LANES);
        memcpy(&second, data + i * 2 * LANES + LANES, LANES);
        even -= (lanes)(first == wanted); /* equal is all ones, which is -1 */
        odd -= (lanes)(second == wanted);
    }
    for (size_t i = 0; i < LANES; i++)
        total += (size_t)even[i] + odd[i];
    return total;
}

size_t count_byte(const uint8_t *data, size_t len, uint8_t byte)
{
    size_t total = 0;

    while (len >= 2 * LANES) {
        size_t rounds = len / (2 * LANES) < ROUNDS_MAX ? len / (2 * LANES) : ROUNDS_MAX;

        total += count_lanes(data, rounds, byte);
        data += rounds * 2 * LANES;
        len -= rounds * 2 * LANES;
    }
    for (size_t i = 0; i < len; i++)
        total += data[i] == byte;
    return total;
}

/* Entry i of a length table. */
static uint32_t table_length(const struct batch_view *batch, uint32_t i)
{
    return get_le32(batch->data + (size_t)i * 4);
}

static int table_check(const struct batch_view *batch)
{
    uint64_t sum = (uint64_t)batch->n_items * 4;

    if (sum > batch->len)
        return -EINVAL;
    for (uint32_t i = 0; i < batch->n_items; i++)
        sum += table_length(batch, i);
    return sum == batch->len ? 0 : -EINVAL;
}

int batch_check(const struct batch_view *batch)
{
    uint8_t separator;

    if (batch->n_items < 1 || batch->n_items > BATCH_ITEMS_MAX)
        return -EINVAL;
    if (batch->len < 1 || batch->len > BATCH_BYTES_MAX)
        return -EINVAL;
    if (batch->framing == FRAMING_FILE)
        return table_check(batch);
    if (batch->framing != FRAMING_LINE && batch->framing != FRAMING_NUL)
        return -EINVAL;

    separator = framing_separator(batch->framing);
    if (batch->data[batch->len - 1] != separator)
        return -EINVAL;
    return count_byte(batch->data, batch->len, separator) == batch->n_items ? 0 : -EINVAL;
}

int batch_verify(const struct batch_view *batch)
{
    if (crc32c(batch->data, batch->len) != batch->crc)
        return -EBADMSG;
    return batch_check(batch);
}

size_t batch_item_end(const struct batch_view *batch, size_t offset, uint32_t i)
{
    const uint8_t *end;

    if (batch->framing == FRAMING_FILE)
        return offset + table_length(batch, i);
    end = memchr(batch->data + offset, framing_separator(batch->framing), batch->len - offset);
    assert(end != NULL);
    return (size_t)(end - batch->data) + 1;
}

static size_t first_offset(const struct batch_view *batch)
{
    return batch->framing == FRAMING_FILE ? (size_t)batch->n_items * 4 : 0;
}

size_t batch_longest(const struct batch_view *batch)
{
    size_t separator = batch->framing == FRAMING_FILE ? 0 : 1;
    size_t offset = first_offset(batch), longest = 0;

    for (uint32_t i = 0; i < batch->n_items; i++) {
        size_t end = batch_item_end(batch, offset, i);

        if (end - offset - separator > longest)
            longest = end - offset - separator;
        offset = end;
    }
    return longest;
}

static void index_table(struct batch_index *index, const struct batch_view *batch)
{
    size_t offset = first_offset(batch);

    for (uint32_t i = 0; i < batch->n_items; i++) {
        if (i % BATCH_INDEX_STRIDE == 0)
            index->offsets[i / BATCH_INDEX_STRIDE] = (uint32_t)offset;
        offset += table_length(batch, i);
    }
}

/* Note the starts of items first+1 ... that lie behind a separator of this block. */
static void index_block(struct batch_index *index, const struct batch_view *batch, size_t start,
                        size_t len, uint32_t first)
{
    uint8_t separator = framing_separator(batch->framing);
    const uint8_t *at = batch->data + start, *end = at + len;
    uint32_t item = first;

    while ((at = memchr(at, separator, (size_t)(end - at))) != NULL) {
        at++;
        item++;
        if (item % BATCH_INDEX_STRIDE == 0 && item < batch->n_items)
            index->offsets[item / BATCH_INDEX_STRIDE] = (uint32_t)(at - batch->data);
    }
}

static void index_separators(struct batch_index *index, const struct batch_view *batch)
{
    uint8_t separator = framing_separator(batch->framing);
    uint32_t item = 0;

    index->offsets[0] = 0;
    for (size_t start = 0; start < batch->len; start += INDEX_BLOCK) {
        size_t len = batch->len - start < INDEX_BLOCK ? batch->len - start : INDEX_BLOCK;
        uint32_t n = (uint32_t)count_byte(batch->data + start, len, separator);

        if (item / BATCH_INDEX_STRIDE != (item + n) / BATCH_INDEX_STRIDE)
            index_block(index, batch, start, len, item);
        item += n;
    }
}

int batch_index_init(struct batch_index *index, const struct batch_view *batch)
{
    size_t n = ((size_t)batch->n_items + BATCH_INDEX_STRIDE - 1) / BATCH_INDEX_STRIDE;

    index->n_items = batch->n_items;
    index->offsets = malloc(n * sizeof(*index->offsets));
    if (!index->offsets)
        return -ENOMEM;
    if (batch->framing == FRAMING_FILE)
        index_table(index, batch);
    else
        index_separators(index, batch);
    return 0;
}

void batch_index_fini(struct batch_index *index)
{
    free(index->offsets);
    *index = (struct batch_index){0};
}

size_t batch_offset(const struct batch_index *index, const struct batch_view *batch, uint32_t i)
{
    uint32_t at;
    size_t offset;

    assert(i <= index->n_items);
    if (i == index->n_items)
        return batch->len;
    at = i - i % BATCH_INDEX_STRIDE;
    offset = index->offsets[i / BATCH_INDEX_STRIDE];
    for (; at < i; at++)
        offset = batch_item_end(batch, offset, at);
    return offset;
}

size_t batch_payload(const struct batch_index *index, const struct batch_view *batch, uint32_t from,
                     uint32_t to)
{
    size_t bytes;

    assert(from <= to);
    bytes = batch_offset(index, batch, to) - batch_offset(index, batch, from);
    return batch->framing == FRAMING_FILE ? bytes : bytes - (to - from);
}

/* The last indexed item in (from, to] that starts at or below `limit`; `from` where none does. */
static uint32_t last_indexed_below(const struct batch_index *index, uint32_t from, uint32_t to,
                                   size_t limit)
{
    uint32_t low = from / BATCH_INDEX_STRIDE, high;

    high = (to < index->n_items ? to : index->n_items - 1) / BATCH_INDEX_STRIDE;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;

        if (index->offsets[middle] <= limit)
            low = middle;
        else
            high = middle - 1;
    }
    return low * BATCH_INDEX_STRIDE > from ? low * BATCH_INDEX_STRIDE : from;
}

uint32_t batch_fit(const struct batch_index *index, const struct batch_view *batch, uint32_t from,
                   uint32_t max_items, size_t room, size_t *bytes)
{
    size_t start, offset, limit;
    uint32_t at, to;

    assert(from < index->n_items && max_items > 0);
    to = max_items < index->n_items - from ? from + max_items : index->n_items;
    start = batch_offset(index, batch, from);
    limit = room < batch->len - start ? start + room : batch->len;

    at = last_indexed_below(index, from, to, limit);
    offset = at > from ? index->offsets[at / BATCH_INDEX_STRIDE] : start;
    while (at < to) {
        size_t end = batch_item_end(batch, offset, at);

        if (end > limit && at > from)
            break;
        offset = end;
        at++;
        if (end > limit)
            break;
    }
    *bytes = offset - start;
    return at - from;
}
