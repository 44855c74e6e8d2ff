/*
 * Turns one bit at a time in a store and sees what a service makes of it: no crash, no hang, no
 * start refused, no wrong item, none given that was done, nothing missing that is not counted and
 * named. Where the index is gone too, what was done in a damaged record may be given again.
 *
 *     flips [N [SEED]]     N bits of each kind: in the heads of segments and records, in the
 * changes of each table, anywhere, in the structure of the index; N pages that are lost, read as
 * zeros; one bit in each field of a segment, of records and of changes
 *
 * The store has queues with items in all states. Each bit is turned in a copy, which a child opens
 * and takes everything from. Prints a table; status 1 if anything was wrong.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/chain.h"
#include "core/crc32c.h"
#include "core/log.h"
#include "core/service/service_state.h"
#include "core/store/changes.h"
#include "core/store/commit_log.h"
#include "tests/stress/store_image.h"

#define SECOND   INT64_C(1000000)
#define HOUR     (3600 * SECOND)
#define PAGE     4096
#define N_QUEUES 5
#define N_ITEMS  400 /* of a queue, at most */
#define HANG_S   60
#define WHOLE    -1 /* not a bit, but its page */
#define LIFE     7  /* of the service */

enum fate { NONE, GIVABLE, DEAD, DONE };

/* Made before the first fork. */
static const char *const names[N_QUEUES] = {"alpha", "beta", "gamma", "delta", "omega"};
static enum fate fates[N_QUEUES][N_ITEMS + 1];
static uint64_t numbers[N_QUEUES];

static struct clock clock_of_ours;
static int64_t mono_us = 1000 * SECOND, wall_us = 1700000000 * SECOND;

/* What a child tells. */
static struct report {
    char text[400], line[300];
    unsigned n_lines, lost, set_aside;
    bool refused;
} * report;

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void wrong(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(report->text, sizeof(report->text), format, args);
    va_end(args);
    _exit(1);
}

static void on_log(enum log_level level, const char *message)
{
    if (level != LOG_LEVEL_ERROR)
        return;
    report->n_lines++;
    snprintf(report->line, sizeof(report->line), "%s", message);
}

static int64_t mono(const struct clock *clock)
{
    return mono_us;
}

static int64_t wall(const struct clock *clock)
{
    return wall_us;
}

/* ---- a service by hand ---- */

static struct service *service;

static int start(void)
{
    struct local_options where = {.dir = store_dir, .max_bytes = UINT64_C(64) << 20};
    struct service_options options = {.clock = &clock_of_ours, .id = LIFE};
    int rc = store_local_open(&where, &options.store);

    return rc < 0 ? rc : service_new(&options, &service);
}

static void done(struct request *request)
{
    *(bool *)request->owner = true;
}

static int run(struct request *request, enum request_kind kind, uint64_t queue, uint8_t session)
{
    struct backend *backend = service_backend(service);
    bool is_done = false;

    request->kind = kind;
    request->queue = queue;
    request->life = LIFE;
    request->session = (struct producer_id){.bytes = {session}};
    request->done = done;
    request->owner = &is_done;
    backend->submit(backend, request);
    for (int i = 0; i < 100 && !is_done; i++)
        service_round(service);
    if (!is_done)
        wrong("a request of kind %d is not answered", kind);
    return request->status;
}

static void later(int64_t us)
{
    mono_us += us;
    wall_us += us;
    service_round(service);
}

/* The item, newline and all. Every tenth of delta is large. */
static size_t item_text(char *out, int queue, int n)
{
    size_t len = (size_t)sprintf(out, "%s %d ", names[queue], n);
    size_t fill = queue == 3 && n % 10 == 0 ? 9000 : (size_t)(n * 7 % 50);

    for (size_t i = 0; i < fill; i++)
        out[len++] = (char)('a' + (i + (size_t)n) % 26);
    out[len++] = '\n';
    return len;
}

static uint64_t chains[N_QUEUES][UINT8_MAX + 1]; /* of what each session has put */

