/*
 * RabbitMQ: a durable queue, persistent messages, publisher confirms, waiting for each or with a
 * window of them under way. Items are taken by a consumer with a prefetch of a hundred and one
 * acknowledgement for each hundred, or one at a time with one each.
 */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

#include "bench/peer.h"

#define QUEUE     "jobs"
#define CHANNEL   1
#define FRAME_MAX 131072

struct rabbit {
    amqp_connection_state_t state;
    uint64_t published; /* delivery tags so far; the first is 1 */
    uint64_t oldest;    /* the first that is not confirmed */
    bool *confirmed;    /* of the window, by tag modulo its size */
    size_t window;
    char *item;
};

static void check_reply(amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        errx(1, "RabbitMQ: %s: %s", what, amqp_error_string2(reply.library_error));
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        errx(1, "RabbitMQ: %s: refused", what);
}

static void check(int status, const char *what)
{
    if (status != AMQP_STATUS_OK)
        errx(1, "RabbitMQ: %s: %s", what, amqp_error_string2(status));
}

static void *rabbit_open(const struct peer_options *options, size_t worker)
{
    struct rabbit *rabbit = calloc(1, sizeof(*rabbit));
    amqp_socket_t *socket;

    if (!rabbit)
        err(1, "connection");
    rabbit->item = malloc(options->item_bytes);
    rabbit->window = options->n_window;
    rabbit->confirmed = calloc(rabbit->window, sizeof(*rabbit->confirmed));
    rabbit->oldest = 1;
    if (!rabbit->item || !rabbit->confirmed)
        err(1, "connection");
    rabbit->state = amqp_new_connection();
    socket = amqp_tcp_socket_new(rabbit->state);
    if (!socket)
        errx(1, "RabbitMQ: no memory");
    check(amqp_socket_open(socket, "127.0.0.1", options->port), "connecting");
    check_reply(
        amqp_login(rabbit->state, "/", 0, FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
        "login");
    amqp_channel_open(rabbit->state, CHANNEL);
    check_reply(amqp_get_rpc_reply(rabbit->state), "channel");
    amqp_queue_declare(rabbit->state, CHANNEL, amqp_cstring_bytes(QUEUE), 0, 1, 0, 0,
                       amqp_empty_table);
    check_reply(amqp_get_rpc_reply(rabbit->state), "queue");
    amqp_confirm_select(rabbit->state, CHANNEL);
    check_reply(amqp_get_rpc_reply(rabbit->state), "confirms");
    return rabbit;
}

static void rabbit_close(void *connection)
{
    struct rabbit *rabbit = connection;

    amqp_connection_close(rabbit->state, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(rabbit->state);
    free(rabbit->confirmed);
    free(rabbit->item);
    free(rabbit);
}

static void publish(struct rabbit *rabbit, struct peer_job *job, size_t number)
{
    const amqp_basic_properties_t persistent = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG,
                                                .delivery_mode = 2};
    amqp_bytes_t item = {job->options->item_bytes, rabbit->item};

    peer_item(job->options, number, rabbit->item);
    check(amqp_basic_publish(rabbit->state, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(QUEUE), 0,
                             0, &persistent, item),
          "publish");
    rabbit->published++;
}

/* Wait for the next confirm. They come in any order, and one may be for all up to its tag. */
static void confirm(struct rabbit *rabbit)
{
    amqp_frame_t frame;
    const amqp_basic_ack_t *ack;

    amqp_maybe_release_buffers(rabbit->state);
    check(amqp_simple_wait_frame(rabbit->state, &frame), "confirm");
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
        errx(1, "RabbitMQ: no confirm");
    ack = frame.payload.method.decoded;
    for (uint64_t tag = ack->multiple ? rabbit->oldest : ack->delivery_tag;
         tag <= ack->delivery_tag; tag++)
        rabbit->confirmed[tag % rabbit->window] = true;
    while (rabbit->oldest <= rabbit->published &&
           rabbit->confirmed[rabbit->oldest % rabbit->window])
        rabbit->confirmed[rabbit->oldest++ % rabbit->window] = false;
}

static size_t n_unconfirmed(const struct rabbit *rabbit)
{
    return rabbit->published + 1 - rabbit->oldest;
}

static void put_one(struct peer_job *job)
{
    struct rabbit *rabbit = job->connection;

    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();

        publish(rabbit, job, job->first + i);
        confirm(rabbit);
        peer_step(job, begin);
    }
}

static void put_pipelined(struct peer_job *job)
{
    struct rabbit *rabbit = job->connection;

    for (size_t i = 0; i < job->n_items; i++) {
        while (n_unconfirmed(rabbit) >= rabbit->window)
            confirm(rabbit);
        publish(rabbit, job, job->first + i);
    }
    while (n_unconfirmed(rabbit) > 0)
        confirm(rabbit);
}

static void acknowledge(struct rabbit *rabbit, uint64_t tag, bool and_before)
{
    check(amqp_basic_ack(rabbit->state, CHANNEL, tag, and_before), "ack");
    amqp_maybe_release_buffers(rabbit->state);
}

/* Ask something that the server answers after all that was sent before it. */
static void settle(struct rabbit *rabbit)
{
    amqp_basic_qos(rabbit->state, CHANNEL, 0, PEER_BATCH, 0);
    check_reply(amqp_get_rpc_reply(rabbit->state), "settling");
}

static void get_100(struct peer_job *job)
{
    struct rabbit *rabbit = job->connection;
    int64_t begin = peer_now_ns();

    /* Twice what is acknowledged at once, so that the next ones travel meanwhile. */
    amqp_basic_qos(rabbit->state, CHANNEL, 0, 2 * PEER_BATCH, 0);
    amqp_basic_consume(rabbit->state, CHANNEL, amqp_cstring_bytes(QUEUE), amqp_empty_bytes, 0, 0, 0,
                       amqp_empty_table);
    check_reply(amqp_get_rpc_reply(rabbit->state), "consume");
    for (size_t i = 1; i <= job->n_items; i++) {
        amqp_envelope_t item;

        check_reply(amqp_consume_message(rabbit->state, &item, NULL, 0), "consume");
        if (i % PEER_BATCH == 0 || i == job->n_items) {
            acknowledge(rabbit, item.delivery_tag, true);
            peer_step(job, begin);
            begin = peer_now_ns();
        }
        amqp_destroy_envelope(&item);
    }
    settle(rabbit);
}

static void work(struct peer_job *job)
{
    struct rabbit *rabbit = job->connection;

    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();
        amqp_rpc_reply_t reply =
            amqp_basic_get(rabbit->state, CHANNEL, amqp_cstring_bytes(QUEUE), 0);
        amqp_message_t item;
        uint64_t tag;

        check_reply(reply, "get");
        if (reply.reply.id != AMQP_BASIC_GET_OK_METHOD)
            errx(1, "RabbitMQ: no item");
        tag = ((const amqp_basic_get_ok_t *)reply.reply.decoded)->delivery_tag;
        check_reply(amqp_read_message(rabbit->state, CHANNEL, &item, 0), "get");
        amqp_destroy_message(&item);
        acknowledge(rabbit, tag, false);
        peer_step(job, begin);
    }
    settle(rabbit);
}

static const struct peer rabbitmq = {
    .open = rabbit_open,
    .close = rabbit_close,
    .fill = put_pipelined,
    .modes = {{"put-one", 0, put_one},
              {"put-pipelined", 0, put_pipelined},
              {"get-one", 1, work},
              {"get-100", 1, get_100},
              {"work", 1, work}},
};

int main(int argc, char **argv)
{
    return peer_main(&rabbitmq, argc, argv);
}
