/* Changes become rows of the index, at a commit and at a start: see local_state.h. */
#include "core/store/local_state.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/store/shrink.h"

#define PROGRESS_BYTES ((uint64_t)1 << 30) /* of the log between two lines that tell how far */

int64_t local_batch_left(struct local_store *s, const struct index_row *batch,
                         struct index_row *mark)
{
    struct index_key key = {INDEX_MARKS, batch->key.queue, batch->key.batch, 0};
    uint64_t len = get_le32(batch->data + 8);
    struct batch_view view;
    int rc = index_get(s->index, key, mark);

    if (rc == -ENOENT)
        mark->len = 0;
    else if (rc < 0)
        return rc;
    if (rc == -ENOENT || record_batch_decode(&view, batch->data, RECORD_BATCH_BYTES + len) < 0)
        return (int64_t)len; /* of a later version: it costs the batch, no more */
    return (int64_t)shrink_left(&view, mark->data, mark->len);
}

typedef void account(struct live *live, uint64_t position, uint64_t bytes);

/* The batch, where there is one, is counted as it is: what is done of it does not live. */
static int count_batch(struct local_store *s, struct index_key key, account *count)
{
    struct index_row batch, mark;
    int64_t left;
    int rc;

    key.table = INDEX_BATCHES;
    rc = index_get(s->index, key, &batch);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    left = local_batch_left(s, &batch, &mark);
    if (left >= 0)
        count(&s->live, batch.position, CHANGE_HEAD + RECORD_BATCH_BYTES + (uint64_t)left);
    return left < 0 ? (int)left : 0;
}

/* The row, where there is one, and the batch that is judged by it, live no more. */
static int forget(struct local_store *s, struct index_key key)
{
    struct index_row row;
    int rc;

    if (key.table == INDEX_BATCHES)
        return count_batch(s, key, live_sub);
    rc = index_get(s->index, key, &row);
    if (rc == 0)
        live_sub(&s->live, row.position, CHANGE_HEAD + row.len);
    if (key.table == INDEX_MARKS && (rc == 0 || rc == -ENOENT))
        rc = count_batch(s, key, live_sub);
    return rc == -ENOENT ? 0 : rc;
}

static int remove_row(struct local_store *s, struct index_key key)
{
    int rc = forget(s, key);

    if (rc == 0)
        rc = index_remove(s->index, key);
    if (rc == -ENOENT)
        rc = 0;
    if (rc == 0 && key.table == INDEX_MARKS)
        rc = count_batch(s, key, live_add);
    return rc;
}

/* A queue takes all of its rows with it. */
static int remove_queue(struct local_store *s, uint64_t queue)
{
    static const enum index_table tables[] = {INDEX_BATCHES, INDEX_MARKS, INDEX_PRODUCERS};
    struct index_row row;
    int rc = remove_row(s, (struct index_key){.table = INDEX_QUEUES, .queue = queue});

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && rc == 0; i++) {
        struct index_key key = {.table = tables[i], .queue = queue};

        while (rc == 0 && (rc = index_next(s->index, key, false, true, &row)) == 0)
            rc = remove_row(s, row.key);
        rc = rc == -ENOENT ? 0 : rc;
    }
    return rc;
}

size_t local_indexed(const struct change *change)
{
    return change->key.table == INDEX_BATCHES ? RECORD_BATCH_BYTES : change->len;
}

int local_apply(struct local_store *s, const struct change *change, uint64_t record)
{
    uint64_t position = record + COMMIT_LOG_HEAD + change->at;
    int rc;

    if (change->verb == CHANGE_REMOVE)
        return change->key.table == INDEX_QUEUES ? remove_queue(s, change->key.queue)
                                                 : remove_row(s, change->key);
    if (change->key.table == INDEX_BATCHES && change->len + change->tail_len < RECORD_BATCH_BYTES)
        return -EBADMSG;
    rc = forget(s, change->key);
    if (rc == 0)
        rc = index_put(s->index, change->key, position, change->data, local_indexed(change));
    if (rc == 0 && change->key.table != INDEX_BATCHES)
        live_add(&s->live, position, CHANGE_HEAD + change->len + change->tail_len);
    if (rc == 0 && (change->key.table == INDEX_BATCHES || change->key.table == INDEX_MARKS))
        rc = count_batch(s, change->key, live_add);
    return rc;
}

/* ---- a start ---- */

struct replaying {
    struct local_store *s;
    uint64_t told; /* position of the last line about progress */
};

static int note_damaged(struct local_store *s, uint64_t position, uint64_t end, const char *segment)
{
    s->n_damaged++;
    log_error(
        "%s/log%s%s is damaged at %llu: %llu bytes are passed over; what was put or "
        "acknowledged with them is lost, all else is there. Bring the store back from a backup "
        "if something is missing",
        s->dir ? s->dir : "", segment ? "/" : "", segment ? segment : "",
        (unsigned long long)position, (unsigned long long)(end - position));
    return 0;
}

