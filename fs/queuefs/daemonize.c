#include "fs/queuefs/daemonize.h"

#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

static atomic_bool to_syslog;
static const char *log_name = "queuefs";

static void log_line(enum log_level level, const char *message)
{
    static const int priorities[] = {
        [LOG_LEVEL_ERROR] = LOG_ERR,
        [LOG_LEVEL_WARNING] = LOG_WARNING,
        [LOG_LEVEL_INFO] = LOG_INFO,
        [LOG_LEVEL_DEBUG] = LOG_DEBUG,
    };

    if (atomic_load(&to_syslog))
        syslog(priorities[level], "%s", message);
    else
        fprintf(stderr, "%s: %s\n", log_name, message);
}

void daemon_log_init(const char *name)
{
    log_name = name;
    log_set_sink(name, log_line);
}

/* The parent's end: with the child's status, or 0 when it is ready. */
static void wait_ready(int fd, pid_t child)
{
    int status;
    char byte;
    ssize_t n;

    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        _exit(WEXITSTATUS(status));
    if (WIFSIGNALED(status))
        log_error("killed by signal %d before the mount answered", WTERMSIG(status));
    else
        log_error("ended before the mount answered");
    _exit(1);
}

int daemon_start(struct daemon *daemon, bool foreground)
{
    int fds[2];
    pid_t child;

    *daemon = (struct daemon){.foreground = foreground, .ready_fd = -1};
    if (foreground)
        return 0;
    /* A lock or a pipe of the script that starts it would else live as long as the mount. Not so in
     * the foreground, where what runs it may want just that: `setlock FILE queuefs -f`. */
    closefrom(STDERR_FILENO + 1);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    child = fork();
    if (child < 0) {
        close(fds[0]);
        close(fds[1]);
        return -errno;
    }
    if (child > 0) {
        close(fds[1]);
        wait_ready(fds[0], child);
    }
    close(fds[0]);
    daemon->ready_fd = fds[1];
    setsid();
    return 0;
}

static void leave_terminal(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    openlog(log_name, LOG_PID | LOG_NDELAY, LOG_DAEMON);
    atomic_store(&to_syslog, true);
    if (fd < 0)
        return;
    fflush(NULL);
    for (int i = 0; i <= 2; i++)
        dup2(fd, i);
    close(fd);
}

int daemon_ready(struct daemon *daemon)
{
    int result = 0;

    if (daemon->foreground) {
#ifdef HAVE_LIBSYSTEMD
        sd_notify(0, "READY=1");
#endif
        return 0;
    }
    if (chdir("/") < 0)
        log_warning("cannot leave the working directory");
    leave_terminal();
    if (write(daemon->ready_fd, "", 1) != 1)
        result = -errno;
    close(daemon->ready_fd);
    daemon->ready_fd = -1;
    return result;
}

void daemon_ending(const struct daemon *daemon)
{
#ifdef HAVE_LIBSYSTEMD
    if (daemon->foreground)
        sd_notify(0, "STOPPING=1");
#endif
}
