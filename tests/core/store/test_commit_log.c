/* The log of commits: order, ends, damage, reuse of segments, no room (core/store/commit_log.h). */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/store/commit_log.h"
#include "core/store/segment.h"

#define SEGMENT 65536
#define ID      UINT64_C(0x1122334455667788)
#define MAX     4096

static char dir[] = "/var/tmp/queuefs-test-log-XXXXXX";
static struct commit_log *commits;

/* What a replay met. */
static struct seen {
    size_t n, n_damaged;
    uint64_t position[MAX], end[MAX];
    size_t len[MAX];
    uint8_t first[MAX];
    uint64_t damaged_at, damaged_end;
} seen;

static int see(void *owner, uint64_t position, const uint8_t *body, size_t len)
{
    (void)owner;
    cr_assert_lt(seen.n, MAX);
    seen.position[seen.n] = position;
    seen.len[seen.n] = len;
    seen.first[seen.n++] = len > 0 ? body[0] : 0;
    for (size_t i = 1; i < len; i++)
        cr_assert_eq(body[i], (uint8_t)(body[0] + i), "byte %zu of %zu", i, len);
    return 0;
}

static int see_damaged(void *owner, uint64_t position, uint64_t end, const char *segment)
{
    (void)owner;
    cr_assert_not_null(segment);
    seen.n_damaged++;
    seen.damaged_at = position;
    seen.damaged_end = end;
    return 0;
}

static int open_log(uint64_t max_bytes)
{
    const struct commit_log_options options = {
        .dir = dir, .id = ID, .segment_bytes = SEGMENT, .max_bytes = max_bytes};

    return commit_log_open(&options, &commits);
}

static int replay_from(uint64_t from)
{
    const struct commit_log_visitor visitor = {.record = see, .damaged = see_damaged};

    memset(&seen, 0, sizeof(seen));
    return commit_log_replay(commits, from, &visitor);
}

static void begin(void)
{
    cr_assert_eq(open_log(UINT64_MAX / 2), 0);
    cr_assert_eq(replay_from(0), 0);
}

static void reopen(void)
{
    commit_log_close(commits);
    begin();
}

static uint8_t bytes_of(uint8_t from, size_t len, uint8_t *bytes)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(from + i);
    return from;
}

/* A record of `len` bytes that begin with `from`, in two parts. */
static int append(uint8_t from, size_t len, uint64_t *position)
{
    static uint8_t bytes[4 * SEGMENT];
    struct iovec parts[3] = {[1] = {.iov_base = bytes, .iov_len = len / 3},
                             [2] = {.iov_base = bytes + len / 3, .iov_len = len - len / 3}};

    bytes_of(from, len, bytes);
    return commit_log_append(commits, parts, 3, crc32c(bytes, len), false, position);
}

static uint64_t must_append(uint8_t from, size_t len)
{
    uint64_t position = 0;

    cr_assert_eq(append(from, len, &position), 0);
    return position;
}

static void path_of(uint64_t first, char path[256])
{
    snprintf(path, 256, "%s/%016llx.log", dir, (unsigned long long)first);
}

/* A byte of the segment at `first`, changed. */
static void flip(uint64_t first, uint64_t position, uint8_t mask)
{
    char path[256];
    uint8_t byte;
    int fd;

    path_of(first, path);
    fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pread(fd, &byte, 1, (off_t)(position - first)), 1);
    byte ^= mask;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)(position - first)), 1);
    close(fd);
}

/* The segment that is appended to. */
static struct commit_log_segment current(void)
{
    struct commit_log_segment segment = {.end = 0};

    while (commit_log_next_segment(commits, segment.end, &segment))
        ;
    cr_assert(segment.current);
    return segment;
}

static size_t count_files(const char *suffix)
{
    DIR *all = opendir(dir);
    struct dirent *entry;
    size_t n = 0;

    while ((entry = readdir(all)) != NULL)
        n += strlen(entry->d_name) > 16 && strcmp(entry->d_name + 16, suffix) == 0;
    closedir(all);
    return n;
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    begin();
}