static int replay_damaged(void *owner, uint64_t position, uint64_t end, const char *segment)
{
    struct replaying *replaying = owner;

    return note_damaged(replaying->s, position, end, segment);
}

static int replay_record(void *owner, uint64_t position, const uint8_t *body, size_t len)
{
    struct replaying *replaying = owner;
    struct local_store *s = replaying->s;
    struct change change;
    size_t at = 0;
    int rc;

    while ((rc = changes_next(body, len, &at, &change)) == 0) {
        rc = local_apply(s, &change, position);
        if (rc < 0)
            return rc;
    }
    if (rc == -EBADMSG)
        rc = note_damaged(s, position, position + COMMIT_LOG_HEAD + len, NULL);
    if (position - replaying->told > PROGRESS_BYTES) {
        replaying->told = position;
        log_info("%s: %llu MiB of the log are read", s->dir ? s->dir : "memory",
                 (unsigned long long)(position >> 20));
    }
    return rc == -ENOENT ? 0 : rc;
}

static int load_accounts(struct local_store *s)
{
    struct index_row row;
    int rc = index_get(s->index, (struct index_key){.queue = LOCAL_META_POSITION}, &row);

    if (rc < 0)
        return rc;
    if (row.len != 8)
        return -EBADMSG;
    s->checkpoint = get_le64(row.data);
    rc = index_get(s->index, (struct index_key){.queue = LOCAL_META_LIVE}, &row);
    return rc == 0 ? live_load(&s->live, row.data, row.len) : rc;
}

/* The index knows of more than there is. */
static int cut_short(struct local_store *s)
{
    log_error(
        "%s/log was cut short, or lacks its last segment: what was put or acknowledged at its end "
        "is lost; bring the store back from a backup if it is missing",
        s->dir ? s->dir : "memory");
    s->n_cut++;
    return -EBADMSG;
}

/* Index and log, as they are on disk, become one: what the index lacks is applied to it. */
static int replay(struct local_store *s)
{
    struct replaying replaying = {.s = s};
    const struct commit_log_visitor visitor = {
        .record = replay_record, .damaged = replay_damaged, .owner = &replaying};
    int rc = load_accounts(s);

    if (rc == -ENOENT) { /* a new index: all of it */
        s->checkpoint = 0;
        rc = 0;
    }
    if (rc == 0)
        rc = live_follow(&s->live, s->log);
    if (rc < 0)
        return rc;
    replaying.told = s->checkpoint;
    rc = commit_log_replay(s->log, s->checkpoint, &visitor);
    return rc == -ERANGE ? cut_short(s) : rc;
}

/* The index at its limit would be no reason to lose the log: it may become as large as that. */
static int load(struct local_store *s, const char *path)
{
    int rc = index_open(path, s->options.max_bytes + ((uint64_t)1 << 30), &s->index);

    return rc == 0 ? replay(s) : rc;
}

static int index_path(const struct local_store *s, char path[PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s/index", s->dir) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int local_reindex(struct local_store *s)
{
    char path[PATH_MAX];
    int rc = s->dir && !s->reading ? index_path(s, path) : -EIO;

    if (rc < 0)
        return rc;
    log_warning("%s: the index is damaged, or of another version: it is made anew from the log",
                path);
    index_close(s->index);
    s->index = NULL;
    live_fini(&s->live);
    s->n_damaged = s->n_cut;
    s->clean = s->clean_before = (struct local_cleaning){.record = 0};
    rc = index_discard(path);
    if (rc == 0)
        rc = load(s, path);
    return rc == -EBADMSG || rc == -EINVAL ? -EIO : rc; /* not twice */
}

int local_load(struct local_store *s)
{
    char path[PATH_MAX];
    int rc = s->dir ? index_path(s, path) : 0;

    if (rc == 0)
        rc = load(s, s->dir ? path : NULL);
    return s->dir && (rc == -EINVAL || rc == -EBADMSG) ? local_reindex(s) : rc;
}

/* ---- checkpoints ---- */

int local_checkpoint(struct local_store *s)
{
    uint64_t end = commit_log_end(s->log);
    uint8_t position[8], *accounts = malloc(live_size(&s->live) + 1);
    int rc;

    if (!accounts)
        return 0; /* another time */
    put_le64(position, end);
    live_store(&s->live, accounts);
    rc = index_put(s->index, (struct index_key){.queue = LOCAL_META_POSITION}, 0, position,
                   sizeof(position));
    if (rc == 0)
        rc = index_put(s->index, (struct index_key){.queue = LOCAL_META_LIVE}, 0, accounts,
                       live_size(&s->live));
    if (rc == 0)
        rc = index_checkpoint(s->index);
    if (rc == 0)
        s->checkpoint = end;
    free(accounts);
    return rc;
}
