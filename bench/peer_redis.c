/*
 * Redis, a list as the queue: RPUSH puts, LPOP takes, and for work LMOVE to a list of the worker's
 * own and LREM when it is done, as its documentation has it for queues that must not lose items.
 * How durable a put is, is the server's: appendfsync everysec or always.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "bench/peer.h"

#define QUEUE "jobs"

struct redis {
    redisContext *context;
    char list[32]; /* what this worker is at work on */
    char *items;   /* PEER_BATCH of them */
};

static void *redis_open(const struct peer_options *options, size_t worker)
{
    struct redis *redis = calloc(1, sizeof(*redis));

    if (!redis)
        err(1, "connection");
    redis->items = malloc(PEER_BATCH * options->item_bytes);
    redis->context = redisConnect("127.0.0.1", options->port);
    if (!redis->items || !redis->context || redis->context->err)
        errx(1, "Redis: %s", redis->context ? redis->context->errstr : "no memory");
    snprintf(redis->list, sizeof(redis->list), "working-%zu", worker);
    return redis;
}

static void redis_close(void *connection)
{
    struct redis *redis = connection;

    redisFree(redis->context);
    free(redis->items);
    free(redis);
}

/* The next answer, which must be of this type. */
static redisReply *redis_reply(struct redis *redis, int type)
{
    void *answer = NULL;
    redisReply *reply;

    if (redisGetReply(redis->context, &answer) != REDIS_OK)
        errx(1, "Redis: %s", redis->context->errstr);
    reply = answer;
    if (reply->type != type)
        errx(1, "Redis: answer of type %d: %s", reply->type, reply->str ? reply->str : "");
    return reply;
}

static void redis_expect(struct redis *redis, int type)
{
    freeReplyObject(redis_reply(redis, type));
}

/* One RPUSH of n items, appended to what is to be sent. */
static void redis_push(struct redis *redis, struct peer_job *job, size_t first, size_t n)
{
    const char *words[2 + PEER_BATCH] = {"RPUSH", QUEUE};
    size_t lengths[2 + PEER_BATCH] = {5, sizeof(QUEUE) - 1};

    for (size_t i = 0; i < n; i++) {
        char *item = redis->items + i * job->options->item_bytes;

        peer_item(job->options, first + i, item);
        words[2 + i] = item;
        lengths[2 + i] = job->options->item_bytes;
    }
    if (redisAppendCommandArgv(redis->context, (int)(2 + n), words, lengths) != REDIS_OK)
        errx(1, "Redis: %s", redis->context->errstr);
}

static void put_one(struct peer_job *job)
{
    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();

        redis_push(job->connection, job, job->first + i, 1);
        redis_expect(job->connection, REDIS_REPLY_INTEGER);
        peer_step(job, begin);
    }
}

static void put_pipelined(struct peer_job *job)
{
    for (size_t done = 0; done < job->n_items;) {
        size_t left = job->n_items - done;
        size_t n = left < job->options->n_window ? left : job->options->n_window;

        for (size_t i = 0; i < n; i++)
            redis_push(job->connection, job, job->first + done + i, 1);
        for (size_t i = 0; i < n; i++)
            redis_expect(job->connection, REDIS_REPLY_INTEGER);
        done += n;
    }
}

static void put_100(struct peer_job *job)
{
    for (size_t done = 0; done < job->n_items;) {
        size_t left = job->n_items - done, n = left < PEER_BATCH ? left : PEER_BATCH;
        int64_t begin = peer_now_ns();

        redis_push(job->connection, job, job->first + done, n);
        redis_expect(job->connection, REDIS_REPLY_INTEGER);
        peer_step(job, begin);
        done += n;
    }
}

/* 100 values a command, and some commands under way at once. */
static void put_100_pipelined(struct peer_job *job)
{
    size_t sent = 0, n_waiting = 0, depth = 1 + job->options->n_window / PEER_BATCH;

    while (sent < job->n_items || n_waiting > 0) {
        size_t left = job->n_items - sent, n = left < PEER_BATCH ? left : PEER_BATCH;

        if (n > 0 && n_waiting < depth) {
            redis_push(job->connection, job, job->first + sent, n);
            sent += n;
            n_waiting++;
            continue;
        }
        redis_expect(job->connection, REDIS_REPLY_INTEGER);
        n_waiting--;
    }
}

static void get_one(struct peer_job *job)
{
    struct redis *redis = job->connection;

    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();

        redisAppendCommand(redis->context, "LPOP " QUEUE);
        redis_expect(redis, REDIS_REPLY_STRING);
        peer_step(job, begin);
    }
}

static void get_100(struct peer_job *job)
{
    struct redis *redis = job->connection;

    for (size_t done = 0; done < job->n_items;) {
        size_t left = job->n_items - done, n = left < PEER_BATCH ? left : PEER_BATCH;
        int64_t begin = peer_now_ns();
        redisReply *reply;

        redisAppendCommand(redis->context, "LPOP " QUEUE " %d", (int)n);
        reply = redis_reply(redis, REDIS_REPLY_ARRAY);
        if (reply->elements != n)
            errx(1, "Redis: %zu items instead of %zu", reply->elements, n);
        done += n;
        freeReplyObject(reply);
        peer_step(job, begin);
    }
}

static void work(struct peer_job *job)
{
    struct redis *redis = job->connection;

    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();
        redisReply *item, *removed;

        redisAppendCommand(redis->context, "LMOVE " QUEUE " %s LEFT RIGHT", redis->list);
        item = redis_reply(redis, REDIS_REPLY_STRING);
        redisAppendCommand(redis->context, "LREM %s 1 %b", redis->list, item->str,
                           (size_t)item->len);
        removed = redis_reply(redis, REDIS_REPLY_INTEGER);
        if (removed->integer != 1)
            errx(1, "Redis: LREM removed %lld", removed->integer);
        freeReplyObject(removed);
        freeReplyObject(item);
        peer_step(job, begin);
    }
}

static const struct peer redis_peer = {
    .open = redis_open,
    .close = redis_close,
    .fill = put_100_pipelined,
    .modes = {{"put-one", 0, put_one},
              {"put-pipelined", 0, put_pipelined},
              {"put-100", 0, put_100},
              {"put-100-pipelined", 0, put_100_pipelined},
              {"get-one", 1, get_one},
              {"get-100", 1, get_100},
              {"work", 1, work}},
};

int main(int argc, char **argv)
{
    return peer_main(&redis_peer, argc, argv);
}
