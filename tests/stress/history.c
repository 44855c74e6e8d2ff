/* What was attempted, acknowledged and read: see history.h. */
#include "tests/stress/history.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLACK_US   INT64_C(2000000) /* items are fetched ahead, acknowledgements sent behind */
#define FAULTS_MAX 20

const char *const queue_names[N_QUEUES] = {"work", "keep"};

struct item {
    uint32_t delivery; /* the last one that gave it; 0: none */
    bool acknowledged;
};

struct stream {
    struct item *items;
    uint64_t n, cap;
    uint64_t drained; /* number behind the last one of the drain */
};

struct delivery {
    int64_t from_us, confirmed_us;
    int mount;
};

struct outage {
    int64_t begin_us, end_us;
    int mount;
};

struct history {
    uint64_t seed;
    pthread_mutex_t lock;
    /* Guarded by lock. */
    struct stream streams[N_QUEUES][WRITERS_MAX];
    struct delivery *deliveries; /* [0] is not used */
    uint32_t n_deliveries;
    size_t cap_deliveries;
    struct outage *outages;
    size_t n_outages, cap_outages;
    struct totals totals;
    char faults[FAULTS_MAX][128];
    size_t n_faults;
};

int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* splitmix64 */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *state, uint64_t n)
{
    return random_next(state) % n;
}

/* The array with room for one more element of `size`; a checker without memory is of no use. */
static void *grown(void *array, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 1024;
    array = realloc(array, *cap * size);
    if (!array)
        abort();
    return array;
}

struct history *history_new(uint64_t seed)
{
    struct history *h = calloc(1, sizeof(*h));

