/* Pages and their nodes, and whether they are right: see index_pages.h. */
#include "core/store/index_pages.h"

const char *const index_table_names[INDEX_TABLES] = {
    [INDEX_META] = "meta",   [INDEX_QUEUES] = "queues",       [INDEX_BATCHES] = "batches",
    [INDEX_MARKS] = "marks", [INDEX_PRODUCERS] = "producers",
};

/* ---- pages ---- */

static const uint8_t *page_at(const struct pages *p, uint64_t number)
{
    return number >= 2 && number < p->n_pages ? p->map + number * p->page_size : NULL;
}

unsigned page_flags(const uint8_t *page)
{
    return page_get16(page + 10);
}

static unsigned page_count(const struct pages *p, const uint8_t *page)
{
    unsigned lower = page_get16(page + 12), upper = page_get16(page + 14);

    if (lower < PAGE_HEAD || lower % 2 || upper < lower || upper > p->page_size)
        return 0;
    return (lower - PAGE_HEAD) / 2;
}

struct page_table page_table_read(const uint8_t *row)
{
    return (struct page_table){.depth = page_get16(row + 6),
                               .n_branch = page_get64(row + 8),
                               .n_leaf = page_get64(row + 16),
                               .n_large = page_get64(row + 24),
                               .n_rows = page_get64(row + 32),
                               .root = page_get64(row + 40)};
}

static uint64_t large_pages(const struct pages *p, size_t len)
{
    return (PAGE_HEAD - 1 + len) / p->page_size + 1;
}

/* The value is in pages of its own. */
static bool large_read(const struct pages *p, struct node *n)
{
    const uint8_t *page;

    n->child = page_get64(n->value);
    page = page_at(p, n->child);
    if (!page || page_get64(page) != n->child || page_flags(page) != PAGE_LARGE ||
        page_get32(page + 12) != large_pages(p, n->value_len) ||
        page_get32(page + 12) > p->n_pages - n->child)
        return false;
    n->value = page + PAGE_HEAD;
    return true;
}

static bool node_read(const struct pages *p, const uint8_t *page, unsigned i, bool leaf,
                      struct node *n)
{
    unsigned at = page_get16(page + PAGE_HEAD + 2 * (size_t)i);
    const uint8_t *node = page + at;
    uint32_t low;

    if (at < page_get16(page + 14) || at % 2 || at + NODE_HEAD > p->page_size)
        return false;
    low = page_get32(node);
    n->flags = page_get16(node + 4);
    n->key = node + NODE_HEAD;
    n->key_len = page_get16(node + 6);
    n->value = n->key + n->key_len;
    n->value_len = leaf ? low : 0;
    n->child = leaf ? 0 : low | (uint64_t)n->flags << 32;
    n->size = NODE_HEAD + n->key_len;
    if (leaf && n->flags & NODE_LARGE)
        n->size += sizeof(uint64_t);
    else
        n->size += n->value_len;
    n->size += n->size & 1;
    if (at + n->size > p->page_size)
        return false;
    return !leaf || !(n->flags & NODE_LARGE) || large_read(p, n);
}

/* ---- keys and rows ---- */

/* -1, 0, 1 in the order of that table. */
static int page_key_compare(unsigned table, struct page_key a, struct page_key b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order;

    if (table == PAGES_FREE)
        return (page_get64(a.bytes) > page_get64(b.bytes)) -
               (page_get64(a.bytes) < page_get64(b.bytes));
    order = memcmp(a.bytes, b.bytes, len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static bool page_key_fits(unsigned table, struct page_key key)
{
    static const size_t sizes[] = {
        [INDEX_META] = 8,       [INDEX_QUEUES] = 8, [INDEX_BATCHES] = 16, [INDEX_MARKS] = 16,
        [INDEX_PRODUCERS] = 24, [PAGES_FREE] = 8,   [PAGES_ROOT] = 0};

    return sizes[table] ? key.len == sizes[table] : key.len > 0;
}

int page_table_of_name(struct page_key name)
{
    for (int i = 0; i < INDEX_TABLES; i++) {
        if (name.len == strlen(index_table_names[i]) &&
            memcmp(name.bytes, index_table_names[i], name.len) == 0)
            return i;
    }
    return -1;
}

static bool table_row_right(const struct pages *p, const uint8_t *row)
{
    struct page_table table = page_table_read(row);

    return page_get32(row) == 0 && page_get16(row + 4) == 0 && table.depth <= DEPTH_MAX &&
           (table.root == NO_PAGE ? table.depth == 0 && table.n_rows == 0
                                  : table.depth > 0 && page_at(p, table.root));
}

static bool free_list_right(const struct pages *p, const struct node *n)
{
    uint64_t count, last = p->n_all;

    if (n->value_len < 8)
        return false;
    count = page_get64(n->value);
    if (count > n->value_len / 8 - 1)
        return false;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = page_get64(n->value + i * 8);

        if (page < 2 || page >= last)
            return false;
        last = page;
    }
    return true;
}

/* ---- one page ---- */

static bool value_right(const struct pages *p, unsigned table, struct page_key key,
                        const struct node *n)
{
    if (table == PAGES_FREE)
        return !(n->flags & ~NODE_LARGE) && free_list_right(p, n);
    if (table == PAGES_ROOT)
        return n->flags == NODE_TABLE && n->value_len == TABLE_SIZE &&
               page_table_of_name(key) >= 0 && table_row_right(p, n->value);
    return !(n->flags & ~NODE_LARGE);
}

/* Whether the page is one of that table, with keys from `low` (its own too) to below `high`. */
static bool page_right(const struct pages *p, const uint8_t *page, uint64_t number, unsigned table,
                       bool leaf, struct page_key low, struct page_key high)
{
    unsigned n_nodes = page_count(p, page);
    struct page_key last = low;
    size_t sum = 0;

    if (page_get64(page) != number || page_flags(page) != (leaf ? PAGE_LEAF : PAGE_BRANCH))
        return false;
    if (n_nodes < (leaf ? 1 : 2))
        return false;
    for (unsigned i = 0; i < n_nodes; i++) {
        struct page_key key;
        struct node n;

        if (!node_read(p, page, i, leaf, &n))
            return false;
        sum += n.size;
        key = (struct page_key){n.key, n.key_len};
        if (!leaf && (!page_at(p, n.child) || n.child == number))
            return false;
        if (!leaf && i == 0)
            continue;
        if (!page_key_fits(table, key) || (leaf && !value_right(p, table, key, &n)))
            return false;
        if (last.bytes && page_key_compare(table, key, last) < (leaf && i == 0 ? 0 : 1))
            return false;
        last = key;
    }
    if (high.bytes && last.bytes && page_key_compare(table, last, high) >= 0)
        return false;
    return sum == p->page_size - page_get16(page + 14);
}

/* Note pages as used. False: one was already. */
static bool pages_use(struct pages *p, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++) {
        if (p->used[i / 8] >> i % 8 & 1)
            return false;
        p->used[i / 8] |= (uint8_t)(1 << i % 8);
    }
    return true;
}

