/*
 * The inside of the queue service, for its own files and its tests. One thread owns all of it but
 * the inbox. A round: what time has brought, then the requests that have gathered, one commit,
 * then gets of streams, which change memory only (those that came during the commit too), then
 * revisions and events, then all answers. Then looks, each answered before the next one is made.
 * What may take long has a slice of each round and goes on in the next.
 *
 * A request that needs the commit waits in `waiting` (replies) or `puts`; what needs no commit, or
 * has had it, stands in `finished` or `answers`. done() is called at the end, with no lock held.
 */
#ifndef QUEUEFS_CORE_SERVICE_SERVICE_STATE_H
#define QUEUEFS_CORE_SERVICE_SERVICE_STATE_H

#include <errno.h>
#include <pthread.h>

#include "core/queue/queue.h"
#include "core/queue/producers.h"
#include "core/service/lineage.h"
#include "core/service/service.h"
#include "core/service/session.h"

#define SERVICE_RETRY_US       INT64_C(1000000)              /* of a commit that found no space */
#define SERVICE_SWEEP_US       (INT64_C(3600) * 1000000)     /* of old producers */
#define SERVICE_AMNESTY_US     (INT64_C(4) * 3600 * 1000000) /* none is old after a start */
#define SERVICE_SLICE_US       INT64_C(2000) /* a round spends so long on each kind of long work */
#define SERVICE_GROUP_BYTES    ((size_t)64 << 20) /* a group with more is committed at once */
#define SERVICE_FILLED_MAX     ((size_t)4 << 20)  /* answers with more are given at once */
#define SERVICE_TOMBSTONES_MAX 4096
#define SERVICE_TOMBSTONE_US   (INT64_C(600) * 1000000)

RB_HEAD(queue_by_number, queue);
RB_HEAD(queue_by_name, queue);

/* A batch that the next commit stores. */
struct staged_put {
    struct staged_put *next;
    struct queue *queue;
    struct queue_front batch;
    struct batch_view view; /* in the request's memory, or in `owned` */
    uint8_t *owned;
};

struct service {
    struct backend backend; /* first: the backend is the service */
    struct service_options options;

    struct lineage lineage;
    int64_t started_us, ran_before_us; /* see queue_shared.ran_us */
    struct queue_shared shared;
    struct sessions sessions;
    struct queue_by_number by_number;
    struct queue_by_name by_name;
    uint64_t last_number;

    TAILQ_HEAD(listed_list, listed) listed; /* by revision, removed queues too */
    size_t n_tombstones;
    uint64_t revision;
    uint64_t forgotten; /* a mount that knows less than this must ask for everything */

    /* Of the round. */
    struct answers answers, puts, arms;
    struct reply_list streams, claims, waiting, finished, purges, settles;
    int64_t settle_until_us; /* what comes may be settled so long */
    struct staged_put *staged, **staged_end;
    size_t staged_bytes;
    size_t filled_bytes; /* of answers to GETs that are not given yet */
    bool space_known;
    struct store_space space; /* see service_space() */

    int64_t retry_us; /* when to commit again; TIME_FOREVER: nothing is left uncommitted */
    int64_t sweep_us;
    int failed; /* negative: the store is of no use any more */
    bool fatal_told;
    uint8_t *scratch; /* a mark's stored form; owned */
    size_t scratch_size;

    pthread_t thread;
    bool started; /* thread is there; of the owner's thread */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Guarded by lock. */
    struct answers inbox; /* a list of requests like the others, not answered yet */
    bool stopping, stopped;
};

/* ---- round.c ---- */

/* One round with what is in the inbox; answers are given when it returns. */
void service_round(struct service *s);
/* When the next one is due though nothing comes in. */
int64_t service_deadline(const struct service *s);
/* Everything taken and not answered is answered with `status`; sessions are forgotten. */
void service_answer_all(struct service *s, int status);

/* ---- admit.c ---- */

/* Whether it may be asked: 0; -EPERM the session is somebody else's, -EACCES no rule of `access`
 * allows it, which is counted. Before sessions_touch(). */
int service_admit(struct service *s, const struct request *request);
/* What the asker may do with a queue of this name: ACCESS_*, or'ed. */
uint32_t service_rights(const struct service *s, const struct request *request, const char *name);
/* The session is the asker's, if it is nobody's yet. */
void service_bind(struct session *session, const struct request *request);

