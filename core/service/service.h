/*
 * The queue service: all queues of one store, one thread. Requests come in through its backend,
 * from any thread; the thread takes whatever has gathered, applies it, commits once for all of it
 * (group commit) and only then answers. The logic of a queue is in queue.c, which knows no thread
 * and takes the time as an argument.
 */
#ifndef QUEUEFS_CORE_SERVICE_SERVICE_H
#define QUEUEFS_CORE_SERVICE_SERVICE_H

#include "core/access.h"
#include "core/request.h"
#include "core/clock.h"
#include "core/store/store.h"

struct service;

struct service_options {
    struct store *store; /* taken: service_free() closes it, service_new() too where it fails */
    const struct clock *clock;
    uint64_t id;                 /* random, of this life of the service */
    const struct access *access; /* who may what; borrowed; NULL: whoever asks may all */
    /* The store failed for good (already logged): nothing more will be acknowledged, requests are
     * answered -EIO. Called once, on the service's thread; must not call the service. */
    void (*fatal)(void *arg, int error);
    void *fatal_arg;
};

/* Read the store's queues and marks. 0 or negative errno (of the store, -ENOMEM). */
int service_new(const struct service_options *options, struct service **service);

/*
 * Make the queue if it is not there, with these own settings; give it those of `fields` if it is:
 * what `queues:` in the service's file says. Before service_start() only. 0, -EINVAL, or of the
 * store.
 */
int service_ensure_queue(struct service *service, const char *name,
                         const struct queue_settings *settings, uint64_t fields);

int service_start(struct service *service); /* its thread; after the last fork */

/* How requests get in; valid until service_free(). */
struct backend *service_backend(struct service *service);

/* Finish what has been taken, answer everything else (parked watches too) -ESHUTDOWN; wait for the
 * thread. Requests submitted later are answered -ESHUTDOWN at once. Harmless the second time. */
void service_stop(struct service *service);

void service_free(struct service *service); /* stops it; takes NULL */

#endif
