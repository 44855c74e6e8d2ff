/* What transport/nng_guard.c keeps from happening, and that nobody but NNG notices it. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/nng_guard.h"

TestSuite(nng_guard, .timeout = 60);

Test(nng_guard, versions)
{
    static const char *const faulty[] = {"1.5.2", "1.6.0", "1.8.0", "1.0", "?"};
    static const char *const sound[] = {"1.9.0", "1.10.1", "1.11", "2.0.0-alpha.5"};

    for (size_t i = 0; i < sizeof(faulty) / sizeof(faulty[0]); i++)
        cr_assert(nng_guard_needed(faulty[i]), "%s", faulty[i]);
    for (size_t i = 0; i < sizeof(sound) / sizeof(sound[0]); i++)
        cr_assert_not(nng_guard_needed(sound[i]), "%s", sound[i]);
}

/* Two connected sockets; the second one is closed. */
static int broken_socket(void)
{
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    close(fds[1]);
    return fds[0];
}

Test(nng_guard, who_is_not_nng_hears_of_a_broken_connection)
{
    struct iovec iov = {.iov_base = "x", .iov_len = 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct epoll_event event = {.events = EPOLLIN};
    int fd = broken_socket(), epoll = epoll_create1(0);

    cr_assert(nng_guard_init());
    cr_assert_eq(sendmsg(fd, &message, MSG_NOSIGNAL), -1);
    cr_assert_eq(errno, EPIPE);
    cr_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
    cr_assert_eq(epoll_wait(epoll, &event, 1, 1000), 1);
    cr_assert(event.events & EPOLLHUP);
    close(epoll);
    close(fd);
}

/* A peer that is gone before it was answered: with a reset, where there are any. */
static void come_and_go(const struct sockaddr *address, socklen_t len)
{
    const struct linger reset = {.l_onoff = 1};
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(connect(fd, address, len), 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
}

/* What is sent there comes to `server`. */
static void expect_way_in(nng_socket server, const char *url)
{
    nng_socket socket;
    char byte;
    size_t len = 1;

    cr_assert_eq(nng_req0_open(&socket), 0);
    cr_assert_eq(nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, 20000), 0);
    cr_assert_eq(nng_dial(socket, url, NULL, NNG_FLAG_NONBLOCK), 0);
    cr_assert_eq(nng_send(socket, "x", 1, 0), 0);
    cr_assert_eq(nng_recv(server, &byte, &len, 0), 0, "%s: nobody gets in", url);
    nng_close(socket);
}

Test(nng_guard, peers_that_are_gone_at_once_do_not_end_a_listener)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un ipc = {.sun_family = AF_UNIX};
    nng_listener listener;
    nng_socket socket;
    char url[sizeof(ipc.sun_path) + 8];
    int port;

    cr_assert(nng_guard_init());
    cr_assert_eq(nng_rep0_open(&socket), 0);
    cr_assert_eq(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, 20000), 0);
    cr_assert_eq(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), 0);
    cr_assert_eq(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
    tcp.sin_port = htons((uint16_t)port);
    snprintf(ipc.sun_path, sizeof(ipc.sun_path), "/tmp/test-nng-guard-%d.sock", (int)getpid());
    snprintf(url, sizeof(url), "ipc://%s", ipc.sun_path);
    cr_assert_eq(nng_listen(socket, url, NULL, 0), 0);

    for (int i = 0; i < 500; i++) {
        come_and_go((struct sockaddr *)&tcp, sizeof(tcp));
        come_and_go((struct sockaddr *)&ipc, sizeof(ipc));
    }
    expect_way_in(socket, url);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
    expect_way_in(socket, url);
    nng_close(socket);
}
