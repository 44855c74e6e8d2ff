/* --import: see items_command.h. */
#include "transport/queued/items_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/queue/export.h"
#include "core/queue/import.h"
#include "transport/queued/command.h"
#include "transport/queued/datadir.h"
#include "transport/queued/input.h"
#include "transport/queued/service.h"
#include "transport/queued/shown.h"
#include "transport/queued/tar.h"

#define EXTENSION_MAX ((uint64_t)1 << 20) /* bytes of what a tar says before a file */

struct job {
    const struct items_command *command;
    struct datadir datadir;
    struct store *store;
    struct import *import;
    struct input input;
    uint64_t input_bytes;      /* of all, where that is known */
    uint64_t n_items, n_bytes; /* so far */
    struct shown shown;
    bool said; /* why it has failed */
};

/* It fails, with one line. */
static int refuse(struct job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct job *job, const char *format, ...)
{
    char why[512];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    job->said = true;
    log_error("%s; nothing was imported into %s", why, job->command->queue);
    return -EINVAL;
}

/* ---- the input ---- */

static int need(struct job *job, size_t len)
{
    int rc = input_need(&job->input, len);

    show(&job->shown, job->input.taken, job->input_bytes);
    return rc < 0 ? refuse(job, "cannot read stdin: %s", strerror(-rc)) : 0;
}

static int add(struct job *job, const uint8_t *bytes, size_t len)
{
    int rc = import_item(job->import, bytes, len);

    if (rc == IMPORT_TOO_LARGE)
        return refuse(job, "item %" PRIu64 " is larger than the queue's max_item_size, %zu bytes",
                      job->n_items + 1, import_max_item_size(job->import));
    if (rc == IMPORT_FULL)
        return refuse(job, "more items than the queue's maxsize leaves room for, which is %" PRIu64,
                      job->n_items);
    if (rc < 0)
        return rc;
    job->n_items++;
    job->n_bytes += len;
    return 0;
}

/* ---- lines, or between NULs ---- */

/* Its bytes are there, as far as they may go: *len of them, behind which *taken ends it. */
static int find_item(struct job *job, uint8_t separator, size_t *len, size_t *taken)
{
    size_t max = import_max_item_size(job->import), looked = 0;

    for (;;) {
        size_t there = job->input.len;
        const uint8_t *bytes = input_bytes(&job->input);
        const uint8_t *end =
            there > looked ? memchr(bytes + looked, separator, there - looked) : NULL;
        int rc;

        if (end) {
            *len = (size_t)(end - bytes);
            *taken = *len + 1;
            return 0;
        }
        if (job->input.ended || there > max) {
            *len = *taken = there;
            return 0;
        }
        looked = there;
        rc = need(job, there + 1);
        if (rc < 0)
            return rc;
    }
}

static int import_lines(struct job *job, uint8_t separator)
{
    for (;;) {
        size_t len = 0, taken = 0;
        int rc = find_item(job, separator, &len, &taken);

        if (rc == 0 && taken == 0)
            return 0; /* the end */
        if (rc == 0)
            rc = add(job, input_bytes(&job->input), len);
        if (rc < 0)
            return rc;
        input_take(&job->input, taken);
    }
}

/* ---- a tar ---- */

static int refuse_cut(struct job *job)
{
    return refuse(job, "the tar is cut off after %" PRIu64 " bytes, behind %" PRIu64 " files",
                  job->input.taken + job->input.len, job->n_items);
}

/* So many bytes, and what fills them up to a block, are there. */
static int need_bytes(struct job *job, uint64_t size)
{
    size_t len = (size_t)size + tar_padding(size);
    int rc = need(job, len);

    return rc == 0 && job->input.len < len ? refuse_cut(job) : rc;
}

static int next_header(struct job *job, struct tar_member *member)
{
    int rc = need(job, TAR_BLOCK);

    if (rc < 0)
        return rc;
    if (job->input.len < TAR_BLOCK)
        return job->input.taken == 0 ? refuse(job, "stdin is not a tar, and the queue's framing is "
                                                   "file")
                                     : refuse_cut(job);
    tar_read_header(input_bytes(&job->input), member);
    if (member->kind == TAR_NONE && job->input.taken == 0)
        return refuse(job,
                      "stdin is not a tar (a compressed one comes through gzip -d or the like), "
                      "and the queue's framing is file");
    if (member->kind == TAR_NONE || member->kind == TAR_DAMAGED)
        return refuse(job, "the tar is damaged at byte %" PRIu64 ", behind %" PRIu64 " files",
                      job->input.taken, job->n_items);
    input_take(&job->input, TAR_BLOCK);
    return 0;
}

