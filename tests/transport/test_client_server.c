/* Both ends together, over each transport. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/transport/harness.h"
#include "tests/transport/samples.h"

TestSuite(client_server, .timeout = 60);

#define SECOND 1000000

/* The sample's answer, with the bytes laid where the server wants them. */
static int answer_in_place(struct fake *fake, struct request *request)
{
    struct request sample = *request;

    sample_answer(&sample);
    request->position = sample.position;
    request->state = sample.state;
    request->out = sample.out;
    if (request->kind == REQUEST_GET) {
        uint8_t *data = request->reply_buffer(request, sample.out.get.len + 1000);

        memcpy(data, sample.out.get.data, sample.out.get.len);
        request->out.get.data = data;
    } else if (request->kind == REQUEST_LIST) {
        uint8_t *data = request->reply_buffer(request, sample.out.list.len);

        memcpy(data, sample.out.list.data, sample.out.list.len);
        request->out.list.data = data;
    }
    return 0;
}

static void echo_each_kind(const char *url, enum fake_mode mode)
{
    struct fake fake;
    struct server *server;
    struct client *client;

    fake_init(&fake, mode);
    fake.answer = answer_in_place;
    server = serve(&fake, url);
    client = connect_to(server_url(server, 0), 10 * SECOND);
    for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++) {
        struct call call;

        call_init(&call, kind);
        call_expect(&call, client);
        call_fini(&call);
    }
    client_free(client);
    serve_end(server, &fake);
}

Test(client_server, inproc_carries_each_kind)
{
    echo_each_kind("inproc://each-kind", FAKE_AT_ONCE);
    echo_each_kind("inproc://each-kind", FAKE_LATER);
}

Test(client_server, ipc_carries_each_kind)
{
    char dir[64], url[128];

    dir_make(dir);
    snprintf(url, sizeof(url), "ipc://%s/s", dir);
    echo_each_kind(url, FAKE_LATER);
    dir_remove(dir);
}

Test(client_server, tcp_carries_each_kind)
{
    echo_each_kind("tcp://127.0.0.1:0", FAKE_LATER);
}

Test(client_server, thousand_requests_at_once)
{
    struct call *calls = calloc(1000, sizeof(*calls));
    struct fake fake;
    struct server *server;
    struct client *client;

    fake_init(&fake, FAKE_LATER);
    server = serve(&fake, "tcp://127.0.0.1:0");
    client = connect_to(server_url(server, 0), 10 * SECOND);
    for (int i = 0; i < 1000; i++) {
        call_init(&calls[i], i % 2 ? REQUEST_PUT : REQUEST_GET);
        call_start(&calls[i], client);
    }
    for (int i = 0; i < 1000; i++) {
        struct request expected = calls[i].request;

        call_await(&calls[i]);
        sample_answer(&expected);
        cr_assert(sample_same_answer(&expected, &calls[i].request));
        call_fini(&calls[i]);
    }
    client_free(client);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(calls[i].n_done, 1);
    cr_assert_eq(fake.n_seen, 1000);
    serve_end(server, &fake);
    free(calls);
}

Test(client_server, answer_points_into_the_message_until_released)
{
    struct fake fake;
    struct server *server;
    struct client *client;
    struct call call;

    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, "inproc://released");
    client = connect_to("inproc://released", 10 * SECOND);
    call_init(&call, REQUEST_GET);
    call_expect(&call, client);
    client_free(client);
    serve_end(server, &fake);
    cr_assert_eq(memcmp(call.request.out.get.data, "one\n", 4), 0);
    cr_assert_not_null(call.request.reply_free);
    request_release(&call.request);
    cr_assert_null(call.request.reply_free);
    request_release(&call.request);
    call_fini(&call);
}

Test(client_server, bytes_of_a_list_stay_until_released)
{
    struct fake fake;
    struct server *server;
    struct client *client;
    struct call call;

    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, "inproc://listed");
    client = connect_to("inproc://listed", 10 * SECOND);
    call_init(&call, REQUEST_LIST);
    call_expect(&call, client);
    client_free(client);
    serve_end(server, &fake);
    cr_assert_eq(memcmp(call.request.out.list.data, "one\n", 4), 0);
    cr_assert_eq(call.request.out.list.items[0].size, call.request.out.list.len);
    cr_assert_not_null(call.request.reply_free);
    call_fini(&call);
}

