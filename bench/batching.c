/*
 * Puts and gets one after the other, waiting for each or batching, and prints what they take.
 *
 *   batching wait IN N BYTES       each put a write under O_DSYNC: acknowledged when it returns
 *   batching batch IN N BYTES      each put an fwrite to a stream as any program has; fsync at the
 * end batching get PATH N BYTES      open PATH, read to the end, close, until N items have come;
 * none longer than BYTES with its newline
 *
 * Prints `name: value` lines: rate (items a second, the fsync included) and of the time of each
 * put, or each open to close of a get, in microseconds, p50, p99, max.
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* As cat's: what a stream gathers, and what a read asks for. */
#define BUFFER_BYTES (128u << 10)

static size_t n_items, item_bytes;
static int64_t *times_ns;
static char *item;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* No two are the same; the newline counts. */
static void make_item(size_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%zu.", number);

    memcpy(item, digits, (size_t)len < item_bytes ? (size_t)len : item_bytes - 1);
}

static size_t put_waiting(const char *path)
{
    int fd = open(path, O_WRONLY | O_DSYNC | O_CLOEXEC);

    if (fd < 0)
        err(1, "%s", path);
    for (size_t i = 0; i < n_items; i++) {
        int64_t begin = now_ns();

        make_item(i);
        if (write(fd, item, item_bytes) != (ssize_t)item_bytes)
            err(1, "write");
        times_ns[i] = now_ns() - begin;
    }
    if (close(fd) < 0)
        err(1, "close");
    return n_items;
}

static size_t put_batching(const char *path)
{
    FILE *in = fopen(path, "we");

    if (!in || setvbuf(in, NULL, _IOFBF, BUFFER_BYTES) != 0)
        err(1, "%s", path);
    for (size_t i = 0; i < n_items; i++) {
        int64_t begin = now_ns();

        make_item(i);
        if (fwrite(item, 1, item_bytes, in) != item_bytes)
            err(1, "write");
        times_ns[i] = now_ns() - begin;
    }
    if (fflush(in) != 0 || fsync(fileno(in)) < 0 || fclose(in) != 0)
        err(1, "fsync");
    return n_items;
}

static size_t newlines(const char *data, size_t len)
{
    const char *end = data + len;
    size_t n = 0;

    while ((data = memchr(data, '\n', (size_t)(end - data)))) {
        data++;
        n++;
    }
    return n;
}

/* One get: how many items came. */
static size_t take(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t len;

    if (fd < 0)
        err(1, "%s", path);
    while ((len = read(fd, buffer, size)) > 0)
        n += newlines(buffer, (size_t)len);
    if (len < 0 || close(fd) < 0)
        err(1, "%s", path);
    return n;
}

static size_t get(const char *path)
{
    size_t size = item_bytes > BUFFER_BYTES ? item_bytes : BUFFER_BYTES, n_gets = 0, n = 0;
    char *buffer = malloc(size);

    if (!buffer)
        err(1, "buffer");
    while (n < n_items) {
        int64_t begin = now_ns();
        size_t came = take(path, buffer, size);

        if (came == 0)
            errx(1, "%s ended after %zu of %zu items", path, n, n_items);
        times_ns[n_gets++] = now_ns() - begin;
        n += came;
    }
    free(buffer);
    return n_gets;
}

static int compare(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void print(int64_t taken_ns, size_t n_times)
{
    qsort(times_ns, n_times, sizeof(*times_ns), compare);
    printf("rate: %.1f\np50: %.2f\np99: %.2f\nmax: %.2f\n",
           (double)n_items * 1e9 / (double)taken_ns, (double)times_ns[n_times / 2] / 1000,
           (double)times_ns[n_times - 1 - n_times / 100] / 1000,
           (double)times_ns[n_times - 1] / 1000);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        size_t (*run)(const char *path);
    } modes[] = {{"wait", put_waiting}, {"batch", put_batching}, {"get", get}};
    size_t mode = 0, n_times;
    int64_t begin;

    while (mode < 3 && (argc != 5 || strcmp(argv[1], modes[mode].name) != 0))
        mode++;
    n_items = mode < 3 ? strtoul(argv[3], NULL, 10) : 0;
    item_bytes = mode < 3 ? strtoul(argv[4], NULL, 10) : 0;
    if (n_items < 1 || item_bytes < 2)
        errx(2, "usage: batching wait|batch|get FILE N BYTES");
    times_ns = calloc(n_items, sizeof(*times_ns));
    item = malloc(item_bytes);
    if (!times_ns || !item)
        err(1, "items");
    memset(item, 'x', item_bytes);
    item[item_bytes - 1] = '\n';
    begin = now_ns();
    n_times = modes[mode].run(argv[2]);
    print(now_ns() - begin, n_times);
    free(times_ns);
    free(item);
    return 0;
}
