/*
 * The state of the items of one tracked batch, as runs ("spans") of items that are in the same
 * state: sorted, without gaps, equal neighbours merged (where there are very many spans, many
 * neighbours at a time). A batch that is not tracked has no mark:
 * all of it is ready and was never delivered.
 *
 * A change is: mark_reserve(), mark_cut() where it begins and ends, mark_change() of the spans
 * between, mark_merge(). Only reserving can fail, so a change that has begun ends well. The caller
 * tells how many bytes are left of a cut: finding out means reading the batch.
 *
 * The stored form says what holds after a restart: leases of GET_STREAM are written as what they
 * return to, leases of GET_CLAIM keep token and count and run in full again, as long as they were
 * lent for whatever the settings say by then, delays keep the time of day.
 */
#ifndef QUEUEFS_CORE_QUEUE_ITEM_STATES_H
#define QUEUEFS_CORE_QUEUE_ITEM_STATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <bsd/sys/queue.h>

#include "core/request.h"

struct tracked_batch;

/*
 * Whoever has leases: a session of the service. A token is told sealed (xor'ed) with a number that
 * is the session's own, and stays so over restarts: in the hands of any other session it is another
 * token. So a lease, in memory or stored, ends only by the session that holds it, and nothing has
 * to be stored for that.
 */
struct lessee {
    uint64_t seal;
    LIST_HEAD(, loan) loans; /* of GET_STREAM */
};

/* What one GET_STREAM was lent of one batch: ends with the last of its items. */
struct loan {
    LIST_ENTRY(loan) link; /* of the lessee's */
    struct tracked_batch *batch;
    uint32_t from, to; /* all its spans lie there */
    uint32_t n_items;  /* that are still lent */
};

struct span {
    uint32_t from, to;
    uint64_t n_bytes; /* payload of its items */
    enum item_state state;
    uint32_t deliveries; /* counted ones; a claim's own is among them */
    enum get_kind kind;  /* of the lease */
    uint64_t token;      /* of the lease */
    int64_t when_us;     /* monotonic; TIME_FOREVER where nothing ends by time */
    int64_t first_us;    /* when the lease began, renewals apart */
    int64_t lease_us;    /* of GET_CLAIM: how long it was lent for, at last */
    struct loan *loan;   /* that the lease is part of, of GET_STREAM */
};

struct mark {
    uint32_t n_items;
    uint32_t n_spans, cap;
    uint32_t n_equal;     /* so many neighbours at most are equal and not merged yet */
    struct span *spans;   /* owned */
    uint32_t first_ready; /* item; n_items: none */
    uint64_t items[ITEM_STATES], bytes[ITEM_STATES];
};

/* All ready, never delivered. 0 or -ENOMEM. */
int mark_init(struct mark *mark, uint32_t n_items, uint64_t n_bytes);
void mark_fini(struct mark *mark); /* takes a zeroed or finished one */

/* Room for `extra` more cuts. 0 or -ENOMEM. Spans may move. */
int mark_reserve(struct mark *mark, uint32_t extra);

/* Position of the span that item `index` (below n_items) is in. */
uint32_t mark_find(const struct mark *mark, uint32_t index);

/* Whether item `at` begins in the middle of a span. */
bool mark_needs_cut(const struct mark *mark, uint32_t at);

/* Cut the span around item `at` there; its items before `at` have left_bytes. Room is reserved. */
void mark_cut(struct mark *mark, uint32_t at, uint64_t left_bytes);

/* Make the span at `pos` what `to` says; from, to and n_bytes stay. Merges nothing. */
void mark_change(struct mark *mark, uint32_t pos, const struct span *to);

/* Merge equal neighbours among the spans at positions [first, last] and those beside them, now or,
 * as it takes time where there are very many spans, together with later ones. */
void mark_merge(struct mark *mark, uint32_t first, uint32_t last);
/* Merge all that are equal. */
void mark_tidy(struct mark *mark);

/* Whether a restart would find it all ready and never delivered. */
bool mark_is_plain(const struct mark *mark);

/* The earliest when_us; TIME_FOREVER: none. */
int64_t mark_next_us(const struct mark *mark);

/* What a stored mark says besides its spans. */
struct mark_head {
    enum framing framing;
    uint32_t n_items;
    int64_t put_time_us; /* wall clock, of the batch */
};

/* The clocks as they are, for what is stored as time. */
struct mark_times {
    int64_t mono_us, wall_us;
};

size_t mark_encoded_size(const struct mark *mark);
void mark_encode(const struct mark *mark, const struct mark_head *head,
                 const struct mark_times *times, uint8_t *out);

/* Fill head and mark (mark_fini() by the caller). 0, -EBADMSG or -ENOMEM. */
int mark_decode(const uint8_t *data, size_t len, const struct mark_times *times,
                struct mark_head *head, struct mark *mark);

#endif
