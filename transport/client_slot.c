/*
 * Requests get a number and a slot, or stand in line for one, and are sent until they are answered.
 * Runs on NNG's threads: nothing here blocks, and no lock is held when something of NNG or of the
 * request's owner is called.
 */
#include "transport/client_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "transport/error.h"
#include "transport/wire.h"

/* ---- in line, and into a slot ---- */

void lane_init(struct lane *lane)
{
    lane->idle = NULL;
    lane->first = NULL;
    lane->last = &lane->first;
}

static void lane_append(struct lane *lane, struct request *request)
{
    request->next = NULL;
    *lane->last = request;
    lane->last = &request->next;
}

struct request *client_pop_locked(struct lane *lane)
{
    struct request *request = lane->first;

    if (!request)
        return NULL;
    lane->first = request->next;
    if (!lane->first)
        lane->last = &lane->first;
    request->next = NULL;
    return request;
}

/* The lowest number that has no answer yet, watches apart: the service keeps no answers to these,
 * and one that is parked would make it keep those to all that come after it. */
static uint64_t lowest_locked(const struct client *client)
{
    const struct request *waiting = client->lanes[0].first;
    uint64_t lowest = waiting ? waiting->number : client->last_number + 1;

    for (size_t i = 0; i < CLIENT_SLOTS; i++)
        lowest = client->busy[i] < lowest ? client->busy[i] : lowest;
    return lowest;
}

static void slot_take_locked(struct slot *slot, struct request *request)
{
    struct client *client = slot->client;

    slot->request = request;
    request->n_retries = 0;
    backoff_reset(&slot->backoff);
    client->busy[slot->index] = request->number;
    request->answered_below = lowest_locked(client);
    client->n_starting++;
    client->n_flying += slot->index < CLIENT_SLOTS;
}

static bool begin_unless(struct client *client, const bool *refused)
{
    bool go;

    pthread_mutex_lock(&client->lock);
    go = !*refused;
    if (go)
        client->n_starting++;
    pthread_mutex_unlock(&client->lock);
    return go;
}

/* False: stopping, start nothing. */
static bool client_begin(struct client *client)
{
    return begin_unless(client, &client->stopping);
}

/* The same for receiving: false when closing. */
static bool client_begin_receive(struct client *client)
{
    return begin_unless(client, &client->closing);
}