static int put(int queue, uint8_t session, uint64_t base, int first, int n, bool repeat)
{
    char *text = malloc((size_t)n * 9100);
    struct request request = {0};
    struct batch_view *batch = &request.in.put.batch;
    size_t len = 0;
    int rc;

    for (int i = 0; i < n; i++)
        len += item_text(text + len, queue, first + i);
    request.in.put.epoch = 1;
    request.in.put.base = base;
    *batch = (struct batch_view){.n_items = (uint32_t)n, .data = (uint8_t *)text, .len = len};
    batch->crc = crc32c(text, len);
    request.repeat = repeat;
    request.in.put.begins = base == 1;
    request.in.put.chain = base == 1 ? 0 : chains[queue][session];
    rc = run(&request, REQUEST_PUT, numbers[queue], session);
    chains[queue][session] = chain_append(request.in.put.chain, batch);
    free(text);
    request_release(&request);
    return rc;
}

static void settle(uint64_t queue, const struct grant *grant, enum settle_verb verb)
{
    struct settlement s = {verb, grant->batch, grant->from, grant->to, grant->token};
    struct request request = {.in.settle = {&s, 1}};

    if (run(&request, REQUEST_SETTLE, queue, 1) < 0)
        wrong("settling: %s", strerror(-request.status));
    request_release(&request);
}

static int get(struct request *request, uint64_t queue, enum get_kind kind, uint32_t max)
{
    *request = (struct request){.in.get = {.kind = kind, .max_items = max, .max_bytes = 1 << 20}};
    return run(request, REQUEST_GET, queue, 1);
}

/* n ready items of a queue end in a state. */
static void finish(int queue, enum get_kind kind, int n, int verb)
{
    while (n > 0) {
        struct request request;

        if (get(&request, numbers[queue], kind, (uint32_t)n) < 0 || request.out.get.n_grants == 0)
            wrong("building: nothing to get");
        for (size_t i = 0; i < request.out.get.n_grants; i++) {
            const struct grant *grant = &request.out.get.grants[i];
            int first = 0;

            sscanf((const char *)request.out.get.data + grant->offset, "%*s %d", &first);
            if (verb >= 0)
                settle(numbers[queue], grant, (enum settle_verb)verb);
            for (uint32_t k = grant->from; k < grant->to; k++, first++, n--)
                fates[queue][first] = verb == SETTLE_ACK    ? DONE
                                      : verb == SETTLE_BURY ? DEAD
                                                            : GIVABLE;
        }
        request_release(&request);
    }
}

static void build(void)
{
    if (start() < 0)
        wrong("building: start");
    for (int q = 0; q < N_QUEUES; q++) {
        struct all_settings all;
        struct request request = {.in.make = {.name = names[q], .settings = &all.own}};

        settings_default(&all);
        all.own.maxsize = 1000 * q;
        if (run(&request, REQUEST_MAKE, 0, 1) < 0)
            wrong("building: make");
        numbers[q] = request.out.make.entry.number;
        request_release(&request);
    }
    for (int q = 0; q < N_QUEUES - 1; q++) {
        for (int i = 0; i < 20; i++) {
            if (put(q, (uint8_t)(10 + i % 3), (uint64_t)(i / 3 * 20 + 1), i * 20 + 1, 20, false) <
                0)
                wrong("building: put");
        }
        for (int i = 1; i <= N_ITEMS; i++)
            fates[q][i] = GIVABLE;
    }
    finish(1, GET_STREAM, 30, SETTLE_ACK);
    finish(1, GET_CLAIM, 5, -1);
    finish(1, GET_CLAIM, 5, SETTLE_ACK);
    finish(2, GET_STREAM, 10, SETTLE_ACK);
    finish(2, GET_CLAIM, 15, SETTLE_BURY);
    finish(2, GET_CLAIM, 4, SETTLE_NACK);
    finish(2, GET_STREAM, 7, SETTLE_ACK);
    finish(2, GET_CLAIM, 3, SETTLE_NACK);
    finish(3, GET_CLAIM, 100, SETTLE_ACK);
    finish(3, GET_CLAIM, 20, SETTLE_BURY);
    service_stop(service);
    service_free(service);
}

