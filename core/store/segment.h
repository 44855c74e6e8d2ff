/*
 * A segment: one file of a commit log (commit_log.h), for the records at positions [first, end).
 * Its first page says so; a file has its blocks when it is made, and they are written while it is a
 * spare, so that no later write changes its size or blocks. Files: `<first, 16 hex digits>.log`,
 * and `<number>.spare`, which hold nothing and wait to become the next. In memory (dir_fd -1) they
 * are memfds without names, and nothing is synced.
 *
 * Errors: negative errno. Not thread-safe but for segment_make_spare(), which any thread may call.
 */
#ifndef QUEUEFS_CORE_STORE_SEGMENT_H
#define QUEUEFS_CORE_STORE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

#define SEGMENT_HEAD 4096 /* bytes before the first record */
#define SEGMENT_NAME 32

struct segment {
    TAILQ_ENTRY(segment) link;
    uint64_t first;  /* position of the file's first byte */
    uint64_t size;   /* of the file */
    uint64_t filled; /* of a spare: so many bytes of its blocks were written */
    int fd;          /* -1: shut, until segment_open() */
    uint64_t used;   /* the owner's: when it was last needed */
    bool damaged;    /* its head is not what it should be; the records are read all the same */
    char name[SEGMENT_NAME];
};

TAILQ_HEAD(segment_list, segment);

static inline uint64_t segment_end(const struct segment *segment)
{
    return segment->first + segment->size;
}

/* The segments in the directory, by position, and the spares among the files. *log_id becomes the
 * one that they have, where there are any. -EBADMSG: segments of two logs, of another version, or
 * two for one position (logged). */
int segments_load(int dir_fd, bool read_only, uint64_t *log_id, struct segment_list *all,
                  struct segment_list *spares);
/* Whether its file is still the one of that name: another process may have released it. */
bool segment_is_there(const struct segment *segment, int dir_fd);
/* A file of `size` bytes that has its blocks, synced as its name is. `fill`: they are written too,
 * which makes the syncs of what is written over them cheap, and takes as long as that. */
int segment_make_spare(int dir_fd, uint64_t number, uint64_t size, bool fill,
                       struct segment **spare);
/* The next piece of its blocks is written and synced, `filled` goes on. */
int segment_fill(struct segment *spare, int dir_fd);
/* It will be the segment at `first`; its first page says so, durable when it returns. Not yet the
 * name: it is still a spare. */
int segment_begin(struct segment *spare, int dir_fd, uint64_t log_id, uint64_t first);
/* Now it is that segment, durable when it returns. */
int segment_use(struct segment *spare, int dir_fd);
/* It holds nothing any more: it becomes spare `number`, or goes. Durable when it returns. */
int segment_retire(struct segment *segment, int dir_fd, uint64_t number);
/* Of a spare that is not to be used again: its last blocks are given back. */
int segment_shrink(struct segment *segment, int dir_fd, uint64_t size);
int segment_remove(struct segment *segment, int dir_fd); /* frees it */
void segment_free(struct segment *segment);              /* closes; the file stays */
void segment_list_free(struct segment_list *list);       /* all of them */

/* A file is open from when it is made or found; it may be shut while it is not needed, and must be
 * open for what follows. Of memory it is never shut. */
int segment_open(struct segment *segment, int dir_fd);
void segment_shut(struct segment *segment, int dir_fd);

/* All of `len` bytes at a position within it. -EBADMSG: the file ends before. */
int segment_read(const struct segment *segment, uint64_t position, void *to, size_t len);
/* All of the parts (which are used up), at a position within it. */
int segment_write(const struct segment *segment, uint64_t position, struct iovec *parts,
                  size_t n_parts);
int segment_sync(const struct segment *segment, int dir_fd);
/* The same of some bytes, into a file that is, or becomes, a segment's. */
int segment_write_at(int fd, uint64_t at, const void *bytes, size_t len);

#endif
