#include "fs/page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void page_reset(struct page *page)
{
    page->n = page->n_before = 0;
    page->filled = false;
}

void page_fini(struct page *page)
{
    free(page->infos);
    page->infos = NULL;
    page_reset(page);
}

/* Whether the listing goes on from this page. Else it starts anew: someone has sought elsewhere. */
static bool continues(const struct page *page, uint64_t from)
{
    return page->filled && from >= page->from && (page->next == 0 || from <= page->next);
}

static uint32_t at_most(size_t n_listed)
{
    size_t left = n_listed < PAGE_LISTED_MAX ? PAGE_LISTED_MAX - n_listed : 0;

    return (uint32_t)(left < PAGE_ITEMS ? left : PAGE_ITEMS);
}

uint32_t page_wants(const struct page *page, uint64_t from, uint64_t *start)
{
    if (!continues(page, from)) {
        *start = from;
        return at_most(0);
    }
    if (page->next == 0 || page_find(page, from))
        return 0;
    *start = page->next;
    return at_most(page->n_before + page->n);
}

/* Behind its last item, or where it began: between that and `next` there are none. */
static uint64_t end_of(const struct page *page)
{
    return page->n > 0 ? page->infos[page->n - 1].id + 1 : page->from;
}

int page_fill(struct page *page, uint64_t start, const struct item_info *infos, size_t n,
              uint64_t next)
{
    bool goes_on = page->filled && start == page->next;
    size_t n_before = goes_on ? page->n_before + page->n : 0;
    uint64_t from = goes_on ? end_of(page) : start;
    size_t most = at_most(n_before);

    if (!page->infos)
        page->infos = malloc(PAGE_ITEMS * sizeof(*page->infos));
    if (!page->infos)
        return -ENOMEM;
    if (n > most)
        next = infos[most].id;
    page->n = n < most ? n : most;
    if (page->n > 0)
        memcpy(page->infos, infos, page->n * sizeof(*infos));
    page->from = from;
    page->next = next > start ? next : 0;
    page->n_before = n_before;
    page->filled = true;
    return 0;
}

const struct item_info *page_find(const struct page *page, uint64_t from)
{
    size_t low = 0, high = page->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (page->infos[middle].id < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < page->n ? &page->infos[low] : NULL;
}
