/*
 * The checker: nothing acknowledged is lost, nothing is stored twice, all of it is in order, while
 * the service and its mounts are killed, stopped and cut off from each other.
 *
 * Writers and readers (workload.c) work on several mounts of one service (cluster.c) while a
 * nemesis disturbs (nemesis.c). Then everything is healed, flushed and drained, and counted
 * (history.c) as in Jepsen's total-queue:
 *
 *   attempted     written by write(2), whatever became of it
 *   acknowledged  of these, covered by an fsync, flush or O_DSYNC write that returned 0
 *   ok            acknowledged and read
 *   lost          acknowledged and never read, though the queues were drained
 *   recovered     read though never acknowledged
 *   unexpected    read, but not what anyone wrote: torn, mixed or made up
 *   duplicated    stored twice: copies in `keep` (drained once, at the end), and what `work` counts
 *                 as stored beyond the different items read from it
 *   redelivered   read again after an outage between the read and its acknowledgement
 *   redelivered_without_cause   read again with no outage that explains it
 *   order_violations   of a writer's items, one drained behind a later one
 *
 * One line `name: value` each. Status 0 if nothing is wrong, 1 if something is, 2 for wrong usage.
 */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/stress/nemesis.h"
#include "tests/stress/workload.h"

#define PROGRESS_US  INT64_C(5000000)
#define HEAL_SECONDS 90 /* a session whose mount was killed has its leases for 30 s */

struct run {
    struct cluster_options cluster_options;
    struct cluster cluster;
    struct history *history;
    struct workload *workload;
    struct nemesis nemesis;
    const char *kinds;
    int seconds;     /* of disturbances; 0: until `events` */
    unsigned events; /* 0: until `seconds` */
    int n_writers, n_readers;
    bool keep;
    unsigned hanging, wrong_errors, bad_ends;
    bool not_drained;
    uint64_t stored;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    interrupted = signal;
}

/* ---- the run ---- */

static void progress(const struct run *r, int64_t begin_us)
{
    static int64_t last_us;
    struct totals totals;

    if (now_us() - last_us < (isatty(STDERR_FILENO) ? PROGRESS_US / 5 : PROGRESS_US))
        return;
    last_us = now_us();
    history_totals(r->history, false, &totals);
    fprintf(stderr, "%s%lld s: %u disturbances, %llu attempted, %llu acknowledged, %llu read%s",
            isatty(STDERR_FILENO) ? "\r" : "", (long long)((last_us - begin_us) / 1000000),
            nemesis_total(&r->nemesis), (unsigned long long)totals.attempted,
            (unsigned long long)totals.acknowledged,
            (unsigned long long)(totals.found[QUEUE_WORK] + totals.found[QUEUE_KEEP]),
            isatty(STDERR_FILENO) ? "  " : "\n");
}

static void disturb(struct run *r)
{
    int64_t begin_us = now_us();

    r->nemesis = (struct nemesis){.cluster = &r->cluster,
                                  .history = r->history,
                                  .random = r->cluster_options.seed ^ 0x6e656d65,
                                  .kinds = r->nemesis.kinds,
                                  .pause_ms = r->nemesis.pause_ms};
    while (!interrupted && (!r->events || nemesis_total(&r->nemesis) < r->events) &&
           (!r->seconds || now_us() - begin_us < (int64_t)r->seconds * 1000000)) {
        if (r->nemesis.kinds)
            nemesis_step(&r->nemesis);
        else
            sleep_ms(100);
        progress(r, begin_us);
    }
    cluster_check_alive(&r->cluster);
}

#define STATS_MS 2500 /* a mount's stats are no older than this */

/* The service has answered this mount, and with it all that the mount had asked for before: a get
 * whose reader has long given up lends items still. */
static bool heard(const struct run *r, int mount)
{
    char path[CLUSTER_PATH + 64];
    DIR *ready;
    bool whole;

    snprintf(path, sizeof(path), "%s/%s/ready", r->cluster.mounts[mount].path,
             queue_names[QUEUE_WORK]);
    ready = opendir(path);
    if (!ready)
        return false;
    errno = 0;
    while (readdir(ready))
        ;
    whole = errno == 0;
    closedir(ready);
    return whole;
}

static bool at_rest(const struct run *r, int mount)
{
    return heard(r, mount) && workload_flush(&r->cluster, mount, QUEUE_WORK) == 0 &&
           workload_flush(&r->cluster, mount, QUEUE_KEEP) == 0;
}

static bool nothing_leased(const struct run *r)
{
    for (int mount = 0; mount < r->cluster.options.n_mounts; mount++) {
        if (cluster_stat(&r->cluster, mount, "work", "leased") != 0)
            return false;
    }
    return true;
}

/* Everything buffered is stored, and all that was leased is back: by dead mounts, and by gets whose
 * answers came too late. What comes back during the drain would be out of order there. */
