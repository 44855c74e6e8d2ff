/*
 * The seam between a mount and a queue service: requests. A mount has the NNG client behind it,
 * the NNG server has the service behind it, a test may have anything. Everything is asynchronous:
 * submit() takes a request and its done() is called exactly once, from any thread, perhaps before
 * submit() returns, never while the backend holds a lock.
 *
 * Ownership: the caller owns the request and what `in` points to, until done(). What `out` points
 * to is the answer's memory and lives until request_release(), which the caller owes for every
 * request that was done. It may be submitted anew then, which makes it a new request.
 *
 * A retry is the same request again, by the client, until it is answered. Puts are made harmless by
 * their item numbers, everything else that changes something by (session, number): the service
 * keeps the answer of each request of a session until `answered_below` of a later one has passed
 * its number. So a number that was answered is not used again: it would be refused for ever.
 *
 * Queues, items and tokens are numbers of one store. So each request says by `life` which one it
 * means: each start of a service on a store begins a life of it, and SYNC tells which one it is now
 * and how far the one that the mount knew has come there. A service of another life does nothing
 * and answers -EREMCHG; then it takes a SYNC.
 *
 * What was sent again says so (`repeat`). A request that does not and yet finds itself done, or
 * other bytes under its items' numbers, is somebody else's under the same id (a machine that was
 * started twice from one snapshot): nothing is done, the answer is -ENOTUNIQ, and it takes another
 * id.
 */
#ifndef QUEUEFS_CORE_REQUEST_H
#define QUEUEFS_CORE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/access.h"
#include "core/batch.h"
#include "core/counters.h"
#include "core/item.h"
#include "core/name.h"
#include "core/producer_id.h"
#include "core/settings.h"
#include "core/space.h"
#include "core/store_id.h"

enum request_kind {
    REQUEST_SYNC,   /* which queues there are, and how they are */
    REQUEST_WATCH,  /* parked until something the session waits for has happened */
    REQUEST_ARM,    /* tell the watch once this queue has items / has room */
    REQUEST_PUT,    /* store a batch */
    REQUEST_GET,    /* lease items */
    REQUEST_SETTLE, /* end or prolong leases */
    REQUEST_MAKE,   /* make a queue */
    REQUEST_REMOVE, /* remove an empty queue */
    REQUEST_SET,    /* change some of a queue's own settings */
    REQUEST_PURGE,  /* remove all ready items */
    REQUEST_LIST,   /* look at items */
    REQUEST_KINDS
};

/* How one queue is, as of `revision`, which rises with every change; 0: not filled in. */
struct queue_state {
    uint64_t revision;
    uint64_t depth, depth_bytes; /* ready */
    uint64_t leased, delayed, dead;
    uint64_t damaged_batches; /* that the store has and cannot be given */
    uint64_t damaged_items;   /* of these, and missing ones; as far as known */
    int64_t oldest_put_us;    /* wall clock; of the lowest ready item's batch; 0: none ready */
    QUEUE_COUNTER_FIELDS
};

/* A queue as a mount learns of it. */
struct queue_entry {
    uint64_t number;
    char name[QUEUE_NAME_MAX + 1];
    bool gone; /* removed; only number and name count */
    int64_t made_us;
    uint32_t may; /* what the asker may do with it: ACCESS_*, or'ed */
    struct queue_settings settings;
    struct queue_state state;
};

enum get_kind {
    GET_STREAM, /* for out and next: the lease is in memory and lasts as long as the session */
    GET_CLAIM,  /* for claim: the lease and the delivery are stored before the answer */
};

/* Items [from, to) of one batch, lent under one token. */
struct grant {
    uint64_t batch;
    uint32_t from, to;
    uint64_t token;
    enum framing framing;
    uint32_t deliveries; /* counted before this one */
    size_t offset, len;  /* its bytes in out.get.data; framing file: u32 table, then items */
    int64_t put_time_us; /* wall clock */
    int64_t lease_us;    /* how long, from the answer on; GET_STREAM: TIME_FOREVER */
};

enum settle_verb {
    SETTLE_ACK,    /* done: gone for good */
    SETTLE_RETURN, /* ready again, the delivery does not count (fetched and never given) */
    SETTLE_NACK,   /* ready again, or delayed, or dead; the delivery counts */
    SETTLE_RENEW,  /* the lease runs in full again */
    SETTLE_BURY,   /* dead */
    /* Of items that nobody has leased; the token is 0. */
    SETTLE_DROP,   /* ready or delayed: gone for good */
    SETTLE_REVIVE, /* dead: ready again, as if never delivered */
    SETTLE_FORGET, /* dead: gone for good */
};

