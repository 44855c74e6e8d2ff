/* Frames: what all kinds have in common; wire_kinds.c has the bodies. */
#include "transport/wire.h"

#include <errno.h>
#include <stdlib.h>

#include "transport/wire_cursor.h"

static const uint8_t wire_magic[3] = {'q', 'f', 's'};

uint8_t wire_version(const uint8_t *frame)
{
    return frame[sizeof(wire_magic)];
}

static void put_head(struct wire_out *out)
{
    put_bytes(out, wire_magic, sizeof(wire_magic));
    put_u8(out, WIRE_VERSION);
}

void wire_refusal_encode(uint8_t frame[WIRE_REFUSAL])
{
    struct wire_out out = {.at = frame, .end = frame + WIRE_REFUSAL};

    put_head(&out);
    put_zeros(&out, WIRE_REFUSAL - WIRE_HEAD);
}

static int check_head(const uint8_t *frame, size_t len)
{
    if (len < WIRE_HEAD || memcmp(frame, wire_magic, sizeof(wire_magic)) != 0)
        return WIRE_FOREIGN;
    return wire_version(frame) == WIRE_VERSION ? 0 : WIRE_OTHER_VERSION;
}

/* errno's numbers differ between machines, these do not: a status travels as its place here. */
static const int status_table[] = {
    0,      ENOENT, ETIMEDOUT, ESHUTDOWN, ENOMEM,    EPROTO, EIO,   ENOSPC, EMSGSIZE, EBADMSG,
    ESTALE, EEXIST, EINVAL,    EAGAIN,    ENOTEMPTY, EBUSY,  EPERM, EACCES, EREMCHG,  ENOTUNIQ};
#define N_STATUS (sizeof(status_table) / sizeof(status_table[0]))

/* What has no number becomes -EIO's. */
static uint32_t status_code(int status)
{
    uint32_t other = 0;

    for (uint32_t i = 0; i < N_STATUS; i++) {
        if (status_table[i] == -status)
            return i;
        if (status_table[i] == EIO)
            other = i;
    }
    return other;
}

/* 0 or -EPROTO. */
static int status_errno(uint32_t code, int *status)
{
    if (code >= N_STATUS)
        return -EPROTO;
    *status = -status_table[code];
    return 0;
}

/* ---- requests ---- */

#define REQUEST_HEAD 56

static const struct wire_kind *kind_of(const struct request *request)
{
    assert(request->kind <= REQUEST_KINDS);
    return &wire_kinds[request->kind];
}

size_t wire_request_size(const struct request *request)
{
    const struct wire_kind *kind = kind_of(request);

    return REQUEST_HEAD + kind->in.size + (kind->in.more ? kind->in.more(request) : 0);
}

void wire_request_encode(const struct request *request, uint8_t *frame)
{
    const struct wire_kind *kind = kind_of(request);
    struct wire_out out = {.at = frame, .end = frame + wire_request_size(request)};

    put_head(&out);
    put_u8(&out, (uint8_t)request->kind);
    put_u8(&out, request->repeat || request->n_retries > 0);
    put_zeros(&out, 2);
    put_u64(&out, request->queue);
    put_bytes(&out, request->session.bytes, sizeof(request->session.bytes));
    put_u64(&out, request->life);
    put_u64(&out, request->number);
    put_u64(&out, request->answered_below);
    if (kind->in.put)
        kind->in.put(&out, request);
    assert(out.at == out.end);
}

int wire_request_decode(const uint8_t *frame, size_t len, struct wire_request *decoded)
{
    struct request *request = &decoded->request;
    struct wire_in in = {frame, len, false};
    const uint8_t *session;
    int rc;

    memset(decoded, 0, sizeof(*decoded));
    request->kind = REQUEST_KINDS;
    rc = check_head(frame, len);
    if (rc)
        return rc;
    get_bytes(&in, WIRE_HEAD);
    request->kind = get_choice(&in, REQUEST_KINDS);
    request->repeat = get_bool(&in);
    get_zeros(&in, 2);
    request->queue = get_u64(&in);
    session = get_bytes(&in, sizeof(request->session.bytes));
    request->life = get_u64(&in);
    request->number = get_u64(&in);
    request->answered_below = get_u64(&in);
    if (in.bad || request->kind == REQUEST_KINDS)
        return -EPROTO;
    memcpy(request->session.bytes, session, sizeof(request->session.bytes));
    if (kind_of(request)->in.get)
        rc = kind_of(request)->in.get(&in, decoded);
    if (in.bad || in.left)
        return -EPROTO;
    return rc;
}

void wire_request_fini(struct wire_request *decoded)
{
    free(decoded->settlements);
    decoded->settlements = NULL;
}

/* ---- answers ---- */

#define REPLY_HEAD (32 + WIRE_STATE)

/* Whether the answer to a request that is done has its kind's body. */
static bool has_body(const struct request *request)
{
    return kind_of(request)->always || request->status == 0;
}

size_t wire_reply_size(const struct request *request)
{
    const struct wire_kind *kind = kind_of(request);

    if (!has_body(request))
        return REPLY_HEAD;
    return REPLY_HEAD + kind->out.size + (kind->out.more ? kind->out.more(request) : 0);
}

struct wire_blob wire_reply_blob(const struct request *request)
{
    const struct wire_kind *kind = kind_of(request);

    return kind->blob ? kind->blob(request) : (struct wire_blob){NULL, 0};
}

void wire_reply_encode(const struct request *request, uint8_t *frame, bool data_there)
{
    const struct wire_kind *kind = kind_of(request);
    struct wire_out out = {frame, frame + wire_reply_size(request), data_there};

    put_head(&out);
    put_u8(&out, (uint8_t)request->kind);
    put_zeros(&out, 3);
    put_u64(&out, request->number);
    put_u32(&out, status_code(request->status));
    put_zeros(&out, 4);
    put_u64(&out, request->position);
    wire_put_state(&out, &request->state);
    if (has_body(request) && kind->out.put)
        kind->out.put(&out, request);
    assert(out.at == out.end);
}

static int get_header(struct wire_in *in, struct request *request)
{
    uint32_t kind, status;
    uint64_t number;

    get_bytes(in, WIRE_HEAD);
    kind = get_choice(in, REQUEST_KINDS);
    get_zeros(in, 3);
    number = get_u64(in);
    status = get_u32(in);
    get_zeros(in, 4);
    request->position = get_u64(in);
    wire_get_state(in, &request->state);
    if (in->bad || kind != request->kind || number != request->number)
        return -EPROTO;
    return status_errno(status, &request->status);
}

int wire_reply_decode(const uint8_t *frame, size_t len, struct request *request, void **memory)
{
    struct wire_in in = {frame, len, false};
    int rc = check_head(frame, len);

    *memory = NULL;
    request->status = 0;
    request->position = 0;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    if (rc == 0)
        rc = get_header(&in, request);
    if (rc == 0 && has_body(request) && kind_of(request)->out.get)
        rc = kind_of(request)->out.get(&in, request, memory);
    if (rc == 0 && (in.bad || in.left))
        rc = -EPROTO;
    if (rc) {
        free(*memory);
        *memory = NULL;
        memset(&request->state, 0, sizeof(request->state));
        memset(&request->out, 0, sizeof(request->out));
    }
    return rc;
}
