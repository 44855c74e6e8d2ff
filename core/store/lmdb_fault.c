/*
 * A page of the map that cannot be read: the file was cut short while it was open, or the disk
 * failed. The kernel tells by SIGBUS, in the midst of LMDB or of a copy of an item; there is no
 * going on from there. So the process ends as after any store that fails, with a line that says
 * what to do. What was acknowledged is on the disk; a mount's next start clears its mount point.
 *
 * Signals of other addresses are as if nobody looked: what was there before is put back.
 */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/store/lmdb_private.h"

static const int signals[] = {SIGBUS, SIGSEGV};
#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct sigaction before[N_SIGNALS];

/* The store that is open, with its map; one a process. */
static _Atomic(const struct lmdb_store *) watched;

static bool is_mapped(const struct lmdb_store *lmdb, const void *address)
{
    return (uintptr_t)address - lmdb->map_at < lmdb->map_size;
}

/* LMDB does not say where its map is: a page of it knows its number. */
static int find_map(struct lmdb_store *lmdb)
{
    MDB_val key = {.mv_size = strlen("format"), .mv_data = "format"}, data;
    MDB_envinfo info;
    MDB_stat stat;
    MDB_txn *txn;
    uint64_t number;
    uintptr_t page;
    int rc = lmdb_reader(lmdb, &txn);

    if (rc == 0)
        rc = lmdb_error(mdb_get(txn, lmdb->tables[LMDB_META], &key, &data));
    if (rc < 0)
        return rc;
    mdb_env_info(lmdb->env, &info);
    mdb_env_stat(lmdb->env, &stat);
    page = (uintptr_t)data.mv_data & ~((uintptr_t)stat.ms_psize - 1);
    memcpy(&number, (const void *)page, sizeof(number));
    lmdb->map_at = page - number * stat.ms_psize;
    lmdb->map_size = info.me_mapsize;
    return 0;
}

/* The thread was reading the map: it holds no lock of the log. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    const struct lmdb_store *lmdb = atomic_load(&watched);

    if (lmdb && is_mapped(lmdb, info->si_addr)) {
        log_error("%s cannot be read: it was cut short, or its disk has failed. Ending; start "
                  "again, which finds what is lost, or bring the store back from a backup",
                  lmdb->file);
        _exit(1);
    }
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}

void lmdb_fault_watch(struct lmdb_store *lmdb)
{
    const struct lmdb_store *none = NULL;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    if (find_map(lmdb) < 0 || !atomic_compare_exchange_strong(&watched, &none, lmdb))
        return;
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &action, &before[i]);
}

void lmdb_fault_unwatch(struct lmdb_store *lmdb)
{
    const struct lmdb_store *ours = lmdb;

    if (!atomic_compare_exchange_strong(&watched, &ours, NULL))
        return;
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}
