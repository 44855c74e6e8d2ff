/* The service behind the consumer under test: its items and what it does for a request. */
#include "tests/core/get/consumer_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the service's queue ---- */

static void count_state(struct rig *rig)
{
    rig->state.revision++;
    rig->state.depth = rig_count(rig, ITEM_READY);
    rig->state.leased = rig_count(rig, ITEM_LEASED);
}

static void add_item(struct rig *rig, struct item item, const void *data)
{
    if (rig->n_items == rig->cap_items) {
        rig->cap_items = rig->cap_items ? rig->cap_items * 2 : 64;
        rig->items = realloc(rig->items, rig->cap_items * sizeof(*rig->items));
        cr_assert_not_null(rig->items);
    }
    item.data = malloc(item.len + 1);
    cr_assert_not_null(item.data);
    memcpy(item.data, data, item.len);
    rig->items[rig->n_items++] = item;
    rig->state.depth++;
}

void rig_put(struct rig *rig, uint64_t batch, enum framing framing, const char *text)
{
    struct item item = {.batch = batch, .framing = framing};
    const char *end;

    if (framing == FRAMING_FILE) {
        item.len = strlen(text);
        while (rig->n_items > 0 && rig->items[rig->n_items - 1].batch == batch &&
               item.index <= rig->items[rig->n_items - 1].index)
            item.index++;
        add_item(rig, item, text);
        return;
    }
    for (; *text; text = end, item.index++) {
        end = strchr(text, '\n') + 1;
        item.len = (size_t)(end - text);
        add_item(rig, item, text);
        if (framing == FRAMING_NUL)
            rig->items[rig->n_items - 1].data[item.len - 1] = '\0';
    }
}

void rig_put_many(struct rig *rig, uint64_t batch, uint32_t n, size_t len)
{
    struct item item = {.batch = batch, .framing = FRAMING_LINE, .len = len};
    char *line = malloc(len + 64);

    cr_assert_not_null(line);
    for (item.index = 0; item.index < n; item.index++) {
        memset(line, '.', len);
        line[snprintf(line, len, "%lu:%u", (unsigned long)batch, item.index)] = '.';
        line[len - 1] = '\n';
        add_item(rig, item, line);
    }
    free(line);
}

size_t rig_count(const struct rig *rig, enum item_state state)
{
    size_t i, n = 0;

    for (i = 0; i < rig->n_items; i++)
        n += rig->items[i].state == state;
    return n;
}

/* ---- answers ---- */

struct answer {
    struct grant *grants;
    uint8_t *data;
};

static void answer_free(struct request *request)
{
    struct answer *answer = request->reply_memory;

    free(answer->grants);
    free(answer->data);
    free(answer);
}

static int64_t rig_lease_end(const struct rig *rig, const struct request *request)
{
    bool claim = request->in.get.kind == GET_CLAIM;

    return claim ? rig->now_us + rig->settings.own.lease_us : TIME_FOREVER;
}

static void lease(struct rig *rig, struct request *request)
{
    size_t i, bytes = 0;
    uint32_t n = 0;

    rig->token++;
    for (i = 0; i < rig->n_items && n < request->in.get.max_items; i++) {
        struct item *item = &rig->items[i];

        if (item->state != ITEM_READY)
            continue;
        if (n > 0 && bytes + item->len > request->in.get.max_bytes)
            break;
        bytes += item->len;
        n++;
        item->state = ITEM_LEASED;
        item->token = rig->token;
        item->holder = request->number;
        item->n_leases++;
        item->first_us = rig->now_us;
        item->until_us = rig_lease_end(rig, request);
    }
    if (n == 0)
        rig->armed = rig->armed || request->in.get.arm;
}

static int64_t rig_lease_us(const struct request *request, const struct item *item)
{
    const struct rig *rig = request->owner;

    return item->until_us == TIME_FOREVER ? TIME_FOREVER : item->until_us - rig->now_us;
}

static bool continues(const struct grant *grant, const struct item *item)
{
    return grant->batch == item->batch && grant->to == item->index &&
           grant->framing == item->framing;
}

