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
#include "transport/wire.h"

struct wire_out {
    uint8_t *at, *end;
    bool data_there; /* see wire_reply_encode() */
};

static inline void put_bytes(struct wire_out *out, const void *bytes, size_t len)
{
    assert(len <= (size_t)(out->end - out->at));
    if (len)
        memcpy(out->at, bytes, len);
    out->at += len;
}

static inline void put_blob(struct wire_out *out, const void *bytes, size_t len)
{
    assert(len <= (size_t)(out->end - out->at));
    if (out->data_there)
        out->at += len;
    else
        put_bytes(out, bytes, len);
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

#define WIRE_HEAD 4 /* the first bytes of every frame */

/* ---- kinds, wire_kinds.c ---- */

/* The body of a request, and of an answer: `size` bytes and what `more` says (NULL: no more), laid
 * by `put`, read by `get` (NULL: there are none). get of an answer: as wire_reply_decode(). */
struct wire_kind {
    struct {
        size_t size;
        size_t (*more)(const struct request *request);
        void (*put)(struct wire_out *out, const struct request *request);
        int (*get)(struct wire_in *in, struct wire_request *decoded);
    } in;
    struct {
        size_t size;
        size_t (*more)(const struct request *request);
        void (*put)(struct wire_out *out, const struct request *request);
        int (*get)(struct wire_in *in, struct request *request, void **memory);
    } out;
    bool always; /* an answer has its body also where it failed */
    struct wire_blob (*blob)(const struct request *request); /* NULL: there is none */
};

/* The last one is of what is no request, and has none. */
extern const struct wire_kind wire_kinds[REQUEST_KINDS + 1];

/* ---- wire_parts.c ---- */

#define WIRE_SETTINGS (8 * QUEUE_N_SETTINGS)
void wire_put_settings(struct wire_out *out, const struct queue_settings *settings);
void wire_get_values(struct wire_in *in, struct queue_settings *settings); /* not looked at */
/* 0 or -EINVAL where they are not allowed; not looked at where `in` is bad. */
int wire_get_settings(struct wire_in *in, struct queue_settings *settings);

/* A length byte and the bytes; `name` has QUEUE_NAME_MAX + 1. 0 or -EINVAL. */
void wire_put_name(struct wire_out *out, const char *name);
int wire_get_name(struct wire_in *in, char *name);

void wire_put_state(struct wire_out *out, const struct queue_state *state);
void wire_get_state(struct wire_in *in, struct queue_state *state);

size_t wire_entry_size(const struct queue_entry *entry);
void wire_put_entry(struct wire_out *out, const struct queue_entry *entry);
void wire_get_entry(struct wire_in *in, struct queue_entry *entry);

#endif