struct settlement {
    enum settle_verb verb;
    uint64_t batch;
    uint32_t from, to;
    uint64_t token;
};

enum event_kind {
    EVENT_READY = 1, /* the queue has a ready item; ends the arming */
    EVENT_ROOM = 2,  /* the queue is below maxsize; ends the arming */
    EVENT_QUEUES = 4 /* queues or settings changed: time for a SYNC; queue is 0 */
};

struct event {
    uint64_t queue;
    uint32_t kinds; /* of enum event_kind, or'ed */
};

/* Limits that hold for every backend and on the wire. */
#define REQUEST_SETTLEMENTS_MAX 65536
#define REQUEST_GRANTS_MAX      4096
#define REQUEST_ENTRIES_MAX     4096 /* of one SYNC answer; the rest with the next */
#define REQUEST_EVENTS_MAX      4096
#define REQUEST_ITEMS_MAX       4096 /* of one LIST answer */

struct request {
    enum request_kind kind;
    uint64_t queue;             /* number; 0 for SYNC, WATCH, MAKE */
    struct producer_id session; /* which life of which mount asks; the mount's producer id */
    const struct identity
        *asker;              /* set by the server, as long as the request; NULL: this program */
    uint64_t life;           /* of the store; of SYNC: the last one known; 0: none */
    bool repeat;             /* by the owner: something of it may have been sent before */
    uint32_t term;           /* the owner's */
    uint64_t number;         /* set by the client's submit, each time; 0: is never sent again */
    uint64_t answered_below; /* set by the client's submit */
    uint32_t n_retries;      /* by the client: how often it was sent again, of this submit */
    int64_t give_up_us;      /* monotonic: not sent any more, but -ETIMEDOUT; 0: never */
    int64_t sent_us;         /* by the client: monotonic, when it was last sent */

    union {
        struct {
            uint64_t since; /* revision the mount knows; 0: everything */
        } sync;
        struct {
            uint64_t seen; /* `sequence` of the last WATCH answer that arrived; 0: none */
            int64_t wait_us;
        } watch;
        struct {
            uint32_t kinds; /* EVENT_READY, EVENT_ROOM */
        } arm;
        struct {
            uint64_t epoch; /* the first put of a newer epoch travels alone: `base` starts it */
            uint64_t base;  /* number of the first item; a producer's first item of a queue is 1 */
            bool begins;    /* nothing of this epoch was acknowledged: it starts at `base` */
            uint64_t chain; /* of the epoch's items below `base`: core/chain.h */
            struct batch_view batch; /* put_time_us unused */
        } put;
        struct {
            enum get_kind kind;
            uint32_t max_items; /* at least 1 */
            size_t max_bytes;   /* at least one item is given, however large */
            bool arm;           /* where nothing is ready: as ARM with EVENT_READY */
            uint64_t item; /* GET_CLAIM: this one, ready or delayed, and no other; 0: the lowest */
        } get;
        struct {
            const struct settlement *items; /* 1 to REQUEST_SETTLEMENTS_MAX */
            size_t n_items;
        } settle;
        struct {
            const char *name;
            const struct queue_settings *settings;
            bool may_exist; /* an existing queue is fine and keeps its settings */
        } make;
        struct {
            const struct queue_settings *settings;
            uint64_t fields; /* which of them are to be set, of SETTINGS_OWN; the rest stays */
        } set;
        struct {
            uint32_t states;    /* of what items: 1 << enum item_state, or'ed; DONE is none */
            uint64_t from, to;  /* ids [from, to); to 0: no end */
            uint32_t max_items; /* 1 to REQUEST_ITEMS_MAX */
            bool bytes;         /* those of the first one too */
        } list;
    } in;

    /*
     * 0 or negative errno. Of all: -EACCES no rule of `access` allows it, -ENOENT no such queue,
     * -ETIMEDOUT, -ESHUTDOWN the backend is ending, -ENOMEM, -EPROTO nonsense, -EIO the store
     * failed, -EPERM the session is somebody else's, -EREMCHG another life, -ENOTUNIQ somebody else
     * has this id too. Of PUT, MAKE, REMOVE and SET: -ENOSPC store full. Of PUT: -EMSGSIZE an item
     * over max_item_size, -EBADMSG checksum, -ESTALE older epoch. Of MAKE: -EEXIST, -EINVAL. Of
     * REMOVE: -ENOTEMPTY. Of SET: -EINVAL.
     */
    int status;
    struct queue_state state; /* of `queue`, after this request; revision 0 where not known */
    uint64_t position;        /* that the life has reached, where it serves; else 0 */

