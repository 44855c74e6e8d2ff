/* Nodes of the root only: they need no queue. flush has a node for each open, as in has, and next.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>

#include "core/get/consumer.h"
#include "fs/node.h"

static struct nodes nodes;
static const struct child flush = {NODE_FLUSH, READER_UNLIMITED, -1};
static const struct child stats = {NODE_STATS, READER_UNLIMITED, -1};

static int64_t now_us;

static int64_t test_mono_us(const struct clock *clock)
{
    return now_us;
}

static const struct clock test_clock = {.mono_us = test_mono_us};

static void setup(void)
{
    nodes_init(&nodes, &test_clock);
}

static void teardown(void)
{
    nodes_fini(&nodes);
}

TestSuite(node, .init = setup, .fini = teardown, .timeout = 5);

Test(node, the_root_is_itself)
{
    struct node *root = node_of(&nodes, FUSE_ROOT_ID);

    cr_assert_eq(root, &nodes.root);
    cr_assert_eq(node_id(&nodes, root), FUSE_ROOT_ID);
    node_forget(&nodes, root, 5);
    cr_assert_eq(node_of(&nodes, FUSE_ROOT_ID)->child.kind, NODE_ROOT);
}

Test(node, one_node_a_name)
{
    struct node *a = node_lookup(&nodes, NULL, &stats, 0);

    cr_assert_eq(node_lookup(&nodes, NULL, &stats, 0), a);
    cr_assert_eq(node_of(&nodes, node_id(&nodes, a)), a);
    cr_assert_eq(node_open(&nodes, a, 1), 0);
    cr_assert_eq(node_open(&nodes, a, 2), 0);
    cr_assert_eq(node_lookup(&nodes, NULL, &stats, 0), a);
}

Test(node, lives_until_forgotten_and_closed)
{
    struct node *a = node_lookup(&nodes, NULL, &stats, 0);

    cr_assert_eq(node_open(&nodes, a, 1), 0);
    node_forget(&nodes, a, 1);
    cr_assert_eq(node_lookup(&nodes, NULL, &stats, 0), a);
    node_close(&nodes, a);
    node_unref(&nodes, a);
    cr_assert_eq(a->n_lookups, 1);
    node_forget(&nodes, a, 1);
    cr_assert(RB_EMPTY(&nodes.set));
}

Test(node, a_closed_one_is_handed_out_before_it_is_let_go_of)
{
    struct node *a = node_lookup(&nodes, NULL, &flush, 0);

    cr_assert_eq(node_open(&nodes, a, 1), 0);
    node_close(&nodes, a);
    cr_assert_eq(node_lookup(&nodes, NULL, &flush, 0), a);
    cr_assert_eq(node_open(&nodes, a, 1), 0); /* by the same thread, which is not told */
    node_unref(&nodes, a);                    /* of the first open: the second still has it */
    cr_assert_eq(node_open(&nodes, a, 1), -ESTALE);
    node_forget(&nodes, a, 2);
    node_close(&nodes, a);
    cr_assert_not(RB_EMPTY(&nodes.set));
    node_unref(&nodes, a);
    cr_assert(RB_EMPTY(&nodes.set));
}

Test(node, a_forget_of_more_than_was_looked_up)
{
    struct node *a = node_lookup(&nodes, NULL, &stats, 0);

    node_forget(&nodes, a, 3);
    cr_assert(RB_EMPTY(&nodes.set));
}

Test(node, an_open_one_is_not_handed_out)
{
    struct node *a = node_lookup(&nodes, NULL, &flush, 0), *b;

    cr_assert_eq(node_lookup(&nodes, NULL, &flush, 0), a);
    cr_assert_eq(node_open(&nodes, a, 1), 0);
    b = node_lookup(&nodes, NULL, &flush, 0);
    cr_assert_neq(b, a);
    cr_assert_eq(node_open(&nodes, b, 2), 0);
    node_close(&nodes, a);
    cr_assert_eq(node_lookup(&nodes, NULL, &flush, 0), a);
}

