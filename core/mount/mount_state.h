/*
 * What the files of a mount share. Each knows only those above it, mount_state.h's inline functions
 * aside; nobody else includes this.
 *
 *   ticker.c           deadlines
 *   mount_queue*.c     one queue
 *   catalog.c          all of them
 *   presets.c          those of the settings file
 *   history.c          which store the service has; what becomes of all this when it is another
 *   trim.c             memory that nobody needs any more
 *   sync.c             SYNC and WATCH: what the service tells
 *   service_call.c     ops that ask the service
 *   change.c, items.c  which ones there are
 *   flush.c            ops that wait for several of the queues'
 *   mount.c, stats.c   life; what is shown of it
 *
 * Threads: any. Locks, in the order in which they may be taken: mount.lock, mount_queue.lock,
 * history.lock, ticker.lock. No request is submitted and no op finished under any of them.
 */
#ifndef QUEUEFS_CORE_MOUNT_MOUNT_STATE_H
#define QUEUEFS_CORE_MOUNT_MOUNT_STATE_H

#include <bsd/sys/tree.h>
#include <errno.h>
#include <pthread.h>

#include "core/mount/mount.h"
#include "core/mount/ticker.h"

/* Under what requests go out: they are good only together. */
struct standing {
    struct producer_id id;
    uint64_t life; /* of the store; 0: not known */
    uint32_t term; /* another one with each new id */
};

/* What this mount knows of the store that its queues are in. */
struct history {
    pthread_mutex_t lock;
    /* Guarded by lock. */
    struct store_id store;
    uint64_t life;     /* 0: none known */
    uint64_t position; /* that it has come to, as far as any answer has told */
};

struct mount_queue {
    struct mount *mount; /* these three never change */
    uint64_t place;      /* in this mount's listing: the number, where it was known at once */
    char name[QUEUE_NAME_MAX + 1];
    _Atomic uint32_t refs;

    /* Written under mount.lock and lock both: 0 until the service has told it. */
    uint64_t number;
    int64_t made_us;

    /* Guarded by mount.lock. */
    RB_ENTRY(mount_queue) by_name, by_number, by_place;
    bool listed;         /* stands in the trees; they hold one reference */
    uint32_t generation; /* of the last whole list that named it */

    struct ticker_entry tick; /* ticker.h guards it */

    pthread_mutex_t lock;
    /* Guarded by lock. */
    struct standing standing; /* the mount's, or for a moment the one before */
    struct all_settings settings;
    struct queue_state state;
    uint32_t may;     /* what this mount may do with it: ACCESS_*, or'ed */
    int ended;        /* 0, -ENOENT (removed) or -ESHUTDOWN */
    int last_error;   /* of a request; 0: none failed yet */
    uint64_t retries; /* requests of this queue that were sent again */
    struct request *unaddressed, **unaddressed_end; /* while the number is not known */
    bool closed;                                    /* nothing is held any more */
    /* Made by the first open of in or out: most of ten thousand queues never need them. */
    struct producer *producer;
    struct consumer *consumer;
    struct consumer *claimer; /* made by the first claim */
};

RB_HEAD(mount_queue_by_name, mount_queue);
RB_HEAD(mount_queue_by_number, mount_queue); /* without those that have none yet */
RB_HEAD(mount_queue_by_place, mount_queue);

/* A queue of the settings file. */
struct wanted_queue {
    struct preset queue;
    /* Guarded by mount.lock. */
    bool asked; /* MAKE is on its way */
    bool made;  /* the service has it, or had it: it is not made twice */
    bool warned;
    uint64_t denied; /* by this life of the service (mount.service): another one is asked again */
};

/* Removed queues that are remembered: an answer that was given before a removal may come behind
 * that of the removal. */
#define MOUNT_GONE 64

struct mount {
    struct backend *backend;
    const struct clock *clock;
    int64_t timeout_us, silence_us;
    int64_t started_us;
    struct all_settings defaults;
    struct wanted_queue *queues;
    size_t n_queues;
    void (*link_info)(void *arg, struct link_info *info);
    void *link_arg;
    struct budget budget;
    int64_t high_bytes;       /* the ticker's: what was used at most since memory was given back */
    atomic_size_t kept_bytes; /* of held items: claims.h */
    struct ticker *ticker;
    struct ticker_entry sync_tick, watch_tick, call_tick;
    _Atomic int64_t asked_us; /* asked, and nothing answered since; 0: it is not silent */
    _Atomic uint32_t n_takes; /* claims of one item that may have to be given back */
    _Atomic uint32_t doubled; /* the term whose id somebody else has too; 0: none */
    atomic_bool lost;         /* the service was another: a SYNC is due, even at the end */
    struct history history;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* a SYNC was answered, or something ended while stopping */
    /* Guarded by lock. */
    struct mount_queue_by_name by_name;
    struct mount_queue_by_number by_number;
    struct mount_queue_by_place by_place;
    uint64_t n_mount_queues;
    uint64_t n_places;                 /* given to queues of other stores than the first */
    uint64_t gone[MOUNT_GONE], n_gone; /* numbers of queues that were removed last: a ring */
    struct op_list ops; /* parked on the mount itself: mkdir, rmdir, set, purge, flush */
    struct standing standing;
    uint32_t n_stores;       /* met so far: numbers are good for one of them */
    struct request *refused; /* of calls: they wait for a SYNC */
    bool stopping;
    bool synced; /* a whole list has come */
    bool sync_in_flight, sync_again, watch_in_flight;
    bool listing;        /* the SYNC in flight is part of a whole list, begun with since 0 */
    uint32_t generation; /* of that list */
    uint64_t service;    /* id of the service's life */
    uint64_t since;      /* of the next SYNC */
    uint64_t watch_seen;
    uint32_t n_mounts;
    uint64_t n_refused; /* by the service, because of a limit */
    bool own_service;
    struct store_space space;
    struct request sync_request, watch_request;
};

