/*
 * Two system calls as NNG before 1.9 must see them. Its pollers and connections (posix_tcpconn.c,
 * posix_ipcconn.c, posix_pollq_epoll.c) are the same in 1.5.2, where both faults were met, and in
 * 1.10.1; the faults were above them:
 *
 * - sendmsg. EPIPE becomes NNG_ECLOSED, which means "this socket of ours is closed". Met while the
 *   first bytes of a connection are exchanged, it ends the listener (or the dialer) for good and
 *   silently: one peer that connects and is gone before it was answered, and nobody ever gets in
 *   again. Mended in 1.6.0 ("Disconnect during negotiation breaks listener", NNG's issue 1518: it
 *   is told as NNG_ECONNSHUT). Here such a send counts as done: the next receive says that the
 *   peer is gone.
 * - epoll_wait. When a send breaks a connection, a receive beside it that has begun and is not
 *   scheduled yet is lost, and nni_aio_stop() waits for it for good. Mended in 1.9.0 ("fix deadlock
 *   on socket close": stopping aborts what no provider has). Here a broken connection is taken for
 *   one that can be read and written: the next receive alone tells that it is broken, after what
 *   had still come.
 *
 * These definitions stand before the C library's for the whole process; they do something for
 * calls from within libnng only, whose descriptors are NNG's, and for those versions only.
 */
#include "transport/nng_guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where libnng's code is; empty: nothing is guarded. */
static atomic_uintptr_t code_begin, code_end;

static bool is_guarded(const void *caller)
{
    return (uintptr_t)caller >= atomic_load_explicit(&code_begin, memory_order_relaxed) &&
           (uintptr_t)caller < atomic_load_explicit(&code_end, memory_order_relaxed);
}

static ssize_t length_of(const struct msghdr *message)
{
    size_t len = 0;

    for (size_t i = 0; i < message->msg_iovlen; i++)
        len += message->msg_iov[i].iov_len;
    return (ssize_t)len;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t n = syscall(SYS_sendmsg, fd, message, flags);

    if (n < 0 && (errno == EPIPE || errno == ECONNRESET) && is_guarded(__builtin_return_address(0)))
        return length_of(message);
    return n;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    int n = epoll_pwait(fd, events, max, timeout, NULL);

    for (int i = 0; i < n; i++) {
        if (events[i].events & (EPOLLHUP | EPOLLERR) && is_guarded(__builtin_return_address(0)))
            events[i].events = EPOLLIN | EPOLLOUT;
    }
    return n;
}

bool nng_guard_needed(const char *version)
{
    unsigned int major, minor;

    return sscanf(version, "%u.%u", &major, &minor) != 2 || (major == 1 && minor < 9);
}

/* Of dl_iterate_phdr(): the code that holds `found`. */
static int find_code(struct dl_phdr_info *info, size_t size, void *found)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + part->p_vaddr, end = begin + part->p_memsz;

        if (part->p_type != PT_LOAD || (uintptr_t)found < begin || (uintptr_t)found >= end)
            continue;
        atomic_store(&code_begin, begin);
        atomic_store(&code_end, end);
        return 1;
    }
    return 0;
}

static void guard(void)
{
    if (nng_guard_needed(nng_version()))
        dl_iterate_phdr(find_code, dlsym(RTLD_DEFAULT, "nng_version"));
}

bool nng_guard_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, guard);
    return !nng_guard_needed(nng_version()) ||
           (atomic_load(&code_end) > 0 && dlsym(RTLD_DEFAULT, "sendmsg") == (void *)sendmsg &&
            dlsym(RTLD_DEFAULT, "epoll_wait") == (void *)epoll_wait);
}
