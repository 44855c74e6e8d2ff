/* Starting, ending and asking the programs under test: see cluster.h. */
#include "tests/stress/cluster.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/stress/history.h"

void sleep_ms(int64_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        ;
}

bool cluster_embedded(const struct cluster *c)
{
    return !c->options.queued;
}

struct daemon *cluster_service(struct cluster *c)
{
    return cluster_embedded(c) ? &c->mounts[0] : &c->service;
}

/* ---- processes ---- */

void daemon_start(struct cluster *c, struct daemon *d)
{
    bool mount = d->path[0];
    const char *arguments[] = {mount ? c->options.queuefs : c->options.queued, mount ? "-f" : "-c",
                               mount ? "-c" : d->settings, mount ? d->settings : "",
                               mount ? d->path : ""};
    struct starter_order order = {0};

    for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
        snprintf(order.arguments[i], STARTER_TEXT, "%s", arguments[i]);
    snprintf(order.log, sizeof(order.log), "%.400s/%s.log", c->options.dir, d->name);
    d->pid = starter_spawn(&c->starter, &order);
    if (d->pid < 0)
        abort();
}

void daemon_kill(struct cluster *c, struct daemon *d)
{
    int status;

    if (d->pid <= 0)
        return;
    atomic_fetch_add(&d->life, 1);
    kill(d->pid, SIGKILL);
    starter_wait(&c->starter, d->pid, 0, &status);
    d->pid = 0;
}

static void check_alive(struct cluster *c, struct daemon *d)
{
    int status;

    if (d->pid <= 0 || starter_wait(&c->starter, d->pid, WNOHANG, &status) != d->pid)
        return;
    fprintf(stderr, "%s ended by itself: %s %d; see %s/%s.log\n", d->name,
            WIFSIGNALED(status) ? "signal" : "status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), c->options.dir, d->name);
    c->n_crashes++;
    atomic_fetch_add(&d->life, 1);
    daemon_start(c, d);
}

void cluster_check_alive(struct cluster *c)
{
    if (!cluster_embedded(c))
        check_alive(c, &c->service);
    for (int i = 0; i < c->options.n_mounts; i++)
        check_alive(c, &c->mounts[i]);
}

/* ---- asking ---- */

int64_t cluster_stat(const struct cluster *c, int mount, const char *queue, const char *name)
{
    char path[CLUSTER_PATH + 64], text[8192], pattern[64];
    const char *found;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s%sstats", c->mounts[mount].path, queue, *queue ? "/" : "");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = read(fd, text + 1, sizeof(text) - 2);
    close(fd);
    if (n <= 0)
        return -1;
    text[0] = '\n';
    text[n + 1] = '\0';
    snprintf(pattern, sizeof(pattern), "\n%s: ", name);
    found = strstr(text, pattern);
    return found ? strtoll(found + strlen(pattern), NULL, 10) : -1;
}

static bool port_answers(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool answers = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0)
        close(fd);
    return answers;
}

static bool answers_now(const struct cluster *c, const struct daemon *d)
{
    if (!d->path[0])
        return port_answers(c->port);
    return cluster_stat(c, (int)(d - c->mounts), "", "uptime_s") >= 0;
}

bool daemon_answers(struct cluster *c, struct daemon *d, int ms)
{
    int64_t end_us = now_us() + (int64_t)ms * 1000;

    while (!answers_now(c, d)) {
        if (now_us() >= end_us)
            return false;
        cluster_check_alive(c);
        sleep_ms(2);
    }
    return true;
}

bool proxy_command(struct cluster *c, const char *command)
{
    struct pollfd polled = {.fd = fileno(c->proxy_out), .events = POLLIN};
    char line[128];

    if (dprintf(c->proxy_in, "%s\n", command) < 0 || poll(&polled, 1, 5000) != 1 ||
        !fgets(line, sizeof(line), c->proxy_out))
        return false;
    return strncmp(line, "done ", 5) == 0;
}

/* ---- settings ---- */

/* A port that is free now. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        abort();
    close(fd);
    return ntohs(address.sin_port);
}

/* Whoever dies with items is no reason to bury or delay them: the drain wants them all. */
static void write_settings(struct cluster *c, struct daemon *d, const char *address)
{
    const char *own = "{retry_delay: 0s, max_deliveries: 1000000}";
    bool serves = !address;
    FILE *out;

    snprintf(d->settings, sizeof(d->settings), "%s/%s.yaml", c->options.dir, d->name);
    out = fopen(d->settings, "we");
    if (!out)
        abort();
    if (d->path[0])
        fprintf(out, "service: {timeout: %dms%s%s}\n", c->options.timeout_ms,
                serves ? "" : ", address: ", serves ? "" : address);
    if (serves)
        fprintf(out,
                "listen: [\"tcp://127.0.0.1:%d\", \"ipc://%s/s.sock\"]\n"
                "store: {path: %s/data, min_free: 0}\n"
                "queues: {%s: %s, %s: %s}\n",
                c->port, c->options.dir, c->options.dir, queue_names[QUEUE_WORK], own,
                queue_names[QUEUE_KEEP], own);
    fclose(out);
}

