/* A store that is only read: see reader.h. */
#include "core/store/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/store/local_state.h"

#define INDEX_MORE ((uint64_t)1 << 30) /* beyond what rows take */
#define PASSES     100        /* over a store in use, while segments are released that are read */
#define SETTLING   5          /* until what was found damaged was found so before, too */
#define REST_NS    100000000L /* between them */

/* Places of the log that are damaged: how many, and the sum of their positions. */
struct damaged {
    uint64_t n, sum;
};

struct reader {
    const struct reader_options *options;
    char log_path[PATH_MAX];
    struct local_store *s; /* of this pass */
    uint64_t done, all;
    struct damaged damaged;
};

static int read_only(struct store *store)
{
    return -EROFS;
}

static void reader_close(struct store *store)
{
    struct local_store *s = local_of(store);

    index_close(s->index);
    commit_log_close(s->log);
    live_fini(&s->live);
    batch_cache_fini(&s->cache);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    free(s->dir);
    free(s);
}

static const struct store_ops reader_ops = {
    .begin = read_only,
    .queue_next = local_queue_next,
    .queue_last_number = local_queue_last_number,
    .batch_get = local_batch_get,
    .batch_read = local_batch_read,
    .batch_next = local_batch_next,
    .mark_next = local_mark_next,
    .sequence_next = local_sequence_next,
    .identity_get = local_identity_get,
    .close = reader_close,
};

/* ---- a pass over the log ---- */

static void place(struct reader *r, uint64_t position)
{
    r->damaged.n++;
    r->damaged.sum += position;
}

static int on_damaged(void *owner, uint64_t position, uint64_t end, const char *segment)
{
    place(owner, position);
    return 0;
}

static int on_record(void *owner, uint64_t position, const uint8_t *body, size_t len)
{
    struct reader *r = owner;
    struct change change;
    size_t at = 0;
    int rc;

    r->done += COMMIT_LOG_HEAD + len;
    if (r->options->progress)
        r->options->progress(r->options->arg, r->done, r->all);
    while ((rc = changes_next(body, len, &at, &change)) == 0) {
        rc = local_apply(r->s, &change, position);
        if (rc < 0)
            return rc;
    }
    if (rc == -EBADMSG)
        place(r, position);
    return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
}

/* What an import has stored that has not ended is none. */
static int hide_import(struct local_store *s)
{
    struct index_key key = {.table = INDEX_BATCHES};
    struct index_row row;
    int rc = local_import_get(&s->base, &key.queue, &key.batch);

    while (rc == 0 && (rc = index_next(s->index, key, false, true, &row)) == 0)
        rc = index_remove(s->index, row.key);
    return rc == -ENOENT ? 0 : rc;
}

static int read_log(struct reader *r)
{
    const struct commit_log_visitor visitor = {
        .record = on_record, .damaged = on_damaged, .owner = r};
    const struct commit_log_options log = {
        .dir = r->log_path, .read_only = true, .segment_bytes = (uint64_t)1 << 20};
    struct commit_log_segment segment = {.end = 0}, first = {.end = 0};
    struct local_store *s = r->s;
    int rc = commit_log_open(&log, &s->log);

    if (rc < 0)
        return rc == -ENOENT && access(r->log_path, F_OK) == 0 ? -EAGAIN : rc;
    while (commit_log_next_segment(s->log, segment.end, &segment))
        r->all += segment.end - segment.first;
    rc = index_open(NULL, 3 * r->all + INDEX_MORE, &s->index);
    if (rc == 0)
        rc = commit_log_replay(s->log, 0, &visitor);
    if (rc == 0 && commit_log_next_segment(s->log, 0, &first) &&
        !commit_log_is_there(s->log, first.first))
        rc = -EAGAIN; /* what lived in it may lie behind the end that was read */
    return rc == 0 ? hide_import(s) : rc;
}

/* *s is a store, to be closed, where the result is 0. */
static int pass(struct reader *r, struct local_store **out)
{
    struct local_store *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return -ENOMEM;
    r->s = s;
    r->done = r->all = 0;
    r->damaged = (struct damaged){.n = 0};
    s->base.ops = &reader_ops;
    s->reading = true;
    s->dir = strdup(r->options->dir);
    s->dir_fd = s->dir ? open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    rc = s->dir_fd >= 0 ? 0 : s->dir ? -errno : -ENOMEM;
    if (rc == 0)
        rc = read_log(r);
    if (rc < 0)
        reader_close(&s->base);
    else
        *out = s;
    return rc;
}

/* ---- passes ---- */

static bool is_settled(const struct reader *r, const struct damaged *before)
{
    return r->damaged.n == 0 ||
           (before && before->n == r->damaged.n && before->sum == r->damaged.sum);
}

int store_reader_open(const struct reader_options *options, struct store **store,
                      uint64_t *n_damaged)
{
    const struct timespec rest = {.tv_nsec = REST_NS};
    struct reader r = {.options = options};
    struct damaged before = {.n = 0};
    struct local_store *s = NULL;
    int rc = -EAGAIN;

    if (snprintf(r.log_path, PATH_MAX, "%s/log", options->dir) >= PATH_MAX)
        return -ENAMETOOLONG;
    for (int i = 0, n_settling = 0; i < PASSES && rc == -EAGAIN; i++) {
        rc = pass(&r, &s);
        if (rc < 0 || is_settled(&r, n_settling > 0 ? &before : NULL) || ++n_settling == SETTLING)
            continue;
        before = r.damaged;
        reader_close(&s->base);
        nanosleep(&rest, NULL);
        rc = -EAGAIN;
    }
    if (rc < 0)
        return rc;
    *n_damaged = r.damaged.n;
    *store = &s->base;
    return 0;
}
