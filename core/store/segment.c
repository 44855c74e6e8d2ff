/* Files of a commit log: see segment.h. */
#include "core/store/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/log.h"

#define MAGIC   UINT32_C(0x4c465151) /* "QQFL" */
#define VERSION 1
#define ZEROS   ((size_t)1 << 20) /* written at a time */
#define PIECE   ((size_t)1 << 20) /* of what is written, before the disk is told to begin */

/* The first page: magic, version, log, first, size, checksum of these; then zeros. */
#define HEAD_SUMMED 32

static void name_segment(char name[SEGMENT_NAME], uint64_t first)
{
    snprintf(name, SEGMENT_NAME, "%016" PRIx64 ".log", first);
}

static void name_spare(char name[SEGMENT_NAME], uint64_t number)
{
    snprintf(name, SEGMENT_NAME, "%016" PRIx64 ".spare", number);
}

/* Whether it is such a name, and of what. */
static bool parse_name(const char *name, const char *suffix, uint64_t *number)
{
    char *end;

    if (strlen(name) != 16 + strlen(suffix) || strcmp(name + 16, suffix) != 0 ||
        strspn(name, "0123456789abcdef") < 16)
        return false;
    *number = strtoull(name, &end, 16);
    return true;
}

static struct segment *segment_new(int fd, uint64_t first, uint64_t size)
{
    struct segment *segment = calloc(1, sizeof(*segment));

    if (!segment)
        return NULL;
    segment->fd = fd;
    segment->first = first;
    segment->size = size;
    return segment;
}

void segment_free(struct segment *segment)
{
    if (!segment)
        return;
    if (segment->fd >= 0)
        close(segment->fd);
    free(segment);
}

void segment_list_free(struct segment_list *list)
{
    struct segment *segment;

    while ((segment = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, segment, link);
        segment_free(segment);
    }
}

