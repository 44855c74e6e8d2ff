/* Records and the order of segments: see commit_log.h. */
#include "core/store/commit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/log.h"
#include "core/store/segment.h"
#include "core/store/spares.h"

#define MAGIC    UINT32_C(0x52465151) /* "QQFR" */
#define OPEN_MAX 16                   /* files of full segments */
#define LOOK     ((size_t)1 << 20)    /* read at a time, to find the next record */

enum record_kind {
    RECORD_DATA = 1,
    RECORD_LAST = 2, /* without a body: the next one is in the next segment */
};

struct head {
    uint32_t kind;
    uint64_t position, len;
    uint32_t body_crc;
};

struct commit_log {
    struct commit_log_options options;
    char *dir; /* NULL: in memory */
    int dir_fd;
    struct segment_list all;
    struct spares *spares;
    uint64_t end;    /* where the next record lies; 0: not replayed yet */
    uint64_t n_uses; /* of segments */
    int failed;
};

/* ---- heads ---- */

static void head_encode(const struct commit_log *log, const struct head *head,
                        uint8_t bytes[COMMIT_LOG_HEAD])
{
    uint8_t *to = put_le32(bytes, MAGIC);

    to = put_le32(to, head->kind);
    to = put_le64(to, head->position);
    to = put_le64(to, head->len);
    to = put_le64(to, log->options.id);
    to = put_le32(to, head->body_crc);
    put_le32(to, crc32c(bytes, COMMIT_LOG_HEAD - 4));
}

static bool head_decode(const struct commit_log *log, const uint8_t bytes[COMMIT_LOG_HEAD],
                        uint64_t position, struct head *head)
{
    if (get_le32(bytes) != MAGIC ||
        get_le32(bytes + COMMIT_LOG_HEAD - 4) != crc32c(bytes, COMMIT_LOG_HEAD - 4))
        return false;
    *head = (struct head){
        .kind = get_le32(bytes + 4),
        .position = get_le64(bytes + 8),
        .len = get_le64(bytes + 16),
        .body_crc = get_le32(bytes + 32),
    };
    return head->position == position && get_le64(bytes + 24) == log->options.id &&
           (head->kind == RECORD_DATA || (head->kind == RECORD_LAST && head->len == 0));
}

/* Bytes that a record takes: the next one begins at a multiple of 8. */
static uint64_t record_size(uint64_t len)
{
    return (COMMIT_LOG_HEAD + len + 7) / 8 * 8;
}

/* ---- segments ---- */

/* Files of full segments are open while they are needed, and so many at most. */
static void shut_oldest(struct commit_log *log)
{
    struct segment *segment, *oldest = NULL;
    size_t n = 0;

    TAILQ_FOREACH (segment, &log->all, link) {
        if (segment->fd < 0 || !TAILQ_NEXT(segment, link))
            continue;
        n++;
        if (!oldest || segment->used < oldest->used)
            oldest = segment;
    }
    if (n > OPEN_MAX && !log->options.read_only)
        segment_shut(oldest, log->dir_fd);
}

/* It is open for what follows. */
static int need(struct commit_log *log, struct segment *segment)
{
    bool was_open = segment->fd >= 0;
    int rc = segment_open(segment, log->dir_fd);

    segment->used = ++log->n_uses;
    if (rc == 0 && !was_open)
        shut_oldest(log);
    return rc;
}

static struct segment *find(const struct commit_log *log, uint64_t position)
{
    struct segment *segment = TAILQ_LAST(&log->all, segment_list);

    while (segment && segment->first > position)
        segment = TAILQ_PREV(segment, segment_list, link);
    return segment && position < segment_end(segment) ? segment : NULL;
}

int commit_log_drop_first(struct commit_log *log)
{
    struct segment *first = TAILQ_FIRST(&log->all);

    if (!first || !TAILQ_NEXT(first, link))
        return -EINVAL;
    TAILQ_REMOVE(&log->all, first, link);
    return spares_retire(log->spares, first);
}