/* ---- trees ---- */

static bool use_values(struct pages *p, const uint8_t *page, struct page_table *seen)
{
    unsigned n_nodes = page_count(p, page);

    for (unsigned i = 0; i < n_nodes; i++) {
        struct node n;

        if (!node_read(p, page, i, true, &n))
            return false;
        if (!(n.flags & NODE_LARGE))
            continue;
        if (!pages_use(p, n.child, large_pages(p, n.value_len)))
            return false;
        seen->n_large += large_pages(p, n.value_len);
    }
    seen->n_rows += n_nodes;
    return true;
}

static bool walk(struct pages *p, unsigned table, uint64_t number, unsigned depth,
                 struct page_key low, struct page_key high, struct page_table *seen)
{
    const uint8_t *page = page_at(p, number);
    bool leaf = depth == 1;
    unsigned n_nodes;

    if (!page || depth < 1 || !pages_use(p, number, 1))
        return false;
    if (!page_right(p, page, number, table, leaf, low, high))
        return false;
    n_nodes = page_count(p, page);
    seen->n_leaf += leaf;
    seen->n_branch += !leaf;
    if (leaf)
        return use_values(p, page, seen);
    for (unsigned i = 0; i < n_nodes; i++) {
        struct page_key from = low, to = high;
        struct node n;

        node_read(p, page, i, false, &n);
        if (i > 0)
            from = (struct page_key){n.key, n.key_len};
        if (i + 1 < n_nodes) {
            struct node next;

            node_read(p, page, i + 1, false, &next);
            to = (struct page_key){next.key, next.key_len};
        }
        if (!walk(p, table, n.child, depth - 1, from, to, seen))
            return false;
    }
    return true;
}

bool pages_table_right(struct pages *p, unsigned table, const uint8_t *row)
{
    struct page_table said = page_table_read(row), seen = {0};
    struct page_key none = {0};

    if (said.root == NO_PAGE)
        return said.n_rows == 0;
    if (said.depth > DEPTH_MAX || !walk(p, table, said.root, said.depth, none, none, &seen))
        return false;
    return seen.n_branch == said.n_branch && seen.n_leaf == said.n_leaf &&
           seen.n_large == said.n_large && seen.n_rows == said.n_rows;
}

static bool use_free(struct pages *p, const struct node *n)
{
    uint64_t count = page_get64(n->value);

    for (uint64_t i = 1; i <= count; i++) {
        if (!pages_use(p, page_get64(n->value + i * 8), 1))
            return false;
    }
    return true;
}

/* Each leaf row of a small tree that was walked: the root's, and that of free pages. */
bool pages_each_row(struct pages *p, uint64_t number, unsigned depth,
                    bool (*row)(struct pages *p, const struct node *n))
{
    const uint8_t *page = page_at(p, number);

    for (unsigned i = 0; page && i < page_count(p, page); i++) {
        struct node n;

        if (!node_read(p, page, i, depth == 1, &n) ||
            !(depth == 1 ? row(p, &n) : pages_each_row(p, n.child, depth - 1, row)))
            return false;
    }
    return page;
}

const uint8_t *pages_root_row(const struct pages *p)
{
    return p->meta + META_TABLES + TABLE_SIZE;
}

bool pages_use_free(struct pages *p)
{
    const uint8_t *row = p->meta + META_TABLES;
    struct page_table table = page_table_read(row);

    memset(p->used, 0, p->n_all / 8 + 1);
    return pages_table_right(p, PAGES_FREE, row) &&
           (table.root == NO_PAGE || pages_each_row(p, table.root, table.depth, use_free));
}
