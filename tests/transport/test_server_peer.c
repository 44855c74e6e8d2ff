/* What each connection may use: both sides of every limit, and what it is called. The connections
 * are numbers only, of no pipe of NNG, where they need not be more; the server is never started. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/transport/harness.h"
#include "transport/peer_name.h"
#include "transport/server_internal.h"

#define MIB ((size_t)1 << 20)

static struct backend backend; /* nothing gets so far */
static struct server *server;

static void setup(void)
{
    cr_assert_eq(server_new(&backend, &server), 0);
}

static void teardown(void)
{
    server_stop(server);
    server_free(server);
}

TestSuite(server_peer, .init = setup, .fini = teardown, .timeout = 60);

/* Frames of one connection that are being worked on. */
struct frames {
    struct server_context contexts[SERVER_PEER_REQUESTS];
    size_t n;
};

static const struct identity somebody = {.kind = IDENTITY_ANYBODY};

static enum peer_verdict take(struct server_context *context, int pipe, size_t len)
{
    *context = (struct server_context){.server = server};
    return peer_take(context, pipe, len);
}

static struct frames *frames_new(int pipe, size_t n, size_t len)
{
    struct frames *frames = calloc(1, sizeof(*frames));

    cr_assert_not_null(frames);
    cr_assert(peer_came(server, pipe, &somebody, 0));
    for (; frames->n < n; frames->n++)
        cr_assert_eq(take(&frames->contexts[frames->n], pipe, len), PEER_TAKE);
    return frames;
}

static void frames_free(struct frames *frames)
{
    for (size_t i = 0; i < frames->n; i++)
        peer_end(&frames->contexts[i]);
    free(frames);
}

static void come_and_speak(int pipe, uint64_t owner)
{
    struct server_context context;

    cr_assert(peer_came(server, pipe, &somebody, owner));
    cr_assert_eq(take(&context, pipe, 10), PEER_TAKE);
    peer_end(&context);
}

Test(server_peer, so_many_connections_and_no_more)
{
    for (int pipe = 1; pipe <= SERVER_PEERS_MAX; pipe++)
        come_and_speak(pipe, 0);
    cr_assert_not(peer_came(server, SERVER_PEERS_MAX + 1, &somebody, 0));
    peer_gone(server, 7);
    cr_assert(peer_came(server, SERVER_PEERS_MAX + 1, &somebody, 0));
    for (int pipe = 1; pipe <= SERVER_PEERS_MAX + 1; pipe++)
        peer_gone(server, pipe);
    cr_assert_eq(server->n_peers, 0);
}

/* As if nothing had come from it for so long. */
static void be_silent(int pipe)
{
    struct server_peer *peer;

    TAILQ_FOREACH (peer, &server->present, link) {
        if (peer->pipe == pipe)
            break;
    }
    peer->heard_us -= SERVER_SILENT_US;
}

static bool gives_way(int pipe)
{
    const struct server_peer *peer;

    TAILQ_FOREACH (peer, &server->present, link) {
        if (peer->pipe == pipe)
            return peer->closing;
    }
    return false;
}

Test(server_peer, a_silent_one_gives_way_where_there_is_no_place)
{
    for (int pipe = 1; pipe <= SERVER_PEERS_MAX; pipe++)
        come_and_speak(pipe, 0);
    be_silent(1);
    cr_assert(peer_came(server, SERVER_PEERS_MAX + 1, &somebody, 0));
    cr_assert(gives_way(1));
    for (int pipe = 1; pipe <= SERVER_PEERS_MAX + 1; pipe++)
        peer_gone(server, pipe);
    cr_assert_eq(server->n_peers, 0);
}

Test(server_peer, one_that_never_spoke_gives_way_first)
{
    for (int pipe = 1; pipe < SERVER_PEERS_MAX; pipe++)
        come_and_speak(pipe, 0);
    be_silent(1);
    cr_assert(peer_came(server, SERVER_PEERS_MAX, &somebody, 0));
    cr_assert(peer_came(server, SERVER_PEERS_MAX + 1, &somebody, 0));
    cr_assert(gives_way(SERVER_PEERS_MAX));
    cr_assert_not(gives_way(1));
    for (int pipe = 1; pipe <= SERVER_PEERS_MAX + 1; pipe++)
        peer_gone(server, pipe);
}

Test(server_peer, one_owner_leaves_as_many_places_as_he_has)
{
    const int most = SERVER_PEERS_MAX / 2;
    int pipe = 0;

    while (pipe < most)
        come_and_speak(++pipe, 7);
    cr_assert_not(peer_came(server, ++pipe, &somebody, 7));
    come_and_speak(++pipe, 8);
    be_silent(1);
    cr_assert(peer_came(server, ++pipe, &somebody, 7)); /* for one of his own */
    cr_assert(gives_way(1));
    while (pipe > 0)
        peer_gone(server, pipe--);
    cr_assert_eq(server->n_peers, 0);
}

