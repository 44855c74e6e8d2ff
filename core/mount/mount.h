/*
 * All queues as one mount sees them: what the FUSE side calls. Knows the queues from the service's
 * SYNC answers (at most 2 s old), holds the one WATCH, ticks the deadlines on a thread of its own,
 * and takes the locks around producer.c and consumer.c. Any thread may call anything here; nothing
 * blocks. Ops end as op.h says.
 */
#ifndef QUEUEFS_CORE_MOUNT_MOUNT_H
#define QUEUEFS_CORE_MOUNT_MOUNT_H

#include "core/request.h"
#include "core/clock.h"
#include "core/get/consumer.h"
#include "core/item.h"
#include "core/op.h"
#include "core/put/producer.h"

struct mount;
struct ticker;      /* ticker.h */
struct mount_queue; /* one queue; counted references */

/* What only the backend's owner knows, for `stats`. */
struct link_info {
    bool connected;
    char endpoint[256];
    char last_error[256];
    uint64_t retries; /* requests sent again */
};

/* What `queues:` of the settings file says, with `defaults:` beneath. The mount makes the queue at
 * its start where it is missing; where it is there with other own settings, that is one warning. */
struct preset {
    char name[QUEUE_NAME_MAX + 1];
    struct all_settings settings;
    uint64_t given; /* setting_bit() of those that stand in the file */
};

struct mount_options {
    struct backend *backend;
    const struct clock *clock;
    struct producer_id id; /* random: this life of the mount */
    int64_t buffer_total;  /* what follows from it: budget.h */
    bool by_uid;           /* users other than `owner` and root are let in */
    uid_t owner;
    int64_t timeout_us; /* service.timeout */
    int64_t silence_us; /* so long a silent service is waited for (service_call.h); 0: a second */
    struct all_settings defaults; /* of queues not listed, and of those that mkdir makes */
    const struct preset *queues;  /* copied */
    size_t n_queues;
    void (*link_info)(void *arg, struct link_info *info); /* must not block; NULL: always there */
    void *link_arg;
    bool own_service; /* it is this mount's, and ends with it */
};

int mount_new(const struct mount_options *options, struct mount **mount);

/* Start the thread, ask for the queues. After the last fork. Returns when the first SYNC was
 * answered and the queues of the settings file are made, or after wait_us: the service is away,
 * -ETIMEDOUT, everything goes on behind. The queues of the settings file are there then; what is
 * put is sent once the service knows them. */
int mount_start(struct mount *mount, int64_t wait_us);

/* What could not be sent, for the last words of the program. */
struct mount_rest {
    uint64_t n_items;      /* buffered and not acknowledged */
    uint64_t n_unfinished; /* opens with an item that has no end */
};

/*
 * End: new ops get -ESHUTDOWN, parked ones too; what is buffered is sent, for at most timeout_us;
 * pools go back. Waits for that (no FUSE thread may call it), and logs what for. Where its own
 * service takes nothing more, and no other mount is there to make room, it soon gives up. Then only
 * release calls are allowed.
 */
void mount_stop(struct mount *mount, int64_t timeout_us, struct mount_rest *rest);

/* After mount_stop and after the backend answers no more. Takes NULL. */
void mount_free(struct mount *mount);

/* What its users hold, and may. */
struct budget *mount_budget(struct mount *mount);

/* The mount's deadlines, for those of others too, none of which may be armed at mount_free(). */
struct ticker *mount_ticker(struct mount *mount);

/* ---- queues, from memory ---- */

/* By name, with a reference, or NULL. */
struct mount_queue *mount_find(struct mount *mount, const char *name);

/* The queue with the lowest number above `after` (0: first), with a reference, or NULL: readdir. */
struct mount_queue *mount_next(struct mount *mount, uint64_t after);

struct mount_queue *mount_queue_ref(struct mount_queue *mq);
void mount_queue_unref(struct mount_queue *mq); /* takes NULL */

struct mount_queue_info {
    uint64_t number; /* this mount's, in order of mount_next(); never changes */
    char name[QUEUE_NAME_MAX + 1];
    int64_t made_us; /* wall clock */
    struct all_settings settings;
    struct queue_state state;
    bool gone;
};
void mount_queue_info(struct mount_queue *mq, struct mount_queue_info *info);

/* Whether the service lets this mount do that with the queue (ACCESS_*, or'ed), as last heard: 0 or
 * -EACCES. The service checks each request. */
int mount_queue_may(struct mount_queue *mq, uint32_t rights);

/* Space of the store as last heard, for statfs. */
void mount_space(struct mount *mount, struct store_space *space, uint64_t *n_queues);

/* ---- changes that ask the service: the op ends after silence_us at most (-ETIMEDOUT), and at once
 * where it has been silent for so long (service_call.h) ---- */

/* mkdir: 0 and the queue is found by name, -EEXIST, -EINVAL (name), -ETIMEDOUT. */
void mount_make_queue(struct mount *mount, const char *name, int64_t mode, int64_t owner,
                      int64_t group, struct op *op);
/* rmdir: -ENOTEMPTY also for what is buffered here, -EBUSY never. */
void mount_remove_queue(struct mount *mount, struct mount_queue *mq, struct op *op);
/* chmod, chown, config: those of `fields` (core/settings.h) are set. The queue's own are stored by
 * the service, over what it has by then; then the mount's take effect. -EINVAL with nothing
 * changed. */
