/* What a client does when the service is away, slow, silent, ending, or another. */
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include "tests/transport/harness.h"
#include "tests/transport/samples.h"

TestSuite(client, .timeout = 120);

#define SECOND 1000000

static void expect_refused(const char *const *urls, size_t n, const char *hint)
{
    struct client_options options = {
        .addresses = urls, .n_addresses = n, .clock = &clock_system, .answer_timeout_us = SECOND};
    struct client *client;
    char *error;

    cr_assert_eq(client_new(&options, &client, &error), -EINVAL);
    cr_assert_not_null(strstr(error, hint), "%s", error);
    free(error);
}

Test(client, wrong_addresses_are_refused)
{
    const char *const urls[] = {"inproc://fine", "http://x:1", "tcp://127.0.0.1:0",
                                "tls+tcp://127.0.0.1:5"};

    expect_refused(urls, 0, "no address");
    expect_refused(urls, 2, "http://x:1");
    expect_refused(urls + 2, 1, "port 0");
    expect_refused(urls + 3, 1, "tls.ca is needed");
}

Test(client, never_started_answers_eshutdown_when_freed)
{
    const char *url = "inproc://nobody";
    struct client_options options = {
        .addresses = &url, .n_addresses = 1, .clock = &clock_system, .answer_timeout_us = SECOND};
    struct client *client;
    struct call call;
    char *error;

    cr_assert_eq(client_new(&options, &client, &error), 0);
    call_init(&call, REQUEST_PUT);
    call_start(&call, client);
    cr_assert_eq(call.n_done, 0);
    client_free(client);
    cr_assert_eq(call.n_done, 1);
    cr_assert_eq(call.request.status, -ESHUTDOWN);
    call_fini(&call);
    client_free(NULL);
}

/* The first answer may be there before NNG says that the connection is. */
static void await_connected(struct client *client)
{
    struct link_info info;

    for (int i = 0; i < 2000; i++) {
        client_link_info(client, &info);
        if (info.connected)
            return;
        usleep(10000);
    }
    cr_assert_fail("not connected");
}

static void await_error(struct client *client, struct link_info *info)
{
    for (int i = 0; i < 2000; i++) {
        client_link_info(client, info);
        if (info->last_error[0])
            return;
        usleep(10000);
    }
    cr_assert_fail("no error");
}

Test(client, service_that_comes_late_is_found)
{
    struct link_info info;
    struct client *client = connect_to("inproc://late", 10 * SECOND);
    struct server *server;
    struct fake fake;
    struct call call;

    call_init(&call, REQUEST_PUT);
    call_start(&call, client);
    await_error(client, &info);
    cr_assert_eq(call.n_done, 0);
    cr_assert_not(info.connected);
    cr_assert_str_eq(info.endpoint, "inproc://late");
    cr_assert_str_eq(info.last_error, "inproc://late: Connection refused");
    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, "inproc://late");
    call_await(&call);
    cr_assert_eq(call.request.status, 0);
    await_connected(client);
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
}

static int64_t now_us(void)
{
    return clock_system.mono_us(&clock_system);
}

Test(client, request_says_when_it_was_sent)
{
    int64_t before_us = now_us();
    struct server *server;
    struct client *client;
    struct fake fake;
    struct call call;

    fake_init(&fake, FAKE_NEVER);
    server = serve(&fake, "inproc://sent");
    client = connect_to("inproc://sent", SECOND / 5);
    call_init(&call, REQUEST_GET);
    call_start(&call, client);
    fake_await(&fake, 3); /* sent for the third time, after twice the time of an answer */
    fake_mode(&fake, FAKE_LATER);
    call_await(&call);
    cr_assert_geq(call.request.sent_us, before_us + 2 * SECOND / 5);
    cr_assert_leq(call.request.sent_us, now_us());
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
}

Test(client, request_that_waited_for_a_connection_was_sent_when_there_was_one)
{
    struct client *client = connect_to("inproc://sent-late", 10 * SECOND);
    struct server *server;
    struct fake fake;
    struct call call;
    int64_t served_us;

    call_init(&call, REQUEST_GET);
    call_start(&call, client);
    cr_assert_not(call_await_ms(&call, 300));
    served_us = now_us();
    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, "inproc://sent-late");
    call_await(&call);
    cr_assert_geq(call.request.sent_us, served_us);
    cr_assert_leq(call.request.sent_us, now_us());
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
}

