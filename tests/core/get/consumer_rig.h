/*
 * A consumer under test: time that stands still until it is moved, a producer that is two numbers,
 * and a service that is a vector of items with leases. Requests are gathered and answered one by
 * one, in any order, by the test: executed and answered, or failed before or after they were
 * executed. A request that comes again after it was executed gets the same items.
 */
#ifndef QUEUEFS_TESTS_CORE_GET_CONSUMER_RIG_H
#define QUEUEFS_TESTS_CORE_GET_CONSUMER_RIG_H

#include "core/clock.h"
#include "core/get/consumer_state.h"

struct producer {
    uint64_t last, acked; /* what a push returns, what is acknowledged */
    unsigned n_pushes;
};

struct item {
    uint64_t batch;
    uint32_t index;
    enum framing framing;
    uint8_t *data; /* with the separator; owned */
    size_t len;
    enum item_state state;
    uint64_t token;
    uint64_t holder; /* number of the GET that leased it */
    unsigned n_leases;
    unsigned n_renewals;
    int64_t first_us, until_us; /* of a claim's lease */
};

/* A read, close, flush or poll of a test. */
struct call {
    struct op op;
    struct rig *rig;
    bool done;
    unsigned serial; /* the order in which calls ended, from 1 */
    ssize_t result;
    char *bytes; /* a copy with a NUL behind it; owned */
};

struct rig {
    pthread_mutex_t lock;
    int64_t now_us;
    struct producer producer;
    struct budget budget;
    struct all_settings settings;
    struct queue_state state;
    struct consumer *c;
    struct consumer *other; /* its peer, of the other kind; NULL: none */
    atomic_size_t kept_bytes;
    struct effects effects;

    struct item *items;
    size_t n_items, cap_items;
    uint64_t token;
    uint64_t number; /* of the last request that was seen for the first time */
    bool armed;      /* somebody asked to be told of the next ready item */
    uint64_t n_late;

    struct request *sent[64]; /* not answered yet, in order */
    size_t n_sent;
    unsigned n_gets, n_settles, n_arms; /* ever sent */
    unsigned n_ended;
};

extern bool rig_in_core; /* for tests whose allocator fails */

void rig_init(struct rig *rig);
/* As rig_init(), with two consumers: `c` of kind GET_CLAIM, `other` of kind GET_STREAM. */
void rig_init_claims(struct rig *rig);
void rig_fini(struct rig *rig); /* ends the consumer; asserts that nothing is left */

/* Store a batch. Items end with their separator; framing file: the text is one item. */
void rig_put(struct rig *rig, uint64_t batch, enum framing framing, const char *text);
/* A batch of n items "batch:index...\n", each of `len` bytes with the separator. */
void rig_put_many(struct rig *rig, uint64_t batch, uint32_t n, size_t len);
/* What the service would do if it was armed. */
void rig_tell(struct rig *rig);

struct reader *rig_reader(struct rig *rig, uint64_t limit, int64_t timeout_us);
/* One of `other`. All calls take readers of both. */
struct reader *rig_other_reader(struct rig *rig, uint64_t limit, int64_t timeout_us);
int rig_hold(struct rig *rig, uint64_t id, enum settle_verb verb); /* consumer_settle() */

/* Begin calls; fields that matter are set, others may be set in call->op before. */
void call_init(struct call *call, struct rig *rig);
void call_fini(struct call *call);
void rig_read(struct rig *rig, struct reader *r, struct call *call, size_t len, int64_t offset);
void rig_peek(struct rig *rig, struct reader *r, struct call *call);
void rig_peek_no_more(struct rig *rig, struct reader *r);
void rig_close(struct rig *rig, struct reader *r, struct call *call);
void rig_poll(struct rig *rig, struct reader *r, struct call *call);
void rig_flush(struct rig *rig, struct call *call, int64_t timeout_us);
void rig_release(struct rig *rig, struct reader *r);
void rig_changed(struct rig *rig, bool rearm);
void rig_end(struct rig *rig, int error);
void rig_shut(struct rig *rig);

/* Answer sent[i]; with `status`, without having executed it unless `execute`. */
void rig_answer(struct rig *rig, size_t i, int status, bool execute);
/* What the service does for a request; the answer is the test's to give, with execute false. */
void rig_execute(struct rig *rig, struct request *request);
/* Claims whose lease has ended are ready again. */
void rig_expire(struct rig *rig);
/* Answer all in order until nothing is sent any more. */
void rig_settle_down(struct rig *rig);
/* Move the time on, ticking at each deadline on the way. */
void rig_pass(struct rig *rig, int64_t us);

/* The index in sent[] of the first request of that kind, or -1. */
int rig_find(const struct rig *rig, enum request_kind kind);
size_t rig_count(const struct rig *rig, enum item_state state);

/* A whole read with its answers: asserts what it gives ("" is end of file). */
void rig_expect(struct rig *rig, struct reader *r, size_t len, const char *text);
void rig_expect_error(struct rig *rig, struct reader *r, size_t len, int64_t offset, int error);
/* A close and release with their answers. */
void rig_leave(struct rig *rig, struct reader *r);

#define BULK CONSUMER_BULK_READ

#endif