Test(node, a_thread_is_told_once)
{
    struct node *a = node_lookup(&nodes, NULL, &flush, 0);

    cr_assert_eq(node_open(&nodes, a, 1), 0);
    cr_assert_eq(node_open(&nodes, a, 2), -ESTALE);
    cr_assert_eq(node_open(&nodes, a, 2), 0); /* shares it */
    cr_assert_eq(node_open(&nodes, a, 2), -ESTALE);
    node_close(&nodes, a);
    node_close(&nodes, a);
    cr_assert_eq(node_open(&nodes, a, 2), 0); /* idle; and it is no longer told */
    cr_assert_eq(node_open(&nodes, a, 2), -ESTALE);
}

static void opening_ended(struct op *op, ssize_t result)
{
    *(ssize_t *)op->owner = result;
}

Test(node, of_many_that_open_at_once_a_few_look_up_again_and_the_others_wait)
{
    struct node *node = node_lookup(&nodes, NULL, &flush, 0);
    ssize_t result = 1, cancelled = 1;
    struct op op, other;

    cr_assert_eq(node_open(&nodes, node, 1), 0);
    cr_assert_eq(node_open(&nodes, node, 2), -ESTALE);
    cr_assert_eq(node_open(&nodes, node, 3), -ESTALE);
    cr_assert_eq(node_open(&nodes, node, 4), NODE_CROWD);
    op_init(&op, opening_ended, &result);
    op_init(&other, opening_ended, &cancelled);
    node_open_wait(&nodes, 4, &op);
    node_open_wait(&nodes, 5, &other);
    cr_assert_eq(result, 1, "it waits");
    cr_assert_eq(node_open(&nodes, node, 2), 0, "told once");
    cr_assert_eq(result, 0, "its turn has come");
    op_cancel(&other);
    cr_assert_eq(cancelled, -EINTR);
    cr_assert(node_is_crowded(&nodes));
    cr_assert_eq(node_open(&nodes, node, 3), 0);
    cr_assert_eq(node_open(&nodes, node, 4), 0, "told once");
    cr_assert_not(node_is_crowded(&nodes));
}

Test(node, who_was_told_and_never_came_again_holds_up_nobody_for_long)
{
    struct node *node = node_lookup(&nodes, NULL, &flush, 0);

    cr_assert_eq(node_open(&nodes, node, 1), 0);
    cr_assert_eq(node_open(&nodes, node, 2), -ESTALE);
    cr_assert_eq(node_open(&nodes, node, 3), -ESTALE);
    cr_assert_eq(node_open(&nodes, node, 4), NODE_CROWD);
    now_us += 30000;
    cr_assert_eq(node_open(&nodes, node, 4), -ESTALE);
}

Test(node, a_thread_that_is_not_known_is_told_nothing)
{
    struct node *a = node_lookup(&nodes, NULL, &flush, 0);

    cr_assert_eq(node_open(&nodes, a, 0), 0);
    cr_assert_eq(node_open(&nodes, a, 0), 0);
}

Test(node, many_open_and_one_idle)
{
    struct node *last = NULL;

    for (pid_t tid = 1; tid <= 1000; tid++) {
        last = node_lookup(&nodes, NULL, &flush, 0);
        cr_assert_eq(node_open(&nodes, last, tid), 0);
        node_forget(&nodes, last, 1);
    }
    node_close(&nodes, last);
    node_unref(&nodes, last); /* and it is gone */
    last = node_lookup(&nodes, NULL, &flush, 0);
    cr_assert_not(last->busy);
}

/* ---- what gives one item ---- */

static const struct child next = {NODE_NEXT, 1, -1}, next_5s = {NODE_NEXT, 1, 5000000};
static const struct child out_1 = {NODE_OUT, 1, -1}, out = {NODE_OUT, READER_UNLIMITED, -1};