static void restart(const char *url)
{
    struct fake before, after;
    struct link_info info;
    struct server *server;
    struct client *client;
    struct call calls[20];
    uint64_t number;

    fake_init(&before, FAKE_NEVER);
    server = serve(&before, url);
    client = connect_to(url, 10 * SECOND);
    for (int i = 0; i < 20; i++) {
        call_init(&calls[i], i % 2 ? REQUEST_PUT : REQUEST_GET);
        call_start(&calls[i], client);
    }
    fake_await(&before, 20);
    number = calls[0].request.number;
    serve_end(server, &before);
    cr_assert_not(call_await_ms(&calls[0], 200));
    fake_init(&after, FAKE_LATER);
    server = serve(&after, url);
    for (int i = 0; i < 20; i++) {
        call_await(&calls[i]);
        cr_assert_eq(calls[i].request.status, 0);
    }
    cr_assert_eq(calls[0].request.number, number);
    client_link_info(client, &info);
    cr_assert_geq(info.retries, 20);
    client_free(client);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(calls[i].n_done, 1);
        call_fini(&calls[i]);
    }
    serve_end(server, &after);
}

Test(client, service_that_restarts_is_asked_again)
{
    char dir[64], url[128];

    dir_make(dir);
    snprintf(url, sizeof(url), "ipc://%s/s", dir);
    restart(url);
    dir_remove(dir);
    restart("inproc://restart");
}

Test(client, request_without_an_answer_is_sent_again)
{
    struct link_info info;
    struct server *server;
    struct client *client;
    struct fake fake;
    struct call call;

    fake_init(&fake, FAKE_NEVER);
    server = serve(&fake, "inproc://lost");
    client = connect_to("inproc://lost", SECOND / 5);
    call_init(&call, REQUEST_PUT);
    call_start(&call, client);
    fake_await(&fake, 3);
    cr_assert_eq(fake.last_number, call.request.number);
    cr_assert_eq(call.n_done, 0);
    fake_mode(&fake, FAKE_LATER);
    call_await(&call);
    cr_assert_eq(call.request.status, 0);
    client_link_info(client, &info);
    cr_assert_geq(info.retries, 2);
    cr_assert_str_eq(info.last_error, "inproc://lost: no answer");
    client_free(client);
    cr_assert_eq(call.n_done, 1);
    call_fini(&call);
    serve_end(server, &fake);
}

Test(client, slow_request_leaves_a_good_connection_alone)
{
    struct link_info info;
    struct server *server;
    struct client *client;
    struct call watch, call;
    struct fake fake;
    int64_t started_us;
    size_t n_puts = 0;

    fake_init(&fake, FAKE_AT_ONCE);
    fake.watch_mode = FAKE_NEVER;
    server = serve(&fake, "inproc://slow");
    client = connect_to("inproc://slow", 6 * SECOND); /* in which a slow machine answers a put */
    call_init(&watch, REQUEST_WATCH);
    started_us = now_us();
    call_start(&watch, client);
    do {
        call_init(&call, REQUEST_PUT);
        call_expect(&call, client);
        call_fini(&call);
        n_puts++;
        usleep(10000);
        client_link_info(client, &info);
    } while (info.retries == 0);
    fake_await(&fake, n_puts + 2);
    cr_assert_str_empty(info.last_error);
    client_free(client);
    cr_assert_eq(watch.n_done, 1);
    cr_assert_geq(watch.request.sent_us, started_us + 6 * SECOND); /* the second time */
    call_fini(&watch);
    serve_end(server, &fake);
}

Test(client, watch_is_given_its_time)
{
    struct server *server;
    struct client *client;
    struct call watch;
    struct fake fake;

    fake_init(&fake, FAKE_NEVER);
    server = serve(&fake, "inproc://patient");
    client = connect_to("inproc://patient", SECOND / 10);
    call_init(&watch, REQUEST_WATCH);
    watch.request.in.watch.wait_us = 20 * SECOND;
    call_start(&watch, client);
    fake_await(&fake, 1);
    cr_assert_not(call_await_ms(&watch, 1000));
    cr_assert_eq(fake.n_seen, 1);
    fake_answer(&fake, 0);
    call_await(&watch);
    client_free(client);
    call_fini(&watch);
    serve_end(server, &fake);
}

Test(client, watches_keep_nobody_waiting)
{
    struct call *watches = calloc(400, sizeof(*watches));
    struct server *server;
    struct client *client;
    struct call call;
    struct fake fake;

    fake_init(&fake, FAKE_AT_ONCE);
    fake.watch_mode = FAKE_NEVER;
    server = serve(&fake, "inproc://watches");
    client = connect_to("inproc://watches", 10 * SECOND);
    for (int i = 0; i < 400; i++) {
        call_init(&watches[i], REQUEST_WATCH);
        call_start(&watches[i], client);
    }
    call_init(&call, REQUEST_PUT);
    call_expect(&call, client);
    call_fini(&call);
    client_free(client);
    for (int i = 0; i < 400; i++) {
        cr_assert_eq(watches[i].n_done, 1);
        cr_assert_eq(watches[i].request.status, -ESHUTDOWN);
        call_fini(&watches[i]);
    }
    serve_end(server, &fake);
    free(watches);
}

