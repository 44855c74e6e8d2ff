/*
 * A queue service in this process, as `queued` runs it and as a mount does inside itself: data
 * directory, store, queues of the settings file, the service's thread, the server and its
 * listeners; and the rules of what may be listened on.
 */
#ifndef QUEUEFS_TRANSPORT_QUEUED_SERVICE_H
#define QUEUEFS_TRANSPORT_QUEUED_SERVICE_H

#include <sys/types.h>

#include "config/config.h"
#include "core/service/service.h"
#include "transport/queued/datadir.h"
#include "transport/server.h"

/* Where `queued` of this machine listens when root runs it. */
#define LOCAL_SYSTEM_ADDRESS "ipc:///run/queued/queued.sock"
#define LOCAL_ADDRESS_MAX    128

struct main_service_options {
    const struct config *config;
    const char *program;    /* names the data directory where nothing else does */
    const char *data;       /* --data, or NULL */
    const char *mountpoint; /* whose service it is: others reach it at DATADIR/queuefs.sock; NULL: a
                             * service of its own */
    void (*fatal)(void *arg, int error); /* the store failed for good; on any thread */
    void *fatal_arg;
};

struct main_service {
    struct datadir datadir;
    struct service *service;
    struct server *server;
};

/*
 * Whether its listeners are allowed: TCP that other machines can reach only with TLS, TLS only with
 * ca, cert and key. 0, or -EINVAL, logged with the address and what to do.
 */
int main_service_check(const struct config *config);

/* The store there, or in memory, as the settings have it. 0, or a negative errno, logged. */
int main_store_open(const char *dir, const struct config *config, struct store **store);

/* Owners of the file's queues that name none. */
void main_service_fill_owners(struct config *config, uid_t uid, gid_t gid);

/* After the last fork, on a zeroed one. 0 or negative errno, logged; main_service_stop() and
 * main_service_fini() undo it, half of it too. */
int main_service_start(struct main_service *main, const struct main_service_options *options);

/*
 * Take over what a running service can of a changed config: certificates and their rules, log
 * level. What it can't is named in the log; so is a bad file, and the certificates stay as they
 * are. `was`: what main_service_start() got.
 */
void main_service_reload(struct main_service *main, const struct config *was,
                         const struct config *config);

/* Answers nothing any more; what was acknowledged is stored. */
void main_service_stop(struct main_service *main);

/* Lets go of all memory, and of the data directory last. */
void main_service_fini(struct main_service *main);

/* Where `queued` of this user listens, who is not root. False: there is no XDG_RUNTIME_DIR, or its
 * path is too long. */
bool local_user_address(char address[LOCAL_ADDRESS_MAX]);

#endif
