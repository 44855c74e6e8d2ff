/*
 * queued: the queue service as a program of its own. The main thread starts it, reads settings
 * anew at SIGHUP, waits for the end (a signal, or the store failing for good), and takes it down;
 * all else runs on the service's
 * thread and NNG's. What was acknowledged is on disk at any moment, so that an end that takes too
 * long, or a second signal, may be abrupt.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "core/log.h"
#include "transport/queued/process.h"
#include "transport/queued/options.h"
#include "transport/queued/service.h"

/* How long an end may take. */
#define ENDING_S 10

static atomic_bool failed;

static void tell_systemd(const char *state)
{
#ifdef HAVE_LIBSYSTEMD
    sd_notify(0, state);
#endif
}

static void on_fatal(void *arg, int error)
{
    log_error("the store failed (%s): the service ends; start it again to recover",
              strerror(-error));
    atomic_store(&failed, true);
    kill(getpid(), SIGTERM);
}

static void ending_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
}

/* Blocked, so that sigwait() gets them; before there are threads. */
static void block_signals(void)
{
    sigset_t signals;

    ending_signals(&signals);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* The settings are read as at the start, command line and all. */
static void reload(struct main_service *service, const struct queued_options *options)
{
    struct queued_options fresh;
    int status;

    tell_systemd("RELOADING=1");
    log_info("%s: reading settings and certificates", strsignal(SIGHUP));
    if (queued_options_read(&fresh, options->argc, options->argv, &status) == 0)
        main_service_reload(service, &options->config, &fresh.config);
    else
        log_error("everything stays as it was");
    queued_options_fini(&fresh);
    tell_systemd("READY=1");
}

static void wait_for_end(struct main_service *service, const struct queued_options *options)
{
    sigset_t signals;
    int number = 0;

    ending_signals(&signals);
    sigaddset(&signals, SIGHUP);
    for (;;) {
        if (sigwait(&signals, &number) != 0)
            continue;
        if (number != SIGHUP)
            break;
        reload(service, options);
    }
    if (!atomic_load(&failed))
        log_info("%s: ending", strsignal(number));
}

/* A thread while the service is taken down. */
static void *cut_short(void *arg)
{
    const struct timespec limit = {.tv_sec = ENDING_S};
    sigset_t signals;
    int number;

    ending_signals(&signals);
    do
        number = sigtimedwait(&signals, NULL, &limit);
    while (number < 0 && errno == EINTR);
    if (number < 0)
        log_error("could not end within %d s: ending without the last answers", ENDING_S);
    else
        log_warning("%s again: ending at once", strsignal(number));
    _exit(STATUS_FAILED);
}

static void watch_the_end(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, cut_short, NULL) == 0)
        pthread_detach(thread);
}

static void say_ready(const struct main_service *service, bool restricted)
{
    const char *url;

    for (size_t i = 0; (url = server_url(service->server, i)); i++)
        log_info("listening on %s", url);
    if (!restricted)
        log_info("no `access` in the settings: whoever gets in may put, get and manage all queues");
    log_info("version " QUEUEFS_VERSION ", ready; data in %s", service->datadir.path);
    tell_systemd("READY=1");
}

static int run(struct queued_options *options)
{
    const struct main_service_options start = {
        .config = &options->config,
        .program = "queued",
        .data = options->data,
        .fatal = on_fatal,
    };
    struct main_service service = {0};
    int result;

    if (process_check() < 0)
        return STATUS_FAILED;
    block_signals();
    main_service_fill_owners(&options->config, getuid(), getgid());
    result = main_service_start(&service, &start);
    if (result == 0) {
        say_ready(&service, options->config.access.n_rules > 0);
        wait_for_end(&service, options);
    }
    tell_systemd("STOPPING=1");
    watch_the_end();
    main_service_stop(&service);
    main_service_fini(&service);
    return result < 0 || atomic_load(&failed) ? STATUS_FAILED : 0;
}

int main(int argc, char **argv)
{
    static struct queued_options options;
    int status = 0, result;

    process_init();
    log_set_sink("queued", NULL);
    result = queued_options_read(&options, argc, argv, &status);
    if (result == 0) {
        struct command command = {.program = "queued"};

        log_set_level((enum log_level)options.config.log_level);
        if (options.store.kind != STORE_COMMAND_NONE)
            status = store_command_run(&options.store);
        else
            status = options.check ? command_check(&command, &options.config) : run(&options);
    }
    queued_options_fini(&options);
    return status;
}