bool commit_log_next_segment(const struct commit_log *log, uint64_t from,
                             struct commit_log_segment *out)
{
    const struct segment *segment;

    TAILQ_FOREACH (segment, &log->all, link) {
        if (segment->first < from)
            continue;
        *out = (struct commit_log_segment){
            .first = segment->first,
            .end = segment_end(segment),
            .current = !TAILQ_NEXT(segment, link),
            .damaged = segment->damaged,
        };
        return true;
    }
    return false;
}

bool commit_log_is_there(const struct commit_log *log, uint64_t first)
{
    const struct segment *segment = find(log, first);

    return segment && segment_is_there(segment, log->dir_fd);
}

uint64_t commit_log_id(const struct commit_log *log)
{
    return log->options.id;
}

void commit_log_space(struct commit_log *log, struct commit_log_space *space)
{
    spares_space(log->spares, &space->used_bytes, &space->n_free, &space->segment_bytes);
}

/* ---- appending ---- */

/* Nothing more is appended to the last segment: whoever replays goes on with the next. */
static int finish_segment(struct commit_log *log)
{
    struct segment *last = TAILQ_LAST(&log->all, segment_list);
    uint8_t bytes[COMMIT_LOG_HEAD];
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct head head = {.kind = RECORD_LAST, .position = log->end};
    int rc;

    if (!last || segment_end(last) - log->end < COMMIT_LOG_HEAD)
        return 0;
    head.body_crc = crc32c(NULL, 0);
    head_encode(log, &head, bytes);
    rc = segment_write(last, log->end, &part, 1);
    return rc == 0 ? segment_sync(last, log->dir_fd) : rc;
}

/* Whether somebody has cut the file that is written to: what comes next would lie behind a hole. */
static bool is_cut(const struct commit_log *log)
{
    const struct segment *last = TAILQ_LAST(&log->all, segment_list);
    struct stat file;

    if (!last || fstat(last->fd, &file) < 0 || (uint64_t)file.st_size >= last->size)
        return false;
    log_error("%s/%s was cut short while it was open: nothing is written into it. Bring the store "
              "back from a backup, or start again, which finds what is lost",
              log->dir ? log->dir : "memory", last->name);
    return true;
}

/* The log goes on in another segment, with room for `size` bytes of records. */
static int next_segment(struct commit_log *log, uint64_t size, bool urgent)
{
    struct segment *last = TAILQ_LAST(&log->all, segment_list), *next;
    uint64_t first = last ? segment_end(last) : 0;
    int rc = spares_take(log->spares, size, urgent, &next);

    if (rc < 0)
        return rc;
    rc = segment_begin(next, log->dir_fd, log->options.id, first);
    if (rc == 0)
        rc = last ? finish_segment(log) : 0;
    if (rc == -ENOSPC) {
        spares_put_back(log->spares, next);
        return rc;
    }
    if (rc == 0)
        rc = segment_use(next, log->dir_fd);
    if (rc < 0) {
        segment_free(next);
        log->failed = -EIO;
        return -EIO;
    }
    TAILQ_INSERT_TAIL(&log->all, next, link);
    shut_oldest(log);
    log->end = first + SEGMENT_HEAD;
    return 0;
}

static int fit(struct commit_log *log, uint64_t size, bool urgent)
{
    const struct segment *last = TAILQ_LAST(&log->all, segment_list);

    if (last && segment_end(last) - log->end >= size)
        return 0;
    return next_segment(log, size, urgent);
}

bool commit_log_fits(struct commit_log *log, uint64_t len)
{
    const struct segment *last = TAILQ_LAST(&log->all, segment_list);
    uint64_t size = record_size(len);

    return (last && segment_end(last) - log->end >= size) || spares_can_take(log->spares, size);
}

