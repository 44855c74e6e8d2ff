/*
 * What an open directory of items has fetched of its listing: one page, by id. An entry's offset is
 * its id, so a listing goes on behind the id that came last, whatever has come or gone meanwhile:
 * no item is listed twice, and none is left out that was there throughout. A listing ends after
 * PAGE_LISTED_MAX items.
 *
 * Pure; the kernel reads one open directory by one call at a time.
 */
#ifndef QUEUEFS_FS_PAGE_H
#define QUEUEFS_FS_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/item.h"

#define PAGE_ITEMS      2048
#define PAGE_LISTED_MAX 10000

struct page {
    struct item_info *infos; /* owned */
    size_t n;
    uint64_t from, next; /* these are all with ids in [from, next); next 0: there is no end */
    size_t n_before;     /* items of the listing that came before */
    bool filled;
};

/* Empty, and nothing is known. */
void page_reset(struct page *page);
void page_fini(struct page *page);

/*
 * What must be fetched to go on with the items whose ids are `from` or more: at most how many, and
 * *start is where from. 0: nothing, page_find() has the next one, or the listing ends.
 */
uint32_t page_wants(const struct page *page, uint64_t from, uint64_t *start);

/* It was fetched: `n` items from `start` on, and where to go on after them (0: there are no more).
 * 0 or -ENOMEM. */
int page_fill(struct page *page, uint64_t start, const struct item_info *infos, size_t n,
              uint64_t next);

/* The first item with an id of `from` or more; NULL: none in this page. */
const struct item_info *page_find(const struct page *page, uint64_t from);

#endif
