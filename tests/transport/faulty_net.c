#include "tests/transport/faulty_net.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "transport/wire.h"

#define RETRY_FIRST_US INT64_C(20000)
#define RETRY_MAX_US   INT64_C(320000)
#define LATE_US        200000
#define USUAL_US       1500

struct frame {
    struct frame *next;
    int64_t due_us;
    bool answer;
    struct net_client *client;
    uint64_t number;
    unsigned attempt;
    unsigned life; /* of the service: connections end with it, and what travels on them */
    size_t len;
    uint8_t bytes[];
};

/* A request of a mount without an answer. */
struct pending {
    struct pending *next;
    struct request *request;
    uint64_t number;
    unsigned attempt; /* as with NNG, only the last one's answer is taken */
    int64_t retry_us, pause_us;
};

/* One that the service works on. */
struct served {
    struct wire_request decoded;
    struct net *net;
    struct frame *frame;
    unsigned life;
};

/* What an answer keeps. */
struct kept {
    struct frame *frame;
    void *memory;
};

static int64_t now_us(void)
{
    return clock_system.mono_us(&clock_system);
}

static bool chance_locked(struct net *net, int percent)
{
    return rand_r(&net->seed) % 100 < percent;
}

static struct frame *frame_new(struct net_client *client, size_t len)
{
    struct frame *frame = malloc(sizeof(*frame) + len);

    cr_assert_not_null(frame);
    frame->client = client;
    frame->len = len;
    return frame;
}

static void insert_locked(struct net *net, struct frame *frame)
{
    struct frame **at = &net->frames;
    int us = chance_locked(net, net->late) ? LATE_US : USUAL_US;

    frame->due_us = now_us() + rand_r(&net->seed) % us;
    while (*at && (*at)->due_us <= frame->due_us)
        at = &(*at)->next;
    frame->next = *at;
    *at = frame;
}

/* Takes the frame. */
static void throw_locked(struct net *net, struct frame *frame)
{
    net->n_frames++;
    frame->life = net->life;
    if (frame->answer && chance_locked(net, net->twice)) {
        struct frame *copy = malloc(sizeof(*copy) + frame->len);

        memcpy(copy, frame, sizeof(*copy) + frame->len);
        net->n_twice++;
        insert_locked(net, copy);
    }
    if (chance_locked(net, net->lost)) {
        net->n_lost++;
        free(frame);
    } else {
        insert_locked(net, frame);
    }
    pthread_cond_broadcast(&net->changed);
}

/* ---- the mount's end ---- */

static void send_once_locked(struct net_client *client, struct pending *pending)
{
    struct frame *frame = frame_new(client, wire_request_size(pending->request));

    wire_request_encode(pending->request, frame->bytes);
    frame->answer = false;
    frame->number = pending->number;
    frame->attempt = pending->attempt;
    pending->retry_us = now_us() + pending->pause_us;
    pending->pause_us = time_min(pending->pause_us * 2, RETRY_MAX_US);
    if (pending->request->kind == REQUEST_WATCH)
        pending->retry_us += pending->request->in.watch.wait_us;
    throw_locked(client->net, frame);
}

/* A stream of bytes brings nothing twice: it is the client that sends again, and says so, too
 * early.
 */
static void send_locked(struct net_client *client, struct pending *pending)
{
    send_once_locked(client, pending);
    if (!chance_locked(client->net, client->net->twice))
        return;
    client->net->n_twice++;
    pending->attempt++;
    pending->request->n_retries++;
    send_once_locked(client, pending);
}

static uint64_t lowest_locked(const struct net_client *client)
{
    uint64_t lowest = UINT64_MAX;

    for (const struct pending *p = client->pending; p; p = p->next)
        lowest = p->number < lowest ? p->number : lowest;
    return lowest;
}

static void answer_shutdown(struct request *request)
{
    request->status = -ESHUTDOWN;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->reply_free = NULL;
    request->done(request);
}

static void client_submit(struct backend *backend, struct request *request)
{
    struct net_client *client = (struct net_client *)backend;
    struct pending *pending = calloc(1, sizeof(*pending));
    bool stopped;

    pending->request = request;
    pending->pause_us = RETRY_FIRST_US;
    pthread_mutex_lock(&client->net->lock);
    stopped = client->stopped;
    if (!stopped) {
        request->number = ++client->last_number;
        request->n_retries = 0;
        pending->number = request->number;
        pending->next = client->pending;
        client->pending = pending;
        request->answered_below = lowest_locked(client);
        send_locked(client, pending);
    }
    pthread_mutex_unlock(&client->net->lock);
    if (stopped) {
        free(pending);
        answer_shutdown(request);
    }
}

static void kept_free(struct request *request)
{
    struct kept *kept = request->reply_memory;

    free(kept->memory);
    free(kept->frame);
    free(kept);
}

/* Takes the frame. False: the service works on a copy, whose answer will come. */
static bool decode(struct frame *frame, struct request *request)
{
    struct kept *kept = calloc(1, sizeof(*kept));

    kept->frame = frame;
    cr_assert_eq(wire_reply_decode(frame->bytes, frame->len, request, &kept->memory), 0);
    request->reply_memory = kept;
    request->reply_free = kept_free;
    if (request->status != -ETIMEDOUT)
        return true;
    request_release(request);
    return false;
}

/* The request that the frame answers, or NULL; takes the frame. */
static struct request *answered_locked(struct net_client *client, struct frame *frame)
{
    for (struct pending **at = &client->pending; *at; at = &(*at)->next) {
        struct pending *pending = *at;
        struct request *request = pending->request;

        if (pending->number != frame->number || pending->attempt != frame->attempt)
            continue;
        if (!decode(frame, request))
            return NULL;
        *at = pending->next;
        free(pending);
        return request;
    }
    free(frame);
    return NULL;
}

