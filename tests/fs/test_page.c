#include <criterion/criterion.h>

#include "fs/page.h"

static struct page page;
static struct item_info infos[PAGE_ITEMS + 1];

static void teardown(void)
{
    page_fini(&page);
}

TestSuite(page, .fini = teardown, .timeout = 5);

/* Items first, first + 10, ...; as fetched from `start` on. */
static void fill(uint64_t start, uint64_t first, size_t n, uint64_t next)
{
    for (size_t i = 0; i < n; i++)
        infos[i] = (struct item_info){.id = first + 10 * i};
    cr_assert_eq(page_fill(&page, start, infos, n, next), 0);
}

static uint64_t find(uint64_t from)
{
    const struct item_info *info = page_find(&page, from);

    return info ? info->id : 0;
}

static void wants(uint64_t from, uint32_t n, uint64_t start)
{
    uint64_t asked = 0;

    cr_assert_eq(page_wants(&page, from, &asked), n, "from %lu", (unsigned long)from);
    cr_assert(n == 0 || asked == start, "from %lu: %lu", (unsigned long)from, (unsigned long)asked);
}

Test(page, nothing_is_known_at_first)
{
    wants(0, PAGE_ITEMS, 0);
    wants(500, PAGE_ITEMS, 500);
}

Test(page, goes_on_behind_an_id)
{
    fill(0, 100, 3, 0);
    cr_assert_eq(find(0), 100);
    cr_assert_eq(find(100), 100);
    cr_assert_eq(find(101), 110);
    cr_assert_eq(find(111), 120);
    cr_assert_eq(find(121), 0);
}

Test(page, the_last_page)
{
    fill(0, 100, 3, 0);
    wants(0, 0, 0);
    wants(120, 0, 0);
    wants(121, 0, 0);
    wants(1000, 0, 0);
}

Test(page, the_next_page)
{
    fill(0, 100, 3, 150);
    wants(120, 0, 0);
    wants(121, PAGE_ITEMS, 150);
    wants(150, PAGE_ITEMS, 150);
    fill(150, 160, 2, 0);
    cr_assert_eq(find(121), 160);
    wants(171, 0, 0);
}

/* As it is where the items are large and a page is but one. */
Test(page, the_next_page_begins_behind_the_last_item)
{
    fill(0, 100, 1, 1000);
    wants(101, PAGE_ITEMS, 1000);
    fill(1000, 1000, 1, 2000);
    wants(101, 0, 0);
    cr_assert_eq(find(101), 1000);
    wants(1001, PAGE_ITEMS, 2000);
    fill(2000, 0, 0, 3000);
    wants(1001, PAGE_ITEMS, 3000);
    fill(3000, 3000, 1, 0);
    wants(1001, 0, 0);
    cr_assert_eq(find(1001), 3000);
}

Test(page, an_empty_page_leads_to_the_next)
{
    fill(0, 0, 0, 1000);
    wants(0, PAGE_ITEMS, 1000);
    fill(1000, 0, 0, 2000);
    wants(1000, PAGE_ITEMS, 2000);
    fill(2000, 0, 0, 0);
    wants(2000, 0, 0);
}

Test(page, a_next_that_does_not_lead_on_is_the_end)
{
    fill(500, 0, 0, 500);
    wants(500, 0, 0);
    fill(500, 0, 0, 400);
    wants(500, 0, 0);
}

Test(page, seeking)
{
    fill(100, 100, 3, 150);
    wants(99, PAGE_ITEMS, 99);
    wants(0, PAGE_ITEMS, 0);
    wants(151, PAGE_ITEMS, 151);
}

Test(page, starting_anew)
{
    fill(0, 100, 3, 0);
    page_reset(&page);
    cr_assert_eq(find(0), 0);
    wants(0, PAGE_ITEMS, 0);
}

Test(page, a_listing_ends_after_so_many)
{
    uint64_t from = 0, n = 0, start = 0;
    uint32_t most;

    while ((most = page_wants(&page, from, &start)) > 0) {
        fill(start, start + 10, most, start + 10 * most + 1);
        n += page.n;
        from = start + 10 * most + 1;
        cr_assert_leq(n, PAGE_LISTED_MAX);
    }
    cr_assert_eq(n, PAGE_LISTED_MAX);
    page_reset(&page);
    wants(0, PAGE_ITEMS, 0);
}

Test(page, more_than_was_asked_for_is_left_for_the_next)
{
    fill(0, 100, PAGE_ITEMS + 1, 0);
    cr_assert_eq(page.n, PAGE_ITEMS);
    wants(100 + 10 * PAGE_ITEMS - 9, PAGE_ITEMS, 100 + 10 * PAGE_ITEMS);
}