/* ---- what a child sees ---- */

static uint8_t seen[N_QUEUES][N_ITEMS + 1];
static bool without_index;

/* What was done, or is dead, in a record that is damaged. */
static bool may_be_again(enum fate was, enum fate is)
{
    return without_index && report->n_lines > 0 && is == GIVABLE && (was == DONE || was == DEAD);
}

static void check_item(int queue, const char *text, size_t len, enum fate fate)
{
    char expected[9200];
    int n = 0;

    if (sscanf(text, "%*s %d ", &n) != 1 || n < 1 || n > N_ITEMS ||
        item_text(expected, queue, n) - 1 != len || memcmp(text, expected, len) != 0)
        wrong("%s gives what was not put: %.60s", names[queue], text);
    if (fates[queue][n] != fate && !may_be_again(fates[queue][n], fate))
        wrong("%s %d is given as %d and was %d", names[queue], n, fate, fates[queue][n]);
    if (seen[queue][n]++)
        wrong("%s %d is given twice", names[queue], n);
}

static void take_all(int queue, uint64_t number)
{
    for (;;) {
        struct request request;
        const char *at, *end;

        if (get(&request, number, GET_STREAM, 100) < 0)
            wrong("get of %s: %s", names[queue], strerror(-request.status));
        if (request.out.get.n_grants == 0)
            return;
        at = (const char *)request.out.get.data;
        end = at + request.out.get.len;
        for (const char *stop; at < end; at = stop + 1) {
            stop = memchr(at, '\n', (size_t)(end - at));
            if (!stop)
                wrong("%s gives half an item", names[queue]);
            check_item(queue, at, (size_t)(stop - at), GIVABLE);
        }
        for (size_t i = 0; i < request.out.get.n_grants; i++)
            settle(number, &request.out.get.grants[i], SETTLE_ACK);
        request_release(&request);
    }
}

static void look_at_dead(int queue, uint64_t number)
{
    uint64_t from = 0;

    do {
        struct request request = {
            .in.list = {.states = 1u << ITEM_DEAD, .from = from, .max_items = 1, .bytes = true}};

        if (run(&request, REQUEST_LIST, number, 1) < 0)
            wrong("list of %s: %s", names[queue], strerror(-request.status));
        if (request.out.list.n_items == 1) {
            char *text = strndup((const char *)request.out.list.data, request.out.list.len);

            check_item(queue, text, request.out.list.len, DEAD);
            free(text);
        }
        from = request.out.list.next;
        request_release(&request);
    } while (from);
}

/* What was stored once is not stored again, and the queue works. */
static void put_again(int queue, uint64_t number)
{
    struct request request;
    uint64_t told = report->n_lines;

    numbers[queue] = number;
    for (uint8_t session = 10; session < 13 && queue < N_QUEUES - 1; session++) {
        int rc = put(queue, session, 1, (session - 10) * 20 + 1, 20, true);

        if (rc < 0)
            wrong("a put into %s: %s", names[queue], strerror(-rc));
    }
    if (get(&request, number, GET_STREAM, 1) < 0)
        wrong("get of %s: %s", names[queue], strerror(-request.status));
    if (request.out.get.n_grants > 0 && told == 0)
        wrong("%s stores again what it had", names[queue]);
    request_release(&request);
    if (put(queue, 99, 1, 1, 1, false) < 0)
        wrong("%s takes nothing more", names[queue]);
}

#ifndef FLIPS_WITHOUT_COUNTERS
static uint64_t n_counted(void)
{
    struct store *store = service->options.store;
    struct store_space space = {0};

    store->ops->space(store, &space);
    return service->shared.damage.n_rows + space.damaged_rows;
}
#endif