static inline int64_t mount_now(const struct mount *mount)
{
    return mount->clock->mono_us(mount->clock);
}

/* Whether nothing was done because this mount and the service do not know each other: it is sent
 * again once they do. */
static inline bool is_refused(int status)
{
    return status == -EREMCHG || status == -ENOTUNIQ;
}

/* Somebody else has the id of this term: sync.c sees to it, at once. */
static inline void mount_doubled(struct mount *m, uint32_t term)
{
    atomic_store(&m->doubled, term);
    ticker_arm(m->ticker, &m->sync_tick, mount_now(m));
}

/* The service has another store, or somebody else this mount's id: sync.c sees to it, at once. */
static inline void mount_refused(struct mount *m, const struct request *request)
{
    if (request->status == -ENOTUNIQ)
        mount_doubled(m, request->term);
    atomic_store(&m->lost, true);
    ticker_arm(m->ticker, &m->sync_tick, mount_now(m));
}

/* Some request has ended: an answer of the service ends its silence, and tells how far the store
 * has come (a SYNC's may be another life's: mount_meet_store()). Any thread, any lock but
 * history.lock. */
static inline void mount_heard(struct mount *m, const struct request *request)
{
    int status = request->status;
    bool answered = status != -ETIMEDOUT && status != -ESHUTDOWN && status != -ENOMEM;

    if (answered && atomic_load(&m->asked_us) != 0)
        atomic_store(&m->asked_us, 0);
    pthread_mutex_lock(&m->history.lock);
    if (request->kind != REQUEST_SYNC && request->life == m->history.life &&
        request->position > m->history.position)
        m->history.position = request->position;
    pthread_mutex_unlock(&m->history.lock);
}

/* Of the store, as it is known now. Any lock but history.lock. */
static inline uint64_t mount_life(struct mount *m)
{
    uint64_t life;

    pthread_mutex_lock(&m->history.lock);
    life = m->history.life;
    pthread_mutex_unlock(&m->history.lock);
    return life;
}

static inline struct standing mount_standing(struct mount *m)
{
    struct standing standing;

    pthread_mutex_lock(&m->lock);
    standing = m->standing;
    pthread_mutex_unlock(&m->lock);
    return standing;
}

/* Address a request that names no queue. */
static inline void mount_address_locked(const struct mount *m, struct request *request)
{
    request->session = m->standing.id;
    request->life = m->standing.life;
    request->term = m->standing.term;
}

/* ---- catalog.c ---- */

void mount_lists_init(struct mount *mount);
void mount_lists_fini(struct mount *mount);

/* The queue of this number with a reference, or NULL. */
struct mount_queue *mount_find_number(struct mount *mount, uint64_t number);

/* References to all queues, in order of place; an array of *n and owned; NULL: out of memory or
 * none (then *n is 0). */
struct mount_queue **mount_all(struct mount *mount, size_t *n);

/* Unrefs what mount_all() gave and frees it. */
void mount_all_free(struct mount_queue **all, size_t n);

/* What the settings file says of the queue `name`, or NULL. */
const struct preset *mount_configured(const struct mount *mount, const char *name);

/* A queue that the service has not told of: its reference is the lists' then. False: one of this
 * name is there, or the mount is ending. */
bool mount_list_provided(struct mount *mount, struct mount_queue *mq);

/* Take over what that life of the service says of one queue: new, changed or gone; nothing where
 * the mount knows another by now. Out of memory: not listed until the next SYNC. */
void mount_apply_entry(struct mount *mount, const struct queue_entry *entry, uint64_t life);

/* No queue has a number any more: they are another store's. */
void mount_forget_numbers(struct mount *mount);

/* A whole list was applied: what it did not name is gone. */
void mount_remove_unnamed(struct mount *mount);

/* ---- mount_queue.c ---- */

/* With one reference. entry->number 0: not known yet. NULL: out of memory. */
struct mount_queue *mount_queue_new(struct mount *mount, const struct queue_entry *entry,
                                    uint64_t place, const struct mount_settings *settings);

