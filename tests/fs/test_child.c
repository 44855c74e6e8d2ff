#include <criterion/criterion.h>

#include <string.h>

#include "core/clock.h"
#include "core/get/consumer.h"
#include "fs/child.h"

TestSuite(child, .timeout = 5);

static void accept(const char *name, enum node_kind kind, uint64_t limit, int64_t timeout_us)
{
    struct child child;

    cr_assert(child_parse(name, &child), "%s", name);
    cr_assert_eq(child.kind, kind, "%s", name);
    cr_assert_eq(child.limit, limit, "%s", name);
    cr_assert_eq(child.timeout_us, timeout_us, "%s", name);
}

static void refuse(const char *name)
{
    struct child child = {NODE_DIR, 7, 8};

    cr_assert_not(child_parse(name, &child), "%s", name);
    cr_assert(child.kind == NODE_DIR && child.limit == 7 && child.timeout_us == 8, "%s", name);
}

Test(child, plain_names)
{
    accept("in", NODE_IN, READER_UNLIMITED, -1);
    accept("out", NODE_OUT, READER_UNLIMITED, -1);
    accept("next", NODE_NEXT, 1, -1);
    accept("claim", NODE_CLAIM, 1, -1);
    accept("ready", NODE_READY, READER_UNLIMITED, -1);
    accept("leased", NODE_LEASED, READER_UNLIMITED, -1);
    accept("dead", NODE_DEAD, READER_UNLIMITED, -1);
    accept("stats", NODE_STATS, READER_UNLIMITED, -1);
    accept("flush", NODE_FLUSH, READER_UNLIMITED, -1);
    accept("config", NODE_CONFIG, READER_UNLIMITED, -1);
    accept("purge", NODE_PURGE, READER_UNLIMITED, -1);
    accept("help", NODE_HELP, READER_UNLIMITED, -1);
}

Test(child, other_names)
{
    const char *const names[] = {"",      "i",    "inn",   "IN",    "outs", "claims",
                                 "Ready", "out ", "lease", "deads", "done", "metrics",
                                 "helps", ".",    "@",     "@1",    "item"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        refuse(names[i]);
}

Test(child, limits)
{
    accept("out@1", NODE_OUT, 1, -1);
    accept("out@100", NODE_OUT, 100, -1);
    accept("out@1099511627776", NODE_OUT, CHILD_LIMIT_MAX, -1);
    refuse("out@1099511627777");
    refuse("out@99999999999999999999999999");
    refuse("out@0");
    refuse("out@01");
    refuse("out@-1");
    refuse("out@+1");
    refuse("out@1.5");
    refuse("out@ 1");
    refuse("out@0x10");
}

Test(child, timeouts)
{
    accept("out@forever", NODE_OUT, READER_UNLIMITED, TIME_FOREVER);
    accept("out@0s", NODE_OUT, READER_UNLIMITED, 0);
    accept("out@1us", NODE_OUT, READER_UNLIMITED, 1);
    accept("out@20ms", NODE_OUT, READER_UNLIMITED, 20000);
    accept("next@5s", NODE_NEXT, 1, 5000000);
    accept("next@2m", NODE_NEXT, 1, 120000000);
    accept("next@forever", NODE_NEXT, 1, TIME_FOREVER);
    accept("out@3h", NODE_OUT, READER_UNLIMITED, INT64_C(10800000000));
    refuse("out@s");
    refuse("out@5 s");
    refuse("out@5S");
    refuse("out@5d");
    refuse("out@5sec");
    refuse("out@05s");
    refuse("out@-5s");
    refuse("out@1.5s");
    refuse("out@Forever");
    refuse("out@forevers");
}

Test(child, longest_timeout)
{
    accept("out@9007199254740992us", NODE_OUT, READER_UNLIMITED, CHILD_TIMEOUT_MAX_US);
    refuse("out@9007199254740993us");
    accept("out@2501999h", NODE_OUT, READER_UNLIMITED, INT64_C(2501999) * 3600000000);
    refuse("out@2502000h");
    refuse("out@99999999999999999999h");
}

Test(child, both_arguments)
{
    accept("out@100@1s", NODE_OUT, 100, 1000000);
    accept("out@4@forever", NODE_OUT, 4, TIME_FOREVER);
    refuse("out@1s@100");
    refuse("out@1@2");
    refuse("out@1s@2s");
    refuse("out@1@1s@1s");
    refuse("out@1@1s@");
    refuse("out@@1s");
}

Test(child, incomplete_arguments)
{
    refuse("out@");
    refuse("out@1@");
    refuse("out@@");
    refuse("next@");
}

Test(child, claim_takes_both)
{
    accept("claim@1", NODE_CLAIM, 1, -1);
    accept("claim@8", NODE_CLAIM, 8, -1);
    accept("claim@forever", NODE_CLAIM, 1, TIME_FOREVER);
    accept("claim@5s", NODE_CLAIM, 1, 5000000);
    accept("claim@8@forever", NODE_CLAIM, 8, TIME_FOREVER);
    refuse("claim@0");
    refuse("claim@");
    refuse("claim@forever@8");
    refuse("claim@8@8");
}

Test(child, next_takes_no_limit)
{
    refuse("next@1");
    refuse("next@1@1s");
}

Test(child, the_rest_takes_nothing)
{
    refuse("in@1");
    refuse("in@1s");
    refuse("stats@1");
    refuse("flush@forever");
    refuse("config@1s");
    refuse("purge@1");
    refuse("ready@1");
    refuse("leased@1s");
    refuse("dead@forever");
}

Test(child, listed_names_parse_to_their_kind)
{
    const struct child_word *word;
    struct child child;
    unsigned n = 0, n_taking = 0;

    while ((word = child_word(n))) {
        cr_assert(child_parse(word->name, &child));
        cr_assert_eq(child.kind, word->kind);
        cr_assert_leq(strlen(word->help), 62, "%s", word->name);
        n_taking += child_takes(word->kind);
        n++;
    }
    cr_assert_eq(n, 12);
    cr_assert_eq(n_taking, 3);
    cr_assert_null(child_word(n + 1));
}

Test(child, an_item)
{
    struct child item = child_of_item(UINT64_C(0x1000005));

    cr_assert_eq(item.kind, NODE_ITEM);
    cr_assert_eq(item.limit, UINT64_C(0x1000005));
    cr_assert_eq(item.timeout_us, -1);
}

static bool gives_one(const char *name)
{
    struct child child;

    cr_assert(child_parse(name, &child));
    return child_gives_one(&child);
}

Test(child, one_item_an_open)
{
    cr_assert(gives_one("next"));
    cr_assert(gives_one("next@5s"));
    cr_assert(gives_one("out@1"));
    cr_assert(gives_one("out@1@forever"));
    cr_assert_not(gives_one("out"));
    cr_assert_not(gives_one("out@2"));
    cr_assert_not(gives_one("out@1s"));
    cr_assert_not(gives_one("claim"), "what it gives is a line");
    cr_assert_not(gives_one("in"));
    cr_assert_not(gives_one("ready"));
}

Test(child, directories_of_items)
{
    for (int kind = NODE_ROOT; kind < NODE_KINDS; kind++)
        cr_assert_eq(child_lists_items((enum node_kind)kind),
                     kind == NODE_READY || kind == NODE_LEASED || kind == NODE_DEAD);
}
