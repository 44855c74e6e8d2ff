/*
 * The table of a queue's settings. Whoever adds one adds a row here and a field in the struct;
 * files, `config`, --check and the man page follow.
 */
#include "core/settings.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/clock.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define MS  INT64_C(1000)
#define SEC (1000 * MS)
#define MIN (60 * SEC)
#define HR  (60 * MIN)

#define YEAR        (365 * 24 * HR)
#define USER_MAX    INT64_C(0xfffffffe) /* (uid_t)-1 means "no change" to chown(2) */
#define OWN(name)   .whose = SETTING_OWN, .offset = offsetof(struct all_settings, own.name)
#define MOUNT(name) .whose = SETTING_MOUNT, .offset = offsetof(struct all_settings, mount.name)

static const char *const framings[] = {"line", "nul", "file", NULL};
static const char *const full_actions[] = {"block", "fail", NULL};

const struct setting settings_table[] = {
    {"maxsize", OWN(maxsize), .type = SETTING_COUNT, .min = 0, .max = INT64_C(1) << 40,
     .fallback = 0, .help = "items the queue holds at most, ready and leased; 0 is no limit"},
    {"max_item_size", OWN(max_item_size), .type = SETTING_SIZE, .min = 1, .max = 64 * MIB,
     .fallback = MIB, .help = "the largest item; a put of a larger one is EMSGSIZE"},
    {"framing", OWN(framing), .type = SETTING_CHOICE, .min = FRAMING_LINE, .max = FRAMING_FILE,
     .fallback = FRAMING_LINE, .choices = framings,
     .help = "what ends an item: a newline, a NUL, or the last close of the file"},
    {"lease", OWN(lease_us), .type = SETTING_TIME, .min = 10 * MS, .max = YEAR,
     .fallback = 30 * SEC, .help = "how long an item is lent before it comes back by itself"},
    {"lease_max", OWN(lease_max_us), .type = SETTING_TIME, .min = 10 * MS, .max = YEAR,
     .fallback = 12 * HR, .help = "how long an item can be lent in all, renewed or not"},
    {"retry_delay", OWN(retry_delay_us), .type = SETTING_TIME, .min = 0, .max = 10 * MIN,
     .fallback = SEC,
     .help = "pause after an item's second return, doubled each time up to 10m; 0s is none"},
    {"max_deliveries", OWN(max_deliveries), .type = SETTING_COUNT, .min = 1, .max = 1000000,
     .fallback = 5, .help = "deliveries without acknowledgement that make an item dead"},
    {"mode", OWN(mode), .type = SETTING_MODE, .min = 0, .max = 0777, .fallback = 0600,
     .help = "permissions, octal: w is put, r is get and look"},
    {"owner", OWN(owner), .type = SETTING_USER, .min = 0, .max = USER_MAX, .fallback = 0,
     .help = "whose the queue is"},
    {"group", OWN(group), .type = SETTING_GROUP, .min = 0, .max = USER_MAX, .fallback = 0,
     .help = "the group of the queue"},

    {"batch_size", MOUNT(batch_size), .type = SETTING_COUNT, .min = 1, .max = INT64_C(1) << 24,
     .fallback = 100, .help = "a batch is sent when so many items wait; 1 sends each on its own"},
    {"batch_bytes", MOUNT(batch_bytes), .type = SETTING_SIZE, .min = 1, .max = 16 * MIB,
     .fallback = MIB,
     .help = "a batch is sent when so many bytes wait; only a single item is larger"},
    {"linger", MOUNT(linger_us), .type = SETTING_TIME, .min = 0, .max = HR, .fallback = 5 * MS,
     .help = "a batch is sent when its oldest item has waited so long"},
    {"max_in_flight", MOUNT(max_in_flight), .type = SETTING_COUNT, .min = 1, .max = 64,
     .fallback = 8, .help = "batches that travel at once, not yet acknowledged"},
    {"buffer_bytes", MOUNT(buffer_bytes), .type = SETTING_SIZE, .min = 4 * KIB, .max = 64 * GIB,
     .fallback = 64 * MIB, .help = "bytes not yet acknowledged at which writers wait"},
    {"put_timeout", MOUNT(put_timeout_us), .type = SETTING_TIME, .min = 0, .max = YEAR,
     .forever = true, .fallback = TIME_FOREVER,
     .help = "how long a writer waits for room, then ETIMEDOUT"},
    {"sync_on_close", MOUNT(sync_on_close), .type = SETTING_BOOL, .min = 0, .max = 1, .fallback = 0,
     .help = "whether close waits until what was written is acknowledged"},
    {"on_full", MOUNT(on_full), .type = SETTING_CHOICE, .min = ON_FULL_BLOCK, .max = ON_FULL_FAIL,
     .fallback = ON_FULL_BLOCK, .choices = full_actions,
     .help = "a put to a full queue: block waits for room, fail is ENOSPC"},
    {"get_timeout", MOUNT(get_timeout_us), .type = SETTING_TIME, .min = 0, .max = YEAR,
     .forever = true, .fallback = 0,
     .help = "how long a read waits at an empty queue, then end of file"},
    {.key = NULL},
};

static_assert(sizeof(settings_table) / sizeof(settings_table[0]) - 1 ==
                  sizeof(struct all_settings) / sizeof(int64_t),
              "each field of core/settings.h has a row here");

const struct setting *setting_find(const char *key)
{
    for (const struct setting *row = settings_table; row->key; row++) {
        if (strcmp(row->key, key) == 0)
            return row;
    }
    return NULL;
}

int64_t *setting_value(const struct setting *row, struct all_settings *all)
{
    return (int64_t *)(void *)((char *)all + row->offset);
}

void settings_merge(struct all_settings *to, const struct all_settings *from, uint64_t fields)
{
    struct all_settings source = *from;

    for (const struct setting *row = settings_table; row->key; row++) {
        if (fields & setting_bit(row))
            *setting_value(row, to) = *setting_value(row, &source);
    }
}

void settings_default(struct all_settings *all)
{
    for (const struct setting *row = settings_table; row->key; row++)
        *setting_value(row, all) = row->fallback;
}

static bool value_allowed(const struct setting *row, int64_t value)
{
    if (row->forever && value == TIME_FOREVER)
        return true;
    return value >= row->min && value <= row->max;
}

int queue_settings_check(const struct queue_settings *own, const struct setting **bad)
{
    struct all_settings all = {.own = *own};
    const struct setting *fault = NULL;
    for (const struct setting *row = settings_table; row->key && !fault; row++) {
        if (row->whose == SETTING_OWN && !value_allowed(row, *setting_value(row, &all)))
            fault = row;
    }
    if (!fault && own->lease_us > own->lease_max_us)
        fault = setting_find("lease");
    if (!fault)
        return 0;
    if (bad)
        *bad = fault;
    return -EINVAL;
}
