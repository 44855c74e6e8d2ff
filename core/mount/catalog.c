/*
 * The catalog: which queues a mount knows, by name, by number and by place in its listing, and how
 * they come and go. A queue of the settings file may stand in it without a number, until the
 * service tells of it (presets.c).
 */
#include "core/mount/mount_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

/* Of queues that were not told of by the first store: above all numbers, and above those of the
 * settings file. */
#define PLACES_LATER (UINT64_C(1) << 47 | UINT64_C(1) << 40)

static int compare_name(const struct mount_queue *a, const struct mount_queue *b)
{
    return strcmp(a->name, b->name);
}

static int compare_number(const struct mount_queue *a, const struct mount_queue *b)
{
    return (a->number > b->number) - (a->number < b->number);
}

static int compare_place(const struct mount_queue *a, const struct mount_queue *b)
{
    return (a->place > b->place) - (a->place < b->place);
}

RB_GENERATE_INTERNAL(mount_queue_by_name, mount_queue, by_name, compare_name,
                     __attribute__((unused)) static)
RB_GENERATE_INTERNAL(mount_queue_by_number, mount_queue, by_number, compare_number,
                     __attribute__((unused)) static)
RB_GENERATE_INTERNAL(mount_queue_by_place, mount_queue, by_place, compare_place,
                     __attribute__((unused)) static)

void mount_lists_init(struct mount *m)
{
    RB_INIT(&m->by_name);
    RB_INIT(&m->by_number);
    RB_INIT(&m->by_place);
}

void mount_lists_fini(struct mount *m)
{
    struct mount_queue *mq;

    while ((mq = RB_ROOT(&m->by_place))) {
        RB_REMOVE(mount_queue_by_place, &m->by_place, mq);
        mount_queue_unref(mq);
    }
}

/* ---- looking up ---- */

struct mount_queue *mount_find(struct mount *m, const char *name)
{
    struct mount_queue key, *mq;

    if (!queue_name_valid(name))
        return NULL;
    strcpy(key.name, name);
    pthread_mutex_lock(&m->lock);
    mq = RB_FIND(mount_queue_by_name, &m->by_name, &key);
    if (mq)
        mount_queue_ref(mq);
    pthread_mutex_unlock(&m->lock);
    return mq;
}

struct mount_queue *mount_next(struct mount *m, uint64_t after)
{
    struct mount_queue key = {.place = after + 1}, *mq;

    pthread_mutex_lock(&m->lock);
    mq = RB_NFIND(mount_queue_by_place, &m->by_place, &key);
    if (mq)
        mount_queue_ref(mq);
    pthread_mutex_unlock(&m->lock);
    return mq;
}

struct mount_queue **mount_all(struct mount *m, size_t *n)
{
    struct mount_queue **all, *mq;
    size_t i = 0;

    pthread_mutex_lock(&m->lock);
    all = malloc((m->n_mount_queues + 1) * sizeof(struct mount_queue *));
    if (all)
        RB_FOREACH (mq, mount_queue_by_place, &m->by_place)
            all[i++] = mount_queue_ref(mq);
    pthread_mutex_unlock(&m->lock);
    *n = i;
    return all;
}

void mount_all_free(struct mount_queue **all, size_t n)
{
    while (n > 0)
        mount_queue_unref(all[--n]);
    free(all);
}

struct mount_queue *mount_find_number(struct mount *m, uint64_t number)
{
    struct mount_queue key = {.number = number}, *mq;

    pthread_mutex_lock(&m->lock);
    mq = RB_FIND(mount_queue_by_number, &m->by_number, &key);
    if (mq)
        mount_queue_ref(mq);
    pthread_mutex_unlock(&m->lock);
    return mq;
}

const struct preset *mount_configured(const struct mount *m, const char *name)
{
    for (size_t i = 0; i < m->n_queues; i++)
        if (strcmp(m->queues[i].queue.name, name) == 0)
            return &m->queues[i].queue;
    return NULL;
}

/* ---- queues come and go ---- */

static const struct mount_settings *mount_settings_of(const struct mount *m, const char *name)
{
    const struct preset *configured = mount_configured(m, name);

    return configured ? &configured->settings.mount : &m->defaults.mount;
}

bool mount_list_provided(struct mount *m, struct mount_queue *mq)
{
    bool listed;

    pthread_mutex_lock(&m->lock);
    listed = !m->stopping && !RB_INSERT(mount_queue_by_name, &m->by_name, mq);
    if (listed) {
        RB_INSERT(mount_queue_by_place, &m->by_place, mq);
        mq->listed = true;
        m->n_mount_queues++;
    }
    pthread_mutex_unlock(&m->lock);
    return listed;
}

static void unlist_locked(struct mount *m, struct mount_queue *mq)
{
    RB_REMOVE(mount_queue_by_name, &m->by_name, mq);
    if (mq->number > 0)
        RB_REMOVE(mount_queue_by_number, &m->by_number, mq);
    RB_REMOVE(mount_queue_by_place, &m->by_place, mq);
    mq->listed = false;
    m->n_mount_queues--;
}

/* The list's reference is the caller's now. */
static struct mount_queue *take_out(struct mount *m, uint64_t number)
{
    struct mount_queue key = {.number = number}, *mq;

    pthread_mutex_lock(&m->lock);
    mq = RB_FIND(mount_queue_by_number, &m->by_number, &key);
    if (mq)
        unlist_locked(m, mq);
    pthread_mutex_unlock(&m->lock);
    return mq;
}

static bool is_removed_locked(const struct mount *m, uint64_t number)
{
    for (size_t i = 0; i < MOUNT_GONE && i < m->n_gone; i++) {
        if (m->gone[i] == number)
            return true;
    }
    return false;
}

