/*
 * Lending items: queue_lease() decides what a GET is given and changes only marks; queue_fill()
 * lays the bytes of what is (still) leased under its token into the answer. Between the two
 * the service may commit, and the answer of a repeated GET is queue_fill() again.
 */
#include "core/queue/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/random.h"

/* Positive outcome of lease_span(): the next item does not fit. */
enum { LEASE_FULL = 1 };

/* One GET at work. */
struct leasing {
    struct queue *queue;
    struct lessee *lessee;
    struct lease *lease;
    struct loan *loan; /* of the batch at hand, GET_STREAM; without items until one is lent */
    size_t n_grants;
    uint32_t items_left;
    size_t bytes_left, bytes_max;
};

/* What framing adds to an item's bytes in an answer. */
static size_t frame_size(enum framing framing)
{
    return framing == FRAMING_FILE ? 4 : 1;
}

void lease_fini(struct lease *lease)
{
    free(lease->parts);
    lease->parts = NULL;
    lease->n_parts = lease->cap = 0;
}

static int lease_reserve(struct lease *lease)
{
    size_t cap = lease->cap > 0 ? lease->cap * 2 : 4;
    struct lease_part *parts;

    if (lease->n_parts < lease->cap)
        return 0;
    parts = reallocarray(lease->parts, cap, sizeof(*parts));
    if (!parts)
        return -ENOMEM;
    lease->parts = parts;
    lease->cap = cap;
    return 0;
}

static void lease_add(struct lease *lease, uint64_t batch, uint32_t from, uint32_t to)
{
    struct lease_part *last = lease->n_parts > 0 ? &lease->parts[lease->n_parts - 1] : NULL;

    if (last && last->batch == batch && last->to == from)
        last->to = to;
    else
        lease->parts[lease->n_parts++] = (struct lease_part){batch, from, to};
}

/* A batch that does not fit is not cut for what little room is left: whole ones are read to where
 * they go, and nothing needs to be known of their items. */
static bool leaves_whole(const struct leasing *l, const struct tracked_batch *t,
                         const struct span *span)
{
    return l->lease->kind == GET_STREAM && l->n_grants > 0 && span->from == 0 &&
           span->to == t->mark.n_items && span->to <= l->items_left &&
           l->bytes_left < l->bytes_max / 2;
}

/* Cut the ready span so that what is left of it fits. */
static int fit_span(struct leasing *l, struct tracked_batch *t, uint32_t from)
{
    size_t frame = frame_size(t->framing), bytes, room = l->bytes_left;
    bool table = t->framing == FRAMING_FILE;
    struct batch_view view;
    uint32_t n;
    int rc = tracked_view(t, true, &view);

    if (rc < 0)
        return rc;
    n = batch_fit(&t->index, &view, from, l->items_left, room, &bytes);
    if (table && n > 1 && bytes + n * frame > room)
        n = batch_fit(&t->index, &view, from, n, room > n * frame ? room - n * frame : 0, &bytes);
    if (bytes + (table ? n * frame : 0) > room && l->n_grants > 0)
        return LEASE_FULL;
    return tracked_cut(t, from + n);
}

static void lend(struct leasing *l, struct tracked_batch *t, uint32_t pos)
{
    struct span *span = &t->mark.spans[pos], lent = *span;
    uint32_t n = span->to - span->from;
    size_t bytes = span->n_bytes + n * frame_size(t->framing);
    struct queue *q = l->queue;

    q->record.total_gets += n;
    q->record.redelivered += span->deliveries > 0 ? n : 0;
    lent.state = ITEM_LEASED;
    lent.kind = l->lease->kind;
    lent.token = l->lease->token;
    if (lent.kind == GET_CLAIM) {
        lent.deliveries++;
        lent.lease_us = q->record.settings.lease_us;
        lent.first_us = q->shared->now_us;
        lent.when_us = time_after(q->shared->now_us, lent.lease_us);
        tracked_timer(t, lent.when_us);
        tracked_dirty(t);
    } else {
        lent.loan = l->loan;
        l->loan->from =
            l->loan->n_items > 0 && l->loan->from < span->from ? l->loan->from : span->from;
        l->loan->to = l->loan->to > span->to ? l->loan->to : span->to;
        l->loan->n_items += n;
    }
    lease_add(l->lease, t->batch, span->from, span->to);
    mark_change(&t->mark, pos, &lent);
    mark_merge(&t->mark, pos, pos);

    l->n_grants++;
    l->items_left -= n;
    l->bytes_left -= bytes < l->bytes_left ? bytes : l->bytes_left;
}

/* The loan that what is lent of the batch is to be part of. */
static int loan_begin(struct leasing *l, struct tracked_batch *t)
{
    if (l->lease->kind != GET_STREAM || l->loan)
        return 0;
    l->loan = calloc(1, sizeof(*l->loan));
    if (!l->loan)
        return -ENOMEM;
    l->loan->batch = t;
    LIST_INSERT_HEAD(&l->lessee->loans, l->loan, link);
    return 0;
}

