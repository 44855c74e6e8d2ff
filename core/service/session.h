/*
 * What the service knows of one life of one mount: when it was last heard of, what it waits for,
 * its WATCH, and the answers it may ask for again.
 *
 * Waiting: an interest is armed (once) per queue and kind; when the thing is so the service
 * signals it, and it is pending until a WATCH answer that carried it has arrived, which the next
 * WATCH says by `seen`. So a lost answer loses no event.
 *
 * Those whose GET found nothing stand in a line, and no more of them are told than there are items:
 * of a thousand mounts that wait for one queue, one item wakes one. Where it does not come for the
 * item (its reader has gone, it hangs), twice as many are told a moment later, and so on.
 *
 * Answers: each GET, SETTLE, MAKE, REMOVE, SET and PURGE has a struct reply, from its first coming
 * until answered_below has passed its number. One that comes again while it is worked on takes the
 * place of the one before. SYNC, ARM and LIST change nothing that matters: each is answered anew.
 * Where more of them are kept than there is memory for, those who have the most lose their oldest:
 * one may have no more than what is left for all others.
 *
 * Looks: SYNC and LIST, whose answers are long. Sessions take turns at them.
 *
 * The end: a session that was silent for too long, or that holds nothing while others want its
 * place, is found by its id no more; its leases end bit by bit, as there may be very many.
 */
#ifndef QUEUEFS_CORE_SERVICE_SESSION_H
#define QUEUEFS_CORE_SERVICE_SESSION_H

#include <stdbool.h>

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "core/request.h"
#include "core/queue/queue.h"
#include "core/service/answers.h"

#define SESSION_LIFE_US     INT64_C(30000000)
#define SESSION_WATCH_US    INT64_C(60000000) /* a WATCH is parked for at most so long */
#define SESSION_REPLIES_MAX 65536
#define SESSION_KEPT_MAX    ((size_t)32 << 20) /* bytes of answers that are kept, of all */
#define SESSION_CALL_US     INT64_C(50000) /* whoever is told of an item has so long to come for it */
#define SESSIONS_MAX        16384
#define SESSIONS_LOOK       256    /* so many are looked at for one that holds nothing */
#define INTERESTS_MAX       262144 /* what all wait for; one as much as is left for all others */

struct interest {
    RB_ENTRY(interest) by_queue;
    LIST_ENTRY(interest) armed_link;    /* in queue->armed, while armed */
    TAILQ_ENTRY(interest) line_link;    /* in queue->line, while in line */
    TAILQ_ENTRY(interest) pending_link; /* in session->pending, while pending */
    struct session *session;
    uint64_t queue; /* number; 0: EVENT_QUEUES */
    uint32_t armed, pending;
    struct queue *line; /* of which it stands in line; then it is not armed for EVENT_READY */
    uint64_t carried;   /* sequence of the WATCH answer that told it; 0: none yet */
};

RB_HEAD(interest_tree, interest);

struct reply {
    RB_ENTRY(reply) by_number;
    TAILQ_ENTRY(reply) link; /* in a list of the service, while worked on */
    struct session *session;
    uint64_t number; /* 0: kept for nobody */
    enum request_kind kind;
    uint64_t queue;
    struct request *request; /* NULL: answered */
    int status;
    bool given;   /* GET: the lease was laid into an answer */
    bool is_kept; /* and counted: it is answered, and may be asked for again */
    union {
        struct lease lease; /* GET */
        struct {
            uint64_t n_late;
            size_t n_done; /* of the request's settlements */
        } settle;
        uint64_t made; /* number, of MAKE and SET */
        struct {
            uint64_t below, n_items;
        } purge;
    } result;
};

RB_HEAD(reply_tree, reply);
TAILQ_HEAD(reply_list, reply);

struct session {
    RB_ENTRY(session) by_id;
    TAILQ_ENTRY(session) link;
    struct sessions *sessions;
    struct producer_id id;
    struct identity owner; /* whoever asked first: admit.c */
    bool bound, warned;    /* owner is set; somebody else was refused, and that is logged */
    bool denied;           /* it was refused something, and that is logged */
    uint64_t service; /* what it is told of the service's life: another one for a session that was
                         forgotten and begins anew, as all it had armed is forgotten too */
    int64_t last_us;  /* its last request; monotonic */
    int64_t mount_us; /* its last SYNC or WATCH; -1: none */
    struct lessee lessee;

    struct interest_tree interests;
    TAILQ_HEAD(, interest) pending; /* told ones first */
    struct request *watch;          /* parked */
    bool due;                       /* in sessions.due: parked, and there is something to tell */
    TAILQ_ENTRY(session) due_link;
    int64_t watch_until_us;
    uint64_t sequence; /* of the last WATCH answer */
    bool watches;      /* has ever sent one */