/* Behind the first block of zeros: a second one, and nothing but zeros. */
static int finish_tar(struct job *job)
{
    bool second = false;

    for (;;) {
        int rc = need(job, TAR_BLOCK);
        size_t len = job->input.len;
        const uint8_t *bytes = input_bytes(&job->input);

        if (rc < 0)
            return rc;
        if (len == 0)
            return second ? 0 : refuse_cut(job);
        if (bytes[0] != 0 || memcmp(bytes, bytes + 1, len - 1) != 0)
            return refuse(job, "there is something behind the end of the tar, at byte %" PRIu64,
                          job->input.taken);
        second |= len >= TAR_BLOCK;
        input_take(&job->input, len);
    }
}

/* What is said of the next file, or of all. */
static int read_extension(struct job *job, const struct tar_member *member, struct tar_pax *next)
{
    struct tar_pax pax = {.has_size = false};
    int rc =
        member->size > EXTENSION_MAX
            ? refuse(job,
                     "file %" PRIu64 " of the tar has a name or attributes of %" PRIu64 " bytes",
                     job->n_items + 1, member->size)
            : need_bytes(job, member->size);

    if (rc < 0)
        return rc;
    if (member->kind != TAR_LONG &&
        !tar_read_pax(input_bytes(&job->input), (size_t)member->size, &pax))
        return refuse(job, "the tar's attributes of file %" PRIu64 " are damaged",
                      job->n_items + 1);
    if (member->kind == TAR_GLOBAL && (pax.has_size || pax.is_sparse))
        return refuse(job, "the tar says of all its files how large they are");
    if (member->kind == TAR_PAX)
        *next = pax;
    input_take(&job->input, (size_t)member->size + tar_padding(member->size));
    return 0;
}

static int read_file(struct job *job, const struct tar_member *member, const struct tar_pax *pax)
{
    uint64_t size = pax->has_size ? pax->size : member->size;
    int rc;

    if (member->kind == TAR_OTHER || pax->is_sparse)
        return refuse(job, "`%s' in the tar is %s: only files are items", member->name,
                      member->kind == TAR_OTHER ? member->what : "a sparse file");
    if (size > import_max_item_size(job->import))
        return refuse(
            job, "`%s' in the tar has %" PRIu64 " bytes, more than the queue's max_item_size, %zu",
            member->name, size, import_max_item_size(job->import));
    rc = need_bytes(job, size);
    if (rc == 0)
        rc = add(job, input_bytes(&job->input), (size_t)size);
    if (rc == 0)
        input_take(&job->input, (size_t)size + tar_padding(size));
    return rc;
}

static int import_tar(struct job *job)
{
    struct tar_pax pax = {.has_size = false};
    bool extended = false; /* there must be a file now */

    for (;;) {
        struct tar_member member;
        int rc = next_header(job, &member);

        if (rc < 0)
            return rc;
        if (member.kind == TAR_ZERO)
            return extended ? refuse_cut(job) : finish_tar(job);
        if (member.kind == TAR_FILE || member.kind == TAR_OTHER) {
            rc = read_file(job, &member, &pax);
            pax = (struct tar_pax){.has_size = false};
            extended = false;
        } else {
            rc = read_extension(job, &member, &pax);
            extended |= member.kind != TAR_GLOBAL;
        }
        if (rc < 0)
            return rc;
    }
}

/* ---- into a queue ---- */

/* By its first block. */
static int look_at(struct job *job, enum tar_kind *kind)
{
    struct tar_member member = {.kind = TAR_NONE};
    int rc = need(job, TAR_BLOCK);

    if (rc == 0 && job->input.len >= TAR_BLOCK)
        tar_read_header(input_bytes(&job->input), &member);
    *kind = member.kind;
    return rc;
}

