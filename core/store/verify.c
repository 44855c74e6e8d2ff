/* A store is read and judged: see verify.h. */
#include "core/store/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/store/local_state.h"

#define INDEX_MORE ((uint64_t)1 << 30) /* beyond what rows take */
#define PASSES     5                   /* at most, over a store in use */
#define REST_NS    100000000L          /* between them */

#define UNKNOWN UINT64_MAX /* a position */

struct verify {
    struct local_store store; /* its log is the one on disk, its index is made of it, in memory */
    char log_path[PATH_MAX], index_path[PATH_MAX];
    struct store_index *disk; /* NULL: it is not compared any more */
    uint64_t checkpoint;      /* where in the log the one on disk stands */
    uint64_t *places;         /* damaged ones of this pass */
    size_t n_places, cap_places;
    uint64_t done;
    verify_progress *progress;
    void *arg;
    struct verify_report *report;
};

static void found(struct verify *v, const char *format, ...)
{
    struct verify_report *report = v->report;
    va_list args;

    if (report->n_found == VERIFY_FOUND_MAX)
        return;
    va_start(args, format);
    vsnprintf(report->found[report->n_found++], VERIFY_FOUND_SIZE, format, args);
    va_end(args);
}

/* ---- the log ---- */

static int place(struct verify *v, uint64_t position)
{
    size_t cap = v->cap_places > 0 ? 2 * v->cap_places : 64;
    uint64_t *grown;

    if (v->n_places == v->cap_places) {
        grown = realloc(v->places, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        v->places = grown;
        v->cap_places = cap;
    }
    v->places[v->n_places++] = position;
    return 0;
}

static int on_damaged(void *owner, uint64_t position, uint64_t end, const char *segment)
{
    struct verify *v = owner;

    found(v,
          "log/%s is damaged at %llu, %llu bytes: what was put or acknowledged with them is lost",
          segment ? segment : "?", (unsigned long long)position,
          (unsigned long long)(end - position));
    return place(v, position);
}

/* Its bytes are what its head says. */
static int check_batch(struct verify *v, const struct change *change, uint64_t position)
{
    struct batch_view view;

    if (record_batch_decode(&view, change->data, change->len) == 0 && batch_verify(&view) == 0)
        return 0;
    found(v, "batch %llu of queue %llu, in the log at %llu, is damaged",
          (unsigned long long)change->key.batch, (unsigned long long)change->key.queue,
          (unsigned long long)position);
    return place(v, position + change->at);
}

static int compare(struct verify *v);

static int on_record(void *owner, uint64_t position, const uint8_t *body, size_t len)
{
    struct verify *v = owner;
    struct change change;
    size_t at = 0;
    int rc = position >= v->checkpoint ? compare(v) : 0;

    v->report->n_records++;
    v->done += COMMIT_LOG_HEAD + len;
    if (v->progress)
        v->progress(v->arg, v->done, v->report->log_bytes);
    while (rc == 0 && (rc = changes_next(body, len, &at, &change)) == 0) {
        if (change.verb == CHANGE_PUT && change.key.table == INDEX_BATCHES)
            rc = check_batch(v, &change, position);
        if (rc == 0)
            rc = local_apply(&v->store, &change, position);
    }
    if (rc == -EBADMSG) {
        found(v, "the record at %llu holds what is no change", (unsigned long long)position);
        rc = place(v, position);
    }
    return rc == -ENOENT ? 0 : rc;
}

static void count_segments(struct verify *v)
{
    struct commit_log_segment segment = {.end = 0};

    v->report->n_segments = v->report->log_bytes = 0;
    while (commit_log_next_segment(v->store.log, segment.end, &segment)) {
        v->report->n_segments++;
        v->report->log_bytes += segment.end - segment.first;
        if (!segment.damaged)
            continue;
        found(v, "the first page of log/%016llx.log is damaged; its records are read all the same",
              (unsigned long long)segment.first);
        place(v, segment.first);
    }
}

/* Its log stays NULL where the files are not of one. */
static int open_log(struct verify *v)
{
    const struct commit_log_options options = {
        .dir = v->log_path, .read_only = true, .segment_bytes = (uint64_t)1 << 20};
    int rc = commit_log_open(&options, &v->store.log);

    if (rc == -EBADMSG) {
        found(v, "log: segments of two stores, of another version, or one twice");
        return place(v, UNKNOWN);
    }
    if (rc == 0)
        count_segments(v);
    return rc;
}

static int read_log(struct verify *v)
{
    const struct commit_log_visitor visitor = {
        .record = on_record, .damaged = on_damaged, .owner = v};
    int rc = commit_log_replay(v->store.log, 0, &visitor);

    return rc == 0 ? compare(v) : rc;
}

/* Of address space: a row of the index is no larger than its change, in pages that are half full.
 */
static uint64_t index_bytes_of(const struct verify *v)
{
    return 3 * v->report->log_bytes + INDEX_MORE;
}

/* ---- the index ---- */

static void wrong_row(struct verify *v, const struct index_key *key, const char *what)
{
    v->report->n_wrong_rows++;
    v->report->index = VERIFY_INDEX_WRONG;
    found(v, "index: the row of %s %llu, %llu %s", index_table_names[key->table],
          (unsigned long long)key->queue, (unsigned long long)key->batch, what);
}

static int order(const struct index_key *a, const struct index_key *b)
{
    if (a->queue != b->queue)
        return a->queue < b->queue ? -1 : 1;
    if (a->batch != b->batch)
        return a->batch < b->batch ? -1 : 1;
    return a->low == b->low ? 0 : a->low < b->low ? -1 : 1;
}

static bool is_same(const struct index_row *a, const struct index_row *b)
{
    return a->position == b->position && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The next row that both should have; 0, or -ENOENT: both are at their end. */
static int step(struct verify *v, struct index_key *key, bool *after)
{
    struct index_row made, disk;
    int rc = index_next(v->store.index, *key, *after, false, &made), other;

    if (rc < 0 && rc != -ENOENT)
        return rc;
    other = index_next(v->disk, *key, *after, false, &disk);
    if (other < 0 && other != -ENOENT && other != -EBADMSG)
        return other;
    if (rc == -ENOENT && other == -ENOENT)
        return -ENOENT;
    *after = true;
    if (other == -ENOENT || (rc == 0 && order(&made.key, &disk.key) < 0)) {
        *key = made.key;
        wrong_row(v, key, "is missing");
    } else if (rc == -ENOENT || order(&disk.key, &made.key) < 0) {
        *key = disk.key;
        wrong_row(v, key, "is none of the log's");
    } else {
        *key = made.key;
        if (other == -EBADMSG || !is_same(&made, &disk))
            wrong_row(v, key, "is not as the log has it");
    }
    return 0;
}

/* Once, with the log read as far as the index stands for. */
static int compare(struct verify *v)
{
    int rc = 0;

    if (!v->disk)
        return 0;
    if (v->n_places > 0)
        v->report->index = VERIFY_INDEX_AHEAD;
    for (int table = INDEX_META;
         table < INDEX_TABLES && v->n_places == 0 && (rc == 0 || rc == -ENOENT); table++) {
        struct index_key key = {.table = (enum index_table)table};
        bool after = false;

        if (table == INDEX_META) /* before these are rows of its own */
            key.queue = LOCAL_META_LAST_QUEUE;
        rc = 0;
        while (rc == 0)
            rc = step(v, &key, &after);
    }
    index_close(v->disk);
    v->disk = NULL;
    v->checkpoint = UNKNOWN;
    return rc == -ENOENT ? 0 : rc;
}

static int read_checkpoint(struct verify *v)
{
    struct index_row row;
    int rc = index_get(v->disk, (struct index_key){.queue = LOCAL_META_POSITION}, &row);

    if (rc == 0 && row.len == 8)
        v->checkpoint = get_le64(row.data);
    return rc == 0 && row.len != 8 ? -EBADMSG : rc;
}

/* The one on disk, as far as it can be used. */
static int open_index(struct verify *v)
{
    char file[PATH_MAX + 16];
    int rc;

    v->checkpoint = UNKNOWN;
    v->report->index = v->report->in_use ? VERIFY_INDEX_IN_USE : VERIFY_INDEX_RIGHT;
    if (v->report->in_use)
        return 0;
    snprintf(file, sizeof(file), "%s/data.mdb", v->index_path);
    if (access(file, F_OK) < 0) {
        v->report->index = VERIFY_INDEX_MISSING;
        return 0;
    }
    rc = index_open(v->index_path, index_bytes_of(v), &v->disk);
    if (rc == -EROFS || rc == -EACCES || rc == -EPERM) {
        v->report->index = VERIFY_INDEX_CLOSED;
        return 0;
    }
    if (rc == 0)
        rc = read_checkpoint(v);
    if (rc != -EBADMSG && rc != -EINVAL && rc != -ENOENT)
        return rc;
    v->report->index = VERIFY_INDEX_WRONG;
    found(v, "index: it is damaged, or of another version");
    index_close(v->disk);
    v->disk = NULL;
    return 0;
}

/* ---- what lives ---- */

static int count(struct verify *v)
{
    struct index_key key = {.table = INDEX_QUEUES};
    struct batch_view view;
    struct index_row row;
    int rc;

    for (bool after = false; (rc = index_next(v->store.index, key, after, false, &row)) == 0;
         after = true) {
        v->report->n_queues++;
        key = row.key;
    }
    key = (struct index_key){.table = INDEX_BATCHES};
    for (bool after = false;
         rc == -ENOENT && index_next(v->store.index, key, after, false, &row) == 0; after = true) {
        v->report->n_batches++;
        key = row.key;
        if (record_batch_decode(&view, row.data, RECORD_BATCH_BYTES + get_le32(row.data + 8)) == 0)
            v->report->n_items += view.n_items;
    }
    return rc == -ENOENT ? 0 : rc;
}

/* ---- passes ---- */

static void forget(struct verify *v)
{
    index_close(v->disk);
    index_close(v->store.index);
    commit_log_close(v->store.log);
    live_fini(&v->store.live);
    v->disk = v->store.index = NULL;
    v->store.log = NULL;
}

static int pass(struct verify *v)
{
    struct verify_report *report = v->report;
    int rc;

    report->n_found = 0;
    report->n_records = report->n_queues = report->n_batches = report->n_items = 0;
    report->n_wrong_rows = 0;
    v->n_places = 0;
    v->done = 0;
    rc = open_log(v);
    if (rc == 0)
        rc = index_open(NULL, index_bytes_of(v), &v->store.index);
    if (rc == 0)
        rc = open_index(v);
    if (rc == 0 && v->store.log)
        rc = read_log(v);
    if (rc == 0)
        rc = count(v);
    report->n_damaged = v->n_places;
    forget(v);
    return rc;
}

static bool was_there(const uint64_t *before, size_t n, uint64_t position)
{
    for (size_t i = 0; i < n; i++) {
        if (before[i] == position)
            return true;
    }
    return false;
}

/* Whether all that this pass has found was found before, too: a store in use moves on meanwhile. */
static bool is_settled(const struct verify *v, const uint64_t *before, size_t n)
{
    for (size_t i = 0; i < v->n_places; i++) {
        if (!was_there(before, n, v->places[i]))
            return false;
    }
    return true;
}

static int pass_until_settled(struct verify *v)
{
    const struct timespec rest = {.tv_nsec = REST_NS};
    uint64_t *before = NULL;
    size_t n_before = 0;
    int rc = pass(v);

    for (int i = 1; v->report->in_use && i < PASSES; i++) {
        if (rc != -ENOENT && (rc < 0 || is_settled(v, before, n_before)))
            break;
        free(before);
        before = v->places;
        n_before = v->n_places;
        v->places = NULL;
        v->n_places = v->cap_places = 0;
        nanosleep(&rest, NULL);
        rc = pass(v);
    }
    free(before);
    return rc;
}

int store_verify(const char *dir, verify_progress *progress, void *arg,
                 struct verify_report *report)
{
    struct verify v = {.progress = progress, .arg = arg, .report = report};
    int fd, rc = 0;

    memset(report, 0, sizeof(*report));
    if (snprintf(v.log_path, PATH_MAX, "%s/log", dir) >= PATH_MAX ||
        snprintf(v.index_path, PATH_MAX, "%s/index", dir) >= PATH_MAX)
        return -ENAMETOOLONG;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_SH | LOCK_NB) < 0)
        report->in_use = errno == EWOULDBLOCK;
    rc = pass_until_settled(&v);
    free(v.places);
    close(fd);
    return rc;
}
