/*
 * A queue's settings: the table of them (key, whose, type, limits, default, meaning) and the two
 * structs the table describes. A queue's own settings are stored with it by the service and hold
 * for everyone; a mount's are of one mount and end with it. All values are int64_t, so that the
 * table needs no code for each: sizes in bytes, times in microseconds, counts, choices by index,
 * modes and user numbers as they are. YAML is config/'s; what is allowed is said here once, for
 * files, `config` writes and the network alike.
 */
#ifndef QUEUEFS_CORE_SETTINGS_H
#define QUEUEFS_CORE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum framing { FRAMING_LINE, FRAMING_NUL, FRAMING_FILE };
enum on_full { ON_FULL_BLOCK, ON_FULL_FAIL };

/* Kept by the service, the same for every mount. */
struct queue_settings {
    int64_t maxsize; /* items ready and leased; 0: no limit */
    int64_t max_item_size;
    int64_t framing; /* enum framing */
    int64_t lease_us;
    int64_t lease_max_us;
    int64_t retry_delay_us;
    int64_t max_deliveries;
    int64_t mode;  /* permission bits, at most 0777 */
    int64_t owner; /* uid */
    int64_t group; /* gid */
};

/* They are numbers one after the other, and so they are stored and sent: new ones at the end. */
#define QUEUE_N_SETTINGS (sizeof(struct queue_settings) / sizeof(int64_t))

/* Of one mount. */
struct mount_settings {
    int64_t batch_size;
    int64_t batch_bytes;
    int64_t linger_us;
    int64_t max_in_flight;
    int64_t buffer_bytes;
    int64_t put_timeout_us; /* TIME_FOREVER allowed */
    int64_t sync_on_close;  /* 0 or 1 */
    int64_t on_full;        /* enum on_full */
    int64_t get_timeout_us; /* TIME_FOREVER allowed */
};

/* Everything the `config` file of a queue shows. */
struct all_settings {
    struct queue_settings own;
    struct mount_settings mount;
};

enum setting_whose { SETTING_OWN, SETTING_MOUNT };
enum setting_type {
    SETTING_COUNT,
    SETTING_SIZE,
    SETTING_TIME,
    SETTING_BOOL,
    SETTING_CHOICE,
    SETTING_MODE,
    SETTING_USER,
    SETTING_GROUP,
};

struct setting {
    const char *key;
    enum setting_whose whose;
    enum setting_type type;
    size_t offset; /* of the int64_t in struct all_settings */
    int64_t min, max;
    bool forever; /* TIME_FOREVER is allowed beyond max */
    int64_t fallback;
    const char *const *choices; /* NULL-terminated, for SETTING_CHOICE */
    const char *help;           /* one line, no full stop */
};

/* The table; ends with a NULL key. */
extern const struct setting settings_table[];

/* Row of `key`, or NULL. */
const struct setting *setting_find(const char *key);

/* The value that `row` describes in `all`. */
int64_t *setting_value(const struct setting *row, struct all_settings *all);

/* Which settings are meant: a bit for each row of the table, those of the queue's own first, as
 * they stand in struct queue_settings. */
static inline uint64_t setting_bit(const struct setting *row)
{
    return UINT64_C(1) << (row - settings_table);
}

#define SETTINGS_OWN ((UINT64_C(1) << QUEUE_N_SETTINGS) - 1)

/* Put those of `fields` in the place of what `to` has. */
void settings_merge(struct all_settings *to, const struct all_settings *from, uint64_t fields);

/* Fill with the defaults; owner and group 0. */
void settings_default(struct all_settings *all);

/*
 * 0, or -EINVAL where a value is outside its row's limits or two contradict each other
 * (lease > lease_max); *bad is then the row at fault. For settings that came over the network or
 * out of the store.
 */
int queue_settings_check(const struct queue_settings *own, const struct setting **bad);

#endif