/* Address a request of this queue; queue 0: its number is not known yet. */
void mount_queue_address(struct mount_queue *mq, struct request *request);

/* The mount's standing has changed; `anew`: in such a way that what is lent and what is on its way
 * is void, and what is buffered begins again. */
void mount_queue_stand(struct mount_queue *mq, const struct standing *standing, bool anew);

/* The service has told number and time of making (0: they are known no longer). What is held goes
 * with the next mount_queue_update(). Under mount.lock. */
void mount_queue_settle_locked(struct mount_queue *mq, uint64_t number, int64_t made_us);

/* News of the queue from the service: settings (NULL: as before) and, where newer, state. */
void mount_queue_update(struct mount_queue *mq, const struct queue_settings *own,
                        const struct queue_state *state);

/* Forget how new the state is: another life of the service counts anew. */
void mount_queue_forget_state(struct mount_queue *mq);

/* Something that the queue's ops may wait for has happened: enum event_kind. */
void mount_queue_event(struct mount_queue *mq, uint32_t kinds, bool rearm);

/* -ENOENT removed, -ESHUTDOWN the mount is ending. */
void mount_queue_end(struct mount_queue *mq, int error);

/* Nothing of this queue is on its way to the service, GETs aside where not `gets` too. */
bool mount_queue_idle(struct mount_queue *mq, bool gets);

/* Requests held for want of a number are answered -ESHUTDOWN, later ones too. */
void mount_queue_close(struct mount_queue *mq);

/* Its own settings are stored: the mount's take effect. */
/* What this mount may do with it, as the service has told. */
void mount_queue_allow(struct mount_queue *mq, uint32_t may);
void mount_queue_apply(struct mount_queue *mq, const struct all_settings *settings,
                       uint64_t fields);

/*
 * Entry and exit of every call that uses producer and consumers: lock, call the logic, which
 * collects its effects, unlock, run the effects, arm the ticker. The caller has a reference. With
 * an op that may park: now_us is returned.
 */
void mount_queue_enter(struct mount_queue *mq, struct effects *effects);
int64_t mount_queue_enter_op(struct mount_queue *mq, struct op *op, struct effects *effects);
void mount_queue_leave(struct mount_queue *mq, struct effects *effects, int64_t now_us);

/* Make producer and consumer, and the claimer too, where they are not there: 0, -ENOMEM, or how the
 * queue has ended. */
int mount_queue_activate_locked(struct mount_queue *mq);
int mount_queue_activate_claims_locked(struct mount_queue *mq);

/* ---- mount_queue_put.c, mount_queue_get.c ---- */

/* Flush of puts and of settlements (with renewals; what was claimed ahead goes back), each with an
 * op of its own. */
void mount_queue_flush_puts(struct mount_queue *mq, struct op *op);
void mount_queue_flush_settlements(struct mount_queue *mq, struct op *op);

/* producer_show(): what is buffered is sent; the op ends when it is stored, 0. */
void mount_queue_show_puts(struct mount_queue *mq, struct op *op, int64_t wait_us);

/*
 * Hold what an answered GET_CLAIM of mount_queue_take() has brought. 0, or as consumer_hold(): then
 * it is given back by itself, or where not even that can be done (no memory for the claim side)
 * runs out. The caller has set get->sent_us before it submitted the request, and releases the
 * answer.
 */
int mount_queue_claim_add(struct mount_queue *mq, struct request *get);

/* ---- service_call.c ---- */

void mount_calls_init(struct mount *mount);

/* Ends every op that is parked on the mount with -ESHUTDOWN; later ones do at once. */
void mount_calls_end(struct mount *mount);

/* ---- presets.c ---- */

int mount_wanted_init(struct mount *mount, const struct preset *queues, size_t n_queues);

/* Each queue of the settings file was made, or could not be. */
bool mount_all_tried_locked(const struct mount *mount);

/* Those of them that the service has not told of are there without it. */
void mount_provide(struct mount *mount);

/* They are to be made once more, of which the service does not tell. */
void mount_want_again(struct mount *mount);

/* Make those that were not made yet, at the first whole list and with each one after it. */
void mount_make_missing(struct mount *mount);

/* ---- trim.c ---- */

/* Memory that was used and is free goes back to the system, where it is worth it. Every second. */
void mount_trim(struct mount *mount);

/* ---- history.c ---- */

void mount_history_init(struct mount *mount);
void mount_history_fini(struct mount *mount);

/* A SYNC was answered: follow the life that it tells of. True: it is another store's, named in the
 * log; all queues are without a number, and a whole list has to come. */
bool mount_meet_store(struct mount *mount, const struct request *sync);

/* Somebody else has the id of this term too: go on under another, unless that was done. */
void mount_leave_id(struct mount *mount, uint32_t term);

/* ---- sync.c ---- */

void mount_follow_init(struct mount *mount);

/* Ask now. Harmless while one is on its way. */
void mount_sync(struct mount *mount);
void mount_watch(struct mount *mount);

#endif
