#include "tests/core/mount/mount_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t rig_now(void)
{
    return clock_system.mono_us(&clock_system);
}

/* ---- the service ---- */

void rig_answer(struct request *request, int status)
{
    request->status = status;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->reply_free = NULL;
    request->done(request);
}

static struct queue_entry jobs(void)
{
    struct queue_entry entry = {.number = RIG_QUEUE, .name = "jobs"};
    struct all_settings settings;

    settings_default(&settings);
    entry.settings = settings.own;
    return entry;
}

static void answer_sync(struct request *request)
{
    struct queue_entry entry = jobs();

    request->out.sync.service = request->out.sync.life = request->out.sync.reached = 42;
    request->out.sync.until = 1;
    request->out.sync.entries = &entry;
    request->out.sync.n_entries = 1;
    request->done(request);
}

void rig_answer_empty(struct request *request)
{
    request->status = 0;
    memset(&request->state, 0, sizeof(request->state));
    memset(&request->out, 0, sizeof(request->out));
    request->reply_free = NULL;
    if (request->kind == REQUEST_SYNC) {
        answer_sync(request);
        return;
    }
    if (request->kind == REQUEST_WATCH)
        request->out.watch.service = 42;
    if (request->kind == REQUEST_PUT)
        request->out.put.last = request->in.put.base + request->in.put.batch.n_items - 1;
    if (request->kind == REQUEST_MAKE || request->kind == REQUEST_SET)
        request->out.make.entry = jobs();
    request->done(request);
}

struct lent {
    struct grant grant;
    char text[64];
};

/* Whoever still reads it sees no grant and no text. */
static void lent_free(struct request *request)
{
    struct lent *lent = request->reply_memory;

    memset(lent, 0xee, sizeof(*lent));
    free(lent);
}

void rig_answer_grant(struct request *request, uint64_t id, uint64_t token, const char *text)
{
    struct lent *lent = calloc(1, sizeof(*lent));

    strcpy(lent->text, text);
    lent->grant = (struct grant){
        .batch = item_batch(id),
        .from = item_index(id),
        .to = item_index(id) + 1,
        .token = token,
        .len = strlen(text),
        .put_time_us = 1,
        .lease_us = request->in.get.kind == GET_STREAM ? TIME_FOREVER : 30 * SECOND,
    };
    request->status = 0;
    memset(&request->state, 0, sizeof(request->state));
    request->out.get.grants = &lent->grant;
    request->out.get.n_grants = 1;
    request->out.get.data = (const uint8_t *)lent->text;
    request->out.get.len = strlen(text);
    request->reply_memory = lent;
    request->reply_free = lent_free;
    request->done(request);
}

static void rig_submit(struct backend *backend, struct request *request)
{
    struct mount_rig *rig = (struct mount_rig *)backend;
    bool keep;

    request->sent_us = rig_now();
    pthread_mutex_lock(&rig->lock);
    keep = request->kind == REQUEST_WATCH || rig->keep & KEEP(request->kind);
    rig->n_seen[request->kind]++;
    rig->n_answering += !keep;
    if (keep) {
        request->next = NULL;
        *rig->kept_end = request;
        rig->kept_end = &request->next;
        pthread_cond_broadcast(&rig->came);
    }
    pthread_mutex_unlock(&rig->lock);
    if (keep)
        return;
    rig_answer_empty(request);
    pthread_mutex_lock(&rig->lock);
    rig->n_answering--;
    pthread_cond_broadcast(&rig->came);
    pthread_mutex_unlock(&rig->lock);
}

void rig_keep(struct mount_rig *rig, uint32_t kinds)
{
    pthread_mutex_lock(&rig->lock);
    rig->keep = kinds;
    while (rig->n_answering > 0)
        pthread_cond_wait(&rig->came, &rig->lock);
    pthread_mutex_unlock(&rig->lock);
}

/* NULL: none of them is kept. */
static struct request *take_locked(struct mount_rig *rig, enum request_kind kind)
{
    struct request **at = &rig->kept, *request;

    while ((request = *at) && request->kind != kind)
        at = &request->next;
    if (!request)
        return NULL;
    *at = request->next;
    if (!*at)
        rig->kept_end = at;
    return request;
}

struct request *rig_take(struct mount_rig *rig, enum request_kind kind)
{
    struct request *request;
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&rig->lock);
    while (!(request = take_locked(rig, kind)) && !error)
        error = pthread_cond_timedwait(&rig->came, &rig->lock, &until);
    pthread_mutex_unlock(&rig->lock);
    cr_assert_not_null(request, "no request of kind %d has come", (int)kind);
    return request;
}

