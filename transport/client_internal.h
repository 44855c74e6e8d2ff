/*
 * The client's parts, private to client*.c.
 *
 *   client_link.c  the connection: a thread that dials the addresses in turn
 *   client_slot.c  requests come in, get a number and a slot, or stand in line for one; a slot: one
 *                  request in flight, over and over until it is answered
 *   client_stop.c  the end
 *   client.c       its life
 *
 * A slot owns an NNG context. Its request travels  send -> receive -> done,  and where no answer
 * comes  pause -> send  again. Each arrow is an aio's callback, on any of NNG's threads; the slot
 * belongs to whoever runs it. An operation is started only between client_begin() and client_end():
 * stopping waits for those, so that no operation starts on an aio that is being stopped.
 */
#ifndef QUEUEFS_TRANSPORT_CLIENT_INTERNAL_H
#define QUEUEFS_TRANSPORT_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "core/backoff.h"
#include "transport/address.h"
#include "transport/client.h"
#include "transport/tls_report.h"

#define CLIENT_SLOTS       256
#define CLIENT_WATCH_SLOTS 16
#define CLIENT_ALL_SLOTS   (CLIENT_SLOTS + CLIENT_WATCH_SLOTS)
#define CLIENT_CONNECT_MS  5000  /* a dial that takes longer has failed */
#define CLIENT_REDIAL_MS   10000 /* NNG's own redialling has so long */
#define CLIENT_ENDING_MS   5000  /* a service that is ending closes the connection itself */
#define CLIENT_DRAIN_MS    1000  /* on stopping, answers on their way have so long */
#define CLIENT_SETTLE_MS   100   /* between a break and closing the dialer */
#define CLIENT_DIAL_MS     300   /* ... and so has a dial */
#define CLIENT_CLOSE_MS    1000  /* how long to wait for a connection to be gone */

struct slot {
    struct client *client;
    struct lane *lane;
    size_t index;
    nng_ctx ctx;
    bool opened;
    /* One each: in NNG 1.5 an aio that has slept takes every later timeout for success. */
    nng_aio *now_aio, *send_aio, *receive_aio, *pause_aio;
    int64_t handed_us; /* to a connection */
    struct backoff backoff;
    struct request *request; /* NULL: idle */
    struct slot *next;       /* of lane.idle */
};

/* Requests of one class: watches have a lane of their own, so that they keep nobody waiting. */
struct lane {
    struct slot *idle;
    struct request *first, **last; /* without a slot yet, by number */
};

struct target {
    char *url;
    struct address address;
    nng_tls_config *config;    /* NULL: no TLS */
    struct tls_report *report; /* why its handshakes fail; NULL: no TLS */
    int foreign; /* the version that the log was told of, or -1: nothing of ours; 0: none */
    char said[TLS_WHY_MAX]; /* in the log, since it last worked; the link's thread only */
};

struct client {
    struct backend backend; /* first: the backend is the client */
    const struct clock *clock;
    int64_t answer_timeout_us;
    struct target *targets;
    size_t n_targets;
    struct tls *tls; /* of those with TLS; NULL: there are none */
    nng_socket socket;
    bool opened;
    struct slot *slots; /* CLIENT_ALL_SLOTS of them, once opened */
    pthread_t link;
    bool link_runs;
    _Atomic int64_t heard_us; /* when the last answer came */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below */
    struct lane lanes[2];
    uint64_t busy[CLIENT_ALL_SLOTS]; /* numbers in the slots; UINT64_MAX: idle */
    uint64_t last_number;
    size_t n_starting; /* between client_begin() and client_end() */
    size_t n_flying;   /* requests sent and not answered, watches apart */
    bool stopping;     /* nothing is sent any more */
    bool closing;      /* nothing is received any more */
    bool abandoned;    /* the socket hangs: free nothing */
    /* The connection. */
    size_t target;
    nng_dialer dialer;
    bool dialing;   /* dialer is good */
    bool timed_out; /* the dial took too long */
    int pipe;       /* id of the connection's pipe; 0: none */
    int newest;     /* id of the pipe made last, and when: nothing was sent over it before */
    int64_t newest_us;
    int gone;       /* id of one that was gone before it came */
    bool came;      /* there has been one since the dial */
    bool suspect;   /* nothing comes back: leave this address */
    bool ending;    /* the service there is ending */
    bool leaving;   /* the client stops, and its slots have: close everything */
    atomic_bool up; /* something came over this connection; written under the lock */
    bool lost;      /* it has been logged that there is no connection */
    char last_error[256];
    uint64_t retries;
};

/* client_slot.c */
void client_submit(struct backend *backend, struct request *request);
void lane_init(struct lane *lane);
/* The next request that waits for a slot, or NULL. */
struct request *client_pop_locked(struct lane *lane);
/* Tell the owner that there is no answer but `status`. */
void client_fail(struct request *request, int status);
/* Requests that came before there were slots get theirs. */
void slots_begin(struct client *client);
int slot_open(struct slot *slot);
void slot_stop_sending(struct slot *slot); /* waits for the callback; what it sent flies on */
void slot_stop(struct slot *slot);         /* waits for its callbacks; once */
void slot_close(struct slot *slot);        /* after slot_stop; takes one that was never opened */

/* client_link.c */
void link_watch(struct client *client); /* on the open socket, before link_run */
void *link_run(void *client);
/* An answer came. */
void link_heard(struct client *client);
/* The earliest that something was sent that this pipe has answered, as far as is known; 0: not. */
int64_t link_since(struct client *client, int pipe);
/* No answer came over the connection in use: try another. */
void link_suspect(struct client *client);
/* What is there speaks this version of the wire, another one than ours; 0: nothing of ours. Try
 * another address, and this one again later. */
void link_foreign(struct client *client, uint8_t version);
/* The service there is ending: use another if there is one. */
void link_ending(struct client *client);
/* Keep what went wrong for `stats`. */
void link_note(struct client *client, const char *why);

#endif
