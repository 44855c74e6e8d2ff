/*
 * The inside of the local engine: local_replay.c (changes applied, at a commit and at a start),
 * cleaner.c (room in the log), local_commit.c (what follows a commit), local_rows.c (the tables),
 * local.c (open, transactions) and reader.c (a store that is only read). Each knows only those
 * before it.
 *
 * A transaction gathers its changes; commit appends them to the log as one record. They are applied
 * to the index when the store is told to catch up, which nobody waits for, or with the next call on
 * it. So reads see what is committed, and a transaction that fails has changed nothing.
 */
#ifndef QUEUEFS_CORE_STORE_LOCAL_STATE_H
#define QUEUEFS_CORE_STORE_LOCAL_STATE_H

#include "core/store/batch_cache.h"
#include "core/store/changes.h"
#include "core/store/commit_log.h"
#include "core/store/index.h"
#include "core/store/live.h"
#include "core/store/record.h"
#include "core/store/store.h"

/* Rows of INDEX_META, by key.queue. */
enum local_meta {
    LOCAL_META_FORMAT = 0,   /* the index's own */
    LOCAL_META_POSITION = 1, /* of the log: what is before it is in the index */
    LOCAL_META_LIVE = 2,     /* see live.h */
    LOCAL_META_LAST_QUEUE = 3,
    LOCAL_META_IDENTITY = 4,
    LOCAL_META_IMPORT = 5, /* under way: queue and first batch */
};

enum local_transaction { LOCAL_NONE, LOCAL_OPEN, LOCAL_FAILED };

/* What the cleaner has in hand: a record, where the next one is, and where in its body it is. */
struct local_cleaning {
    uint64_t record; /* 0: none */
    uint64_t len, next, at;
    uint64_t walked; /* a segment whose records were all walked along: its position + 1 */
};

/* The last time that all of the log was moved. */
struct local_round {
    uint64_t end;  /* of the log when that began: what lies before is moved; 0: never */
    uint64_t died; /* live.died of then */
};

struct local_store {
    struct store base;
    struct local_options options;
    char *dir; /* NULL: in memory */
    int dir_fd;
    bool gone;  /* as last seen */
    bool sound; /* the index has all that the log has, but for the open transaction */

    struct commit_log *log;
    struct store_index *index;
    struct live live;
    struct batch_cache cache;
    uint64_t checkpoint; /* the index on disk has all before this position */
    uint64_t n_damaged;  /* records of the log that are not whole */
    uint64_t n_cut;      /* 1: its end is missing, as the index has told; one of these */
    uint64_t n_said;     /* lines about damaged batches */
    bool reading;        /* by reader.c: nothing of it is changed on disk */

    enum local_transaction transaction;
    int error; /* why it failed */
    struct changes changes;
    uint64_t unapplied;  /* position of the record that they are, if the index lacks them; else 0 */
    int failed;          /* to apply them: of no use any more */
    bool puts, marks;    /* a batch is among them, a mark */
    uint64_t last_queue; /* as of the open transaction */
    size_t n_committed;  /* changes of the one before */

    struct local_cleaning clean, clean_before; /* before: of the open transaction */
    size_t n_moved;                            /* of the changes: what is moved comes first */
    struct local_round round;
    uint8_t *clean_bytes; /* owned */
    size_t clean_size;
};

static inline struct local_store *local_of(struct store *store)
{
    return (struct local_store *)store;
}

/* ---- local_replay.c ---- */

/* Bytes of the batch's items without what its mark says is done, or negative errno. The mark is
 * lent; its length is 0 where there is none. */
int64_t local_batch_left(struct local_store *s, const struct index_row *batch,
                         struct index_row *mark);
/* How many bytes of it the index has: of a batch the head alone. */
size_t local_indexed(const struct change *change);
/* A change of the record at `record`, into the index and the accounts. */
int local_apply(struct local_store *s, const struct change *change, uint64_t record);
/* A start: the index is opened, and what it lacks is applied to it from the log; where it is of no
 * use it is made anew. */
int local_load(struct local_store *s);
/* The same after a row of the index turned out to be damaged, all of it from the log. */
int local_reindex(struct local_store *s);
/* The index is durable as of now, but where memory is short. */
int local_checkpoint(struct local_store *s);

/* ---- cleaner.c ---- */

/* Before a transaction's own changes: some of what lives in the oldest segment is written again,
 * where the log is too large for what lives. */
int local_clean(struct local_store *s);
/* They are committed, or will not be. */
void local_cleaned(struct local_store *s, bool committed);
/* Segments at the beginning in which nothing lives are given back. */
int local_drop(struct local_store *s);

/* ---- local_commit.c ---- */

/* One line for what must end the service. -EIO. */
int local_fatal(struct local_store *s, const char *doing, int rc);
/* The changes of the last commit, where that was not done yet. 0 or -EIO. */
int local_apply_last(struct local_store *s);

/* ---- local_rows.c: store_ops ---- */

int local_queue_put(struct store *store, const struct queue_record *record);
int local_queue_remove(struct store *store, uint64_t queue);
int local_queue_next(struct store *store, uint64_t from, struct queue_record *record);
int local_queue_last_number(struct store *store, uint64_t *number);
int local_batch_put(struct store *store, uint64_t queue, uint64_t batch,
                    const struct batch_view *view);
int local_batch_remove(struct store *store, uint64_t queue, uint64_t batch);
int local_batch_get(struct store *store, uint64_t queue, uint64_t batch, struct batch_view *view);
int local_batch_read(struct store *store, uint64_t queue, uint64_t batch, void *to, size_t len,
                     struct batch_view *view);
int local_batch_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                     struct batch_view *view);
int local_mark_put(struct store *store, uint64_t queue, uint64_t batch, const void *data,
                   size_t len);
int local_mark_remove(struct store *store, uint64_t queue, uint64_t batch);
int local_mark_next(struct store *store, uint64_t queue, uint64_t from, uint64_t *batch,
                    const void **data, size_t *len);
int local_sequence_put(struct store *store, uint64_t queue, const struct sequence_record *record);
int local_sequence_remove(struct store *store, uint64_t queue, const struct producer_id *producer);
int local_sequence_next(struct store *store, uint64_t queue, const struct producer_id *after,
                        struct sequence_record *record);
int local_identity_put(struct store *store, const void *data, size_t len);
int local_identity_get(struct store *store, const void **data, size_t *len);
int local_import_begin(struct store *store, uint64_t queue, uint64_t batch);
int local_import_end(struct store *store);
/* Of the one under way. -ENOENT: there is none. */
int local_import_get(struct store *store, uint64_t *queue, uint64_t *batch);

#endif
