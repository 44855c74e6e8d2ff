/*
 * Room in the log. What is removed leaves dead bytes behind; segments are given back from the
 * beginning only, so that a change that removes a row never goes before the one that wrote it. When
 * more is dead than lives, what lives in the oldest segment is written again at the end, a piece
 * with each commit: it costs no sync of its own, and a byte moved for each byte of room at most.
 */
#include "core/store/local_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/log.h"
#include "core/store/shrink.h"

#define SPARE_SEGMENTS 4 /* that may be dead before anything is moved */
#define FREE_LOW       4 /* segments that can be had: below that, cleaning begins earlier */
#define PIECE_BYTES    ((uint64_t)256 << 10) /* moved with one commit */
#define PIECE_CHANGES  2000                  /* looked at for one commit */
#define CHEAP          16                    /* the part of a segment that may live in it */
#define CHEAP_CHANGES  32                    /* looked at for a commit without pressure, and */
#define CHEAP_PACE     8                     /* for each change of the commit before */
#define OTHERS_BYTES   ((uint64_t)512 << 10) /* what the commit may have besides */

/* Some that is dead is not to be had: the ends of segments. So where segments are few all of the
 * log is moved once, and once more when enough has died since that began. */
static bool round_is_due(struct local_store *s, uint64_t oldest, uint64_t dead, uint64_t enough)
{
    struct local_round *round = &s->round;

    if (oldest < round->end)
        return true;
    if (dead <= enough || (round->end > 0 && s->live.died - round->died <= enough))
        return false;
    round->end = commit_log_end(s->log);
    round->died = s->live.died;
    return true;
}

/* More of the log is dead than should be. */
static bool is_pressed(struct local_store *s, uint64_t oldest)
{
    struct commit_log_space space;
    uint64_t dead;

    commit_log_space(s->log, &space);
    dead = space.used_bytes > s->live.bytes ? space.used_bytes - s->live.bytes : 0;
    if (dead > s->live.bytes + SPARE_SEGMENTS * s->options.segment_bytes)
        return true;
    return space.n_free < FREE_LOW && round_is_due(s, oldest, dead, 2 * space.segment_bytes);
}

static bool record_at(struct local_store *s, uint64_t position)
{
    s->clean.record = position;
    s->clean.at = 0;
    return commit_log_record(s->log, position, &s->clean.len, &s->clean.next) == 0;
}

/* So little lives in it that moving that costs next to nothing: the segment is used again soon,
 * while its pages are in memory and the blocks of its file are written. */
static bool is_cheap(const struct live_segment *segment)
{
    return segment->bytes <= (segment->end - segment->first) / CHEAP;
}

/* The oldest segment in which something lives; NULL: it is the current one. */
static const struct live_segment *oldest(const struct local_store *s)
{
    size_t i = 0;

    while (i + 1 < s->live.n && s->live.all[i].bytes == 0)
        i++;
    return i + 1 < s->live.n ? &s->live.all[i] : NULL;
}

static uint8_t *room(struct local_store *s, size_t len)
{
    uint8_t *bytes;

    if (len <= s->clean_size)
        return s->clean_bytes;
    bytes = realloc(s->clean_bytes, len);
    if (!bytes)
        return NULL;
    s->clean_bytes = bytes;
    s->clean_size = len;
    return bytes;
}

/* Whether the index says that this is the row's last writing: 1 and the row, 0, or negative errno.
 */
static int lives(struct local_store *s, const struct change *change, uint64_t position,
                 struct index_row *row)
{
    int rc;

    if (change->verb != CHANGE_PUT)
        return 0;
    rc = index_get(s->index, change->key, row);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    return row->position == position;
}

/* The log, not the index, is what cannot be had. */
static int unreadable(int rc)
{
    return rc == -EIO || rc == -EBADMSG ? -EUCLEAN : rc;
}

/* The row of a batch, in its place, without what its mark says is done: its new length. Where it is
 * damaged it stays as it is, and whoever reads it will say so. */
static size_t shrink(uint8_t *row, size_t len, const struct index_row *mark)
{
    struct batch_view view;

    if (record_batch_decode(&view, row, len) < 0 ||
        shrink_batch(&view, row + RECORD_BATCH_BYTES, mark->data, mark->len) < 0)
        return len;
    record_batch_encode(&view, row);
    return RECORD_BATCH_BYTES + view.len;
}

/* With its mark in the same record: what has shrunk, now or earlier, is never without one. */
static int move_batch(struct local_store *s, const struct index_row *row)
{
    struct index_key key = row->key;
    struct index_row mark;
    uint64_t position = row->position, len = get_le32(row->data + 8);
    size_t size = RECORD_BATCH_BYTES + len;
    int64_t left = local_batch_left(s, row, &mark);
    uint8_t *bytes;
    int rc;

    if (left < 0 || len > BATCH_BYTES_MAX)
        return left < 0 ? (int)left : -EUCLEAN;
    bytes = room(s, size);
    if (!bytes)
        return -ENOMEM;
    rc = commit_log_read(s->log, position, bytes, size);
    if (rc < 0)
        return unreadable(rc);
    if ((uint64_t)left < len)
        size = shrink(bytes, size, &mark);
    rc = changes_put(&s->changes, key, bytes, size);
    if (rc == 0 && mark.len > 0)
        rc = changes_put(&s->changes, mark.key, mark.data, mark.len);
    return rc;
}