/* ---- queues.c ---- */

struct queue *service_find(struct service *s, uint64_t number);
struct queue *service_find_name(struct service *s, const char *name);
void service_list_queue(struct service *s, struct queue *q); /* at start and when made */

/* ---- replies, whoever works on them ---- */

/* The reply needs no commit. */
static inline void service_finish(struct service *s, struct reply *reply, int status)
{
    reply->status = status;
    TAILQ_INSERT_TAIL(&s->finished, reply, link);
}

/* What is told of an error of the store. */
static inline int service_status(int rc)
{
    return rc == -EBADMSG || rc == -ENOENT ? -EIO : rc;
}

/* ---- give.c ---- */

/* Give the answers that are there; after the commit. */
void service_give(struct service *s);

/* ---- commit.c ---- */

/* How the store is off; asked once a round. */
const struct store_space *service_space(struct service *s);

/* It is of no use any more: nothing is done from now on, and one line says so. */
void service_store_failed(struct service *s, int rc);
/*
 * Write what has gathered, and what waited for it is finished. Where the store has no space, puts
 * are answered so and the rest is tried without them. 0, or the error that keeps the rest waiting:
 * then it is tried again each second, or never (s->failed).
 */
int service_commit(struct service *s);
/* The staged puts will not be: their requests are answered with status. */
void service_drop_puts(struct service *s, int status);
/* Keep how long the store has been served. */
void service_keep_time(struct service *s);
/* Forget producers that were not heard of for a day of that time. */
void service_sweep(struct service *s);

/* ---- put.c ---- */

void service_put(struct service *s, struct session *session, struct request *put);

/* Puts held back for too long, or (any) all of them, are answered as far as they got. */
void service_end_holds(struct service *s, bool any, int status);

/* ---- get.c ---- */

void service_get(struct service *s, struct reply *reply);
/* A claim that comes again after all the leases that it gave have ended gives new ones: true. */
bool service_get_again(struct service *s, struct reply *reply);
/* Claims that came together with puts and found nothing else look again, now that these are stored.
 * What they lease is for the next commit. */
void service_run_claims(struct service *s);
/* What was leased is laid into the answer. 0, -ETIMEDOUT (no memory, for a copy of what was given:
 * it may ask again), or a failure, by which all of it goes back. */
int service_fill_get(struct service *s, struct reply *reply);
/* Gets of streams, after the commit. Their answers go before those that are there: whoever waits
 * for an item is told before whoever has put it. */
void service_run_streams(struct service *s);
/* Before the commit: those for which there is something. What they are given was stored before. */
void service_run_ready_streams(struct service *s);
/* Those that came while the commit ran, out of the inbox: they need not wait for the next one, and
 * their leases have no time that would begin with the round. So a reader of the mount that has just
 * put has its item at once. */
struct request *service_late_gets(struct service *s);

/* ---- settle.c ---- */

void service_settle(struct service *s, struct reply *reply);
/* Those that earlier rounds have begun go on, before others of this one. */
void service_settle_on(struct service *s);
int service_fill_settle(struct service *s, struct reply *reply);

/* ---- admin.c ---- */

void service_make(struct service *s, struct reply *reply);
void service_remove(struct service *s, struct reply *reply);
void service_set(struct service *s, struct reply *reply);
/* 0, -EINVAL, -ENOMEM, or of service_commit(). */
int service_make_queue(struct service *s, const char *name, const struct queue_settings *settings,
                       struct queue **queue);
/* Those of `fields`, over what it has, which is judged as a whole. */
int service_set_queue(struct service *s, struct queue *q, const struct queue_settings *settings,
                      uint64_t fields);

/* ---- sync.c ---- */

/* Changed queues get new revisions, and who waited for them is told. */
void service_publish(struct service *s);
/* A new revision for one queue, whose state is told next. */
void service_renew(struct service *s, struct queue *q);
/* A queue leaves; `tomb` (the caller's until now) stands for it. */
void service_unlist(struct service *s, struct queue *q, struct listed *tomb);
int service_sync(struct service *s, struct request *sync);

RB_PROTOTYPE(queue_by_number, queue, by_number, queue_number_compare)
RB_PROTOTYPE(queue_by_name, queue, by_name, queue_name_compare)

#endif
