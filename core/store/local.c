/*
 * The local engine: a log, which is the truth, and an index over it, which is a cache. Here:
 * opening, transactions, space. The directory is locked (flock) for as long as the store is open.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/store/local_state.h"

#define UNDO_ROWS 1000 /* removed with a commit */
#define RESERVE   3    /* segments that puts leave to what takes, acknowledges and cleans */

#define SEGMENT_MIN     ((uint64_t)1 << 20)
#define SEGMENT_DEFAULT ((uint64_t)64 << 20)

/* ---- transactions ---- */

static int local_begin(struct store *store)
{
    struct local_store *s = local_of(store);
    int rc;

    assert(s->transaction != LOCAL_OPEN);
    s->transaction = LOCAL_NONE;
    rc = local_apply_last(s);
    if (rc < 0)
        return rc;
    changes_reset(&s->changes);
    s->puts = s->marks = false;
    rc = local_queue_last_number(store, &s->last_queue);
    if (rc == 0)
        rc = local_clean(s);
    s->n_moved = s->changes.n;
    if (rc == -EBADMSG)
        rc = local_reindex(s);
    if (rc == -ENOMEM)
        return rc;
    if (rc < 0)
        return local_fatal(s, "begin", rc);
    s->transaction = LOCAL_OPEN;
    return 0;
}

static void local_abort(struct store *store)
{
    struct local_store *s = local_of(store);

    if (s->transaction == LOCAL_NONE)
        return;
    local_cleaned(s, false);
    s->transaction = LOCAL_NONE;
    changes_reset(&s->changes);
}

/* What is stored must not use up what is needed to get rid of it again. */
static int room_check(struct local_store *s)
{
    struct commit_log_space space;
    uint64_t need = s->changes.len / s->options.segment_bytes;

    commit_log_space(s->log, &space);
    return s->puts && space.n_free < RESERVE - 1 + need ? -ENOSPC : 0;
}

/* What is in the log must find its way into the index: the memory for that is there before. */
static int reserve(struct local_store *s)
{
    size_t largest = 0;
    int rc;

    for (size_t i = 0; i < s->changes.n; i++) {
        size_t len = local_indexed(&s->changes.all[i]);

        largest = len > largest ? len : largest;
    }
    rc = index_reserve(s->index, largest);
    return rc == 0 ? live_reserve(&s->live) : rc;
}

static int append(struct local_store *s, uint64_t *position)
{
    struct iovec *parts;
    size_t n_parts;
    uint32_t crc;
    int rc = changes_parts(&s->changes, &parts, &n_parts, &crc);

    if (rc == 0)
        rc = reserve(s);
    if (rc == 0)
        rc = room_check(s);
    return rc < 0 ? rc : commit_log_append(s->log, parts, n_parts, crc, !s->puts, position);
}

static int local_commit(struct store *store)
{
    struct local_store *s = local_of(store);
    uint64_t position = 0;
    int rc = s->transaction == LOCAL_OPEN ? 0 : s->error;

    assert(s->transaction != LOCAL_NONE);
    if (rc == 0 && s->changes.n > 0)
        rc = append(s, &position);
    local_cleaned(s, rc == 0);
    s->transaction = LOCAL_NONE;
    if (rc == -ENOSPC || rc == -ENOMEM)
        return rc; /* nothing has changed */
    if (rc < 0)
        return local_fatal(s, "commit", rc);
    s->unapplied = position;
    s->n_committed = s->changes.n;
    return 0;
}

static int local_catch_up(struct store *store)
{
    return local_apply_last(local_of(store));
}

/* ---- space ---- */

static bool is_gone(struct local_store *s)
{
    struct stat open, now;
    bool gone;

    if (!s->dir)
        return false;
    gone = fstat(s->dir_fd, &open) < 0 || stat(s->dir, &now) < 0 || open.st_dev != now.st_dev ||
           open.st_ino != now.st_ino;
    if (gone && !s->gone)
        log_error("%s is not the store that is open: it was removed, moved or replaced. What is in "
                  "the queues can be read, and is lost when the service ends; puts fail (EIO) "
                  "until that directory is back",
                  s->dir);
    else if (!gone && s->gone)
        log_info("%s is back", s->dir);
    s->gone = gone;
    return gone;
}

static uint64_t local_position(struct store *store)
{
    return commit_log_end(local_of(store)->log);
}

static int local_space(struct store *store, struct store_space *space)
{
    struct local_store *s = local_of(store);
    struct commit_log_space log;

    local_apply_last(s);
    commit_log_space(s->log, &log);
    space->used_bytes = s->live.bytes + index_bytes(s->index);
    space->limit_bytes = s->options.max_bytes;
    space->full = log.n_free < RESERVE;
    space->damaged_rows = s->n_damaged;
    space->gone = is_gone(s);
    return 0;
}

/* ---- open and close ---- */

static void local_close(struct store *store)
{
    struct local_store *s = local_of(store);

    local_abort(store);
    local_apply_last(s);
    if (s->sound && s->checkpoint != commit_log_end(s->log) && local_checkpoint(s) == 0)
        local_drop(s);
    index_close(s->index);
    commit_log_close(s->log);
    live_fini(&s->live);
    batch_cache_fini(&s->cache);
    changes_fini(&s->changes);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    free(s->clean_bytes);
    free(s->dir);
    free(s);
}

/* ---- an import that is taken back ---- */

