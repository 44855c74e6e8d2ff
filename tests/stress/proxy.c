/*
 * A TCP proxy that breaks connections: proxy [-s SEED] TARGET_PORT
 *
 * Listens on 127.0.0.1, prints its port, and passes every connection on to 127.0.0.1:TARGET_PORT.
 * Commands are lines on stdin; each hits one connection, chosen at random, and is answered by a
 * line `done COMMAND BYTES` when it has happened (BYTES: how many had passed), `none` if there is
 * none:
 *
 *   cut         after a random number of further bytes, both sides are closed, by FIN or by RST
 *   half        after as many, one direction is shut down, the other goes on
 *   delay MS    for so long, nothing passes
 *
 * A cut or half that no bytes bring about happens after a quarter of a second. End of file on stdin
 * ends the proxy. One thread, poll(2).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX   1024
#define BUFFER      65536
#define PATIENCE_MS 250

enum harm { HARM_NONE, HARM_CUT, HARM_HALF, HARM_DELAY };

static const char *const harm_names[] = {"none", "cut", "half", "delay"};

/* One way of a connection. */
struct way {
    int from, to;
    size_t begin, end; /* of what is in the buffer */
    bool ended;        /* nothing more will be read */
    bool shut;         /* told to `to` */
    char buffer[BUFFER];
};

struct link {
    struct way ways[2];
    uint64_t n_bytes;
    enum harm harm;
    int way;           /* which one the harm counts and hits */
    size_t bytes_left; /* until the harm */
    int64_t due_ms;    /* the harm, or the end of a delay */
};

static struct link *links[LINKS_MAX];
static size_t n_links;
static uint64_t seed = 1;
static uint16_t target;

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t random_below(uint64_t n)
{
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

/* ---- connections ---- */

static void link_close(size_t i, bool reset)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    struct link *link = links[i];

    for (int side = 0; side < 2; side++) {
        int fd = link->ways[side].from;

        if (reset)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd);
    }
    free(link);
    links[i] = links[--n_links];
}

static void accept_one(int listener)
{
    struct sockaddr_in address = loopback(target);
    struct link *link;
    int near = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int far;

    if (near < 0)
        return;
    far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    link = calloc(1, sizeof(*link));
    /* Loopback: it connects or is refused at once. */
    if (!link || far < 0 || n_links == LINKS_MAX ||
        connect(far, (struct sockaddr *)&address, sizeof(address)) < 0) {
        free(link);
        if (far >= 0)
            close(far);
        close(near);
        return;
    }
    fcntl(far, F_SETFL, O_NONBLOCK);
    link->ways[0].from = link->ways[1].to = near;
    link->ways[0].to = link->ways[1].from = far;
    links[n_links++] = link;
}

/* ---- harm ---- */

static void report(const struct link *link)
{
    printf("done %s %llu\n", harm_names[link->harm], (unsigned long long)link->n_bytes);
    fflush(stdout);
}

/* The harm happens now. True: the connection is gone. */
static bool strike(size_t i)
{
    struct link *link = links[i];

    report(link);
    if (link->harm == HARM_CUT) {
        link_close(i, random_below(2));
        return true;
    }
    if (link->harm == HARM_HALF) {
        shutdown(link->ways[link->way].to, SHUT_WR);
        link->ways[link->way].shut = link->ways[link->way].ended = true;
        link->ways[link->way].begin = link->ways[link->way].end = 0;
    }
    link->harm = HARM_NONE;
    return false;
}

static void obey(const char *command)
{
    struct link *link;
    enum harm harm = HARM_CUT;

    while (harm <= HARM_DELAY && strncmp(command, harm_names[harm], strlen(harm_names[harm])) != 0)
        harm++;
    link = n_links > 0 && harm <= HARM_DELAY ? links[random_below(n_links)] : NULL;
    if (!link || link->harm != HARM_NONE) {
        puts("none");
        fflush(stdout);
        return;
    }
    link->harm = harm;
    link->way = (int)random_below(2);
    link->bytes_left = (size_t)random_below(random_below(2) ? 200 : 100000);
    link->due_ms = now_ms() + (harm == HARM_DELAY ? atoi(command + 5) : PATIENCE_MS);
}

/* ---- passing on ---- */

