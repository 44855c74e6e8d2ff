/* Items into a queue and out of it again, on a store without a service. Kills, and what a user
 * sees, are in tests/e2e/test_export.py. */
#include "core/queue/import.h"

#include "core/queue/export.h"
#include "tests/core/store/store_fixture.h"

#define LIMIT (32 * MIB)

static struct store *store;
static struct all_settings settings;

static void setup(void)
{
    settings_default(&settings);
    cr_assert_eq(store_memory_open(LIMIT, &store), 0);
}

static void teardown(void)
{
    store->ops->close(store);
}

TestSuite(import, .init = setup, .fini = teardown, .timeout = 30);

static struct import *begun(const char *name, bool grows)
{
    const struct import_options options = {.store = store,
                                           .name = name,
                                           .settings = &settings.own,
                                           .grows = grows,
                                           .wall_us = 1700000000000000};
    struct import *import = NULL;

    cr_assert_eq(import_new(&options, &import), 0);
    return import;
}

/* What an export gives, one behind the other, each behind its length. */
struct found {
    uint64_t n, bytes;
    uint64_t last;
    char text[256];
};

static int on_item(void *owner, const struct export_item *item)
{
    struct found *found = owner;
    size_t len = strlen(found->text);

    found->n++;
    found->bytes += item->len;
    cr_assert_gt(item->id, found->last);
    found->last = item->id;
    if (len + item->len + 8 < sizeof(found->text))
        snprintf(found->text + len, sizeof(found->text) - len, "%zu:%.*s ", item->len,
                 (int)item->len, (const char *)item->bytes);
    return 0;
}

static int exported(const char *name, struct found *found)
{
    struct export export = {.store = store, .item = on_item, .owner = found};
    int rc = queue_by_name(store, name, &export.record);

    *found = (struct found){.n = 0};
    return rc == 0 ? export_items(&export) : rc;
}

static void expect(const char *name, const char *text)
{
    struct found found;

    cr_assert_eq(exported(name, &found), 0);
    cr_assert_str_eq(found.text, text);
}

static void ended(struct import *import)
{
    cr_assert_eq(import_end(import), 0);
    import_free(import);
}

Test(import, what_goes_in_comes_out_in_each_framing)
{
    static const char *const names[] = {"line", "nul", "file"};

    for (int framing = FRAMING_LINE; framing <= FRAMING_FILE; framing++) {
        struct import *import;

        settings.own.framing = framing;
        import = begun(names[framing], false);
        cr_assert_eq(import_item(import, "one", 3), 0);
        cr_assert_eq(import_item(import, NULL, 0), 0);
        cr_assert_eq(import_item(import, "three", 5), 0);
        ended(import);
        expect(names[framing], "3:one 0: 5:three ");
        import = begun(names[framing], false);
        cr_assert_eq(import_item(import, "four", 4), 0);
        ended(import);
        expect(names[framing], "3:one 0: 5:three 4:four ");
    }
}

Test(import, one_that_does_not_end_leaves_nothing)
{
    static char item[100000];
    struct import *import = begun("q", false);
    struct found found;

    cr_assert_eq(import_item(import, "one", 3), 0);
    ended(import);
    import = begun("q", false);
    for (int i = 0; i < 80; i++) /* several commits */
        cr_assert_eq(import_item(import, item, sizeof(item)), 0);
    expect("q", "3:one ");
    import_free(import);
    expect("q", "3:one ");
    import = begun("new", false);
    for (int i = 0; i < 80; i++)
        cr_assert_eq(import_item(import, item, sizeof(item)), 0);
    cr_assert_eq(exported("new", &found), -ENOENT);
    import_free(import);
    cr_assert_eq(exported("new", &found), -ENOENT);
    import = begun("q", false);
    cr_assert_eq(import_item(import, "two", 3), 0);
    ended(import);
    expect("q", "3:one 3:two ");
}

Test(import, more_items_than_a_batch_may_have)
{
    struct import *import;
    struct found found;

    settings.own.framing = FRAMING_FILE;
    import = begun("q", false);
    for (uint32_t i = 0; i < 2 * BATCH_ITEMS_MAX + 1; i++)
        cr_assert_eq(import_item(import, NULL, 0), 0);
    ended(import);
    cr_assert_eq(exported("q", &found), 0);
    cr_assert_eq(found.n, 2 * BATCH_ITEMS_MAX + 1);
    cr_assert_eq(found.bytes, 0);
}

Test(import, limits_of_the_queue)
{
    static char large[2 * MIB + 1];
    struct import *import;
    struct queue_record record;

    settings.own.maxsize = 2;
    settings.own.max_item_size = MIB;
    import = begun("q", false);
    cr_assert_eq(import_item(import, large, MIB + 1), IMPORT_TOO_LARGE);
    import_free(import);
    import = begun("q", false);
    cr_assert_eq(import_item(import, large, MIB), 0);
    cr_assert_eq(import_item(import, large, 1), 0);
    cr_assert_eq(import_item(import, large, 1), IMPORT_FULL);
    import_free(import);
    import = begun("q", true);
    cr_assert_eq(import_item(import, large, sizeof(large)), 0);
    ended(import);
    cr_assert_eq(queue_by_name(store, "q", &record), 0);
    cr_assert_eq(record.settings.max_item_size, 3 * MIB);
    cr_assert_eq(record.n_items, 1);
    cr_assert_eq(record.n_bytes, sizeof(large));
    cr_assert_eq(record.total_puts, 1);
    import = begun("q", true); /* there is one now, which keeps what it has */
    cr_assert_eq(import_item(import, large, 1), 0);
    cr_assert_eq(import_item(import, large, 1), IMPORT_FULL);
    import_free(import);
}

Test(import, a_full_store_takes_none_and_then_others)
{
    static char item[MIB];
    struct import *import = begun("q", false);
    int rc = 0;

    for (int i = 0; i < 40 && rc == 0; i++)
        rc = import_item(import, item, sizeof(item));
    cr_assert_eq(rc, -ENOSPC);
    import_free(import);
    import = begun("q", false);
    for (int i = 0; i < 15; i++)
        cr_assert_eq(import_item(import, item, sizeof(item)), 0, "item %d", i);
    ended(import);
}
