/*
 * The index: one LMDB environment, its write transaction open from one checkpoint to the next, as
 * one thread does everything: see index.h. Keys are big-endian, so that LMDB's order of bytes is
 * the order of numbers.
 */
#include "core/store/index.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/log.h"

/* The store has a lock of its own, and the thread that opens is not the one that goes on: a write
 * transaction of LMDB's must end on the thread that has begun it, but for its lock. */
#define NO_LOCK (MDB_NOTLS | MDB_NOLOCK)

#define FORMAT   3
#define KEY_MAX  24
#define ROW_HEAD 12 /* position, checksum of key and the rest of the value */

/* Numbers of a table's keys. */
static const size_t key_numbers[INDEX_TABLES] = {
    [INDEX_META] = 1,  [INDEX_QUEUES] = 1,    [INDEX_BATCHES] = 2,
    [INDEX_MARKS] = 2, [INDEX_PRODUCERS] = 3,
};

struct store_index {
    char *dir; /* NULL: in memory */
    int memory_fd;
    MDB_env *env;
    MDB_dbi tables[INDEX_TABLES];
    MDB_txn *txn;
    uint64_t n_changes;
    uint8_t *row; /* of a put; owned */
    size_t row_size;
};

/* LMDB's codes as negative errno; the only such place. */
static int error_of(int code)
{
    switch (code) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case EDQUOT:
        return -ENOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return -EBADMSG;
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
        return -EINVAL;
    default:
        return code > 0 ? -code : -EIO;
    }
}

/* ---- keys and rows ---- */

static size_t key_encode(struct index_key key, uint8_t bytes[KEY_MAX])
{
    const uint64_t numbers[3] = {htobe64(key.queue), htobe64(key.batch), htobe64(key.low)};

    memcpy(bytes, numbers, sizeof(numbers));
    return key_numbers[key.table] * sizeof(uint64_t);
}

/* False: it is none of that table. */
static bool key_decode(enum index_table table, const MDB_val *bytes, struct index_key *key)
{
    uint64_t numbers[3] = {0};

    if (bytes->mv_size != key_numbers[table] * sizeof(uint64_t))
        return false;
    memcpy(numbers, bytes->mv_data, bytes->mv_size);
    *key = (struct index_key){.table = table,
                              .queue = be64toh(numbers[0]),
                              .batch = be64toh(numbers[1]),
                              .low = be64toh(numbers[2])};
    return true;
}

struct index_key index_key_of_producer(uint64_t queue, const struct producer_id *producer)
{
    struct index_key key = {.table = INDEX_PRODUCERS, .queue = queue};

    memcpy(&key.batch, producer->bytes, sizeof(key.batch));
    memcpy(&key.low, producer->bytes + sizeof(key.batch), sizeof(key.low));
    key.batch = be64toh(key.batch);
    key.low = be64toh(key.low);
    return key;
}

struct producer_id index_producer(const struct index_key *key)
{
    const uint64_t numbers[2] = {htobe64(key->batch), htobe64(key->low)};
    struct producer_id producer;

    memcpy(producer.bytes, numbers, sizeof(producer.bytes));
    return producer;
}

static uint32_t row_crc(const MDB_val *key, const uint8_t *value, size_t len,
                        enum index_table table)
{
    uint8_t kind = (uint8_t)table;
    uint32_t crc = crc32c_more(CRC32C_NOTHING, &kind, 1);

    crc = crc32c_more(crc, key->mv_data, key->mv_size);
    crc = crc32c_more(crc, value, 8);
    return crc32c_more(crc, value + ROW_HEAD, len - ROW_HEAD);
}

static int row_decode(struct store_index *index, const MDB_val *key, const MDB_val *value,
                      struct index_row *row)
{
    const uint8_t *bytes = value->mv_data;

    if (value->mv_size < ROW_HEAD ||
        get_le32(bytes + 8) != row_crc(key, bytes, value->mv_size, row->key.table))
        return -EBADMSG;
    row->position = get_le64(bytes);
    row->data = bytes + ROW_HEAD;
    row->len = value->mv_size - ROW_HEAD;
    return 0;
}

