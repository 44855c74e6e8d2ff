/*
 * A session thread that is slow, for LD_PRELOAD: every RELEASE (the last close of an open) that is
 * read from the kernel stays in the thread's hands for 30 ms before it is looked at.
 */
#include <linux/fuse.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t read(int fd, void *buf, size_t len);

ssize_t read(int fd, void *buf, size_t len)
{
    ssize_t n = syscall(SYS_read, fd, buf, len);
    struct fuse_in_header header;

    if (len < FUSE_MIN_READ_BUFFER || n < (ssize_t)sizeof(header))
        return n;
    memcpy(&header, buf, sizeof(header));
    if (header.len == (size_t)n && header.opcode == FUSE_RELEASE)
        usleep(30000);
    return n;
}