static void check_queue(int queue, struct queue *q)
{
    uint64_t number = q->record.number;
    struct queue_state state;
    unsigned missing = 0;

    take_all(queue, number);
    look_at_dead(queue, number);
    for (int n = 1; n <= N_ITEMS; n++)
        missing += !seen[queue][n] && (fates[queue][n] == GIVABLE || fates[queue][n] == DEAD);
    queue_state(q, &state);
    report->lost += missing;
    if (missing > 0)
        report->set_aside++;
    if (missing > 0 && report->n_lines == 0)
        wrong("%s lacks %u items without a word", names[queue], missing);
#ifndef FLIPS_WITHOUT_COUNTERS
    if (!without_index && state.damaged_items < missing)
        wrong("%s lacks %u items and counts %llu", names[queue], missing,
              (unsigned long long)state.damaged_items);
    if (missing > 0 && n_counted() == 0)
        wrong("%s lacks %u items and no row is counted", names[queue], missing);
#endif
    put_again(queue, number);
}

/* Its name is free, and what is made under it is empty. */
static void check_lost(int queue)
{
    struct all_settings all;
    struct request request = {.in.make = {.name = names[queue], .settings = &all.own}}, first;

    settings_default(&all);
    report->set_aside++;
    for (int n = 1; n <= N_ITEMS; n++)
        report->lost += fates[queue][n] == GIVABLE || fates[queue][n] == DEAD;
    if (report->n_lines == 0)
        wrong("%s is gone without a word", names[queue]);
    if (run(&request, REQUEST_MAKE, 0, 1) < 0)
        wrong("%s cannot be made again: %s", names[queue], strerror(-request.status));
    if (get(&first, request.out.make.entry.number, GET_STREAM, 1) < 0 || first.out.get.n_grants > 0)
        wrong("a new %s has items", names[queue]);
    request_release(&first);
    request_release(&request);
}

static void check_store(bool one)
{
    unsigned n_hit = 0;
    int rc = start();

    if (rc < 0) {
        report->refused = true;
        wrong("refused: %s", strerror(-rc));
    }
    later(HOUR); /* leases and delays end */
    for (int i = 0; i < N_QUEUES; i++) {
        struct queue *q = service_find_name(service, names[i]);

        if (q && q->record.number != numbers[i])
            wrong("%s has another number", names[i]);
        if (q)
            check_queue(i, q);
    }
    for (int i = 0; i < N_QUEUES; i++) {
        if (!service_find_name(service, names[i]))
            check_lost(i);
    }
    n_hit = report->set_aside;
    if (n_hit > 1 && one)
        wrong("%u queues are hit", n_hit);
    if (service->failed)
        wrong("the store failed: %s", strerror(-service->failed));
    service_stop(service);
    service_free(service);
}

/* ---- the bits ---- */

struct kind {
    const char *name;
    struct image *image; /* store_image.h */
    size_t *at;          /* bytes */
    size_t n, cap;
    bool each;          /* of its bytes is tried, not some */
    bool whole_pages;   /* lost */
    bool without_index; /* which is gone */
    unsigned tried, clean, lost_some, refused, crashed, hung, bad;
    unsigned long lost;
};

static void add(struct kind *kind, size_t at)
{
    if (kind->n == kind->cap) {
        kind->cap = kind->cap ? 2 * kind->cap : 1024;
        kind->at = realloc(kind->at, kind->cap * sizeof(*kind->at));
    }
    kind->at[kind->n++] = at;
}

/* The log: heads of records, and of each table the heads of its changes and some of their data. */
static void find_records(struct kind *heads, struct kind *tables)
{
    const uint8_t *log = store_log->bytes;
    size_t at = COMMIT_LOG_FIRST;

    while (at + COMMIT_LOG_HEAD <= store_log->len && get_le32(log + at) != 0) {
        size_t len = (size_t)get_le64(log + at + 16), from = 0;
        const uint8_t *body = log + at + COMMIT_LOG_HEAD;
        struct change change;

        for (size_t i = 0; i < COMMIT_LOG_HEAD; i++)
            add(heads, at + i);
        while (changes_next(body, len, &from, &change) == 0) {
            size_t n = change.len < 300 ? change.len : 300;

            for (size_t i = 0; i < CHANGE_HEAD + n; i++)
                add(&tables[change.key.table], (size_t)(change.data - log) - CHANGE_HEAD + i);
        }
        at += (COMMIT_LOG_HEAD + len + 7) / 8 * 8;
    }
}

