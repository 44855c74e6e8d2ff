/*
 * beanstalkd, over its text protocol: put, reserve, delete. Each put is answered when it is in the
 * server's log; with -f0 the log is on disk by then. It has no command for many items, so the
 * pipelined mode sends puts without waiting for each answer, which the protocol allows.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/peer.h"

#define COMMAND_MAX 128

struct beanstalk {
    int socket;
    FILE *answers;
    char *out; /* one put: command, item, line end */
    char *item;
};

static void *beanstalk_open(const struct peer_options *options, size_t worker)
{
    struct beanstalk *beanstalk = calloc(1, sizeof(*beanstalk));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options->port)};
    int on = 1;

    if (!beanstalk)
        err(1, "connection");
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    beanstalk->out = malloc(COMMAND_MAX + options->item_bytes + 2);
    beanstalk->item = malloc(options->item_bytes + 2);
    beanstalk->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!beanstalk->out || !beanstalk->item || beanstalk->socket < 0 ||
        connect(beanstalk->socket, (struct sockaddr *)&to, sizeof(to)) < 0)
        err(1, "beanstalkd");
    setsockopt(beanstalk->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    beanstalk->answers = fdopen(beanstalk->socket, "r");
    if (!beanstalk->answers)
        err(1, "beanstalkd");
    return beanstalk;
}

static void beanstalk_close(void *connection)
{
    struct beanstalk *beanstalk = connection;

    fclose(beanstalk->answers);
    free(beanstalk->out);
    free(beanstalk->item);
    free(beanstalk);
}

static void beanstalk_send(struct beanstalk *beanstalk, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(beanstalk->socket, data, len, MSG_NOSIGNAL);

        if (n < 0)
            err(1, "beanstalkd");
        data += n;
        len -= (size_t)n;
    }
}

/* The next answer's line, which must begin so; what comes after that. */
static const char *beanstalk_answer(struct beanstalk *beanstalk, const char *expected, char *line)
{
    if (!fgets(line, COMMAND_MAX, beanstalk->answers))
        errx(1, "beanstalkd hung up");
    if (strncmp(line, expected, strlen(expected)) != 0)
        errx(1, "beanstalkd: %s", line);
    return line + strlen(expected);
}

static void beanstalk_put(struct beanstalk *beanstalk, struct peer_job *job, size_t number)
{
    size_t bytes = job->options->item_bytes;
    size_t len = (size_t)snprintf(beanstalk->out, COMMAND_MAX, "put 0 0 60 %zu\r\n", bytes);

    peer_item(job->options, number, beanstalk->out + len);
    memcpy(beanstalk->out + len + bytes, "\r\n", 2);
    beanstalk_send(beanstalk, beanstalk->out, len + bytes + 2);
}

/* Gives the job's id. */
static unsigned long long beanstalk_reserve(struct beanstalk *beanstalk, size_t room)
{
    char line[COMMAND_MAX];
    unsigned long long id;
    size_t bytes;

    beanstalk_send(beanstalk, "reserve\r\n", 9);
    if (sscanf(beanstalk_answer(beanstalk, "RESERVED ", line), "%llu %zu", &id, &bytes) != 2 ||
        bytes > room || fread(beanstalk->item, 1, bytes + 2, beanstalk->answers) != bytes + 2)
        errx(1, "beanstalkd: a short item");
    return id;
}

static void beanstalk_delete(struct beanstalk *beanstalk, unsigned long long id)
{
    char line[COMMAND_MAX];
    int len = snprintf(line, sizeof(line), "delete %llu\r\n", id);

    beanstalk_send(beanstalk, line, (size_t)len);
    beanstalk_answer(beanstalk, "DELETED", line);
}

static void put_one(struct peer_job *job)
{
    char line[COMMAND_MAX];

    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();

        beanstalk_put(job->connection, job, job->first + i);
        beanstalk_answer(job->connection, "INSERTED", line);
        peer_step(job, begin);
    }
}

static void put_pipelined(struct peer_job *job)
{
    char line[COMMAND_MAX];
    size_t sent = 0;

    for (size_t done = 0; done < job->n_items; done++) {
        while (sent < job->n_items && sent - done < job->options->n_window)
            beanstalk_put(job->connection, job, job->first + sent++);
        beanstalk_answer(job->connection, "INSERTED", line);
    }
}

/* Reserve and delete, the only way to take a job; the same for bulk and for work. */
static void work(struct peer_job *job)
{
    for (size_t i = 0; i < job->n_items; i++) {
        int64_t begin = peer_now_ns();

        beanstalk_delete(job->connection,
                         beanstalk_reserve(job->connection, job->options->item_bytes));
        peer_step(job, begin);
    }
}

static const struct peer beanstalkd = {
    .open = beanstalk_open,
    .close = beanstalk_close,
    .fill = put_pipelined,
    .modes = {{"put-one", 0, put_one},
              {"put-pipelined", 0, put_pipelined},
              {"get-one", 1, work},
              {"work", 1, work}},
};

int main(int argc, char **argv)
{
    return peer_main(&beanstalkd, argc, argv);
}
