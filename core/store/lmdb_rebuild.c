/*
 * A new file out of a damaged one: all rows that can be reached and read, each under its own key.
 * Rows whose key is there and whose seal is wrong are taken along, for whoever reads them to set
 * aside. Where a mark is lost nobody knows which of its batch's items are done: each batch that it
 * may have been of is given one that is no mark.
 *
 * The old file gets a second name, and then the new one takes its place: a crash leaves either.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/log.h"
#include "core/store/lmdb_pages.h"
#include "core/store/record.h"

#define GAPS_MAX   256
#define CHILD_BITS 48

struct kept_key {
    uint8_t bytes[RECORD_KEY_MAX];
    size_t len; /* 0: none */
};

struct rebuild {
    struct lmdb_store *lmdb;
    struct pages *pages;
    bool frees_known;
    char *file; /* where the new one is made */
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi tables[LMDB_TABLES];
    uint64_t n_lost; /* rows, and pages of them */
    bool lost_meta;
    int rc;

    struct kept_key last; /* of marks */
    bool gap;             /* something was lost behind it */
    struct {
        struct kept_key from, to;
    } gaps[GAPS_MAX];
    size_t n_gaps;
};

/* ---- rows ---- */

static void keep_key(struct kept_key *to, struct page_key key)
{
    to->len = key.len;
    if (key.len > 0)
        memcpy(to->bytes, key.bytes, key.len);
}

/* The gap ends at a mark, or (none) at the end. The last of too many takes in all behind it. */
static void close_gap(struct rebuild *r, struct page_key to)
{
    if (r->gap && r->n_gaps < GAPS_MAX) {
        r->gaps[r->n_gaps].from = r->last;
        keep_key(&r->gaps[r->n_gaps++].to, to);
    } else if (r->gap) {
        r->gaps[GAPS_MAX - 1].to.len = 0;
    }
    r->gap = false;
    keep_key(&r->last, to);
}

static void lose(struct rebuild *r, unsigned table)
{
    r->n_lost++;
    r->gap |= table == LMDB_MARKS;
    r->lost_meta |= table == LMDB_META;
}

static void put(struct rebuild *r, unsigned table, struct page_key key, const void *data, size_t n)
{
    MDB_val at = {key.len, (void *)(uintptr_t)key.bytes}, value = {n, (void *)(uintptr_t)data};
    int rc;

    if (r->rc < 0)
        return;
    rc = mdb_put(r->txn, r->tables[table], &at, &value, MDB_NOOVERWRITE);
    r->rc = rc == MDB_KEYEXIST ? 0 : lmdb_error(rc);
    if (table == LMDB_MARKS)
        close_gap(r, key);
}

