#include "fs/queuefs/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "Usage: queuefs [OPTION]... [SOURCE] [MOUNTPOINT]\n"
    "Mount a distributed queue as a directory. With nothing but a mount point, the\n"
    "queue service runs inside, on a durable store of its own.\n"
    "\n"
    "  -c, --config=FILE      settings (YAML)\n"
    "  -s, --service=ADDRESS  use the queue service there: tcp://HOST:PORT,\n"
    "                         tls+tcp://HOST:PORT, ipc:///PATH, or `local' for this\n"
    "                         machine's; given again: others to try\n"
    "  -d, --data=DIR         where the service inside keeps its data\n"
    "      --listen=ADDRESS   let others use the service inside; may be given again\n"
    "  -f, --foreground       stay, and log to stderr\n"
    "  -o OPTION[,OPTION]...  allow_other, config=, service=, data=, and what\n"
    "                         mount.fuse3(8) lists\n" STORE_COMMAND_HELP
    "      --check            print the settings that hold, as YAML, and exit\n"
    "      --help, --version\n"
    "\n"
    "SOURCE is what fstab and mount(8) pass: a service's address, a settings file\n"
    "or `none'. MOUNTPOINT may come from mount.path of the settings.\n"
    "\n"
    "In the mount:\n"
    "  mkdir jobs                  make a queue\n"
    "  echo hello >> jobs/in       put an item\n"
    "  cat jobs/next               get one; cat jobs/out gets all there are\n"
    "  cat jobs/out@10@5s          at most 10, waiting up to 5 s for the first\n"
    "  touch jobs/flush            return when all that was put is on disk\n"
    "  cat jobs/stats jobs/config  how it does, how it is set\n"
    "\n"
    "It returns when the mount answers. Unmount with `fusermount3 -u MOUNTPOINT', or\n"
    "as root `umount MOUNTPOINT'. Status: 0, 1 it failed (one line says why), 2\n"
    "wrong usage.\n";

/* What the command line says, before it is laid over the file. Borrowed from argv or `list`. */
struct words {
    const char *config, *data, *source, *mountpoint;
    const char *services[CONFIG_ADDRESSES_MAX], *listen[CONFIG_ADDRESSES_MAX];
    size_t n_services, n_listen;
    bool foreground, check;
    struct store_command store;
    struct {
        char *config, *service, *data; /* owned */
        int allow_other;
    } list; /* of -o */
};

/* What fstab has for other programs; 0 discards. */
static int keep_option(void *data, const char *arg, int key, struct fuse_args *args)
{
    return strncmp(arg, "x-", 2) == 0 || strncmp(arg, "comment=", 8) == 0 ? 0 : 1;
}

