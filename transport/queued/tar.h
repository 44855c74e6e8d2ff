/*
 * Headers of tar archives, as POSIX has them: what --export writes (ustar) and --import reads
 * (ustar, pax, and GNU's long names). Whatever else a tar may say is told, not understood. Pure,
 * any thread.
 */
#ifndef QUEUEFS_TRANSPORT_QUEUED_TAR_H
#define QUEUEFS_TRANSPORT_QUEUED_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK 512 /* headers, and what the bytes behind one are filled up to */
#define TAR_END   2   /* blocks of zeros at the end */
#define TAR_NAME  101

enum tar_kind {
    TAR_NONE,    /* not a header of a tar */
    TAR_DAMAGED, /* its checksum or its size is wrong */
    TAR_ZERO,    /* a block of zeros */
    TAR_FILE,
    TAR_PAX,    /* its bytes say more of the next file: tar_read_pax() */
    TAR_GLOBAL, /* of all files */
    TAR_LONG,   /* GNU: the name of the next file */
    TAR_OTHER,  /* a directory, a link ... */
};

struct tar_member {
    enum tar_kind kind;
    uint64_t size;       /* bytes behind the header; they are filled up to a block */
    const char *what;    /* of TAR_OTHER */
    char name[TAR_NAME]; /* its first bytes, printable */
};

/* What counts of the bytes behind a TAR_PAX or TAR_GLOBAL. */
struct tar_pax {
    bool has_size, is_sparse;
    uint64_t size;
};

/* The name has less than 100 bytes; size is below 8 GiB. */
void tar_write_header(uint8_t block[TAR_BLOCK], const char *name, uint64_t size, int64_t mtime_s);
void tar_read_header(const uint8_t block[TAR_BLOCK], struct tar_member *member);
/* False: they are damaged. */
bool tar_read_pax(const uint8_t *bytes, size_t len, struct tar_pax *pax);

/* Bytes up to the next block. */
static inline size_t tar_padding(uint64_t size)
{
    return (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

#endif
