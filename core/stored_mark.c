#include "core/stored_mark.h"

#include "core/bytes.h"

uint32_t stored_mark_items(const uint8_t *mark, size_t len)
{
    return len >= STORED_MARK_HEAD && mark[0] == STORED_MARK_VERSION ? get_le32(mark + 4) : 0;
}

size_t stored_span_size(enum item_state state)
{
    bool extra = state == ITEM_LEASED || state == ITEM_DELAYED;

    return STORED_SPAN_HEAD + (extra ? STORED_SPAN_EXTRA : 0);
}

bool stored_mark_next(const uint8_t *mark, size_t len, size_t *at, struct stored_span *span)
{
    size_t from = *at > 0 ? *at : STORED_MARK_HEAD;
    const uint8_t *in = mark + from;

    if (from >= len || in[0] >= ITEM_STATES || len - from < stored_span_size(in[0]))
        return false;
    *span = (struct stored_span){.state = in[0],
                                 .n_items = get_le32(in + 1),
                                 .n_bytes = get_le32(in + 5),
                                 .deliveries = get_le32(in + 9),
                                 .extra = in + STORED_SPAN_HEAD};
    *at = from + stored_span_size(span->state);
    return span->n_items > 0;
}
