/* Starting and waiting, in a process of its own: see starter.h. */
#include "tests/stress/starter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct question {
    pid_t pid; /* to wait for; 0: start what the order says */
    int options;
    struct starter_order order;
};

struct reply {
    pid_t pid;
    int status;
};

static void run_program(struct starter_order *order)
{
    char *arguments[STARTER_ARGUMENTS + 1];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(order->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int n = 0;

    for (; n < STARTER_ARGUMENTS && order->arguments[n][0]; n++)
        arguments[n] = order->arguments[n];
    arguments[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(arguments[0], arguments);
    perror(arguments[0]);
    _exit(127);
}

static pid_t start_program(struct starter_order *order)
{
    pid_t pid = fork();

    if (pid == 0)
        run_program(order);
    return pid;
}

static void serve(int fd)
{
    static struct question question;
    struct reply reply;

    while (read(fd, &question, sizeof(question)) == (ssize_t)sizeof(question)) {
        reply = (struct reply){0};
        if (question.pid == 0)
            reply.pid = start_program(&question.order);
        else
            reply.pid = waitpid(question.pid, &reply.status, question.options);
        if (reply.pid < 0)
            reply.pid = -errno;
        if (write(fd, &reply, sizeof(reply)) != (ssize_t)sizeof(reply))
            return;
    }
}

void starter_begin(struct starter *s)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    s->pid = fork();
    if (s->pid < 0)
        abort();
    if (s->pid == 0) {
        close(fds[0]);
        /* Ctrl-C is for the checker, which ends everything in order. */
        signal(SIGINT, SIG_IGN);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(fds[1]);
        _exit(0);
    }
    close(fds[1]);
    s->fd = fds[0];
}

void starter_end(struct starter *s)
{
    if (s->pid <= 0)
        return;
    close(s->fd);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    s->pid = 0;
}

static struct reply ask(struct starter *s, const struct question *question)
{
    struct reply reply;
    ssize_t n;

    if (write(s->fd, question, sizeof(*question)) != (ssize_t)sizeof(*question))
        abort();
    do
        n = read(s->fd, &reply, sizeof(reply));
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(reply))
        abort();
    return reply;
}

pid_t starter_spawn(struct starter *s, const struct starter_order *order)
{
    const struct question question = {.order = *order};

    return ask(s, &question).pid;
}

pid_t starter_wait(struct starter *s, pid_t pid, int options, int *status)
{
    const struct question question = {.pid = pid, .options = options};
    struct reply reply = ask(s, &question);

    *status = reply.status;
    return reply.pid;
}
