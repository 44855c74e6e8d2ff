/*
 * queuefs: mounts a distributed queue as a directory. This file joins the parts, in the order in
 * which they must come up, and takes them down in the opposite one:
 *
 *   command line and settings, the libfuse session (no thread, no mount yet), fork;
 *   what is behind the mount (backing.h), the mount's queues (core/mount/mount.h), the tree;
 *   the mount itself, the watch over its end (shutdown.h), the session's loop in the main thread.
 *
 * When the loop has returned every waiter has been answered and what could be sent was.
 */
#include "core/log.h"
#include "core/mount/mount.h"
#include "fs/queuefs/backing.h"
#include "fs/queuefs/daemonize.h"
#include "fs/queuefs/shutdown.h"
#include "fs/queuefs/mountpoint.h"
#include "fs/queuefs/options.h"
#include "fs/session_threads.h"
#include "fs/tree.h"
#include "transport/queued/process.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* How long a start waits to hear of a service elsewhere. */
#define FIRST_ANSWER_US INT64_C(2000000)

struct program {
    struct options options;
    char *mountpoint; /* absolute */
    struct daemon daemon;
    struct backing backing;
    struct mount *mount;
    struct tree tree;
    struct fuse_session *session;
    struct ending ending;
    pthread_t announcer;
};

static atomic_bool fuse_complained;

/* libfuse's words go where ours go. It says some lines in pieces. */
static void fuse_says(enum fuse_log_level level, const char *format, va_list args)
{
    static _Thread_local char line[512];
    size_t len = strlen(line);

    vsnprintf(line + len, sizeof(line) - len, format, args);
    len = strcspn(line, "\n");
    if (line[len] == '\0' && len + 1 < sizeof(line))
        return;
    line[len] = '\0';
    if (level <= FUSE_LOG_ERR)
        atomic_store(&fuse_complained, true);
    if (level <= FUSE_LOG_ERR)
        log_error("%s", line);
    else if (level <= FUSE_LOG_WARNING)
        log_warning("%s", line);
    else
        log_debug("%s", line);
    line[0] = '\0';
}

static int add_mount_options(struct program *program)
{
    const struct options *options = &program->options;
    char *list = NULL, *name = NULL;
    int result = -1;

    /* After the user's own, so that these hold. */
    if (asprintf(&name, "fsname=%s", options->source ? options->source : "queuefs") >= 0)
        result = fuse_opt_add_opt(&list, "default_permissions,nosuid,nodev,noexec,subtype=queuefs");
    if (result == 0)
        result = fuse_opt_add_opt_escaped(&list, name);
    if (result == 0 && options->config.allow_other)
        result = fuse_opt_add_opt(&list, "allow_other");
    if (result == 0)
        result = fuse_opt_add_arg(&program->options.fuse, "-o");
    if (result == 0)
        result = fuse_opt_add_arg(&program->options.fuse, list);
    free(list);
    free(name);
    return result < 0 ? -ENOMEM : 0;
}

/* Before the fork, because an option libfuse does not know is wrong usage. */
static int make_session(struct program *program)
{
    int result = add_mount_options(program);

    if (result < 0)
        return STATUS_FAILED;
    program->session = fuse_session_new(&program->options.fuse, &tree_fuse_ops,
                                        sizeof(tree_fuse_ops), &program->tree);
    return program->session ? 0 : STATUS_USAGE;
}

static void on_fatal(void *arg, int error)
{
    struct program *program = arg;

    log_error("the store failed (%s): the mount ends", strerror(-error));
    ending_fail(&program->ending);
}

static struct preset *mount_queues(const struct config *config)
{
    struct preset *queues = calloc(config->n_queues + 1, sizeof(*queues));

    for (size_t i = 0; queues && i < config->n_queues; i++) {
        memcpy(queues[i].name, config->queues[i].name, sizeof(queues[i].name));
        queues[i].settings = config->queues[i].settings;
        queues[i].given = config->queues[i].given;
    }
    return queues;
}

