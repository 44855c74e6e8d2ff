/*
 * A request that has come in part lies in memory of NNG's, which tells nothing of it before it is
 * whole: a peer that sends all of 64 MiB but the last byte holds as much, on each connection. So
 * what the process has is measured, while there are connections: where it has grown by more than
 * what is known of and SERVER_PARTS_MAX, those that have sent nothing whole for a second are
 * closed, first those that never did, for a tenth of one. A client of good will connects again, and
 * repeats.
 *
 * It may have grown by something else. Then closing does not help, and what is there is taken for
 * the measure from then on.
 */
#include <stdio.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/refused.h"
#include "transport/error.h"
#include "transport/server_internal.h"

#define MEASURE_MS 200
#define QUIET_US   INT64_C(1000000) /* nothing whole for so long may be a part */
#define FIRST_US   INT64_C(100000)  /* the same, since it came: a client speaks at once */
#define CLOSED_MAX 256              /* at once */
#define TELL_US    INT64_C(60000000)

/* Memory of the process that is no file's, in bytes; 0: it cannot be told. */
static int64_t resident(void)
{
    long long all, files;
    FILE *statm = fopen("/proc/self/statm", "re");
    int n = 0;

    if (!statm)
        return 0;
    n = fscanf(statm, "%*d %lld %lld", &all, &files);
    fclose(statm);
    return n == 2 ? (all - files) * sysconf(_SC_PAGESIZE) : 0;
}

/* Bytes beyond what is known of and may be. */
static int64_t excess_locked(struct server *server, int64_t bytes)
{
    int64_t known = (int64_t)(server->held_bytes + server->unsent_bytes);

    if (server->usual_bytes == 0 || bytes < server->usual_bytes)
        server->usual_bytes = bytes;
    return bytes - server->usual_bytes - known - (int64_t)SERVER_PARTS_MAX;
}

/* Those that may have sent a part; how many, of whom the ids are written. */
static size_t suspects_locked(struct server *server, bool spoke, int64_t now_us, nng_pipe *pipes)
{
    struct server_peer *peer;
    size_t n = 0;

    TAILQ_FOREACH (peer, &server->present, link) {
        if (n == CLOSED_MAX)
            break;
        if (peer->closing || peer->spoke != spoke || peer->n_requests > 0 ||
            now_us - peer->heard_us < (spoke ? QUIET_US : FIRST_US))
            continue;
        peer->closing = true;
        pipes[n++].id = (uint32_t)peer->pipe;
    }
    return n;
}

static void tell(struct server *server, size_t n, int64_t bytes)
{
    int64_t now_us = clock_system.mono_us(&clock_system);

    for (size_t i = 0; i < n; i++)
        refused_add();
    if (server->closed_us && now_us - server->closed_us < TELL_US)
        return;
    server->closed_us = now_us;
    log_warning(
        "%zu connections that sent nothing whole for a while are closed: %lld MiB of parts of "
        "requests are in memory",
        n, (long long)((bytes + (int64_t)SERVER_PARTS_MAX) >> 20));
}

static void measure(struct server *server)
{
    nng_pipe pipes[CLOSED_MAX];
    int64_t now_us = clock_system.mono_us(&clock_system), excess, bytes = resident();
    size_t n = 0;

    pthread_mutex_lock(&server->lock);
    excess = excess_locked(server, bytes);
    if (excess > 0) {
        n = suspects_locked(server, false, now_us, pipes);
        if (n == 0)
            n = suspects_locked(server, true, now_us, pipes);
        if (n == 0)
            server->usual_bytes += excess;
    }
    pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < n; i++)
        nng_pipe_close(pipes[i]);
    if (n > 0)
        tell(server, n, excess);
}

static void measured(void *arg)
{
    struct server *server = arg;
    bool alone;

    if (nng_aio_result(server->memory_aio) != 0)
        return; /* stopped */
    pthread_mutex_lock(&server->lock);
    alone = server->n_peers == 0;
    server->measures = !alone;
    pthread_mutex_unlock(&server->lock);
    if (alone)
        return;
    measure(server);
    nng_sleep_aio(MEASURE_MS, server->memory_aio);
}

int memory_init(struct server *server)
{
    server->usual_bytes = resident();
    return error_from_nng(nng_aio_alloc(&server->memory_aio, measured, server));
}

void memory_watch(struct server *server)
{
    bool begins;

    pthread_mutex_lock(&server->lock);
    begins = !server->measures;
    server->measures = true;
    pthread_mutex_unlock(&server->lock);
    if (begins)
        nng_sleep_aio(MEASURE_MS, server->memory_aio);
}

void memory_stop(struct server *server)
{
    nng_aio_stop(server->memory_aio);
}

void memory_fini(struct server *server)
{
    nng_aio_free(server->memory_aio);
}