/* ---- reads ---- */

int index_get(struct store_index *index, struct index_key key, struct index_row *row)
{
    uint8_t bytes[KEY_MAX];
    MDB_val at = {.mv_size = key_encode(key, bytes), .mv_data = bytes}, value;
    int rc = mdb_get(index->txn, index->tables[key.table], &at, &value);

    if (rc != 0)
        return error_of(rc);
    row->key = key;
    return row_decode(index, &at, &value, row);
}

static int cursor_next(MDB_cursor *cursor, struct index_key key, bool after, MDB_val *found,
                       MDB_val *value)
{
    uint8_t bytes[KEY_MAX];
    size_t len = key_encode(key, bytes);
    int rc;

    *found = (MDB_val){.mv_size = len, .mv_data = bytes};
    rc = mdb_cursor_get(cursor, found, value, MDB_SET_RANGE);
    if (rc == 0 && after && found->mv_size == len && memcmp(found->mv_data, bytes, len) == 0)
        rc = mdb_cursor_get(cursor, found, value, MDB_NEXT);
    return rc;
}

int index_next(struct store_index *index, struct index_key key, bool after, bool same_queue,
               struct index_row *row)
{
    MDB_cursor *cursor;
    MDB_val found, value;
    int rc = mdb_cursor_open(index->txn, index->tables[key.table], &cursor);

    if (rc != 0)
        return error_of(rc);
    rc = cursor_next(cursor, key, after, &found, &value);
    while (rc == 0 && !key_decode(key.table, &found, &row->key))
        rc = mdb_cursor_get(cursor, &found, &value, MDB_NEXT);
    mdb_cursor_close(cursor);
    if (rc != 0)
        return error_of(rc);
    rc = row_decode(index, &found, &value, row); /* another's may be ours with a damaged key */
    return rc == 0 && same_queue && row->key.queue != key.queue ? -ENOENT : rc;
}

/* ---- changes ---- */

int index_reserve(struct store_index *index, size_t len)
{
    uint8_t *row;

    if (ROW_HEAD + len <= index->row_size)
        return 0;
    row = realloc(index->row, ROW_HEAD + len);
    if (!row)
        return -ENOMEM;
    index->row = row;
    index->row_size = ROW_HEAD + len;
    return 0;
}

static int row_encode(struct store_index *index, uint64_t position, const void *data, size_t len,
                      const MDB_val *key, enum index_table table)
{
    uint8_t *row;
    int rc = index_reserve(index, len);

    if (rc < 0)
        return rc;
    row = index->row;
    put_le64(row, position);
    memcpy(row + ROW_HEAD, data, len);
    put_le32(row + 8, row_crc(key, row, ROW_HEAD + len, table));
    return 0;
}

int index_put(struct store_index *index, struct index_key key, uint64_t position, const void *data,
              size_t len)
{
    uint8_t bytes[KEY_MAX];
    MDB_val at = {.mv_size = key_encode(key, bytes), .mv_data = bytes}, value;
    int rc = row_encode(index, position, data, len, &at, key.table);

    if (rc < 0)
        return rc;
    value = (MDB_val){.mv_size = ROW_HEAD + len, .mv_data = index->row};
    index->n_changes++;
    return error_of(mdb_put(index->txn, index->tables[key.table], &at, &value, 0));
}

int index_remove(struct store_index *index, struct index_key key)
{
    uint8_t bytes[KEY_MAX];
    MDB_val at = {.mv_size = key_encode(key, bytes), .mv_data = bytes};

    index->n_changes++;
    return error_of(mdb_del(index->txn, index->tables[key.table], &at, NULL));
}

int index_checkpoint(struct store_index *index)
{
    int rc = mdb_txn_commit(index->txn);

    index->txn = NULL;
    if (rc == 0)
        rc = mdb_txn_begin(index->env, NULL, 0, &index->txn);
    if (rc != 0)
        return error_of(rc);
    index->n_changes = 0;
    return 0;
}

