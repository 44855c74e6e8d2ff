#include "transport/queued/store_command.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/store/backup.h"
#include "core/store/verify.h"
#include "transport/queued/command.h"

#define SHOW_US INT64_C(500000) /* between two lines of how far it is */

struct shown {
    int64_t due_us; /* TIME_FOREVER: nobody looks */
    bool any;
};

static struct shown shown_begin(void)
{
    return (struct shown){.due_us = isatty(STDERR_FILENO)
                                        ? clock_system.mono_us(&clock_system) + SHOW_US
                                        : TIME_FOREVER};
}

static void show(void *arg, uint64_t done, uint64_t all)
{
    struct shown *shown = arg;
    int64_t now_us;

    if (shown->due_us == TIME_FOREVER || all == 0)
        return;
    now_us = clock_system.mono_us(&clock_system);
    if (now_us < shown->due_us)
        return;
    fprintf(stderr, "\r%3u %% of %" PRIu64 " MiB", (unsigned)(done * 100 / all), all >> 20);
    shown->due_us = now_us + SHOW_US;
    shown->any = true;
}

static void shown_end(const struct shown *shown)
{
    if (shown->any)
        fputs("\r                              \r", stderr);
}

/* ---- --verify ---- */

static const char *const index_words[] = {
    [VERIFY_INDEX_RIGHT] = "right",         [VERIFY_INDEX_MISSING] = "missing",
    [VERIFY_INDEX_WRONG] = "wrong",         [VERIFY_INDEX_IN_USE] = "in use",
    [VERIFY_INDEX_CLOSED] = "not compared", [VERIFY_INDEX_AHEAD] = "not compared",
};

static_assert(sizeof(index_words) / sizeof(index_words[0]) == VERIFY_INDEX_STATES,
              "a word for each");

static bool is_damaged(const struct verify_report *report)
{
    return report->n_damaged > 0 || report->index == VERIFY_INDEX_WRONG;
}

/* In quotes; the rest of JSON's escapes cannot be needed by more than control characters. */
static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < ' ')
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_json(const char *dir, const struct verify_report *report)
{
    fputs("{\"store\": ", stdout);
    print_json_text(dir);
    printf(", \"damaged\": %s, \"in_use\": %s, \"segments\": %" PRIu64 ", \"log_bytes\": %" PRIu64
           ", \"records\": %" PRIu64 ", \"queues\": %" PRIu64 ", \"batches\": %" PRIu64
           ", \"items\": %" PRIu64 ", \"damaged_places\": %" PRIu64
           ", \"wrong_index_rows\": %" PRIu64 ", \"index\": \"%s\", \"found\": [",
           is_damaged(report) ? "true" : "false", report->in_use ? "true" : "false",
           report->n_segments, report->log_bytes, report->n_records, report->n_queues,
           report->n_batches, report->n_items, report->n_damaged, report->n_wrong_rows,
           index_words[report->index]);
    for (unsigned i = 0; i < report->n_found; i++) {
        if (i > 0)
            fputs(", ", stdout);
        print_json_text(report->found[i]);
    }
    puts("]}");
}

static void print_index(const struct verify_report *report)
{
    static const char *const texts[] = {
        [VERIFY_INDEX_RIGHT] = "the index is as the log has it",
        [VERIFY_INDEX_MISSING] = "there is no index: the next start makes it from the log",
        [VERIFY_INDEX_WRONG] = "the index is damaged, which loses nothing: remove index/ while "
                               "nothing runs, and the next start makes it from the log",
        [VERIFY_INDEX_IN_USE] = "the index is not compared: a service has the store in use",
        [VERIFY_INDEX_CLOSED] = "the index is not compared: it may only be read, and LMDB writes",
        [VERIFY_INDEX_AHEAD] =
            "the index is not compared: it may know more than the damaged log, so "
            "leave it where it is",
    };

    static_assert(sizeof(texts) / sizeof(texts[0]) == VERIFY_INDEX_STATES, "a text for each");
    puts(texts[report->index]);
}

static void print_report(const char *dir, const struct verify_report *report)
{
    uint64_t n_all = report->n_damaged + report->n_wrong_rows;

    for (unsigned i = 0; i < report->n_found; i++)
        puts(report->found[i]);
    if (n_all > report->n_found)
        printf("and %" PRIu64 " more\n", n_all - report->n_found);
    printf("%s: %" PRIu64 " segments of %" PRIu64 " MiB, %" PRIu64 " records; %" PRIu64
           " queues, %" PRIu64 " batches with %" PRIu64 " items (done ones of a batch included)\n",
           dir, report->n_segments, report->log_bytes >> 20, report->n_records, report->n_queues,
           report->n_batches, report->n_items);
    print_index(report);
    if (report->n_damaged > 0)
        printf("DAMAGED in %" PRIu64 " places of the log: what lay there is lost, all else is "
               "served; bring the store back from a backup if it is missing\n",
               report->n_damaged);
    else
        puts("the log is whole");
}

static int verify(const struct store_command *command)
{
    struct verify_report *report = malloc(sizeof(*report));
    struct shown shown = shown_begin();
    int rc = report ? store_verify(command->dir, show, &shown, report) : -ENOMEM, status;

    shown_end(&shown);
    if (rc < 0) {
        log_error("%s: %s", command->dir,
                  rc == -ENOENT ? "there is no store there" : strerror(-rc));
        free(report);
        return STATUS_FAILED;
    }
    if (command->json)
        print_json(command->dir, report);
    else
        print_report(command->dir, report);
    status = is_damaged(report) ? STATUS_FAILED : 0;
    free(report);
    return fflush(stdout) == 0 ? status : STATUS_FAILED;
}

/* ---- --backup ---- */

static int backup(const struct store_command *command)
{
    struct shown shown = shown_begin();
    struct backup_report report;
    int rc = store_backup(command->dir, command->dest, show, &shown, &report);

    shown_end(&shown);
    if (rc < 0)
        return STATUS_FAILED; /* it was said */
    printf("%s: %" PRIu64 " segments, %" PRIu64 " of them copied now, %" PRIu64
           " MiB; to restore, start on it, or on a copy of it\n",
           command->dest, report.n_segments, report.n_copied, report.copied_bytes >> 20);
    return fflush(stdout) == 0 ? 0 : STATUS_FAILED;
}

int store_command_option(struct store_command *store, int option, const char *value,
                         struct command *command)
{
    if (option == STORE_OPT_JSON) {
        store->json = true;
        return 0;
    }
    store->kind = option == STORE_OPT_VERIFY ? STORE_COMMAND_VERIFY : STORE_COMMAND_BACKUP;
    return command_set_once(command, &store->dir, value, "stores");
}

int store_command_places(struct store_command *store, int n, char **places, struct command *command)
{
    int n_wanted = store->kind == STORE_COMMAND_BACKUP ? 1 : 0;

    if (store->kind == STORE_COMMAND_NONE)
        return command_refuse(command, "--json is for --verify");
    if (store->json && store->kind != STORE_COMMAND_VERIFY)
        return command_refuse(command, "--json is for --verify");
    if (n > n_wanted)
        return command_refuse(command, "too many arguments: %s", places[n_wanted]);
    if (n < n_wanted)
        return command_refuse(command, "--backup needs DIR and DEST");
    if (n_wanted > 0)
        store->dest = places[0];
    return 0;
}

int store_command_run(const struct store_command *command)
{
    return command->kind == STORE_COMMAND_VERIFY ? verify(command) : backup(command);
}
