/*
 * NATS JetStream: a stream in a file, each publish acknowledged by the server, waiting for each or
 * with a window of them under way; items are taken by a durable pull consumer, a hundred or one a
 * request, and each acknowledged as it must be there, without waiting for the server's word.
 *
 * libnats keeps what is published for up to a millisecond, so that more of it travels at once. That
 * is right for acknowledgements and for many puts, not for a pull request, which has a connection
 * of its own that sends at once.
 *
 * The pull requests are made here: natsSubscription_Fetch of libnats 3.4 writes past its array when
 * more messages are waiting than were asked for.
 */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nats/nats.h>

#include "bench/peer.h"

#define STREAM     "bench"
#define SUBJECT    "bench.jobs"
#define CONSUMER   "workers"
#define NEXT       "$JS.API.CONSUMER.MSG.NEXT." STREAM "." CONSUMER
#define TIMEOUT_MS 30000

struct nats {
    natsConnection *connection; /* puts, acknowledgements */
    natsConnection *pull;       /* pull requests and what they give */
    jsCtx *js;
    natsSubscription *inbox;
    natsInbox *inbox_name;
    char *item;
};

static void check(natsStatus status, const char *what)
{
    if (status != NATS_OK)
        errx(1, "NATS: %s: %s", what, natsStatus_GetText(status));
}

static void publish_failed(jsCtx *js, jsPubAckErr *failure, void *closure)
{
    errx(1, "NATS: publish: %s", failure->ErrText ? failure->ErrText : "failed");
}

/* The stream and its consumer; making what is there already is no error. */
static void make_stream(struct nats *nats)
{
    const char *subjects[] = {SUBJECT};
    jsStreamConfig stream;
    jsConsumerConfig consumer;
    jsErrCode code = 0;

    jsStreamConfig_Init(&stream);
    stream.Name = STREAM;
    stream.Subjects = subjects;
    stream.SubjectsLen = 1;
    stream.Storage = js_FileStorage;
    stream.Retention = js_WorkQueuePolicy;
    check(js_AddStream(NULL, nats->js, &stream, NULL, &code), "making the stream");
    jsConsumerConfig_Init(&consumer);
    consumer.Durable = CONSUMER;
    consumer.AckPolicy = js_AckExplicit;
    consumer.MaxAckPending = -1;
    check(js_AddConsumer(NULL, nats->js, STREAM, &consumer, NULL, &code), "making the consumer");
}

static natsConnection *connect_to(int port, bool send_at_once)
{
    natsConnection *connection;
    natsOptions *options;
    char url[64];

    snprintf(url, sizeof(url), "nats://127.0.0.1:%d", port);
    check(natsOptions_Create(&options), "options");
    check(natsOptions_SetURL(options, url), "options");
    check(natsOptions_SetSendAsap(options, send_at_once), "options");
    check(natsConnection_Connect(&connection, options), "connecting");
    natsOptions_Destroy(options);
    return connection;
}

static void *nats_begin(const struct peer_options *options, size_t worker)
{
    struct nats *nats = calloc(1, sizeof(*nats));
    jsOptions js;

    if (!nats || !(nats->item = malloc(options->item_bytes)))
        err(1, "connection");
    nats->connection = connect_to(options->port, false);
    nats->pull = connect_to(options->port, true);
    jsOptions_Init(&js);
    js.PublishAsync.MaxPending = (int64_t)options->n_window;
    js.PublishAsync.ErrHandler = publish_failed;
    check(natsConnection_JetStream(&nats->js, nats->connection, &js), "JetStream");
    make_stream(nats);
    check(natsInbox_Create(&nats->inbox_name), "inbox");
    check(natsConnection_SubscribeSync(&nats->inbox, nats->pull, nats->inbox_name), "inbox");
    return nats;
}

static void nats_end(void *connection)
{
    struct nats *nats = connection;

    natsSubscription_Destroy(nats->inbox);
    natsInbox_Destroy(nats->inbox_name);
    jsCtx_Destroy(nats->js);
    natsConnection_Destroy(nats->pull);
    natsConnection_Destroy(nats->connection);
    free(nats->item);
    free(nats);
}

static void put_one(struct peer_job *job)
{
    struct nats *nats = job->connection;

    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();
        jsErrCode code = 0;

        peer_item(job->options, job->first + i, nats->item);
        check(js_Publish(NULL, nats->js, SUBJECT, nats->item, (int)job->options->item_bytes, NULL,
                         &code),
              "publish");
        peer_step(job, begin);
    }
}

static void put_pipelined(struct peer_job *job)
{
    struct nats *nats = job->connection;
    jsPubOptions patience;

    for (size_t i = 0; i < job->n_items; i++) {
        peer_item(job->options, job->first + i, nats->item);
        check(js_PublishAsync(nats->js, SUBJECT, nats->item, (int)job->options->item_bytes, NULL),
              "publish");
    }
    jsPubOptions_Init(&patience);
    patience.MaxWait = TIMEOUT_MS;
    check(js_PublishAsyncComplete(nats->js, &patience), "waiting for the acknowledgements");
}

static void acknowledge(struct nats *nats, natsMsg *item)
{
    const char *status = NULL;

    /* What is not an item, such as 'no messages', has a status and nowhere to acknowledge. */
    if (natsMsgHeader_Get(item, "Status", &status) == NATS_OK)
        errx(1, "NATS: status %s instead of an item", status);
    check(natsConnection_PublishString(nats->connection, natsMsg_GetReply(item), "+ACK"), "ack");
    natsMsg_Destroy(item);
}

/* Take n items with one request. */
static void fetch(struct nats *nats, size_t n)
{
    char request[64];

    snprintf(request, sizeof(request), "{\"batch\":%zu,\"expires\":%lld}", n,
             TIMEOUT_MS * 1000000LL);
    check(natsConnection_PublishRequestString(nats->pull, NEXT, nats->inbox_name, request),
          "fetch");
    for (size_t i = 0; i < n; i++) {
        natsMsg *item;

        check(natsSubscription_NextMsg(&item, nats->inbox, TIMEOUT_MS), "fetch");
        acknowledge(nats, item);
    }
}

static void take(struct peer_job *job, size_t at_once)
{
    struct nats *nats = job->connection;

    for (size_t done = 0, n; done < job->n_items; done += n) {
        int64_t begin = peer_now_ns();

        n = job->n_items - done < at_once ? job->n_items - done : at_once;
        fetch(nats, n);
        peer_step(job, begin);
    }
    /* The server reads one connection in order: with this answered it has all acknowledgements. */
    check(natsConnection_FlushTimeout(nats->connection, TIMEOUT_MS), "flush");
}

static void get_100(struct peer_job *job)
{
    take(job, PEER_BATCH);
}

static void work(struct peer_job *job)
{
    take(job, 1);
}

static const struct peer nats_peer = {
    .open = nats_begin,
    .close = nats_end,
    .fill = put_pipelined,
    .modes = {{"put-one", 0, put_one},
              {"put-pipelined", 0, put_pipelined},
              {"get-one", 1, work},
              {"get-100", 1, get_100},
              {"work", 1, work}},
};

int main(int argc, char **argv)
{
    return peer_main(&nats_peer, argc, argv);
}
