#include "core/chain.h"

#include "core/crc32c.h"

static uint64_t join(uint64_t chain, uint32_t lengths, size_t lengths_len, uint32_t items,
                     size_t items_len)
{
    uint32_t all_lengths = crc32c_shift((uint32_t)(chain >> 32), lengths_len) ^ lengths;
    uint32_t all_items = crc32c_shift((uint32_t)chain, items_len) ^ items;

    return (uint64_t)all_lengths << 32 | all_items;
}

uint64_t chain_append(uint64_t chain, const struct batch_view *batch)
{
    size_t table = batch->framing == FRAMING_FILE ? (size_t)batch->n_items * 4 : 0;
    uint32_t lengths = crc32c(batch->data, table);
    size_t len = batch->len - table;

    return join(chain, lengths, table, batch->crc ^ crc32c_shift(lengths, len), len);
}

uint64_t chain_append_some(uint64_t chain, const struct batch_view *batch, uint32_t n_items)
{
    bool file = batch->framing == FRAMING_FILE;
    size_t begin = file ? (size_t)batch->n_items * 4 : 0, table = file ? (size_t)n_items * 4 : 0;
    size_t end = begin;

    for (uint32_t i = 0; i < n_items; i++)
        end = batch_item_end(batch, end, i);
    return join(chain, crc32c(batch->data, table), table, crc32c(batch->data + begin, end - begin),
                end - begin);
}
