/* How bytes become items and items batches: framing, too large items, when a batch goes. */
#include "tests/core/put/producer_rig.h"

TestSuite(producer, .timeout = 60);

/* ---- framing ---- */

Test(producer, lines_become_items)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "a\n\nbc\r\n"), 7);
    cr_assert_eq(rig_puts(&rig, &w, "de"), 2);
    cr_assert_eq(producer_unfinished(rig.p), 1);
    cr_assert_eq(rig_puts(&rig, &w, "f\ng\n"), 4);
    rig_drain(&rig);
    rig_take_text(&rig, "a");
    rig_take_text(&rig, "");
    rig_take_text(&rig, "bc\r");
    rig_take_text(&rig, "def");
    rig_take_text(&rig, "g");
    rig_nothing_more(&rig);
    cr_assert_eq(producer_counters(rig.p)->total_puts, 5);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer, one_byte_writes_make_the_same_items)
{
    const char *text = "one\n\ntwo\nthree";
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig_open(&rig, &w);
    for (const char *c = text; *c; c++)
        cr_assert_eq(rig_write(&rig, &w, c, 1), 1);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_take_text(&rig, "one");
    rig_take_text(&rig, "");
    rig_take_text(&rig, "two");
    rig_take_text(&rig, "three");
    rig_nothing_more(&rig);
    rig_fini(&rig);
}

Test(producer, nul_ends_items_and_newlines_are_bytes)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.own.framing = FRAMING_NUL;
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "a\nb\0\0c\n"), 7);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_take_text(&rig, "a\nb");
    rig_take_text(&rig, "");
    rig_take_text(&rig, "c\n");
    rig_nothing_more(&rig);
    rig_fini(&rig);
}

Test(producer, a_file_is_what_one_open_wrote)
{
    struct rig rig;
    struct writer a, b, c;

    rig_init(&rig);
    rig.settings.own.framing = FRAMING_FILE;
    rig_open(&rig, &a);
    rig_open(&rig, &b);
    rig_open(&rig, &c);
    cr_assert_eq(rig_puts(&rig, &a, "x\ny"), 3);
    cr_assert_eq(rig_puts(&rig, &b, "\0"), 1);
    cr_assert_eq(rig_puts(&rig, &a, "\nz"), 2);
    rig_release(&rig, &c); /* wrote nothing: no item */
    rig_release(&rig, &b);
    rig_release(&rig, &a);
    rig_drain(&rig);
    rig_take_text(&rig, "\0");
    rig_take_text(&rig, "x\ny\nz");
    rig_nothing_more(&rig);
    cr_assert_eq(producer_counters(rig.p)->batch_puts, 1);
    rig_fini(&rig);
}

Test(producer, files_go_one_by_one_with_batch_size_1)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.own.framing = FRAMING_FILE;
    rig.settings.mount.batch_size = 1;
    rig.settings.mount.max_in_flight = 1;
    for (int i = 0; i < 4; i++) {
        rig_open(&rig, &w);
        cr_assert_eq(rig_puts(&rig, &w, "file"), 4);
        rig_release(&rig, &w);
    }
    cr_assert_eq(rig_batch(&rig, 0)->n_items, 1);
    rig_drain(&rig);
    cr_assert_eq(producer_counters(rig.p)->batch_puts, 4);
    for (int i = 0; i < 4; i++)
        rig_take_text(&rig, "file");
    rig_nothing_more(&rig);
    rig_fini(&rig);
}

Test(producer, an_unfinished_item_keeps_its_framing)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "a\nb"), 3);
    rig.settings.own.framing = FRAMING_NUL;
    cr_assert_eq(rig_puts(&rig, &w, "c\n"), 2);
    cr_assert_eq(rig_puts(&rig, &w, "d\ne\0"), 4);
    rig_drain(&rig);
    rig_take_text(&rig, "a");
    rig_take_text(&rig, "bc");
    rig_take_text(&rig, "d\ne");
    rig_nothing_more(&rig);
    cr_assert_eq(producer_counters(rig.p)->batch_puts, 2); /* a framing each */
    rig_release(&rig, &w);
    rig_fini(&rig);
}

