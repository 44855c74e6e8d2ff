/*
 * The durable engine: LMDB with its default flags, so that a commit is on disk when it returns and
 * a process may die at any time. Here: opening, transactions, errors. The directory itself is
 * locked (flock) for as long as the store is open; LMDB forbids opening a file twice.
 */
#include "core/store/lmdb_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"

/* One line for what must end the service. Returns -EIO for all of it. */
static int fatal(const struct lmdb_store *lmdb, const char *doing, int code)
{
    log_error("%s: %s: %s", lmdb->dir, doing, mdb_strerror(code));
    return -EIO;
}

static int lmdb_begin(struct store *store)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    int rc;

    assert(lmdb->transaction != LMDB_OPEN);
    lmdb->transaction = LMDB_NONE;
    rc = lmdb_space_prepare(lmdb);
    if (rc < 0)
        return fatal(lmdb, "begin", -rc);
    lmdb_gone(lmdb);
    if (lmdb->cut)
        return -EIO;
    if (lmdb->reading)
        mdb_txn_reset(lmdb->read);
    lmdb->reading = false;

    rc = mdb_txn_begin(lmdb->env, NULL, 0, &lmdb->write);
    if (rc == ENOMEM)
        return -ENOMEM;
    if (rc != 0)
        return fatal(lmdb, "begin", rc);
    lmdb->transaction = LMDB_OPEN;
    lmdb->put_bytes = 0;
    return 0;
}

/* A write that the disk cut short is EIO to LMDB. */
static bool commit_found_disk_full(const struct lmdb_store *lmdb, int code)
{
    if (lmdb_error(code) == -ENOSPC)
        return true;
    return code == EIO && lmdb_disk_short(lmdb, lmdb->put_bytes + ((uint64_t)1 << 20));
}

static int lmdb_commit(struct store *store)
{
    struct lmdb_store *lmdb = lmdb_of(store);
    int rc = lmdb_writer(lmdb);

    lmdb->transaction = LMDB_NONE;
    if (rc < 0)
        return rc;
    rc = mdb_txn_commit(lmdb->write);
    lmdb->write = NULL;
    if (rc == 0)
        return 0;
    if (commit_found_disk_full(lmdb, rc))
        return -ENOSPC;
    return fatal(lmdb, "commit", rc);
}

static void lmdb_abort(struct store *store)
{
    struct lmdb_store *lmdb = lmdb_of(store);

    if (lmdb->transaction == LMDB_OPEN)
        mdb_txn_abort(lmdb->write);
    lmdb->write = NULL;
    lmdb->transaction = LMDB_NONE;
}

static void lmdb_close(struct store *store)
{
    struct lmdb_store *lmdb = lmdb_of(store);

    lmdb_abort(store);
    lmdb_fault_unwatch(lmdb);
    mdb_txn_abort(lmdb->read);
    mdb_env_close(lmdb->env);
    if (lmdb->dir_fd >= 0)
        close(lmdb->dir_fd);
    free(lmdb->file);
    free(lmdb->dir);
    free(lmdb);
}

static const struct store_ops lmdb_ops = {
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .queue_put = lmdb_queue_put,
    .queue_remove = lmdb_queue_remove,
    .queue_next = lmdb_queue_next,
    .queue_last_number = lmdb_queue_last_number,
    .batch_put = lmdb_batch_put,
    .batch_remove = lmdb_batch_remove,
    .batch_get = lmdb_batch_get,
    .batch_next = lmdb_batch_next,
    .mark_put = lmdb_mark_put,
    .mark_remove = lmdb_mark_remove,
    .mark_next = lmdb_mark_next,
    .sequence_put = lmdb_sequence_put,
    .sequence_remove = lmdb_sequence_remove,
    .sequence_next = lmdb_sequence_next,
    .identity_put = lmdb_identity_put,
    .identity_get = lmdb_identity_get,
    .position = lmdb_position,
    .space = lmdb_space,
    .close = lmdb_close,
};

/* The directory, locked. */
static int dir_open(struct lmdb_store *lmdb, const char *dir)
{
    lmdb->dir = strdup(dir);
    if (!lmdb->dir)
        return -ENOMEM;
    if (asprintf(&lmdb->file, "%s/data.mdb", dir) < 0) {
        lmdb->file = NULL;
        return -ENOMEM;
    }
    lmdb->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lmdb->dir_fd < 0)
        return -errno;
    if (flock(lmdb->dir_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    return 0;
}

/* LMDB would abort the process after this, rather than write what is wrong. */
static void on_broken(MDB_env *env, const char *message)
{
    const struct lmdb_store *lmdb = mdb_env_get_userctx(env);

    log_error("%s: the store is damaged: %s. Ending; start again, which mends what can be mended, "
              "or bring the store back from a backup",
              lmdb->file, message);
    _exit(1);
}

/*
 * Bring file and map to where nothing bad can happen. A file cut short would be SIGBUS when read:
 * made long again, the missing part is zeros, which are noticed. A map that is as good as full,
 * because the limit is lower than it was, would not let deletes commit.
 */
static int file_prepare(struct lmdb_store *lmdb)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file;
    uint64_t high, room;
    int fd;

    mdb_env_stat(lmdb->env, &stat);
    mdb_env_info(lmdb->env, &info);
    mdb_env_get_fd(lmdb->env, &fd);
    high = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    if (fstat(fd, &file) < 0)
        return -errno;
    lmdb->file_dev = file.st_dev;
    lmdb->file_ino = file.st_ino;
    if ((uint64_t)file.st_size < high && ftruncate(fd, (off_t)high) < 0)
        return -errno;

    room = high + high / 8 + ((uint64_t)16 << 20);
    if (high <= lmdb->max_bytes / 100 * 85 || room <= info.me_mapsize)
        return 0;
    return lmdb_error(mdb_env_set_mapsize(lmdb->env, room / stat.ms_psize * stat.ms_psize));
}