static void loan_done(struct leasing *l)
{
    if (l->loan && l->loan->n_items == 0)
        loan_end(l->loan, 0);
    l->loan = NULL;
}

/* The lowest ready span of the (open) batch, or what fits of it. */
static int lease_span(struct leasing *l, struct tracked_batch *t)
{
    struct batch_view view;
    struct span *span;
    uint32_t from = t->mark.first_ready, n;
    int rc = lease_reserve(l->lease);

    if (rc == 0)
        rc = loan_begin(l, t);
    if (rc == 0 && l->lease->kind == GET_CLAIM) /* the others' bytes leave at once */
        rc = tracked_view(t, false, &view);
    if (rc < 0)
        return rc;
    span = &t->mark.spans[mark_find(&t->mark, from)];
    assert(span->state == ITEM_READY && span->from == from);
    n = span->to - from;
    if (n > l->items_left || span->n_bytes + n * frame_size(t->framing) > l->bytes_left)
        rc = leaves_whole(l, t, span) ? LEASE_FULL : fit_span(l, t, from);
    if (rc == 0)
        lend(l, t, mark_find(&t->mark, from));
    return rc;
}

/* Takes the batch open and closes it. */
static int lease_batch(struct leasing *l, struct tracked_batch *t)
{
    int rc = 0;

    mark_tidy(&t->mark);
    while (rc == 0 && t->mark.items[ITEM_READY] > 0 && l->items_left > 0 &&
           l->n_grants < REQUEST_GRANTS_MAX && (l->bytes_left > 0 || l->n_grants == 0))
        rc = lease_span(l, t);
    if (rc == 0 && t->mark.items[ITEM_READY] > 0)
        rc = LEASE_FULL;
    loan_done(l);
    tracked_close(t);
    return rc;
}

static bool is_free(const struct span *span)
{
    return span->state == ITEM_READY || span->state == ITEM_DELAYED;
}

/* Takes the batch open. */
static int lease_index(struct leasing *l, struct tracked_batch *t, uint32_t index)
{
    struct batch_view view;
    int rc = 0;

    if (t->damaged)
        return -EBADMSG;
    if (index >= t->mark.n_items || !is_free(&t->mark.spans[mark_find(&t->mark, index)]))
        return 0;
    rc = tracked_view(t, false, &view);
    if (rc == 0)
        rc = lease_reserve(l->lease);
    if (rc == 0)
        rc = tracked_cut(t, index);
    if (rc == 0)
        rc = tracked_cut(t, index + 1);
    if (rc == 0)
        lend(l, t, mark_find(&t->mark, index));
    return rc;
}

/* Just this one. */
static int lease_item(struct leasing *l, uint64_t id)
{
    struct tracked_batch *t;
    int rc = queue_track(l->queue, item_batch(id), &t);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    rc = lease_index(l, t, item_index(id));
    tracked_close(t);
    return rc;
}

static int lease_lowest(struct leasing *l)
{
    int rc = 0;

    while (rc == 0 && l->items_left > 0 && l->n_grants < REQUEST_GRANTS_MAX &&
           (l->bytes_left > 0 || l->n_grants == 0)) {
        struct tracked_batch *t;

        rc = queue_lowest(l->queue, UINT64_MAX, &t);
        if (rc < 0 || !t)
            break;
        rc = lease_batch(l, t);
        if (rc == -EBADMSG)
            rc = 0; /* set aside: go on with the next one */
    }
    return rc;
}

int queue_lease(struct queue *q, const struct request *get, struct lessee *lessee,
                struct lease *lease)
{
    struct leasing l = {.queue = q,
                        .lessee = lessee,
                        .lease = lease,
                        .items_left = get->in.get.max_items,
                        .bytes_left = get->in.get.max_bytes,
                        .bytes_max = get->in.get.max_bytes};
    int rc;

    *lease = (struct lease){.kind = get->in.get.kind, .seal = lessee->seal};
    rc = random_bytes(&lease->token, sizeof(lease->token)); /* nobody shall guess it */
    if (rc < 0)
        return rc;
    rc = get->in.get.item ? lease_item(&l, get->in.get.item) : lease_lowest(&l);
    if (l.n_grants == 0) {
        lease_fini(lease);
        return rc < 0 ? rc : 0;
    }
    q->record.batch_gets++;
    q->counters_dirty = true;
    queue_changed(q);
    return 0;
}

/* ---- the answer ---- */

/* What stands in out.get.grants until it is released, with the bytes if they are ours. */
struct get_memory {
    uint8_t *data;
    struct grant grants[];
};

static void get_free(struct request *request)
{
    struct get_memory *memory = request->reply_memory;

    free(memory->data);
    free(memory);
}

static bool is_lent(const struct span *span, const struct lease *lease)
{
    return span->state == ITEM_LEASED && span->token == lease->token;
}

