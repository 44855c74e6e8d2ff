/*
 * The wire format: one frame a request, one frame an answer, little-endian, explicit widths. Knows
 * no NNG: frames are plain memory.
 *
 * For all versions to come: every frame begins with "qfs" and a byte, its version; a service
 * answers a frame of another version with one that begins so, with its own, and what is behind
 * these four bytes is nobody's business (wire_refusal_encode()). So each side learns what the other
 * speaks.
 *
 *   request  magic 3, version 1, kind 1, repeat 1, zero 2, queue 8, session 16, life 8, number 8,
 *            answered_below 8, then the body of its kind
 *   answer   magic 3, version 1, kind 1, zero 3, number 8, status 4, zero 4, position 8,
 *            queue_state,
 *            then the body of its kind; where it failed, only that of ARM, PUT, SETTLE, PURGE
 *
 * A body has exactly the length that its counts say. The answers of GET and LIST have the items'
 * bytes at a fixed offset and the rest behind them, so that a server lays the bytes straight into
 * the frame.
 *
 * Decoding reads nothing outside the frame, checks counts before it allocates, and lends the
 * frame's memory for bytes. What it lets through is within the limits of core/request.h; that the
 * bytes of a batch are what its checksum and count say is the receiver's to check (batch_verify).
 */
#ifndef QUEUEFS_TRANSPORT_WIRE_H
#define QUEUEFS_TRANSPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/request.h"

/* Another one with each setting and counter of a queue. */
#define WIRE_VERSION (5 + (int)QUEUE_N_SETTINGS - 10 + QUEUE_N_COUNTERS - 6)

/* A struct queue_state. */
#define WIRE_STATE (8 * (9 + QUEUE_N_COUNTERS))

/* No frame is longer: the largest blob and what goes with it. */
#define WIRE_FRAME_MAX (BATCH_BYTES_MAX + ((size_t)1 << 20))

/* Where out.get.data and out.list.data lie in an answer. */
#define WIRE_REPLY_DATA (32 + WIRE_STATE + 16)

/* What each grant, or each item of a LIST, takes behind them. */
#define WIRE_GRANT 64
#define WIRE_ITEM  40

/* Outcomes of decoding. */
enum {
    WIRE_FOREIGN = 1, /* no frame of ours at all */
    WIRE_OTHER_VERSION,
};

/* Version byte of a frame that is not WIRE_FOREIGN. */
uint8_t wire_version(const uint8_t *frame);

/* The answer to a frame of another version. */
#define WIRE_REFUSAL 8
void wire_refusal_encode(uint8_t frame[WIRE_REFUSAL]);

/* Length of the frame of a request within the limits. */
size_t wire_request_size(const struct request *request);

/* Fill `frame`, of wire_request_size() bytes. */
void wire_request_encode(const struct request *request, uint8_t *frame);

/* A request as it came: `request` points into the others and into the frame. */
struct wire_request {
    struct request request;
    struct settlement *settlements; /* owned */
    struct queue_settings settings;
    char name[QUEUE_NAME_MAX + 1];
};

/*
 * 0; WIRE_FOREIGN; WIRE_OTHER_VERSION; -EPROTO nonsense, -EINVAL a name or setting that is not
 * allowed, -ENOMEM. After a negative result request.kind (which may be out of range: REQUEST_KINDS)
 * and request.number are good for an answer. `decoded` must not move while it is used, and is good
 * for wire_request_fini() always.
 */
int wire_request_decode(const uint8_t *frame, size_t len, struct wire_request *decoded);
void wire_request_fini(struct wire_request *decoded);

/* Length of the frame that answers a request that is done. */
size_t wire_reply_size(const struct request *request);

/* Bytes that an answer carries beside its fields, those of GET and LIST; NULL and 0: none. */
struct wire_blob {
    const uint8_t *data;
    size_t len;
};

struct wire_blob wire_reply_blob(const struct request *request);

/* Fill `frame`. data_there: the blob was laid at WIRE_REPLY_DATA already. */
void wire_reply_encode(const struct request *request, uint8_t *frame, bool data_there);

/*
 * Set status, state and out of `request` from the answer to it. *memory: what they point to besides
 * the frame, for free(); may be NULL. 0; WIRE_FOREIGN; WIRE_OTHER_VERSION; -EPROTO nonsense, or not
 * the answer to this request; -ENOMEM. Nothing is to be freed unless 0.
 */
int wire_reply_decode(const uint8_t *frame, size_t len, struct request *request, void **memory);

#endif
