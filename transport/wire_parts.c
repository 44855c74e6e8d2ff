/* What stands in the frames of several kinds; wire_kinds.c has the layout. */
#include "transport/wire_cursor.h"

#include <errno.h>

#define ENTRY_REST (9 + WIRE_SETTINGS + WIRE_STATE)

void wire_put_settings(struct wire_out *out, const struct queue_settings *settings)
{
    const int64_t *values = (const int64_t *)settings;

    for (size_t i = 0; i < QUEUE_N_SETTINGS; i++)
        put_i64(out, values[i]);
}

void wire_get_values(struct wire_in *in, struct queue_settings *settings)
{
    int64_t *values = (int64_t *)settings;

    for (size_t i = 0; i < QUEUE_N_SETTINGS; i++)
        values[i] = get_i64(in);
}

int wire_get_settings(struct wire_in *in, struct queue_settings *settings)
{
    const struct setting *at_fault;

    wire_get_values(in, settings);
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

size_t wire_entry_size(const struct queue_entry *entry)
{
    return 10 + strlen(entry->name) + (entry->gone ? 0 : ENTRY_REST);
}

#define PUT_COUNTER(name, shown) put_u64(out, state->name);

void wire_put_state(struct wire_out *out, const struct queue_state *state)
{
    put_u64(out, state->revision);
    put_u64(out, state->depth);
    put_u64(out, state->depth_bytes);
    put_u64(out, state->leased);
    put_u64(out, state->delayed);
    put_u64(out, state->dead);
    put_u64(out, state->damaged_batches);
    put_u64(out, state->damaged_items);
    put_i64(out, state->oldest_put_us);
    QUEUE_COUNTERS(PUT_COUNTER)
}

#define GET_COUNTER(name, shown) state->name = get_u64(in);

void wire_get_state(struct wire_in *in, struct queue_state *state)
{
    state->revision = get_u64(in);
    state->depth = get_u64(in);
    state->depth_bytes = get_u64(in);
    state->leased = get_u64(in);
    state->delayed = get_u64(in);
    state->dead = get_u64(in);
    state->damaged_batches = get_u64(in);
    state->damaged_items = get_u64(in);
    state->oldest_put_us = get_i64(in);
    QUEUE_COUNTERS(GET_COUNTER)
}

void wire_put_entry(struct wire_out *out, const struct queue_entry *entry)
{
    put_u64(out, entry->number);
    put_u8(out, entry->gone);
    wire_put_name(out, entry->name);
    if (entry->gone)
        return;
    put_i64(out, entry->made_us);
    put_u8(out, (uint8_t)entry->may);
    wire_put_settings(out, &entry->settings);
    wire_put_state(out, &entry->state);
}

void wire_get_entry(struct wire_in *in, struct queue_entry *entry)
{
    entry->number = get_u64(in);
    entry->gone = get_bool(in);
    if (wire_get_name(in, entry->name))
        in->bad = true;
    if (entry->gone)
        return;
    entry->made_us = get_i64(in);
    entry->may = get_choice(in, ACCESS_ALL);
    if (wire_get_settings(in, &entry->settings))
        in->bad = true;
    wire_get_state(in, &entry->state);
}
