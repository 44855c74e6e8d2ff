/*
 * A network that takes its time: a TCP proxy on the loopback that hands on each byte a given time
 * after it came, both ways, at any bandwidth. A delay of 500 us makes a round trip of 1 ms.
 *
 *   delay_proxy --to PORT --delay-us N [--port P]
 *
 * Listens on 127.0.0.1:P (0, the default: any), prints `port: P`, and connects to 127.0.0.1:PORT
 * for each connection it takes. Ends at SIGTERM.
 *
 * One thread, one epoll. What was read lies in chunks. Since the delay is the same for all of them,
 * they fall due in the order in which they came: one list for all connections, and one timer, armed
 * for its head. A chunk that is due moves to its direction's list and is written as the socket
 * takes it. The end of a stream is a chunk without bytes. A direction stops reading at HELD_MAX;
 * that is far more than the delay of any bandwidth here fills.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES (64u << 10)
#define HELD_MAX    (128u << 20)
#define SECOND_NS   INT64_C(1000000000)

/* The timer fires so much before; the rest is spent looking at the clock. */
#define EARLY_NS 20000

struct chunk {
    TAILQ_ENTRY(chunk) link;
    struct direction *direction;
    int64_t due_ns;
    size_t from, to; /* nothing: the end of the stream */
    char bytes[CHUNK_BYTES];
};
TAILQ_HEAD(chunks, chunk);

/* One end of a connection: its socket, and what is to be written there. */
struct direction {
    struct pair *pair;
    struct direction *other;
    int socket;
    uint32_t events; /* that epoll is asked for */
    bool read_ended, write_ended;
    struct chunks due;
    size_t n_held; /* bytes on their way to this socket */
};

struct pair {
    struct direction ends[2];
    size_t n_chunks; /* on any list */
    bool dead;
    LIST_ENTRY(pair) dead_link;
};

static int64_t delay_ns;
static int epoll, timer, listener, target_port;
static struct chunks waiting = TAILQ_HEAD_INITIALIZER(waiting);
static struct chunks spare = TAILQ_HEAD_INITIALIZER(spare);
static LIST_HEAD(, pair) dead_pairs = LIST_HEAD_INITIALIZER(dead_pairs);

static int64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND_NS + at.tv_nsec;
}

static struct chunk *chunk_take(void)
{
    struct chunk *chunk = TAILQ_FIRST(&spare);

    if (chunk) {
        TAILQ_REMOVE(&spare, chunk, link);
        return chunk;
    }
    chunk = malloc(sizeof(*chunk));
    if (!chunk)
        err(1, "chunk");
    return chunk;
}

static void chunk_release(struct chunk *chunk)
{
    struct direction *direction = chunk->direction;

    direction->n_held -= chunk->to - chunk->from;
    direction->pair->n_chunks--;
    TAILQ_INSERT_HEAD(&spare, chunk, link);
}

