/* --export: see items_command.h. */
#include "transport/queued/items_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/queue/export.h"
#include "core/store/reader.h"
#include "transport/queued/command.h"
#include "transport/queued/shown.h"
#include "transport/queued/tar.h"

#define BUFFER    ((size_t)1 << 20)
#define PASSES    1000 /* over a store in use that moves on */
#define NAMES_MAX 20   /* of queues, in a line */

struct output {
    int fd;
    uint8_t *bytes; /* owned; BUFFER of them */
    size_t len;
    uint64_t written; /* those in `bytes`, too */
};

struct job {
    const struct items_command *command;
    char *dir;
    struct export export;
    enum framing framing;
    struct output output;
    uint64_t n_items, n_unfit; /* written, and left out: they hold a separator */
    uint64_t n_damaged;        /* places of the log, of this pass */
    bool damaged;              /* any was, which was said */
    struct shown shown;
    bool said; /* why it has failed */
};

/* ---- bytes to where they go ---- */

static int write_all(struct output *output, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(output->fd, bytes, len);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int flush(struct output *output)
{
    size_t len = output->len;

    output->len = 0;
    return write_all(output, output->bytes, len);
}

static int put(struct output *output, const void *bytes, size_t len)
{
    int rc = 0;

    output->written += len;
    if (len > BUFFER - output->len)
        rc = flush(output);
    if (rc == 0 && len > BUFFER)
        return write_all(output, bytes, len);
    if (rc < 0 || len == 0)
        return rc;
    memcpy(output->bytes + output->len, bytes, len);
    output->len += len;
    return 0;
}

static int cannot_write(struct job *job, int rc)
{
    job->said = true;
    log_error("cannot write the items of %s to stdout: %s", job->command->queue, strerror(-rc));
    return rc;
}

/* ---- items ---- */

static int put_file(struct job *job, const struct export_item *item)
{
    static const uint8_t zeros[TAR_BLOCK];
    char name[ITEM_ID_DIGITS + 1];
    uint8_t block[TAR_BLOCK];
    int rc;

    item_id_format(item->id, name);
    tar_write_header(block, name, item->len, item->put_time_us / 1000000);
    rc = put(&job->output, block, sizeof(block));
    if (rc == 0)
        rc = put(&job->output, item->bytes, item->len);
    if (rc == 0)
        rc = put(&job->output, zeros, tar_padding(item->len));
    return rc;
}

/* One that was put while the framing was another. */
static int leave_out(struct job *job, const struct export_item *item)
{
    char name[ITEM_ID_DIGITS + 1];

    item_id_format(item->id, name);
    if (job->n_unfit++ == 0)
        log_error("item %s of queue %s holds a %s, which separates items in its framing: set "
                  "`framing: file' and a tar is written",
                  name, job->export.record.name, job->framing == FRAMING_LINE ? "newline" : "NUL");
    return 0;
}

static int put_line(struct job *job, const struct export_item *item)
{
    const uint8_t separator = framing_separator(job->framing);
    int rc;

    if (item->len > 0 && memchr(item->bytes, separator, item->len))
        return leave_out(job, item);
    rc = put(&job->output, item->bytes, item->len);
    return rc == 0 ? put(&job->output, &separator, 1) : rc;
}

static int on_item(void *owner, const struct export_item *item)
{
    struct job *job = owner;
    uint64_t n_unfit = job->n_unfit;
    int rc = job->framing == FRAMING_FILE ? put_file(job, item) : put_line(job, item);

    job->n_items += rc == 0 && n_unfit == job->n_unfit;
    return rc < 0 ? cannot_write(job, rc) : 0;
}

/* ---- the store ---- */

static int open_store(struct job *job)
{
    const struct reader_options options = {.dir = job->dir, .progress = show, .arg = &job->shown};
    int rc = store_reader_open(&options, &job->export.store, &job->n_damaged);

    if (rc == 0)
        return 0;
    job->said = true;
    log_error("%s: %s", job->dir,
              rc == -ENOENT    ? "there is no store there"
              : rc == -EAGAIN  ? "the store moves on faster than it can be read"
              : rc == -EBADMSG ? "it holds segments of two stores, or of another version"
                               : strerror(-rc));
    return rc;
}

static void close_store(struct job *job)
{
    if (job->export.store)
        job->export.store->ops->close(job->export.store);
    job->export.store = NULL;
}

/* Which queues there are, as many as a line takes. */
static void say_unknown(struct job *job, const char *name)
{
    struct store *store = job->export.store;
    struct queue_record record = {.number = 0};
    char *names = NULL;
    size_t size, n = 0;
    FILE *text = open_memstream(&names, &size);
    int rc = 0;

    for (; text; n += rc == 0) {
        rc = store->ops->queue_next(store, record.number + 1, &record);
        if (rc < 0 && rc != -EBADMSG)
            break;
        if (rc == 0 && n < NAMES_MAX)
            fprintf(text, "%s%s", n > 0 ? ", " : "", record.name);
    }
    if (text && fclose(text) != 0)
        n = 0;
    if (n == 0)
        log_error("%s has no queue %s: it has none", job->dir, name);
    else
        log_error("%s has no queue %s: it has %s%s", job->dir, name, names,
                  n > NAMES_MAX ? ", and others" : "");
    free(names);
}

/* Of the same queue each time. */
static int find_queue(struct job *job)
{
    struct export *export = &job->export;
    uint64_t before = export->record.number;
    char name[QUEUE_NAME_MAX + 1];
    int rc;

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(job->command->queue, "/"),
             job->command->queue);
    export->dead = strchr(job->command->queue, '/') != NULL;
    rc = queue_by_name(export->store, name, &export->record);
    if (rc == 0 && (before == 0 || before == export->record.number))
        return 0;
    if (rc < 0 && rc != -ENOENT)
        return rc;
    job->said = true;
    if (before == 0)
        say_unknown(job, name);
    else
        log_error("queue %s was removed while its items were written", name);
    return -ENOENT;
}

