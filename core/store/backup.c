/* A store is copied: see backup.h. */
#include "core/store/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/log.h"
#include "core/store/commit_log.h"
#include "core/store/segment.h"

#define PIECE  ((size_t)1 << 20) /* copied at a time */
#define GAPS   10  /* seen in the log before they are taken for damage, and copied with it */
#define PASSES 100 /* while segments are released that have not been copied yet */

#define NAME 32

/* Beside `log` of DEST: where a copy is made that does not go on from the older one, and the older
 * one for as long as the newer takes its place. */
#define ASIDE "backup.log"
#define OLD   "backup.old"

/* What DEST/backup says. */
struct stand {
    uint64_t log_id, last, end; /* last: position of the last record; 0: none */
    uint32_t last_crc;          /* of its head */
    uint64_t tail;              /* position of the segment that was not full yet */
};

struct backup {
    const char *dir, *dest;
    char source[PATH_MAX];
    int dest_fd, log_fd; /* DEST, and DEST/log, or what will be it */
    bool aside;
    struct commit_log *log;
    bool begun;            /* DEST has had a copying */
    struct stand was, now; /* was.end 0: none has ended */
    uint8_t *bytes;        /* a piece */
    uint64_t done, all;
    unsigned n_gaps;
    bool said; /* why it has failed */
    backup_progress *progress;
    void *arg;
    struct backup_report *report;
};

static int failed(struct backup *b, const char *what, int rc)
{
    b->said = true;
    log_error("%s: %s: %s", b->dest, what, strerror(-rc));
    return rc;
}

static void name_of(char name[NAME], uint64_t first)
{
    snprintf(name, NAME, "%016" PRIx64 ".log", first);
}

/* ---- how far the copy goes ---- */

static int write_stand(struct backup *b)
{
    int fd = openat(b->dest_fd, "backup.part", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = 0;

    if (fd < 0)
        return failed(b, "backup.part", -errno);
    if (dprintf(fd,
                "queuefs backup 1\nlog %016" PRIx64 "\nlast %" PRIu64 " %08" PRIx32 "\nend %" PRIu64
                "\ntail %" PRIu64 "\n",
                b->now.log_id, b->now.last, b->now.last_crc, b->now.end, b->now.tail) < 0 ||
        fsync(fd) < 0)
        rc = -errno;
    close(fd);
    if (rc == 0 && renameat(b->dest_fd, "backup.part", b->dest_fd, "backup") < 0)
        rc = -errno;
    if (rc == 0 && fsync(b->dest_fd) < 0)
        rc = -errno;
    return rc == 0 ? 0 : failed(b, "backup", rc);
}

static int read_stand(struct backup *b)
{
    char text[512] = "";
    int fd = openat(b->dest_fd, "backup", O_RDONLY | O_CLOEXEC), n;

    if (fd < 0)
        return errno == ENOENT ? 0 : failed(b, "backup", -errno);
    n = (int)read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n > 0 &&
        sscanf(text,
               "queuefs backup 1\nlog %" SCNx64 "\nlast %" SCNu64 " %" SCNx32 "\nend %" SCNu64
               "\ntail %" SCNu64,
               &b->was.log_id, &b->was.last, &b->was.last_crc, &b->was.end, &b->was.tail) == 5) {
        b->begun = true;
        return 0;
    }
    log_error("%s/backup is damaged: give an empty directory", b->dest);
    return -EEXIST;
}

/* Of the record at the position, as it is in the log that is copied. */
static int head_crc(struct backup *b, uint64_t position, uint32_t *crc)
{
    uint8_t head[COMMIT_LOG_HEAD];
    int rc = commit_log_read(b->log, position, head, sizeof(head));

    *crc = rc == 0 ? crc32c(head, sizeof(head)) : 0;
    return rc;
}

/* The older copy is of this log, and of this life of it. */
static int check_lineage(struct backup *b)
{
    struct commit_log_segment first = {.first = 0};
    uint32_t crc;

    if (!b->begun)
        return 0;
    commit_log_next_segment(b->log, 0, &first);
    if (b->was.log_id == commit_log_id(b->log) &&
        (b->was.last < first.first || b->was.last == 0 ||
         (head_crc(b, b->was.last, &crc) == 0 && crc == b->was.last_crc)))
        return 0;
    log_error("%s is a copy of another store than %s, or of one that has gone another way since "
              "(a copy of it was started): give an empty directory",
              b->dest, b->dir);
    return -EEXIST;
}

/* ---- segments ---- */