int commit_log_append(struct commit_log *log, struct iovec *parts, size_t n_parts, uint32_t crc,
                      bool urgent, uint64_t *position)
{
    struct head head = {.kind = RECORD_DATA, .body_crc = crc};
    struct segment *last = TAILQ_LAST(&log->all, segment_list);
    uint8_t bytes[COMMIT_LOG_HEAD];
    int rc = log->failed;

    for (size_t i = 1; i < n_parts; i++)
        head.len += parts[i].iov_len;
    if (rc == 0 && last)
        rc = need(log, last);
    if (rc == 0 && is_cut(log))
        rc = log->failed = -EIO;
    if (rc == 0)
        rc = fit(log, record_size(head.len), urgent);
    if (rc < 0)
        return rc;
    head.position = log->end;
    head_encode(log, &head, bytes);
    parts[0] = (struct iovec){.iov_base = bytes, .iov_len = sizeof(bytes)};
    rc = segment_write(TAILQ_LAST(&log->all, segment_list), log->end, parts, n_parts);
    if (rc == -ENOSPC)
        return rc; /* where blocks are never written over: what is there of it is no record */
    if (rc == 0)
        rc = segment_sync(TAILQ_LAST(&log->all, segment_list), log->dir_fd);
    if (rc < 0) {
        log->failed = -EIO;
        return -EIO;
    }
    *position = log->end;
    log->end += record_size(head.len);
    return 0;
}

int commit_log_read(struct commit_log *log, uint64_t position, void *to, size_t len)
{
    struct segment *segment = find(log, position);
    int rc;

    if (!segment || len > segment_end(segment) - position)
        return -EBADMSG;
    rc = need(log, segment);
    return rc == 0 ? segment_read(segment, position, to, len) : rc;
}

int commit_log_record(struct commit_log *log, uint64_t position, uint64_t *len, uint64_t *next)
{
    struct segment *segment = find(log, position);
    uint8_t bytes[COMMIT_LOG_HEAD];
    struct head head;
    int rc;

    if (!segment || segment_end(segment) - position < sizeof(bytes))
        return -ENOENT;
    rc = need(log, segment);
    if (rc == 0)
        rc = segment_read(segment, position, bytes, sizeof(bytes));
    if (rc < 0)
        return rc;
    if (!head_decode(log, bytes, position, &head) || head.kind != RECORD_DATA)
        return -ENOENT;
    *len = head.len;
    *next = position + record_size(head.len);
    return 0;
}

uint64_t commit_log_end(const struct commit_log *log)
{
    return log->end;
}

/* ---- replaying ---- */

struct replay {
    struct commit_log *log;
    const struct commit_log_visitor *visitor;
    uint64_t position;
    uint64_t last, last_len; /* the last whole record; last 0: none */
    uint8_t *body;           /* of the record at hand, or bytes looked through */
    size_t size;
};

static int reserve(struct replay *replay, size_t size)
{
    uint8_t *body;

    if (size <= replay->size)
        return 0;
    body = realloc(replay->body, size);
    if (!body)
        return -ENOMEM;
    replay->body = body;
    replay->size = size;
    return 0;
}

static uint64_t room_at(const struct segment *segment, uint64_t position)
{
    return segment_end(segment) - position;
}

/* 1: there is one; 0: none; negative: it cannot be read. */
static int head_at(const struct replay *replay, const struct segment *segment, uint64_t position,
                   struct head *head)
{
    uint8_t bytes[COMMIT_LOG_HEAD];
    int rc;

    if (room_at(segment, position) < sizeof(bytes))
        return 0;
    rc = segment_read(segment, position, bytes, sizeof(bytes));
    if (rc < 0)
        return rc == -EIO || rc == -EBADMSG ? 0 : rc;
    return head_decode(replay->log, bytes, position, head) &&
           record_size(head->len) <= room_at(segment, position);
}

/* As head_at(), at or behind *position in the segment. */
static int look_in(struct replay *replay, const struct segment *segment, uint64_t *position,
                   struct head *head)
{
    int rc = reserve(replay, LOOK);