Test(server_peer, frames_of_nobody_are_dropped)
{
    struct server_context context;

    cr_assert_eq(take(&context, 1, 10), PEER_DROP);
    peer_end(&context);
    cr_assert(peer_came(server, 1, &somebody, 0));
    peer_gone(server, 1);
    cr_assert_eq(take(&context, 1, 10), PEER_DROP);
}

Test(server_peer, so_many_requests_at_once_for_each)
{
    struct frames *frames = frames_new(1, SERVER_PEER_REQUESTS, 10);
    struct server_context one;

    cr_assert_eq(take(&one, 1, 10), PEER_DROP);
    cr_assert(peer_came(server, 2, &somebody, 0));
    cr_assert_eq(take(&one, 2, 10), PEER_TAKE);
    peer_end(&one);
    peer_end(&frames->contexts[0]);
    cr_assert_eq(take(&frames->contexts[0], 1, 10), PEER_TAKE);
    frames_free(frames);
    peer_gone(server, 1);
    peer_gone(server, 2);
}

Test(server_peer, large_frames_of_all_fill_what_there_is_and_small_ones_pass)
{
    const size_t len = 64 * MIB;
    struct frames *frames = frames_new(1, SERVER_HELD_MAX / len, len);
    struct server_context one;

    cr_assert(peer_came(server, 2, &somebody, 0));
    cr_assert_eq(take(&one, 2, SERVER_SMALL), PEER_TAKE);
    peer_end(&one);
    cr_assert_eq(take(&one, 2, SERVER_SMALL + 1), PEER_REFUSE);
    peer_end(&one);
    peer_worked(&frames->contexts[0]);
    cr_assert_eq(take(&one, 2, len), PEER_TAKE);
    peer_end(&one);
    frames_free(frames);
    cr_assert_eq(server->held_bytes, 0);
    peer_gone(server, 1);
    peer_gone(server, 2);
}

Test(server_peer, a_few_sessions_for_each)
{
    struct frames *frames = frames_new(1, 1, 10), *others = frames_new(2, 1, 10);
    struct producer_id id = {{0}};

    for (uint8_t i = 0; i < SERVER_PEER_SESSIONS; i++) {
        id.bytes[15] = i;
        cr_assert(peer_speaks_for(&frames->contexts[0], &id));
    }
    id.bytes[15] = SERVER_PEER_SESSIONS;
    cr_assert_not(peer_speaks_for(&frames->contexts[0], &id));
    cr_assert(peer_speaks_for(&others->contexts[0], &id));
    id.bytes[15] = 0;
    cr_assert(peer_speaks_for(&frames->contexts[0], &id));
    frames_free(frames);
    frames_free(others);
    peer_gone(server, 1);
    peer_gone(server, 2);
}

Test(server_peer, answers_that_one_does_not_read)
{
    struct frames *frames = frames_new(1, 3, 10), *others = frames_new(2, 1, 10);

    cr_assert(peer_reserve(&frames->contexts[0], SERVER_PEER_UNSENT));
    cr_assert_not(peer_reserve(&frames->contexts[1], SERVER_SMALL + 1));
    cr_assert(peer_reserve(&frames->contexts[1], SERVER_SMALL));
    cr_assert(peer_reserve(&others->contexts[0], SERVER_PEER_UNSENT));
    /* Said anew, as the answer turned out smaller. */
    cr_assert(peer_reserve(&frames->contexts[0], MIB));
    cr_assert(peer_reserve(&frames->contexts[2], SERVER_PEER_UNSENT - MIB - SERVER_SMALL));
    frames_free(frames);
    frames_free(others);
    cr_assert_eq(server->unsent_bytes, 0);
    peer_gone(server, 1);
    peer_gone(server, 2);
}

Test(server_peer, answers_that_all_together_do_not_read)
{
    enum { N = SERVER_UNSENT_MAX / SERVER_PEER_UNSENT };
    struct frames *frames[N + 1];

    for (int i = 0; i <= N; i++)
        frames[i] = frames_new(1 + i, 1, 10);
    for (int i = 0; i < N; i++)
        cr_assert(peer_reserve(&frames[i]->contexts[0], SERVER_PEER_UNSENT));
    cr_assert_not(peer_reserve(&frames[N]->contexts[0], SERVER_SMALL + 1));
    cr_assert(peer_reserve(&frames[N]->contexts[0], SERVER_SMALL));
    for (int i = 0; i <= N; i++) {
        frames_free(frames[i]);
        peer_gone(server, 1 + i);
    }
}

Test(server_peer, one_that_has_gone_gets_no_answer_and_is_kept_to_its_last_request)
{
    struct frames *frames = frames_new(1, 2, 10);

    peer_gone(server, 1);
    cr_assert_eq(server->n_peers, 0);
    cr_assert_not(peer_reserve(&frames->contexts[0], 10));
    peer_end(&frames->contexts[0]);
    cr_assert_not(RB_EMPTY(&server->peers));
    peer_end(&frames->contexts[1]);
    cr_assert(RB_EMPTY(&server->peers));
    free(frames);
}