static void add_all(struct kind *kind, size_t at, const uint8_t *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add(kind, at + fields[i]);
}

/* Each field of a segment's head, of a record's (the first, the last, one between) and of a
 * change's, with the first byte of its data, of each table. */
static void find_fields(struct kind *kind)
{
    static const uint8_t segment[] = {0, 4, 8, 16, 24, 32}, record[] = {0, 4, 8, 16, 24, 32, 36},
                         change_of[] = {0, 1, 2, 4, 8, 16, 24, 32};
    const uint8_t *log = store_log->bytes;
    size_t at = COMMIT_LOG_FIRST, last = 0;
    bool met[INDEX_TABLES] = {false};

    add_all(kind, 0, segment, sizeof(segment));
    for (size_t n = 0; at + COMMIT_LOG_HEAD <= store_log->len && get_le32(log + at) != 0; n++) {
        size_t len = (size_t)get_le64(log + at + 16), from = 0;
        struct change change;

        if (n == 0 || n == 20)
            add_all(kind, at, record, sizeof(record));
        while (changes_next(log + at + COMMIT_LOG_HEAD, len, &from, &change) == 0) {
            if (change.verb == CHANGE_PUT && !met[change.key.table])
                add_all(kind, (size_t)(change.data - log) - CHANGE_HEAD, change_of,
                        sizeof(change_of));
            met[change.key.table] |= change.verb == CHANGE_PUT;
        }
        last = at;
        at += (COMMIT_LOG_HEAD + len + 7) / 8 * 8;
    }
    add_all(kind, last, record, sizeof(record));
}

/* The index: heads of pages, their tables of places, and the heads of their nodes. */
static void find_structure(struct kind *kind)
{
    const uint8_t *index = store_index_file->bytes;

    for (size_t page = 2 * PAGE; page + PAGE <= store_index_file->len; page += PAGE) {
        uint16_t flags, lower;

        memcpy(&flags, index + page + 10, 2);
        memcpy(&lower, index + page + 12, 2);
        if (!(flags & 3) || lower > PAGE)
            continue;
        for (size_t i = 0; i < lower; i++)
            add(kind, page + i);
        for (size_t i = 16; i + 2 <= lower; i += 2) {
            uint16_t node;

            memcpy(&node, index + page + i, 2);
            for (size_t k = 0; k < 8 && node + k < PAGE; k++)
                add(kind, page + node + k);
        }
    }
}

/* ---- one ---- */

static uint8_t kept_page[PAGE];