uint64_t index_changes(const struct store_index *index)
{
    return index->n_changes;
}

uint64_t index_bytes(const struct store_index *index)
{
    MDB_envinfo info;
    MDB_stat stat;

    mdb_env_info(index->env, &info);
    mdb_env_stat(index->env, &stat);
    return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

/* ---- open and close ---- */

static int env_open_dir(struct store_index *index)
{
    char *file;
    int rc;

    if (mkdir(index->dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (asprintf(&file, "%s/data.mdb", index->dir) < 0)
        return -ENOMEM;
    rc = index_check(file);
    free(file);
    return rc < 0 ? rc : error_of(mdb_env_open(index->env, index->dir, NO_LOCK, 0600));
}

static int env_open(struct store_index *index)
{
    const unsigned int in_memory = MDB_NOSUBDIR | MDB_NOSYNC;
    char path[64];

    if (index->dir)
        return env_open_dir(index);
    index->memory_fd = memfd_create("index", MFD_CLOEXEC);
    if (index->memory_fd < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", index->memory_fd);
    return error_of(mdb_env_open(index->env, path, NO_LOCK | in_memory, 0600));
}

static int fd_of(const struct store_index *index)
{
    int fd = -1;

    mdb_env_get_fd(index->env, &fd);
    return fd;
}

/* Rows of INDEX_META are asked for one by one: one with a damaged key would only be missing. */
static int meta_check(struct store_index *index)
{
    struct index_row row = {.key = {.table = INDEX_META}};
    int rc = index_next(index, row.key, false, false, &row);

    while (rc == 0)
        rc = index_next(index, row.key, true, false, &row);
    return rc == -ENOENT ? 0 : rc;
}

static int tables_open(struct store_index *index)
{
    const struct index_key key = {.table = INDEX_META, .queue = 0};
    struct index_row row;
    uint8_t format[4];
    int rc = error_of(mdb_txn_begin(index->env, NULL, 0, &index->txn));

    for (int i = 0; i < INDEX_TABLES && rc == 0; i++)
        rc =
            error_of(mdb_dbi_open(index->txn, index_table_names[i], MDB_CREATE, &index->tables[i]));
    if (rc == 0)
        rc = meta_check(index);
    if (rc < 0)
        return rc;
    rc = index_get(index, key, &row);
    if (rc == 0)
        return row.len == 4 && get_le32(row.data) == FORMAT ? 0 : -EINVAL;
    put_le32(format, FORMAT);
    return rc == -ENOENT ? index_put(index, key, 0, format, sizeof(format)) : rc;
}

int index_open(const char *dir, uint64_t max_bytes, struct store_index **out)
{
    struct store_index *index = calloc(1, sizeof(*index));
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int rc = -ENOMEM;

    if (!index)
        return rc;
    index->memory_fd = -1;
    index->dir = dir ? strdup(dir) : NULL;
    if (index->dir || !dir)
        rc = error_of(mdb_env_create(&index->env));
    if (rc < 0)
        goto close;
    mdb_env_set_maxdbs(index->env, INDEX_TABLES);
    mdb_env_set_mapsize(index->env, max_bytes / page * page);
    rc = env_open(index);
    if (rc == 0)
        rc = tables_open(index);
    if (rc < 0)
        goto close;
    if (index->dir)
        index_fault_watch(fd_of(index), index->dir);
    *out = index;
    return 0;
close:
    index_close(index);
    return rc;
}

void index_close(struct store_index *index)
{
    if (!index)
        return;
    if (index->txn)
        mdb_txn_abort(index->txn);
    if (index->env && index->dir)
        index_fault_unwatch(fd_of(index));
    if (index->env)
        mdb_env_close(index->env);
    if (index->memory_fd >= 0)
        close(index->memory_fd);
    free(index->row);
    free(index->dir);
    free(index);
}

int index_discard(const char *dir)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (unlinkat(fd, names[i], 0) < 0 && errno != ENOENT)
            rc = -errno;
    }
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    close(fd);
    return rc;
}
