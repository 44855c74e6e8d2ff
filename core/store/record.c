#include "core/store/record.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"

/* The last 4 of len bytes are the checksum of those before. */
static void seal(uint8_t *row, size_t len)
{
    put_le32(row + len - 4, crc32c(row, len - 4));
}

static int seal_check(const uint8_t *row, size_t len)
{
    if (get_le32(row + len - 4) != crc32c(row, len - 4))
        return -EBADMSG;
    return row[0] == RECORD_VERSION ? 0 : -EBADMSG;
}

void record_queue_encode(const struct queue_record *record, uint8_t row[RECORD_QUEUE_BYTES])
{
    const struct queue_settings *own = &record->settings;
    const uint64_t numbers[RECORD_QUEUE_NUMBERS] = {
        (uint64_t)own->maxsize,
        (uint64_t)own->max_item_size,
        (uint64_t)own->framing,
        (uint64_t)own->lease_us,
        (uint64_t)own->lease_max_us,
        (uint64_t)own->retry_delay_us,
        (uint64_t)own->max_deliveries,
        (uint64_t)own->mode,
        (uint64_t)own->owner,
        (uint64_t)own->group,
        record->next_batch,
        record->n_items,
        record->n_bytes,
        (uint64_t)record->made_us,
        record->total_puts,
        record->total_gets,
        record->batch_puts,
        record->batch_gets,
        record->redelivered,
        record->expired,
    };
    size_t name_len = strnlen(record->name, QUEUE_NAME_MAX);

    memset(row, 0, RECORD_QUEUE_BYTES);
    row[0] = RECORD_VERSION;
    row[1] = (uint8_t)name_len;
    memcpy(row + 2, record->name, name_len);
    for (size_t i = 0; i < RECORD_QUEUE_NUMBERS; i++)
        put_le64(row + 2 + QUEUE_NAME_MAX + 8 * i, numbers[i]);
    seal(row, RECORD_QUEUE_BYTES);
}

static void queue_numbers(struct queue_record *record, const uint64_t *numbers)
{
    struct queue_settings *own = &record->settings;

    own->maxsize = (int64_t)numbers[0];
    own->max_item_size = (int64_t)numbers[1];
    own->framing = (int64_t)numbers[2];
    own->lease_us = (int64_t)numbers[3];
    own->lease_max_us = (int64_t)numbers[4];
    own->retry_delay_us = (int64_t)numbers[5];
    own->max_deliveries = (int64_t)numbers[6];
    own->mode = (int64_t)numbers[7];
    own->owner = (int64_t)numbers[8];
    own->group = (int64_t)numbers[9];
    record->next_batch = numbers[10];
    record->n_items = numbers[11];
    record->n_bytes = numbers[12];
    record->made_us = (int64_t)numbers[13];
    record->total_puts = numbers[14];
    record->total_gets = numbers[15];
    record->batch_puts = numbers[16];
    record->batch_gets = numbers[17];
    record->redelivered = numbers[18];
    record->expired = numbers[19];
}

int record_queue_decode(struct queue_record *record, const void *row, size_t len)
{
    const uint8_t *bytes = row;
    struct queue_record found = {0};
    uint64_t numbers[RECORD_QUEUE_NUMBERS];

    if (len != RECORD_QUEUE_BYTES || seal_check(bytes, len) < 0)
        return -EBADMSG;
    if (bytes[1] < 1 || bytes[1] > QUEUE_NAME_MAX)
        return -EBADMSG;
    memcpy(found.name, bytes + 2, bytes[1]);
    if (!queue_name_valid(found.name) || strlen(found.name) != bytes[1])
        return -EBADMSG;

    for (size_t i = 0; i < RECORD_QUEUE_NUMBERS; i++)
        numbers[i] = get_le64(bytes + 2 + QUEUE_NAME_MAX + 8 * i);
    queue_numbers(&found, numbers);
    *record = found;
    return 0;
}

void record_sequence_encode(const struct sequence_record *record,
                            uint8_t row[RECORD_SEQUENCE_BYTES])
{
    row[0] = RECORD_VERSION;
    put_le64(row + 1, record->epoch);
    put_le64(row + 9, record->last);
    put_le64(row + 17, (uint64_t)record->last_used_us);
    seal(row, RECORD_SEQUENCE_BYTES);
}

int record_sequence_decode(struct sequence_record *record, const void *row, size_t len)
{
    const uint8_t *bytes = row;

    if (len != RECORD_SEQUENCE_BYTES || seal_check(bytes, len) < 0)
        return -EBADMSG;
    record->epoch = get_le64(bytes + 1);
    record->last = get_le64(bytes + 9);
    record->last_used_us = (int64_t)get_le64(bytes + 17);
    return 0;
}

void record_batch_encode(const struct batch_view *view, uint8_t row[RECORD_BATCH_BYTES])
{
    memset(row, 0, RECORD_BATCH_BYTES);
    row[0] = RECORD_VERSION;
    row[1] = (uint8_t)view->framing;
    put_le32(row + 4, view->n_items);
    put_le32(row + 8, (uint32_t)view->len);
    put_le32(row + 12, view->crc);
    put_le64(row + 16, (uint64_t)view->put_time_us);
    seal(row, RECORD_BATCH_BYTES);
}

int record_batch_decode(struct batch_view *view, const void *row, size_t len)
{
    const uint8_t *bytes = row;

    if (len < RECORD_BATCH_BYTES || seal_check(bytes, RECORD_BATCH_BYTES) < 0)
        return -EBADMSG;
    if (bytes[1] > FRAMING_FILE || get_le32(bytes + 8) != len - RECORD_BATCH_BYTES)
        return -EBADMSG;
    *view = (struct batch_view){
        .framing = (enum framing)bytes[1],
        .n_items = get_le32(bytes + 4),
        .data = bytes + RECORD_BATCH_BYTES,
        .len = len - RECORD_BATCH_BYTES,
        .crc = get_le32(bytes + 12),
        .put_time_us = (int64_t)get_le64(bytes + 16),
    };
    return 0;
}
