/* What all of the engine's files stand on: errors, the transaction at work, the meta table, and
 * whether the file is still where it was. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/bytes.h"
#include "core/log.h"
#include "core/store/lmdb_private.h"
#include "core/store/record.h"

const char *const lmdb_table_names[LMDB_TABLES] = {
    [LMDB_META] = "meta",   [LMDB_QUEUES] = "queues",       [LMDB_BATCHES] = "batches",
    [LMDB_MARKS] = "marks", [LMDB_SEQUENCES] = "sequences",
};

int lmdb_error(int code)
{
    switch (code) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_KEYEXIST:
        return -EEXIST;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
        return -ENOSPC;
    case MDB_INVALID:
        return -EBADMSG;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
        return -EIO;
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
        return -EINVAL;
    default:
        return code > 0 ? -code : -EIO;
    }
}

int lmdb_reader(struct lmdb_store *lmdb, MDB_txn **txn)
{
    int rc = 0;

    if (lmdb->transaction == LMDB_OPEN) {
        *txn = lmdb->write;
        return 0;
    }
    if (!lmdb->read)
        rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &lmdb->read);
    else if (!lmdb->reading)
        rc = mdb_txn_renew(lmdb->read);
    if (rc != 0)
        return lmdb_error(rc);
    lmdb->reading = true;
    *txn = lmdb->read;
    return 0;
}

int lmdb_writer(struct lmdb_store *lmdb)
{
    assert(lmdb->transaction != LMDB_NONE);
    return lmdb->transaction == LMDB_OPEN ? 0 : lmdb->error;
}

int lmdb_fail(struct lmdb_store *lmdb, int code)
{
    mdb_txn_abort(lmdb->write);
    lmdb->write = NULL;
    lmdb->transaction = LMDB_FAILED;
    lmdb->error = lmdb_error(code);
    return lmdb->error;
}

int lmdb_sealed_put(struct lmdb_store *lmdb, MDB_txn *txn, enum lmdb_table table, MDB_val *key,
                    const void *data, size_t len)
{
    MDB_val value = {.mv_size = len + RECORD_SEAL_BYTES};
    uint32_t seal = record_seal((uint8_t)table, key->mv_data, key->mv_size, data, len);
    int rc = mdb_put(txn, lmdb->tables[table], key, &value, MDB_RESERVE);

    if (rc != 0)
        return rc;
    memcpy(value.mv_data, data, len);
    put_le32((uint8_t *)value.mv_data + len, seal);
    return 0;
}

int lmdb_unseal(enum lmdb_table table, const MDB_val *key, MDB_val *value)
{
    const uint8_t *row = value->mv_data;
    size_t len;

    if (value->mv_size < RECORD_SEAL_BYTES || key->mv_size > RECORD_KEY_MAX)
        return -EBADMSG;
    len = value->mv_size - RECORD_SEAL_BYTES;
    if (get_le32(row + len) != record_seal((uint8_t)table, key->mv_data, key->mv_size, row, len))
        return -EBADMSG;
    value->mv_size = len;
    return 0;
}

int lmdb_meta_get(struct lmdb_store *lmdb, MDB_txn *txn, const char *name, uint64_t *value)
{
    MDB_val key = {.mv_size = strlen(name), .mv_data = (void *)(uintptr_t)name}, data;
    int rc = mdb_get(txn, lmdb->tables[LMDB_META], &key, &data);

    if (rc != 0 && rc != MDB_NOTFOUND)
        return lmdb_error(rc);
    if (rc == 0 && (lmdb_unseal(LMDB_META, &key, &data) < 0 || data.mv_size != 8))
        return -EBADMSG;
    *value = rc == 0 ? get_le64(data.mv_data) : 0;
    return 0;
}

int lmdb_meta_put(struct lmdb_store *lmdb, MDB_txn *txn, const char *name, uint64_t value)
{
    uint8_t bytes[8];
    MDB_val key = {.mv_size = strlen(name), .mv_data = (void *)(uintptr_t)name};

    put_le64(bytes, value);
    return lmdb_error(lmdb_sealed_put(lmdb, txn, LMDB_META, &key, bytes, sizeof(bytes)));
}

#define IDENTITY "identity"

int lmdb_identity_put(struct store *store, const void *data, size_t len)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    MDB_val key = {.mv_size = strlen(IDENTITY), .mv_data = IDENTITY};
    int rc = lmdb_writer(lmdb);

    if (rc < 0)
        return rc;
    rc = lmdb_sealed_put(lmdb, lmdb->write, LMDB_META, &key, data, len);
    return rc == 0 ? 0 : lmdb_fail(lmdb, rc);
}

int lmdb_identity_get(struct store *store, const void **data, size_t *len)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    MDB_val key = {.mv_size = strlen(IDENTITY), .mv_data = IDENTITY}, value;
    MDB_txn *txn;
    int rc = lmdb_reader(lmdb, &txn);

    if (rc == 0)
        rc = lmdb_error(mdb_get(txn, lmdb->tables[LMDB_META], &key, &value));
    if (rc == 0)
        rc = lmdb_unseal(LMDB_META, &key, &value);
    if (rc < 0)
        return rc;
    *data = value.mv_data;
    *len = value.mv_size;
    return 0;
}

/* LMDB numbers its commits, in the file; one that changes nothing has no number. */
uint64_t lmdb_position(struct store *store)
{
    MDB_envinfo info;

    mdb_env_info(lmdb_of(store)->env, &info);
    return info.me_last_txnid;
}

/* It only grows. Written on, it would have holes, which read as zeros. */
static void see_size(struct lmdb_store *lmdb, uint64_t size)
{
    if (size < lmdb->file_size && !lmdb->cut) {
        log_error(
            "%s was cut short while it was open, by %llu bytes. Start again, which finds what "
            "is lost, or bring the store back from a backup",
            lmdb->file, (unsigned long long)(lmdb->file_size - size));
        lmdb->cut = true;
    }
    lmdb->file_size = size;
}

/*
 * The directory may be removed, renamed, replaced by an old copy or mounted over while its file is
 * open: all goes on working, and the next start finds none of it. Renamed back, all is well again.
 * Not stat(2): since Linux 6.13 whoever asks for a file's times makes its next write store new
 * ones, which costs a tenth of a commit.
 */
bool lmdb_gone(struct lmdb_store *lmdb)
{
    struct statx now = {0};
    bool gone = statx(AT_FDCWD, lmdb->file, 0, STATX_INO | STATX_SIZE, &now) < 0
                    ? errno == ENOENT || errno == ENOTDIR
                    : makedev(now.stx_dev_major, now.stx_dev_minor) != lmdb->file_dev ||
                          now.stx_ino != lmdb->file_ino;

    if (gone && !lmdb->gone)
        log_error("%s is not the store that is open: it was removed, moved or replaced. What is in "
                  "the queues can be read, and is lost when the service ends; puts fail (EIO) "
                  "until that file is back",
                  lmdb->file);
    else if (!gone && lmdb->gone)
        log_info("%s is back", lmdb->file);
    lmdb->gone = gone;
    if (!gone)
        see_size(lmdb, now.stx_size);
    return gone;
}
