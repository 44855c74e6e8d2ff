#include "fs/queuefs/shutdown.h"

#include "fs/queuefs/mountpoint.h"

#include "core/cond.h"
#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Wakes the thread that runs the loop; its handler does nothing. */
#define WAKE_SIGNAL SIGUSR1

/* The wake-up may come just before the loop waits, so it is repeated. */
#define WAKE_AGAIN_MS 5

/* A store that has failed takes nothing more: the waiters are released and that is all. */
#define FAILED_TIMEOUT_US INT64_C(500000)

static void on_wake(int signal_number)
{
}

static void cause_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

int ending_init(struct ending *ending)
{
    struct sigaction wake = {.sa_handler = on_wake}; /* not SA_RESTART */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    *ending = (struct ending){.signal_fd = -1, .mountinfo_fd = -1, .wake_fd = -1};
    pthread_mutex_init(&ending->lock, NULL);
    cond_init(&ending->changed);
    cause_signals(&set);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(WAKE_SIGNAL, &wake, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    ending->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    ending->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return ending->signal_fd < 0 || ending->wake_fd < 0 ? -errno : 0;
}

/* Make the loop return: flag it, and interrupt its wait until it has. */
static void end_loop(struct ending *ending)
{
    fuse_session_exit(ending->session);
    pthread_mutex_lock(&ending->lock);
    while (!ending->loop_left) {
        pthread_kill(ending->loop, WAKE_SIGNAL);
        cond_wait_until(&ending->changed, &ending->lock, cond_in_ms(WAKE_AGAIN_MS));
    }
    pthread_mutex_unlock(&ending->lock);
}

static void *stopper_run(void *arg)
{
    struct ending *ending = arg;
    int64_t timeout_us = ending->timeout_us;

    pthread_mutex_lock(&ending->lock);
    while (!ending->begun)
        pthread_cond_wait(&ending->changed, &ending->lock);
    pthread_mutex_unlock(&ending->lock);
    if (atomic_load(&ending->failed) && timeout_us > FAILED_TIMEOUT_US)
        timeout_us = FAILED_TIMEOUT_US;
    mount_stop(ending->mount, timeout_us, &ending->rest);
    end_loop(ending);
    return NULL;
}

void ending_begin(struct ending *ending)
{
    pthread_mutex_lock(&ending->lock);
    ending->begun = true;
    pthread_cond_broadcast(&ending->changed);
    pthread_mutex_unlock(&ending->lock);
}

/* A second signal: nobody waits any longer. */
static void end_at_once(struct ending *ending)
{
    struct mount_entry top;

    log_error("ended by a second signal: what was buffered and not sent is lost");
    if (ending->entry.id && mount_entry_at(ending->mountpoint, &top) == 0 &&
        top.id == ending->entry.id)
        mountpoint_detach(ending->mountpoint);
    _exit(1);
}

static void on_signals(struct ending *ending)
{
    struct signalfd_siginfo info;
    bool begun;

    while (read(ending->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        pthread_mutex_lock(&ending->lock);
        begun = ending->begun;
        pthread_mutex_unlock(&ending->lock);
        if (begun)
            end_at_once(ending);
        log_info("ending by signal %s", strsignal((int)info.ssi_signo));
        ending_begin(ending);
    }
}

static bool is_finished(struct ending *ending)
{
    bool finished;

    pthread_mutex_lock(&ending->lock);
    finished = ending->finished;
    pthread_mutex_unlock(&ending->lock);
    return finished;
}

static void *watcher_run(void *arg)
{
    struct ending *ending = arg;
    struct pollfd fds[] = {{.fd = ending->signal_fd, .events = POLLIN},
                           {.fd = ending->wake_fd, .events = POLLIN},
                           {.fd = ending->mountinfo_fd, .events = POLLPRI}};
    uint64_t count;

    if (ending->entry.id && !mount_entry_exists(&ending->entry))
        ending_begin(ending); /* gone before anyone looked */
    while (!is_finished(ending)) {
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[0].revents)
            on_signals(ending);
        if (fds[1].revents && read(ending->wake_fd, &count, sizeof(count)) > 0 &&
            atomic_load(&ending->failed))
            ending_begin(ending);
        if (fds[2].revents && !mount_entry_exists(&ending->entry)) {
            ending_begin(ending);
            fds[2].fd = -1;
        }
    }
    return NULL;
}

int ending_watch(struct ending *ending)
{
    int result;

    ending->loop = pthread_self();
    ending->mountinfo_fd = ending->entry.id ? mountinfo_open() : -1;
    if (ending->mountinfo_fd < 0)
        log_warning("cannot watch %s: a lazy unmount will not be noticed", ending->mountpoint);
    result = pthread_create(&ending->stopper, NULL, stopper_run, ending);
    if (result)
        return -result;
    ending->stopping = true;
    result = pthread_create(&ending->watcher, NULL, watcher_run, ending);
    ending->watching = result == 0;
    return -result;
}

static void wake(struct ending *ending)
{
    const uint64_t one = 1;

    /* It can only fail when it is awake already. */
    if (write(ending->wake_fd, &one, sizeof(one)) < 0)
        return;
}

void ending_fail(struct ending *ending)
{
    atomic_store(&ending->failed, true);
    wake(ending);
}

void ending_finish(struct ending *ending)
{
    pthread_mutex_lock(&ending->lock);
    ending->loop_left = true;
    ending->begun = true;
    pthread_cond_broadcast(&ending->changed);
    pthread_mutex_unlock(&ending->lock);
    if (ending->stopping)
        pthread_join(ending->stopper, NULL);
    else
        mount_stop(ending->mount, 0, &ending->rest);
}

void ending_fini(struct ending *ending)
{
    if (ending->watching) {
        pthread_mutex_lock(&ending->lock);
        ending->finished = true;
        pthread_mutex_unlock(&ending->lock);
        wake(ending);
        pthread_join(ending->watcher, NULL);
    }
    if (ending->signal_fd >= 0)
        close(ending->signal_fd);
    if (ending->mountinfo_fd >= 0)
        close(ending->mountinfo_fd);
    if (ending->wake_fd >= 0)
        close(ending->wake_fd);
    pthread_cond_destroy(&ending->changed);
    pthread_mutex_destroy(&ending->lock);
}