/* What slot_send() sent has come to an end. */
static void client_flew(struct slot *slot)
{
    struct client *client = slot->client;

    if (slot->index >= CLIENT_SLOTS)
        return;
    pthread_mutex_lock(&client->lock);
    client->n_flying--;
    if (client->stopping && client->n_flying == 0)
        pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

static void client_end(struct client *client)
{
    pthread_mutex_lock(&client->lock);
    client->n_starting--;
    if (client->stopping && client->n_starting == 0)
        pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

void client_fail(struct request *request, int status)
{
    request->status = status;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->reply_free = NULL;
    request->reply_memory = NULL;
    request->done(request);
}

/* Give an empty slot its next request, or to the idle ones. */
static bool slot_refill_locked(struct slot *slot)
{
    struct client *client = slot->client;
    struct request *next = client->stopping ? NULL : client_pop_locked(slot->lane);

    client->busy[slot->index] = UINT64_MAX;
    slot->request = NULL;
    if (next) {
        slot_take_locked(slot, next);
        return true;
    }
    slot->next = slot->lane->idle;
    slot->lane->idle = slot;
    return false;
}

static void slot_send(struct slot *slot);

/* The request of `slot` is done, its results set: tell its owner; the slot goes on with another. */
static void client_finish(struct slot *slot)
{
    struct client *client = slot->client;
    struct request *request = slot->request;
    bool more;

    pthread_mutex_lock(&client->lock);
    more = slot_refill_locked(slot);
    pthread_mutex_unlock(&client->lock);
    if (more) {
        slot_send(slot);
        client_end(client);
    }
    request->done(request);
}

/* ---- a slot ---- */

/* What an answer keeps until request_release(). */
struct answer {
    nng_msg *msg; /* NULL: nothing points into it */
    void *array;
};

static void answer_free(struct request *request)
{
    struct answer *answer = request->reply_memory;

    if (answer->msg)
        nng_msg_free(answer->msg);
    free(answer->array);
    free(answer);
}

/* Nothing may be touched after an operation has started: its callback may have run by then. */

static void slot_pause(struct slot *slot)
{
    nng_sleep_aio((nng_duration)(backoff_next(&slot->backoff) / 1000), slot->pause_aio);
}

/* How long the request may wait for a connection. */
static nng_duration send_timeout_ms(const struct slot *slot)
{
    const struct client *client = slot->client;
    int64_t left_us = slot->request->give_up_us - client->clock->mono_us(client->clock);

    if (slot->request->give_up_us == 0 || left_us / 1000 >= INT_MAX)
        return NNG_DURATION_INFINITE;
    return left_us <= 0 ? NNG_DURATION_ZERO : (nng_duration)(left_us / 1000 + 1);
}

/* True: the request's time is over, and so it has been finished. */
static bool slot_gives_up(struct slot *slot)
{
    struct request *request = slot->request;

    if (send_timeout_ms(slot) != NNG_DURATION_ZERO)
        return false;
    request->status = -ETIMEDOUT;
    request->reply_free = NULL;
    request->reply_memory = NULL;
    memset(&request->state, 0, sizeof(request->state));
    client_finish(slot);
    return true;
}

/* The same bytes again after a while. */
static void slot_retry_later(struct slot *slot)
{
    struct client *client = slot->client;

    if (!client_begin(client))
        return;
    slot_pause(slot);
    client_end(client);
}

/* The same bytes again; NNG holds them until there is a connection. */
static void slot_retry(struct slot *slot)
{
    struct client *client = slot->client;

    if (slot_gives_up(slot) || !client_begin(client))
        return;
    pthread_mutex_lock(&client->lock);
    client->retries++;
    client->n_flying += slot->index < CLIENT_SLOTS;
    pthread_mutex_unlock(&client->lock);
    slot->request->n_retries++;
    slot_send(slot);
    client_end(client);
}

static nng_duration answer_timeout_ms(const struct slot *slot)
{
    const struct request *request = slot->request;
    int64_t us = slot->client->answer_timeout_us;

    if (request->kind == REQUEST_WATCH)
        us = time_after(us, request->in.watch.wait_us);
    if (us == TIME_FOREVER)
        return NNG_DURATION_INFINITE;
    return us / 1000 >= INT_MAX ? INT_MAX : (nng_duration)(us / 1000 + 1);
}

/* A message that was not sent is ours again. */
static void slot_take_back(struct slot *slot)
{
    nng_msg *msg = nng_aio_get_msg(slot->send_aio);

    nng_aio_set_msg(slot->send_aio, NULL);
    if (msg)
        nng_msg_free(msg);
}

/* The request has been handed to a connection: wait for the answer. */
static void slot_receive(struct slot *slot)
{
    struct client *client = slot->client;

    if (!client_begin_receive(client))
        return;
    slot->handed_us = client->clock->mono_us(client->clock);
    nng_aio_set_timeout(slot->receive_aio, answer_timeout_ms(slot));
    nng_ctx_recv(slot->ctx, slot->receive_aio);
    client_end(client);
}

static void slot_sent(void *arg)
{
    struct slot *slot = arg;

    if (nng_aio_result(slot->send_aio) == 0) {
        slot_receive(slot);
        return;
    }
    slot_take_back(slot);
    client_flew(slot);
    slot_retry_later(slot);
}

/* Hand the message to a connection that has nothing else to do. False: there is none, the message
 * is the caller's. An aio without a callback that may not wait has ended when the call returns. */
static bool slot_send_now(struct slot *slot, nng_msg *msg)
{
    nng_aio_set_msg(slot->now_aio, msg);
    nng_ctx_send(slot->ctx, slot->now_aio);
    if (nng_aio_result(slot->now_aio) == 0)
        return true;
    nng_aio_set_msg(slot->now_aio, NULL);
    return false;
}

/* Within client_begin() and client_end(). */
static void slot_send(struct slot *slot)
{
    size_t size = wire_request_size(slot->request);
    nng_msg *msg;

    slot->request->sent_us = slot->client->clock->mono_us(slot->client->clock);
    if (nng_msg_alloc(&msg, size) != 0) {
        client_flew(slot);
        slot_pause(slot);
        return;
    }
    wire_request_encode(slot->request, nng_msg_body(msg));
    if (slot_send_now(slot, msg)) {
        slot_receive(slot);
        return;
    }
    nng_aio_set_timeout(slot->send_aio, send_timeout_ms(slot));
    nng_aio_set_msg(slot->send_aio, msg);
    nng_ctx_send(slot->ctx, slot->send_aio);
}

/* Let the request keep what its results point to. 0 or -ENOMEM; takes msg and array. */
static int answer_keep(struct request *request, nng_msg *msg, void *array)
{
    struct answer *answer = NULL;
    bool lends = wire_reply_blob(request).len > 0;

    request->reply_free = NULL;
    request->reply_memory = NULL;
    if (lends || array) {
        answer = malloc(sizeof(*answer));
        if (!answer) {
            nng_msg_free(msg);
            free(array);
            return -ENOMEM;
        }
        answer->msg = lends ? msg : NULL;
        answer->array = array;
        request->reply_free = answer_free;
        request->reply_memory = answer;
    }
    if (!lends)
        nng_msg_free(msg);
    return 0;
}

/* NNG may have kept the request until there was a connection: it was not sent before that. */
static void note_sent(struct slot *slot, nng_msg *answer)
{
    int64_t since_us = link_since(slot->client, nng_pipe_id(nng_msg_get_pipe(answer)));

    if (since_us > slot->request->sent_us)
        slot->request->sent_us = since_us;
}

/* An answer of this version that can't be understood stays one: sending again would change nothing.
 */
static void answer_refused(struct slot *slot, nng_msg *msg)
{
    link_note(slot->client, "the answer makes no sense");
    nng_msg_free(msg);
    slot->request->status = -EPROTO;
    slot->request->reply_free = NULL;
    slot->request->reply_memory = NULL;
    client_finish(slot);
}

/* Whoever is there does not speak this version, or anything of ours: the service is away. */
static void answer_foreign(struct slot *slot, int rc, nng_msg *msg)
{
    link_foreign(slot->client, rc == WIRE_OTHER_VERSION ? wire_version(nng_msg_body(msg)) : 0);
    nng_msg_free(msg);
    slot_retry_later(slot);
}

/* The service ends, or works on the same request, sent before or since: the answer comes later. */
static bool is_no_answer(int status)
{
    return status == -ESHUTDOWN || status == -ETIMEDOUT;
}

static void slot_answered(struct slot *slot, nng_msg *msg)
{
    struct client *client = slot->client;
    struct request *request = slot->request;
    void *array;
    int rc = wire_reply_decode(nng_msg_body(msg), nng_msg_len(msg), request, &array);

    if (rc > 0) {
        answer_foreign(slot, rc, msg);
        return;
    }
    atomic_store(&client->heard_us, client->clock->mono_us(client->clock));
    link_heard(client);
    note_sent(slot, msg);
    if (rc == -EPROTO) {
        answer_refused(slot, msg);
        return;
    }
    if (rc == 0 && is_no_answer(request->status)) {
        nng_msg_free(msg);
        free(array);
        if (request->status == -ESHUTDOWN)
            link_ending(client);
        slot_retry_later(slot);
        return;
    }
    if (rc == 0)
        rc = answer_keep(request, msg, array);
    else
        nng_msg_free(msg);
    if (rc < 0)
        slot_retry_later(slot);
    else
        client_finish(slot);
}

/* Where others were answered since, the connection is good and only this request is slow. */
static void slot_unanswered(struct slot *slot)
{
    struct client *client = slot->client;

    if (atomic_load(&client->heard_us) < slot->handed_us)
        link_suspect(client);
    slot_retry_later(slot);
}

static void slot_received(void *arg)
{
    struct slot *slot = arg;
    nng_msg *msg;

    client_flew(slot);
    switch (nng_aio_result(slot->receive_aio)) {
    case 0:
        msg = nng_aio_get_msg(slot->receive_aio);
        nng_aio_set_msg(slot->receive_aio, NULL);
        slot_answered(slot, msg);
        break;
    case NNG_ECONNRESET:
        slot_retry(slot);
        break;
    case NNG_ETIMEDOUT:
        slot_unanswered(slot);
        break;
    default:
        slot_retry_later(slot);
        break;
    }
}

static void slot_paused(void *arg)
{
    slot_retry(arg);
}

/* ---- from outside ---- */

void client_submit(struct backend *backend, struct request *request)
{
    struct client *client = (struct client *)backend;
    struct lane *lane = &client->lanes[request->kind == REQUEST_WATCH];
    struct slot *slot = NULL;
    bool stopping;

    pthread_mutex_lock(&client->lock);
    stopping = client->stopping;
    if (!stopping)
        request->number = ++client->last_number;
    if (!stopping && lane->idle) {
        slot = lane->idle;
        lane->idle = slot->next;
        slot_take_locked(slot, request);
    } else if (!stopping) {
        lane_append(lane, request);
    }
    pthread_mutex_unlock(&client->lock);

    if (stopping)
        client_fail(request, -ESHUTDOWN);
    if (slot) {
        slot_send(slot);
        client_end(client);
    }
}

void slots_begin(struct client *client)
{
    for (size_t i = CLIENT_ALL_SLOTS; i-- > 0;) {
        bool more;

        pthread_mutex_lock(&client->lock);
        more = slot_refill_locked(&client->slots[i]);
        pthread_mutex_unlock(&client->lock);
        if (more) {
            slot_send(&client->slots[i]);
            client_end(client);
        }
    }
}

int slot_open(struct slot *slot)
{
    int rv = nng_ctx_open(&slot->ctx, slot->client->socket);

    slot->opened = rv == 0;
    if (rv == 0)
        rv = nng_aio_alloc(&slot->now_aio, NULL, NULL);
    if (rv == 0)
        nng_aio_set_timeout(slot->now_aio, NNG_DURATION_ZERO);
    if (rv == 0)
        rv = nng_aio_alloc(&slot->send_aio, slot_sent, slot);
    if (rv == 0)
        rv = nng_aio_alloc(&slot->receive_aio, slot_received, slot);
    if (rv == 0)
        rv = nng_aio_alloc(&slot->pause_aio, slot_paused, slot);
    return error_from_nng(rv);
}

void slot_stop_sending(struct slot *slot)
{
    if (slot->send_aio)
        nng_aio_stop(slot->send_aio);
}

void slot_stop(struct slot *slot)
{
    nng_aio *const aios[] = {slot->now_aio, slot->send_aio, slot->receive_aio, slot->pause_aio};

    for (size_t i = 0; i < 4; i++)
        if (aios[i])
            nng_aio_stop(aios[i]);
    if (slot->opened)
        nng_ctx_close(slot->ctx);
}

void slot_close(struct slot *slot)
{
    nng_aio *const aios[] = {slot->now_aio, slot->send_aio, slot->receive_aio, slot->pause_aio};

    for (size_t i = 0; i < 4; i++)
        if (aios[i])
            nng_aio_free(aios[i]);
}