void mount_queue_set(struct mount_queue *mq, const struct all_settings *settings, uint64_t fields,
                     struct op *op);
void mount_queue_purge(struct mount_queue *mq, struct op *op);

/* ---- puts: producer.h says what each does ---- */

/* What is written is this user's (budget.h). -ENOENT, -ESHUTDOWN, -ENOMEM. */
int mount_queue_writer_open(struct mount_queue *mq, uid_t uid, struct writer **writer);
/* Whether some open of this queue has an unfinished item, which its last close would end. */
bool mount_queue_unfinished(struct mount_queue *mq);
void mount_queue_write(struct mount_queue *mq, struct writer *w, struct op *op);
void mount_queue_writer_close(struct mount_queue *mq, struct writer *w, struct op *op);
void mount_queue_writer_release(struct mount_queue *mq, struct writer *w); /* frees it */
void mount_queue_sync(struct mount_queue *mq, struct writer *w, struct op *op);
void mount_queue_flush(struct mount_queue *mq, struct op *op); /* puts, settlements, renewals */
void mount_flush(struct mount *mount, struct op *op);          /* of all queues; the first error */
/* True: writable now (op not used). False: the op parked and ends when it is. */
bool mount_queue_writer_poll(struct mount_queue *mq, struct writer *w, struct op *op);

/* ---- gets: consumer.h ---- */

/* GET_STREAM: out, next. GET_CLAIM: claim; what it gives are ids, a line each, of items that are
 * held from then on (below). */
int mount_queue_reader_open(struct mount_queue *mq, uid_t uid, enum get_kind kind, uint64_t limit,
                            int64_t timeout_us, struct reader **reader);
void mount_queue_read(struct mount_queue *mq, struct reader *r, struct op *op);
void mount_queue_peek(struct mount_queue *mq, struct reader *r, struct op *op);
void mount_queue_peek_no_more(struct mount_queue *mq, struct reader *r);
int64_t mount_queue_reader_size(struct mount_queue *mq, const struct reader *r);
void mount_queue_reader_close(struct mount_queue *mq, struct reader *r, struct op *op);
void mount_queue_reader_release(struct mount_queue *mq, struct reader *r);
bool mount_queue_reader_poll(struct mount_queue *mq, struct reader *r, struct op *op);

/* ---- items this mount holds: its claims, from memory (claims.h); none of these waits ---- */

struct claim; /* an open of one; counted references */

/* False: not held, or the lease has ended. info->state is ITEM_LEASED, until_us the lease's end. */
bool mount_queue_claim(struct mount_queue *mq, uint64_t id, struct item_info *info);

/* Up to `max` of those with ids from `from` on, by id; how many. */
size_t mount_queue_claim_list(struct mount_queue *mq, uint64_t from, struct item_info *infos,
                              size_t max);

/*
 * While it is open the lease is renewed, and from the last close it runs in full again. 0 or
 * -ENOENT. The bytes stay until the close, whatever becomes of the lease. *data NULL: they are not
 * kept here (the item is large), ask mount_queue_look() for them.
 */
int mount_queue_claim_open(struct mount_queue *mq, uint64_t id, struct claim **claim,
                           const uint8_t **data, size_t *len);
void mount_queue_claim_close(struct mount_queue *mq, struct claim *claim);

/*
 * SETTLE_ACK, SETTLE_NACK, SETTLE_BURY, SETTLE_RENEW: checked against the lease as this mount knows
 * it, and sent behind, many together. 0; -ENOENT, of SETTLE_RENEW -ESTALE: the lease has ended.
 */
int mount_queue_claim_settle(struct mount_queue *mq, uint64_t id, enum settle_verb verb);

/*
 * ---- items that nobody holds: these ask the service, for silence_us at most (-ETIMEDOUT), and at
 * once where it has been silent for so long (service_call.h). What this mount settled before is
 * settled then.
 */

struct item_answer {
    const struct item_info *items; /* by id */
    size_t n_items;
    uint64_t next; /* `from` of the next mount_queue_list(); 0: there are no more */
    const uint8_t *data;
    size_t len;
};

/* `states`: 1 << enum item_state, or'ed. 0 and op->answer: some, perhaps none, of those with ids
 * from `from` on, at most `max`. */
void mount_queue_list(struct mount_queue *mq, uint32_t states, uint64_t from, uint32_t max,
                      struct op *op);

/* One item, with its bytes if `bytes`. 0 and op->answer with one; -ENOENT: none in these states. */
void mount_queue_look(struct mount_queue *mq, uint64_t id, uint32_t states, bool bytes,
                      struct op *op);

/* Claim this one. 0: it is held; -ENOENT: it is neither ready nor delayed. */
void mount_queue_take(struct mount_queue *mq, uint64_t id, struct op *op);

/* SETTLE_DROP, SETTLE_REVIVE, SETTLE_FORGET. 0; -ENOENT: the item is not there in that state. */
void mount_queue_settle(struct mount_queue *mq, uint64_t id, enum settle_verb verb, struct op *op);

/* ---- stats: the whole text of a `stats` file, malloc'ed; NULL: out of memory ---- */

char *mount_queue_stats(struct mount_queue *mq);
char *mount_stats(struct mount *mount);

#endif
