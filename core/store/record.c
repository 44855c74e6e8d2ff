#include "core/store/record.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"

/* ---- queues ---- */

#define QUEUE_HEAD (2 + QUEUE_NAME_MAX)

#define PUT(name, shown)     at = put_le64(at, record->name);
#define ADDRESS(name, shown) &record->name,

void record_queue_encode(const struct queue_record *record, uint8_t row[RECORD_QUEUE_BYTES])
{
    const int64_t *settings = (const int64_t *)&record->settings;
    size_t name_len = strnlen(record->name, QUEUE_NAME_MAX);
    uint8_t *at = row + QUEUE_HEAD;

    memset(row, 0, RECORD_QUEUE_BYTES);
    row[0] = RECORD_VERSION;
    row[1] = (uint8_t)name_len;
    memcpy(row + 2, record->name, name_len);
    *at++ = QUEUE_N_SETTINGS;
    *at++ = QUEUE_N_COUNTERS;
    for (size_t i = 0; i < QUEUE_N_SETTINGS; i++)
        at = put_le64(at, (uint64_t)settings[i]);
    at = put_le64(at, record->next_batch);
    at = put_le64(at, record->n_items);
    at = put_le64(at, record->n_bytes);
    at = put_le64(at, (uint64_t)record->made_us);
    QUEUE_COUNTERS(PUT)
}

/* What the row says of how many there are, and where they begin; NULL: this is no such row. */
static const uint8_t *numbers_of(const uint8_t *row, size_t len, size_t *n_settings,
                                 size_t *n_counters)
{
    const uint8_t *at = row + QUEUE_HEAD;

    *n_settings = *at++;
    *n_counters = *at++;
    if (*n_settings > QUEUE_N_SETTINGS || *n_counters > QUEUE_N_COUNTERS)
        return NULL; /* a later program's */
    return len == (size_t)(at - row) + 8 * (*n_settings + 4 + *n_counters) ? at : NULL;
}

/* Settings that a row of an earlier program does not have are the defaults. */
static int get_numbers(struct queue_record *record, const uint8_t *row, size_t len)
{
    uint64_t *const counters[] = {QUEUE_COUNTERS(ADDRESS)};
    int64_t *settings = (int64_t *)&record->settings;
    size_t n_settings, n_counters;
    const uint8_t *at = numbers_of(row, len, &n_settings, &n_counters);
    struct all_settings all;

    if (!at)
        return -EBADMSG;
    settings_default(&all);
    record->settings = all.own;
    for (size_t i = 0; i < n_settings; i++, at += 8)
        settings[i] = (int64_t)get_le64(at);
    record->next_batch = get_le64(at);
    record->n_items = get_le64(at + 8);
    record->n_bytes = get_le64(at + 16);
    record->made_us = (int64_t)get_le64(at + 24);
    at += 32;
    for (size_t i = 0; i < n_counters; i++, at += 8)
        *counters[i] = get_le64(at);
    return 0;
}

int record_queue_decode(struct queue_record *record, const void *row, size_t len)
{
    const uint8_t *bytes = row;
    struct queue_record found = {0};

    if (len < QUEUE_HEAD + 2 || bytes[0] != RECORD_VERSION)
        return -EBADMSG;
    if (bytes[1] < 1 || bytes[1] > QUEUE_NAME_MAX)
        return -EBADMSG;
    memcpy(found.name, bytes + 2, bytes[1]);
    if (!queue_name_valid(found.name) || strlen(found.name) != bytes[1])
        return -EBADMSG;
    if (get_numbers(&found, bytes, len) < 0)
        return -EBADMSG;
    *record = found;
    return 0;
}

/* ---- the others ---- */

void record_sequence_encode(const struct sequence_record *record,
                            uint8_t row[RECORD_SEQUENCE_BYTES])
{
    row[0] = RECORD_VERSION;
    put_le64(row + 1, record->epoch);
    put_le64(row + 9, record->last);
    put_le64(row + 17, (uint64_t)record->last_used_us);
    put_le64(row + 25, record->chain);
}

int record_sequence_decode(struct sequence_record *record, const void *row, size_t len)
{
    const uint8_t *bytes = row;

    if (len != RECORD_SEQUENCE_BYTES || bytes[0] != RECORD_VERSION)
        return -EBADMSG;
    record->epoch = get_le64(bytes + 1);
    record->last = get_le64(bytes + 9);
    record->last_used_us = (int64_t)get_le64(bytes + 17);
    record->chain = get_le64(bytes + 25);
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
}

int record_batch_decode(struct batch_view *view, const void *row, size_t len)
{
    const uint8_t *bytes = row;

    if (len < RECORD_BATCH_BYTES || bytes[0] != RECORD_VERSION)
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
