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
#include "transport/queued/shown.h"

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

static enum store_command_kind kind_of(int option)
{
    switch (option) {
    case STORE_OPT_VERIFY:
        return STORE_COMMAND_VERIFY;
    case STORE_OPT_BACKUP:
        return STORE_COMMAND_BACKUP;
    case STORE_OPT_EXPORT:
        return STORE_COMMAND_EXPORT;
    default:
        return STORE_COMMAND_IMPORT;
    }
}

int store_command_option(struct store_command *store, int option, const char *value,
                         struct command *command)
{
    enum store_command_kind kind = kind_of(option);

    if (option == STORE_OPT_JSON) {
        store->json = true;
        return 0;
    }
    if (store->kind != STORE_COMMAND_NONE && store->kind != kind)
        return command_refuse(command,
                              "one of --verify, --backup, --export and --import at a time");
    store->kind = kind;
    if (!store_command_needs_place(store))
        return command_set_once(command, &store->dir, value, "stores");
    if (!items_command_name_valid(value, kind == STORE_COMMAND_EXPORT))
        return command_refuse(command, "%s is not the name of a queue", value);
    return command_set_once(command, &store->items.queue, value, "queues");
}

int store_command_places(struct store_command *store, int n, char **places, struct command *command)
{
    int n_wanted = store->kind == STORE_COMMAND_BACKUP ? 1 : 0;

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

bool store_command_needs_place(const struct store_command *store)
{
    return store->kind == STORE_COMMAND_EXPORT || store->kind == STORE_COMMAND_IMPORT;
}

int store_command_run(const struct store_command *command)
{
    switch (command->kind) {
    case STORE_COMMAND_VERIFY:
        return verify(command);
    case STORE_COMMAND_BACKUP:
        return backup(command);
    case STORE_COMMAND_EXPORT:
        return items_export(&command->items);
    default:
        return items_import(&command->items);
    }
}