int segment_open(struct segment *segment, int dir_fd)
{
    if (segment->fd < 0)
        segment->fd = openat(dir_fd, segment->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return segment->fd < 0 ? -errno : 0;
}

void segment_shut(struct segment *segment, int dir_fd)
{
    if (dir_fd < 0 || segment->fd < 0)
        return;
    close(segment->fd);
    segment->fd = -1;
}

/* ---- bytes ---- */

int segment_read(const struct segment *segment, uint64_t position, void *to, size_t len)
{
    off_t at = (off_t)(position - segment->first);
    uint8_t *bytes = to;

    while (len > 0) {
        ssize_t n = pread(segment->fd, bytes, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EBADMSG;
        bytes += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int segment_write_at(int fd, uint64_t at, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        ssize_t n = pwrite(fd, from, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        from += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* `n` bytes of the parts are done with. */
static void parts_advance(struct iovec **parts, size_t *n_parts, size_t n)
{
    while (*n_parts > 0 && n >= (*parts)->iov_len) {
        n -= (*parts)->iov_len;
        (*parts)++;
        (*n_parts)--;
    }
    if (*n_parts > 0) {
        (*parts)->iov_base = (uint8_t *)(*parts)->iov_base + n;
        (*parts)->iov_len -= n;
    }
}

/* How many of the parts are written at a time: at least one. *more: that was not all. */
static int parts_piece(const struct iovec *parts, size_t n_parts, bool *more)
{
    size_t n = 0, bytes = 0;

    while (n < n_parts && n < IOV_MAX && (n == 0 || bytes + parts[n].iov_len <= PIECE))
        bytes += parts[n++].iov_len;
    *more = n < n_parts;
    return (int)n;
}

int segment_write(const struct segment *segment, uint64_t position, struct iovec *parts,
                  size_t n_parts)
{
    off_t at = (off_t)(position - segment->first);

    parts_advance(&parts, &n_parts, 0);
    while (n_parts > 0) {
        bool more;
        int n_piece = parts_piece(parts, n_parts, &more);
        ssize_t n = pwritev(segment->fd, parts, n_piece, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        if (more) /* the disk begins; whether it went well the sync says */
            sync_file_range(segment->fd, at, n, SYNC_FILE_RANGE_WRITE);
        parts_advance(&parts, &n_parts, (size_t)n);
        at += n;
    }
    return 0;
}

int segment_sync(const struct segment *segment, int dir_fd)
{
    return dir_fd >= 0 && fdatasync(segment->fd) < 0 ? -errno : 0;
}

static int sync_names(int dir_fd)
{
    return dir_fd >= 0 && fsync(dir_fd) < 0 ? -errno : 0;
}

/* ---- the first page ---- */

static void head_encode(uint8_t page[SEGMENT_HEAD], uint64_t log_id, uint64_t first, uint64_t size)
{
    uint8_t *to = page;

    memset(page, 0, SEGMENT_HEAD);
    to = put_le32(to, MAGIC);
    to = put_le32(to, VERSION);
    to = put_le64(to, log_id);
    to = put_le64(to, first);
    to = put_le64(to, size);
    put_le32(to, crc32c(page, HEAD_SUMMED));
}

/* 0; -EBADMSG damaged; -EXDEV of another version. */
static int head_check(const struct segment *segment, uint64_t *log_id)
{
    uint8_t page[HEAD_SUMMED + 4];
    int rc = segment_read(segment, segment->first, page, sizeof(page));

    if (rc < 0)
        return rc;
    if (get_le32(page) != MAGIC || get_le32(page + HEAD_SUMMED) != crc32c(page, HEAD_SUMMED))
        return -EBADMSG;
    if (get_le32(page + 4) != VERSION)
        return -EXDEV;
    *log_id = get_le64(page + 8);
    return get_le64(page + 16) == segment->first ? 0 : -EBADMSG;
}

/* ---- made, used, retired ---- */

int segment_fill(struct segment *spare, int dir_fd)
{
    uint64_t left = spare->size - spare->filled;
    uint8_t *zeros = calloc(1, ZEROS);
    int rc = zeros ? 0 : -ENOMEM;

    left = left < ZEROS ? left : ZEROS;
    if (rc == 0)
        rc = segment_write_at(spare->fd, spare->filled, zeros, left);
    free(zeros);
    if (rc < 0)
        return rc;
    spare->filled += left;
    return dir_fd >= 0 && fdatasync(spare->fd) < 0 ? -errno : 0;
}

static int make_file(int dir_fd, const char *name)
{
    int fd = dir_fd < 0 ? memfd_create(name, MFD_CLOEXEC)
                        : openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    return fd < 0 ? -errno : fd;
}

/* Of a file in memory only the size is there before it is used. Where a filesystem cannot give
 * blocks without writing them, they are written. */
static int make_blocks(struct segment *spare, int dir_fd, bool fill)
{
    int rc = 0;

    if (dir_fd < 0) {
        spare->filled = spare->size;
        return ftruncate(spare->fd, (off_t)spare->size) < 0 ? -errno : 0;
    }
    if (fallocate(spare->fd, 0, 0, (off_t)spare->size) < 0) {
        fill = errno == EOPNOTSUPP || errno == ENOSYS;
        rc = fill ? 0 : -errno;
    }
    while (rc == 0 && fill && spare->filled < spare->size)
        rc = segment_fill(spare, dir_fd);
    if (rc == 0 && fsync(spare->fd) < 0)
        rc = -errno;
    return rc == 0 ? sync_names(dir_fd) : rc;
}

int segment_make_spare(int dir_fd, uint64_t number, uint64_t size, bool fill,
                       struct segment **spare)
{
    char name[SEGMENT_NAME];
    int fd, rc;

    name_spare(name, number);
    fd = make_file(dir_fd, name);
    if (fd < 0)
        return fd;
    *spare = segment_new(fd, 0, size);
    if (!*spare)
        close(fd);
    rc = *spare ? make_blocks(*spare, dir_fd, fill) : -ENOMEM;
    if (rc == 0) {
        memcpy((*spare)->name, name, sizeof(name));
        return 0;
    }
    segment_free(*spare);
    *spare = NULL;
    if (dir_fd >= 0)
        unlinkat(dir_fd, name, 0);
    return rc;
}

static int rename_to(struct segment *segment, int dir_fd, const char name[SEGMENT_NAME])
{
    if (dir_fd >= 0 && renameat(dir_fd, segment->name, dir_fd, name) < 0)
        return -errno;
    memcpy(segment->name, name, SEGMENT_NAME);
    return sync_names(dir_fd);
}

int segment_begin(struct segment *spare, int dir_fd, uint64_t log_id, uint64_t first)
{
    uint8_t page[SEGMENT_HEAD];
    struct iovec part = {.iov_base = page, .iov_len = sizeof(page)};
    int rc;

    head_encode(page, log_id, first, spare->size);
    spare->first = first;
    rc = segment_write(spare, first, &part, 1);
    return rc == 0 ? segment_sync(spare, dir_fd) : rc;
}

int segment_use(struct segment *spare, int dir_fd)
{
    char name[SEGMENT_NAME];

    name_segment(name, spare->first);
    return rename_to(spare, dir_fd, name);
}

int segment_retire(struct segment *segment, int dir_fd, uint64_t number)
{
    char name[SEGMENT_NAME];

    name_spare(name, number);
    segment->filled = segment->size;
    segment_shut(segment, dir_fd);
    return rename_to(segment, dir_fd, name);
}

int segment_shrink(struct segment *segment, int dir_fd, uint64_t size)
{
    int rc = segment_open(segment, dir_fd);

    if (rc == 0 && ftruncate(segment->fd, (off_t)size) < 0)
        rc = -errno;
    if (rc == 0)
        segment->size = segment->filled = size;
    segment_shut(segment, dir_fd);
    return rc;
}

int segment_remove(struct segment *segment, int dir_fd)
{
    int rc = dir_fd >= 0 && unlinkat(dir_fd, segment->name, 0) < 0 ? -errno : 0;

    segment_free(segment);
    return rc == 0 ? sync_names(dir_fd) : rc;
}

/* ---- found at a start ---- */

struct loading {
    int dir_fd, mode;
    uint64_t *log_id;
    bool known; /* a segment has told it */
    struct segment_list *all, *spares;
};

static int open_segment(const struct loading *loading, const char *name, uint64_t first,
                        struct segment **segment)
{
    struct stat st;
    int fd = openat(loading->dir_fd, name, loading->mode | O_CLOEXEC | O_NOFOLLOW), rc = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        rc = -errno;
    if (rc == 0) {
        *segment = segment_new(fd, first, (uint64_t)st.st_size);
        rc = *segment ? 0 : -ENOMEM;
        if (rc == 0)
            (*segment)->filled = (*segment)->size;
    }
    if (rc < 0)
        close(fd);
    else
        memcpy((*segment)->name, name, strlen(name) + 1); /* it was parsed: it fits */
    return rc;
}

static int check(struct segment *segment, struct loading *loading)
{
    uint64_t id = 0;
    int rc = head_check(segment, &id);

    if (rc == -EBADMSG) {
        log_error("log: the first page of segment %s is damaged: its records are read all the same",
                  segment->name);
        segment->damaged = true;
        return 0;
    }
    if (rc == 0 && loading->known && id != *loading->log_id)
        rc = -EXDEV;
    if (rc == -EXDEV) {
        log_error("log: segment %s is of another store, or of another version of the program: put "
                  "it back where it belongs",
                  segment->name);
        return -EBADMSG;
    }
    if (rc == 0)
        *loading->log_id = id;
    loading->known |= rc == 0;
    return rc;
}

static int insert(struct segment_list *all, struct segment *segment)
{
    struct segment *after = TAILQ_LAST(all, segment_list);

    while (after && after->first > segment->first)
        after = TAILQ_PREV(after, segment_list, link);
    if (after && segment_end(after) > segment->first && !after->damaged && !segment->damaged) {
        log_error("log: segments %s and %s overlap: one is a copy", after->name, segment->name);
        return -EBADMSG;
    }
    if (after)
        TAILQ_INSERT_AFTER(all, after, segment, link);
    else
        TAILQ_INSERT_HEAD(all, segment, link);
    return 0;
}

static int load_one(struct loading *loading, const char *name)
{
    bool spare = false;
    struct segment *segment = NULL;
    uint64_t number;
    int rc;

    if (!parse_name(name, ".log", &number)) {
        spare = parse_name(name, ".spare", &number);
        if (!spare)
            return 0;
    }
    rc = open_segment(loading, name, spare ? 0 : number, &segment);
    if (rc < 0)
        return rc;
    if (!spare)
        rc = check(segment, loading);
    if (rc == 0 && !spare)
        rc = insert(loading->all, segment);
    else if (rc == 0)
        TAILQ_INSERT_TAIL(loading->spares, segment, link);
    if (rc < 0)
        segment_free(segment);
    else if (loading->mode == O_RDWR)
        segment_shut(segment, loading->dir_fd);
    return rc;
}

int segments_load(int dir_fd, bool read_only, uint64_t *log_id, struct segment_list *all,
                  struct segment_list *spares)
{
    struct loading loading = {.dir_fd = dir_fd,
                              .mode = read_only ? O_RDONLY : O_RDWR,
                              .log_id = log_id,
                              .all = all,
                              .spares = spares};

    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == 0 && (entry = readdir(dir)) != NULL)
        rc = load_one(&loading, entry->d_name);
    closedir(dir);
    return rc;
}

bool segment_is_there(const struct segment *segment, int dir_fd)
{
    struct stat open, named;

    return fstat(segment->fd, &open) == 0 && fstatat(dir_fd, segment->name, &named, 0) == 0 &&
           open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}
