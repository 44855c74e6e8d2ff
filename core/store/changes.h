/*
 * The changes of one commit, as they lie in a record of the log (docs/format.md) one behind the
 * other: each puts or removes one row of the index. Pure but for the memory that the list owns.
 */
#ifndef QUEUEFS_CORE_STORE_CHANGES_H
#define QUEUEFS_CORE_STORE_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/batch.h"
#include "core/store/index.h"

#define CHANGE_HEAD 32 /* bytes before a change's data, which are padded to a multiple of 8 */

enum change_verb { CHANGE_PUT = 1, CHANGE_REMOVE = 2 };

struct change {
    enum change_verb verb;
    struct index_key key;
    uint64_t at;                /* where its data begins, in the record's body */
    const uint8_t *data, *tail; /* the bytes of a put; the tail follows data */
    size_t len, tail_len;
    uint32_t tail_crc;
};

struct changes {
    struct change *all; /* data is an offset into `bytes` until changes_parts() */
    size_t n, cap;
    uint8_t *bytes; /* heads and data, one behind the other, without tails */
    size_t n_bytes, cap_bytes;
    struct iovec *parts;
    size_t cap_parts;
    uint64_t len; /* of the body */
};

void changes_fini(struct changes *changes);
void changes_reset(struct changes *changes);

/* 0 or -ENOMEM. The data is copied. */
int changes_put(struct changes *changes, struct index_key key, const void *data, size_t len);
/* The same with a batch behind the head, whose bytes are borrowed until changes_parts() were used,
 * and whose checksum is taken as it stands. */
int changes_put_batch(struct changes *changes, struct index_key key, const void *head, size_t len,
                      const struct batch_view *view);
int changes_remove(struct changes *changes, struct index_key key);

/* The body's bytes, behind parts[0], which is left for the log's head, and their CRC-32C. 0 or
 * -ENOMEM. */
int changes_parts(struct changes *changes, struct iovec **parts, size_t *n_parts, uint32_t *crc);

/* What the head of a change says, whose data is not read; `room`: bytes of the body from it on.
 * -EBADMSG: this is no change. */
int changes_head(const uint8_t head[CHANGE_HEAD], uint64_t room, struct change *change);

/* The change at *at of a body, which goes behind it; its data is lent from there, all in `data`.
 * -ENOENT at the end, -EBADMSG: this is no change. */
int changes_next(const uint8_t *body, size_t len, size_t *at, struct change *change);

#endif