/* Numbers are not used again: none of an answer that comes late brings it back. */
static void remove_queue(struct mount *m, uint64_t number)
{
    struct mount_queue *mq;

    pthread_mutex_lock(&m->lock);
    if (number > 0 && !is_removed_locked(m, number))
        m->gone[m->n_gone++ % MOUNT_GONE] = number;
    pthread_mutex_unlock(&m->lock);
    mq = take_out(m, number);
    if (!mq)
        return;
    mount_queue_end(mq, -ENOENT);
    mount_queue_unref(mq);
}

/* False: another of this number, or of this name, is there. */
static bool list_locked(struct mount *m, struct mount_queue *mq)
{
    if (m->stopping || mq->standing.life != m->standing.life || is_removed_locked(m, mq->number) ||
        RB_INSERT(mount_queue_by_number, &m->by_number, mq))
        return false;
    if (RB_INSERT(mount_queue_by_name, &m->by_name, mq)) {
        RB_REMOVE(mount_queue_by_number, &m->by_number, mq);
        return false;
    }
    RB_INSERT(mount_queue_by_place, &m->by_place, mq);
    mq->generation = m->generation;
    m->n_mount_queues++;
    return true;
}

/* Where a queue stands in this mount's listing. What the first store's queues have is theirs, also
 * when it is the second one's that uses the number. */
static uint64_t place_of(struct mount *m, uint64_t number)
{
    uint64_t place = number;

    pthread_mutex_lock(&m->lock);
    if (m->n_stores > 0)
        place = PLACES_LATER + m->n_places++;
    pthread_mutex_unlock(&m->lock);
    return place;
}

/* A queue this mount did not know. One of the same name that it knows is gone, then. */
static struct mount_queue *add_queue(struct mount *m, const struct queue_entry *entry)
{
    struct mount_queue *mq = mount_queue_new(m, entry, place_of(m, entry->number),
                                             mount_settings_of(m, entry->name)),
                       *same;
    uint64_t replaced = 0;

    if (!mq) {
        log_error("queue %s: out of memory", entry->name);
        return NULL;
    }
    pthread_mutex_lock(&m->lock);
    same = RB_FIND(mount_queue_by_name, &m->by_name, mq);
    if (same && same->number < mq->number)
        replaced = same->number;
    pthread_mutex_unlock(&m->lock);
    if (replaced)
        remove_queue(m, replaced);

    pthread_mutex_lock(&m->lock);
    mq->listed = list_locked(m, mq);
    same = mq->listed ? mount_queue_ref(mq) : NULL;
    pthread_mutex_unlock(&m->lock);
    if (!same)
        mount_queue_unref(mq);
    return same;
}

static struct mount_queue *known_queue(struct mount *m, uint64_t number)
{
    struct mount_queue key = {.number = number}, *mq;

    pthread_mutex_lock(&m->lock);
    mq = RB_FIND(mount_queue_by_number, &m->by_number, &key);
    if (mq) {
        mq->generation = m->generation;
        mount_queue_ref(mq);
    }
    pthread_mutex_unlock(&m->lock);
    return mq;
}

/* A queue that was provided is told of: then it has its number now; a reference. */
static struct mount_queue *adopt(struct mount *m, const struct queue_entry *entry, uint64_t life)
{
    struct mount_queue key, *mq;

    strcpy(key.name, entry->name);
    pthread_mutex_lock(&m->lock);
    mq = RB_FIND(mount_queue_by_name, &m->by_name, &key);
    if (mq && mq->number == 0 && life == m->standing.life && !is_removed_locked(m, entry->number)) {
        mount_queue_settle_locked(mq, entry->number, entry->made_us);
        RB_INSERT(mount_queue_by_number, &m->by_number, mq);
        mq->generation = m->generation;
        mount_queue_ref(mq);
    } else {
        mq = NULL;
    }
    pthread_mutex_unlock(&m->lock);
    return mq;
}

void mount_apply_entry(struct mount *m, const struct queue_entry *entry, uint64_t life)
{
    struct mount_queue *mq;

    if (life != mount_life(m))
        return;
    if (entry->gone) {
        remove_queue(m, entry->number);
        return;
    }
    mq = known_queue(m, entry->number);
    if (!mq)
        mq = adopt(m, entry, life);
    if (mq) {
        mount_queue_allow(mq, entry->may);
        mount_queue_update(mq, &entry->settings, &entry->state);
    }
    if (!mq)
        mq = add_queue(m, entry);
    mount_queue_unref(mq);
}

void mount_forget_numbers(struct mount *m)
{
    struct mount_queue *mq;

    pthread_mutex_lock(&m->lock);
    RB_INIT(&m->by_number);
    m->n_gone = 0;
    RB_FOREACH (mq, mount_queue_by_place, &m->by_place)
        mount_queue_settle_locked(mq, 0, mq->made_us);
    pthread_mutex_unlock(&m->lock);
}

/* Those of the settings file stay without a number until they are made. */
static bool is_gone_locked(const struct mount *m, const struct mount_queue *mq)
{
    return mq->listed && mq->generation != m->generation &&
           (mq->number > 0 || !mount_configured(m, mq->name));
}

/* After a whole list: what it did not name is gone. */
void mount_remove_unnamed(struct mount *m)
{
    struct mount_queue **all;
    size_t n, i;
    bool gone;

    all = mount_all(m, &n);
    for (i = 0; i < n; i++) {
        pthread_mutex_lock(&m->lock);
        gone = is_gone_locked(m, all[i]);
        if (gone)
            unlist_locked(m, all[i]);
        pthread_mutex_unlock(&m->lock);
        if (gone) {
            mount_queue_end(all[i], -ENOENT);
            mount_queue_unref(all[i]); /* the lists' */
        }
    }
    mount_all_free(all, n);
}
