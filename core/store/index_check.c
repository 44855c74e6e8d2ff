/*
 * The check of the whole file before LMDB opens it: where a page is not right it is not opened, and
 * the index is made anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/store/index_pages.h"

#include <lmdb.h>

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

/* 0, -EBADMSG, -ENOMEM. */
static int check_mapped(struct pages *p)
{
    int rc;

    if (!metas_right(p))
        return -EBADMSG;
    p->used = malloc((p->size / p->page_size + UNWRITTEN_MAX) / 8 + 1);
    if (!p->used)
        return -ENOMEM;
    rc = all_right(p) ? 0 : -EBADMSG;
    free(p->used);
    return rc;
}

static int check_open(int fd)
{
    struct stat stat;
    struct pages p = {0};
    void *map;
    int rc;

    if (fstat(fd, &stat) < 0)
        return -errno;
    if (stat.st_size == 0)
        return 0;
    if (stat.st_size < META_SIZE)
        return -EBADMSG;
    p.size = (size_t)stat.st_size;
    map = mmap(NULL, p.size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    p.map = map;
    rc = check_mapped(&p);
    munmap(map, p.size);
    return rc;
}

int index_check(const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    rc = check_open(fd);
    close(fd);
    return rc;
}
