/* What several wire files need: the head, names, settings, and what an answer holds. */
#include "transport/wire.h"

#include <errno.h>

#include "transport/wire_cursor.h"

static const uint8_t wire_magic[3] = {'q', 'f', 's'};

uint8_t wire_version(const uint8_t *frame)
{
    return frame[sizeof(wire_magic)];
}

void wire_put_head(struct wire_out *out)
{
    put_bytes(out, wire_magic, sizeof(wire_magic));
    put_u8(out, WIRE_VERSION);
}

int wire_check_head(const uint8_t *frame, size_t len)
{
    if (len < WIRE_HEAD || memcmp(frame, wire_magic, sizeof(wire_magic)) != 0)
        return WIRE_FOREIGN;
    return wire_version(frame) == WIRE_VERSION ? 0 : WIRE_OTHER_VERSION;
}

void wire_put_settings(struct wire_out *out, const struct queue_settings *settings)
{
    put_i64(out, settings->maxsize);
    put_i64(out, settings->max_item_size);
    put_i64(out, settings->framing);
    put_i64(out, settings->lease_us);
    put_i64(out, settings->lease_max_us);
    put_i64(out, settings->retry_delay_us);
    put_i64(out, settings->max_deliveries);
    put_i64(out, settings->mode);
    put_i64(out, settings->owner);
    put_i64(out, settings->group);
}

int wire_get_settings(struct wire_in *in, struct queue_settings *settings)
{
    const struct setting *at_fault;

    settings->maxsize = get_i64(in);
    settings->max_item_size = get_i64(in);
    settings->framing = get_i64(in);
    settings->lease_us = get_i64(in);
    settings->lease_max_us = get_i64(in);
    settings->retry_delay_us = get_i64(in);
    settings->max_deliveries = get_i64(in);
    settings->mode = get_i64(in);
    settings->owner = get_i64(in);
    settings->group = get_i64(in);
    return in->bad ? 0 : queue_settings_check(settings, &at_fault);
}

void wire_put_name(struct wire_out *out, const char *name)
{
    size_t len = strlen(name);

    assert(len <= QUEUE_NAME_MAX);
    put_u8(out, (uint8_t)len);
    put_bytes(out, name, len);
}

int wire_get_name(struct wire_in *in, char *name)
{
    size_t len = get_choice(in, QUEUE_NAME_MAX);
    const uint8_t *bytes = get_bytes(in, len);

    if (!bytes)
        return 0;
    memcpy(name, bytes, len);
    name[len] = '\0';
    return strlen(name) == len && queue_name_valid(name) ? 0 : -EINVAL;
}

/* errno's numbers differ between machines, these do not: a status travels as its place here. */
static const int status_table[] = {0,      ENOENT, ETIMEDOUT, ESHUTDOWN, ENOMEM, EPROTO,
                                   EIO,    ENOSPC, EMSGSIZE,  EBADMSG,   ESTALE, EEXIST,
                                   EINVAL, EAGAIN, ENOTEMPTY, EBUSY,     EPERM,  EACCES};
#define N_STATUS (sizeof(status_table) / sizeof(status_table[0]))

uint32_t wire_status_code(int status)
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

int wire_status_errno(uint32_t code, int *status)
{
    if (code >= N_STATUS)
        return -EPROTO;
    *status = -status_table[code];
    return 0;
}

bool wire_reply_has_body(const struct request *request)
{
    switch (request->kind) {
    case REQUEST_ARM:
    case REQUEST_PUT:
    case REQUEST_SETTLE:
    case REQUEST_PURGE:
        return true;
    case REQUEST_SYNC:
    case REQUEST_WATCH:
    case REQUEST_GET:
    case REQUEST_MAKE:
    case REQUEST_SET:
    case REQUEST_LIST:
        return request->status == 0;
    case REQUEST_REMOVE:
    case REQUEST_KINDS:
        break;
    }
    return false;
}
