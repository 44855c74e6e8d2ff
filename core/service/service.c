/*
 * The service's life and its thread. submit() may be called from any thread and takes only the
 * inbox's lock; everything else of struct service is the service thread's, or before start and
 * after stop the owner's.
 */
#include "core/service/service.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cond.h"
#include "core/log.h"
#include "core/service/service_state.h"

/* Where the last queue number is not known, the next one is so far above all that are seen. */
#define NUMBERS_SKIPPED (UINT64_C(1) << 20)

static void service_submit(struct backend *backend, struct request *request)
{
    struct service *s = (struct service *)backend;
    bool first, refused;

    request->next = NULL;
    pthread_mutex_lock(&s->lock);
    refused = s->stopping;
    first = !refused && !s->inbox.first;
    if (!refused)
        answers_add(&s->inbox, request, 0);
    pthread_mutex_unlock(&s->lock);
    if (first)
        pthread_cond_signal(&s->wake); /* unlocked: it would wake to find the lock taken */
    if (!refused)
        return;
    memset(&request->out, 0, sizeof(request->out));
    memset(&request->state, 0, sizeof(request->state));
    request->status = -ESHUTDOWN;
    request->done(request);
}

struct backend *service_backend(struct service *service)
{
    return &service->backend;
}

/* ---- new, free ---- */

static void init_lists(struct service *s)
{
    RB_INIT(&s->by_number);
    RB_INIT(&s->by_name);
    TAILQ_INIT(&s->listed);
    TAILQ_INIT(&s->streams);
    TAILQ_INIT(&s->claims);
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->finished);
    TAILQ_INIT(&s->purges);
    TAILQ_INIT(&s->settles);
    answers_init(&s->answers);
    answers_init(&s->puts);
    answers_init(&s->arms);
    answers_init(&s->inbox);
    s->staged_end = &s->staged;
    s->retry_us = TIME_FOREVER;
}

static int init_locks(struct service *s)
{
    int rc = -pthread_mutex_init(&s->lock, NULL);

    if (rc == 0) {
        rc = cond_init(&s->wake);
        if (rc < 0)
            pthread_mutex_destroy(&s->lock);
    }
    return rc;
}

/* Two queues of one name would be one too many: the first one is served. */
static bool record_is_sane(struct service *s, const struct queue_record *record)
{
    return queue_settings_check(&record->settings, NULL) == 0 && record->next_batch >= 1 &&
           record->next_batch <= BATCH_NUMBER_MAX + 1 && !service_find_name(s, record->name);
}

static int load_queue(struct service *s, const struct queue_record *record)
{
    struct queue *q;
    int rc = queue_new(&s->shared, record, &q);

    if (rc < 0)
        return rc;
    rc = queue_load(q);
    if (rc < 0) {
        queue_free(q);
        return rc;
    }
    service_list_queue(s, q);
    return 0;
}

/* Its batches stay, under a number that no other queue is given. */
static void say_queue_lost(struct service *s, uint64_t number)
{
    damage_found(&s->shared,
                 "the record of queue number %llu is damaged: the queue is not served, what it "
                 "holds stays in the store. Bring the store back from a backup to have it again",
                 (unsigned long long)number);
    if (s->last_number < number)
        s->last_number = number;
}

static int load_queues(struct service *s)
{
    struct store *store = s->options.store;
    struct queue_record record = {0};
    int rc;

    for (;;) {
        rc = store->ops->queue_next(store, record.number + 1, &record);
        if (rc == 0 && !record_is_sane(s, &record))
            rc = -EBADMSG;
        if (rc == 0)
            rc = load_queue(s, &record);
        else if (rc == -EBADMSG)
            say_queue_lost(s, record.number);
        if (rc < 0 && rc != -EBADMSG)
            return rc == -ENOENT ? 0 : rc;
    }
}

/* Where the store's running time goes on: it may have been kept some time before the last end. */
static void start_clock(struct service *s)
{
    struct sequence *seq;
    struct queue *q;

    s->ran_before_us = s->lineage.ran_us;
    RB_FOREACH (q, queue_by_number, &s->by_number) {
        RB_FOREACH (seq, sequence_tree, &q->sequences) {
            if (seq->record.last_used_us > s->ran_before_us)
                s->ran_before_us = seq->record.last_used_us;
        }
    }
    s->started_us = s->shared.now_us;
    s->shared.ran_us = s->ran_before_us;
    s->sweep_us = time_after(s->shared.now_us, SERVICE_SWEEP_US);
}

