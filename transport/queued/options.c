#include "transport/queued/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/queued/service.h"

static const char help[] =
    "Usage: queued [OPTION]...\n"
    "Run the queue service: durable queues that any number of queuefs mounts share.\n"
    "\n"
    "  -c, --config=FILE     settings (YAML)\n"
    "  -l, --listen=ADDRESS  where mounts reach it, in the place of what the\n"
    "                        settings say; given again: there too\n"
    "                          ipc:///PATH           whom the socket's mode lets in\n"
    "                          tcp://127.0.0.1:PORT  any user of this machine\n"
    "                          tls+tcp://HOST:PORT   others, by certificate (tls.ca,\n"
    "                                                tls.cert and tls.key are set)\n"
    "  -d, --data=DIR        where it keeps its data; one service at a time\n" STORE_COMMAND_HELP
    "      --check           print the settings that hold, as YAML, and exit\n"
    "      --help, --version\n"
    "\n"
    "Without an address it listens on ipc:///run/queued/queued.sock, or, not run by\n"
    "root, on $XDG_RUNTIME_DIR/queued.sock; `queuefs -s local MOUNTPOINT' finds it\n"
    "there. Data is in --data, store.path of the settings, $STATE_DIRECTORY,\n"
    "$XDG_DATA_HOME/queued, /var/lib/queued for root, else ~/.local/share/queued.\n"
    "\n"
    "It logs to stderr and tells systemd when it is ready. SIGTERM and SIGINT let it\n"
    "finish what it has begun; a second one ends it at once. Nothing acknowledged is\n"
    "lost by that. SIGHUP makes it read certificates, keys and log level anew.\n"
    "Status: 0, 1 it failed (one line says why), 2 wrong usage.\n"
    "\n"
    "  queued -d /srv/queues &\n"
    "  queuefs -s local /mnt/q\n"
    "  mkdir /mnt/q/jobs; echo hello >> /mnt/q/jobs/in; cat /mnt/q/jobs/next\n";

/* What the command line says. Borrowed from argv. */
struct words {
    const char *config, *data;
    const char *listen[CONFIG_ADDRESSES_MAX];
    size_t n_listen;
    bool check;
    struct store_command store;
};

enum { OPT_CHECK = 256, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},    {"listen", required_argument, NULL, 'l'},
    {"data", required_argument, NULL, 'd'},      STORE_COMMAND_OPTIONS,
    {"check", no_argument, NULL, OPT_CHECK},     {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION}, {NULL, 0, NULL, 0},
};

static int read_option(struct words *words, int option, char **argv, struct command *command)
{
    switch (option) {
    case 'c':
        return command_set_once(command, &words->config, optarg, "settings files");
    case 'd':
        return command_set_once(command, &words->data, optarg, "data directories");
    case 'l':
        return command_add_address(command, words->listen, &words->n_listen, optarg,
                                   config_listen_address_check(optarg));
    case STORE_OPT_VERIFY:
    case STORE_OPT_BACKUP:
    case STORE_OPT_EXPORT:
    case STORE_OPT_IMPORT:
    case STORE_OPT_JSON:
        return store_command_option(&words->store, option, optarg, command);
    case OPT_CHECK:
        words->check = true;
        return 0;
    case OPT_HELP:
        fputs(help, stdout);
        return OPTIONS_DONE;
    case OPT_VERSION:
        puts("queued " QUEUEFS_VERSION);
        return OPTIONS_DONE;
    case ':':
        return command_refuse(command, "%s needs a value", argv[optind - 1]);
    default:
        return command_refuse(command, "unknown option %s", argv[optind - 1]);
    }
}

static bool is_store_command(const struct words *words)
{
    return words->store.kind != STORE_COMMAND_NONE || words->store.json;
}

static int read_words(struct words *words, int argc, char **argv, struct command *command)
{
    int option, result = 0;

    opterr = 0;
    optind = 0; /* from the beginning, each time */
    while (result == 0 && (option = getopt_long(argc, argv, ":c:l:d:", long_options, NULL)) != -1)
        result = read_option(words, option, argv, command);
    if (result == 0 && is_store_command(words))
        result = store_command_places(&words->store, argc - optind, argv + optind, command);
    else if (result == 0 && optind < argc)
        result = command_refuse(command, "too many arguments: %s", argv[optind]);
    return result;
}

/* Where mounts look for the service of this machine, or of this user. */
static int listen_local(struct config *config, struct command *command)
{
    char own[LOCAL_ADDRESS_MAX];
    const char *address = own;

    if (geteuid() == 0)
        address = LOCAL_SYSTEM_ADDRESS;
    else if (!local_user_address(own))
        return command_refuse(command, "no address to listen on, and no $XDG_RUNTIME_DIR for a "
                                       "socket; give --listen");
    return command_replace_addresses(command, config->listen, &config->n_listen, &address, 1);
}

static int lay_over(struct queued_options *options, const struct words *words,
                    struct command *command)
{
    struct config *config = &options->config;
    int result = command_replace_addresses(command, config->listen, &config->n_listen,
                                           words->listen, words->n_listen);

    if (result == 0 && config->n_listen == 0)
        result = listen_local(config, command);
    if (result == 0 && words->data) {
        options->data = strdup(words->data);
        result = options->data ? 0 : command_no_memory(command);
    }
    options->check = words->check;
    return result;
}

/* --export and --import: of the store that the service would use. */
static int read_place(struct queued_options *options, const struct words *words,
                      struct command *command)
{
    options->store.items.place =
        (struct items_place){.program = "queued", .data = words->data, .config = &options->config};
    return command_load(command, &options->config, words->config);
}

static int judge(const struct queued_options *options, struct command *command)
{
    if (options->config.engine == CONFIG_ENGINE_NATS)
        return command_refuse(command, "store.engine nats is not part of this build; local and "
                                       "memory are allowed");
    if (main_service_check(&options->config) == 0)
        return 0;
    command->status = STATUS_FAILED;
    return -EINVAL;
}

static int read_settings(struct queued_options *options, const struct words *words,
                         struct command *command)
{
    int result = command_load(command, &options->config, words->config);

    if (result == 0)
        result = lay_over(options, words, command);
    return result == 0 ? judge(options, command) : result;
}

int queued_options_read(struct queued_options *options, int argc, char **argv, int *status)
{
    struct command command = {.program = "queued"};
    struct words words = {0};
    int result;

    memset(options, 0, sizeof(*options));
    options->argc = argc;
    options->argv = argv;
    if (config_init(&options->config) < 0) {
        result = command_no_memory(&command);
        *status = command.status;
        return result;
    }
    result = read_words(&words, argc, argv, &command);
    options->store = words.store;
    if (result == 0 && words.store.kind == STORE_COMMAND_NONE)
        result = read_settings(options, &words, &command);
    else if (result == 0 && store_command_needs_place(&words.store))
        result = read_place(options, &words, &command);
    *status = command.status;
    return result;
}

void queued_options_fini(struct queued_options *options)
{
    config_fini(&options->config);
    free(options->data);
}