/* Its settings in the file, or the defaults there, are those of a queue that is made. */
static void settings_of(const struct job *job, struct import_options *options,
                        struct queue_settings *settings)
{
    struct config *config = job->command->place.config;
    const struct config_queue *queue = NULL;
    uint64_t given = config->defaults_given;

    main_service_fill_owners(config, geteuid(), getegid());
    *settings = config->defaults.own;
    settings->owner = geteuid();
    settings->group = getegid();
    for (size_t i = 0; i < config->n_queues && !queue; i++) {
        if (strcmp(config->queues[i].name, job->command->queue) == 0)
            queue = &config->queues[i];
    }
    if (queue) {
        *settings = queue->settings.own;
        given = options->fields = queue->given;
    }
    options->settings = settings;
    options->grows = !(given & setting_bit(setting_find("max_item_size")));
    if (!(given & setting_bit(setting_find("framing"))))
        settings->framing = -1; /* as the input is */
}

static int begin(struct job *job, enum tar_kind kind)
{
    struct import_options options = {.store = job->store,
                                     .name = job->command->queue,
                                     .wall_us = clock_system.wall_us(&clock_system)};
    struct queue_settings settings;

    settings_of(job, &options, &settings);
    if (settings.framing < 0)
        settings.framing = kind == TAR_NONE ? FRAMING_LINE : FRAMING_FILE;
    return import_new(&options, &job->import);
}

static int end(struct job *job)
{
    int rc = import_end(job->import);

    if (rc == 0 || rc == -ENOSPC || rc == -ENOMEM)
        return rc;
    job->said = true;
    log_error("%s: %s: whether the items are in %s is not known; --export says so",
              job->datadir.path, strerror(-rc), job->command->queue);
    return rc;
}

static int import_items(struct job *job)
{
    enum tar_kind kind = TAR_NONE;
    enum framing framing;
    int rc = look_at(job, &kind);

    if (rc == 0)
        rc = begin(job, kind);
    if (rc < 0)
        return rc;
    framing = (enum framing)import_settings(job->import)->framing;
    if (framing == FRAMING_FILE)
        rc = import_tar(job);
    else if (kind != TAR_NONE && kind != TAR_ZERO)
        rc = refuse(job, "stdin is a tar, and the queue's framing is %s, not file",
                    framing == FRAMING_LINE ? "line" : "nul");
    else
        rc = import_lines(job, framing_separator(framing));
    return rc == 0 ? end(job) : rc;
}

/* ---- the store ---- */

static int open_store(struct job *job)
{
    char *path = items_command_dir(&job->command->place);
    int rc;

    job->said = true;
    if (!path)
        return -EINVAL;
    rc = datadir_open_import(&job->datadir, path, job->command->queue);
    free(path);
    if (rc == 0)
        rc = main_store_open(job->datadir.path, job->command->place.config, &job->store);
    job->said = rc < 0;
    return rc;
}

static int report(struct job *job)
{
    printf("%s: %" PRIu64 " items of %" PRIu64 " bytes were imported; the store is %s\n",
           job->command->queue, job->n_items, job->n_bytes, job->datadir.path);
    return fflush(stdout) == 0 ? 0 : -EIO;
}

static int import_all(struct job *job)
{
    int rc = open_store(job);

    if (rc == 0)
        rc = import_items(job);
    if (rc < 0 && !job->said)
        refuse(job, "%s: %s", job->datadir.path,
               rc == -ENOSPC ? "the store is full (store.max_bytes, store.min_free)"
                             : strerror(-rc));
    return rc;
}

int items_import(const struct items_command *command)
{
    struct job job = {.command = command, .datadir = {.lock_fd = -1}, .shown = shown_begin()};
    struct stat st;
    int rc;

    input_init(&job.input, STDIN_FILENO);
    if (fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode))
        job.input_bytes = (uint64_t)st.st_size;
    rc = import_all(&job);
    shown_end(&job.shown);
    if (rc == 0)
        rc = report(&job); /* at once: who is killed behind it has been told */
    import_free(job.import);
    if (job.store)
        job.store->ops->close(job.store);
    datadir_close(&job.datadir);
    input_fini(&job.input);
    return rc < 0 ? STATUS_FAILED : 0;
}
