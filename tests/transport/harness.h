/*
 * For the transport's tests: a backend that answers as told, a call that can be waited for, and a
 * client and a server with little ceremony. Waits are bounded and fail the test.
 */
#ifndef QUEUEFS_TESTS_TRANSPORT_HARNESS_H
#define QUEUEFS_TESTS_TRANSPORT_HARNESS_H

#include <pthread.h>
#include <semaphore.h>

#include "core/request.h"
#include "transport/client.h"
#include "transport/server.h"

/* ---- a backend ---- */

enum fake_mode {
    FAKE_AT_ONCE, /* answers within submit */
    FAKE_LATER,   /* answers on a thread of its own, in no order */
    FAKE_NEVER    /* keeps what comes until fake_answer() or fake_stop() */
};

struct fake {
    struct backend backend;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum fake_mode mode;
    enum fake_mode watch_mode;                                 /* for WATCH */
    int (*answer)(struct fake *fake, struct request *request); /* sets results; NULL: the sample */
    struct request *kept;
    size_t n_kept;
    size_t n_seen;
    uint64_t last_number, last_answered_below;
    bool ending;
};

void fake_init(struct fake *fake, enum fake_mode mode);
void fake_mode(struct fake *fake, enum fake_mode mode);
/* Wait until n requests have come in all. */
void fake_await(struct fake *fake, size_t n);
/* Answer all that is kept, with `status`, the sample's results where it is 0. */
void fake_answer(struct fake *fake, int status);
/* Answer the rest -ESHUTDOWN, and what comes later at once; end the thread. Harmless twice. */
void fake_stop(struct fake *fake);
void fake_fini(struct fake *fake);

/* ---- a call ---- */

struct call {
    struct request request;
    sem_t done;
    _Atomic int n_done;
};

void call_init(struct call *call, enum request_kind kind); /* the sample */
void call_start(struct call *call, struct client *client);
void call_await(struct call *call); /* 20 s at most */
bool call_await_ms(struct call *call, int ms);
void call_fini(struct call *call);
/* Start, await, and expect the sample's answer. */
void call_expect(struct call *call, struct client *client);

/* ---- ends ---- */

/* A directory of this test's own, under TMPDIR; removed by dir_remove(). */
void dir_make(char dir[64]);
void dir_remove(const char *dir);

struct server *serve(struct fake *fake, const char *url);
struct client *connect_to(const char *url, int64_t answer_timeout_us);
struct client *connect_any(const char *const *urls, size_t n, int64_t answer_timeout_us);
/* fake_stop and server_free in the order the contract wants. */
void serve_end(struct server *server, struct fake *fake);

#endif
