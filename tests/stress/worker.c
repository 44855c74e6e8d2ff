/*
 * A worker, as the loop in docs/workers.md is one, but without the cost of a shell: claim an item,
 * read it, handle it, remove it; until it is killed. What it did goes to a file, a record each,
 * which test_workers.py checks: who held which item from when until when, and which were handled.
 *
 * A worker holds an item from the return of the read that gave its id until the last call on
 * leased/<id> that succeeded, for each of them needs a lease that has not ended. Both times are
 * taken so that the interval is rather too short.
 *
 *   worker QUEUE RECORDS LONG_US    QUEUE: the queue's directory. One item in 500 takes LONG_US,
 *                                   with its file open all the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ID_DIGITS   16
#define LONG_ONE_IN 500

enum record_kind {
    RECORD_HANDLED = 1,
    RECORD_REMOVED, /* and acknowledged, as far as the mount knows */
    RECORD_MISSED,  /* it had gone back meanwhile */
};

struct record {
    uint32_t kind;
    uint32_t number; /* what stands in the item */
    uint64_t id;
    int64_t from_us, until_us; /* monotonic: it was held in between */
};

static int records;
static int64_t long_us;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* One write(2): whole, or not there. */
static void note(struct record *record, enum record_kind kind, int64_t until_us)
{
    record->kind = kind;
    record->until_us = until_us;
    if (write(records, record, sizeof(*record)) != sizeof(*record))
        die("records");
}

/* `text` gets the id; when it was given. */
static int64_t claim(char text[ID_DIGITS + 2])
{
    int64_t given_us;
    ssize_t n;
    int fd = open("claim@forever", O_RDONLY);

    if (fd < 0)
        die("claim@forever");
    n = read(fd, text, ID_DIGITS + 1);
    given_us = now_us();
    if (n != ID_DIGITS + 1 || text[ID_DIGITS] != '\n')
        die("read of claim@forever");
    text[ID_DIGITS] = '\0';
    close(fd);
    return given_us;
}

static void handle(const struct record *record)
{
    struct timespec pause = {long_us / 1000000, long_us % 1000000 * 1000};

    if (record->number % LONG_ONE_IN == 0)
        nanosleep(&pause, NULL);
}

static void work(const char *text, struct record *record)
{
    char path[64], item[64] = "";
    int64_t begin_us = now_us();
    int fd;

    snprintf(path, sizeof(path), "leased/%s", text);
    fd = open(path, O_RDONLY);
    if (fd < 0) {
        if (errno != ENOENT)
            die(path);
        note(record, RECORD_MISSED, record->from_us);
        return;
    }
    if (read(fd, item, sizeof(item) - 1) <= 0)
        die("read of the item");
    record->number = (uint32_t)strtoul(item, NULL, 10);
    handle(record);
    close(fd);
    note(record, RECORD_HANDLED, begin_us);
    begin_us = now_us();
    if (unlink(path) == 0)
        note(record, RECORD_REMOVED, begin_us);
    else if (errno != ENOENT)
        die("unlink");
}

int main(int argc, char **argv)
{
    char text[ID_DIGITS + 2];

    if (argc != 4)
        return 2;
    records = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0600);
    long_us = strtoll(argv[3], NULL, 10);
    if (records < 0 || chdir(argv[1]))
        die(argv[1]);
    for (;;) {
        struct record record = {.from_us = claim(text)};

        record.id = strtoull(text, NULL, 16);
        work(text, &record);
    }
}