static void teardown(void)
{
    char command[300];

    commit_log_close(commits);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(commit_log, .init = setup, .fini = teardown, .timeout = 120);

Test(commit_log, what_was_appended_comes_again_in_order)
{
    uint64_t positions[100];

    for (size_t i = 0; i < 100; i++)
        positions[i] = must_append((uint8_t)i, i * 37);
    reopen();
    cr_assert_eq(seen.n, 100);
    for (size_t i = 0; i < 100; i++) {
        cr_assert_eq(seen.position[i], positions[i]);
        cr_assert_eq(seen.len[i], i * 37);
        cr_assert_eq(seen.first[i], i == 0 ? 0 : (uint8_t)i);
    }
    cr_assert_eq(seen.n_damaged, 0);
    cr_assert_gt(commit_log_end(commits), positions[99]);
}

Test(commit_log, a_body_is_read_by_position)
{
    uint64_t position;
    uint8_t bytes[10];

    must_append(1, 1000);
    position = must_append(7, 1000);
    cr_assert_eq(commit_log_read(commits, position + COMMIT_LOG_HEAD + 3, bytes, sizeof(bytes)), 0);
    for (size_t i = 0; i < sizeof(bytes); i++)
        cr_assert_eq(bytes[i], 7 + 3 + i);
    cr_assert_eq(commit_log_read(commits, position + 10 * SEGMENT, bytes, 1), -EBADMSG);
    cr_assert_eq(commit_log_read(commits, SEGMENT - 1, bytes, 2), -EBADMSG);
}

Test(commit_log, replay_goes_on_from_a_position)
{
    uint64_t positions[200], end;

    for (size_t i = 0; i < 200; i++)
        positions[i] = must_append((uint8_t)i, 2000);
    end = commit_log_end(commits);
    commit_log_close(commits);
    cr_assert_eq(open_log(UINT64_MAX / 2), 0);
    cr_assert_eq(replay_from(positions[150]), 0);
    cr_assert_eq(seen.n, 50);
    cr_assert_eq(seen.position[0], positions[150]);
    commit_log_close(commits);
    cr_assert_eq(open_log(UINT64_MAX / 2), 0);
    cr_assert_eq(replay_from(end), 0);
    cr_assert_eq(seen.n, 0);
    cr_assert_eq(commit_log_end(commits), end);
    commit_log_close(commits);
    cr_assert_eq(open_log(UINT64_MAX / 2), 0);
    cr_assert_eq(replay_from(end + 10 * SEGMENT), -ERANGE);
}

Test(commit_log, a_record_larger_than_a_segment_has_its_own)
{
    uint64_t position;

    must_append(1, 10);
    position = must_append(2, 3 * SEGMENT);
    must_append(3, 10);
    reopen();
    cr_assert_eq(seen.n, 3);
    cr_assert_eq(seen.position[1], position);
    cr_assert_eq(seen.len[1], 3 * SEGMENT);
    cr_assert_eq(seen.first[2], 3);
}

/* Records that end n bytes before the segment does, for each n around a head's size. */
Test(commit_log, a_segment_may_end_anywhere)
{
    for (size_t left = 0; left <= 2 * COMMIT_LOG_HEAD; left += 8) {
        size_t n = seen.n;
        uint64_t end;

        must_append(1, 100);
        end = current().end;
        must_append(2, end - left - commit_log_end(commits) - COMMIT_LOG_HEAD);
        cr_assert_eq(end - commit_log_end(commits), left);
        must_append(3, 100);
        reopen();
        cr_assert_eq(seen.n, n + 3, "%zu bytes left", left);
        cr_assert_eq(seen.n_damaged, 0);
    }
}

Test(commit_log, a_torn_end_is_cut_at_each_byte)
{
    const size_t len = 150;
    uint64_t last = 0;

    for (size_t kept = 0; kept < COMMIT_LOG_HEAD + len; kept++) {
        size_t n = seen.n;
        char path[256];
        int fd;

        last = must_append(5, len);
        if (last / SEGMENT > 0)
            break;
        path_of(0, path);
        fd = open(path, O_RDWR);
        for (size_t at = kept; at < COMMIT_LOG_HEAD + len; at++)
            cr_assert_eq(pwrite(fd, "\xee", 1, (off_t)(last + at)), 1);
        close(fd);
        reopen();
        cr_assert_eq(seen.n, n, "%zu bytes kept", kept);
        cr_assert_eq(seen.n_damaged, 0);
        cr_assert_eq(commit_log_end(commits), last, "written over");
        must_append(6, 20);
        reopen();
        cr_assert_eq(seen.n, n + 1);
    }
}

Test(commit_log, a_flip_costs_the_record_it_hits)
{
    const size_t len = 60;
    uint64_t before, hit;

    for (size_t at = 0; at < COMMIT_LOG_HEAD + len; at++) {
        size_t n = seen.n;
        uint64_t first;

        before = must_append(1, 30);
        hit = must_append(2, len);
        must_append(3, 30);
        first = current().first;
        if (hit < first)
            continue;
        flip(first, hit + at, (uint8_t)(1U << at % 8));
        reopen();
        cr_assert_eq(seen.n, n + 2, "byte %zu", at);
        cr_assert_eq(seen.position[n], before);
        cr_assert_eq(seen.first[n + 1], 3);
        cr_assert_geq(seen.n_damaged, 1);
        cr_assert_eq(seen.damaged_at, hit);
        cr_assert_eq(seen.damaged_end, seen.position[n + 1]);
        flip(first, hit + at, (uint8_t)(1U << at % 8)); /* so that it is whole later on */
        reopen();
    }
}

Test(commit_log, a_damaged_first_page_costs_nothing)
{
    must_append(1, 100);
    flip(0, 9, 1);
    reopen();
    cr_assert_eq(seen.n, 1);
}

Test(commit_log, a_segment_of_another_log_is_refused)
{
    char command[700], other[sizeof(dir) + 8];
    struct commit_log_options options = {
        .dir = other, .id = ID + 1, .segment_bytes = SEGMENT, .max_bytes = UINT64_MAX / 2};
    const struct commit_log_visitor visitor = {.record = see};

    must_append(1, SEGMENT / 2);
    must_append(2, SEGMENT / 2);
    commit_log_close(commits);
    snprintf(other, sizeof(other), "%s/other", dir);
    cr_assert_eq(mkdir(other, 0700), 0);
    cr_assert_eq(commit_log_open(&options, &commits), 0);
    cr_assert_eq(commit_log_replay(commits, 0, &visitor), 0);
    must_append(3, 100);
    commit_log_close(commits);
    snprintf(command, sizeof(command), "cp %s/%016x.log %s", dir, SEGMENT, other);
    cr_assert_eq(system(command), 0);
    commits = NULL;
    cr_assert_eq(commit_log_open(&options, &commits), -EBADMSG);
    cr_assert_null(commits);
}

static unsigned n_open(void)
{
    DIR *fds = opendir("/proc/self/fd");
    unsigned n = 0;

    cr_assert_not_null(fds);
    while (readdir(fds))
        n++;
    closedir(fds);
    return n;
}

/* A large log takes no more descriptors than a small one. */
Test(commit_log, few_files_of_many_segments_are_open)
{
    uint64_t first = must_append(1, SEGMENT / 2), position = 0;
    uint8_t byte = 0;

    for (int i = 2; i < 100; i++)
        position = must_append((uint8_t)i, SEGMENT / 2 + 1000);
    cr_assert_geq(count_files(".log"), 98);
    cr_assert_leq(n_open(), 40, "%u", n_open());
    cr_assert_eq(commit_log_read(commits, first + COMMIT_LOG_HEAD, &byte, 1), 0);
    cr_assert_eq(byte, 1);
    reopen();
    cr_assert_eq(seen.n, 99);
    cr_assert_leq(n_open(), 40, "%u", n_open());
    cr_assert_eq(commit_log_read(commits, position + COMMIT_LOG_HEAD, &byte, 1), 0);
    cr_assert_eq(byte, 99);
    must_append(7, SEGMENT / 2);
}

/* Somebody has removed a file: what is behind it is there, and the gap is told. */
Test(commit_log, a_missing_segment_is_damage_and_the_rest_is_read)
{
    uint64_t position[3];
    char path[256];

    for (int i = 0; i < 3; i++)
        position[i] = must_append((uint8_t)(i + 1), SEGMENT / 2 + 1000);
    path_of(position[1] - position[1] % SEGMENT, path);
    commit_log_close(commits);
    cr_assert_eq(unlink(path), 0, "%s", path);
    cr_assert_eq(open_log(100 * SEGMENT), 0);
    cr_assert_eq(replay_from(0), 0);
    cr_assert_eq(seen.n, 2);
    cr_assert_eq(seen.first[1], 3);
    cr_assert_eq(seen.n_damaged, 1);
    cr_assert_eq(seen.damaged_end - seen.damaged_at, SEGMENT);
}

Test(commit_log, released_segments_are_used_again)
{
    for (int round = 0; round < 200; round++) {
        struct commit_log_segment segment;

        must_append((uint8_t)round, SEGMENT / 2);
        while (commit_log_next_segment(commits, 0, &segment) && !segment.current)
            cr_assert_eq(commit_log_drop_first(commits), 0);
    }
    cr_assert_leq(count_files(".log") + count_files(".spare"), 6);
    reopen();
    cr_assert_geq(seen.n, 1);
    cr_assert_leq(seen.n, 2, "nothing that lay in a segment before comes again");
    cr_assert_eq(seen.first[seen.n - 1], 199);
}

Test(commit_log, a_log_at_its_limit_says_so_and_goes_on_when_there_is_room)
{
    uint64_t position;
    size_t n = 0;
    int rc;

    commit_log_close(commits);
    cr_assert_eq(open_log(5 * SEGMENT), 0);
    cr_assert_eq(replay_from(0), 0);
    while ((rc = append((uint8_t)n, SEGMENT / 2 + 100, &position)) == 0)
        n++;
    cr_assert_eq(rc, -ENOSPC);
    cr_assert_eq(n, 5);
    cr_assert_eq(append(1, SEGMENT / 2 + 100, &position), -ENOSPC);
    cr_assert_eq(append(99, 100, &position), 0, "a small one fits still");
    cr_assert_eq(commit_log_drop_first(commits), 0);
    cr_assert_eq(append(100, SEGMENT / 2 + 100, &position), 0);
    reopen();
    cr_assert_eq(seen.n, n + 1);
    cr_assert_eq(seen.first[n], 100);
}

Test(commit_log, in_memory_it_is_the_same)
{
    const struct commit_log_options options = {
        .id = ID, .segment_bytes = SEGMENT, .max_bytes = UINT64_MAX / 2};
    uint8_t byte;
    uint64_t position;

    commit_log_close(commits);
    cr_assert_eq(commit_log_open(&options, &commits), 0);
    cr_assert_eq(replay_from(0), 0);
    for (int i = 0; i < 100; i++)
        position = must_append((uint8_t)i, 3000);
    cr_assert_eq(commit_log_read(commits, position + COMMIT_LOG_HEAD, &byte, 1), 0);
    cr_assert_eq(byte, 99);
    cr_assert_eq(commit_log_drop_first(commits), 0);
    cr_assert_eq(replay_from(0), 0);
    cr_assert_leq(seen.n, 99);
}

Test(commit_log, only_what_is_no_longer_appended_to_is_dropped)
{
    must_append(1, 100);
    cr_assert_eq(commit_log_drop_first(commits), -EINVAL);
}