static int load(struct service *s)
{
    struct store *store = s->options.store;
    int rc = store->ops->queue_last_number(store, &s->last_number), found = rc;

    if (rc < 0 && rc != -EBADMSG)
        return rc;
    if (rc < 0)
        s->last_number = 0;
    rc = load_queues(s);
    if (found == -EBADMSG) {
        s->last_number += NUMBERS_SKIPPED;
        damage_found(&s->shared,
                     "which queue numbers were used is damaged: new queues begin at number %llu",
                     (unsigned long long)s->last_number + 1);
    }
    damage_tell_rest(&s->shared, true);
    return rc;
}

static void free_all(struct service *s)
{
    struct listed *listed;
    struct queue *q;

    while ((q = RB_ROOT(&s->by_number)) != NULL) {
        RB_REMOVE(queue_by_number, &s->by_number, q);
        TAILQ_REMOVE(&s->listed, &q->listed, link);
        queue_free(q);
    }
    while ((listed = TAILQ_FIRST(&s->listed)) != NULL) {
        TAILQ_REMOVE(&s->listed, listed, link);
        free(listed);
    }
    free(s->scratch);
    free(s);
}

int service_new(const struct service_options *options, struct service **service)
{
    struct service *s = calloc(1, sizeof(*s));
    int rc = -ENOMEM;

    if (!s)
        goto close_store;
    s->backend.submit = service_submit;
    s->options = *options;
    init_lists(s);
    queue_shared_init(&s->shared, options->store);
    sessions_init(&s->sessions, options->id);
    s->shared.now_us = options->clock->mono_us(options->clock);
    s->shared.wall_us = options->clock->wall_us(options->clock);
    s->revision = s->shared.wall_us > 0 ? (uint64_t)s->shared.wall_us : 1;
    s->forgotten = s->revision;

    rc = init_locks(s);
    if (rc < 0)
        goto free_service;
    rc = lineage_begin(&s->lineage, options->store, options->id);
    if (rc == 0)
        rc = load(s);
    if (rc < 0)
        goto destroy_locks;
    start_clock(s);
    *service = s;
    return 0;

destroy_locks:
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
free_service:
    free_all(s);
close_store:
    options->store->ops->close(options->store);
    return rc;
}

void service_free(struct service *s)
{
    struct store *store;

    if (!s)
        return;
    service_stop(s);
    store = s->options.store;
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free_all(s);
    store->ops->close(store);
}

int service_ensure_queue(struct service *s, const char *name, const struct queue_settings *settings,
                         uint64_t fields)
{
    struct queue *q = service_find_name(s, name);

    assert(!s->started);
    if (!q)
        return service_make_queue(s, name, settings, &q);
    return service_set_queue(s, q, settings, fields & SETTINGS_OWN);
}

/* ---- the thread ---- */

/* Wait for requests, the deadline or the end. True: go on. */
static bool wait_for_work(struct service *s)
{
    int64_t deadline_us = service_deadline(s);
    bool stopping;

    pthread_mutex_lock(&s->lock);
    if (!s->inbox.first && !s->stopping && deadline_us > s->shared.now_us)
        cond_wait_until(&s->wake, &s->lock, deadline_us);
    stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return !stopping;
}

static void *service_run(void *arg)
{
    struct service *s = arg;

    while (wait_for_work(s))
        service_round(s);
    return NULL;
}

int service_start(struct service *s)
{
    int rc = pthread_create(&s->thread, NULL, service_run, s);

    s->started = rc == 0;
    return -rc;
}

/* The last round, and what no commit has waited for. */
static void end(struct service *s)
{
    struct queue *q;

    service_round(s);
    RB_FOREACH (q, queue_by_number, &s->by_number) {
        if (q->counters_dirty)
            queue_unsaved(q);
    }
    if (service_commit(s) == 0)
        service_keep_time(s);
    service_answer_all(s, s->failed ? -EIO : -ESHUTDOWN);
    answers_run(&s->answers);
}

void service_stop(struct service *s)
{
    bool again;

    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    again = s->stopped;
    s->stopped = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (again)
        return;
    if (s->started)
        pthread_join(s->thread, NULL);
    end(s);
}
