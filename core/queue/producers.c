/* The rules of item numbers. Nothing here stores or answers. */
#include "core/queue/producers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/chain.h"

static int sequence_compare(const struct sequence *a, const struct sequence *b)
{
    return memcmp(&a->record.producer, &b->record.producer, sizeof(struct producer_id));
}

RB_GENERATE(sequence_tree, sequence, by_producer, sequence_compare)

static struct sequence *sequence_new(struct queue *q, const struct sequence_record *record)
{
    struct sequence *seq = calloc(1, sizeof(*seq));

    if (!seq)
        return NULL;
    seq->queue = q;
    seq->record = *record;
    seq->epoch = record->epoch;
    seq->last = record->last;
    seq->chain = record->chain;
    RB_INSERT(sequence_tree, &q->sequences, seq);
    return seq;
}

struct sequence *sequence_get(struct queue *q, const struct producer_id *producer)
{
    struct sequence wanted = {.record.producer = *producer};
    struct sequence *seq = RB_FIND(sequence_tree, &q->sequences, &wanted);

    if (seq)
        return seq;
    wanted.record.last_used_us = q->shared->ran_us;
    seq = sequence_new(q, &wanted.record);
    if (seq)
        seq->fresh = true;
    return seq;
}

int sequence_add(struct queue *q, const struct sequence_record *record)
{
    return sequence_new(q, record) ? 0 : -ENOMEM;
}

void sequence_free(struct sequence *seq)
{
    assert(!seq->held && !seq->is_staged);
    RB_REMOVE(sequence_tree, &seq->queue->sequences, seq);
    free(seq);
}

static void begin_epoch(struct sequence *seq, const struct request *put, bool at_base)
{
    seq->epoch = put->in.put.epoch;
    seq->last = at_base ? put->in.put.base - 1 : 0;
    seq->chain = at_base ? put->in.put.chain : 0;
    seq->fresh = false;
}

/* Whether what is stored of the put's numbers are its bytes, as far as can be said. */
static bool is_same(const struct sequence *seq, const struct request *put, uint64_t end)
{
    const struct batch_view *batch = &put->in.put.batch;
    uint64_t chain = put->in.put.chain;

    if (end < seq->last)
        return true;
    if (end == seq->last)
        chain = chain_append(chain, batch);
    else if (put->in.put.base <= seq->last)
        chain = chain_append_some(chain, batch, (uint32_t)(seq->last + 1 - put->in.put.base));
    return chain == seq->chain;
}

enum sequence_verdict sequence_check(struct sequence *seq, const struct request *put,
                                     uint32_t *skip)
{
    uint64_t base = put->in.put.base, end = base + put->in.put.batch.n_items - 1;

    if (seq->fresh)
        begin_epoch(seq, put, put->in.put.begins);
    if (put->in.put.epoch < seq->epoch)
        return SEQUENCE_STALE;
    if (put->in.put.epoch > seq->epoch)
        begin_epoch(seq, put, true);
    if (base > seq->last + 1)
        return SEQUENCE_GAP;
    if ((base <= seq->last && !put->repeat) || !is_same(seq, put, end))
        return SEQUENCE_DOUBLE;
    if (end <= seq->last)
        return SEQUENCE_REPEAT;
    *skip = (uint32_t)(seq->last + 1 - base);
    return SEQUENCE_STORE;
}

void sequence_stage(struct sequence *seq, const struct batch_view *items)
{
    seq->last += items->n_items;
    seq->chain = chain_append(seq->chain, items);
    if (!seq->is_staged)
        TAILQ_INSERT_TAIL(&seq->queue->shared->staged, seq, staged_link);
    seq->is_staged = true;
}

static void unstage(struct sequence *seq)
{
    if (seq->is_staged)
        TAILQ_REMOVE(&seq->queue->shared->staged, seq, staged_link);
    seq->is_staged = false;
}

void sequence_commit(struct sequence *seq, int64_t ran_us)
{
    unstage(seq);
    seq->record.epoch = seq->epoch;
    seq->record.last = seq->last;
    seq->record.chain = seq->chain;
    seq->record.last_used_us = ran_us;
}

void sequence_revert(struct sequence *seq)
{
    unstage(seq);
    seq->epoch = seq->record.epoch;
    seq->last = seq->record.last;
    seq->chain = seq->record.chain;
    seq->fresh = seq->record.last == 0 && seq->record.epoch == 0;
}

bool sequence_hold(struct sequence *seq, struct request *put)
{
    struct request **at = &seq->held;
    struct queue_shared *shared = seq->queue->shared;

    if (seq->n_held >= SEQUENCE_HOLD_REQUESTS ||
        put->in.put.batch.len > SEQUENCE_HOLD_BYTES - seq->held_bytes)
        return false;
    if (!seq->held) {
        seq->held_until_us = shared->now_us + SEQUENCE_HOLD_US;
        TAILQ_INSERT_TAIL(&shared->holding, seq, holding_link);
    }
    while (*at && (*at)->in.put.base <= put->in.put.base)
        at = &(*at)->next;
    put->next = *at;
    *at = put;
    seq->n_held++;
    seq->held_bytes += put->in.put.batch.len;
    return true;
}

struct request *sequence_release(struct sequence *seq, bool any)
{
    struct request *put = seq->held;

    if (!put || (!any && put->in.put.epoch == seq->epoch && put->in.put.base > seq->last + 1))
        return NULL;
    seq->held = put->next;
    put->next = NULL;
    seq->n_held--;
    seq->held_bytes -= put->in.put.batch.len;
    seq->held_until_us = seq->queue->shared->now_us + SEQUENCE_HOLD_US;
    if (!seq->held)
        TAILQ_REMOVE(&seq->queue->shared->holding, seq, holding_link);
    return put;
}

bool sequence_is_old(const struct sequence *seq, int64_t ran_us)
{
    return !seq->held && !seq->is_staged && seq->record.last_used_us < ran_us - SEQUENCE_KEEP_US;
}