static void way_fill(struct link *link, struct way *way)
{
    ssize_t n = read(way->from, way->buffer, BUFFER);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        way->ended = true;
        return;
    }
    way->begin = 0;
    way->end = (size_t)n;
    link->n_bytes += (uint64_t)n;
}

/* True: the connection is gone. */
static bool way_empty(size_t i, int which)
{
    struct link *link = links[i];
    struct way *way = &link->ways[which];
    bool counts = (link->harm == HARM_CUT || link->harm == HARM_HALF) && link->way == which;
    size_t len = way->end - way->begin;
    ssize_t n;

    if (counts && len > link->bytes_left)
        len = link->bytes_left;
    n = len > 0 ? send(way->to, way->buffer + way->begin, len, MSG_NOSIGNAL) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0) {
        if (link->harm != HARM_NONE)
            report(link);
        link_close(i, false);
        return true;
    }
    way->begin += (size_t)n;
    if (!counts)
        return false;
    link->bytes_left -= (size_t)n;
    return link->bytes_left == 0 && strike(i);
}

/* What poll found of one connection. True: it is gone. */
static bool link_step(size_t i, const struct pollfd *polled)
{
    struct link *link = links[i];

    if (link->harm != HARM_NONE && link->due_ms <= now_ms() && strike(i))
        return true;
    for (int which = 0; which < 2; which++) {
        struct way *way = &link->ways[which];

        if (polled[which].revents && !way->ended && way->begin == way->end)
            way_fill(link, way);
        if (way->begin < way->end && link->harm != HARM_DELAY && way_empty(i, which))
            return true;
        if (way->ended && !way->shut && way->begin == way->end) {
            shutdown(way->to, SHUT_WR);
            way->shut = true;
        }
    }
    if (!link->ways[0].shut || !link->ways[1].shut)
        return false;
    if (link->harm != HARM_NONE)
        report(link);
    link_close(i, false);
    return true;
}

static void poll_link(const struct link *link, struct pollfd *polled)
{
    for (int which = 0; which < 2; which++) {
        const struct way *way = &link->ways[which];

        polled[which] = (struct pollfd){.fd = -1};
        if (link->harm == HARM_DELAY)
            continue;
        if (way->begin < way->end)
            polled[which] = (struct pollfd){.fd = way->to, .events = POLLOUT};
        else if (!way->ended)
            polled[which] = (struct pollfd){.fd = way->from, .events = POLLIN};
    }
}

/* False: stdin has ended. */
static bool read_commands(void)
{
    static char line[256];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, line + len, sizeof(line) - 1 - len);
    char *end;

    if (n <= 0)
        return n < 0 && errno == EINTR;
    len += (size_t)n;
    line[len] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        obey(line);
        len -= (size_t)(end + 1 - line);
        memmove(line, end + 1, len + 1);
    }
    return len < sizeof(line) - 1;
}

static void serve(int listener)
{
    static struct pollfd polled[2 + 2 * LINKS_MAX];

    for (;;) {
        size_t n = n_links;

        polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        polled[1] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (size_t i = 0; i < n; i++)
            poll_link(links[i], &polled[2 + 2 * i]);
        if (poll(polled, 2 + 2 * n, 20) < 0 && errno != EINTR)
            return;
        /* From the end: one that is closed is replaced by the last, which has been looked at. */
        for (size_t i = n; i > 0; i--)
            link_step(i - 1, &polled[2 + 2 * (i - 1)]);
        if (polled[1].revents)
            accept_one(listener);
        if (polled[0].revents && !read_commands())
            return;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = loopback(0);
    socklen_t len = sizeof(address);
    int option, listener;

    while ((option = getopt(argc, argv, "s:")) == 's')
        seed = strtoull(optarg, NULL, 10);
    if (option != -1 || optind + 1 != argc) {
        fprintf(stderr, "usage: proxy [-s SEED] TARGET_PORT\n");
        return 2;
    }
    target = (uint16_t)atoi(argv[optind]);
    signal(SIGPIPE, SIG_IGN);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) < 0 ||
        listen(listener, 128) < 0 || getsockname(listener, (struct sockaddr *)&address, &len) < 0) {
        perror("proxy");
        return 1;
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    serve(listener);
    while (n_links > 0)
        link_close(n_links - 1, false);
    return 0;
}
