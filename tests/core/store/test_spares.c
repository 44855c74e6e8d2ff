/* Segments made ahead, used again and given back: core/store/spares.h. */
#include "core/store/spares.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static char dir[] = "/var/tmp/queuefs-test-spares-XXXXXX";
static int dir_fd;
static struct spares *spares;
static struct segment_list found, used;
static uint64_t position;

static void open_spares(uint64_t max_bytes)
{
    const struct spares_options options = {
        .dir_fd = dir_fd, .segment_bytes = 64 * MIB, .max_bytes = max_bytes};

    TAILQ_INIT(&found);
    cr_assert_eq(spares_open(&options, &found, &spares), 0);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    TAILQ_INIT(&used);
    open_spares(1024 * MIB);
}

static void teardown(void)
{
    char command[64];

    spares_close(spares);
    segment_list_free(&used);
    close(dir_fd);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(spares, .init = setup, .fini = teardown, .timeout = 60);

/* As it comes, without a name yet. */
static struct segment *take_bare(uint64_t size)
{
    struct segment *segment;

    cr_assert_eq(spares_take(spares, size, false, &segment), 0);
    cr_assert_geq(segment->size, size + SEGMENT_HEAD, "it holds %llu",
                  (unsigned long long)segment->size);
    cr_assert_geq(segment->fd, 0);
    TAILQ_INSERT_TAIL(&used, segment, link);
    return segment;
}

static void take(uint64_t size)
{
    struct segment *segment = take_bare(size);

    cr_assert_eq(segment_begin(segment, dir_fd, 1, position), 0);
    cr_assert_eq(segment_use(segment, dir_fd), 0);
    position = segment_end(segment);
}

static void retire_first(void)
{
    struct segment *first = TAILQ_FIRST(&used);

    TAILQ_REMOVE(&used, first, link);
    cr_assert_eq(spares_retire(spares, first), 0);
}

/* Bytes of all files, by their size. */
static uint64_t bytes_there(void)
{
    DIR *files = opendir(dir);
    struct dirent *entry;
    struct stat st;
    uint64_t bytes = 0;

    while ((entry = readdir(files)) != NULL) {
        if (entry->d_name[0] != '.' && fstatat(dir_fd, entry->d_name, &st, 0) == 0)
            bytes += (uint64_t)st.st_size;
    }
    closedir(files);
    return bytes;
}

/* One of the old size is being made when larger ones are needed. */
Test(spares, what_is_made_while_they_grow_is_not_taken_for_large)
{
    take_bare(1000);
    take_bare(10 * MIB);
    take_bare(30 * MIB);
}

Test(spares, any_sizes_at_any_time_find_room)
{
    unsigned seed = 1;

    for (int i = 0; i < 300; i++) {
        take((uint64_t)(rand_r(&seed) % 3 == 0 ? rand_r(&seed) % (40 * MIB) : 1000));
        while (rand_r(&seed) % 4 > 0 && !TAILQ_EMPTY(&used))
            retire_first();
    }
}

Test(spares, a_limit_holds_and_what_is_released_is_room_again)
{
    struct segment *segment;
    int n = 0;

    spares_close(spares);
    open_spares(96 * MIB);
    while (spares_take(spares, 20 * MIB, false, &segment) == 0) {
        TAILQ_INSERT_TAIL(&used, segment, link);
        n++;
    }
    cr_assert_geq(n, 1);
    cr_assert_not(spares_can_take(spares, 20 * MIB));
    cr_assert_leq(bytes_there(), 96 * MIB);
    for (int i = 0; i < 50; i++) {
        retire_first();
        cr_assert(spares_can_take(spares, 20 * MIB));
        cr_assert_eq(spares_take(spares, i % 2 ? 20 * MIB : 12 * MIB, true, &segment), 0,
                     "in round %d", i);
        TAILQ_INSERT_TAIL(&used, segment, link);
        cr_assert_leq(bytes_there(), 96 * MIB);
    }
}

/* What is too large for what is left takes nothing from those who need little. */
Test(spares, a_large_one_that_is_refused_leaves_room_for_small_ones)
{
    struct segment *segment;

    spares_close(spares);
    open_spares(20 * MIB);
    for (int i = 0; i < 3; i++)
        take_bare(1000);
    cr_assert_eq(spares_take(spares, 18 * MIB, false, &segment), -ENOSPC);
    for (int i = 0; i < 2; i++)
        take_bare(1000);
    cr_assert_not(spares_can_take(spares, 1000));
}

/* More than are kept, and what is of another size, go while nothing happens. */
Test(spares, they_go_down_to_a_few_when_idle)
{
    for (int i = 0; i < 12; i++)
        take(20 * MIB);
    while (!TAILQ_EMPTY(&used))
        retire_first();
    cr_assert_geq(bytes_there(), 12 * 64 * MIB - 200 * MIB);
    for (int i = 0; i < 300 && bytes_there() > 128 * MIB; i++)
        usleep(100000);
    cr_assert_leq(bytes_there(), 128 * MIB, "an eighth of 1 GiB");
}