static struct grant many_grants[REQUEST_GRANTS_MAX];

static int answer_many_grants(struct fake *fake, struct request *request)
{
    uint8_t *data = request->reply_buffer(request, 100000);

    for (uint32_t i = 0; i < REQUEST_GRANTS_MAX; i++)
        many_grants[i] = (struct grant){.batch = i + 1, .to = 1, .offset = i, .len = 1};
    memset(data, 'x', 100000);
    request->out.get.data = data;
    request->out.get.len = 100000;
    request->out.get.grants = many_grants;
    request->out.get.n_grants = REQUEST_GRANTS_MAX;
    return 0;
}

static size_t room_asked;

/* The sample's bytes in more room than they take. */
static int answer_with_room(struct fake *fake, struct request *request)
{
    struct request sample = *request;
    uint8_t *data = request->reply_buffer(request, room_asked);

    sample_answer(&sample);
    request->position = sample.position;
    request->state = sample.state;
    request->out = sample.out;
    memcpy(data, sample.out.get.data, sample.out.get.len);
    request->out.get.data = data;
    return 0;
}

/* Whatever the size of the message that an answer was laid in, powers of two among them. */
Test(client_server, answer_is_whole_however_much_room_was_asked_for)
{
    struct fake fake;
    struct server *server;
    struct client *client;

    fake_init(&fake, FAKE_LATER);
    fake.answer = answer_with_room;
    server = serve(&fake, "inproc://room");
    client = connect_to(server_url(server, 0), 10 * SECOND);
    for (room_asked = 1000; room_asked < 17000; room_asked += 8) {
        struct call call;

        call_init(&call, REQUEST_GET);
        call_expect(&call, client);
        call_fini(&call);
    }
    client_free(client);
    serve_end(server, &fake);
}

Test(client_server, more_grants_than_there_is_room_for)
{
    struct fake fake;
    struct server *server;
    struct client *client;
    struct call call;

    fake_init(&fake, FAKE_AT_ONCE);
    fake.answer = answer_many_grants;
    server = serve(&fake, "inproc://many-grants");
    client = connect_to("inproc://many-grants", 10 * SECOND);
    call_init(&call, REQUEST_GET);
    call_start(&call, client);
    call_await(&call);
    cr_assert_eq(call.request.status, 0);
    cr_assert_eq(call.request.out.get.n_grants, REQUEST_GRANTS_MAX);
    cr_assert_eq(call.request.out.get.grants[4095].batch, 4096);
    cr_assert_eq(call.request.out.get.len, 100000);
    for (size_t i = 0; i < 100000; i++)
        cr_assert_eq(call.request.out.get.data[i], 'x');
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
}

/* The backend frees its own memory once, after the answer has been read out of it. */
static int n_freed;

static void count_freed(struct request *request)
{
    free(request->reply_memory);
    n_freed++;
}

static int answer_own_memory(struct fake *fake, struct request *request)
{
    struct grant *grant = calloc(1, sizeof(*grant) + 5);

    *grant = (struct grant){.batch = 1, .to = 1, .len = 5};
    memcpy(grant + 1, "hello", 5);
    request->out.get.grants = grant;
    request->out.get.n_grants = 1;
    request->out.get.data = (uint8_t *)(grant + 1);
    request->out.get.len = 5;
    request->reply_memory = grant;
    request->reply_free = count_freed;
    return 0;
}

Test(client_server, backend_may_answer_from_its_own_memory)
{
    struct fake fake;
    struct server *server;
    struct client *client;
    struct call call;

    fake_init(&fake, FAKE_LATER);
    fake.answer = answer_own_memory;
    server = serve(&fake, "inproc://own-memory");
    client = connect_to("inproc://own-memory", 10 * SECOND);
    call_init(&call, REQUEST_GET);
    call_start(&call, client);
    call_await(&call);
    cr_assert_eq(call.request.out.get.len, 5);
    cr_assert_eq(memcmp(call.request.out.get.data, "hello", 5), 0);
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
    cr_assert_eq(n_freed, 1);
}