static void flip(struct kind *kind, size_t at, int bit)
{
    uint8_t *bytes = kind->image->bytes;
    int status;
    pid_t pid;

    if (bit == WHOLE) {
        memcpy(kept_page, bytes + at, PAGE);
        memset(bytes + at, 0, PAGE);
    } else {
        bytes[at] ^= (uint8_t)(1 << bit);
    }
    if (images_write(!kind->without_index) < 0)
        wrong("%s: %s", store_dir, strerror(errno));
    if (bit == WHOLE)
        memcpy(bytes + at, kept_page, PAGE);
    else
        bytes[at] ^= (uint8_t)(1 << bit);
    without_index = kind->without_index;
    memset(report, 0, sizeof(*report));
    pid = fork();
    if (pid == 0) {
        alarm(HANG_S);
        check_store(bit != WHOLE && !without_index);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    kind->tried++;
    kind->lost += report->lost;
    if (status == 0 && report->refused)
        kind->refused++;
    else if (status == 0 && report->lost > 0)
        kind->lost_some++;
    else if (status == 0)
        kind->clean++;
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        kind->hung++;
    else if (WIFSIGNALED(status) || !report->text[0])
        kind->crashed++;
    else
        kind->bad++;
    if (status != 0)
        fprintf(stderr, "# byte %zu (page %zu, %zu) bit %d of %s: status %x: %s; %s\n", at,
                at / PAGE, at % PAGE, bit, kind->name, status, report->text, report->line);
}

static void try_some(struct kind *kind, unsigned n)
{
    for (unsigned i = 0; i < n && kind->n > 0; i++)
        flip(kind, kind->at[(size_t)random() % kind->n],
             kind->whole_pages ? WHOLE : (int)(random() % 8));
}

/* One bit of each of its bytes. */
static void try_each(struct kind *kind)
{
    for (size_t i = 0; i < kind->n; i++)
        flip(kind, kind->at[i], (int)(random() % 8));
}

/* ---- all ---- */

static int print(const struct kind *kind)
{
    printf("%-12s %6u %6u %9u %6lu %7u %7u %4u %5u\n", kind->name, kind->tried, kind->clean,
           kind->lost_some, kind->lost, kind->refused, kind->crashed, kind->hung, kind->bad);
    return kind->crashed + kind->hung + kind->bad > 0;
}

static void clean_up(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", store_dir);
    if (system(command) != 0)
        fprintf(stderr, "%s is left\n", store_dir);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
    unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    static struct kind kinds[] = {
        {.name = "segment"},
        {.name = "records"},
        {.name = "meta"},
        {.name = "queues"},
        {.name = "batches"},
        {.name = "marks"},
        {.name = "producers"},
        {.name = "log"},
        {.name = "log alone", .without_index = true},
        {.name = "log pages", .whole_pages = true},
        {.name = "index heads"},
        {.name = "structure"},
        {.name = "index"},
        {.name = "index pages", .whole_pages = true},
        {.name = "fields", .each = true},
        {.name = "fields alone", .each = true, .without_index = true},
    };
    const size_t n_kinds = sizeof(kinds) / sizeof(kinds[0]);
    const struct rlimit no_core = {0, 0};
    int rc = 0;

    setrlimit(RLIMIT_CORE, &no_core);
    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    clock_of_ours = (struct clock){mono, wall};
    log_set_sink("flips", on_log);
    if (report == MAP_FAILED || !mkdtemp(store_dir))
        return 2;
    build();
    if (images_read() < 0)
        wrong("no log, or no index: %s", strerror(errno));
    for (size_t i = 0; i < n_kinds; i++)
        kinds[i].image = i < 10 || kinds[i].each ? store_log : store_index_file;
    for (size_t i = 0; i < 40; i++)
        add(&kinds[0], i);
    find_records(&kinds[1], &kinds[2]);
    for (size_t i = 0; i < kinds[1].at[kinds[1].n - 1]; i++) {
        add(&kinds[7], i);
        add(&kinds[8], i);
    }
    for (size_t i = 0; i + PAGE < kinds[1].at[kinds[1].n - 1]; i += PAGE)
        add(&kinds[9], i);
    for (size_t i = 0; i < 2 * PAGE; i += i % PAGE == 200 ? PAGE - 200 : 1)
        add(&kinds[10], i);
    find_structure(&kinds[11]);
    find_fields(&kinds[14]);
    find_fields(&kinds[15]);
    for (size_t i = 0; i < store_index_file->len; i++)
        add(&kinds[12], i);
    for (size_t i = 0; i < store_index_file->len / PAGE; i++)
        add(&kinds[13], i * PAGE);

    srandom(seed);
    printf("seed %u, %zu bytes of log, %zu pages of index\n%-12s %6s %6s %9s %6s %7s %7s %4s %5s\n",
           seed, kinds[1].at[kinds[1].n - 1], store_index_file->len / PAGE, "bits of", "tried",
           "clean", "lost some", "items", "refused", "crashed", "hung", "wrong");
    for (size_t i = 0; i < n_kinds; i++) {
        if (kinds[i].each)
            try_each(&kinds[i]);
        else
            try_some(&kinds[i], n);
        rc |= print(&kinds[i]);
        free(kinds[i].at);
    }
    images_free();
    clean_up();
    return rc;
}