/* How they are written does not change on the way. */
static int begin(struct job *job)
{
    job->framing = (enum framing)job->export.record.settings.framing;
    if (job->framing != FRAMING_FILE || !isatty(job->output.fd))
        return 0;
    job->said = true;
    log_error("the items of %s are written as a tar, and stdout is a terminal: give a file, or tar "
              "-tv behind a pipe",
              job->command->queue);
    return -EINVAL;
}

/* Once. What lay there may have been of any queue, or the queue itself. */
static void say_damaged(struct job *job)
{
    if (!job->damaged)
        log_error("%s is damaged in %" PRIu64 " places of its log, which --verify names: what lay "
                  "there is left out",
                  job->dir, job->n_damaged);
    job->damaged = true;
}

static int pass(struct job *job, bool first)
{
    int rc = open_store(job);

    if (rc == 0 && job->n_damaged > 0)
        say_damaged(job);
    if (rc == 0)
        rc = find_queue(job);
    if (rc == 0 && first)
        rc = begin(job);
    if (rc == 0)
        rc = export_items(&job->export);
    close_store(job);
    return rc;
}

static int end(struct job *job)
{
    static const uint8_t zeros[TAR_BLOCK];
    int rc = 0;

    for (int i = 0; rc == 0 && i < TAR_END && job->framing == FRAMING_FILE; i++)
        rc = put(&job->output, zeros, sizeof(zeros));
    if (rc == 0)
        rc = flush(&job->output);
    if (rc == 0 && close(job->output.fd) < 0)
        rc = -errno;
    return rc < 0 ? cannot_write(job, rc) : 0;
}

static int export_all(struct job *job)
{
    int rc = -EAGAIN;

    for (int i = 0; i < PASSES && rc == -EAGAIN; i++)
        rc = pass(job, i == 0);
    if (rc == 0)
        rc = end(job);
    if (rc < 0 && !job->said)
        log_error("cannot export %s from %s: %s", job->command->queue, job->dir, strerror(-rc));
    return rc;
}

static bool is_whole(const struct job *job)
{
    uint64_t n_lost = job->export.n_lost;

    if (n_lost > 0 || job->n_unfit > 0)
        log_error("%s: %" PRIu64 " items were written; left out: %" PRIu64
                  " batches that are damaged, %" PRIu64 " items that hold a separator",
                  job->command->queue, job->n_items, n_lost, job->n_unfit);
    return !job->damaged && n_lost == 0 && job->n_unfit == 0;
}

int items_export(const struct items_command *command)
{
    struct job job = {
        .command = command,
        .dir = items_command_dir(&command->place),
        .export = {.item = on_item, .from = 1},
        .output = {.fd = STDOUT_FILENO, .bytes = malloc(BUFFER)},
        .shown = shown_begin(),
    };
    int rc = job.dir && job.output.bytes ? 0 : -ENOMEM;

    job.export.owner = &job;
    if (rc == 0)
        rc = export_all(&job);
    shown_end(&job.shown);
    if (rc == 0 && !is_whole(&job))
        rc = -EBADMSG;
    free(job.output.bytes);
    free(job.dir);
    return rc < 0 ? STATUS_FAILED : 0;
}
