#include "core/store/changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"

#define LONG_TAIL 8192 /* bytes: its checksum is joined sooner than taken */

void changes_fini(struct changes *changes)
{
    free(changes->all);
    free(changes->bytes);
    free(changes->parts);
    *changes = (struct changes){0};
}

void changes_reset(struct changes *changes)
{
    changes->n = changes->n_bytes = 0;
    changes->len = 0;
}

/* Room for `more` elements of `size` behind n; 0 or -ENOMEM. */
static int reserve(void *array, size_t n, size_t more, size_t *cap, size_t size)
{
    size_t wanted = *cap > 0 ? *cap : 64;
    void **at = array, *grown;

    if (more <= *cap - n)
        return 0;
    while (wanted - n < more)
        wanted *= 2;
    grown = realloc(*at, wanted * size);
    if (!grown)
        return -ENOMEM;
    *at = grown;
    *cap = wanted;
    return 0;
}

static size_t padded(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

/*
 * verb, table, 2 bytes 0, length of the data, queue, batch, low. The data of a put with a tail ends
 * with it, and the padding is behind: so the tail is followed by bytes that `bytes` has, too.
 */
static int add(struct changes *changes, enum change_verb verb, struct index_key key,
               const void *data, size_t len, const void *tail, size_t tail_len)
{
    size_t whole = len + tail_len, stored = CHANGE_HEAD + len + padded(whole) - whole;
    uint8_t *to;
    int rc = reserve(&changes->all, changes->n, 1, &changes->cap, sizeof(*changes->all));

    if (rc == 0)
        rc = reserve(&changes->bytes, changes->n_bytes, stored, &changes->cap_bytes, 1);
    if (rc < 0)
        return rc;
    to = changes->bytes + changes->n_bytes;
    memset(to, 0, stored);
    to[0] = (uint8_t)verb;
    to[1] = (uint8_t)key.table;
    put_le32(to + 4, (uint32_t)whole);
    put_le64(to + 8, key.queue);
    put_le64(to + 16, key.batch);
    put_le64(to + 24, key.low);
    if (len > 0)
        memcpy(to + CHANGE_HEAD, data, len);
    changes->all[changes->n++] = (struct change){
        .verb = verb,
        .key = key,
        .at = changes->len + CHANGE_HEAD,
        .len = len,
        .tail = tail,
        .tail_len = tail_len,
    };
    changes->n_bytes += stored;
    changes->len += CHANGE_HEAD + padded(whole);
    return 0;
}

int changes_put(struct changes *changes, struct index_key key, const void *data, size_t len)
{
    return add(changes, CHANGE_PUT, key, data, len, NULL, 0);
}

int changes_put_batch(struct changes *changes, struct index_key key, const void *head, size_t len,
                      const struct batch_view *view)
{
    int rc = add(changes, CHANGE_PUT, key, head, len, view->data, view->len);

    if (rc == 0)
        changes->all[changes->n - 1].tail_crc = view->crc;
    return rc;
}

int changes_remove(struct changes *changes, struct index_key key)
{
    return add(changes, CHANGE_REMOVE, key, NULL, 0, NULL, 0);
}

/* The checksum of what is before a tail and of the tail, which is not read for it where it is long.
 */
static uint32_t with_tail(uint32_t before, const struct change *change)
{
    if (change->tail_len < LONG_TAIL)
        return crc32c_more(before, change->tail, change->tail_len);
    return crc32c_shift(before, change->tail_len) ^ change->tail_crc;
}

static void add_part(struct changes *changes, size_t *n, const void *bytes, size_t len)
{
    changes->parts[*n] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    *n += 1;
}

int changes_parts(struct changes *changes, struct iovec **parts, size_t *n_parts, uint32_t *crc)
{
    uint8_t *from = changes->bytes, *at = changes->bytes;
    size_t n = 1;
    int rc = reserve(&changes->parts, 0, 2 * changes->n + 2, &changes->cap_parts,
                     sizeof(*changes->parts));

    if (rc < 0)
        return rc;
    *crc = CRC32C_NOTHING;
    for (size_t i = 0; i < changes->n; i++) {
        struct change *change = &changes->all[i];
        size_t whole = change->len + change->tail_len;

        change->data = at + CHANGE_HEAD;
        at += CHANGE_HEAD + change->len;
        if (change->tail_len > 0) {
            add_part(changes, &n, from, (size_t)(at - from));
            *crc = crc32c_more(*crc, from, (size_t)(at - from));
            add_part(changes, &n, change->tail, change->tail_len);
            *crc = with_tail(*crc, change);
            from = at;
        }
        at += padded(whole) - whole;
    }
    if (at > from)
        add_part(changes, &n, from, (size_t)(at - from));
    *crc = crc32c_more(*crc, from, (size_t)(at - from));
    *parts = changes->parts;
    *n_parts = n;
    return 0;
}

int changes_head(const uint8_t head[CHANGE_HEAD], uint64_t room, struct change *change)
{
    size_t n = get_le32(head + 4);

    if (room < CHANGE_HEAD || padded(n) > room - CHANGE_HEAD || head[1] >= INDEX_TABLES ||
        (head[0] != CHANGE_PUT && head[0] != CHANGE_REMOVE))
        return -EBADMSG;
    *change = (struct change){
        .verb = (enum change_verb)head[0],
        .key = {.table = (enum index_table)head[1],
                .queue = get_le64(head + 8),
                .batch = get_le64(head + 16),
                .low = get_le64(head + 24)},
        .len = n,
    };
    return 0;
}

int changes_next(const uint8_t *body, size_t len, size_t *at, struct change *change)
{
    size_t left = len - *at;
    int rc;

    if (left == 0)
        return -ENOENT;
    if (left < CHANGE_HEAD)
        return -EBADMSG;
    rc = changes_head(body + *at, left, change);
    if (rc < 0)
        return rc;
    change->at = *at + CHANGE_HEAD;
    change->data = body + change->at;
    *at = change->at + padded(change->len);
    return 0;
}
