/* Segments for later: see spares.h. `lock` is between the owner and the maker's thread. */
#include "core/store/spares.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "core/clock.h"
#include "core/cond.h"

#define FIRST_BYTES   ((uint64_t)4 << 20) /* of the first segments */
#define GROWTH        8                   /* segments, then they are twice as large */
#define FEWEST        3                   /* commits of the largest kind in one segment */
#define ROOM          16 /* segments of a larger size for which there must be room: some stay empty */
#define IDLE_US       INT64_C(1000000) /* without a segment taken or released: time to tidy */
#define REST          4 /* times what a piece of tidying took, the disk is left to others */
#define GIVE_BACK     ((uint64_t)4 << 20) /* bytes at a time: filesystems tell the disk of each */
#define OVER_SEGMENTS 2                   /* made beyond a limit that was lowered */

/* What is kept of released ones: on a disk as much as a burst fills, so that the next one writes
 * into blocks that were written before; an eighth of the limit at most, but two segments. */
#define KEPT_BYTES    ((uint64_t)256 << 20)
#define KEPT_SEGMENTS 2
#define MANY          4             /* times what is kept: they go at once */
#define LATELY_US     INT64_C(5000) /* old at most is what the disk has said of its room */

struct spares {
    struct spares_options options; /* log_bytes: kept below */
    pthread_t maker;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* of both */

    /* Guarded by lock. */
    uint64_t segment_bytes;  /* as of now */
    struct segment_list all; /* of today's size */
    struct segment_list odd; /* of another: their blocks are given back */
    uint64_t n, odd_bytes, number;
    uint64_t log_bytes;
    uint64_t limit_bytes;          /* the limit, or while there is more than that, a little more */
    const struct segment *filling; /* whose blocks are being written */
    int64_t idle_us;               /* since when nothing was made or taken */
    int64_t rest_us;               /* until then the disk is left to others */
    uint64_t made_bytes;           /* of what is being made */
    unsigned giving;               /* threads that give blocks back */
    int64_t seen_us;               /* when the disk was asked last how much more could be made, */
    uint64_t seen_made, seen_room; /* with so much made, and what it said */
    bool making, stopping;
    bool urgent; /* what is asked for may take what min_free leaves */
    int made;    /* how the last making went */
};

/* ---- limits ---- */

/* Bytes of the disk that may be used; UINT64_MAX in memory. */
static uint64_t disk_room(const struct spares *s, bool urgent)
{
    uint64_t keep = urgent ? 0 : s->options.min_free_bytes, free_bytes;
    struct statvfs disk;

    if (s->options.dir_fd < 0 || fstatvfs(s->options.dir_fd, &disk) < 0)
        return UINT64_MAX;
    free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    return free_bytes < keep ? 0 : free_bytes - keep;
}

static uint64_t made_locked(const struct spares *s)
{
    return s->log_bytes + s->n * s->segment_bytes + s->odd_bytes + s->made_bytes;
}

/* So many bytes of further segments may be made, once `given_back` of spares are. */
static uint64_t growable_locked(const struct spares *s, bool urgent, uint64_t given_back)
{
    uint64_t made = made_locked(s) - given_back;
    uint64_t room = made < s->limit_bytes ? s->limit_bytes - made : 0;
    uint64_t disk = disk_room(s, urgent);

    disk = disk < UINT64_MAX - given_back ? disk + given_back : disk;
    return room < disk ? room : disk;
}

/* The same once the odd ones are given back, for who asks with each commit: the disk is not asked
 * as often. */
static uint64_t growable_lately_locked(struct spares *s)
{
    int64_t now_us = clock_system.mono_us(&clock_system);
    uint64_t made = made_locked(s) - s->odd_bytes;

    if (s->seen_made == made && now_us - s->seen_us < LATELY_US)
        return s->seen_room;
    s->seen_us = now_us;
    s->seen_made = made;
    s->seen_room = growable_locked(s, false, s->odd_bytes);
    return s->seen_room;
}

/* Who has lowered the limit below what there is can still take and acknowledge, which are writes.
 */
static void follow_limit_locked(struct spares *s)
{
    uint64_t least = s->log_bytes + OVER_SEGMENTS * s->segment_bytes;

    if (least < s->limit_bytes)
        s->limit_bytes = least;
    if (s->limit_bytes < s->options.max_bytes)
        s->limit_bytes = s->options.max_bytes;
}

static void odd_add_locked(struct spares *s, struct segment *spare)
{
    TAILQ_INSERT_TAIL(&s->odd, spare, link);
    s->odd_bytes += spare->size;
}

static void all_odd_locked(struct spares *s)
{
    struct segment *spare;

    while ((spare = TAILQ_FIRST(&s->all)) != NULL) {
        TAILQ_REMOVE(&s->all, spare, link);
        odd_add_locked(s, spare);
    }
    s->n = 0;
}