static int make_mount(struct program *program)
{
    const struct config *config = &program->options.config;
    struct preset *queues = mount_queues(config);
    struct mount_options options = {
        .backend = backing_backend(&program->backing),
        .clock = &clock_system,
        .buffer_total = config->buffer_total,
        .by_uid = config->allow_other,
        .owner = getuid(),
        .timeout_us = config->timeout_us,
        .defaults = config->defaults,
        .queues = queues,
        .n_queues = config->n_queues,
        .link_info = backing_link_info,
        .link_arg = &program->backing,
        .own_service = !program->backing.client,
    };
    int result = queues ? 0 : -ENOMEM;

    if (result == 0 && getrandom(&options.id, sizeof(options.id), 0) != sizeof(options.id))
        result = -EIO;
    if (result == 0)
        result = mount_new(&options, &program->mount);
    free(queues);
    return result;
}

/* Ask for the queues. A service that is away does not stop a mount. */
static int start_mount(struct program *program)
{
    int result = make_mount(program);

    if (result == 0)
        result = mount_start(program->mount, FIRST_ANSWER_US);
    if (result == -ETIMEDOUT) {
        log_warning("the queue service does not answer yet; mounted without it");
        result = 0;
    }
    if (result < 0)
        log_error("cannot start the mount: %s", strerror(-result));
    return result;
}

static void set_limit(struct program *program)
{
    int64_t kernel_us = limit_of_machine_us();

    if (kernel_us > 0)
        log_warning("fs.fuse.max_request_timeout is set on this machine: whatever would wait "
                    "longer than %lld s ends with ETIMEDOUT",
                    (long long)(kernel_us / 1000000));
    limit_set_kernel(&program->tree.limit, kernel_us);
}

static int make_tree(struct program *program)
{
    const struct config *config = &program->options.config;
    struct tree_options options = {
        .mount = program->mount,
        .allow_other = config->allow_other,
        .uid = getuid(),
        .gid = getgid(),
        .queue_mode = config->defaults.own.mode,
        .made_us = clock_system.wall_us(&clock_system),
        .list_all = config->list == CONFIG_LIST_ALL,
        .all_make = config->may_make == CONFIG_MAKE_ALL,
        .config_print = config_queue_print,
        .config_parse = config_queue_parse,
    };
    int rc = tree_init(&program->tree, &options);

    program->tree.session = program->session;
    if (rc < 0)
        log_error("%s", strerror(-rc));
    return rc;
}

static int mount_session(struct program *program)
{
    int result = mountpoint_clear(program->mountpoint);

    if (result < 0)
        return result;
    if (fuse_session_mount(program->session, program->mountpoint) != 0) {
        if (!atomic_load(&fuse_complained))
            log_error("cannot mount on %s", program->mountpoint);
        return -EIO;
    }
    result =
        fuse_session_custom_io(program->session, &tree_fuse_io, fuse_session_fd(program->session));
    if (result < 0) {
        log_error("cannot mount on %s: %s", program->mountpoint, strerror(-result));
        fuse_session_unmount(program->session);
        return result;
    }
    if (mount_entry_at(program->mountpoint, &program->ending.entry) < 0)
        program->ending.entry.id = 0;
    return 0;
}

/* Ready is when the mount answers; it answers only when the loop runs. */
static void *announce(void *arg)
{
    struct program *program = arg;
    struct statvfs st;

    if (statvfs(program->mountpoint, &st) < 0)
        return NULL;
    if (daemon_ready(&program->daemon) < 0) {
        log_warning("who started the mount has gone away before it answered");
        ending_begin(&program->ending);
    }
    return NULL;
}

static int run_loop(struct program *program)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int result;

    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_max_threads(config, session_threads());
    fuse_loop_cfg_set_idle_threads(config, session_threads());
    result = fuse_session_loop_mt(program->session, config);
    fuse_loop_cfg_destroy(config);
    return result;
}

