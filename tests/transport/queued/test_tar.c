/* Headers of tars: what is written is read, and what is not right is told. Whole tars are in
 * tests/e2e/test_export.py. */
#include "transport/queued/tar.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

static uint8_t block[TAR_BLOCK];
static struct tar_member member;

/* The checksum as it has to be, after a change. */
static void sum_up(void)
{
    unsigned sum = 0;

    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 7, "%06o", sum);
}

static void changed(size_t at, const char *to, size_t len)
{
    tar_write_header(block, "name", 5, 1700000000);
    memcpy(block + at, to, len);
    sum_up();
    tar_read_header(block, &member);
}

Test(tar, what_is_written_is_read)
{
    const uint64_t sizes[] = {0, 1, 511, 512, 64 << 20, 077777777777};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        tar_write_header(block, "0000000001000000", sizes[i], 1700000000);
        tar_read_header(block, &member);
        cr_assert_eq(member.kind, TAR_FILE);
        cr_assert_eq(member.size, sizes[i]);
        cr_assert_str_eq(member.name, "0000000001000000");
    }
    cr_assert_eq(tar_padding(0), 0);
    cr_assert_eq(tar_padding(1), 511);
    cr_assert_eq(tar_padding(512), 0);
}

Test(tar, each_flipped_bit_of_a_header_is_seen)
{
    for (size_t bit = 0; bit < TAR_BLOCK * 8; bit++) {
        tar_write_header(block, "name", 5, 1700000000);
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        tar_read_header(block, &member);
        cr_assert(member.kind == TAR_NONE || member.kind == TAR_DAMAGED ||
                      (bit / 8 >= 148 && bit / 8 < 156),
                  "bit %zu", bit);
    }
}

Test(tar, kinds_are_told_apart)
{
    memset(block, 0, sizeof(block));
    tar_read_header(block, &member);
    cr_assert_eq(member.kind, TAR_ZERO);
    block[511] = 1;
    tar_read_header(block, &member);
    cr_assert_eq(member.kind, TAR_NONE);
    changed(156, "x", 1);
    cr_assert_eq(member.kind, TAR_PAX);
    changed(156, "g", 1);
    cr_assert_eq(member.kind, TAR_GLOBAL);
    changed(156, "L", 1);
    cr_assert_eq(member.kind, TAR_LONG);
    changed(156, "\0", 1);
    cr_assert_eq(member.kind, TAR_FILE);
    for (const char *type = "1234568SDMVNA"; *type; type++) {
        changed(156, type, 1);
        cr_assert_eq(member.kind, TAR_OTHER, "type %c", *type);
        cr_assert_not_null(member.what);
    }
    changed(0, "name/", 5);
    cr_assert_eq(member.kind, TAR_OTHER);
    changed(257, "ustar  ", 8);
    cr_assert_eq(member.kind, TAR_FILE);
    changed(257, "nothing", 8);
    cr_assert_eq(member.kind, TAR_NONE);
    changed(0, "a\n\x1b", 3);
    cr_assert_str_eq(member.name, "a??e");
}

Test(tar, sizes_that_are_none_are_damage)
{
    changed(124, "   17 \0     ", 12);
    cr_assert_eq(member.kind, TAR_FILE);
    cr_assert_eq(member.size, 017);
    changed(124, "\x80\0\0\0\0\0\0\0\0\0\1\2", 12);
    cr_assert_eq(member.size, 258);
    changed(124, "\x80\0\0\0\1\0\0\0\0\0\0\0", 12);
    cr_assert_eq(member.size, UINT64_C(1) << 56);
    changed(124, "\x80\0\1\0\0\0\0\0\0\0\0\0", 12);
    cr_assert_eq(member.kind, TAR_DAMAGED);
    changed(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    cr_assert_eq(member.kind, TAR_DAMAGED);
    changed(124, "            ", 12);
    cr_assert_eq(member.kind, TAR_DAMAGED);
    changed(124, "0000000008\0", 12);
    cr_assert_eq(member.kind, TAR_DAMAGED);
    changed(124, "17 17\0\0\0\0\0\0", 12);
    cr_assert_eq(member.kind, TAR_DAMAGED);
}

static bool pax(const char *text, struct tar_pax *found)
{
    return tar_read_pax((const uint8_t *)text, strlen(text), found);
}

Test(tar, attributes_of_pax)
{
    const char *const damaged[] = {"1",
                                   "1 ",
                                   "4 =\n",
                                   "9 size=1\n ",
                                   "11 size=1\n",
                                   "8 size=1\n",
                                   "9 size=x\n",
                                   "8 size=\n",
                                   "9 size=1 ",
                                   " size=1\n",
                                   "-9 size=1\n",
                                   "5 a\n\n",
                                   "99999999999999999999 a=b\n",
                                   "31 size=99999999999999999999999\n"};
    struct tar_pax found;

    cr_assert(pax("", &found));
    cr_assert_not(found.has_size);
    cr_assert(pax("12 path=abc\n11 size=17\n30 mtime=1350244992.023960108\n", &found));
    cr_assert(found.has_size && !found.is_sparse);
    cr_assert_eq(found.size, 17);
    cr_assert(pax("22 GNU.sparse.major=1\n", &found));
    cr_assert(found.is_sparse && !found.has_size);
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++)
        cr_assert_not(pax(damaged[i], &found), "%s", damaged[i]);
}