static bool settle(struct run *r)
{
    int64_t end_us = now_us() + HEAL_SECONDS * INT64_C(1000000);
    int mount = 0;

    while (mount < r->cluster.options.n_mounts && now_us() < end_us) {
        if (at_rest(r, mount))
            mount++;
        else
            sleep_ms(100);
        cluster_check_alive(&r->cluster);
    }
    do {
        sleep_ms(STATS_MS);
        cluster_check_alive(&r->cluster);
    } while (!nothing_leased(r) && now_us() < end_us);
    if (now_us() < end_us)
        return true;
    fprintf(stderr, "the queues did not come to rest\n");
    return false;
}

/* What the service says it has stored in `work`, once the mount has heard the last of it. */
static uint64_t stored_in_work(const struct run *r)
{
    int64_t before = -1, count = -1;

    do {
        before = count;
        sleep_ms(STATS_MS);
        count = cluster_stat(&r->cluster, 0, "work", "service_total_puts");
    } while (count != before);
    return count < 0 ? 0 : (uint64_t)count;
}

static void drain(struct run *r)
{
    r->hanging = workload_stop(r->workload, 60);
    if (r->hanging) {
        cluster_kill(&r->cluster); /* so that they return */
        workload_stop(r->workload, 60);
        return;
    }
    r->not_drained = !settle(r);
    for (int queue = 0; queue < N_QUEUES; queue++)
        r->not_drained |= !workload_drain(r->workload, (enum queue_index)queue, HEAL_SECONDS);
    r->stored = stored_in_work(r);
    r->bad_ends = cluster_stop(&r->cluster);
}

static bool run_all(struct run *r)
{
    const struct workload_options options = {
        .cluster = &r->cluster,
        .history = r->history,
        .seed = r->cluster_options.seed,
        .n_writers = r->n_writers,
        .n_readers = r->n_readers,
        .mounts_die = r->nemesis.kinds & 1U << HARM_KILL_MOUNT ||
                      (!r->cluster_options.queued && r->nemesis.kinds & 1U << HARM_KILL_SERVICE),
    };
    bool started = cluster_start(&r->cluster, &r->cluster_options);

    if (started) {
        r->workload = workload_start(&options);
        disturb(r);
        drain(r);
        r->wrong_errors = workload_wrong_errors(r->workload);
    }
    cluster_kill(&r->cluster);
    return started;
}

/* ---- the result ---- */

static void print(const char *name, uint64_t value)
{
    printf("%s: %llu\n", name, (unsigned long long)value);
}

static void print_run(const struct run *r)
{
    print("seed", r->cluster_options.seed);
    print("writers", (uint64_t)r->n_writers);
    print("readers", (uint64_t)r->n_readers);
    print("mounts", (uint64_t)r->cluster_options.n_mounts);
    for (int harm = 0; harm < N_HARMS; harm++) {
        if (r->nemesis.kinds & 1U << harm)
            print(harm_names[harm], r->nemesis.count[harm]);
    }
}