static void stop_outstanding(const char *url, bool served)
{
    struct call *calls = calloc(1000, sizeof(*calls)), late;
    struct server *server = NULL;
    struct client *client;
    struct fake fake;

    fake_init(&fake, FAKE_NEVER);
    if (served)
        server = serve(&fake, url);
    client = connect_to(url, 10 * SECOND);
    for (int i = 0; i < 1000; i++) {
        call_init(&calls[i], REQUEST_PUT);
        call_start(&calls[i], client);
    }
    if (served)
        fake_await(&fake, 256);
    client_stop(client);
    call_init(&late, REQUEST_PUT);
    call_start(&late, client);
    cr_assert_eq(late.n_done, 1);
    cr_assert_eq(late.request.status, -ESHUTDOWN);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(calls[i].n_done, 1, "call %d: %d", i, calls[i].n_done);
        cr_assert_eq(calls[i].request.status, -ESHUTDOWN);
        call_fini(&calls[i]);
    }
    client_stop(client);
    client_free(client);
    call_fini(&late);
    if (served)
        serve_end(server, &fake);
    else
        fake_fini(&fake);
    free(calls);
}

Test(client, stop_answers_each_outstanding_request_once)
{
    stop_outstanding("inproc://stop", true);
    stop_outstanding("inproc://stop-unserved", false);
    stop_outstanding("tcp://127.0.0.1:1", false);
}

/* The service says so of a copy that it does not work on; the number must stay in use. */
Test(client, an_answer_that_is_none_is_waited_for_under_the_same_number)
{
    struct server *server;
    struct client *client;
    struct fake fake;
    struct call call;

    fake_init(&fake, FAKE_NEVER);
    server = serve(&fake, "inproc://no-answer");
    client = connect_to("inproc://no-answer", 10 * SECOND);
    call_init(&call, REQUEST_GET);
    call_start(&call, client);
    fake_await(&fake, 1);
    fake_answer(&fake, -ETIMEDOUT);
    fake_await(&fake, 2);
    cr_assert_eq(fake.last_number, 1);
    cr_assert_eq(fake.last_answered_below, 1);
    cr_assert_eq(call.n_done, 0);
    fake_answer(&fake, 0);
    call_await(&call);
    cr_assert_eq(call.request.status, 0);
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
}

static struct client *resubmit_client;

static void resubmit(struct request *request)
{
    struct call *call = request->owner;

    request_release(request);
    call->n_done++;
    if (request->status == 0)
        call_start(call, resubmit_client);
    else
        sem_post(&call->done);
}

static void storm(const char *url)
{
    for (int round = 0; round < 20; round++) {
        struct call calls[64];
        struct server *server;
        struct fake fake;

        fake_init(&fake, round % 2 ? FAKE_AT_ONCE : FAKE_LATER);
        server = serve(&fake, url);
        resubmit_client = connect_to(server_url(server, 0), 10 * SECOND);
        for (int i = 0; i < 64; i++) {
            call_init(&calls[i], REQUEST_GET);
            calls[i].request.done = resubmit;
            call_start(&calls[i], resubmit_client);
        }
        usleep((useconds_t)(round * 1000));
        client_stop(resubmit_client);
        for (int i = 0; i < 64; i++) {
            call_await(&calls[i]);
            cr_assert_eq(calls[i].request.status, -ESHUTDOWN);
            call_fini(&calls[i]);
        }
        client_free(resubmit_client);
        serve_end(server, &fake);
    }
}

Test(client, stop_in_the_middle_of_a_storm)
{
    storm("inproc://storm");
    storm("tcp://127.0.0.1:0");
}

Test(client, next_address_is_used_where_one_refuses)
{
    const char *const urls[] = {"inproc://none-a", "inproc://none-b", "inproc://second"};
    struct link_info info;
    struct server *server;
    struct client *client;
    struct call call;
    struct fake fake;

    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, urls[2]);
    client = connect_any(urls, 3, 10 * SECOND);
    call_init(&call, REQUEST_PUT);
    call_expect(&call, client);
    client_link_info(client, &info);
    cr_assert_str_eq(info.endpoint, urls[2]);
    client_free(client);
    call_fini(&call);
    serve_end(server, &fake);
}

