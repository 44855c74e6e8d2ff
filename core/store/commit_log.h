/*
 * A log of records: what was appended is on disk when append returns, in that order, and is read by
 * its position until its segment is released. It knows nothing of what the records hold.
 *
 * A position counts bytes from the beginning of the log and is never used again; a record lies at
 * one, whole, in one segment (segment.h): head, then body. Segments are made ahead of use by a
 * thread of the log's own, and released ones are used again, so that an append is one write and one
 * sync into blocks that are there. docs/format.md has the bytes.
 *
 * After open comes replay, once, to its end: it finds where the log ends. A record that is not
 * whole with nothing behind it is the torn end of a crash, and is cut off. The last whole one is
 * written and synced anew: it may be only in the page cache, of which the disk has refused to take
 * it.
 *
 * Errors: negative errno. After -EIO of append the log is of no use: every later append fails so.
 * One thread, the owner's.
 */
#ifndef QUEUEFS_CORE_STORE_COMMIT_LOG_H
#define QUEUEFS_CORE_STORE_COMMIT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define COMMIT_LOG_HEAD  40   /* bytes of a record before its body */
#define COMMIT_LOG_FIRST 4096 /* bytes of a segment before its first record */

struct commit_log_options {
    const char *dir; /* exists, and is the log's alone; NULL: in memory, nothing is synced */
    uint64_t id;     /* random, of the store: records of another are none */
    /* At least 64 KiB; a multiple of 4096. A log begins with smaller ones, as it is to take little
     * where there is little in it, and doubles them as it grows. */
    uint64_t segment_bytes;
    /* Only to be looked at, replayed and read, also while another process appends: what is found
     * then may be of a segment that has been released meanwhile, see commit_log_is_there(). */
    bool read_only;
    uint64_t max_bytes;      /* of all segments */
    uint64_t min_free_bytes; /* left on the disk when one is made */
};

struct commit_log;

int commit_log_open(const struct commit_log_options *options, struct commit_log **log);
void commit_log_close(struct commit_log *log); /* NULL too */

/* What replay meets, in order. A negative errno of either ends it. */
struct commit_log_visitor {
    /* A whole record; the body is lent until it returns. */
    int (*record)(void *owner, uint64_t position, const uint8_t *body, size_t len);
    /* The bytes from position to `end` are no whole record, or a segment that is missing before
     * `segment`, and there are some behind them. */
    int (*damaged)(void *owner, uint64_t position, uint64_t end, const char *segment);
    void *owner;
};

/* From the record at `from` on; 0: from the first that there is. -EBADMSG: the log does not reach
 * back so far; -ERANGE: it ends before. */
int commit_log_replay(struct commit_log *log, uint64_t from,
                      const struct commit_log_visitor *visitor);

/*
 * One record, durable when it returns, at *position; its body begins at *position +
 * COMMIT_LOG_HEAD. parts[0] is left for its head, the body follows, with its CRC-32C; they are used
 * up. -ENOSPC: no
 * segment can be made; nothing has changed and it may be tried again. What is urgent may take the
 * last of the disk, too, below min_free.
 */
int commit_log_append(struct commit_log *log, struct iovec *parts, size_t n_parts, uint32_t crc,
                      bool urgent, uint64_t *position);

/* Whether there is room for a record with a body of so many bytes that is urgent. */
bool commit_log_fits(struct commit_log *log, uint64_t len);

/* Bytes of a record's body, by the position of the first. -EBADMSG: there is no such position. */
int commit_log_read(struct commit_log *log, uint64_t position, void *to, size_t len);

/* Where the next record will lie, or in a later segment. */
uint64_t commit_log_end(const struct commit_log *log);

struct commit_log_segment {
    uint64_t first, end;
    bool current; /* appended to; cannot be released */
    bool damaged; /* its first page is */
};

/* The first segment that begins at `from` or behind; false: none. */
bool commit_log_next_segment(const struct commit_log *log, uint64_t from,
                             struct commit_log_segment *segment);
/* Whether the segment that begins at `first` is still one of this log: asked behind a read, that
 * was of it. */
bool commit_log_is_there(const struct commit_log *log, uint64_t first);
uint64_t commit_log_id(const struct commit_log *log);
/* The record at `position`: the length of its body, and where the next one may be in its segment.
 * -ENOENT: there is none. */
int commit_log_record(struct commit_log *log, uint64_t position, uint64_t *len, uint64_t *next);

/* The first segment is needed no more: it is used again, or goes where there are spares enough.
 * -EINVAL: it is the current one. */
int commit_log_drop_first(struct commit_log *log);

struct commit_log_space {
    uint64_t used_bytes;    /* of segments that hold something, whole */
    uint64_t n_free;        /* segments that can be had: made, or to be made within the limits */
    uint64_t segment_bytes; /* of one, as of now */
};

void commit_log_space(struct commit_log *log, struct commit_log_space *space);

#endif
