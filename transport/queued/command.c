#include "transport/queued/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int command_refuse(struct command *command, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", command->program);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; see %s --help\n", command->program);
    command->status = STATUS_USAGE;
    return -EINVAL;
}

int command_no_memory(struct command *command)
{
    fprintf(stderr, "%s: out of memory\n", command->program);
    command->status = STATUS_FAILED;
    return -ENOMEM;
}

int command_set_once(struct command *command, const char **text, const char *value,
                     const char *what)
{
    if (*text && strcmp(*text, value) != 0)
        return command_refuse(command, "two %s, %s and %s", what, *text, value);
    if (!*value)
        return command_refuse(command, "the %s is empty", what);
    *text = value;
    return 0;
}

int command_add_address(struct command *command, const char **list, size_t *n, const char *address,
                        const char *wrong)
{
    if (wrong)
        return command_refuse(command, "%s: %s", address, wrong);
    if (*n == CONFIG_ADDRESSES_MAX)
        return command_refuse(command, "more than %d addresses", CONFIG_ADDRESSES_MAX);
    list[(*n)++] = address;
    return 0;
}

int command_replace_addresses(struct command *command, char **list, size_t *n_list,
                              const char *const *with, size_t n)
{
    if (n == 0)
        return 0;
    while (*n_list > 0)
        free(list[--*n_list]);
    for (size_t i = 0; i < n; i++) {
        list[i] = strdup(with[i]);
        if (!list[i])
            return command_no_memory(command);
        *n_list = i + 1;
    }
    return 0;
}

int command_load(struct command *command, struct config *config, const char *path)
{
    char *error = NULL;
    int result;

    if (!path)
        return 0;
    result = config_load(config, path, &error);
    if (result == 0)
        return 0;
    fprintf(stderr, "%s: %s\n", command->program, error ? error : strerror(-result));
    free(error);
    command->status = STATUS_FAILED;
    return result;
}

int command_check(struct command *command, const struct config *config)
{
    if (config_print(config, stdout) == 0)
        return 0;
    fprintf(stderr, "%s: cannot write the settings\n", command->program);
    return STATUS_FAILED;
}