/* -o: ours are taken out, and what fstab has for mount(8); the rest is libfuse's. */
static int read_list(struct options *options, struct words *words)
{
    static const struct fuse_opt ours[] = {
        {"config=%s", offsetof(struct words, list.config), 0},
        {"service=%s", offsetof(struct words, list.service), 0},
        {"data=%s", offsetof(struct words, list.data), 0},
        {"allow_other", offsetof(struct words, list.allow_other), 1},
        FUSE_OPT_KEY("defaults", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("auto", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("noauto", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("user", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("user=", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("nouser", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("users", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("group", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("owner", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("_netdev", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_KEY("nofail", FUSE_OPT_KEY_DISCARD),
        FUSE_OPT_END,
    };

    return fuse_opt_parse(&options->fuse, words, ours, keep_option);
}

static int add_service(struct words *words, const char *address, struct command *command)
{
    return command_add_address(command, words->services, &words->n_services, address,
                               config_service_address_check(address));
}

enum { OPT_CHECK = 256, OPT_HELP, OPT_VERSION, OPT_LISTEN };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},        {"foreground", no_argument, NULL, 'f'},
    {"service", required_argument, NULL, 's'},       {"data", required_argument, NULL, 'd'},
    {"listen", required_argument, NULL, OPT_LISTEN}, STORE_COMMAND_OPTIONS,
    {"check", no_argument, NULL, OPT_CHECK},         {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},     {NULL, 0, NULL, 0},
};

static int read_option(struct options *options, struct words *words, int option, char **argv,
                       struct command *command)
{
    switch (option) {
    case 'c':
        return command_set_once(command, &words->config, optarg, "settings files");
    case 'd':
        return command_set_once(command, &words->data, optarg, "data directories");
    case 's':
        return add_service(words, optarg, command);
    case OPT_LISTEN:
        return command_add_address(command, words->listen, &words->n_listen, optarg,
                                   config_listen_address_check(optarg));
    case 'o':
        if (fuse_opt_add_arg(&options->fuse, "-o") || fuse_opt_add_arg(&options->fuse, optarg))
            return command_no_memory(command);
        return 0;
    case 'f':
        words->foreground = true;
        return 0;
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
        puts("queuefs " QUEUEFS_VERSION);
        return OPTIONS_DONE;
    case ':':
        return command_refuse(command, "%s needs a value", argv[optind - 1]);
    default:
        return command_refuse(command, "unknown option %s", argv[optind - 1]);
    }
}

/* [SOURCE] [MOUNTPOINT]; one that is an address is the source. */
static int read_places(struct words *words, int n, char **places, struct command *command)
{
    if (n > 2)
        return command_refuse(command, "too many arguments: %s", places[2]);
    if (n == 2 || (n == 1 && strstr(places[0], "://")))
        words->source = places[0];
    if (n == 2 || (n == 1 && !words->source))
        words->mountpoint = places[n - 1];
    if (words->mountpoint && !*words->mountpoint)
        return command_refuse(command, "the mount point is empty");
    if (!words->source || strcmp(words->source, "none") == 0)
        return 0;
    if (strstr(words->source, "://") || strcmp(words->source, "local") == 0)
        return add_service(words, words->source, command);
    return command_set_once(command, &words->config, words->source, "settings files");
}

static bool is_store_command(const struct words *words)
{
    return words->store.kind != STORE_COMMAND_NONE || words->store.json;
}

static int read_words(struct options *options, struct words *words, int argc, char **argv,
                      struct command *command)
{
    int option, result = 0;

    opterr = 0;
    while (result == 0 &&
           (option = getopt_long(argc, argv, ":c:fs:d:o:", long_options, NULL)) != -1)
        result = read_option(options, words, option, argv, command);
    if (result == 0 && read_list(options, words) < 0)
        result = command_refuse(command, "wrong -o");
    if (result == 0 && words->list.config)
        result = command_set_once(command, &words->config, words->list.config, "settings files");
    if (result == 0 && words->list.data)
        result = command_set_once(command, &words->data, words->list.data, "data directories");
    if (result == 0 && words->list.service)
        result = add_service(words, words->list.service, command);
    if (result == 0 && is_store_command(words))
        result = store_command_places(&words->store, argc - optind, argv + optind, command);
    else if (result == 0)
        result = read_places(words, argc - optind, argv + optind, command);
    return result;
}

static int copy(char **to, const char *text)
{
    if (!text)
        return 0;
    *to = strdup(text);
    return *to ? 0 : -ENOMEM;
}

static int lay_over(struct options *options, const struct words *words, struct command *command)
{
    struct config *config = &options->config;

    if (command_replace_addresses(command, config->service_addresses, &config->n_service_addresses,
                                  words->services, words->n_services) < 0 ||
        command_replace_addresses(command, config->listen, &config->n_listen, words->listen,
                                  words->n_listen) < 0)
        return -ENOMEM;
    if (copy(&options->data, words->data) < 0 || copy(&options->source, words->source) < 0 ||
        copy(&options->mountpoint, words->mountpoint ? words->mountpoint : config->mount_path) < 0)
        return command_no_memory(command);
    config->foreground |= words->foreground;
    config->allow_other |= words->list.allow_other;
    options->check = words->check;
    return 0;
}

/* What contradicts itself. */
static int judge(const struct options *options, const struct words *words, struct command *command)
{
    const struct config *config = &options->config;

    if (config->n_service_addresses > 0 && options->data)
        return command_refuse(command,
                              "--data is for the service inside, and --service names another");
    if (config->n_service_addresses > 0 && words->n_listen > 0)
        return command_refuse(command,
                              "--listen is for the service inside, and --service names another");
    if (!options->mountpoint && !options->check)
        return command_refuse(command, "no mount point");
    if (config->n_service_addresses == 0 && config->engine == CONFIG_ENGINE_NATS)
        return command_refuse(command, "store.engine nats is not for a service inside a mount");
    return 0;
}

/* --export and --import: of the store that the service inside would use. */
static int read_place(struct options *options, const struct words *words, struct command *command)
{
    if (words->n_services > 0)
        return command_refuse(command, "--export and --import are of the store of the service "
                                       "inside, and --service names another");
    if (copy(&options->data, words->data) < 0)
        return command_no_memory(command);
    options->store.items.place = (struct items_place){
        .program = "queuefs", .data = options->data, .config = &options->config};
    return command_load(command, &options->config, words->config);
}

static int read_all(struct options *options, struct words *words, int argc, char **argv,
                    struct command *command)
{
    int result;

    *options = (struct options){.fuse = FUSE_ARGS_INIT(0, NULL)};
    if (config_init(&options->config) < 0 || fuse_opt_add_arg(&options->fuse, "queuefs"))
        return command_no_memory(command);
    result = read_words(options, words, argc, argv, command);
    options->store = words->store;
    if (result == 0 && store_command_needs_place(&words->store))
        return read_place(options, words, command);
    if (result == 0 && words->store.kind != STORE_COMMAND_NONE)
        return 0;
    if (result == 0)
        result = command_load(command, &options->config, words->config);
    if (result == 0)
        result = lay_over(options, words, command);
    return result == 0 ? judge(options, words, command) : result;
}

int options_read(struct options *options, int argc, char **argv, int *status)
{
    struct command command = {.program = "queuefs"};
    struct words words = {0};
    int result = read_all(options, &words, argc, argv, &command);

    *status = command.status;
    free(words.list.config);
    free(words.list.service);
    free(words.list.data);
    return result;
}

void options_fini(struct options *options)
{
    config_fini(&options->config);
    free(options->data);
    free(options->source);
    free(options->mountpoint);
    fuse_opt_free_args(&options->fuse);
}