Test(node, each_name_of_one_item_has_nodes_of_its_own)
{
    struct node *a = node_lookup(&nodes, NULL, &next, 1);
    struct node *b = node_lookup(&nodes, NULL, &next_5s, 1);
    struct node *c = node_lookup(&nodes, NULL, &out_1, 1);

    cr_assert(a != b && b != c && a != c);
    cr_assert_eq(node_lookup(&nodes, NULL, &next, 1), a);
    cr_assert_eq(node_lookup(&nodes, NULL, &next_5s, 1), b);
    cr_assert_eq(node_lookup(&nodes, NULL, &out_1, 1), c);
}

Test(node, each_open_of_one_item_has_a_node_of_its_own)
{
    struct node *a = node_lookup(&nodes, NULL, &next, 1), *b;

    cr_assert_eq(node_open(&nodes, a, 1), 0);
    b = node_lookup(&nodes, NULL, &next, 1);
    cr_assert_neq(b, a);
    cr_assert_eq(node_open(&nodes, b, 1), 0);
    node_close(&nodes, a);
    cr_assert_eq(node_lookup(&nodes, NULL, &next, 2), a);
}

Test(node, what_gives_more_is_shared)
{
    struct node *a = node_lookup(&nodes, NULL, &out, 1);

    cr_assert_eq(node_open(&nodes, a, 1), 0);
    cr_assert_eq(node_open(&nodes, a, 2), 0);
    cr_assert_eq(node_lookup(&nodes, NULL, &out, 3), a);
}

Test(node, what_a_thread_has_looked_up_is_kept_from_others_for_a_second)
{
    struct node *a = node_lookup(&nodes, NULL, &next, 1), *b = node_lookup(&nodes, NULL, &next, 2);

    cr_assert_neq(b, a);
    cr_assert_eq(node_lookup(&nodes, NULL, &next, 1), a);
    now_us += 999999;
    cr_assert_eq(node_lookup(&nodes, NULL, &next, 2), b);
    now_us += 1;
    cr_assert_eq(node_lookup(&nodes, NULL, &next, 3), a);
}

Test(node, threads_that_are_not_known_are_not_the_same)
{
    struct node *a = node_lookup(&nodes, NULL, &next, 0);

    cr_assert_neq(node_lookup(&nodes, NULL, &next, 0), a);
}

/* /dev/stdin: no name is looked up, so there is none to look up again. */
Test(node, an_open_one_that_is_opened_again_is_shared)
{
    struct node *a = node_lookup(&nodes, NULL, &next, 1);

    cr_assert_not(node_is_alone(&nodes, a));
    cr_assert_eq(node_open(&nodes, a, 1), 0);
    cr_assert(node_is_alone(&nodes, a));
    cr_assert_eq(node_open(&nodes, a, 2), 0);
    cr_assert_not(node_is_alone(&nodes, a));
    node_close(&nodes, a);
    cr_assert_neq(node_lookup(&nodes, NULL, &next, 3), a);
    node_close(&nodes, a);
    cr_assert_eq(node_lookup(&nodes, NULL, &next, 3)->child.kind, NODE_NEXT);
}

Test(node, ids_of_a_queue)
{
    struct node *a = node_lookup(&nodes, NULL, &stats, 0),
                *b = node_lookup(&nodes, NULL, &flush, 0);
    fuse_ino_t *ids;

    cr_assert_eq(node_ids_of(&nodes, 0, &ids), 2);
    cr_assert_eq(ids[0], node_id(&nodes, a));
    cr_assert_eq(ids[1], node_id(&nodes, b));
    free(ids);
    cr_assert_eq(node_ids_of(&nodes, 1, &ids), 0);
    free(ids);
}

static struct node ready = {.child = {.kind = NODE_READY}}, dead = {.child = {.kind = NODE_DEAD}};
static const struct item_info seen = {
    .id = 1 << 24, .size = 5, .state = ITEM_DEAD, .deliveries = 5};