static int env_open(struct lmdb_store *lmdb)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int rc = mdb_env_create(&lmdb->env);

    if (rc != 0)
        return lmdb_error(rc);
    mdb_env_set_userctx(lmdb->env, lmdb);
    mdb_env_set_assert(lmdb->env, on_broken);
    mdb_env_set_maxdbs(lmdb->env, LMDB_TABLES);
    rc = mdb_env_set_mapsize(lmdb->env, lmdb->max_bytes / page * page);
    if (rc == 0)
        rc = mdb_env_open(lmdb->env, lmdb->dir, MDB_NOTLS, 0600);
    if (rc != 0) {
        int error = lmdb_error(rc);

        if (error == -EBADMSG || error == -EINVAL)
            log_error("%s/data.mdb: %s", lmdb->dir, mdb_strerror(rc));
        return error;
    }
    return file_prepare(lmdb);
}

/* The first format had no seals. */
static bool is_first_format(struct lmdb_store *lmdb, MDB_txn *txn)
{
    MDB_val key = {.mv_size = strlen("format"), .mv_data = "format"}, data;

    return mdb_get(txn, lmdb->tables[LMDB_META], &key, &data) == 0 &&
           data.mv_size == sizeof(uint64_t);
}

/* A damaged row is taken for this format's and mended: if it was not, no other row is right. */
static int format_check(struct lmdb_store *lmdb, MDB_txn *txn)
{
    uint64_t format = 1;
    int rc = is_first_format(lmdb, txn) ? 0 : lmdb_meta_get(lmdb, txn, "format", &format);

    if (rc == -EBADMSG) {
        log_error("%s: the row with the format of the store is damaged; it is written anew",
                  lmdb->dir);
        return lmdb_meta_put(lmdb, txn, "format", LMDB_FORMAT);
    }
    if (rc < 0)
        return rc;
    if (format == LMDB_FORMAT)
        return 0;
    log_error("%s: the store has format %" PRIu64 ", this program knows format %d", lmdb->dir,
              format, LMDB_FORMAT);
    return -EINVAL;
}

/* Whether nothing was ever kept here; -EINVAL where something else was. */
static int fresh_check(struct lmdb_store *lmdb, MDB_txn *txn, bool *fresh)
{
    MDB_dbi root;
    MDB_stat stat;
    int rc = mdb_dbi_open(txn, NULL, 0, &root);

    if (rc == 0)
        rc = mdb_stat(txn, root, &stat);
    if (rc != 0)
        return lmdb_error(rc);
    *fresh = stat.ms_entries == 0;
    rc = *fresh ? 0 : mdb_dbi_open(txn, lmdb_table_names[LMDB_META], 0, &lmdb->tables[LMDB_META]);
    if (rc != MDB_NOTFOUND)
        return lmdb_error(rc);
    log_error("%s/data.mdb: this is another program's file", lmdb->dir);
    return -EINVAL;
}

static int tables_open_in(struct lmdb_store *lmdb, MDB_txn *txn)
{
    bool fresh = false;
    int rc = fresh_check(lmdb, txn, &fresh);

    if (rc == 0 && !fresh)
        rc = format_check(lmdb, txn);
    for (int i = 0; i < LMDB_TABLES && rc == 0; i++)
        rc = lmdb_error(mdb_dbi_open(txn, lmdb_table_names[i], MDB_CREATE, &lmdb->tables[i]));
    if (rc == 0 && fresh)
        rc = lmdb_meta_put(lmdb, txn, "format", LMDB_FORMAT);
    return rc;
}

static int tables_open(struct lmdb_store *lmdb)
{
    MDB_txn *txn;
    int rc = lmdb_error(mdb_txn_begin(lmdb->env, NULL, 0, &txn));

    if (rc < 0)
        return rc;
    rc = tables_open_in(lmdb, txn);
    if (rc < 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = lmdb_error(mdb_txn_commit(txn));
    if (rc < 0)
        return rc;
    return fsync(lmdb->dir_fd) < 0 ? -errno : 0;
}

int store_lmdb_open(const struct lmdb_options *options, struct store **store)
{
    struct lmdb_store *lmdb = calloc(1, sizeof(*lmdb));
    int rc;

    if (!lmdb)
        return -ENOMEM;
    lmdb->base.ops = &lmdb_ops;
    lmdb->dir_fd = -1;
    lmdb->max_bytes = options->max_bytes;
    lmdb->min_free_bytes = options->min_free_bytes;

    rc = dir_open(lmdb, options->dir);
    if (rc < 0)
        goto close;
    rc = lmdb_check(lmdb);
    if (rc < 0)
        goto close;
    rc = env_open(lmdb);
    if (rc < 0)
        goto close;
    rc = tables_open(lmdb);
    if (rc < 0)
        goto close;
    lmdb_fault_watch(lmdb);
    *store = &lmdb->base;
    return 0;
close:
    lmdb_close(&lmdb->base);
    return rc;
}
