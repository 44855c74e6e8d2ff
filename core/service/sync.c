/*
 * How mounts follow the queues: every change gives a queue a new revision and moves it to the end
 * of one list, so a SYNC costs what has changed since. Removed queues stay in the list for a while.
 * Revisions begin at the time of day, so that those of an earlier life are below them.
 */
#include "core/service/service_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/refused.h"

void service_renew(struct service *s, struct queue *q)
{
    TAILQ_REMOVE(&s->listed, &q->listed, link);
    TAILQ_INSERT_TAIL(&s->listed, &q->listed, link);
    q->listed.revision = ++s->revision;
}

void service_publish(struct service *s)
{
    struct queue *q;

    while ((q = TAILQ_FIRST(&s->shared.changed)) != NULL) {
        uint32_t kinds = 0;

        TAILQ_REMOVE(&s->shared.changed, q, changed_link);
        q->changed = false;
        service_renew(s, q);
        queue_serve_line(q);
        if (LIST_EMPTY(&q->armed))
            continue;
        kinds |= queue_has_ready(q) ? EVENT_READY : 0;
        kinds |= queue_has_room(q) ? EVENT_ROOM : 0;
        queue_signal(q, kinds);
    }
}

static struct listed *oldest_tombstone(struct service *s)
{
    struct listed *listed;

    TAILQ_FOREACH (listed, &s->listed, link) {
        if (!listed->queue)
            return listed;
    }
    return NULL;
}

static void forget_tombstones(struct service *s)
{
    struct listed *tomb;

    while (s->n_tombstones > 0 && (tomb = oldest_tombstone(s)) != NULL) {
        if (s->n_tombstones <= SERVICE_TOMBSTONES_MAX &&
            s->shared.now_us - tomb->gone_us < SERVICE_TOMBSTONE_US)
            break;
        s->forgotten = tomb->revision;
        TAILQ_REMOVE(&s->listed, tomb, link);
        s->n_tombstones--;
        free(tomb);
    }
}

void service_unlist(struct service *s, struct queue *q, struct listed *tomb)
{
    *tomb = q->listed;
    tomb->queue = NULL;
    tomb->gone_us = s->shared.now_us;
    tomb->revision = ++s->revision;
    TAILQ_REMOVE(&s->listed, &q->listed, link);
    TAILQ_INSERT_TAIL(&s->listed, tomb, link);
    s->n_tombstones++;
    forget_tombstones(s);
}

/* The first one with a revision above `since`; removed ones count unless all is asked for. */
static struct listed *first_since(struct service *s, uint64_t since, size_t *n)
{
    struct listed *listed, *first = NULL;

    *n = 0;
    for (listed = TAILQ_LAST(&s->listed, listed_list); listed && listed->revision > since;
         listed = TAILQ_PREV(listed, listed_list, link)) {
        first = listed;
        ++*n;
    }
    return first;
}

static void fill_entry(struct listed *listed, struct queue_entry *entry, uint32_t may)
{
    if (listed->queue) {
        queue_entry(listed->queue, entry);
        entry->may = may;
        return;
    }
    *entry = (struct queue_entry){.number = listed->number, .gone = true};
    memcpy(entry->name, listed->name, sizeof(entry->name));
}

static void sync_free(struct request *sync)
{
    free(sync->reply_memory);
}

static int sync_list(struct service *s, struct request *sync)
{
    size_t n, i, n_shown = 0;
    struct listed *listed = first_since(s, sync->in.sync.since, &n);
    struct queue_entry *entries;

    sync->out.sync.more = n > REQUEST_ENTRIES_MAX;
    sync->out.sync.until = s->revision;
    if (n > REQUEST_ENTRIES_MAX)
        n = REQUEST_ENTRIES_MAX;
    if (n == 0)
        return 0;
    if (sync->reply_room && !sync->reply_room(sync, n * sizeof(*entries)))
        return -ETIMEDOUT;
    entries = calloc(n, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    for (i = 0; i < n; i++, listed = TAILQ_NEXT(listed, link)) {
        const char *name = listed->queue ? listed->queue->record.name : listed->name;
        uint32_t may = service_rights(s, sync, name);

        if (may)
            fill_entry(listed, &entries[n_shown++], may);
        if (sync->out.sync.more)
            sync->out.sync.until = listed->revision;
    }
    sync->out.sync.entries = entries;
    sync->out.sync.n_entries = n_shown;
    sync->reply_memory = entries;
    sync->reply_free = sync_free;
    return 0;
}

int service_sync(struct service *s, struct request *sync)
{
    const struct session *session = sessions_find(&s->sessions, &sync->session);
    struct store *store = s->options.store;
    uint64_t since = sync->in.sync.since;

    sync->out.sync.service = session ? session->service : s->options.id;
    sync->out.sync.store = s->lineage.store;
    sync->out.sync.life = s->options.id;
    sync->out.sync.reached = lineage_reached(&s->lineage, store, sync->life);
    sync->out.sync.n_mounts = sessions_count_mounts(&s->sessions, s->shared.now_us);
    sync->out.sync.n_refused = refused_count();
    if (store->ops->space(store, &sync->out.sync.space) < 0)
        sync->out.sync.space = (struct store_space){0};
    sync->out.sync.space.damaged_rows += s->shared.damage.n_rows;
    if (since != 0 && (since < s->forgotten || since > s->revision)) {
        sync->out.sync.full = true;
        return 0;
    }
    return sync_list(s, sync);
}
