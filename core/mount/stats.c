/*
 * The text of `stats` files: this mount's counters of a queue, the service's as last heard, and the
 * state of the connection. The root's are sums over all queues; ages and maxima are the largest.
 */
#include "core/mount/mount_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/refused.h"

#ifndef QUEUEFS_VERSION
#define QUEUEFS_VERSION "0"
#endif

struct stats {
    struct producer_counters put;
    struct consumer_counters get;
    struct queue_state state;
    uint64_t retries;
    int last_error;
    uint64_t maxsize;
    uint64_t n_queues;
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void add_put(struct producer_counters *to, const struct producer_counters *from)
{
    to->total_puts += from->total_puts;
    to->batch_puts += from->batch_puts;
    to->batch_items += from->batch_items;
    to->put_errors += from->put_errors;
    to->retries += from->retries;
    to->room_waits += from->room_waits;
    to->duplicates += from->duplicates;
    to->buffered_items += from->buffered_items;
    to->buffered_bytes += from->buffered_bytes;
    to->pending_batches += from->pending_batches;
    histogram_merge(&to->latency, &from->latency);
}

static void add_get(struct consumer_counters *to, const struct consumer_counters *from)
{
    to->total_gets += from->total_gets;
    to->batch_gets += from->batch_gets;
    to->batch_items += from->batch_items;
    to->acks_late += from->acks_late;
    to->waiting += from->waiting;
    histogram_merge(&to->latency, &from->latency);
}

#define ADD(name, shown) to->name += from->name;

static void add_state(struct queue_state *to, const struct queue_state *from)
{
    to->depth += from->depth;
    to->depth_bytes += from->depth_bytes;
    to->leased += from->leased;
    to->delayed += from->delayed;
    to->dead += from->dead;
    to->damaged_batches += from->damaged_batches;
    to->damaged_items += from->damaged_items;
    QUEUE_COUNTERS(ADD)
    if (from->oldest_put_us && (!to->oldest_put_us || from->oldest_put_us < to->oldest_put_us))
        to->oldest_put_us = from->oldest_put_us;
}

static void add_queue(struct stats *stats, struct mount_queue *mq)
{
    pthread_mutex_lock(&mq->lock);
    if (mq->producer) {
        add_put(&stats->put, producer_counters(mq->producer));
        add_get(&stats->get, consumer_counters(mq->consumer));
    }
    if (mq->claimer)
        add_get(&stats->get, consumer_counters(mq->claimer));
    add_state(&stats->state, &mq->state);
    stats->retries += mq->retries;
    if (mq->last_error)
        stats->last_error = mq->last_error;
    stats->maxsize = (uint64_t)larger((int64_t)stats->maxsize, mq->settings.own.maxsize);
    pthread_mutex_unlock(&mq->lock);
    stats->n_queues++;
}

static void print_count(FILE *out, const char *name, uint64_t value)
{
    fprintf(out, "%s: %llu\n", name, (unsigned long long)value);
}

static void print_average(FILE *out, const char *name, uint64_t sum, uint64_t n)
{
    fprintf(out, "%s: %.2f\n", name, n ? (double)sum / (double)n : 0.0);
}

/* In double quotes, fit for YAML: control characters and what is not ASCII as \xNN. */
static void print_text(FILE *out, const char *name, const char *text)
{
    fprintf(out, "%s: \"", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c > 0x7e)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
    fputs("\"\n", out);
}

static void print_latency(FILE *out, const char *what, const struct histogram *h)
{
    fprintf(out, "%s_latency_us_p50: %lld\n", what, (long long)histogram_percentile(h, 50));
    fprintf(out, "%s_latency_us_p99: %lld\n", what, (long long)histogram_percentile(h, 99));
    fprintf(out, "%s_latency_us_max: %lld\n", what, (long long)h->max_us);
}

static void print_mount_part(FILE *out, const struct stats *stats)
{
    const struct producer_counters *put = &stats->put;
    const struct consumer_counters *get = &stats->get;

    print_count(out, "total_puts", put->total_puts);
    print_count(out, "batch_puts", put->batch_puts);
    print_average(out, "avg_batch_size", put->batch_items, put->batch_puts);
    print_count(out, "pending_batches", put->pending_batches);
    print_count(out, "buffer_size", put->buffered_items);
    print_count(out, "buffered_bytes", put->buffered_bytes);
    print_count(out, "total_gets", get->total_gets);
    print_count(out, "batch_gets", get->batch_gets);
    print_average(out, "avg_get_size", get->batch_items, get->batch_gets);
    print_count(out, "put_errors", put->put_errors);
    print_count(out, "retries", put->retries + stats->retries);
    print_count(out, "duplicates", put->duplicates);
    print_count(out, "acks_late", get->acks_late);
    print_count(out, "room_waits", put->room_waits);
    print_count(out, "waiting", get->waiting);
    print_latency(out, "put", &put->latency);
    print_latency(out, "get", &get->latency);
}

/* What users hold of the mount's memory: budget.h. */
static void print_budget(FILE *out, const struct budget *budget)
{
    static const char *const names[BUDGET_KINDS] = {
        [BUDGET_BUFFERED] = "held_buffered_bytes",
        [BUDGET_FLOOR] = "held_floor_bytes",
        [BUDGET_PARKED] = "held_parked_bytes",
        [BUDGET_FETCHED] = "held_fetched_bytes",
    };

    for (int kind = 0; kind < BUDGET_KINDS; kind++)
        print_count(out, names[kind], (uint64_t)atomic_load(&budget->used_bytes[kind]));
}

#define PRINT(name, shown) print_count(out, shown, state->name);

static void print_service_part(FILE *out, struct mount *m, const struct stats *stats)
{
    const struct queue_state *state = &stats->state;
    int64_t age_us = 0;
    uint32_t n_mounts;

    if (state->oldest_put_us)
        age_us = larger(0, m->clock->wall_us(m->clock) - state->oldest_put_us);
    pthread_mutex_lock(&m->lock);
    n_mounts = m->n_mounts;
    pthread_mutex_unlock(&m->lock);
    print_count(out, "depth", state->depth);
    print_count(out, "depth_bytes", state->depth_bytes);
    print_count(out, "leased", state->leased);
    print_count(out, "delayed", state->delayed);
    print_count(out, "dead", state->dead);
    print_count(out, "damaged_batches", state->damaged_batches);
    print_count(out, "damaged_items", state->damaged_items);
    print_count(out, "maxsize", stats->maxsize);
    print_count(out, "oldest_age_s", (uint64_t)age_us / 1000000);
    print_count(out, "mounts", n_mounts);
    QUEUE_COUNTERS(PRINT)
}

/* Empty while none was heard of. */
static void print_store(FILE *out, struct mount *m)
{
    char text[STORE_ID_DIGITS + 1] = "";

    pthread_mutex_lock(&m->history.lock);
    if (m->history.life != 0)
        store_id_format(&m->history.store, text);
    pthread_mutex_unlock(&m->history.lock);
    print_text(out, "store_id", text);
}

/* The connection's last error, else what the service last refused. */
static void print_link_part(FILE *out, struct mount *m, const struct stats *stats, bool root)
{
    struct link_info info = {.connected = true};

    if (m->link_info)
        m->link_info(m->link_arg, &info);
    print_count(out, "connected", info.connected);
    print_text(out, "endpoint", info.endpoint);
    if (!info.last_error[0] && stats->last_error)
        snprintf(info.last_error, sizeof(info.last_error), "%s", strerror(-stats->last_error));
    print_text(out, "last_error", info.last_error);
    if (root)
        print_store(out, m);
    print_count(out, "uptime_s", (uint64_t)(mount_now(m) - m->started_us) / 1000000);
    print_text(out, "version", QUEUEFS_VERSION);
}

static void print_root_part(FILE *out, struct mount *m, const struct stats *stats)
{
    struct store_space space;
    uint64_t n_queues;

    mount_space(m, &space, &n_queues);
    print_count(out, "queues", stats->n_queues);
    print_count(out, "damaged_rows", space.damaged_rows);
    print_budget(out, &m->budget);
}

/* By the service and by this mount, which may be one process. */
static void print_refused(FILE *out, struct mount *m)
{
    uint64_t n_refused;

    pthread_mutex_lock(&m->lock);
    n_refused = refused_count() + (m->own_service ? 0 : m->n_refused);
    pthread_mutex_unlock(&m->lock);
    n_refused += atomic_load(&m->budget.n_refused);
    print_count(out, "refused_by_limit", n_refused);
}

static char *print_stats(struct mount *m, const struct stats *stats, bool root)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    print_mount_part(out, stats);
    print_link_part(out, m, stats, root);
    if (root)
        print_root_part(out, m, stats);
    print_service_part(out, m, stats);
    if (root)
        print_refused(out, m);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

char *mount_queue_stats(struct mount_queue *mq)
{
    struct stats *stats = calloc(1, sizeof(*stats));
    char *text;

    if (!stats)
        return NULL;
    add_queue(stats, mq);
    text = print_stats(mq->mount, stats, false);
    free(stats);
    return text;
}

char *mount_stats(struct mount *m)
{
    struct stats *stats = calloc(1, sizeof(*stats));
    struct mount_queue **all;
    size_t n, i;
    char *text;

    if (!stats)
        return NULL;
    all = mount_all(m, &n);
    for (i = 0; i < n; i++)
        add_queue(stats, all[i]);
    mount_all_free(all, n);
    text = print_stats(m, stats, true);
    free(stats);
    return text;
}
