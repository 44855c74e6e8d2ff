#include "transport/socket.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <semaphore.h>

#define CLOSE_S 2

/* Of the thread that closes and of the one that waits for it; the last to go frees it. */
struct closing {
    nng_socket socket;
    sem_t closed;
    atomic_int n_users;
};

static void closing_leave(struct closing *closing)
{
    if (atomic_fetch_sub(&closing->n_users, 1) > 1)
        return;
    sem_destroy(&closing->closed);
    free(closing);
}

static void *close_run(void *arg)
{
    struct closing *closing = arg;

    nng_close(closing->socket);
    sem_post(&closing->closed);
    closing_leave(closing);
    return NULL;
}

static int closing_await(struct closing *closing)
{
    struct timespec deadline;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += CLOSE_S;
    do
        rc = sem_clockwait(&closing->closed, CLOCK_MONOTONIC, &deadline);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -ETIMEDOUT : 0;
}

int socket_close(nng_socket socket)
{
    struct closing *closing = calloc(1, sizeof(*closing));
    pthread_t thread;
    int rc;

    if (!closing)
        goto plain;
    closing->socket = socket;
    closing->n_users = 2;
    sem_init(&closing->closed, 0, 0);
    if (pthread_create(&thread, NULL, close_run, closing) != 0) {
        sem_destroy(&closing->closed);
        free(closing);
        goto plain;
    }
    pthread_detach(thread);
    rc = closing_await(closing);
    closing_leave(closing);
    return rc;
plain:
    nng_close(socket);
    return 0;
}