static void grant_fill(struct grant *grant, const struct tracked_batch *t, const struct span *span,
                       uint64_t seal)
{
    bool claim = span->kind == GET_CLAIM;
    int64_t left_us = claim ? span->when_us - t->queue->shared->now_us : TIME_FOREVER;

    *grant = (struct grant){
        .batch = t->batch,
        .from = span->from,
        .to = span->to,
        .token = span->token ^ seal,
        .framing = t->framing,
        .deliveries = span->deliveries - (claim ? 1 : 0),
        .len = span->n_bytes + (span->to - span->from) * frame_size(t->framing),
        .put_time_us = t->put_time_us,
        .lease_us = left_us > 0 ? left_us : 0, /* it may have ended unseen */
    };
}

/* Count the grants of a part, and write them where `grants` is given. */
static size_t list_part(struct queue *q, const struct lease *lease, const struct lease_part *part,
                        struct grant *grants)
{
    const struct tracked_batch *t = tracked_find(q, part->batch);
    size_t n = 0;

    if (!t)
        return 0;
    for (uint32_t pos = mark_find(&t->mark, part->from);
         pos < t->mark.n_spans && t->mark.spans[pos].from < part->to; pos++) {
        if (!is_lent(&t->mark.spans[pos], lease))
            continue;
        if (grants)
            grant_fill(&grants[n], t, &t->mark.spans[pos], lease->seal);
        n++;
    }
    return n;
}

static size_t list_grants(struct queue *q, const struct lease *lease, struct grant *grants)
{
    size_t n = 0;

    for (size_t i = 0; i < lease->n_parts; i++)
        n += list_part(q, lease, &lease->parts[i], grants ? grants + n : NULL);
    return n;
}

bool queue_lends(struct queue *q, const struct lease *lease)
{
    return list_grants(q, lease, NULL) > 0;
}

/* The mark does not fit the batch. */
static int other_items(struct tracked_batch *t)
{
    tracked_set_aside(t, "its mark is of other items");
    return -EBADMSG;
}

static int copy_grant(struct queue *q, const struct grant *grant, uint8_t *out)
{
    struct tracked_batch *t = tracked_find(q, grant->batch);
    size_t table = 0, start, end;
    struct batch_view view;
    int rc;

    if (grant->from == 0 && grant->to == t->mark.n_items)
        return tracked_copy(t, out, grant->len);
    rc = tracked_view(t, true, &view);
    if (rc < 0)
        return rc;
    if (grant->framing == FRAMING_FILE) {
        table = (size_t)(grant->to - grant->from) * 4;
        memcpy(out, view.data + (size_t)grant->from * 4, table);
    }
    start = batch_offset(&t->index, &view, grant->from);
    end = batch_offset(&t->index, &view, grant->to);
    if (table + (end - start) != grant->len)
        return other_items(t);
    memcpy(out + table, view.data + start, end - start);
    return 0;
}

static int copy_grants(struct queue *q, struct grant *grants, size_t n, uint8_t *out)
{
    size_t offset = 0;

    for (size_t i = 0; i < n; i++) {
        int rc = copy_grant(q, &grants[i], out + offset);

        if (rc < 0)
            return rc;
        grants[i].offset = offset;
        offset += grants[i].len;
    }
    return 0;
}

/* Where the bytes go: the server's message, or memory of ours. */
static uint8_t *answer_bytes(struct request *request, struct get_memory *memory, size_t len)
{
    if (request->reply_buffer)
        return request->reply_buffer(request, len);
    memory->data = malloc(len);
    return memory->data;
}

int queue_fill(struct queue *q, const struct lease *lease, struct request *request)
{
    size_t n = list_grants(q, lease, NULL), len = 0;
    struct get_memory *memory;
    uint8_t *bytes;
    int rc;

    if (n == 0)
        return 0;
    memory = malloc(sizeof(*memory) + n * sizeof(memory->grants[0]));
    if (!memory)
        return -ENOMEM;
    memory->data = NULL;
    list_grants(q, lease, memory->grants);
    for (size_t i = 0; i < n; i++)
        len += memory->grants[i].len;

    bytes = answer_bytes(request, memory, len);
    rc = bytes ? copy_grants(q, memory->grants, n, bytes) : -ENOMEM;
    if (rc < 0) {
        free(memory->data);
        free(memory);
        return rc;
    }
    request->reply_memory = memory;
    request->reply_free = get_free;
    request->out.get.grants = memory->grants;
    request->out.get.n_grants = n;
    request->out.get.data = bytes;
    request->out.get.len = len;
    return 0;
}

void queue_unlease(struct queue *q, const struct lease *lease)
{
    for (size_t i = 0; i < lease->n_parts; i++) {
        struct settlement back = {.verb = SETTLE_RETURN,
                                  .batch = lease->parts[i].batch,
                                  .from = lease->parts[i].from,
                                  .to = lease->parts[i].to,
                                  .token = lease->token};
        uint64_t n_late = 0;

        /* Cuts nothing, as the parts end where spans do, and so cannot fail. */
        queue_settle(q, &back, NULL, &n_late);
    }
}