    if (!h)
        abort();
    h->seed = seed;
    h->n_deliveries = 1;
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

void history_free(struct history *h)
{
    if (!h)
        return;
    for (int queue = 0; queue < N_QUEUES; queue++) {
        for (int writer = 0; writer < WRITERS_MAX; writer++)
            free(h->streams[queue][writer].items);
    }
    free(h->deliveries);
    free(h->outages);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* ---- items ---- */

static size_t padding(uint64_t *state)
{
    uint64_t kind = random_below(state, 1000);

    if (kind == 0)
        return 5000 + random_below(state, ITEM_MAX - 6000);
    return random_below(state, kind < 20 ? 4000 : 150);
}

size_t item_print(uint64_t seed, enum queue_index queue, int writer, uint64_t number, char *text)
{
    uint64_t state = seed ^ number * 131 ^ (uint64_t)writer << 48 ^ (uint64_t)queue << 60;
    size_t len =
        (size_t)sprintf(text, "%d %d %llu ", (int)queue, writer, (unsigned long long)number);
    size_t pad = padding(&state);

    for (size_t i = 0; i < pad; i += 8) {
        uint64_t bits = random_next(&state);

        for (size_t j = i; j < pad && j < i + 8; j++, bits >>= 8)
            text[len + j] = (char)('0' + (bits & 63));
    }
    text[len + pad] = '\n';
    return len + pad + 1;
}

uint64_t history_attempt(struct history *h, enum queue_index queue, int writer, uint64_t n)
{
    struct stream *stream = &h->streams[queue][writer];
    uint64_t first;

    pthread_mutex_lock(&h->lock);
    first = stream->n;
    for (; n > 0; n--) {
        stream->items = grown(stream->items, stream->n, &stream->cap, sizeof(*stream->items));
        stream->items[stream->n++] = (struct item){0};
        h->totals.attempted++;
    }
    pthread_mutex_unlock(&h->lock);
    return first;
}

void history_acknowledge(struct history *h, enum queue_index queue, int writer, uint64_t from,
                         uint64_t to)
{
    struct stream *stream = &h->streams[queue][writer];

    pthread_mutex_lock(&h->lock);
    for (; from < to; from++) {
        h->totals.acknowledged += !stream->items[from].acknowledged;
        stream->items[from].acknowledged = true;
    }
    pthread_mutex_unlock(&h->lock);
}

/* ---- deliveries and outages ---- */

uint32_t history_delivery(struct history *h, int mount)
{
    uint32_t delivery;

    pthread_mutex_lock(&h->lock);
    h->deliveries =
        grown(h->deliveries, h->n_deliveries, &h->cap_deliveries, sizeof(*h->deliveries));
    delivery = h->n_deliveries++;
    h->deliveries[delivery] =
        (struct delivery){.from_us = now_us(), .confirmed_us = INT64_MAX, .mount = mount};
    pthread_mutex_unlock(&h->lock);
    return delivery;
}

void history_confirm(struct history *h, uint32_t first, uint32_t last)
{
    int64_t us = now_us();

    pthread_mutex_lock(&h->lock);
    for (uint32_t i = first; i <= last; i++) {
        if (h->deliveries[i].mount == h->deliveries[last].mount)
            h->deliveries[i].confirmed_us =
                us < h->deliveries[i].confirmed_us ? us : h->deliveries[i].confirmed_us;
    }
    pthread_mutex_unlock(&h->lock);
}

void history_outage_begins(struct history *h, int mount)
{
    pthread_mutex_lock(&h->lock);
    h->outages = grown(h->outages, h->n_outages, &h->cap_outages, sizeof(*h->outages));
    h->outages[h->n_outages++] =
        (struct outage){.begin_us = now_us(), .end_us = INT64_MAX, .mount = mount};
    pthread_mutex_unlock(&h->lock);
}

void history_outages_end(struct history *h)
{
    int64_t us = now_us();

    pthread_mutex_lock(&h->lock);
    for (size_t i = h->n_outages; i > 0 && h->outages[i - 1].end_us == INT64_MAX; i--)
        h->outages[i - 1].end_us = us;
    pthread_mutex_unlock(&h->lock);
}

static bool may_come_again_locked(const struct history *h, const struct delivery *delivery)
{
    for (size_t i = 0; i < h->n_outages; i++) {
        const struct outage *outage = &h->outages[i];

        if (outage->mount != ALL_MOUNTS && outage->mount != delivery->mount)
            continue;
        if (outage->begin_us <= delivery->confirmed_us &&
            (outage->end_us == INT64_MAX || outage->end_us + SLACK_US >= delivery->from_us))
            return true;
    }
    return false;
}

/* ---- reads ---- */

static void fault_locked(struct history *h, const char *what, const char *text, size_t len)
{
    if (h->n_faults == FAULTS_MAX)
        return;
    snprintf(h->faults[h->n_faults++], sizeof(h->faults[0]), "%s: %.*s%s", what,
             (int)(len > 60 ? 60 : len - 1), text, len > 60 ? "..." : "");
}

/* The item that the line is; NULL: nobody wrote that. */
static struct item *find_locked(struct history *h, const char *text, size_t len,
                                enum queue_index *queue, struct stream **stream, uint64_t *number)
{
    char expected[ITEM_MAX], head[64] = "";
    unsigned long long n;
    int which, writer;

    memcpy(head, text, len < sizeof(head) - 1 ? len : sizeof(head) - 1);
    if (sscanf(head, "%d %d %llu ", &which, &writer, &n) != 3 || which < 0 || which >= N_QUEUES ||
        writer < 0 || writer >= WRITERS_MAX)
        return NULL;
    *queue = (enum queue_index)which;
    *stream = &h->streams[which][writer];
    *number = n;
    if (n >= (*stream)->n || item_print(h->seed, *queue, writer, n, expected) != len ||
        memcmp(expected, text, len) != 0)
        return NULL;
    return &(*stream)->items[n];
}

static void read_again_locked(struct history *h, const struct item *item, enum queue_index queue,
                              const char *text, size_t len)
{
    if (queue == QUEUE_KEEP) {
        h->totals.copies++;
        fault_locked(h, "twice", text, len);
    } else if (may_come_again_locked(h, &h->deliveries[item->delivery])) {
        h->totals.redelivered++;
    } else {
        h->totals.redelivered_without_cause++;
        fault_locked(h, "came again without cause", text, len);
    }
}

void history_read(struct history *h, uint32_t delivery, const char *text, size_t len, bool draining)
{
    enum queue_index queue = QUEUE_WORK;
    struct stream *stream = NULL;
    struct item *item;
    uint64_t number = 0;

    pthread_mutex_lock(&h->lock);
    item = find_locked(h, text, len, &queue, &stream, &number);
    if (!item) {
        h->totals.unexpected++;
        fault_locked(h, "unexpected", text, len);
        pthread_mutex_unlock(&h->lock);
        return;
    }
    if (item->delivery == 0)
        h->totals.found[queue]++;
    else
        read_again_locked(h, item, queue, text, len);
    item->delivery = delivery;
    if (draining && number < stream->drained) {
        h->totals.order_violations++;
        fault_locked(h, "out of order", text, len);
    }
    if (draining)
        stream->drained = number + 1;
    pthread_mutex_unlock(&h->lock);
}

/* ---- the result ---- */

static void count_stream_locked(struct history *h, int queue, int writer, bool last,
                                struct totals *totals)
{
    const struct stream *stream = &h->streams[queue][writer];
    char text[64];

    for (uint64_t i = 0; i < stream->n; i++) {
        const struct item *item = &stream->items[i];

        totals->ok += item->acknowledged && item->delivery > 0;
        totals->recovered += !item->acknowledged && item->delivery > 0;
        if (!item->acknowledged || item->delivery > 0)
            continue;
        totals->lost++;
        if (!last)
            continue;
        snprintf(text, sizeof(text), "%d %d %llu\n", queue, writer, (unsigned long long)i);
        fault_locked(h, "lost", text, strlen(text));
    }
}

void history_totals(struct history *h, bool last, struct totals *totals)
{
    pthread_mutex_lock(&h->lock);
    *totals = h->totals;
    for (int queue = 0; queue < N_QUEUES; queue++) {
        for (int writer = 0; writer < WRITERS_MAX; writer++)
            count_stream_locked(h, queue, writer, last, totals);
    }
    pthread_mutex_unlock(&h->lock);
}

void history_print_faults(struct history *h, FILE *out)
{
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->n_faults; i++)
        fprintf(out, "%s\n", h->faults[i]);
    pthread_mutex_unlock(&h->lock);
}