/* ---- unfinished items ---- */

Test(producer, only_the_last_close_ends_an_unfinished_item)
{
    struct rig rig;
    struct writer closed, open;
    struct call call;
    struct effects effects;

    rig_init(&rig);
    rig_open(&rig, &closed);
    rig_open(&rig, &open);
    cr_assert_eq(rig_puts(&rig, &closed, "x"), 1);
    cr_assert_eq(rig_puts(&rig, &open, "y"), 1);
    rig_close(&rig, &closed, &call);
    cr_assert_eq(call.result, 0);
    rig_drain(&rig);
    effects_init(&effects);
    cr_assert_eq(producer_push(rig.p, rig.now_us, &effects), 0);
    rig_run(&rig, &effects);
    rig_nothing_more(&rig);
    cr_assert_eq(producer_unfinished(rig.p), 2);
    rig_release(&rig, &closed);
    rig_drain(&rig);
    rig_take_text(&rig, "x");
    rig_nothing_more(&rig);
    cr_assert_eq(rig_puts(&rig, &open, "z"), 1);
    rig_release(&rig, &open);
    rig_drain(&rig);
    rig_take_text(&rig, "yz");
    rig_nothing_more(&rig);
    rig_fini(&rig);
}

Test(producer, a_write_after_a_close_goes_on_with_the_item)
{
    struct rig rig;
    struct writer w;
    struct call call;

    rig_init(&rig);
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "a"), 1);
    rig_close(&rig, &w, &call);
    cr_assert_eq(rig_puts(&rig, &w, "b"), 1);
    rig_close(&rig, &w, &call);
    cr_assert_eq(rig_puts(&rig, &w, "c"), 1);
    rig_drain(&rig);
    rig_nothing_more(&rig);
    cr_assert_eq(rig_puts(&rig, &w, "\n"), 1);
    rig_close(&rig, &w, &call);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_take_text(&rig, "abc");
    rig_nothing_more(&rig);
    rig_fini(&rig);
}

Test(producer, push_sends_what_is_whole)
{
    struct rig rig;
    struct writer w;
    struct effects effects;

    rig_init(&rig);
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "x\ny"), 3);
    effects_init(&effects);
    cr_assert_eq(producer_push(rig.p, rig.now_us, &effects), 1);
    rig_run(&rig, &effects);
    cr_assert_eq(producer_acked(rig.p), 0);
    rig_store_all(&rig);
    cr_assert_eq(producer_acked(rig.p), 1);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

/* ---- too large ---- */

/* Write these two pieces with max_item_size 4; what comes of each and which items. */
struct too_large {
    const char *first, *second;
    ssize_t first_result, second_result;
    const char *items; /* as lines */
};

static const struct too_large too_large_cases[] = {
    {"1234\n", "a\n", 5, 2, "1234\na\n"},
    {"12345\n", "a\n", -EMSGSIZE, 2, "a\n"},
    {"12345", "6\na\n", -EMSGSIZE, 4, "a\n"},
    {"12345", "6", -EMSGSIZE, 1, ""},
    {"ok\n12345\n", "12345\n", 3, -EMSGSIZE, "ok\n"},
    {"ok\n\n12345", "12345", 4, -EMSGSIZE, "ok\n\n"},
    {"1234", "\na\n", 4, 3, "1234\na\n"},
    {"1234", "5\na\n", 4, -EMSGSIZE, ""},
    {"1234", "5", 4, -EMSGSIZE, ""},
    {"ok\n12", "345\n", 5, -EMSGSIZE, "ok\n"},
    {"ok\n12", "34\n567", 5, 6, "ok\n1234\n567\n"},
    {"12345\nb\n", "c\n", -EMSGSIZE, 2, "c\n"},
    {"\n\n\n1234\n12345", "a\n", 8, 2, "\n\n\n1234\na\n"},
};

