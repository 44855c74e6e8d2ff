/*
 * What the command lines of both programs have in common: options that may be given once, lists of
 * addresses that replace those of the settings file, and one line for what is wrong. One thread.
 */
#ifndef QUEUEFS_TRANSPORT_QUEUED_COMMAND_H
#define QUEUEFS_TRANSPORT_QUEUED_COMMAND_H

#include <stddef.h>

#include "config/config.h"

/* Statuses of the programs. */
#define STATUS_FAILED 1
#define STATUS_USAGE  2

/* Positive outcome of reading the options: it was --help or --version, all is done. */
#define OPTIONS_DONE 1

struct command {
    const char *program;
    int status; /* what the program exits with, once something was wrong */
};

/* Each of the following returns 0, or negative errno: then one line was printed. */

/* Wrong usage: say so. */
int command_refuse(struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int command_no_memory(struct command *command);

/* A text that may be given once; `what` is its plural. *text borrows it. */
int command_set_once(struct command *command, const char **text, const char *value,
                     const char *what);

/* One more address for a list of CONFIG_ADDRESSES_MAX; `wrong`: what its check says of it. */
int command_add_address(struct command *command, const char **list, size_t *n, const char *address,
                        const char *wrong);

/* Put `n` addresses in the place of those of the file, if there are any. */
int command_replace_addresses(struct command *command, char **list, size_t *n_list,
                              const char *const *with, size_t n);

/* The settings file; NULL: none. */
int command_load(struct command *command, struct config *config, const char *path);

/* --check: print the settings that hold. Returns the program's status. */
int command_check(struct command *command, const struct config *config);

#endif