/* Ours only: where it was unmounted already, or something else lies above, nothing is. */
static void unmount_session(struct program *program)
{
    long id = program->ending.entry.id; /* 0: there is no telling */
    struct mount_entry top;
    int result = mount_entry_at(program->mountpoint, &top);

    if (id == 0 || (result == 0 && top.id == id) || (result < 0 && result != -ENOENT))
        fuse_session_unmount(program->session);
}

/* The mount is up: serve it until it ends. */
static int serve(struct program *program)
{
    struct ending *ending = &program->ending;
    bool announcing = false;
    int result;

    ending->mount = program->mount;
    ending->session = program->session;
    ending->mountpoint = program->mountpoint;
    ending->timeout_us = program->options.config.timeout_us;
    result = ending_watch(ending);
    if (result == 0)
        result = -pthread_create(&program->announcer, NULL, announce, program);
    if (result < 0)
        log_error("cannot start a thread: %s", strerror(-result));
    else
        announcing = true;
    if (result == 0)
        result = run_loop(program);
    daemon_ending(&program->daemon);
    ending_finish(ending);
    unmount_session(program);
    if (announcing)
        pthread_join(program->announcer, NULL);
    return result;
}

/* What the mount takes with it, as the last words and the status. */
static int last_words(const struct program *program)
{
    const struct mount_rest *rest = &program->ending.rest;

    if (rest->n_items > 0)
        log_error("%llu items could not be sent and are lost", (unsigned long long)rest->n_items);
    if (rest->n_unfinished > 0)
        log_error("%llu items were unfinished (their writers had not closed) and are lost",
                  (unsigned long long)rest->n_unfinished);
    if (rest->n_items > 0 || rest->n_unfinished > 0 || atomic_load(&program->ending.failed))
        return STATUS_FAILED;
    return 0;
}

/* Everything after the fork. */
static int run(struct program *program)
{
    const struct backing_options backing = {
        .config = &program->options.config,
        .data = program->options.data,
        .mountpoint = program->mountpoint,
        .uid = getuid(),
        .gid = getgid(),
        .fatal = on_fatal,
        .fatal_arg = program,
    };
    struct mount_rest rest;
    int status = STATUS_FAILED, rc;

    if (backing_start(&program->backing, &backing) < 0)
        return status;
    if (start_mount(program) < 0)
        goto stop_backing;
    rc = make_tree(program);
    set_limit(program);
    if (rc == 0 && mount_session(program) == 0) {
        status = serve(program) == 0 ? last_words(program) : STATUS_FAILED;
    } else {
        mount_stop(program->mount, 0, &rest);
    }
    tree_fini(&program->tree);
stop_backing:
    backing_stop(&program->backing);
    mount_free(program->mount);
    backing_fini(&program->backing);
    return status;
}

static int start(struct program *program)
{
    int status, result;

    if (process_check() < 0 ||
        mountpoint_resolve(program->options.mountpoint, &program->mountpoint) < 0)
        return STATUS_FAILED;
    status = make_session(program);
    if (status)
        return status;
    result = daemon_start(&program->daemon, program->options.config.foreground);
    if (result == 0)
        result = ending_init(&program->ending);
    if (result < 0) {
        log_error("cannot start: %s", strerror(-result));
        return STATUS_FAILED;
    }
    status = run(program);
    ending_fini(&program->ending);
    return status;
}

int main(int argc, char **argv)
{
    static struct program program;
    struct command command = {.program = "queuefs"};
    int status = 0, result;

    process_init();
    daemon_log_init("queuefs");
    fuse_set_log_func(fuse_says);

    result = options_read(&program.options, argc, argv, &status);
    if (result == 0) {
        log_set_level((enum log_level)program.options.config.log_level);
        if (program.options.store.kind != STORE_COMMAND_NONE)
            status = store_command_run(&program.options.store);
        else
            status = program.options.check ? command_check(&command, &program.options.config)
                                           : start(&program);
    }
    if (program.session)
        fuse_session_destroy(program.session);
    free(program.mountpoint);
    options_fini(&program.options);
    return status;
}