static bool is_closing(struct frames *frames)
{
    return frames->contexts[0].peer->closing;
}

Test(server_peer, the_one_with_the_most_requests_is_closed_where_no_place_is_left)
{
    struct frames *few = frames_new(1, 2, 10), *many = frames_new(2, 9, 10);

    peers_relieve(server);
    cr_assert_not(is_closing(many));
    server->n_contexts = SERVER_CONTEXTS_MAX;
    peers_relieve(server);
    cr_assert(is_closing(many));
    cr_assert_not(is_closing(few));
    server->n_idle = 1;
    peers_relieve(server);
    cr_assert_not(is_closing(few));
    server->n_idle = server->n_contexts = 0;
    frames_free(few);
    frames_free(many);
    peer_gone(server, 1);
    peer_gone(server, 2);
}

Test(server_peer, one_that_reads_nothing_is_closed_and_a_slow_one_is_not)
{
    const size_t len = SERVER_PEER_UNSENT;
    const int64_t later_us = clock_system.mono_us(&clock_system) + 60000000;
    struct frames *slow[2] = {frames_new(1, 1, 10), frames_new(2, 1, 10)};
    struct frames *stuck = frames_new(3, 1, 10);

    cr_assert(peer_reserve(&slow[0]->contexts[0], len));
    cr_assert(peer_reserve(&slow[1]->contexts[0], len));
    cr_assert(peer_reserve(&stuck->contexts[0], len / 2));
    /* So that none of them is stuck before it is said to be, however slow the machine. */
    slow[0]->contexts[0].peer->moved_us = later_us;
    slow[1]->contexts[0].peer->moved_us = later_us;
    stuck->contexts[0].peer->moved_us = later_us;
    peers_relieve(server);
    cr_assert_not(is_closing(stuck));
    stuck->contexts[0].peer->moved_us = clock_system.mono_us(&clock_system) - SERVER_STUCK_US - 1;
    peers_relieve(server);
    cr_assert(is_closing(stuck));
    cr_assert_not(is_closing(slow[0]) || is_closing(slow[1]));
    frames_free(stuck);
    for (int i = 0; i < 2; i++)
        frames_free(slow[i]);
    for (int pipe = 1; pipe <= 3; pipe++)
        peer_gone(server, pipe);
}

/* ---- names ---- */

static void listen_on(const char *url)
{
    char *error;

    cr_assert_eq(server_listen(server, url, 0600, NULL, &error), 0, "%s", error);
}

/* Connect, and wait until the server has taken note; the number of the pipe. */
static int connect_and_wait(const struct sockaddr *to, socklen_t len, int *fd)
{
    static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    int pipe = 0;

    *fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(*fd, to, len), 0);
    cr_assert_eq(send(*fd, hello, sizeof(hello), MSG_NOSIGNAL), 8);
    for (int i = 0; i < 2000 && pipe == 0; i++) {
        usleep(5000);
        pthread_mutex_lock(&server->lock);
        pipe = RB_EMPTY(&server->peers) ? 0 : RB_ROOT(&server->peers)->pipe;
        pthread_mutex_unlock(&server->lock);
    }
    cr_assert_neq(pipe, 0, "the connection did not come");
    return pipe;
}

Test(server_peer, over_tcp_it_is_called_by_its_address)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    char name[PEER_NAME_MAX], expected[PEER_NAME_MAX];
    int fd, pipe;

    listen_on("tcp://127.0.0.1:0");
    at.sin_port = htons((uint16_t)atoi(strrchr(server_url(server, 0), ':') + 1));
    pipe = connect_and_wait((struct sockaddr *)&at, sizeof(at), &fd);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", ntohs(at.sin_port));
    peer_name(pipe, name);
    cr_assert_str_eq(name, expected);
    close(fd);
}

Test(server_peer, over_a_local_socket_it_is_called_by_its_process)
{
    char dir[64], url[128], name[PEER_NAME_MAX], expected[PEER_NAME_MAX];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd, pipe;

    dir_make(dir);
    snprintf(url, sizeof(url), "ipc://%s/s", dir);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", dir);
    listen_on(url);
    pipe = connect_and_wait((struct sockaddr *)&at, sizeof(at), &fd);
    snprintf(expected, sizeof(expected), "process %d of user %u", getpid(), getuid());
    peer_name(pipe, name);
    cr_assert_str_eq(name, expected);
    close(fd);
    dir_remove(dir);
}

Test(server_peer, one_that_has_gone_has_no_name)
{
    char name[PEER_NAME_MAX];

    peer_name(999999, name);
    cr_assert_str_eq(name, "a peer");
}