/* The first of its batches go; -ENOENT: they were the last. */
static int undo_piece(struct store *store, uint64_t queue, uint64_t from)
{
    int rc = local_begin(store), next = 0;

    for (size_t i = 0; i < UNDO_ROWS && rc == 0 && next == 0; i++) {
        struct batch_view view;

        next = local_batch_next(store, queue, from, &from, &view);
        next = next == -EBADMSG ? 0 : next;
        if (next == 0)
            rc = local_batch_remove(store, queue, from++);
    }
    if (rc == 0 && next == -ENOENT)
        rc = local_import_end(store);
    if (rc == 0 && next < 0 && next != -ENOENT)
        rc = next;
    if (rc < 0) {
        local_abort(store);
        return rc;
    }
    rc = local_commit(store);
    return rc == 0 ? next : rc;
}

static int local_import_undo(struct store *store)
{
    uint64_t queue, batch;
    int rc = local_import_get(store, &queue, &batch);

    while (rc == 0)
        rc = undo_piece(store, queue, batch);
    return rc == -ENOENT ? 0 : rc;
}

static int undo_at_start(struct local_store *s)
{
    uint64_t queue, batch;
    int rc = local_import_get(&s->base, &queue, &batch);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    log_info("%s: an import that was cut off is taken back: nothing of it is in a queue",
             s->dir ? s->dir : "memory");
    return local_import_undo(&s->base);
}

static const struct store_ops local_ops = {
    .begin = local_begin,
    .commit = local_commit,
    .catch_up = local_catch_up,
    .abort = local_abort,
    .queue_put = local_queue_put,
    .queue_remove = local_queue_remove,
    .queue_next = local_queue_next,
    .queue_last_number = local_queue_last_number,
    .batch_put = local_batch_put,
    .batch_remove = local_batch_remove,
    .batch_get = local_batch_get,
    .batch_read = local_batch_read,
    .batch_next = local_batch_next,
    .mark_put = local_mark_put,
    .mark_remove = local_mark_remove,
    .mark_next = local_mark_next,
    .sequence_put = local_sequence_put,
    .sequence_remove = local_sequence_remove,
    .sequence_next = local_sequence_next,
    .identity_put = local_identity_put,
    .identity_get = local_identity_get,
    .import_begin = local_import_begin,
    .import_end = local_import_end,
    .import_undo = local_import_undo,
    .position = local_position,
    .space = local_space,
    .close = local_close,
};

/* A copy whose log is not in its place (backup.c) is no empty store. */
static int check_copy(const struct local_store *s)
{
    if (faccessat(s->dir_fd, "backup", F_OK, 0) < 0 || faccessat(s->dir_fd, "log", F_OK, 0) == 0)
        return 0;
    log_error("%s is a copy that was cut off: run --backup to it again, or give it the log of the "
              "older one (mv backup.old log) where that is there",
              s->dir);
    return -EINVAL;
}

/* The directory, locked. A store of an earlier kind is not read. */
static int dir_open(struct local_store *s)
{
    if (!s->dir)
        return 0;
    s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0)
        return -errno;
    if (flock(s->dir_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (faccessat(s->dir_fd, "data.mdb", F_OK, 0) == 0) {
        log_error("%s: data.mdb is a store of another version of the program: take its items out "
                  "with that one, and give this one a directory of its own",
                  s->dir);
        return -EINVAL;
    }
    if (check_copy(s) < 0)
        return -EINVAL;
    if (mkdirat(s->dir_fd, "log", 0700) < 0 && errno != EEXIST)
        return -errno;
    return fsync(s->dir_fd) < 0 ? -errno : 0;
}

/* Not so large that a few are all there is. */
static uint64_t segment_size(const struct local_options *options)
{
    uint64_t wanted = options->segment_bytes > 0 ? options->segment_bytes : SEGMENT_DEFAULT;
    uint64_t most = options->max_bytes / 16;

    if (most < SEGMENT_MIN)
        most = SEGMENT_MIN;
    return (wanted < most ? wanted : most) / 4096 * 4096;
}

static int open_log(struct local_store *s)
{
    struct commit_log_options options = {
        .segment_bytes = s->options.segment_bytes,
        .max_bytes = s->options.max_bytes,
        .min_free_bytes = s->options.min_free_bytes,
    };
    char path[4096];

    if (getrandom(&options.id, sizeof(options.id), 0) != sizeof(options.id))
        return -EIO;
    if (s->dir && snprintf(path, sizeof(path), "%s/log", s->dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    options.dir = s->dir ? path : NULL;
    return commit_log_open(&options, &s->log);
}

static int open_both(struct local_store *s)
{
    int rc = open_log(s);

    return rc == 0 ? local_load(s) : rc;
}

int store_local_open(const struct local_options *options, struct store **store)
{
    struct local_store *s = calloc(1, sizeof(*s));
    int rc = -ENOMEM;

    if (!s)
        return rc;
    s->base.ops = &local_ops;
    s->options = *options;
    s->dir_fd = -1;
    s->options.segment_bytes = segment_size(options);
    s->dir = options->dir ? strdup(options->dir) : NULL;
    if (s->dir || !options->dir)
        rc = dir_open(s);
    if (rc == 0)
        rc = open_both(s);
    if (rc == 0 && !s->dir)
        rc = local_checkpoint(s);
    s->sound = rc == 0;
    if (rc == 0)
        rc = undo_at_start(s);
    if (rc < 0) {
        local_close(&s->base);
        return rc;
    }
    *store = &s->base;
    return 0;
}

int store_memory_open(uint64_t max_bytes, struct store **store)
{
    const struct local_options options = {.max_bytes = max_bytes};

    return store_local_open(&options, store);
}