/* Fire for the first chunk that waits. */
static void timer_arm(void)
{
    static int64_t armed_ns;
    const struct chunk *first = TAILQ_FIRST(&waiting);
    int64_t when_ns = first ? first->due_ns - EARLY_NS : 0;
    struct itimerspec at = {.it_value = {when_ns / SECOND_NS, when_ns % SECOND_NS}};

    if (when_ns == armed_ns)
        return;
    armed_ns = when_ns;
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* ---- connections ---- */

static void watch(struct direction *end)
{
    bool full = end->other->n_held >= HELD_MAX;
    uint32_t events =
        (end->read_ended || full ? 0 : EPOLLIN) | (TAILQ_EMPTY(&end->due) ? 0 : EPOLLOUT);
    struct epoll_event event = {.events = events, .data.ptr = end};

    if (events == end->events || end->pair->dead || (end->read_ended && end->write_ended))
        return;
    end->events = events;
    epoll_ctl(epoll, EPOLL_CTL_MOD, end->socket, &event);
}

/* The sockets go at once, the memory when nothing points to it any more. */
static void pair_kill(struct pair *pair)
{
    if (pair->dead)
        return;
    pair->dead = true;
    for (int i = 0; i < 2; i++) {
        struct direction *end = &pair->ends[i];

        close(end->socket);
        while (!TAILQ_EMPTY(&end->due)) {
            struct chunk *chunk = TAILQ_FIRST(&end->due);

            TAILQ_REMOVE(&end->due, chunk, link);
            chunk_release(chunk);
        }
    }
    LIST_INSERT_HEAD(&dead_pairs, pair, dead_link);
}

static void pairs_free(void)
{
    struct pair *pair = LIST_FIRST(&dead_pairs);

    while (pair) {
        struct pair *next = LIST_NEXT(pair, dead_link);

        if (pair->n_chunks == 0) {
            LIST_REMOVE(pair, dead_link);
            free(pair);
        }
        pair = next;
    }
}

static void end_init(struct pair *pair, int i, int socket)
{
    struct direction *end = &pair->ends[i];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    int on = 1;

    end->pair = pair;
    end->other = &pair->ends[1 - i];
    end->socket = socket;
    end->events = EPOLLIN;
    TAILQ_INIT(&end->due);
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void accept_one(void)
{
    struct sockaddr_in to = loopback(target_port);
    int from = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int target = from < 0 ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pair *pair;

    if (target < 0 ||
        (connect(target, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)) {
        close(target);
        close(from);
        return;
    }
    pair = calloc(1, sizeof(*pair));
    if (!pair)
        err(1, "connection");
    end_init(pair, 0, from);
    end_init(pair, 1, target);
}

/* ---- moving bytes ---- */

/* One way is over. An end that has seen both is not watched: it would report that for ever. */
static void end_finish(struct direction *end, bool *way)
{
    *way = true;
    if (!end->read_ended || !end->write_ended)
        return;
    epoll_ctl(epoll, EPOLL_CTL_DEL, end->socket, NULL);
    if (end->other->read_ended && end->other->write_ended)
        pair_kill(end->pair);
}

/* What came in at one end falls due at the other. */
static void read_from(struct direction *end)
{
    struct direction *to = end->other;

    while (to->n_held < HELD_MAX) {
        struct chunk *chunk = chunk_take();
        ssize_t n = recv(end->socket, chunk->bytes, CHUNK_BYTES, 0);

        if (n < 0) {
            TAILQ_INSERT_HEAD(&spare, chunk, link);
            if (errno != EAGAIN && errno != EINTR)
                pair_kill(end->pair);
            return;
        }
        chunk->direction = to;
        chunk->due_ns = now_ns() + delay_ns;
        chunk->from = 0;
        chunk->to = (size_t)n;
        to->n_held += (size_t)n;
        end->pair->n_chunks++;
        TAILQ_INSERT_TAIL(&waiting, chunk, link);
        if (n == 0)
            end_finish(end, &end->read_ended);
        if ((size_t)n < CHUNK_BYTES)
            return;
    }
}

/* Write what is due as far as the socket takes it. */
static void write_to(struct direction *end)
{
    struct chunk *chunk;

    while (!end->pair->dead && (chunk = TAILQ_FIRST(&end->due))) {
        bool last = chunk->from == chunk->to;
        ssize_t n = last ? 0
                         : send(end->socket, chunk->bytes + chunk->from, chunk->to - chunk->from,
                                MSG_NOSIGNAL);

        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR)
                pair_kill(end->pair);
            return;
        }
        chunk->from += (size_t)n;
        end->n_held -= (size_t)n;
        if (chunk->from < chunk->to)
            return;
        TAILQ_REMOVE(&end->due, chunk, link);
        chunk_release(chunk);
        if (!last)
            continue;
        shutdown(end->socket, SHUT_WR);
        end_finish(end, &end->write_ended);
    }
}

/* Hand on all that is due; what will be in the next moment at its exact time. */
static void hand_on(void)
{
    struct chunk *chunk = TAILQ_FIRST(&waiting);
    int64_t now = now_ns();

    while (chunk && chunk->due_ns > now && chunk->due_ns - now <= EARLY_NS)
        now = now_ns();
    while (chunk && chunk->due_ns <= now) {
        struct direction *to = chunk->direction;

        TAILQ_REMOVE(&waiting, chunk, link);
        if (to->pair->dead) {
            chunk_release(chunk);
        } else {
            TAILQ_INSERT_TAIL(&to->due, chunk, link);
            write_to(to);
            watch(to);
            watch(to->other);
        }
        chunk = TAILQ_FIRST(&waiting);
    }
    timer_arm();
}

static void end_event(struct direction *end, uint32_t events)
{
    bool broken = events & (EPOLLHUP | EPOLLERR);

    if (end->pair->dead)
        return;
    if (!end->read_ended && (broken || (events & EPOLLIN)))
        read_from(end); /* which also finds what broke */
    else if (broken)
        pair_kill(end->pair);
    if (events & EPOLLOUT)
        write_to(end);
    watch(end);
    watch(end->other);
}

static void run(void)
{
    struct epoll_event events[64];

    for (;;) {
        int n = epoll_wait(epoll, events, 64, -1);
        uint64_t fired;

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &listener)
                accept_one();
            else if (events[i].data.ptr == &timer)
                (void)!read(timer, &fired, sizeof(fired));
            else
                end_event(events[i].data.ptr, events[i].events);
        }
        hand_on();
        pairs_free();
    }
}

static void set_up(int port)
{
    struct sockaddr_in address = loopback(port);
    socklen_t len = sizeof(address);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, SOMAXCONN) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) < 0)
        err(1, "port %d", port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        err(1, "epoll");
    event.data.ptr = &timer;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) < 0)
        err(1, "epoll");
    printf("port: %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    long delay_us = -1, port = 0, to = 0;
    const struct {
        const char *name;
        long *value;
    } numbers[] = {{"--to", &to}, {"--delay-us", &delay_us}, {"--port", &port}};

    for (int i = 1; i < argc; i += 2) {
        int k = 0;

        while (k < 3 && strcmp(argv[i], numbers[k].name) != 0)
            k++;
        if (k == 3 || !argv[i + 1])
            errx(2, "%s: unknown, or its value is missing", argv[i]);
        *numbers[k].value = strtol(argv[i + 1], NULL, 10);
    }
    if (to < 1 || to > 65535 || delay_us < 0 || delay_us > 10000000 || port < 0 || port > 65535)
        errx(2, "usage: delay_proxy --to PORT --delay-us N [--port P]");
    delay_ns = delay_us * 1000;
    target_port = (int)to;
    set_up((int)port);
    run();
}