/* The row, as the index has it, is written again: of a batch the index has the head alone. */
static int move_row(struct local_store *s, const struct index_row *row)
{
    if (row->key.table == INDEX_BATCHES)
        return move_batch(s, row);
    return changes_put(&s->changes, row->key, row->data, row->len);
}

/* The change at hand is written again where it lives. What it took, of the bytes that were read and
 * those that are written, or negative errno. */
static int64_t move_change(struct local_store *s)
{
    uint64_t position = s->clean.record + COMMIT_LOG_HEAD + s->clean.at;
    uint8_t head[CHANGE_HEAD];
    struct change change;
    struct index_row row;
    uint64_t before = s->changes.len, took;
    int rc = commit_log_read(s->log, position, head, sizeof(head));

    if (rc == 0)
        rc = changes_head(head, s->clean.len - s->clean.at, &change);
    if (rc < 0)
        return unreadable(rc);
    s->clean.at += CHANGE_HEAD + (change.len + 7) / 8 * 8;
    position += CHANGE_HEAD;
    rc = lives(s, &change, position, &row);
    if (rc <= 0)
        return rc;
    rc = move_row(s, &row);
    if (rc < 0)
        return rc;
    took = s->changes.len - before; /* a batch's mark as well */
    return (int64_t)(took > CHANGE_HEAD + change.len ? took : CHANGE_HEAD + change.len);
}

/* Up to a piece of the segment of `clean`; then, or where it ends, the record is 0. */
static int move_piece(struct local_store *s, size_t n_changes)
{
    uint64_t moved = 0;

    for (size_t n = 0; n < n_changes && moved < PIECE_BYTES; n++) {
        int64_t rc;

        if (s->clean.at >= s->clean.len && !record_at(s, s->clean.next)) {
            s->clean.record = 0;
            return 0;
        }
        rc = move_change(s);
        if (rc == -EUCLEAN) { /* the rest is found by the index */
            s->clean.record = 0;
            return 0;
        }
        if (rc < 0)
            return (int)rc;
        moved += (uint64_t)rc;
    }
    return 0;
}

/* ---- what a walk along the records does not find ---- */

/* The row's bytes cannot be had: what it was is lost. */
static int give_up_row(struct local_store *s, const struct index_row *row)
{
    s->n_damaged++;
    log_error("%s: a row of queue %llu in a damaged part of the log is lost",
              s->dir ? s->dir : "memory", (unsigned long long)row->key.queue);
    return changes_remove(&s->changes, row->key);
}

static int rescue_row(struct local_store *s, const struct index_row *row)
{
    int rc = move_row(s, row);

    return rc == -EUCLEAN ? give_up_row(s, row) : rc;
}

/*
 * Records that are not whole cannot be walked along, yet the index may have rows of them that are:
 * it is searched for them, all of it. Rare enough.
 */
static int rescue(struct local_store *s, const struct live_segment *segment)
{
    struct index_row row;
    int rc = 0;

    for (int table = INDEX_META; table < INDEX_TABLES && rc == 0; table++) {
        struct index_key key = {.table = (enum index_table)table};
        bool after = false;

        if (table == INDEX_META) /* before these are rows of the index's own */
            key.queue = LOCAL_META_LAST_QUEUE;
        while ((rc = index_next(s->index, key, after, false, &row)) == 0) {
            bool here = row.position >= segment->first && row.position < segment->end;

            rc = here ? rescue_row(s, &row) : 0;
            if (rc < 0 || s->changes.len >= PIECE_BYTES)
                return rc; /* the rest with the next commit */
            key = row.key;
            after = true;
        }
        rc = rc == -ENOENT ? 0 : rc;
    }
    if (rc == 0 && s->changes.n == 0) /* there is none, whatever the accounts say */
        live_sub(&s->live, segment->first, segment->bytes);
    return rc;
}

/* ---- with each transaction ---- */

int local_clean(struct local_store *s)
{
    const struct live_segment *segment = oldest(s);
    size_t n = CHEAP_CHANGES + CHEAP_PACE * s->n_committed;
    bool again, pressed;
    int rc;

    s->clean_before = s->clean;
    pressed = segment && is_pressed(s, segment->first);
    if (!segment || (!pressed && !is_cheap(segment)))
        return 0;
    if (pressed || n > PIECE_CHANGES)
        n = PIECE_CHANGES;
    again = s->clean.walked == segment->first + 1;
    again = again && s->clean.record == 0;
    if (!again && s->clean.record == 0 && !record_at(s, segment->first + COMMIT_LOG_FIRST))
        s->clean.record = 0;
    s->clean.walked = segment->first + 1;
    if (again)
        rc = rescue(s, segment);
    else
        rc = s->clean.record == 0 ? 0 : move_piece(s, n);
    if (rc == 0 && !commit_log_fits(s->log, s->changes.len + OTHERS_BYTES)) {
        changes_reset(&s->changes);
        s->clean = s->clean_before;
    }
    return rc;
}

void local_cleaned(struct local_store *s, bool committed)
{
    if (!committed)
        s->clean = s->clean_before;
}

int local_drop(struct local_store *s)
{
    int rc = 0;

    while (rc == 0 && s->live.n > 1 && s->live.all[0].bytes == 0 &&
           s->live.all[0].end <= s->checkpoint) {
        if (s->clean.record != 0 && s->clean.record < s->live.all[0].end)
            s->clean.record = 0;
        rc = commit_log_drop_first(s->log);
        if (rc == 0)
            rc = live_follow(&s->live, s->log);
    }
    return rc;
}