    while (rc == 0 && *position + COMMIT_LOG_HEAD <= segment_end(segment)) {
        size_t len = LOOK < room_at(segment, *position) ? LOOK : room_at(segment, *position);
        bool readable = segment_read(segment, *position, replay->body, len) == 0;

        if (!readable) { /* a page at a time, to lose no more than is bad */
            len = len < 4096 ? len : 4096;
            readable = segment_read(segment, *position, replay->body, len) == 0;
        }
        for (size_t at = 0; at + COMMIT_LOG_HEAD <= len && readable; at += 8) {
            if (get_le32(replay->body + at) == MAGIC &&
                head_decode(replay->log, replay->body + at, *position + at, head)) {
                *position += at;
                return 1;
            }
        }
        *position += readable && len == LOOK ? len - (COMMIT_LOG_HEAD - 8) : len;
    }
    return rc;
}

/* The next head at or behind *position, in this segment or a later one. */
static int look(struct replay *replay, uint64_t *position, struct head *head)
{
    struct segment *segment;

    TAILQ_FOREACH (segment, &replay->log->all, link) {
        int rc;

        if (segment_end(segment) <= *position)
            continue;
        if (*position < segment->first + SEGMENT_HEAD)
            *position = segment->first + SEGMENT_HEAD;
        rc = need(replay->log, segment);
        if (rc == 0)
            rc = look_in(replay, segment, position, head);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* There is no whole record here: the end (1), or damage that is passed over (0). */
static int pass_over(struct replay *replay, const struct segment *segment, uint64_t behind)
{
    struct head head;
    uint64_t next = behind;
    int rc = look(replay, &next, &head);

    if (rc <= 0)
        return rc == 0 ? 1 : rc;
    if (replay->visitor->damaged)
        rc =
            replay->visitor->damaged(replay->visitor->owner, replay->position, next, segment->name);
    replay->position = next;
    return rc < 0 ? rc : 0;
}

/* 0: it was whole; 1: it was not, and nothing is behind it. */
static int replay_record(struct replay *replay, const struct segment *segment,
                         const struct head *head)
{
    uint64_t behind = replay->position + record_size(head->len);
    int rc = reserve(replay, head->len);

    if (rc < 0)
        return rc;
    rc = segment_read(segment, replay->position + COMMIT_LOG_HEAD, replay->body, head->len);
    if (rc < 0 || crc32c(replay->body, head->len) != head->body_crc)
        return pass_over(replay, segment, behind);
    replay->last = replay->position;
    replay->last_len = head->len;
    rc = replay->visitor->record(replay->visitor->owner, replay->position, replay->body, head->len);
    replay->position = behind;
    return rc < 0 ? rc : 0;
}

/* To the first record of the segment, or of one behind it that has room for any; 1: there is none.
 */
static int replay_segment(struct replay *replay, const struct segment *segment)
{
    while (segment && segment->size < SEGMENT_HEAD)
        segment = TAILQ_NEXT(segment, link);
    if (!segment)
        return 1;
    replay->position = segment->first + SEGMENT_HEAD;
    return 0;
}

/* The first segment at or behind the position; a gap before it is damage. 1: there is none. */
static int replay_behind(struct replay *replay, uint64_t position)
{
    const struct commit_log_visitor *visitor = replay->visitor;
    const struct segment *segment = TAILQ_FIRST(&replay->log->all);
    int rc = 0;

    while (segment && segment->first < position)
        segment = TAILQ_NEXT(segment, link);
    if (segment && segment->first > position && visitor->damaged)
        rc = visitor->damaged(visitor->owner, position, segment->first, segment->name);
    return rc < 0 ? rc : replay_segment(replay, segment);
}

static int replay_step(struct replay *replay)
{
    struct segment *segment = find(replay->log, replay->position);
    struct head head;
    int rc;

    if (!segment)
        return replay_behind(replay, replay->position);
    if (replay->position < segment->first + SEGMENT_HEAD)
        return replay_segment(replay, segment);
    if (room_at(segment, replay->position) < COMMIT_LOG_HEAD)
        return replay_behind(replay, segment_end(segment));
    rc = need(replay->log, segment);
    if (rc < 0)
        return rc;
    rc = head_at(replay, segment, replay->position, &head);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return pass_over(replay, segment, replay->position + 8);
    if (head.kind == RECORD_LAST && TAILQ_NEXT(segment, link))
        return replay_behind(replay, segment_end(segment));
    if (head.kind == RECORD_LAST)
        return 1;
    return replay_record(replay, segment, &head);
}

/* Written and synced anew, as if it had just been appended. */
static int renew_last(struct replay *replay)
{
    struct segment *segment = find(replay->log, replay->last);
    struct iovec part;
    int rc;

    if (replay->last == 0 || replay->log->dir_fd < 0 || replay->log->options.read_only)
        return 0;
    rc = need(replay->log, segment);
    if (rc == 0)
        rc = reserve(replay, record_size(replay->last_len));
    if (rc < 0)
        return rc;
    part = (struct iovec){.iov_base = replay->body, .iov_len = COMMIT_LOG_HEAD + replay->last_len};
    rc = segment_read(segment, replay->last, part.iov_base, part.iov_len);
    if (rc == 0)
        rc = segment_write(segment, replay->last, &part, 1);
    return rc == 0 ? segment_sync(segment, replay->log->dir_fd) : rc;
}

int commit_log_replay(struct commit_log *log, uint64_t from,
                      const struct commit_log_visitor *visitor)
{
    const struct segment *last = TAILQ_LAST(&log->all, segment_list);
    struct replay replay = {.log = log, .visitor = visitor, .position = from};
    int rc = 0;

    if (from != 0 && (!last || from > segment_end(last)))
        return -ERANGE;
    if (from != 0 && from < segment_end(last) && !find(log, from))
        return -EBADMSG;
    if (from == 0)
        rc = replay_segment(&replay, TAILQ_FIRST(&log->all));
    while (rc == 0)
        rc = replay_step(&replay);
    if (rc == 1)
        rc = renew_last(&replay);
    log->end = replay.position;
    free(replay.body);
    return rc;
}

/* ---- open and close ---- */

/* The directory, and what is in it. */
static int load(struct commit_log *log, struct segment_list *spares)
{
    if (!log->options.dir)
        return 0;
    log->dir = strdup(log->options.dir);
    if (!log->dir)
        return -ENOMEM;
    log->dir_fd = open(log->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log->dir_fd < 0)
        return -errno;
    return segments_load(log->dir_fd, log->options.read_only, &log->options.id, &log->all, spares);
}

static int open_spares(struct commit_log *log, struct segment_list *found)
{
    struct spares_options options = {
        .dir_fd = log->dir_fd,
        .segment_bytes = log->options.segment_bytes,
        .max_bytes = log->options.max_bytes,
        .min_free_bytes = log->options.min_free_bytes,
    };
    const struct segment *segment;

    TAILQ_FOREACH (segment, &log->all, link)
        options.log_bytes += segment->size;
    return spares_open(&options, found, &log->spares);
}

int commit_log_open(const struct commit_log_options *options, struct commit_log **out)
{
    struct commit_log *log = calloc(1, sizeof(*log));
    struct segment_list spares;
    int rc;

    if (!log)
        return -ENOMEM;
    log->options = *options;
    log->dir_fd = -1;
    TAILQ_INIT(&log->all);
    TAILQ_INIT(&spares);
    rc = load(log, &spares);
    if (rc == 0 && !options->read_only)
        rc = open_spares(log, &spares);
    segment_list_free(&spares);
    if (rc < 0) {
        commit_log_close(log);
        return rc;
    }
    *out = log;
    return 0;
}

void commit_log_close(struct commit_log *log)
{
    if (!log)
        return;
    spares_close(log->spares);
    segment_list_free(&log->all);
    if (log->dir_fd >= 0)
        close(log->dir_fd);
    free(log->dir);
    free(log);
}