    union {
        struct {
            /* Random, of one life of the service and of what it keeps for the session: another
             * one means that nothing is armed or lent any more. */
            uint64_t service;
            struct store_id store;
            uint64_t life;    /* the one that serves now */
            uint64_t reached; /* how far the life asked with has come here; 0: it is not known */
            uint64_t until;   /* the `since` of the next SYNC */
            bool more;        /* there are further entries: SYNC again at once */
            bool full; /* `since` was not 0 and is not remembered: nothing is listed, ask from 0 */
            uint32_t n_mounts;
            uint64_t n_refused; /* by the service, because of a limit: core/refused.h */
            struct store_space space;
            const struct queue_entry *entries;
            size_t n_entries;
        } sync;
        struct {
            uint64_t service;
            uint64_t sequence;
            const struct event *events;
            size_t n_events;
        } watch;
        struct {
            uint32_t kinds; /* what is so already; the rest is armed */
        } arm;
        struct {
            /*
             * Of the producer, number of the last item stored. Short of this put without `full`:
             * items before it did not come in time, send again from last + 1. Below what was
             * acknowledged before: the service has forgotten the producer; send what is not
             * acknowledged under a newer epoch.
             */
            uint64_t last;
            uint64_t chain;     /* of the items up to that one */
            uint32_t n_repeats; /* items of this put that were stored before it came */
            bool full;          /* last is short of this put because of maxsize; EVENT_ROOM armed */
        } put;
        struct {
            const struct grant *grants; /* in queue order; none: nothing ready */
            size_t n_grants;
            const uint8_t *data;
            size_t len;
        } get;
        struct {
            uint64_t n_late; /* items whose lease had ended before, or that were not so any more */
        } settle;
        struct {
            struct queue_entry entry;
        } make; /* of SET too */
        struct {
            uint64_t n_items;
        } purge;
        struct {
            const struct item_info *items; /* by id */
            size_t n_items;
            uint64_t next;       /* `from` of the next LIST; 0: there is no more up to `to` */
            const uint8_t *data; /* of items[0], where asked for; without its separator */
            size_t len;
        } list;
    } out;

    /* Called once by the backend when status, state and out are set. */
    void (*done)(struct request *request);
    void *owner; /* the caller's */

    /*
     * Memory of the answer's bytes. NULL: malloc. Else the backend calls it once, with the size
     * that out.get.data needs at most, and lays them there (the server answers from the message).
     */
    uint8_t *(*reply_buffer)(struct request *request, size_t size);

    /*
     * Asked before a long answer is made, of about `size` bytes: whether there is room for it.
     * NULL: there is. Where not, the request has no answer now: -ETIMEDOUT.
     */
    bool (*reply_room)(struct request *request, size_t size);

    /* The backend's: frees what out points to; NULL where nothing is to be freed. */
    void (*reply_free)(struct request *request);
    void *reply_memory;

    struct request *next; /* whoever holds the request: lists of them */
};

struct backend {
    /* Never blocks for long. */
    void (*submit)(struct backend *backend, struct request *request);
};

/* Whether what is asked for makes sense: what every backend refuses with -EPROTO otherwise. */
static inline bool request_get_valid(const struct request *get)
{
    if (get->in.get.max_items < 1)
        return false;
    if (get->in.get.kind == GET_STREAM)
        return get->in.get.item == 0;
    return get->in.get.kind == GET_CLAIM &&
           (get->in.get.item == 0 || item_id_valid(get->in.get.item));
}

static inline bool settlement_valid(const struct settlement *s)
{
    return s->batch >= 1 && s->batch <= BATCH_NUMBER_MAX && s->from < s->to &&
           s->to <= BATCH_ITEMS_MAX && (unsigned)s->verb <= SETTLE_FORGET &&
           (s->verb <= SETTLE_BURY || s->token == 0);
}

static inline bool request_list_valid(const struct request *list)
{
    const uint32_t known = (UINT32_C(1) << ITEM_DONE) - 1;
    const uint64_t end = item_id(BATCH_NUMBER_MAX + 1, 0);

    return list->in.list.states != 0 && (list->in.list.states & ~known) == 0 &&
           list->in.list.max_items >= 1 && list->in.list.max_items <= REQUEST_ITEMS_MAX &&
           list->in.list.from < end && list->in.list.to <= end &&
           (list->in.list.to == 0 || list->in.list.from < list->in.list.to);
}

/* Give the answer's memory back. Once per done request; harmless for one without. */
static inline void request_release(struct request *request)
{
    if (request->reply_free)
        request->reply_free(request);
    request->reply_free = NULL;
    request->reply_memory = NULL;
}

#endif
