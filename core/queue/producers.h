/*
 * Exactly-once puts: for each producer of a queue the number of the last item stored, kept in the
 * transaction that stores the items. A put says the number of its first item: what is stored
 * already is skipped, what would leave a gap is held back until the gap fills, for HOLD_US at most
 * and within HOLD_REQUESTS and HOLD_BYTES. So retries, batches cut anew, late copies and a put of
 * which only a part was admitted are all harmless.
 *
 * Two that put under one id (see request.h) are told apart before anything is stored: by `repeat`,
 * and by the chain of what is stored. A repeat that ends below `last` is the producer's to judge:
 * it is told the chain at `last`, and knows what it has sent.
 *
 * Producers are forgotten by the store's own running time: neither a clock that jumps nor a service
 * that was down for long makes a retry new.
 *
 * `epoch`, `last` and `chain` run ahead of the record by what the open group stages; commit or
 * failure brings them together again.
 */
#ifndef QUEUEFS_CORE_QUEUE_PRODUCERS_H
#define QUEUEFS_CORE_QUEUE_PRODUCERS_H

#include <stdbool.h>

#include "core/queue/queue.h"

#define SEQUENCE_HOLD_US       INT64_C(1000000)
#define SEQUENCE_HOLD_REQUESTS 64
#define SEQUENCE_HOLD_BYTES    ((size_t)128 << 20)
#define SEQUENCE_KEEP_US       (INT64_C(24) * 3600 * 1000000) /* after its last put */

struct sequence {
    RB_ENTRY(sequence) by_producer;
    struct queue *queue;
    struct sequence_record record; /* as committed */
    uint64_t epoch, last, chain;
    bool fresh; /* no put was ever taken: the first says which epoch it is */
    bool is_staged;
    TAILQ_ENTRY(sequence) staged_link, holding_link;

    struct request *held; /* by base, by request.next */
    size_t n_held, held_bytes;
    int64_t held_until_us;
};

enum sequence_verdict {
    SEQUENCE_STORE,  /* items from *skip on are new */
    SEQUENCE_REPEAT, /* all of it is stored */
    SEQUENCE_GAP,
    SEQUENCE_STALE,  /* of an older epoch */
    SEQUENCE_DOUBLE, /* somebody else puts under this id */
};

/* Of that producer, made if it is not there; NULL: out of memory. */
struct sequence *sequence_get(struct queue *q, const struct producer_id *producer);
/* As loaded. 0 or -ENOMEM. */
int sequence_add(struct queue *q, const struct sequence_record *record);
void sequence_free(struct sequence *seq); /* holds nothing, is not staged */

/* What to do with a put. A newer epoch begins here, at its base. */
enum sequence_verdict sequence_check(struct sequence *seq, const struct request *put,
                                     uint32_t *skip);

/* These items are staged. */
void sequence_stage(struct sequence *seq, const struct batch_view *items);
/* What was staged is committed (at this running time), or will not be. */
void sequence_commit(struct sequence *seq, int64_t ran_us);
void sequence_revert(struct sequence *seq);

/* Hold a put back. False: too many, it must be answered. */
bool sequence_hold(struct sequence *seq, struct request *put);
/* A held put that may go on now, or of any number if `any`; NULL: none. */
struct request *sequence_release(struct sequence *seq, bool any);

/* Nothing was put for SEQUENCE_KEEP_US. */
bool sequence_is_old(const struct sequence *seq, int64_t ran_us);

RB_PROTOTYPE(sequence_tree, sequence, by_producer, sequence_compare)

#endif
