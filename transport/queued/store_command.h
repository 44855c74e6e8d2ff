/*
 * What `queued` and `queuefs` do with a store instead of serving it: --verify DIR, --backup DIR
 * DEST, --export QUEUE, --import QUEUE. They print what they found or did, as a person or a program
 * reads it, and how far they are where stderr is a terminal. One thread.
 */
#ifndef QUEUEFS_TRANSPORT_QUEUED_STORE_COMMAND_H
#define QUEUEFS_TRANSPORT_QUEUED_STORE_COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include "transport/queued/command.h"
#include "transport/queued/items_command.h"

enum store_command_kind {
    STORE_COMMAND_NONE,
    STORE_COMMAND_VERIFY,
    STORE_COMMAND_BACKUP,
    STORE_COMMAND_EXPORT,
    STORE_COMMAND_IMPORT,
};

/* As the command line says it; borrowed from there. */
struct store_command {
    enum store_command_kind kind;
    const char *dir, *dest;
    bool json;                  /* of --verify */
    struct items_command items; /* of --export and --import */
};

#define STORE_COMMAND_HELP                                                                         \
    "      --verify=DIR       read all of the store in DIR, in use or not, and say\n"              \
    "                         what is damaged (status 1); --json: for programs\n"                  \
    "      --backup=DIR DEST  copy the store in DIR, in use or not, to DEST, or bring\n"           \
    "                         the copy up to date; to restore, start on it\n"                      \
    "      --export=QUEUE     write the items of QUEUE or QUEUE/dead to stdout:\n"                 \
    "                         lines, or a tar where framing is file; takes nothing\n"              \
    "      --import=QUEUE     put such items from stdin into QUEUE, all or none; the\n"            \
    "                         store is not in use\n"

enum {
    STORE_OPT_VERIFY = 512,
    STORE_OPT_BACKUP,
    STORE_OPT_EXPORT,
    STORE_OPT_IMPORT,
    STORE_OPT_JSON
};

/* Rows for getopt_long(). */
#define STORE_COMMAND_OPTIONS                                                                      \
    {"verify", required_argument, NULL, STORE_OPT_VERIFY},                                         \
        {"backup", required_argument, NULL, STORE_OPT_BACKUP},                                     \
        {"export", required_argument, NULL, STORE_OPT_EXPORT},                                     \
        {"import", required_argument, NULL, STORE_OPT_IMPORT},                                     \
    {                                                                                              \
        "json", no_argument, NULL, STORE_OPT_JSON                                                  \
    }

/* One of these, from getopt_long(). 0, or negative: refused, one line was printed. */
int store_command_option(struct store_command *store, int option, const char *value,
                         struct command *command);
/* The words behind the options, where kind is not STORE_COMMAND_NONE. The same. */
int store_command_places(struct store_command *store, int n, char **places,
                         struct command *command);

/* Whether settings and data directory are those of the program: `items.place` is to be filled. */
bool store_command_needs_place(const struct store_command *store);

/* The status to exit with. */
int store_command_run(const struct store_command *command);

#endif