Test(client, next_address_is_used_where_one_dies)
{
    const char *const urls[] = {"inproc://dies", "inproc://lives"};
    struct server *first, *second;
    struct fake dies, lives;
    struct client *client;
    struct call calls[10];

    fake_init(&dies, FAKE_NEVER);
    fake_init(&lives, FAKE_LATER);
    first = serve(&dies, urls[0]);
    second = serve(&lives, urls[1]);
    client = connect_any(urls, 2, 10 * SECOND);
    for (int i = 0; i < 10; i++) {
        call_init(&calls[i], REQUEST_PUT);
        call_start(&calls[i], client);
    }
    fake_await(&dies, 10);
    cr_assert_eq(lives.n_seen, 0);
    serve_end(first, &dies);
    for (int i = 0; i < 10; i++)
        call_await(&calls[i]);
    client_free(client);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(calls[i].n_done, 1);
        call_fini(&calls[i]);
    }
    serve_end(second, &lives);
}

Test(client, next_address_is_used_where_one_is_silent)
{
    const char *const urls[] = {"inproc://silent", "inproc://answers"};
    struct server *first, *second;
    struct fake silent, answers;
    struct link_info info;
    struct client *client;
    struct call call;

    fake_init(&silent, FAKE_NEVER);
    fake_init(&answers, FAKE_AT_ONCE);
    first = serve(&silent, urls[0]);
    second = serve(&answers, urls[1]);
    client = connect_any(urls, 2, SECOND / 5);
    call_init(&call, REQUEST_PUT);
    call_expect(&call, client);
    client_link_info(client, &info);
    cr_assert_str_eq(info.endpoint, urls[1]);
    cr_assert_str_eq(info.last_error, "inproc://silent: no answer");
    client_free(client);
    call_fini(&call);
    serve_end(first, &silent);
    serve_end(second, &answers);
}

Test(client, stops_at_once_while_a_connection_hangs)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(name);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fillers[4];
    struct client *client;
    struct timespec from, to;
    char url[64];

    cr_assert_eq(bind(listener, (struct sockaddr *)&name, len), 0);
    cr_assert_eq(listen(listener, 0), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&name, &len), 0);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&name, len);
    }
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", ntohs(name.sin_port));
    client = connect_to(url, SECOND);
    usleep(100000);
    clock_gettime(CLOCK_MONOTONIC, &from);
    client_free(client);
    clock_gettime(CLOCK_MONOTONIC, &to);
    cr_assert_lt(to.tv_sec - from.tv_sec, 10);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(listener);
}

/* A peer that answers every request with the same bytes. */
static void *answer_bytes(void *arg)
{
    nng_socket *socket = arg;
    nng_msg *msg;

    while (nng_recvmsg(*socket, &msg, 0) == 0) {
        nng_msg_clear(msg);
        nng_msg_append(msg, "qfs\x63 and what else there is in it", 30);
        if (nng_sendmsg(*socket, msg, 0) != 0)
            nng_msg_free(msg);
    }
    return NULL;
}

static void await_version(struct client *client)
{
    struct link_info info;

    for (int i = 0; i < 2000; i++) {
        client_link_info(client, &info);
        if (strstr(info.last_error, "version 99") && !info.connected)
            break;
        usleep(10000);
    }
    cr_assert_not_null(strstr(info.last_error, "version 99"), "%s", info.last_error);
    cr_assert_not_null(strstr(info.last_error, "upgrade this mount"), "%s", info.last_error);
    cr_assert_not(info.connected);
}

Test(client, service_of_another_version_is_away)
{
    struct server *server;
    struct client *client;
    nng_socket socket;
    pthread_t thread;
    struct fake fake;
    struct call call;

    cr_assert_eq(nng_rep0_open(&socket), 0);
    cr_assert_eq(nng_listen(socket, "inproc://other", NULL, 0), 0);
    cr_assert_eq(pthread_create(&thread, NULL, answer_bytes, &socket), 0);
    client = connect_to("inproc://other", 10 * SECOND);
    call_init(&call, REQUEST_PUT);
    call_start(&call, client);
    await_version(client);
    cr_assert_not(call_await_ms(&call, 500));
    nng_close(socket);
    pthread_join(thread, NULL);

    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, "inproc://other");
    call_await(&call);
    cr_assert_eq(call.request.status, 0);
    await_connected(client);
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
}

Test(client, next_address_is_taken_where_one_speaks_another_version)
{
    const char *urls[] = {"inproc://older", "inproc://same"};
    struct server *server;
    struct client *client;
    nng_socket socket;
    pthread_t thread;
    struct fake fake;
    struct call call;

    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, urls[1]);
    cr_assert_eq(nng_rep0_open(&socket), 0);
    cr_assert_eq(nng_listen(socket, urls[0], NULL, 0), 0);
    cr_assert_eq(pthread_create(&thread, NULL, answer_bytes, &socket), 0);
    client = connect_any(urls, 2, 10 * SECOND);
    call_init(&call, REQUEST_PUT);
    call_start(&call, client);
    call_await(&call);
    cr_assert_eq(call.request.status, 0);
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
    nng_close(socket);
    pthread_join(thread, NULL);
}