static void expect_lines(struct rig *rig, const char *lines)
{
    const char *end;

    for (; *lines; lines = end + 1) {
        end = strchr(lines, '\n');
        rig_take(rig, lines, (size_t)(end - lines));
    }
    rig_nothing_more(rig);
}

Test(producer, an_item_over_max_item_size_is_refused)
{
    struct rig rig;
    struct writer w;

    for (size_t i = 0; i < sizeof(too_large_cases) / sizeof(too_large_cases[0]); i++) {
        const struct too_large *c = &too_large_cases[i];
        ssize_t result;

        rig_init(&rig);
        rig.settings.own.max_item_size = 4;
        rig_open(&rig, &w);
        result = rig_write(&rig, &w, c->first, strlen(c->first));
        cr_assert_eq(result, c->first_result, "case %zu: %zd", i, result);
        result = rig_write(&rig, &w, c->second, strlen(c->second));
        cr_assert_eq(result, c->second_result, "case %zu, second: %zd", i, result);
        rig_release(&rig, &w);
        rig_drain(&rig);
        expect_lines(&rig, c->items);
        rig_fini(&rig);
    }
}

Test(producer, the_rest_of_a_refused_item_is_skipped_in_later_writes)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.own.max_item_size = 4;
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "ok\n123456789"), 3);
    cr_assert_eq(rig_puts(&rig, &w, "123456789"), -EMSGSIZE);
    cr_assert_eq(rig_puts(&rig, &w, "more"), 4);
    cr_assert_eq(rig_puts(&rig, &w, "more\nnext\n"), 10);
    cr_assert_eq(rig_puts(&rig, &w, "last\n"), 5);
    rig_release(&rig, &w);
    rig_drain(&rig);
    expect_lines(&rig, "ok\nnext\nlast\n");
    rig_fini(&rig);
}

Test(producer, a_too_large_file_is_dropped_whole)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.own.framing = FRAMING_FILE;
    rig.settings.own.max_item_size = 4;
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "1234"), 4);
    cr_assert_eq(rig_puts(&rig, &w, "5"), -EMSGSIZE);
    cr_assert_eq(rig_puts(&rig, &w, "6"), 1);
    rig_release(&rig, &w);
    rig_open(&rig, &w);
    cr_assert_eq(rig_puts(&rig, &w, "abcd"), 4);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_take_text(&rig, "abcd");
    rig_nothing_more(&rig);
    rig_fini(&rig);
}

Test(producer, an_error_is_told_once_however_long_the_write_before_it)
{
    size_t big = (size_t)1 << 20;
    char *data = malloc(big);
    struct rig rig;
    struct writer w;

    memset(data, 'x', big);
    rig_init(&rig);
    rig_open(&rig, &w);
    cr_assert_eq(rig_write(&rig, &w, data, big), (ssize_t)big);
    rig.settings.own.max_item_size = 4;
    cr_assert_eq(rig_puts(&rig, &w, "12345\n"), -EMSGSIZE);
    cr_assert_eq(rig_puts(&rig, &w, "a\n"), 2);
    rig_release(&rig, &w);
    rig_drain(&rig);
    rig_take_text(&rig, "a");
    rig_nothing_more(&rig);
    rig_fini(&rig);
    free(data);
}

/* ---- when a batch goes ---- */

