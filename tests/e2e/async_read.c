/*
 * Reads a file to its end by Linux AIO or io_uring, without a library, and writes it to stdout.
 *
 *     async_read aio|uring FILE [direct|current]
 *
 * current: at the file's own position, as libuv reads where it is given none.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE ((size_t)256 << 10)

static char *buffer;

static void fail(const char *what)
{
    perror(what);
    exit(errno == ENOSYS || errno == EPERM ? 77 : 1);
}

static long aio_read(int fd, int64_t offset)
{
    static aio_context_t context;
    struct iocb cb = {.aio_lio_opcode = IOCB_CMD_PREAD,
                      .aio_fildes = (uint32_t)fd,
                      .aio_buf = (uintptr_t)buffer,
                      .aio_nbytes = SIZE,
                      .aio_offset = offset};
    struct iocb *cbs[] = {&cb};
    struct io_event event;

    if (!context && syscall(SYS_io_setup, 1, &context) < 0)
        fail("io_setup");
    if (syscall(SYS_io_submit, context, 1, cbs) != 1)
        fail("io_submit");
    if (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1)
        fail("io_getevents");
    return (long)event.res;
}

static long uring_read(int fd, int64_t offset)
{
    static int ring = -1;
    static struct io_uring_params params;
    static char *queue;
    static struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqe;
    unsigned *tail, *head;

    if (ring < 0) {
        ring = (int)syscall(SYS_io_uring_setup, 1, &params);
        if (ring < 0)
            fail("io_uring_setup");
        queue = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
        sqes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    }
    tail = (unsigned *)(queue + params.sq_off.tail);
    sqes[0] = (struct io_uring_sqe){.opcode = IORING_OP_READ,
                                    .fd = fd,
                                    .addr = (uintptr_t)buffer,
                                    .len = SIZE,
                                    .off = (uint64_t)offset};
    ((unsigned *)(queue + params.sq_off.array))[0] = 0;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        fail("io_uring_enter");
    head = (unsigned *)(queue + params.cq_off.head);
    cqe = (struct io_uring_cqe *)(queue + params.cq_off.cqes) +
          (*head & *(unsigned *)(queue + params.cq_off.ring_mask));
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return cqe->res;
}

int main(int argc, char **argv)
{
    long (*read_at)(int fd, int64_t offset) =
        argc > 2 && !strcmp(argv[1], "aio") ? aio_read : uring_read;
    bool current = argc > 3 && !strcmp(argv[3], "current");
    int fd = open(argc > 2 ? argv[2] : "", O_RDONLY | (argc > 3 && !current ? O_DIRECT : 0));
    int64_t offset = current ? -1 : 0;
    long n;

    if (fd < 0)
        fail(argc > 2 ? argv[2] : "async_read aio|uring FILE [direct|current]");
    buffer = aligned_alloc(4096, SIZE);
    while ((n = read_at(fd, offset)) > 0) {
        if (write(STDOUT_FILENO, buffer, (size_t)n) != n)
            fail("stdout");
        offset += current ? 0 : n;
    }
    if (n < 0) {
        errno = (int)-n;
        perror(argv[1]);
        return 1;
    }
    return 0;
}