/* Its port. */
static int start_proxy(struct cluster *c)
{
    char program[CLUSTER_PATH], port[16], seed[32], line[32];
    char *arguments[] = {program, "-s", seed, port, NULL};
    int in[2], out[2];

    snprintf(program, sizeof(program), "%s", c->options.proxy);
    snprintf(port, sizeof(port), "%d", c->port);
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)c->options.seed);
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        abort();
    c->proxy = fork();
    if (c->proxy == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execv(program, arguments);
        _exit(127);
    }
    if (c->proxy < 0)
        abort();
    close(in[0]);
    close(out[1]);
    c->proxy_in = in[1];
    c->proxy_out = fdopen(out[0], "r");
    if (!c->proxy_out || !fgets(line, sizeof(line), c->proxy_out))
        abort();
    return atoi(line);
}

/* ---- all of it ---- */

static void set_up(struct cluster *c)
{
    char address[CLUSTER_PATH + 32];

    c->port = free_port();
    strcpy(c->service.name, "queued");
    if (!cluster_embedded(c))
        write_settings(c, &c->service, NULL);
    if (c->options.ipc)
        snprintf(address, sizeof(address), "ipc://%s/s.sock", c->options.dir);
    else
        snprintf(address, sizeof(address), "tcp://127.0.0.1:%d",
                 c->options.proxy ? start_proxy(c) : c->port);
    for (int i = 0; i < c->options.n_mounts; i++) {
        struct daemon *d = &c->mounts[i];

        snprintf(d->name, sizeof(d->name), "m%d", i);
        snprintf(d->path, sizeof(d->path), "%s/%s", c->options.dir, d->name);
        mkdir(d->path, 0700);
        write_settings(c, d, i == 0 && cluster_embedded(c) ? NULL : address);
    }
}

bool cluster_start(struct cluster *c, const struct cluster_options *options)
{
    memset(c, 0, sizeof(*c));
    c->options = *options;
    c->proxy_in = -1;
    starter_begin(&c->starter);
    set_up(c);
    if (!cluster_embedded(c)) {
        daemon_start(c, &c->service);
        if (!daemon_answers(c, &c->service, 20000)) {
            fprintf(stderr, "queued does not answer\n");
            return false;
        }
    }
    for (int i = 0; i < options->n_mounts; i++) {
        daemon_start(c, &c->mounts[i]);
        if (!daemon_answers(c, &c->mounts[i], 20000)) {
            fprintf(stderr, "mount %d does not answer\n", i);
            return false;
        }
    }
    return true;
}

static bool ended_well(struct cluster *c, const struct daemon *d, int64_t end_us)
{
    int status = -1;
    pid_t pid;

    while ((pid = starter_wait(&c->starter, d->pid, WNOHANG, &status)) == 0 && now_us() < end_us)
        sleep_ms(5);
    if (pid == 0) {
        kill(d->pid, SIGKILL);
        starter_wait(&c->starter, d->pid, 0, &status);
    }
    if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    fprintf(stderr, "%s: %s on SIGTERM (%#x)\n", d->name, pid > 0 ? "ended badly" : "did not end",
            (unsigned)status);
    return false;
}

static unsigned stop(struct cluster *c, struct daemon *d)
{
    bool well;

    if (d->pid <= 0)
        return 0;
    kill(d->pid, SIGTERM);
    well = ended_well(c, d, now_us() + INT64_C(40000000));
    d->pid = 0;
    return !well;
}

unsigned cluster_stop(struct cluster *c)
{
    unsigned bad = 0;

    /* An embedded service goes last. */
    for (int i = c->options.n_mounts - 1; i >= 0; i--)
        bad += stop(c, &c->mounts[i]);
    return bad + stop(c, &c->service);
}

void cluster_kill(struct cluster *c)
{
    if (c->proxy_in >= 0)
        close(c->proxy_in);
    if (c->proxy_out)
        fclose(c->proxy_out);
    c->proxy_in = -1;
    c->proxy_out = NULL;
    if (c->proxy > 0) {
        kill(c->proxy, SIGKILL);
        waitpid(c->proxy, NULL, 0);
        c->proxy = 0;
    }
    daemon_kill(c, &c->service);
    for (int i = 0; i < c->options.n_mounts; i++) {
        daemon_kill(c, &c->mounts[i]);
        umount2(c->mounts[i].path, MNT_DETACH);
    }
    starter_end(&c->starter);
}