/* Framing file: the table stands before the items, so its grants are of one item each. */
static void lay_out(struct answer *answer, struct request *request, const struct item *item)
{
    size_t n = request->out.get.n_grants;
    struct grant *grant = n > 0 ? &answer->grants[n - 1] : NULL;
    bool file = item->framing == FRAMING_FILE;
    uint8_t table[4] = {(uint8_t)item->len, (uint8_t)(item->len >> 8), (uint8_t)(item->len >> 16),
                        (uint8_t)(item->len >> 24)};

    if (!grant || file || !continues(grant, item)) {
        grant = &answer->grants[request->out.get.n_grants++];
        *grant = (struct grant){.batch = item->batch,
                                .from = item->index,
                                .to = item->index,
                                .token = item->token,
                                .lease_us = rig_lease_us(request, item),
                                .put_time_us = 5,
                                .deliveries = item->n_leases - 1,
                                .framing = item->framing,
                                .offset = request->out.get.len};
    }
    if (file) {
        memcpy(answer->data + request->out.get.len, table, 4);
        request->out.get.len += 4;
    }
    memcpy(answer->data + request->out.get.len, item->data, item->len);
    request->out.get.len += item->len;
    grant->to++;
    grant->len = request->out.get.len - grant->offset;
}

static void get(struct rig *rig, struct request *request)
{
    struct answer *answer = calloc(1, sizeof(*answer));
    size_t i, n = 0, bytes = 0;
    bool before = false;

    cr_assert_not_null(answer);
    for (i = 0; i < rig->n_items; i++)
        before = before || rig->items[i].holder == request->number;
    if (!before)
        lease(rig, request);
    for (i = 0; i < rig->n_items; i++)
        if (rig->items[i].holder == request->number) {
            n++;
            bytes += rig->items[i].len + 4;
        }
    answer->grants = calloc(n + 1, sizeof(*answer->grants));
    answer->data = malloc(bytes + 1);
    request->out.get.n_grants = request->out.get.len = 0;
    for (i = 0; i < rig->n_items; i++)
        if (rig->items[i].holder == request->number)
            lay_out(answer, request, &rig->items[i]);
    request->out.get.grants = answer->grants;
    request->out.get.data = answer->data;
    request->reply_memory = answer;
    request->reply_free = answer_free;
}

static void settle_item(struct rig *rig, struct item *item, enum settle_verb verb)
{
    const struct queue_settings *own = &rig->settings.own;

    if (verb == SETTLE_RENEW) {
        item->n_renewals++;
        item->until_us = time_min(rig->now_us + own->lease_us, item->first_us + own->lease_max_us);
        return;
    }
    item->state = verb == SETTLE_ACK ? ITEM_DONE : verb == SETTLE_BURY ? ITEM_DEAD : ITEM_READY;
    item->holder = 0;
}

static void settle(struct rig *rig, struct request *request)
{
    size_t i, j;

    cr_assert_geq(request->in.settle.n_items, 1);
    cr_assert_leq(request->in.settle.n_items, REQUEST_SETTLEMENTS_MAX);
    request->out.settle.n_late = 0;
    for (j = 0; j < request->in.settle.n_items; j++) {
        const struct settlement *s = &request->in.settle.items[j];
        uint32_t n = 0;

        cr_assert_lt(s->from, s->to);
        for (i = 0; i < rig->n_items; i++) {
            struct item *item = &rig->items[i];

            if (item->batch != s->batch || item->index < s->from || item->index >= s->to)
                continue;
            n++;
            if (item->state != ITEM_LEASED || item->token != s->token) {
                request->out.settle.n_late++;
                continue;
            }
            settle_item(rig, item, s->verb);
        }
        cr_assert_eq(n, s->to - s->from);
    }
    rig->n_late += request->out.settle.n_late;
}

void rig_expire(struct rig *rig)
{
    size_t i;

    for (i = 0; i < rig->n_items; i++) {
        struct item *item = &rig->items[i];

        if (item->state != ITEM_LEASED || item->until_us > rig->now_us)
            continue;
        item->state = ITEM_READY;
        item->holder = 0;
    }
    count_state(rig);
}

void rig_execute(struct rig *rig, struct request *request)
{
    if (request->kind == REQUEST_GET)
        get(rig, request);
    else if (request->kind == REQUEST_SETTLE)
        settle(rig, request);
    else if (rig_count(rig, ITEM_READY) > 0)
        request->out.arm.kinds = EVENT_READY;
    else
        rig->armed = true;
    count_state(rig);
}