/* With the log, and with what is written at a time, `whole` bytes. */
static void grow_locked(struct spares *s, uint64_t whole)
{
    while (s->segment_bytes < s->options.segment_bytes &&
           (s->log_bytes >= GROWTH * s->segment_bytes || whole > s->segment_bytes / FEWEST)) {
        uint64_t next = 2 * s->segment_bytes;

        if (next > s->options.segment_bytes)
            next = s->options.segment_bytes;
        if (growable_locked(s, false, s->odd_bytes + s->n * s->segment_bytes) < ROOM * next)
            break; /* nobody could take and acknowledge with what is left */
        all_odd_locked(s);
        s->segment_bytes = next;
    }
}

/* How many are kept for long: few in memory, where they take as much as when they are used, and on
 * a disk that is short. */
static uint64_t kept(const struct spares *s)
{
    uint64_t most = s->options.max_bytes / 8 < KEPT_BYTES ? s->options.max_bytes / 8 : KEPT_BYTES;
    uint64_t n = most / s->segment_bytes;

    return n < KEPT_SEGMENTS || s->options.dir_fd < 0 || disk_room(s, false) == 0 ? KEPT_SEGMENTS
                                                                                  : n;
}

/* Whether one that is released is: until it is time to tidy all are, but where they must be few. */
static bool keeps_locked(const struct spares *s)
{
    return s->n < KEPT_SEGMENTS || (s->options.dir_fd >= 0 && disk_room(s, false) > 0);
}

static void add_locked(struct spares *s, struct segment *spare)
{
    TAILQ_INSERT_TAIL(&s->all, spare, link);
    s->n++;
}

static void remove_locked(struct spares *s, struct segment *spare)
{
    TAILQ_REMOVE(&s->all, spare, link);
    s->n--;
}

static void add_by_size_locked(struct spares *s, struct segment *spare)
{
    if (spare->size == s->segment_bytes)
        add_locked(s, spare);
    else
        odd_add_locked(s, spare);
}

/* ---- the maker's thread ---- */

/* One of the odd ones, which is nobody else's; NULL: there is none. *waited: somebody else was
 * about to give blocks back, or to write them. */
static struct segment *odd_take_locked(struct spares *s, bool *waited)
{
    struct segment *odd;

    for (;;) {
        odd = TAILQ_FIRST(&s->odd);
        if (odd ? odd != s->filling : s->giving == 0)
            break;
        pthread_cond_wait(&s->wake, &s->lock);
        *waited = true;
    }
    if (!odd)
        return NULL;
    TAILQ_REMOVE(&s->odd, odd, link); /* its bytes count until they are given back */
    return odd;
}

/* A piece of an odd one's blocks, the last with its file. False: there is none. The lock is not
 * held meanwhile. */
static bool give_back_locked(struct spares *s)
{
    bool waited = false;
    struct segment *odd = odd_take_locked(s, &waited);
    uint64_t size, left;

    if (!odd)
        return waited;
    size = odd->size;
    left = odd->size > GIVE_BACK ? odd->size - GIVE_BACK : 0;
    s->giving++;
    pthread_mutex_unlock(&s->lock);
    if (left == 0 || segment_shrink(odd, s->options.dir_fd, left) < 0) {
        segment_remove(odd, s->options.dir_fd);
        odd = NULL;
    }
    pthread_mutex_lock(&s->lock);
    s->giving--;
    s->odd_bytes -= size;
    if (odd) { /* it is the next one, too */
        TAILQ_INSERT_HEAD(&s->odd, odd, link);
        s->odd_bytes += odd->size;
    }
    pthread_cond_broadcast(&s->wake);
    return true;
}

/* Whether there is room for another file, for which spares go where it must be. The lock is not
 * held meanwhile. */
static bool make_room_locked(struct spares *s, uint64_t size, bool urgent)
{
    while (growable_locked(s, urgent, 0) < size) {
        struct segment *last = TAILQ_LAST(&s->all, segment_list);

        if (give_back_locked(s))
            continue;
        if (!last || last == s->filling)
            return false;
        remove_locked(s, last);
        odd_add_locked(s, last);
    }
    return true;
}

/* One spare more. The lock is not held while its file is made. */
static void make_locked(struct spares *s)
{
    struct segment *spare = NULL;
    uint64_t number = ++s->number, size = s->segment_bytes;
    bool first = s->log_bytes == 0; /* it is used at once */
    int rc;

    rc = make_room_locked(s, size, s->urgent) ? 0 : -ENOSPC;
    if (rc == 0) {
        s->made_bytes = size;
        pthread_mutex_unlock(&s->lock);
        rc = segment_make_spare(s->options.dir_fd, number, size, first, &spare);
        pthread_mutex_lock(&s->lock);
        s->made_bytes = 0;
    }
    if (spare)
        add_by_size_locked(s, spare); /* they may have grown meanwhile */
    s->made = rc;
    s->making = false;
    s->idle_us = clock_system.mono_us(&clock_system);
    pthread_cond_broadcast(&s->wake);
}