static size_t put_len;

static int answer_large_get(struct fake *fake, struct request *request)
{
    uint8_t *data;

    if (request->kind == REQUEST_PUT) {
        put_len = request->in.put.batch.len;
        return request->in.put.batch.data[put_len - 1] == '!' ? 0 : -EBADMSG;
    }
    data = request->reply_buffer(request, BATCH_BYTES_MAX);
    memset(data, 'y', BATCH_BYTES_MAX);
    request->out.get.data = data;
    request->out.get.len = BATCH_BYTES_MAX;
    return 0;
}

Test(client_server, largest_put_and_get_pass)
{
    uint8_t *bytes = calloc(1, BATCH_BYTES_MAX);
    struct fake fake;
    struct server *server;
    struct client *client;
    struct call put, get;

    bytes[BATCH_BYTES_MAX - 1] = '!';
    fake_init(&fake, FAKE_LATER);
    fake.answer = answer_large_get;
    server = serve(&fake, "tcp://127.0.0.1:0");
    client = connect_to(server_url(server, 0), 20 * SECOND);
    call_init(&put, REQUEST_PUT);
    put.request.in.put.batch.data = bytes;
    put.request.in.put.batch.len = BATCH_BYTES_MAX;
    call_start(&put, client);
    call_await(&put);
    cr_assert_eq(put.request.status, 0);
    cr_assert_eq(put_len, BATCH_BYTES_MAX);
    call_init(&get, REQUEST_GET);
    call_start(&get, client);
    call_await(&get);
    cr_assert_eq(get.request.out.get.len, BATCH_BYTES_MAX);
    cr_assert_eq(get.request.out.get.data[BATCH_BYTES_MAX - 1], 'y');
    call_fini(&put);
    call_fini(&get);
    client_free(client);
    serve_end(server, &fake);
    free(bytes);
}

Test(client_server, answered_below_is_the_oldest_without_an_answer)
{
    struct fake fake;
    struct server *server;
    struct client *client;
    struct call first, second, third;

    fake_init(&fake, FAKE_NEVER);
    server = serve(&fake, "inproc://below");
    client = connect_to("inproc://below", 10 * SECOND);
    call_init(&first, REQUEST_PURGE);
    call_init(&second, REQUEST_PURGE);
    call_init(&third, REQUEST_PURGE);
    call_start(&first, client);
    fake_await(&fake, 1);
    cr_assert_eq(fake.last_number, 1);
    cr_assert_eq(fake.last_answered_below, 1);
    call_start(&second, client);
    fake_await(&fake, 2);
    cr_assert_eq(fake.last_number, 2);
    cr_assert_eq(fake.last_answered_below, 1);
    fake_answer(&fake, 0);
    call_await(&first);
    call_await(&second);
    call_start(&third, client);
    fake_await(&fake, 3);
    cr_assert_eq(fake.last_number, 3);
    cr_assert_eq(fake.last_answered_below, 3);
    fake_answer(&fake, 0);
    call_await(&third);
    call_fini(&first);
    call_fini(&second);
    call_fini(&third);
    client_free(client);
    serve_end(server, &fake);
}

Test(client_server, request_submitted_anew_is_a_new_one)
{
    struct fake fake;
    struct server *server;
    struct client *client;
    struct call call;

    fake_init(&fake, FAKE_AT_ONCE);
    server = serve(&fake, "inproc://anew");
    client = connect_to("inproc://anew", 10 * SECOND);
    call_init(&call, REQUEST_PURGE);
    call_expect(&call, client);
    request_release(&call.request);
    call_start(&call, client);
    call_await(&call);
    cr_assert_eq(call.request.number, 2);
    cr_assert_eq(fake.last_number, 2);
    cr_assert_eq(fake.last_answered_below, 2);
    cr_assert_eq(call.n_done, 2);
    call_fini(&call);
    client_free(client);
    serve_end(server, &fake);
}
