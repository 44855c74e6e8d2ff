/*
 * How full the store is. LMDB's file never shrinks: pages that are free again are listed in its
 * first table, each value of which begins with how many it holds. Adding them up costs little where
 * there are few, but there may be thousands. So what was put since the last count is added to it,
 * which can only be too much, and it is counted anew when that comes near the limit, has become a
 * noticeable part of it, or when as many transactions have passed as make it cheap.
 *
 * Pages that a transaction freed can be used by the one after the next, and a batch needs pages in
 * a row. Hence three marks: at 90 % puts should be refused (`full`), at 95 % they are, and the
 * rest is there for deletes, which write a few pages before they free many.
 */
#include "core/store/lmdb_private.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/store/record.h"

/* Values of free pages to look at for each transaction, on the average. */
#define COUNT_SHARE 16

/* LMDB's own table of free pages. */
#define FREE_TABLE 0

static uint64_t percent(uint64_t whole, unsigned int part)
{
    return whole / 100 * part + whole % 100 * part / 100;
}

static uint64_t page_size(const struct lmdb_store *lmdb)
{
    MDB_stat stat;

    mdb_env_stat(lmdb->env, &stat);
    return stat.ms_psize;
}

/* At most what a batch takes: whole pages, or a place among other small ones. */
static uint64_t batch_cost(const struct lmdb_store *lmdb, size_t len)
{
    uint64_t page = page_size(lmdb), bytes = (uint64_t)len + RECORD_BATCH_BYTES;

    if (bytes < page / 2)
        return 2 * (bytes + 64);
    return (bytes + 64 + page - 1) / page * page;
}

/* Add up the free pages, and those that transaction `last` freed. */
static int count_free(MDB_txn *txn, uint64_t last, uint64_t *pages, uint64_t *fresh,
                      uint64_t *values)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, FREE_TABLE, &cursor);

    if (rc != 0)
        return lmdb_error(rc);
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        size_t n = 0, by = 0;

        if (key.mv_size != sizeof(by) || value.mv_size < sizeof(n)) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&by, key.mv_data, sizeof(by));
        memcpy(&n, value.mv_data, sizeof(n));
        *pages += n;
        *fresh += by == last ? n : 0;
        *values += 1;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : lmdb_error(rc);
}

static int count(struct lmdb_store *lmdb, const MDB_envinfo *info)
{
    uint64_t page = page_size(lmdb), all = (uint64_t)info->me_last_pgno + 1;
    uint64_t pages = 0, fresh = 0, values = 0;
    MDB_txn *txn;
    int rc = lmdb_reader(lmdb, &txn);

    if (rc == 0)
        rc = count_free(txn, info->me_last_txnid, &pages, &fresh, &values);
    if (rc < 0)
        return rc;
    lmdb->counted = true;
    lmdb->counted_at = info->me_last_txnid;
    lmdb->used_bytes = (pages < all ? all - pages : 0) * page;
    lmdb->fresh_bytes = fresh * page;
    lmdb->put_since = 0;
    lmdb->count_every = values / COUNT_SHARE;
    return 0;
}

/* Count anew where that is due; not within a transaction. */
static int count_if_due(struct lmdb_store *lmdb)
{
    MDB_envinfo info;
    uint64_t since;

    if (lmdb->transaction == LMDB_OPEN)
        return 0;
    mdb_env_info(lmdb->env, &info);
    since = info.me_last_txnid - lmdb->counted_at;
    if (lmdb->counted && since == 0) {
        lmdb->put_since = 0; /* of transactions that came to nothing */
        return 0;
    }
    if (!lmdb->counted || since > lmdb->count_every || lmdb->put_since > lmdb->max_bytes / 64 ||
        lmdb->used_bytes + lmdb->put_since > percent(lmdb->max_bytes, 85))
        return count(lmdb, &info);
    return 0;
}

bool lmdb_disk_short(const struct lmdb_store *lmdb, uint64_t need)
{
    struct statvfs disk;

    if (fstatvfs(lmdb->dir_fd, &disk) < 0)
        return false;
    return (uint64_t)disk.f_bavail * disk.f_frsize < need;
}

int lmdb_space(struct store *store, struct store_space *space)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    int rc = count_if_due(lmdb);

    if (rc < 0)
        return rc;
    space->used_bytes = lmdb->used_bytes + lmdb->put_since;
    space->limit_bytes = lmdb->max_bytes;
    space->full = space->used_bytes > percent(lmdb->max_bytes, 90) ||
                  lmdb_disk_short(lmdb, lmdb->min_free_bytes);
    space->damaged_rows = lmdb->damaged_rows;
    space->gone = lmdb_gone(lmdb);
    return 0;
}

/* An all but empty transaction: what the last one freed is old enough for the next. */
static int age(struct lmdb_store *lmdb)
{
    MDB_txn *txn;
    int rc;

    if (lmdb->reading)
        mdb_txn_reset(lmdb->read);
    lmdb->reading = false;
    rc = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (rc != 0)
        return lmdb_error(rc);
    rc = lmdb_meta_put(lmdb, txn, "aged", lmdb->counted_at);
    if (rc < 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return lmdb_error(mdb_txn_commit(txn));
}

int lmdb_space_prepare(struct lmdb_store *lmdb)
{
    int rc = count_if_due(lmdb);

    if (rc < 0)
        return rc;
    if (lmdb->fresh_bytes <= lmdb->max_bytes / 64 ||
        lmdb->used_bytes + lmdb->fresh_bytes <= lmdb->max_bytes / 2)
        return 0;
    lmdb->fresh_bytes = 0;
    rc = age(lmdb);
    return rc == -ENOSPC ? 0 : rc;
}

int lmdb_space_reserve(struct lmdb_store *lmdb, size_t len)
{
    uint64_t cost = batch_cost(lmdb, len);

    if (lmdb->used_bytes + lmdb->put_since + cost > percent(lmdb->max_bytes, 95))
        return -ENOSPC;
    lmdb->put_since += cost;
    lmdb->put_bytes += cost;
    return 0;
}
