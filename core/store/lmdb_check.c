/*
 * The check of the whole file before LMDB opens it. Values are not read but for the seals of rows
 * where a page is not right, so what it costs is the leaves: large batches have their bytes in
 * pages of their own, of which only the first bytes are looked at.
 *
 * Where a page is not right, each of its bits is turned until it is, seals of its rows included:
 * one wrong bit costs nothing. Else the file is made anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/store/lmdb_pages.h"

/* Pages that a commit has given out and freed again are not written: the file may lack so many. */
#define UNWRITTEN_MAX 1024

#define META_SIZE  152
#define META_FLAG  8
#define META_MAGIC 0xBEEFC0DE
#define META_LAST  136
#define META_TXN   144

/* ---- the first pages ---- */

/* Both must be right: LMDB refuses the file otherwise, and one of them alone is an older state. */
static bool meta_right(const struct pages *p, const uint8_t *page)
{
    return page_flags(page) == META_FLAG && page_get32(page + 16) == META_MAGIC &&
           page_get32(page + 20) == 1 && page_get64(page + 24) == 0 &&
           page_get32(page + META_TABLES) == p->page_size &&
           (page_get16(page + META_TABLES + 4) & ~MDB_NOSUBDIR) == MDB_INTEGERKEY &&
           page_get16(page + META_TABLES + TABLE_SIZE + 4) == 0;
}

static bool metas_right(struct pages *p)
{
    const uint8_t *first = p->map, *second;
    uint64_t a, b, last;

    p->page_size = page_get32(first + META_TABLES);
    if (p->page_size < 512 || p->page_size > 65536 || p->page_size & (p->page_size - 1) ||
        p->size < 2 * p->page_size)
        return false;
    second = first + p->page_size;
    if (!meta_right(p, first) || !meta_right(p, second))
        return false;
    a = page_get64(first + META_TXN);
    b = page_get64(second + META_TXN);
    if (a != b && (a > b ? a - b : b - a) != 1)
        return false;
    if ((a & 1 || !(b & 1)) && (a || b))
        return false;
    p->meta = a > b ? first : second;
    last = page_get64(p->meta + META_LAST);
    p->n_pages = p->size / p->page_size;
    if (last >= p->n_pages + UNWRITTEN_MAX) /* it was cut short, or is not this long */
        return true;
    p->n_all = last + 1;
    if (p->n_pages > p->n_all)
        p->n_pages = p->n_all;
    return true;
}

/* ---- all ---- */

static bool root_row(struct pages *p, const struct node *n)
{
    int table = page_table_of_name((struct page_key){n->key, n->key_len});

    return pages_table_right(p, (unsigned)table, n->value);
}

/* True: LMDB can be trusted with it. */
static bool all_right(struct pages *p)
{
    const uint8_t *row = pages_root_row(p);
    struct page_table root = page_table_read(row);

    return p->n_all > 0 && pages_use_free(p) && pages_table_right(p, PAGES_ROOT, row) &&
           (root.root == NO_PAGE || pages_each_row(p, root.root, root.depth, root_row));
}

static int refuse(const struct lmdb_store *lmdb)
{
    log_error("%s: its first pages are damaged, or it is no store: bring it back from a backup, or "
              "move it away to begin with an empty one",
              lmdb->file);
    return -EBADMSG;
}

static int check_mapped(struct lmdb_store *lmdb, struct pages *p)
{
    int rc = 0;

    if (!metas_right(p))
        return refuse(lmdb);
    p->used = malloc((p->size / p->page_size + UNWRITTEN_MAX) / 8 + 1);
    if (!p->used)
        return -ENOMEM;
    if (!all_right(p)) {
        p->n_pages = p->n_all = p->size / p->page_size;
        rc = lmdb_rebuild(lmdb, p, &lmdb->damaged_rows);
        if (rc == -EBADMSG)
            refuse(lmdb);
    } else if (p->n_mended > 0) {
        log_error("%s: %u pages had a wrong bit each, which was turned back; nothing is lost. Look "
                  "at the disk, and at the memory",
                  lmdb->file, p->n_mended);
        rc = fdatasync(p->fd) < 0 ? -errno : 0;
    }
    free(p->used);
    return rc;
}

int lmdb_check(struct lmdb_store *lmdb)
{
    struct pages p = {.fd = open(lmdb->file, O_RDWR | O_CLOEXEC)};
    struct stat stat;
    void *map;
    int rc;

    if (p.fd < 0)
        return errno == ENOENT ? 0 : -errno;
    rc = fstat(p.fd, &stat) < 0 ? -errno : 0;
    if (rc < 0 || stat.st_size == 0)
        goto close;
    p.size = (size_t)stat.st_size;
    rc = -EBADMSG;
    if (p.size < META_SIZE) {
        refuse(lmdb);
        goto close;
    }
    map = mmap(NULL, p.size, PROT_READ, MAP_SHARED, p.fd, 0);
    rc = map == MAP_FAILED ? -errno : 0;
    if (rc < 0)
        goto close;
    p.map = map;
    rc = check_mapped(lmdb, &p);
    munmap(map, p.size);
close:
    close(p.fd);
    return rc;
}
