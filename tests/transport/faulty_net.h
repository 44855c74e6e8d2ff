/*
 * A network between mounts and a service in one process: frames of the real wire format that get
 * lost, come twice, late and in another order, at random from a seed, and a service that is killed
 * and started again over the same store. The mounts' ends send again what is not answered, as
 * client.c does. A thread of the network's own carries the frames.
 */
#ifndef QUEUEFS_TESTS_TRANSPORT_FAULTY_NET_H
#define QUEUEFS_TESTS_TRANSPORT_FAULTY_NET_H

#include <pthread.h>

#include "core/request.h"
#include "core/service/service.h"

struct net;

/* The mount's end. */
struct net_client {
    struct backend backend; /* first */
    struct net *net;
    struct pending *pending;
    uint64_t last_number;
    bool stopped;
};

struct net {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct frame *frames; /* in order of when they are due */
    struct net_client *clients[4];
    size_t n_clients;
    struct backend *service; /* NULL: down */
    unsigned life;           /* of the service */
    size_t n_submitting, n_served;
    unsigned seed;
    int lost, twice, late; /* percent of the frames, either way */
    bool ending;
    /* What happened. */
    uint64_t n_frames, n_lost, n_twice, n_retries;
};

void net_init(struct net *net, unsigned seed);
void net_faults(struct net *net, int lost, int twice, int late);
/* Connected from now on. NULL: down, and what it answers from now on is lost. */
void net_service(struct net *net, struct backend *service);
/* No answer is owed any more by the service that was there. */
void net_await_served(struct net *net);
void net_client_init(struct net_client *client, struct net *net);
/* What is not answered is answered -ESHUTDOWN. */
void net_client_stop(struct net_client *client);
void net_fini(struct net *net);

#endif
