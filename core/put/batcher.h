/*
 * When a batch goes: gathers items of one queue into blobs and decides when one is cut. Pure
 * logic, time passed in.
 *
 * A batch is due when batch_size items wait, when batch_bytes wait (the cap as well: an item that
 * would pass it starts the next batch; one larger item is a batch of its own), when the oldest has
 * waited linger, or when it is asked to hurry. Whether the window (max_in_flight) lets it go is the
 * caller's: while it does not, batches grow and queue up here. A batch has one framing.
 *
 * What is cut is a slice of a batch: all that is left of it, or one item where batch_size is 1. A
 * batch that a slice has been cut from grows no more, because the slice's bytes are lent out.
 *
 * Large buffers that are done with are kept for the next batches and dropped when idle: a large
 * malloc faults its pages in each time.
 */
#ifndef QUEUEFS_CORE_PUT_BATCHER_H
#define QUEUEFS_CORE_PUT_BATCHER_H

#include <stdbool.h>

#include "core/batch.h"
#include "core/settings.h"

/* Items [base, base + n_items) gathered. Framing file: each is a u32 length and its bytes. */
struct batch {
    enum framing framing;
    uint32_t n_items;
    uint8_t *data; /* owned */
    size_t len, cap;
    uint64_t base;     /* number of its first item */
    int64_t oldest_us; /* when its first item became whole, monotonic */
    uint32_t n_users;  /* slices of it, and the batcher while it is in its list */
    struct batch *next;
};

/* Items on their way. Lives until batcher_done(). */
struct slice {
    struct batch *batch;
    uint64_t base;
    struct batch_view view; /* as core/batch.h says; put_time_us unset */
};

struct batcher {
    struct batch *head, *tail; /* not cut yet, oldest first; only the tail grows */
    size_t cut_len;            /* of the head: this much is cut already */
    uint32_t cut_items;
    uint64_t last; /* number of the last item appended; the next is last + 1 */
    struct batch *spares;
    size_t n_spares, spare_bytes;
};

void batcher_init(struct batcher *b);
void batcher_fini(struct batcher *b); /* no slice is out */

/*
 * Append whole items, separators included, of framing line or nul: data[0, len), the last byte a
 * separator. Returns how many bytes were taken, in whole items: less than len where memory is out.
 */
size_t batcher_append(struct batcher *b, enum framing framing, const uint8_t *data, size_t len,
                      size_t batch_bytes, int64_t now_us);

/* Append one item that lies in two parts, without separator, of any framing. 0 or -ENOMEM. */
int batcher_append_item(struct batcher *b, enum framing framing, const uint8_t *first,
                        size_t first_len, const uint8_t *second, size_t second_len,
                        size_t batch_bytes, int64_t now_us);

/* What an item of len bytes takes in a batch. */
size_t batcher_item_bytes(enum framing framing, size_t len);

bool batcher_empty(const struct batcher *b);

/*
 * When the first batch is due, apart from hurry: INT64_MIN at once, TIME_FOREVER nothing is there.
 * hurry: number of the last item that waits for no linger.
 */
int64_t batcher_due_us(const struct batcher *b, const struct mount_settings *settings,
                       uint64_t send_up_to);

/* Cut the next slice, of at most one item where `single`. Not empty. */
void batcher_cut(struct batcher *b, bool single, struct slice *slice);

/*
 * Take the first `skip` items out of a slice, and those longer than max bytes. The others keep
 * their order and have the highest numbers. 0 or -ENOMEM with nothing changed; *n_dropped: how many
 * were taken out. A slice that has none left is still to be given back by batcher_done().
 */
int batcher_filter(struct batcher *b, struct slice *slice, uint32_t skip, size_t max,
                   uint32_t *n_dropped);

/* The slice's bytes are needed no longer. */
void batcher_done(struct batcher *b, struct slice *slice);

/* Drop everything that is not cut. Returns its bytes. */
size_t batcher_clear(struct batcher *b);

/* Give spare buffers back. */
void batcher_trim(struct batcher *b);

#endif