/* True: nothing is wrong. */
static bool print_result(struct run *r)
{
    struct totals t;
    uint64_t duplicated, unread;

    history_totals(r->history, true, &t);
    duplicated = t.copies;
    if (r->stored > t.found[QUEUE_WORK])
        duplicated += r->stored - t.found[QUEUE_WORK];
    unread = r->stored < t.found[QUEUE_WORK] ? t.found[QUEUE_WORK] - r->stored : 0;
    print("attempted", t.attempted);
    print("acknowledged", t.acknowledged);
    print("ok", t.ok);
    print("lost", t.lost);
    print("duplicated", duplicated);
    print("unexpected", t.unexpected + unread);
    print("recovered", t.recovered);
    print("order_violations", t.order_violations);
    print("redelivered", t.redelivered);
    print("redelivered_without_cause", t.redelivered_without_cause);
    print("wrong_errors", r->wrong_errors);
    print("crashed", r->cluster.n_crashes);
    print("ended_badly", r->bad_ends);
    print("hanging", r->hanging);
    print("not_drained", r->not_drained);
    fflush(stdout);
    history_print_faults(r->history, stderr);
    return t.lost + duplicated + t.unexpected + unread + t.order_violations +
               t.redelivered_without_cause + r->wrong_errors + r->cluster.n_crashes + r->bad_ends +
               r->hanging + r->not_drained ==
           0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

/* ---- the command line ---- */

static const char usage[] =
    "usage: checker [OPTION]...\n"
    "  --queuefs PROGRAM    default: build/fs/queuefs/queuefs\n"
    "  --queued PROGRAM     the service; without it the first mount has it inside\n"
    "  --proxy PROGRAM      mounts reach the service through it; for cut, half, delay\n"
    "  --ipc                mounts reach the service through a socket file, not TCP\n"
    "  --nemesis KIND,...   kill-service kill-mount stop-service stop-mount cut half delay\n"
    "  --events N           end after so many disturbances\n"
    "  --seconds N          end after so long (default: 20, without --events)\n"
    "  --pause MS           between two at most (default: 800)\n"
    "  --timeout MS         of the mounts (default: 1000)\n"
    "  --writers N --readers N --mounts N     default: 8, 4, 4\n"
    "  --seed N             repeats a run's choices; default: random, and printed\n"
    "  --dir DIR            an empty directory to work in; default: a new one in /var/tmp\n"
    "  --keep               leave it there when something is wrong\n";

enum {
    OPT_QUEUEFS = 256,
    OPT_QUEUED,
    OPT_PROXY,
    OPT_IPC,
    OPT_NEMESIS,
    OPT_EVENTS,
    OPT_SECONDS,
    OPT_PAUSE,
    OPT_TIMEOUT,
    OPT_WRITERS,
    OPT_READERS,
    OPT_MOUNTS,
    OPT_SEED,
    OPT_DIR,
    OPT_KEEP,
};

static const struct option long_options[] = {
    {"queuefs", required_argument, NULL, OPT_QUEUEFS},
    {"queued", required_argument, NULL, OPT_QUEUED},
    {"proxy", required_argument, NULL, OPT_PROXY},
    {"ipc", no_argument, NULL, OPT_IPC},
    {"nemesis", required_argument, NULL, OPT_NEMESIS},
    {"events", required_argument, NULL, OPT_EVENTS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"pause", required_argument, NULL, OPT_PAUSE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"writers", required_argument, NULL, OPT_WRITERS},
    {"readers", required_argument, NULL, OPT_READERS},
    {"mounts", required_argument, NULL, OPT_MOUNTS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"dir", required_argument, NULL, OPT_DIR},
    {"keep", no_argument, NULL, OPT_KEEP},
    {NULL, 0, NULL, 0},
};

static bool take_number(struct run *r, int option, int value)
{
    switch (option) {
    case OPT_EVENTS:
        r->events = (unsigned)value;
        return true;
    case OPT_SECONDS:
        r->seconds = value;
        return true;
    case OPT_PAUSE:
        r->nemesis.pause_ms = value;
        return value > 0;
    case OPT_TIMEOUT:
        r->cluster_options.timeout_ms = value;
        return value > 0;
    case OPT_WRITERS:
        r->n_writers = value;
        return value <= WRITERS_MAX;
    case OPT_READERS:
        r->n_readers = value;
        return true;
    case OPT_MOUNTS:
        r->cluster_options.n_mounts = value;
        return value > 0 && value <= MOUNTS_MAX;
    default:
        return false;
    }
}

static bool take_option(struct run *r, int option, const char *value)
{
    switch (option) {
    case OPT_QUEUEFS:
        r->cluster_options.queuefs = value;
        return true;
    case OPT_QUEUED:
        r->cluster_options.queued = value;
        return true;
    case OPT_PROXY:
        r->cluster_options.proxy = value;
        return true;
    case OPT_IPC:
        return r->cluster_options.ipc = true;
    case OPT_NEMESIS:
        return nemesis_parse(value, &r->nemesis.kinds);
    case OPT_SEED:
        r->cluster_options.seed = strtoull(value, NULL, 10);
        return true;
    case OPT_DIR:
        r->cluster_options.dir = value;
        return true;
    case OPT_KEEP:
        return r->keep = true;
    default:
        return value && atoi(value) >= 0 && take_number(r, option, atoi(value));
    }
}

static bool take_arguments(struct run *r, int argc, char **argv)
{
    const unsigned network = 1U << HARM_CUT | 1U << HARM_HALF | 1U << HARM_DELAY;
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (!take_option(r, option, optarg))
            return false;
    }
    if (!r->seconds && !r->events)
        r->seconds = 20;
    return optind == argc && !(r->nemesis.kinds & network && !r->cluster_options.proxy) &&
           !(r->cluster_options.ipc && r->cluster_options.proxy);
}

int main(int argc, char **argv)
{
    struct run r = {
        .cluster_options = {.queuefs = "build/fs/queuefs/queuefs",
                            .n_mounts = 4,
                            .timeout_ms = 1000,
                            .seed = (uint64_t)now_us()},
        .nemesis = {.pause_ms = 800},
        .n_writers = 8,
        .n_readers = 4,
    };
    const struct sigaction action = {.sa_handler = interrupt};
    char dir[] = "/var/tmp/queuefs-checker-XXXXXX";
    bool well = false;

    if (!take_arguments(&r, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (!r.cluster_options.dir)
        r.cluster_options.dir = mkdtemp(dir);
    if (!r.cluster_options.dir) {
        perror("checker");
        return 1;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    r.history = history_new(r.cluster_options.seed);
    if (run_all(&r)) {
        print_run(&r);
        well = print_result(&r);
    }
    workload_free(r.workload);
    history_free(r.history);
    if (!well && r.keep)
        fprintf(stderr, "kept: %s\n", r.cluster_options.dir);
    else
        nftw(r.cluster_options.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return !well;
}