Test(node, an_item_has_a_node_in_each_directory)
{
    const struct item_info other = {.id = 2 << 24, .size = 6};
    struct node *a = node_lookup_item(&nodes, &ready, &seen, NULL);

    cr_assert_eq(node_lookup_item(&nodes, &ready, &seen, NULL), a);
    cr_assert_neq(node_lookup_item(&nodes, &ready, &other, NULL), a);
    cr_assert_neq(node_lookup_item(&nodes, &dead, &seen, NULL), a);
    cr_assert_eq(node_open(&nodes, a, 1), 0);
    cr_assert_eq(node_lookup_item(&nodes, &ready, &seen, NULL), a);
    cr_assert_eq(a->child.kind, NODE_ITEM);
    cr_assert_eq(a->child.limit, seen.id);
}

/* Whether it is answered from a listing. */
static bool is_listed(const struct node *dir, uint64_t id)
{
    return node_lookup_listed(&nodes, dir, id) != NULL;
}

Test(node, an_item_that_was_looked_up_is_not_listed)
{
    node_lookup_item(&nodes, &dead, &seen, NULL);
    cr_assert_not(is_listed(&dead, seen.id));
}

Test(node, a_listing_stands_while_the_directory_is_open)
{
    struct lister *lister = lister_new();
    struct node *a = node_lookup_item(&nodes, &dead, &seen, lister);

    cr_assert(is_listed(&dead, seen.id));
    cr_assert_eq(a->n_lookups, 2);
    cr_assert_not(is_listed(&ready, seen.id));
    cr_assert_not(is_listed(&dead, seen.id + 1));
    lister_close(lister);
    cr_assert_not(is_listed(&dead, seen.id));
    cr_assert_eq(a->n_lookups, 2);
}

Test(node, a_listing_stands_for_a_second)
{
    struct lister *lister = lister_new();

    node_lookup_item(&nodes, &dead, &seen, lister);
    now_us += 999999;
    cr_assert(is_listed(&dead, seen.id));
    now_us += 1;
    cr_assert_not(is_listed(&dead, seen.id));
    lister_close(lister);
}

Test(node, the_newest_listing_counts)
{
    struct lister *first = lister_new(), *second = lister_new();

    node_lookup_item(&nodes, &dead, &seen, first);
    node_lookup_item(&nodes, &dead, &seen, second);
    lister_close(first);
    cr_assert(is_listed(&dead, seen.id));
    node_lookup_item(&nodes, &dead, &seen, NULL);
    cr_assert_not(is_listed(&dead, seen.id));
    lister_close(second);
}

Test(node, an_item_that_was_not_there_when_opened_is_looked_up_again)
{
    struct lister *lister = lister_new();
    struct node *a = node_lookup_item(&nodes, &dead, &seen, lister);

    node_unlist(&nodes, a);
    cr_assert_not(is_listed(&dead, seen.id));
    node_unlist(&nodes, a);
    node_lookup_item(&nodes, &dead, &seen, lister);
    cr_assert(is_listed(&dead, seen.id), "listed anew");
    lister_close(lister);
}

Test(node, an_item_that_was_moved_is_looked_up_again)
{
    struct lister *lister = lister_new();
    struct node *a = node_lookup_item(&nodes, &dead, &seen, lister);

    node_item_moved(&nodes, &dead, seen.id, ITEM_READY);
    cr_assert_not(is_listed(&dead, seen.id));
    cr_assert_neq(node_lookup_item(&nodes, &dead, &seen, NULL), a, "another node");
    lister_close(lister);
}

Test(node, a_move_of_an_item_that_the_kernel_does_not_know)
{
    node_item_moved(&nodes, &dead, 1 << 24, ITEM_READY);
    cr_assert(RB_EMPTY(&nodes.set));
}

/* What a file handle of the first would say of the second, were their addresses the same. */
Test(node, a_generation_is_of_one_node_only)
{
    struct node *a = node_lookup(&nodes, NULL, &stats, 0);
    uint64_t generation = a->generation;

    for (int i = 0; i < 100; i++) {
        node_forget(&nodes, a, 1);
        a = node_lookup(&nodes, NULL, &stats, 0);
        cr_assert_gt(a->generation, generation);
        generation = a->generation;
    }
    cr_assert_eq(node_lookup(&nodes, NULL, &stats, 0)->generation, generation);
}