/* The key that the row is sealed with, if it is a bit from the one that is there. */
static bool mend_key(unsigned table, struct page_key key, const struct node *n, uint8_t *mended)
{
    struct page_key other = {mended, key.len};

    memcpy(mended, key.bytes, key.len);
    for (size_t bit = 0; bit < 8 * key.len; bit++) {
        mended[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (page_row_sealed(table, other, n))
            return true;
        mended[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    return false;
}

static bool within(unsigned table, struct page_key key, struct page_key low, struct page_key high)
{
    return (!low.bytes || page_key_compare(table, key, low) >= 0) &&
           (!high.bytes || page_key_compare(table, key, high) < 0);
}

static void take_row(struct rebuild *r, unsigned table, const struct node *n, struct page_key low,
                     struct page_key high)
{
    struct page_key key = {n->key, n->key_len};
    uint8_t mended[RECORD_KEY_MAX];

    if (!page_key_fits(table, key)) {
        lose(r, table);
    } else if (page_row_sealed(table, key, n)) {
        put(r, table, key, n->value, n->value_len);
    } else if (mend_key(table, key, n, mended)) {
        put(r, table, (struct page_key){mended, key.len}, n->value, n->value_len);
    } else if (within(table, key, low, high)) {
        r->gap |= table == LMDB_MARKS;
        put(r, table, key, n->value, n->value_len);
    } else {
        lose(r, table);
    }
}

/* ---- pages ---- */

static void take_leaf(struct rebuild *r, unsigned table, const uint8_t *page, struct page_key low,
                      struct page_key high)
{
    unsigned n_nodes = page_count(r->pages, page);

    for (unsigned i = 0; i < n_nodes; i++) {
        struct node n;

        if (node_read(r->pages, page, i, true, &n))
            take_row(r, table, &n, low, high);
        else
            lose(r, table);
    }
}

static bool is_used(const struct pages *p, uint64_t number)
{
    return p->used[number / 8] >> number % 8 & 1;
}

/* The page that a node leads to; where that is none of the table's, one whose number is a bit from
 * it and which is in its place. */
static const uint8_t *find_child(struct rebuild *r, unsigned table, uint64_t child, bool leaf,
                                 struct page_key low, struct page_key high, uint64_t *number)
{
    struct pages *p = r->pages;

    for (int bit = -1; bit < (r->frees_known ? CHILD_BITS : 0); bit++) {
        const uint8_t *page;

        *number = bit < 0 ? child : child ^ UINT64_C(1) << bit;
        page = page_at(p, *number);
        if (page && !is_used(p, *number) && page_right(p, page, *number, table, leaf, low, high))
            return page;
    }
    *number = child;
    return page_at(p, child);
}

static void take_tree(struct rebuild *r, unsigned table, uint64_t child, unsigned depth,
                      struct page_key low, struct page_key high);

static void take_branch(struct rebuild *r, unsigned table, const uint8_t *page, unsigned depth,
                        struct page_key low, struct page_key high)
{
    unsigned n_nodes = page_count(r->pages, page);
    struct page_key from = low;

    for (unsigned i = 0; i < n_nodes && depth > 1; i++) {
        struct page_key to = high;
        struct node n, next;

        if (i + 1 < n_nodes && node_read(r->pages, page, i + 1, false, &next) &&
            page_key_fits(table, (struct page_key){next.key, next.key_len}))
            to = (struct page_key){next.key, next.key_len};
        if (node_read(r->pages, page, i, false, &n))
            take_tree(r, table, n.child, depth - 1, from, to);
        else
            lose(r, table);
        from = to;
    }
}

static void take_tree(struct rebuild *r, unsigned table, uint64_t child, unsigned depth,
                      struct page_key low, struct page_key high)
{
    uint64_t number;
    const uint8_t *page = find_child(r, table, child, depth == 1, low, high, &number);

    if (!page || depth < 1 || !pages_use(r->pages, number, 1) || page_count(r->pages, page) == 0)
        lose(r, table);
    else if (depth == 1)
        take_leaf(r, table, page, low, high);
    else
        take_branch(r, table, page, depth, low, high);
}

/* ---- tables ---- */

/* The rows of the root, which is small: it is one page. -EBADMSG where it is not as it must be,
 * -EINVAL where it knows none of our tables. */
static int take_tables(struct rebuild *r)
{
    struct page_table root = page_table_read(pages_root_row(r->pages));
    const uint8_t *page = page_at(r->pages, root.root);
    struct page_key none = {0};
    int n_tables = 0;

    if (!page || root.depth != 1)
        return -EBADMSG;
    for (unsigned i = 0; i < page_count(r->pages, page); i++) {
        struct page_table table;
        struct node n;
        int number;

        if (!node_read(r->pages, page, i, true, &n) || n.value_len != TABLE_SIZE)
            continue;
        number = page_table_of_name((struct page_key){n.key, n.key_len});
        table = page_table_read(n.value);
        if (number < 0 || table.depth > DEPTH_MAX)
            continue;
        n_tables++;
        if (table.root != NO_PAGE)
            take_tree(r, (unsigned)number, table.root, table.depth, none, none);
        if (number == LMDB_MARKS)
            close_gap(r, none);
    }
    if (n_tables == 0)
        return -EINVAL;
    return n_tables == LMDB_TABLES ? r->rc : -EBADMSG;
}

/* Batches between the two that have no mark. */
static int fill_gap(struct rebuild *r, const struct kept_key *from, const struct kept_key *to)
{
    MDB_val key = {from->len, (void *)(uintptr_t)from->bytes}, value;
    enum MDB_cursor_op op = from->len > 0 ? MDB_SET_RANGE : MDB_FIRST;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(r->txn, r->tables[LMDB_BATCHES], &cursor);

    if (rc != 0)
        return lmdb_error(rc);
    while (r->rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, op)) == 0) {
        struct page_key at = {key.mv_data, key.mv_size};

        op = MDB_NEXT;
        if (to->len > 0 &&
            page_key_compare(LMDB_BATCHES, at, (struct page_key){to->bytes, to->len}) >= 0)
            break;
        put(r, LMDB_MARKS, at, "", 1);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? r->rc : lmdb_error(rc);
}

/* Where rows of the store's own are lost: the format is this one, the last queue's number is told
 * to be damaged. */
static void fill_meta(struct rebuild *r)
{
    const struct page_key format = {(const uint8_t *)"format", strlen("format")};
    const struct page_key last = {(const uint8_t *)"last queue", strlen("last queue")};
    uint8_t row[8 + RECORD_SEAL_BYTES];

    put_le64(row, LMDB_FORMAT);
    put_le32(row + 8, record_seal(LMDB_META, format.bytes, format.len, row, 8));
    put(r, LMDB_META, format, row, sizeof(row));
    if (r->lost_meta)
        put(r, LMDB_META, last, "", 1);
}

static int take_all(struct rebuild *r)
{
    int rc = lmdb_error(mdb_txn_begin(r->env, NULL, 0, &r->txn));

    if (rc < 0)
        return rc;
    for (int i = 0; i < LMDB_TABLES && rc == 0; i++)
        rc = lmdb_error(mdb_dbi_open(r->txn, lmdb_table_names[i], MDB_CREATE, &r->tables[i]));
    if (rc == 0)
        rc = take_tables(r);
    if (rc == 0)
        fill_meta(r);
    rc = rc < 0 ? rc : r->rc;
    for (size_t i = 0; i < r->n_gaps && rc == 0; i++)
        rc = fill_gap(r, &r->gaps[i].from, &r->gaps[i].to);
    if (rc == 0)
        return lmdb_error(mdb_txn_commit(r->txn));
    mdb_txn_abort(r->txn);
    return rc;
}

/* ---- the new file ---- */

static int env_make(struct rebuild *r)
{
    uint64_t room = r->lmdb->max_bytes + 2 * (uint64_t)r->pages->size + ((uint64_t)16 << 20);
    int rc = mdb_env_create(&r->env);

    if (rc != 0)
        return lmdb_error(rc);
    mdb_env_set_maxdbs(r->env, LMDB_TABLES);
    rc = mdb_env_set_mapsize(r->env, room / r->pages->page_size * r->pages->page_size);
    if (rc == 0)
        rc = mdb_env_open(r->env, r->file, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    return lmdb_error(rc);
}

static int take_place(struct rebuild *r)
{
    char *kept;
    int rc = 0;

    if (asprintf(&kept, "%s.damaged", r->lmdb->file) < 0)
        return -ENOMEM;
    unlink(kept);
    if (link(r->lmdb->file, kept) < 0 || rename(r->file, r->lmdb->file) < 0 ||
        fsync(r->lmdb->dir_fd) < 0)
        rc = -errno;
    free(kept);
    return rc;
}

static int make_anew(struct rebuild *r)
{
    int rc;

    if (asprintf(&r->file, "%s.new", r->lmdb->file) < 0) {
        r->file = NULL;
        return -ENOMEM;
    }
    unlink(r->file);
    rc = env_make(r);
    if (rc == 0)
        rc = take_all(r);
    mdb_env_close(r->env);
    if (rc == 0)
        rc = take_place(r);
    if (rc < 0)
        unlink(r->file);
    return rc;
}

int lmdb_rebuild(struct lmdb_store *lmdb, struct pages *p, uint64_t *n_lost)
{
    struct rebuild *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return -ENOMEM;
    r->lmdb = lmdb;
    r->pages = p;
    r->frees_known = pages_use_free(p);
    if (!r->frees_known)
        memset(p->used, 0, p->n_all / 8 + 1);
    rc = make_anew(r);
    if (rc == 0)
        log_error("%s was damaged and is made anew: %llu rows or pages of it could not be read. It "
                  "is kept as %s.damaged; bring the store back from a backup if something is "
                  "missing",
                  lmdb->file, (unsigned long long)r->n_lost, lmdb->file);
    else if (rc == -EINVAL)
        log_error(
            "%s: the page with its tables is damaged, or this is another program's file: bring "
            "it back from a backup",
            lmdb->file);
    else if (rc != -EBADMSG)
        log_error("%s is damaged and cannot be made anew: %s; there must be room for it twice",
                  lmdb->file, strerror(-rc));
    *n_lost = r->n_lost;
    free(r->file);
    free(r);
    return rc;
}