/* A spare whose blocks are not all written; NULL: none. */
static struct segment *unfilled_locked(const struct spares *s)
{
    struct segment *spare;

    TAILQ_FOREACH (spare, &s->all, link) {
        if (spare->filled < spare->size)
            return spare;
    }
    return NULL;
}

/* A piece of it. The lock is not held meanwhile; nobody takes the spare. */
static void fill_locked(struct spares *s, struct segment *spare)
{
    int rc;

    s->filling = spare;
    pthread_mutex_unlock(&s->lock);
    rc = segment_open(spare, s->options.dir_fd);
    if (rc == 0)
        rc = segment_fill(spare, s->options.dir_fd);
    pthread_mutex_lock(&s->lock);
    if (rc < 0)
        spare->filled = spare->size; /* it is slower, that is all */
    s->filling = NULL;
    pthread_cond_broadcast(&s->wake);
}

static bool is_untidy_locked(const struct spares *s)
{
    return !TAILQ_EMPTY(&s->odd) || s->n > kept(s) || unfilled_locked(s);
}

/* A piece of what can wait until little happens: more spares than are kept go, blocks of those that
 * stay are written. Where segments are used up quickly they are so not written twice. */
static void tidy_locked(struct spares *s)
{
    int64_t began_us = clock_system.mono_us(&clock_system), now_us;
    struct segment *last = TAILQ_LAST(&s->all, segment_list), *spare = NULL;

    if (s->n > kept(s)) {
        remove_locked(s, last);
        odd_add_locked(s, last);
    }
    if (!give_back_locked(s))
        spare = unfilled_locked(s);
    if (spare)
        fill_locked(s, spare);
    now_us = clock_system.mono_us(&clock_system);
    s->rest_us = time_after(now_us, REST * (now_us - began_us));
}

/* When it is time for that; TIME_FOREVER: all is tidy. */
static int64_t tidy_due_locked(const struct spares *s)
{
    int64_t idle_us = time_after(s->idle_us, IDLE_US);

    if (!is_untidy_locked(s))
        return TIME_FOREVER;
    if (s->n > MANY * kept(s)) /* it may never be idle */
        return s->rest_us;
    return idle_us > s->rest_us ? idle_us : s->rest_us;
}