unsigned rig_seen(struct mount_rig *rig, enum request_kind kind)
{
    unsigned n;

    pthread_mutex_lock(&rig->lock);
    n = rig->n_seen[kind];
    pthread_mutex_unlock(&rig->lock);
    return n;
}

/* ---- the mount ---- */

static void rig_begin(struct mount_rig *rig, uint32_t keep, const struct preset *queue,
                      int64_t silence_us)
{
    struct mount_options options = {
        .backend = &rig->backend,
        .clock = &clock_system,
        .id = {.bytes = {1, 2}},
        .buffer_total = 1 << 20,
        .timeout_us = 20 * SECOND,
        .silence_us = silence_us,
        .queues = queue,
        .n_queues = queue ? 1 : 0,
    };

    memset(rig, 0, sizeof(*rig));
    rig->backend.submit = rig_submit;
    rig->keep = keep;
    rig->kept_end = &rig->kept;
    pthread_mutex_init(&rig->lock, NULL);
    pthread_cond_init(&rig->came, NULL);
    settings_default(&options.defaults);
    cr_assert_eq(mount_new(&options, &rig->mount), 0);
    cr_assert_eq(mount_start(rig->mount, queue ? 10000 : 20 * SECOND), queue ? -ETIMEDOUT : 0);
    rig->mq = mount_find(rig->mount, "jobs");
    cr_assert_not_null(rig->mq);
}

void rig_open(struct mount_rig *rig)
{
    rig_begin(rig, 0, NULL, 20 * SECOND);
}

void rig_open_brief(struct mount_rig *rig)
{
    rig_begin(rig, 0, NULL, 0);
}

void rig_open_away(struct mount_rig *rig)
{
    struct preset queue = {.name = "jobs"};

    settings_default(&queue.settings);
    rig_begin(rig, KEEP_ALL, &queue, 0);
}

void rig_close(struct mount_rig *rig)
{
    struct mount_rest rest;
    struct request *kept, *next;

    mount_stop(rig->mount, SECOND / 10, &rest);
    pthread_mutex_lock(&rig->lock);
    kept = rig->kept;
    rig->kept = NULL;
    rig->kept_end = &rig->kept;
    pthread_mutex_unlock(&rig->lock);
    for (; kept; kept = next) {
        next = kept->next;
        rig_answer(kept, -ESHUTDOWN);
    }
    mount_queue_unref(rig->mq);
    mount_free(rig->mount);
    pthread_cond_destroy(&rig->came);
    pthread_mutex_destroy(&rig->lock);
}

/* ---- calls ---- */

static void take_answer(struct rig_call *call, const struct item_answer *answer)
{
    call->answer = *answer;
    call->answer.items = call->items;
    cr_assert_leq(answer->n_items, sizeof(call->items) / sizeof(call->items[0]));
    cr_assert_lt(answer->len, sizeof(call->data));
    if (answer->n_items > 0)
        memcpy(call->items, answer->items, answer->n_items * sizeof(call->items[0]));
    if (answer->len > 0)
        memcpy(call->data, answer->data, answer->len);
}

static void call_done(struct op *op, ssize_t result)
{
    struct rig_call *call = op->owner;

    call->result = result;
    call->ended_us = rig_now();
    if (op->answer)
        take_answer(call, op->answer);
    sem_post(&call->ended);
}

void call_init(struct rig_call *call)
{
    memset(call, 0, sizeof(*call));
    op_init(&call->op, call_done, call);
    sem_init(&call->ended, 0, 0);
    call->begun_us = rig_now();
}

bool call_ended(struct rig_call *call)
{
    int value;

    sem_getvalue(&call->ended, &value);
    cr_assert_leq(value, 1, "an op ended twice");
    return value == 1;
}

ssize_t call_end(struct rig_call *call)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    cr_assert_eq(sem_timedwait(&call->ended, &until), 0, "an op never ended");
    cr_assert_not(call_ended(call));
    return call->result;
}

int64_t call_took(const struct rig_call *call)
{
    return call->ended_us - call->begun_us;
}

void rig_put(struct mount_rig *rig, const char *text)
{
    struct rig_call call;
    struct writer *w;

    cr_assert_eq(mount_queue_writer_open(rig->mq, 0, &w), 0);
    call_init(&call);
    call.op.data = (const uint8_t *)text;
    call.op.len = strlen(text);
    mount_queue_write(rig->mq, w, &call.op);
    cr_assert_eq(call_end(&call), (ssize_t)strlen(text));
    mount_queue_writer_release(rig->mq, w);
}
