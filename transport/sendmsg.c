/*
 * sendmsg(2) as NNG shall see it. NNG 1.5 takes EPIPE for "this socket of ours is closed"; met
 * while it exchanges the first bytes of a connection, that ends its listener (or its dialler) for
 * good, silently: one peer that connects and is gone before it was answered, and nobody else ever
 * gets in. So such a send counts as done: the next receive says that the peer is gone.
 *
 * This definition stands before the C library's, for the whole program, NNG included.
 */
#include "transport/sendmsg.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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

    if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
        return length_of(message);
    return n;
}

/*
 * And NNG loses a receive that goes on after the send beside it has broken its connection, and
 * waits for it for good when it clears the connection away. So a send to a peer that is gone is
 * taken for done, and a broken connection for one that can be read and written: that it is broken
 * the next receive tells, alone, after what had still come.
 */
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    int n = epoll_pwait(fd, events, max, timeout, NULL);

    for (int i = 0; i < n; i++) {
        if (events[i].events & (EPOLLHUP | EPOLLERR))
            events[i].events = EPOLLIN | EPOLLOUT;
    }
    return n;
}

bool sendmsg_guards(void)
{
    return dlsym(RTLD_DEFAULT, "sendmsg") == (void *)sendmsg &&
           dlsym(RTLD_DEFAULT, "epoll_wait") == (void *)epoll_wait;
}