static void *make_ahead(void *arg)
{
    struct spares *s = arg;
    int64_t due_us;

    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        due_us = tidy_due_locked(s);
        if (s->making)
            make_locked(s);
        else if (due_us <= clock_system.mono_us(&clock_system))
            tidy_locked(s);
        else
            cond_wait_until(&s->wake, &s->lock, due_us);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void ask_locked(struct spares *s)
{
    s->making = true;
    pthread_cond_broadcast(&s->wake);
}

/* ---- taken and given back ---- */

/* One that is there; NULL: there is none. */
static struct segment *first_locked(struct spares *s)
{
    struct segment *spare;

    for (;;) {
        spare = TAILQ_FIRST(&s->all);
        if (spare && spare == s->filling)
            spare = TAILQ_NEXT(spare, link);
        if (spare || TAILQ_EMPTY(&s->all))
            break;
        pthread_cond_wait(&s->wake, &s->lock);
    }
    if (!spare)
        return NULL;
    remove_locked(s, spare);
    s->idle_us = clock_system.mono_us(&clock_system);
    return spare;
}

/* The same, or it is made now. */
static int get_locked(struct spares *s, bool urgent, struct segment **segment)
{
    *segment = first_locked(s);
    while (!*segment && s->making) { /* it may not be urgent, or of another size */
        pthread_cond_wait(&s->wake, &s->lock);
        *segment = first_locked(s);
    }
    if (*segment)
        return 0;
    s->urgent = urgent;
    ask_locked(s);
    while (s->making)
        pthread_cond_wait(&s->wake, &s->lock);
    s->urgent = false;
    *segment = first_locked(s);
    return *segment ? 0 : s->made;
}

static int take(struct spares *s, bool urgent, struct segment **segment)
{
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = get_locked(s, urgent, segment);
    if (*segment) {
        s->log_bytes += (*segment)->size; /* before the maker looks */
        if (s->n == 0)
            ask_locked(s);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* One of its own, for what is larger than others hold. */
static int take_large(struct spares *s, uint64_t size, bool urgent, struct segment **segment)
{
    uint64_t number;
    bool room;
    int rc;

    pthread_mutex_lock(&s->lock);
    number = ++s->number;
    room = make_room_locked(s, size, urgent);
    if (room)
        s->log_bytes += size;
    pthread_mutex_unlock(&s->lock);
    rc = room ? segment_make_spare(s->options.dir_fd, number, size, false, segment) : -ENOSPC;
    if (rc < 0 && room) {
        pthread_mutex_lock(&s->lock);
        s->log_bytes -= size;
        pthread_mutex_unlock(&s->lock);
    }
    return rc;
}

int spares_take(struct spares *s, uint64_t size, bool urgent, struct segment **segment)
{
    uint64_t whole = (size + SEGMENT_HEAD + 4095) / 4096 * 4096;

    int rc;

    *segment = NULL;
    pthread_mutex_lock(&s->lock);
    grow_locked(s, whole);
    pthread_mutex_unlock(&s->lock);
    rc =
        whole > s->segment_bytes ? take_large(s, whole, urgent, segment) : take(s, urgent, segment);
    if (rc == 0)
        rc = segment_open(*segment, s->options.dir_fd);
    if (rc < 0 && *segment) {
        spares_put_back(s, *segment);
        *segment = NULL;
    }
    return rc;
}

void spares_put_back(struct spares *s, struct segment *segment)
{
    pthread_mutex_lock(&s->lock);
    s->log_bytes -= segment->size;
    add_by_size_locked(s, segment);
    pthread_mutex_unlock(&s->lock);
}

/* Until it has gone, or is a spare, it counts as the log's: nobody makes another in its place. */
int spares_retire(struct spares *s, struct segment *segment)
{
    uint64_t number, size = segment->size;
    bool keep;
    int rc;

    pthread_mutex_lock(&s->lock);
    keep = keeps_locked(s);
    number = ++s->number;
    pthread_mutex_unlock(&s->lock);
    rc = keep ? segment_retire(segment, s->options.dir_fd, number)
              : segment_remove(segment, s->options.dir_fd);
    if (keep && rc < 0)
        segment_free(segment);
    pthread_mutex_lock(&s->lock);
    s->log_bytes -= size;
    s->idle_us = clock_system.mono_us(&clock_system);
    follow_limit_locked(s);
    if (keep && rc == 0)
        add_by_size_locked(s, segment);
    pthread_cond_broadcast(&s->wake); /* there may be something to tidy */
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- asked ---- */

bool spares_can_take(struct spares *s, uint64_t size)
{
    uint64_t whole = (size + SEGMENT_HEAD + 4095) / 4096 * 4096;
    bool can;

    pthread_mutex_lock(&s->lock);
    if (whole <= s->segment_bytes)
        can = s->n > 0 || growable_locked(s, true, s->odd_bytes) >= s->segment_bytes;
    else
        can = growable_locked(s, true, s->odd_bytes + s->n * s->segment_bytes) >= whole;
    pthread_mutex_unlock(&s->lock);
    return can;
}

void spares_space(struct spares *s, uint64_t *log_bytes, uint64_t *n_free, uint64_t *segment_bytes)
{
    pthread_mutex_lock(&s->lock);
    *log_bytes = s->log_bytes;
    *segment_bytes = s->segment_bytes;
    *n_free = s->n + growable_lately_locked(s) / s->segment_bytes;
    pthread_mutex_unlock(&s->lock);
}

/* ---- open and close ---- */

/* What was found; of another size is what a crash has left half made, too. */
static void sort(struct spares *s, struct segment_list *found)
{
    struct segment *spare;

    while ((spare = TAILQ_FIRST(found)) != NULL) {
        uint64_t number = strtoull(spare->name, NULL, 16);

        TAILQ_REMOVE(found, spare, link);
        s->number = number > s->number ? number : s->number;
        add_by_size_locked(s, spare);
    }
}

int spares_open(const struct spares_options *options, struct segment_list *found,
                struct spares **out)
{
    struct spares *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return -ENOMEM;
    s->options = *options;
    s->segment_bytes = options->segment_bytes < FIRST_BYTES ? options->segment_bytes : FIRST_BYTES;
    s->log_bytes = options->log_bytes;
    TAILQ_INIT(&s->all);
    TAILQ_INIT(&s->odd);
    pthread_mutex_init(&s->lock, NULL);
    cond_init(&s->wake);
    s->limit_bytes = UINT64_MAX;
    follow_limit_locked(s);
    grow_locked(s, 0);
    sort(s, found);
    s->idle_us = clock_system.mono_us(&clock_system);
    rc = -pthread_create(&s->maker, NULL, make_ahead, s);
    s->started = rc == 0;
    if (rc < 0) {
        spares_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void spares_close(struct spares *s)
{
    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_broadcast(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->maker, NULL);
    }
    segment_list_free(&s->all);
    segment_list_free(&s->odd);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