static bool is_zero(const uint8_t *bytes, size_t len)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static int copy_bytes(struct backup *b, int fd, const struct commit_log_segment *segment,
                      uint64_t end)
{
    for (uint64_t at = segment->first; at < end;) {
        size_t n = end - at < PIECE ? (size_t)(end - at) : PIECE;
        int rc = commit_log_read(b->log, at, b->bytes, n);

        if (rc < 0)
            return rc;
        if (!is_zero(b->bytes, n)) /* else there is a hole */
            rc = segment_write_at(fd, at - segment->first, b->bytes, n);
        if (rc < 0)
            return failed(b, "write", rc);
        at += n;
        b->done += n;
        b->report->copied_bytes += n;
        if (b->progress)
            b->progress(b->arg, b->done, b->all);
    }
    return 0;
}

/* What is in it up to `end`; the rest is empty. -EAGAIN: it was released meanwhile. */
static int copy_segment(struct backup *b, const struct commit_log_segment *segment, uint64_t end)
{
    char name[NAME], part[NAME + 8];
    int fd, rc;

    name_of(name, segment->first);
    snprintf(part, sizeof(part), "%s.part", name);
    fd = openat(b->log_fd, part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(b, part, -errno);
    rc = ftruncate(fd, (off_t)(segment->end - segment->first)) < 0 ? -errno : 0;
    if (rc == 0)
        rc = copy_bytes(b, fd, segment, end);
    if (rc == 0 && fsync(fd) < 0)
        rc = failed(b, part, -errno);
    close(fd);
    if (!commit_log_is_there(b->log, segment->first))
        rc = -EAGAIN;
    if (rc == 0 && renameat(b->log_fd, part, b->log_fd, name) < 0)
        rc = failed(b, name, -errno);
    if (rc == 0 && fsync(b->log_fd) < 0)
        rc = failed(b, "log", -errno);
    if (rc < 0)
        unlinkat(b->log_fd, part, 0);
    b->report->n_copied += rc == 0;
    return rc;
}

/* It was copied as a full one, by the older copying or by this. */
static bool has_segment(const struct backup *b, const struct commit_log_segment *segment,
                        uint64_t full_below)
{
    struct stat st;
    char name[NAME];

    name_of(name, segment->first);
    return segment->first < full_below && fstatat(b->log_fd, name, &st, 0) == 0 &&
           (uint64_t)st.st_size == segment->end - segment->first;
}

/* ---- the end of the log ---- */

static int on_record(void *owner, uint64_t position, const uint8_t *body, size_t len)
{
    struct backup *b = owner;

    b->now.last = position;
    return 0;
}

static int on_damaged(void *owner, uint64_t position, uint64_t end, const char *segment)
{
    return 0; /* it is copied as it is */
}

/* The last segment of today, and what is whole in it. */
static int copy_tail(struct backup *b, const struct commit_log_segment *tail)
{
    const struct commit_log_visitor visitor = {
        .record = on_record, .damaged = on_damaged, .owner = b};
    int rc;

    b->now.log_id = commit_log_id(b->log);
    b->now.tail = tail->first;
    b->now.last = 0;
    rc = commit_log_replay(b->log, tail->first + COMMIT_LOG_FIRST, &visitor);
    if (rc < 0)
        return rc;
    b->now.end = commit_log_end(b->log);
    if (b->now.last != 0)
        rc = head_crc(b, b->now.last, &b->now.last_crc);
    return rc < 0 ? rc : copy_segment(b, tail, b->now.end);
}

/* ---- all of it ---- */

static uint64_t bytes_to_copy(const struct backup *b, uint64_t full_below)
{
    struct commit_log_segment segment = {.end = 0};
    uint64_t bytes = 0;

    while (commit_log_next_segment(b->log, segment.end, &segment)) {
        if (!has_segment(b, &segment, full_below))
            bytes += segment.end - segment.first;
    }
    return bytes;
}

/* The number of the segment that the file is, or with `.part` a piece of; `end` is how it goes on.
 */
static bool parse(const char *name, const char *end, uint64_t *first)
{
    char *rest;

    *first = strtoull(name, &rest, 16);
    return rest == name + 16 && strcmp(rest, end) == 0;
}

/* Pieces go; of the segments *low becomes the lowest, *high the highest. */
static int look_through(struct backup *b, uint64_t *low, uint64_t *high)
{
    int fd = openat(b->log_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    uint64_t at;

    if (!dir)
        return failed(b, "log", -errno);
    *low = UINT64_MAX;
    *high = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (parse(entry->d_name, ".log.part", &at))
            unlinkat(b->log_fd, entry->d_name, 0);
        if (!parse(entry->d_name, ".log", &at))
            continue;
        *low = at < *low ? at : *low;
        *high = at > *high ? at : *high;
    }
    closedir(dir);
    return 0;
}

static int remove_segment(struct backup *b, uint64_t first)
{
    char name[NAME];

    name_of(name, first);
    if (unlinkat(b->log_fd, name, 0) < 0)
        return failed(b, name, -errno);
    return fsync(b->log_fd) < 0 ? failed(b, "log", -errno) : 0;
}

/* Segments of DEST below the first of the log, which nothing needs, those behind its last, which
 * are of a copying that was cut off, and pieces. One after the other, from the ends: with a gap in
 * it, what is left would have again what was removed in the gap. */
static int remove_old(struct backup *b, uint64_t first)
{
    uint64_t low, high;
    int rc = look_through(b, &low, &high);

    while (rc == 0 && (low < first || (high > b->now.tail && high > low))) {
        rc = remove_segment(b, low < first ? low : high);
        if (rc == 0)
            rc = look_through(b, &low, &high);
    }
    return rc;
}

/* ---- aside ---- */

/* A directory of DEST goes, with the files in it. */
static void remove_directory(struct backup *b, const char *name)
{
    int fd = openat(b->dest_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.')
            unlinkat(fd, entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
    unlinkat(b->dest_fd, name, AT_REMOVEDIR);
}

/* Of a copying that was cut off. */
static int clear_aside(struct backup *b)
{
    if (faccessat(b->dest_fd, "log", F_OK, 0) < 0 &&
        renameat(b->dest_fd, OLD, b->dest_fd, "log") < 0 && errno != ENOENT)
        return failed(b, OLD, -errno);
    remove_directory(b, ASIDE);
    remove_directory(b, OLD);
    return 0;
}

/* The older copy is one until all of the newer one is there. */
static int begin_aside(struct backup *b)
{
    close(b->log_fd);
    b->log_fd = -1;
    b->aside = true;
    remove_directory(b, ASIDE);
    if (mkdirat(b->dest_fd, ASIDE, 0700) < 0)
        return failed(b, ASIDE, -errno);
    b->log_fd = openat(b->dest_fd, ASIDE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return b->log_fd < 0 ? failed(b, ASIDE, -errno) : 0;
}

/* Not every filesystem changes two names for each other. Where this one does not, the next copying
 * finds the older one under its other name. */
static int put_in_place(struct backup *b)
{
    int rc = renameat2(b->dest_fd, ASIDE, b->dest_fd, "log", RENAME_EXCHANGE);

    if (rc < 0 && (errno == EINVAL || errno == ENOSYS)) {
        rc = renameat(b->dest_fd, "log", b->dest_fd, OLD);
        if (rc == 0)
            rc = renameat(b->dest_fd, ASIDE, b->dest_fd, "log");
    }
    if (rc < 0 || fsync(b->dest_fd) < 0)
        return failed(b, "log", -errno);
    remove_directory(b, ASIDE);
    remove_directory(b, OLD);
    return 0;
}

/* Whether the log has all that came behind what is there, so that each segment more makes it a
 * newer copy. */
static bool continues(const struct backup *b, uint64_t first, uint64_t full_below)
{
    if (b->aside)
        return first <= full_below;
    return b->was.end == 0 || first <= full_below || first <= b->was.tail;
}

/* ---- a pass ---- */

/* -EAGAIN: segments were released before they were copied; those copied are good. */
static int pass(struct backup *b, uint64_t *full_below)
{
    struct commit_log_segment segment = {.end = 0}, first = {.end = 0};
    uint64_t end = 0;
    int rc = 0;

    b->report->n_segments = 0;
    b->done = 0;
    if (!commit_log_next_segment(b->log, 0, &first))
        return -ENOENT;
    if (!continues(b, first.first, *full_below)) {
        *full_below = 0;
        rc = begin_aside(b);
    }
    b->all = bytes_to_copy(b, *full_below);
    while (rc == 0 && commit_log_next_segment(b->log, segment.end, &segment)) {
        b->report->n_segments++;
        if (end != 0 && segment.first != end && b->n_gaps++ < GAPS)
            return -EAGAIN; /* the directory was read while it changed */
        end = segment.end;
        if (segment.current)
            rc = copy_tail(b, &segment);
        else if (!has_segment(b, &segment, *full_below))
            rc = copy_segment(b, &segment, segment.end);
        if (rc == 0 && !segment.current && segment.end > *full_below)
            *full_below = segment.end;
    }
    if (rc == 0 && !commit_log_is_there(b->log, first.first))
        rc = -EAGAIN; /* what lived in it may lie behind the end that was copied */
    if (rc == 0)
        rc = remove_old(b, first.first);
    if (rc == 0 && b->aside)
        rc = put_in_place(b);
    return rc == 0 ? write_stand(b) : rc;
}

static int open_log(struct backup *b)
{
    const struct commit_log_options options = {
        .dir = b->source, .read_only = true, .segment_bytes = (uint64_t)1 << 20};
    int rc;

    commit_log_close(b->log);
    b->log = NULL;
    rc = commit_log_open(&options, &b->log);
    if (rc == -ENOENT && access(b->source, F_OK) == 0)
        return -EAGAIN; /* a segment was released just now */
    return rc < 0 ? failed(b, b->source, rc) : 0;
}

static int copy(struct backup *b)
{
    uint64_t full_below = b->was.last != 0 ? b->was.tail : 0; /* else its life is not known */
    int rc = -EAGAIN;

    for (int i = 0; i < PASSES && rc == -EAGAIN; i++) {
        rc = open_log(b);
        if (rc == 0)
            rc = check_lineage(b);
        if (rc == 0)
            rc = pass(b, &full_below);
    }
    if (rc < 0 && rc != -EAGAIN && rc != -ENOENT && rc != -EEXIST && !b->said)
        log_error("%s cannot be read: %s; --verify says where", b->dir, strerror(-rc));
    if (rc == -EAGAIN)
        log_error("%s: the store moves on faster than it can be copied to %s", b->dir, b->dest);
    if (rc == -ENOENT)
        log_error("%s holds no store", b->dir);
    return rc;
}

/* DEST is empty, or a copy on which nothing has run. */
static int judge_dest(struct backup *b)
{
    DIR *dir = opendir(b->dest);
    struct dirent *entry;
    bool other = false;

    if (!dir)
        return failed(b, "open", -errno);
    while ((entry = readdir(dir)) != NULL) {
        bool ours = strncmp(entry->d_name, "backup", 6) == 0 || strcmp(entry->d_name, "log") == 0;

        /* The first copying may have been cut off before it said anything. */
        other |= entry->d_name[0] != '.' && strcmp(entry->d_name, "lost+found") != 0 &&
                 !(ours && b->begun) && strcmp(entry->d_name, "backup.part") != 0;
    }
    closedir(dir);
    if (!other)
        return 0;
    log_error("%s holds something else, or a copy that a service has run on: give an empty "
              "directory, or one of an earlier backup",
              b->dest);
    return -EEXIST;
}

/* It is a directory of copies from now on. */
static int begin(struct backup *b)
{
    int rc = -EAGAIN;

    for (int i = 0; i < PASSES && rc == -EAGAIN; i++)
        rc = open_log(b);
    if (rc == 0)
        rc = check_lineage(b);
    if (rc == 0 && !b->begun) {
        b->now.log_id = commit_log_id(b->log);
        rc = write_stand(b);
    }
    if (rc == 0)
        rc = clear_aside(b);
    if (rc == 0 && mkdirat(b->dest_fd, "log", 0700) < 0 && errno != EEXIST)
        rc = failed(b, "log", -errno);
    if (rc < 0)
        return rc;
    b->log_fd = openat(b->dest_fd, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return b->log_fd < 0 || fsync(b->dest_fd) < 0 ? failed(b, "log", -errno) : 0;
}

static int open_dest(struct backup *b)
{
    int rc;

    if (mkdir(b->dest, 0700) < 0 && errno != EEXIST)
        return failed(b, "mkdir", -errno);
    b->dest_fd = open(b->dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->dest_fd < 0)
        return failed(b, "open", -errno);
    rc = read_stand(b);
    return rc == 0 ? judge_dest(b) : rc;
}

int store_backup(const char *dir, const char *dest, backup_progress *progress, void *arg,
                 struct backup_report *report)
{
    struct backup b = {.dir = dir,
                       .dest = dest,
                       .dest_fd = -1,
                       .log_fd = -1,
                       .progress = progress,
                       .arg = arg,
                       .report = report};
    int rc = snprintf(b.source, PATH_MAX, "%s/log", dir) >= PATH_MAX ? -ENAMETOOLONG : 0;

    memset(report, 0, sizeof(*report));
    b.bytes = malloc(PIECE);
    if (!b.bytes)
        rc = -ENOMEM;
    if (rc == 0 && access(b.source, R_OK | X_OK) < 0) {
        rc = -errno;
        log_error("%s holds no store: %s", dir, strerror(-rc));
    }
    if (rc == 0)
        rc = open_dest(&b);
    if (rc == 0)
        rc = begin(&b);
    if (rc == 0)
        rc = copy(&b);
    commit_log_close(b.log);
    free(b.bytes);
    if (b.log_fd >= 0)
        close(b.log_fd);
    if (b.dest_fd >= 0)
        close(b.dest_fd);
    return rc;
}