static void take_answer(struct net *net, struct frame *frame)
{
    struct request *request;

    pthread_mutex_lock(&net->lock);
    request = answered_locked(frame->client, frame);
    pthread_mutex_unlock(&net->lock);
    if (request)
        request->done(request);
}

static void retry_locked(struct net *net, int64_t now, int64_t *next_us)
{
    for (size_t i = 0; i < net->n_clients; i++)
        for (struct pending *p = net->clients[i]->pending; p; p = p->next) {
            if (p->retry_us <= now) {
                p->attempt++;
                p->request->n_retries++;
                net->n_retries++;
                send_locked(net->clients[i], p);
            }
            *next_us = time_min(*next_us, p->retry_us);
        }
}

/* ---- the service's end ---- */

static void served_done(struct request *request)
{
    struct served *served = request->owner;
    struct net *net = served->net;
    struct frame *answer = frame_new(served->frame->client, wire_reply_size(request));

    wire_reply_encode(request, answer->bytes, false);
    answer->answer = true;
    answer->number = served->frame->number;
    answer->attempt = served->frame->attempt;
    request_release(request);
    wire_request_fini(&served->decoded);
    pthread_mutex_lock(&net->lock);
    if (served->life == net->life)
        throw_locked(net, answer);
    else
        free(answer);
    net->n_served--;
    pthread_cond_broadcast(&net->changed);
    pthread_mutex_unlock(&net->lock);
    free(served->frame);
    free(served);
}

static void take_request(struct net *net, struct frame *frame)
{
    struct served *served;
    struct backend *service;
    unsigned life;

    pthread_mutex_lock(&net->lock);
    life = net->life;
    service = frame->life == life ? net->service : NULL;
    net->n_submitting += service != NULL;
    net->n_served += service != NULL;
    pthread_mutex_unlock(&net->lock);
    if (!service) {
        free(frame);
        return;
    }
    served = calloc(1, sizeof(*served));
    served->net = net;
    served->frame = frame;
    served->life = life;
    cr_assert_eq(wire_request_decode(frame->bytes, frame->len, &served->decoded), 0);
    served->decoded.request.done = served_done;
    served->decoded.request.owner = served;
    service->submit(service, &served->decoded.request);
    pthread_mutex_lock(&net->lock);
    net->n_submitting--;
    pthread_cond_broadcast(&net->changed);
    pthread_mutex_unlock(&net->lock);
}

void net_service(struct net *net, struct backend *service)
{
    pthread_mutex_lock(&net->lock);
    net->service = service;
    if (!service)
        net->life++;
    while (!service && net->n_submitting > 0)
        pthread_cond_wait(&net->changed, &net->lock);
    pthread_mutex_unlock(&net->lock);
}

void net_await_served(struct net *net)
{
    pthread_mutex_lock(&net->lock);
    while (net->n_served > 0)
        pthread_cond_wait(&net->changed, &net->lock);
    pthread_mutex_unlock(&net->lock);
}

/* ---- the wire ---- */

static struct frame *due_locked(struct net *net)
{
    for (;;) {
        int64_t now = now_us(), next_us = now + 1000000;
        struct frame *frame = net->frames;
        struct timespec until;

        if (net->ending)
            return NULL;
        if (frame && frame->due_us <= now) {
            net->frames = frame->next;
            return frame;
        }
        retry_locked(net, now, &next_us);
        if (net->frames)
            next_us = time_min(next_us, net->frames->due_us);
        until.tv_sec = next_us / 1000000;
        until.tv_nsec = next_us % 1000000 * 1000;
        pthread_cond_timedwait(&net->changed, &net->lock, &until);
    }
}

static void *net_run(void *arg)
{
    struct net *net = arg;
    struct frame *frame;

    for (;;) {
        pthread_mutex_lock(&net->lock);
        frame = due_locked(net);
        pthread_mutex_unlock(&net->lock);
        if (!frame)
            return NULL;
        if (frame->answer)
            take_answer(net, frame);
        else
            take_request(net, frame);
    }
}

void net_init(struct net *net, unsigned seed)
{
    pthread_condattr_t monotonic;

    memset(net, 0, sizeof(*net));
    net->seed = seed;
    pthread_mutex_init(&net->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&net->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    cr_assert_eq(pthread_create(&net->thread, NULL, net_run, net), 0);
}

void net_faults(struct net *net, int lost, int twice, int late)
{
    pthread_mutex_lock(&net->lock);
    net->lost = lost;
    net->twice = twice;
    net->late = late;
    pthread_mutex_unlock(&net->lock);
}

void net_client_init(struct net_client *client, struct net *net)
{
    *client = (struct net_client){.backend = {client_submit}, .net = net};
    pthread_mutex_lock(&net->lock);
    cr_assert_lt(net->n_clients, 4);
    net->clients[net->n_clients++] = client;
    pthread_mutex_unlock(&net->lock);
}

void net_client_stop(struct net_client *client)
{
    struct pending *pending, *next;

    pthread_mutex_lock(&client->net->lock);
    client->stopped = true;
    pending = client->pending;
    client->pending = NULL;
    pthread_mutex_unlock(&client->net->lock);
    for (; pending; pending = next) {
        next = pending->next;
        answer_shutdown(pending->request);
        free(pending);
    }
}

void net_fini(struct net *net)
{
    struct frame *frame;

    pthread_mutex_lock(&net->lock);
    net->ending = true;
    pthread_cond_broadcast(&net->changed);
    pthread_mutex_unlock(&net->lock);
    pthread_join(net->thread, NULL);
    while ((frame = net->frames)) {
        net->frames = frame->next;
        free(frame);
    }
    pthread_cond_destroy(&net->changed);
    pthread_mutex_destroy(&net->lock);
}
