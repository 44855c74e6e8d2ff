#include <criterion/criterion.h>

#include <stdio.h>

#include "fs/move.h"

TestSuite(move, .timeout = 5);

#define ID "0000000001000000"

static void expect(enum node_kind from, enum node_kind to, enum move_how how, enum settle_verb verb)
{
    const struct move *move = move_find(from, to);

    cr_assert_not_null(move);
    cr_assert_eq(move->how, how);
    cr_assert(how == MOVE_TAKE || move->verb == verb);
}

Test(move, those_there_are)
{
    expect(NODE_LEASED, MOVE_AWAY, MOVE_HELD, SETTLE_ACK);
    expect(NODE_LEASED, NODE_READY, MOVE_HELD, SETTLE_NACK);
    expect(NODE_LEASED, NODE_DEAD, MOVE_HELD, SETTLE_BURY);
    expect(NODE_READY, NODE_LEASED, MOVE_TAKE, SETTLE_ACK);
    expect(NODE_READY, MOVE_AWAY, MOVE_SETTLE, SETTLE_DROP);
    expect(NODE_DEAD, NODE_READY, MOVE_SETTLE, SETTLE_REVIVE);
    expect(NODE_DEAD, MOVE_AWAY, MOVE_SETTLE, SETTLE_FORGET);
}

Test(move, there_are_no_others)
{
    unsigned n = 0;

    for (int from = NODE_ROOT; from <= MOVE_AWAY; from++)
        for (int to = NODE_ROOT; to <= MOVE_AWAY; to++)
            n += move_find((enum node_kind)from, (enum node_kind)to) != NULL;
    cr_assert_eq(n, 7);
    cr_assert_null(move_find(NODE_DEAD, NODE_LEASED));
    cr_assert_null(move_find(NODE_READY, NODE_DEAD));
    cr_assert_null(move_find(NODE_READY, NODE_READY));
}

Test(move, by_rename)
{
    uint64_t id = 0;

    cr_assert_not_null(move_of_rename(NODE_LEASED, ID, NODE_READY, ID, 0, &id));
    cr_assert_eq(id, UINT64_C(1) << 24);
    cr_assert_not_null(move_of_rename(NODE_READY, ID, NODE_LEASED, ID, RENAME_NOREPLACE, &id));
}

Test(move, renames_that_nobody_may)
{
    uint64_t id;

    cr_assert_null(move_of_rename(NODE_LEASED, ID, NODE_READY, "0000000001000001", 0, &id));
    cr_assert_null(move_of_rename(NODE_LEASED, "x", NODE_READY, "x", 0, &id));
    cr_assert_null(move_of_rename(NODE_LEASED, ID, NODE_READY, ID, RENAME_EXCHANGE, &id));
    cr_assert_null(move_of_rename(NODE_LEASED, ID, NODE_DIR, ID, 0, &id));
    cr_assert_null(move_of_rename(NODE_DIR, "in", NODE_DIR, "in", 0, &id));
    cr_assert_null(move_of_rename(NODE_DEAD, ID, NODE_LEASED, ID, 0, &id));
}