Test(producer, a_batch_goes_after_linger)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\n");
    rig_sleep(&rig, 3000);
    rig_puts(&rig, &w, "b\n");
    rig_sleep(&rig, 1999);
    cr_assert_eq(rig.n_sent, 0);
    rig_sleep(&rig, 1);
    cr_assert_eq(rig_batch(&rig, 0)->n_items, 2);
    rig_store_all(&rig);
    cr_assert_eq(producer_counters(rig.p)->latency.max_us, 5000);
    cr_assert_eq(producer_counters(rig.p)->latency.n, 2);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer, a_batch_goes_at_batch_size)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.mount.batch_size = 3;
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\nb\n");
    cr_assert_eq(rig.n_sent, 0);
    rig_puts(&rig, &w, "c\nd\ne\n");
    cr_assert_eq(rig.n_sent, 1);
    cr_assert_eq(rig_batch(&rig, 0)->n_items, 5);
    rig_store_all(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer, batch_bytes_is_when_to_send_and_the_cap)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.mount.batch_bytes = 8;
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "123\n56\n");
    cr_assert_eq(rig.n_sent, 0);
    rig_puts(&rig, &w, "\n");
    cr_assert_eq(rig_batch(&rig, 0)->n_items, 3);
    rig_puts(&rig, &w, "12345\n123456789abc\nx\ny\n"); /* 6, 13, 4 bytes */
    cr_assert_eq(rig.n_sent, 3);
    cr_assert_eq(rig_batch(&rig, 1)->len, 6);
    cr_assert_eq(rig_batch(&rig, 2)->len, 13);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer, batch_size_1_makes_each_item_a_batch)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.mount.batch_size = 1;
    rig.settings.mount.max_in_flight = 2;
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\nb\nc\n");
    rig_puts(&rig, &w, "d\n");
    cr_assert_eq(rig.n_sent, 2);
    cr_assert_eq(rig_batch(&rig, 0)->len, 2);
    rig_store(&rig, 0);
    rig.settings.mount.batch_size = 100; /* live */
    rig_drain(&rig);
    cr_assert_eq(producer_counters(rig.p)->batch_puts, 4);
    expect_lines(&rig, "a\nb\nc\nd\n");
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer, while_the_window_is_full_the_next_batch_grows)
{
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig.settings.mount.batch_size = 1000;
    rig.settings.mount.max_in_flight = 1;
    rig.settings.mount.linger_us = 0;
    rig_open(&rig, &w);
    for (int i = 0; i < 50; i++)
        rig_puts(&rig, &w, "a\n");
    cr_assert_eq(rig.n_sent, 1);
    rig_sleep(&rig, 1000000);
    cr_assert_eq(rig.n_sent, 1);
    rig_store(&rig, 0);
    cr_assert_eq(rig_batch(&rig, 0)->n_items, 49);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer, who_waits_for_the_queue_gets_items_at_once)
{
    struct rig rig;
    struct writer w;
    struct effects effects;

    rig_init(&rig);
    rig_open(&rig, &w);
    rig_puts(&rig, &w, "a\n");
    cr_assert_eq(rig.n_sent, 0);
    effects_init(&effects);
    producer_set_awaited(rig.p, true, rig.now_us, &effects);
    rig_run(&rig, &effects);
    cr_assert_eq(rig.n_sent, 1);
    rig_puts(&rig, &w, "b\n");
    cr_assert_eq(rig.n_sent, 2);
    effects_init(&effects);
    producer_set_awaited(rig.p, false, rig.now_us, &effects);
    rig_run(&rig, &effects);
    rig_puts(&rig, &w, "c\n");
    cr_assert_eq(rig.n_sent, 2);
    rig_drain(&rig);
    rig_release(&rig, &w);
    rig_fini(&rig);
}

Test(producer, spare_buffers_are_dropped_when_idle)
{
    size_t big = (size_t)200 << 10;
    char *data = malloc(big);
    struct rig rig;
    struct writer w;

    rig_init(&rig);
    rig_open(&rig, &w);
    for (size_t i = 0; i < big; i++)
        data[i] = i % 128 == 127 ? '\n' : 'x';
    cr_assert_eq(rig_write(&rig, &w, data, big), (ssize_t)big);
    rig_store_all(&rig);
    cr_assert_gt(rig.p->batcher.spare_bytes, 0);
    rig_sleep(&rig, 1000000);
    cr_assert_eq(rig.p->batcher.spare_bytes, 0);
    cr_assert_eq(producer_deadline(rig.p), TIME_FOREVER);
    rig_release(&rig, &w);
    rig_fini(&rig);
    free(data);
}
