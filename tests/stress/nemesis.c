/* Disturbances: see nemesis.h. */
#include "tests/stress/nemesis.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 60000 /* a program that was started answers after so long, or hangs */

const char *const harm_names[N_HARMS] = {"kill-service", "kill-mount", "stop-service", "stop-mount",
                                         "cut",          "half",       "delay"};

static bool add_kind(const char *word, size_t len, unsigned *kinds)
{
    for (int harm = 0; harm < N_HARMS; harm++) {
        if (strlen(harm_names[harm]) == len && strncmp(word, harm_names[harm], len) == 0) {
            *kinds |= 1U << harm;
            return true;
        }
    }
    return false;
}

bool nemesis_parse(const char *list, unsigned *kinds)
{
    for (*kinds = 0; *list; list += strspn(list, ",")) {
        size_t len = strcspn(list, ",");

        if (!add_kind(list, len, kinds))
            return false;
        list += len;
    }
    return true;
}

unsigned nemesis_total(const struct nemesis *n)
{
    unsigned total = 0;

    for (int harm = 0; harm < N_HARMS; harm++)
        total += n->count[harm];
    return total;
}

static struct daemon *choose_mount(struct nemesis *n)
{
    return &n->cluster->mounts[random_below(&n->random, (uint64_t)n->cluster->options.n_mounts)];
}

/* The mounts that feel it when this program is disturbed. */
static int felt_by(const struct nemesis *n, const struct daemon *d)
{
    return d == cluster_service(n->cluster) ? ALL_MOUNTS : (int)(d - n->cluster->mounts);
}

/* Now and then a second time, while it starts. */
static void kill_and_restart(struct nemesis *n, struct daemon *d, enum harm harm)
{
    bool again;

    do {
        daemon_kill(n->cluster, d);
        n->count[harm]++;
        sleep_ms((int64_t)random_below(&n->random, 200));
        daemon_start(n->cluster, d);
        again = random_below(&n->random, 5) == 0;
        if (again)
            sleep_ms((int64_t)random_below(&n->random, 60));
    } while (again);
    if (!daemon_answers(n->cluster, d, ANSWER_MS))
        fprintf(stderr, "%s does not answer after its restart\n", d->name);
}

static void stop_and_go(struct nemesis *n, struct daemon *d, enum harm harm)
{
    int64_t ms = n->cluster->options.timeout_ms;

    kill(d->pid, SIGSTOP);
    n->count[harm]++;
    sleep_ms(ms + 100 + (int64_t)random_below(&n->random, (uint64_t)ms));
    kill(d->pid, SIGCONT);
}

static void harm_connection(struct nemesis *n, enum harm harm)
{
    char command[32];

    snprintf(command, sizeof(command), "%s %d", harm_names[harm],
             (int)random_below(&n->random, 1500));
    n->count[harm] += proxy_command(n->cluster, command);
}

static enum harm choose_harm(struct nemesis *n)
{
    enum harm harm;

    do
        harm = (enum harm)random_below(&n->random, N_HARMS);
    while (!(n->kinds & 1U << harm));
    return harm;
}

void nemesis_step(struct nemesis *n)
{
    enum harm harm = choose_harm(n);
    bool mount = harm == HARM_KILL_MOUNT || harm == HARM_STOP_MOUNT;
    struct daemon *d = mount ? choose_mount(n) : cluster_service(n->cluster);

    sleep_ms((int64_t)random_below(&n->random, (uint64_t)n->pause_ms));
    cluster_check_alive(n->cluster);
    history_outage_begins(n->history, felt_by(n, d));
    switch (harm) {
    case HARM_KILL_SERVICE:
    case HARM_KILL_MOUNT:
        kill_and_restart(n, d, harm);
        break;
    case HARM_STOP_SERVICE:
    case HARM_STOP_MOUNT:
        stop_and_go(n, d, harm);
        break;
    default:
        harm_connection(n, harm);
        break;
    }
    history_outages_end(n->history);
}
