/*
 * Reading and writing a frame field by field; private to the wire files. A writer's frame was
 * measured before, so running over is our own mistake. A reader that runs out of bytes, or is told
 * that a field is nonsense, turns bad and gives zeros from then on: look once, at the end.
 */
#ifndef QUEUEFS_TRANSPORT_WIRE_CURSOR_H
#define QUEUEFS_TRANSPORT_WIRE_CURSOR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/bytes.h"
#include "core/request.h"

struct wire_out {
    uint8_t *at, *end;
};

static inline void put_bytes(struct wire_out *out, const void *bytes, size_t len)
{
    assert(len <= (size_t)(out->end - out->at));
    if (len)
        memcpy(out->at, bytes, len);
    out->at += len;
}

static inline void put_zeros(struct wire_out *out, size_t len)
{
    assert(len <= (size_t)(out->end - out->at));
    memset(out->at, 0, len);
    out->at += len;
}

static inline void put_u8(struct wire_out *out, uint8_t value)
{
    put_bytes(out, &value, sizeof(value));
}

static inline void put_u32(struct wire_out *out, uint32_t value)
{
    assert(sizeof(value) <= (size_t)(out->end - out->at));
    out->at = put_le32(out->at, value);
}

static inline void put_u64(struct wire_out *out, uint64_t value)
{
    assert(sizeof(value) <= (size_t)(out->end - out->at));
    out->at = put_le64(out->at, value);
}

static inline void put_i64(struct wire_out *out, int64_t value)
{
    put_u64(out, (uint64_t)value);
}

struct wire_in {
    const uint8_t *at;
    size_t left;
    bool bad;
};

/* The next len bytes, lent; NULL where there are not so many. */
static inline const uint8_t *get_bytes(struct wire_in *in, size_t len)
{
    const uint8_t *at = in->at;

    if (in->bad || len > in->left) {
        in->bad = true;
        return NULL;
    }
    in->at += len;
    in->left -= len;
    return at;
}

static inline uint8_t get_u8(struct wire_in *in)
{
    const uint8_t *at = get_bytes(in, 1);

    return at ? *at : 0;
}

static inline uint32_t get_u32(struct wire_in *in)
{
    const uint8_t *at = get_bytes(in, sizeof(uint32_t));

    return at ? get_le32(at) : 0;
}

static inline uint64_t get_u64(struct wire_in *in)
{
    const uint8_t *at = get_bytes(in, sizeof(uint64_t));

    return at ? get_le64(at) : 0;
}

static inline int64_t get_i64(struct wire_in *in)
{
    return (int64_t)get_u64(in);
}

/* A byte that may be 0 to max. */
static inline uint8_t get_choice(struct wire_in *in, uint8_t max)
{
    uint8_t value = get_u8(in);

    if (value > max)
        in->bad = true;
    return in->bad ? 0 : value;
}

static inline bool get_bool(struct wire_in *in)
{
    return get_choice(in, 1) != 0;
}

/* Bytes that must be zero. */
static inline void get_zeros(struct wire_in *in, size_t len)
{
    const uint8_t *at = get_bytes(in, len);

    for (size_t i = 0; at && i < len; i++)
        if (at[i])
            in->bad = true;
}

/* How many entries follow: at most max, and of at least `each` bytes, so that what is allocated
 * for them is in proportion to the frame. */
static inline size_t get_count(struct wire_in *in, size_t max, size_t each)
{
    size_t count = get_u32(in);

    if (count > max || count > in->left / each)
        in->bad = true;
    return in->bad ? 0 : count;
}

/* A range of items of one batch. */
static inline void check_range(struct wire_in *in, uint64_t batch, uint32_t from, uint32_t to)
{
    if (batch == 0 || batch > BATCH_NUMBER_MAX || from >= to || to > BATCH_ITEMS_MAX)
        in->bad = true;
}

/* The first four bytes of every frame; 0 or an outcome of wire.h. */
#define WIRE_HEAD 4
void wire_put_head(struct wire_out *out);
int wire_check_head(const uint8_t *frame, size_t len);

#define WIRE_SETTINGS 80
void wire_put_settings(struct wire_out *out, const struct queue_settings *settings);
/* 0 or -EINVAL where they are not allowed; not looked at where `in` is bad. */
int wire_get_settings(struct wire_in *in, struct queue_settings *settings);

/* A length byte and the bytes; `name` has QUEUE_NAME_MAX + 1. 0 or -EINVAL. */
void wire_put_name(struct wire_out *out, const char *name);
int wire_get_name(struct wire_in *in, char *name);

/* A status as a number of the wire, and back: 0 or -EPROTO. What has no number becomes -EIO's. */
uint32_t wire_status_code(int status);
int wire_status_errno(uint32_t code, int *status);

#define WIRE_EVENT 12

/* Whether the answer to a request that is done has its kind's body. */
bool wire_reply_has_body(const struct request *request);

#endif