    struct reply_tree replies;
    size_t n_replies, n_working, n_interests;
    size_t kept_bytes;    /* of its replies */
    struct answers looks; /* requests that wait for their turn */
    TAILQ_ENTRY(session) look_link;
    uint64_t answered_below;
};

RB_HEAD(session_tree, session);

struct sessions {
    struct session_tree by_id;
    TAILQ_HEAD(session_list, session) all; /* least recently heard of first */
    struct session_list due;               /* WATCHes to be answered */
    struct session_list looking;           /* with looks, the next one first */
    struct session_list ending;            /* their leases are to end */
    size_t n;                              /* of all */
    struct session *hand;                  /* where the search for one that holds nothing goes on */
    size_t kept_bytes, n_interests;        /* of all sessions */
    bool counted;                          /* n_mounts is as of now */
    uint32_t n_mounts;
    uint64_t service; /* the next session's */
    int64_t watch_us; /* no parked WATCH ends by time before this */
};

void sessions_init(struct sessions *all, uint64_t service);

/* The session a request is of, made if need be, and noted as heard of. NULL: out of memory, or
 * too many. Answers: of one that had to go for it. */
struct session *sessions_touch(struct sessions *all, const struct request *request, int64_t now_us,
                               struct answers *answers);
struct session *sessions_find(struct sessions *all, const struct producer_id *id);
uint32_t sessions_count_mounts(struct sessions *all, int64_t now_us);

/* A session that has not been heard of for SESSION_LIFE_US and has no request at work; NULL. */
struct session *sessions_expired(struct sessions *all, int64_t now_us);
/* What it asked for ends with status, and it is found no more; sessions_reap() frees it. */
void session_end(struct session *s, int status, struct answers *answers);
/* One bit of what is left to do for those that have ended. False: there is nothing. */
bool sessions_reap(struct sessions *all);
/* When something of all this is due next. */
int64_t sessions_deadline(const struct sessions *all);

/* ---- watch.c ---- */

/* Tell the session's WATCH once `kinds` are so. 0 or -ENOMEM. */
int session_arm(struct session *s, struct queue *q, uint32_t kinds);
/* Tell it of an item of the queue in its turn. 0 or -ENOMEM. */
int session_stand_in_line(struct session *s, struct queue *q);
/* The queue has changed: tell as many in line as there are items. */
void queue_serve_line(struct queue *q);
/* Queues whose items nobody came for: tell more. */
void queues_call_again(struct queue_shared *shared);
/* When that is due; TIME_FOREVER: never. */
int64_t queues_call_us(const struct queue_shared *shared);
/* These are so: every session that is armed for one of them learns of it. */
void queue_signal(struct queue *q, uint32_t kinds);
/* The queue is removed: whoever is armed for anything learns of that. */
void queue_disarm(struct queue *q);
/* EVENT_QUEUES to every session that watches. */
void sessions_signal_queues(struct sessions *all);

/* A WATCH came: parks it. One that was parked ends without events. */
void session_watch(struct sessions *all, struct session *s, struct request *watch, int64_t now_us,
                   struct answers *answers);
/* End WATCHes that have something to tell, or whose time is over. */
void sessions_answer_watches(struct sessions *all, int64_t now_us, struct answers *answers);
void session_free_interests(struct session *s);

/* ---- repeats.c ---- */

enum reply_news {
    REPLY_NEW,       /* to be worked on */
    REPLY_REPEATED,  /* was answered before: answer it with the same */
    REPLY_WORKED_ON, /* took the place of the one before */
};

/* 0 and *news, *reply; -EPROTO, -ENOMEM, -ETIMEDOUT: it was answered, and forgotten since;
 * -ENOTUNIQ: it is said not to be sent again, and its number was used. */
int reply_begin(struct session *s, struct request *request, struct answers *answers,
                enum reply_news *news, struct reply **reply);
/*
 * Answer the reply's request; out and state are set. May free the reply. Failures are kept like all
 * else: whoever tries again does so under another number, and a late copy of the old one must not
 * be done. But -ETIMEDOUT is no answer, and the reply stays what it is for the next copy.
 */
void reply_end(struct reply *reply, int status, struct answers *answers);
void session_free_replies(struct session *s);

/* ---- look.c ---- */

/* It waits for its turn. */
void session_look(struct session *s, struct request *look);
/* The next one whose turn it is, one of `kind` where that is not REQUEST_KINDS; NULL: none. */
struct request *sessions_next_look(struct sessions *all, enum request_kind kind);
bool sessions_has_look(const struct sessions *all, enum request_kind kind);
/* Those of one session end with status. */
void session_end_looks(struct session *s, int status, struct answers *answers);

#endif
