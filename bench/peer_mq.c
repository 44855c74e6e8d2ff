/*
 * POSIX message queues: mq_send and mq_receive in the kernel's memory, nothing durable. A queue is
 * short: 65,536 messages with CAP_SYS_RESOURCE, else 10, of 8 KiB at most, as the kernel's defaults
 * are. So it is filled and emptied in turns, and only the turn that is measured is timed.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/peer.h"

#define DEPTH_MAX   65536
#define DEPTH_USER  10
#define QUEUE_BYTES (64u << 20)

struct mq {
    mqd_t queue;
    size_t depth;
    char *item;
};

static mqd_t mq_make(const char *name, size_t depth, size_t item_bytes)
{
    struct mq_attr attr = {.mq_maxmsg = (long)depth, .mq_msgsize = (long)item_bytes};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);

    if (queue != (mqd_t)-1)
        mq_unlink(name);
    return queue;
}

static void *mq_begin(const struct peer_options *options, size_t worker)
{
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    struct mq *mq = calloc(1, sizeof(*mq));
    char name[64];

    if (!mq)
        err(1, "queue");
    if (options->n_workers > 1)
        errx(2, "one worker only: a queue here lives in one process");
    snprintf(name, sizeof(name), "/queuefs-bench-%ld-%zu", (long)getpid(), worker);
    setrlimit(RLIMIT_MSGQUEUE, &none);
    mq->depth = QUEUE_BYTES / options->item_bytes;
    mq->depth = mq->depth < DEPTH_USER ? DEPTH_USER : mq->depth;
    mq->depth = mq->depth > DEPTH_MAX ? DEPTH_MAX : mq->depth;
    mq->item = malloc(options->item_bytes);
    mq->queue = mq_make(name, mq->depth, options->item_bytes);
    if (mq->queue == (mqd_t)-1 && (errno == EINVAL || errno == EMFILE)) {
        mq->depth = DEPTH_USER;
        mq->queue = mq_make(name, mq->depth, options->item_bytes);
    }
    if (!mq->item || mq->queue == (mqd_t)-1)
        err(1, "mq_open");
    return mq;
}

static void mq_end(void *connection)
{
    struct mq *mq = connection;

    mq_close(mq->queue);
    free(mq->item);
    free(mq);
}

static void send_items(struct peer_job *job, size_t first, size_t n)
{
    struct mq *mq = job->connection;

    for (size_t i = 0; i < n; i++) {
        peer_item(job->options, first + i, mq->item);
        if (mq_send(mq->queue, mq->item, job->options->item_bytes, 0) < 0)
            err(1, "mq_send");
    }
}

static void receive_items(struct peer_job *job, size_t n)
{
    struct mq *mq = job->connection;

    for (size_t i = 0; i < n; i++) {
        if (mq_receive(mq->queue, mq->item, job->options->item_bytes, NULL) < 0)
            err(1, "mq_receive");
    }
}

static size_t turn_size(const struct peer_job *job, size_t done)
{
    const struct mq *mq = job->connection;
    size_t left = job->n_items - done;

    return left < mq->depth ? left : mq->depth;
}

static void put_one(struct peer_job *job)
{
    for (size_t done = 0, n; done < job->n_items; done += n) {
        int64_t begin;

        n = turn_size(job, done);
        for (size_t i = 0; i < n; i++) {
            begin = peer_now_ns();
            send_items(job, job->first + done + i, 1);
            peer_step(job, begin);
        }
        begin = peer_now_ns();
        receive_items(job, n);
        job->untimed_ns += peer_now_ns() - begin;
    }
}

static void get_one(struct peer_job *job)
{
    for (size_t done = 0, n; done < job->n_items; done += n) {
        int64_t begin = peer_now_ns();

        n = turn_size(job, done);
        send_items(job, job->first + done, n);
        job->untimed_ns += peer_now_ns() - begin;
        for (size_t i = 0; i < n; i++) {
            begin = peer_now_ns();
            receive_items(job, 1);
            peer_step(job, begin);
        }
    }
}

static void fill_nothing(struct peer_job *job)
{
    if (job->n_items > 0)
        errx(2, "--fill: a message queue ends with its process");
}

static const struct peer mq_peer = {
    .open = mq_begin,
    .close = mq_end,
    .fill = fill_nothing,
    .modes = {{"put-one", 0, put_one}, {"get-one", 0, get_one}},
};

int main(int argc, char **argv)
{
    return peer_main(&mq_peer, argc, argv);
}
